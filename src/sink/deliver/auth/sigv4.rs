//! Signature Version 4, for managed OpenSearch, API Gateway and what else AWS guards by it.
//!
//! Source: *IAM User Guide, Signature Version 4 for API requests*; *Amazon OpenSearch Service Developer Guide, Signing HTTP
//! requests to OpenSearch Serverless*; *VPC Lattice User Guide, SIGv4 authenticated requests*.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::Request;

use super::kept::{Fetched, Kept};
use super::{AuthConfig, Trouble};
use crate::aws::{Aws, chain};
use crate::clock::{Clock, Timestamp};

/// How long credentials are kept that do not expire: they may be changed where they are from.
const LASTING: Duration = Duration::from_secs(900);

/// Signs requests.
pub(super) struct Signer {
    service: Option<String>,
    aws: Aws,
    kept: Kept<Found>,
}

/// What is signed with.
#[derive(Clone)]
pub(super) struct Found {
    credentials: Credentials,
    /// Of the settings or the environment.
    region: Option<String>,
}

impl Signer {
    /// Makes one that has looked for no credentials yet.
    pub(super) fn new(config: &AuthConfig) -> Signer {
        Signer {
            service: config.service.as_ref().map(|service| service.value().clone()),
            aws: config.aws.as_ref().map(|aws| aws.value().clone()).unwrap_or_default(),
            kept: Kept::default(),
        }
    }

    /// What is signed with, as it is kept or looked for.
    pub(super) async fn get(&self, clock: &Clock) -> Result<Found, Trouble> {
        self.kept.get(clock, || self.find(clock)).await
    }

    /// The same, where it is kept.
    pub(super) fn at_hand(&self, clock: &Clock) -> Option<Found> {
        self.kept.at_hand(clock)
    }

    /// Signs a request as it stands.
    pub(super) fn sign(&self, request: &mut Request, found: Found, clock: &Clock) -> Result<(), Trouble> {
        let pause = |message: String| Trouble::Pause { message };
        let host = request.url().host_str().unwrap_or_default();
        let of_host = of_host(host);
        let service = self.service.as_deref().or(of_host.as_ref().map(|(service, _)| *service));
        let service = service.ok_or_else(|| {
            pause(format!("signing requests to {host}: its name tells no service: add `service` to `auth`"))
        })?;
        // What is stated wins; the host's name knows better than an environment that is meant for everything.
        let stated = self.aws.region.as_ref().map(|region| region.value().as_str());
        let region = stated.or(of_host.as_ref().map(|(_, region)| *region)).or(found.region.as_deref());
        let region = region.ok_or_else(|| {
            pause(format!("signing requests to {host}: no region is known: add `aws.region` to `auth`"))
        })?;
        let (service, region) = (service.to_owned(), region.to_owned());
        signed(request, found.credentials, &service, &region, clock.now(), true)
            .map_err(|error| pause(format!("signing requests: {error}")))
    }

    /// See [`super::Authorizer::refused`].
    pub(super) fn refused(&self, clock: &Clock) -> bool {
        self.kept.refused(clock)
    }

    async fn find(&self, clock: &Clock) -> Result<Fetched<Found>, Trouble> {
        let (config, region) = self.aws.load_stated(None).await;
        let who = self.aws.who();
        let Some(provider) = config.credentials_provider() else {
            return Err(Trouble::Pause { message: format!("signing requests: {who}: there are none") });
        };
        let credentials = provider.provide_credentials().await.map_err(|error| {
            let said: String = chain(&error).chars().take(300).flat_map(char::escape_debug).collect();
            let refused = ["AccessDenied", "InvalidClientTokenId", "ExpiredToken", "not authorized"];
            let transient =
                matches!(error, CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_));
            let message = format!("signing requests: {who}: no credentials: {said}");
            match transient && !refused.iter().any(|word| message.contains(word)) {
                true => Trouble::Retry { message, after: None },
                false => Trouble::Pause { message },
            }
        })?;
        let expires = credentials.expiry().and_then(|expires| expires.duration_since(UNIX_EPOCH).ok());
        let lasts = expires.map(|expires| Timestamp(0).after(expires).since(clock.now()));
        Ok(Fetched { value: Found { credentials, region }, lasts: lasts.unwrap_or(LASTING).min(LASTING) })
    }
}

/// The service and the region that a host's name tells: `search-logs-abc.eu-west-1.es.amazonaws.com`.
fn of_host(host: &str) -> Option<(&str, &str)> {
    let labels: Vec<&str> = host.split('.').collect();
    match labels[..] {
        [.., region, service @ ("es" | "aoss"), "amazonaws", "com"]
        | [.., region, service @ ("es" | "aoss"), "amazonaws", "com", "cn"] => Some((service, region)),
        // Dual-stack names have it the other way round, and another name for domains.
        [.., service @ ("aos" | "aoss"), region, "on", "aws"] => {
            Some((if service == "aos" { "es" } else { service }, region))
        }
        [.., "execute-api", region, "amazonaws", "com"]
        | [.., "execute-api", region, "amazonaws", "com", "cn"] => Some(("execute-api", region)),
        [.., service @ "vpc-lattice-svcs", region, "on", "aws"] => Some((service, region)),
        _ => None,
    }
}

/// Signs a request: method, URL, all of its headers and its body, as they are now.
///
/// `with_hash`: the hash of the body goes into a header, too. Serverless OpenSearch and S3 want that, nobody minds it.
fn signed(
    request: &mut Request,
    credentials: Credentials,
    service: &str,
    region: &str,
    now: Timestamp,
    with_hash: bool,
) -> Result<(), String> {
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"] {
        request.headers_mut().remove(name);
    }
    let mut settings = SigningSettings::default();
    if with_hash {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    if service == "s3" {
        // It alone takes paths as they are.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let body = match request.body().map(reqwest::Body::as_bytes) {
        // It refuses signed bodies.
        _ if service == "vpc-lattice-svcs" => SignableBody::UnsignedPayload,
        None => SignableBody::Bytes(&[]),
        Some(Some(bytes)) => SignableBody::Bytes(bytes),
        Some(None) => return Err("the body is not at hand".to_owned()),
    };
    let at = UNIX_EPOCH + Duration::from_nanos(u64::try_from(now.0).unwrap_or(0));
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(at)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let value = value.to_str().map_err(|_| format!("header `{name}` is not ASCII"))?;
        headers.push((name.as_str(), value));
    }
    // What hyper sends: the URL was parsed, and is not changed any more.
    let (method, url) = (request.method().as_str(), request.url().as_str());
    let signable = SignableRequest::new(method, url, headers.into_iter(), body);
    let signable = signable.map_err(|error| error.to_string())?;
    let (instructions, _) = sign(signable, &params).map_err(|error| error.to_string())?.into_parts();
    let (added, _) = instructions.into_parts();
    for header in added {
        let mut value = HeaderValue::try_from(header.value())
            .map_err(|_| format!("no header can carry `{}`", header.name()))?;
        let name = HeaderName::try_from(header.name()).map_err(|error| error.to_string())?;
        value.set_sensitive(header.sensitive() || name == AUTHORIZATION);
        request.headers_mut().insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
