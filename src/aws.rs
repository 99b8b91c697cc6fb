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
use aws_config::profile::ProfileFileRegionProvider;
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
    /// The region. Default: the bucket's or queue's own.
    pub region: Option<At<String>>,
    /// A profile of the shared AWS configuration files.
    pub profile: Option<At<String>>,
    /// A role to assume.
    pub role_arn: Option<At<String>>,
    /// The external id that the role asks for.
    pub external_id: Option<At<String>>,
    /// Another endpoint than AWS's own: `https://host:port`.
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
        let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.value().clone());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(READ).build())
            .use_fips(self.fips)
            .use_dual_stack(self.dual_stack);
        if let Some(profile) = text(&self.profile) {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = text(&self.endpoint) {
            loader = loader.endpoint_url(endpoint);
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
            .or_else(Region::new(ANY_REGION));
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
        config
    }

    /// A client of S3.
    pub fn s3(&self, config: &SdkConfig) -> aws_sdk_s3::Client {
        let builder = aws_sdk_s3::config::Builder::from(config).force_path_style(self.path_style);
        aws_sdk_s3::Client::from_conf(builder.build())
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
    /// The bucket or queue is not there.
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
            (code, _) => format!("{code}: {message}"),
        };
        let none = status.is_none() && said.contains("loading credentials");
        let kind = if none { Kind::Credentials } else { kind(code, message, status) };
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
            Kind::Denied => format!(
                "{what} may not be read by {who} ({said}): allow {permission}; where it is encrypted with a key of your own, kms:Decrypt on \
                 that key, too; without s3:ListBucket a missing object is also told so"
            ),
            Kind::Key => format!(
                "{what}: the key it is encrypted with may not be used by {who} ({said}): allow kms:Decrypt in the key's policy"
            ),
            Kind::Archived => format!("{what} is archived ({said}): restore it first"),
            Kind::Replaced => format!("{what} was replaced while it was read ({said})"),
            Kind::Credentials => format!("{what}: the credentials of {who} are not valid ({said})"),
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
            | "RequestLimitExceeded",
            _,
        ) => Kind::Slow,
        ("NoSuchKey" | "NoSuchVersion", _) => Kind::Gone,
        ("NoSuchBucket" | "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist", _) => {
            Kind::NoPlace
        }
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
fn chain(error: &dyn std::error::Error) -> String {
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

    #[test]
    fn every_refusal_says_what_to_do() {
        let of = |kind| Refusal { kind, said: "Code: text".into(), region: None };
        let text: Vec<String> = [
            Kind::Denied,
            Kind::Key,
            Kind::Archived,
            Kind::Gone,
            Kind::NoPlace,
            Kind::Credentials,
            Kind::Slow,
        ]
        .map(|kind| of(kind).advice("s3://b/k", "arn:aws:iam::1:role/r", "s3:GetObject on arn:aws:s3:::b/*"))
        .into();
        snapbox::assert_data_eq!(
            text.join("\n"),
            snapbox::str![[r#"
s3://b/k may not be read by arn:aws:iam::1:role/r (Code: text): allow s3:GetObject on arn:aws:s3:::b/*; where it is encrypted with a key of your own, kms:Decrypt on that key, too; without s3:ListBucket a missing object is also told so
s3://b/k: the key it is encrypted with may not be used by arn:aws:iam::1:role/r (Code: text): allow kms:Decrypt in the key's policy
s3://b/k is archived (Code: text): restore it first
s3://b/k is not there (Code: text)
s3://b/k: there is no such place (Code: text): look at its name and region
s3://b/k: the credentials of arn:aws:iam::1:role/r are not valid (Code: text)
s3://b/k: asked too often (Code: text)
"#]]
        );
    }
}
