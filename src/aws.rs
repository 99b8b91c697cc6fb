//! How AWS is reached: credentials, roles, endpoints; and what its refusals mean.
//!
//! ```toml
//! [sources.trail.aws]
//! role_arn = "arn:aws:iam::123456789012:role/trailship"
//! external_id = "acme"
//! ```

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::At;

/// How AWS is reached. Credentials are found as every AWS tool finds them: environment, profile, container, instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Aws")]
pub struct Aws {
    /// The region. Default: the bucket's or queue's own, and that in a stream's ARN.
    pub region: Option<At<String>>,
    /// A profile of the shared AWS configuration files. It wins over credentials in the environment.
    pub profile: Option<At<String>>,
    /// A role to assume.
    pub role_arn: Option<At<String>>,
    /// The external id that the role asks for.
    pub external_id: Option<At<String>>,
    /// Another endpoint than AWS's own: `https://host:port`. Of the bucket, queue or stream; others are in the environment
    /// (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_STS`).
    pub endpoint: Option<At<String>>,
    /// Whether the bucket's name goes into the path instead of the host's name.
    pub path_style: bool,
    /// Whether FIPS endpoints are used.
    pub fips: bool,
    /// Whether endpoints that speak IPv6, too, are used.
    pub dual_stack: bool,
}

/// Without a region anywhere: any will do to ask for a bucket's own.
const ANY_REGION: &str = "us-east-1";
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long nothing may come while something is read.
const READ: Duration = Duration::from_secs(30);

impl Aws {
    /// Finds credentials and region. `region` wins over everything, where it is known.
    pub async fn load(&self, region: Option<&str>) -> SdkConfig {
        self.load_stated(region).await.0
    }

    /// The same, and the region if it is stated anywhere: not the one that only asks for others.
    pub async fn load_stated(&self, region: Option<&str>) -> (SdkConfig, Option<String>) {
        let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.value().clone());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(READ).build())
            .use_fips(self.fips)
            .use_dual_stack(self.dual_stack);
        if let Some(profile) = text(&self.profile) {
            loader = loader.profile_name(profile);
        }
        let stated = region.map(str::to_owned).or_else(|| text(&self.region)).map(Region::new);
        let mut profile = ProfileFileRegionProvider::builder();
        if let Some(name) = text(&self.profile) {
            profile = profile.profile_name(name);
        }
        // The machine's own region is not asked for: what is read has a region of its own, which is found.
        let region = RegionProviderChain::first_try(stated)
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(profile.build())
            .region()
            .await;
        let known = region.as_ref().map(|region| region.as_ref().to_owned());
        let region = region.unwrap_or_else(|| Region::new(ANY_REGION));
        if let Some(profile) = text(&self.profile) {
            // What is written in the configuration is meant: without this, keys in the environment would win over it.
            let found = ProviderConfig::without_region()
                .with_behavior_version(Some(BehaviorVersion::latest()))
                .with_region(Some(region.clone()))
                .with_use_fips(Some(self.fips))
                .with_use_dual_stack(Some(self.dual_stack));
            let found = ProfileFileCredentialsProvider::builder().configure(&found).profile_name(profile);
            loader = loader.credentials_provider(found.build());
        }
        let mut config = loader.region(region).load().await;
        if let Some(role) = text(&self.role_arn) {
            let mut provider = aws_config::sts::AssumeRoleProvider::builder(role)
                .session_name("trailship")
                .configure(&config);
            if let Some(id) = text(&self.external_id) {
                provider = provider.external_id(id);
            }
            let provider = aws_sdk_s3::config::SharedCredentialsProvider::new(provider.build().await);
            config = config.into_builder().credentials_provider(provider).build();
        }
        (config, known)
    }

    /// The same for buckets that are not at this endpoint, and may be in any region.
    pub fn elsewhere(&self) -> Aws {
        Aws { endpoint: None, region: None, ..self.clone() }
    }

    /// A client of S3.
    pub fn s3(&self, config: &SdkConfig) -> aws_sdk_s3::Client {
        let mut builder = aws_sdk_s3::config::Builder::from(config).force_path_style(self.path_style);
        // Of this service only: roles are assumed elsewhere.
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint.value());
        }
        aws_sdk_s3::Client::from_conf(builder.build())
    }

    /// A client of SQS.
    pub fn sqs(&self, config: &SdkConfig) -> aws_sdk_sqs::Client {
        let mut builder = aws_sdk_sqs::config::Builder::from(config);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint.value());
        }
        aws_sdk_sqs::Client::from_conf(builder.build())
    }

    /// A client of Kinesis. It asks once: whoever reads a shard knows how long to wait.
    pub fn kinesis(&self, config: &SdkConfig) -> aws_sdk_kinesis::Client {
        let mut builder =
            aws_sdk_kinesis::config::Builder::from(config).retry_config(RetryConfig::disabled());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint.value());
        }
        aws_sdk_kinesis::Client::from_conf(builder.build())
    }

    /// A client of CloudWatch Logs that asks once: whoever uses it counts its requests.
    pub fn cloudwatch_logs(&self, config: &SdkConfig) -> aws_sdk_cloudwatchlogs::Client {
        let mut builder = aws_sdk_cloudwatchlogs::config::Builder::from(config);
        builder = builder.retry_config(RetryConfig::disabled());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint.value());
        }
        aws_sdk_cloudwatchlogs::Client::from_conf(builder.build())
    }

    /// A client of DynamoDB, which is never at the endpoint of what is read. A request takes no longer than `most`, with all
    /// its attempts: what waits for it is of no use later.
    pub fn dynamodb(&self, config: &SdkConfig, most: Duration) -> aws_sdk_dynamodb::Client {
        let timeouts = config.timeout_config().map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
        let timeouts = timeouts.operation_timeout(most).build();
        let builder = aws_sdk_dynamodb::config::Builder::from(config).timeout_config(timeouts);
        aws_sdk_dynamodb::Client::from_conf(builder.build())
    }

    /// A client of CloudTrail that asks once: whoever uses it counts its requests.
    pub fn cloudtrail(&self, config: &SdkConfig) -> aws_sdk_cloudtrail::Client {
        let mut builder = aws_sdk_cloudtrail::config::Builder::from(config);
        builder = builder.retry_config(RetryConfig::disabled());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint.value());
        }
        aws_sdk_cloudtrail::Client::from_conf(builder.build())
    }

    /// Who asks, for messages: the role, the profile or what the environment has.
    pub fn who(&self) -> String {
        match (&self.role_arn, &self.profile) {
            (Some(role), _) => role.value().clone(),
            (None, Some(profile)) => format!("profile `{}`", profile.value()),
            (None, None) => "the credentials found in the environment".to_owned(),
        }
    }
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The network or the service: ask again.
    Transient,
    /// Asked too often: ask again, later.
    Slow,
    /// What was asked for is not there.
    Gone,
    /// The bucket, queue or log group is not there.
    NoPlace,
    /// Not allowed.
    Denied,
    /// Not allowed by the key that encrypts it.
    Key,
    /// Archived: it has to be restored first.
    Archived,
    /// Not what it was before.
    Replaced,
    /// The credentials are not valid.
    Credentials,
    /// The role may not be assumed.
    Role,
}

/// A refusal in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it means.
    pub kind: Kind,
    /// The service's own code or the status, and its message, cut to 300 characters.
    pub said: String,
    /// The region the bucket is in, where the answer tells.
    pub region: Option<String>,
}

impl Refusal {
    /// Reads an error of the SDK.
    pub fn of<E: ProvideErrorMetadata + std::error::Error + 'static>(
        error: &SdkError<E, HttpResponse>,
    ) -> Refusal {
        let response = error.raw_response();
        let status = response.map(|response| response.status().as_u16());
        let region =
            response.and_then(|response| response.headers().get("x-amz-bucket-region")).map(str::to_owned);
        let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
        let said = match (code, status) {
            ("", Some(status)) => format!("status {status}"),
            ("", None) => chain(error),
            (code, _) if message.is_empty() => code.to_owned(),
            (code, _) => format!("{code}: {message}"),
        };
        let kind = match status {
            // What could not be had is behind it, in words.
            None if said.contains("AssumeRole") => Kind::Role,
            None if said.contains("credential") => Kind::Credentials,
            _ => kind(code, message, status),
        };
        // The list of where credentials were looked for says nothing that helps.
        let said = said.split(" Attempted:").next().unwrap_or_default();
        Refusal { kind, said: said.chars().take(300).collect(), region }
    }

    /// What to do about it; `what` is what was asked for, `who` asked, `permission` is what that takes.
    pub fn advice(&self, what: &str, who: &str, permission: &str) -> String {
        let said = &self.said;
        match self.kind {
            Kind::Transient => format!("{what}: {said}"),
            Kind::Slow => format!("{what}: asked too often ({said})"),
            Kind::Gone => format!("{what} is not there ({said})"),
            Kind::NoPlace => format!("{what}: there is no such place ({said}): look at its name and region"),
            Kind::Denied if permission.starts_with("s3:GetObject") => format!(
                "{what} may not be read by {who}, says S3 ({said}): allow {permission}; where it is encrypted with a key of your own, \
                 kms:Decrypt on that key, too; without s3:ListBucket a missing object is also told so"
            ),
            Kind::Denied => format!("{what} is refused to {who} ({said}): allow {permission}"),
            Kind::Key => format!(
                "{what} may not be read by {who}, says KMS ({said}): allow kms:Decrypt on the key it is encrypted with, in that key's policy, \
                 too, and see that the key is enabled"
            ),
            Kind::Archived => format!("{what} is archived ({said}): restore it first"),
            Kind::Replaced => format!("{what} was replaced while it was read ({said})"),
            Kind::Credentials if said.contains("TooSkewed") => {
                format!("{what}: the clock of this machine is wrong ({said})")
            }
            Kind::Credentials if said.contains("no credentials found") => format!(
                "{what}: no credentials found, neither in the environment nor in a profile, nor those of a container or instance"
            ),
            Kind::Credentials if said.contains(" provider") => {
                format!("{what}: {who}: no credentials ({said})")
            }
            Kind::Credentials => format!("{what}: {who}: the credentials are not valid ({said})"),
            Kind::Role => format!(
                "{what}: {who} may not be assumed ({said}): allow sts:AssumeRole on it, and in its trust policy; where that asks for one, \
                 give `external_id`"
            ),
        }
    }
}

fn kind(code: &str, message: &str, status: Option<u16>) -> Kind {
    let kms = code.starts_with("KMS") || code.starts_with("Kms") || message.contains("kms:Decrypt");
    match (code, status) {
        (
            "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException"
            | "RequestThrottled"
            | "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "OverLimit"
            | "KMS.ThrottlingException"
            | "RequestLimitExceeded",
            _,
        ) => Kind::Slow,
        ("NoSuchKey" | "NoSuchVersion", _) => Kind::Gone,
        (
            "NoSuchBucket"
            | "AWS.SimpleQueueService.NonExistentQueue"
            | "QueueDoesNotExist"
            | "ResourceNotFoundException"
            | "PermanentRedirect"
            | "AuthorizationHeaderMalformed",
            _,
        ) => Kind::NoPlace,
        ("InvalidObjectState", _) => Kind::Archived,
        // The rest of an object is asked for only as long as it is the same; one that is shorter now has no rest.
        ("PreconditionFailed" | "InvalidRange", _) | (_, Some(412 | 416)) => Kind::Replaced,
        (
            "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId",
            _,
        ) => Kind::Credentials,
        _ if kms && !code.contains("Throttl") && status != Some(503) => Kind::Key,
        (_, Some(403)) | ("AccessDenied" | "AccessDeniedException", _) => Kind::Denied,
        (_, Some(404)) => Kind::Gone,
        (_, Some(429 | 503)) => Kind::Slow,
        _ => Kind::Transient,
    }
}

/// An error and what is behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (code, message, status, expected) in [
            ("SlowDown", "Please reduce your request rate.", Some(503), Kind::Slow),
            ("InternalError", "", Some(500), Kind::Transient),
            ("", "", Some(500), Kind::Transient),
            ("", "", None, Kind::Transient),
            ("", "", Some(404), Kind::Gone),
            ("NoSuchKey", "", Some(404), Kind::Gone),
            ("NoSuchBucket", "", Some(404), Kind::NoPlace),
            ("AccessDenied", "Access Denied", Some(403), Kind::Denied),
            (
                "AccessDenied",
                "User: x is not authorized to perform: kms:Decrypt on resource",
                Some(403),
                Kind::Key,
            ),
            ("KMS.DisabledException", "", Some(400), Kind::Key),
            ("InvalidObjectState", "", Some(403), Kind::Archived),
            ("ExpiredToken", "", Some(400), Kind::Credentials),
            ("PreconditionFailed", "", Some(412), Kind::Replaced),
            ("InvalidRange", "", Some(416), Kind::Replaced),
        ] {
            assert_eq!(kind(code, message, status), expected, "{code} {message} {status:?}");
        }
    }

    /// What is said of AWS's errors, as AWS words them.
    #[test]
    fn every_error_of_aws_says_who_asked_for_what_and_what_is_missing() {
        const OBJECT: (&str, &str) = ("s3://b/k", "s3:GetObject on arn:aws:s3:::b/*");
        const LISTING: (&str, &str) = ("listing s3://b/p/", "s3:ListBucket on arn:aws:s3:::b");
        const QUEUE: (&str, &str) = ("receiving messages", "sqs:ReceiveMessage");
        let denied = "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: ";
        let errors = [
            (OBJECT, "AccessDenied", "Access Denied".to_owned(), 403),
            (OBJECT, "AccessDenied", format!("{denied}s3:GetObject with an explicit deny"), 403),
            (OBJECT, "AccessDenied", format!("{denied}kms:Decrypt on resource: arn:aws:kms:x"), 403),
            (OBJECT, "KMS.DisabledException", "arn:aws:kms:x is disabled.".to_owned(), 400),
            (OBJECT, "KMS.ThrottlingException", "Rate exceeded".to_owned(), 400),
            (
                OBJECT,
                "InvalidObjectState",
                "The operation is not valid for its storage class".to_owned(),
                403,
            ),
            (OBJECT, "NoSuchKey", "The specified key does not exist.".to_owned(), 404),
            (OBJECT, "PreconditionFailed", "At least one of the pre-conditions did not hold".to_owned(), 412),
            (OBJECT, "InvalidRange", "The requested range is not satisfiable".to_owned(), 416),
            (OBJECT, "SlowDown", "Please reduce your request rate.".to_owned(), 503),
            (OBJECT, "InternalError", "We encountered an internal error.".to_owned(), 500),
            (OBJECT, "ExpiredToken", "The provided token has expired.".to_owned(), 400),
            (OBJECT, "SignatureDoesNotMatch", "The signature does not match.".to_owned(), 403),
            (OBJECT, "RequestTimeTooSkewed", "The difference is too large.".to_owned(), 403),
            (LISTING, "AccessDenied", "Access Denied".to_owned(), 403),
            (LISTING, "NoSuchBucket", "The specified bucket does not exist".to_owned(), 404),
            (LISTING, "PermanentRedirect", "The bucket must be addressed elsewhere.".to_owned(), 301),
            (LISTING, "AuthorizationHeaderMalformed", "expecting 'eu-west-1'".to_owned(), 400),
            (QUEUE, "AccessDenied", format!("{denied}sqs:receivemessage"), 403),
            (QUEUE, "QueueDoesNotExist", "The specified queue does not exist.".to_owned(), 400),
            (QUEUE, "RequestThrottled", "".to_owned(), 400),
        ];
        let texts = errors.map(|((what, permission), code, message, status)| {
            let kind = kind(code, &message, Some(status));
            let said = format!("{code}: {message}");
            Refusal { kind, said, region: None }.advice(what, "arn:aws:iam::1:role/r", permission)
        });
        let role = Refusal { kind: Kind::Role, said: "AccessDenied: sts:AssumeRole".into(), region: None };
        let role = role.advice(LISTING.0, "arn:aws:iam::1:role/r", LISTING.1);
        snapbox::assert_data_eq!(
            format!("{}\n{role}\n", texts.join("\n")),
            snapbox::file!["../tests/telemetry/aws-errors.txt"]
        );
    }
}
