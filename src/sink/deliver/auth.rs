//! How requests of HTTP sinks are authorised.
//!
//! ```toml
//! [sinks.lake.auth]
//! type = "oauth2"
//! token_url = "https://login.example.com/oauth2/token"
//! client_id = "trailship"
//! client_secret = { env = "CLIENT_SECRET" }
//! scope = "ingest"
//! ```
//!
//! A fixed header ([`Kind::Bearer`], [`Kind::Basic`], [`Kind::ApiKey`]), a signature ([`sigv4`]) or a token that is fetched
//! and renewed ([`oauth2`]). What is fetched is kept until shortly before it expires, and fetched by one request at a time
//! ([`kept`]).

mod kept;
mod oauth2;
mod sigv4;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::Request;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::client::Client;
use crate::aws::Aws;
use crate::clock::Clock;
use crate::config::{At, Problem, Secret};

/// How requests are authorised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Auth")]
pub struct AuthConfig {
    /// What a request carries. Required; the other settings belong to one type each.
    pub r#type: At<Kind>,
    /// `bearer`: the token.
    #[serde(default)]
    pub token: Option<At<Secret>>,
    /// `basic`: the user's name.
    #[serde(default)]
    pub user: Option<At<String>>,
    /// `basic`: the password.
    #[serde(default)]
    pub password: Option<At<Secret>>,
    /// `api_key`: the name of the header, as `X-Api-Key` or `Authorization`.
    #[serde(default)]
    pub header: Option<At<String>>,
    /// `api_key`: the key.
    #[serde(default)]
    pub key: Option<At<Secret>>,
    /// `api_key`: a word before the key, with a space between, as `ApiKey` for Elasticsearch. Default: none.
    #[serde(default)]
    pub prefix: Option<At<String>>,
    /// `aws`: the name that AWS signs the service's requests with, as `es`, `aoss` or `execute-api`. Default: what the host's
    /// name says.
    #[serde(default)]
    pub service: Option<At<String>>,
    /// `aws`: where credentials are from. `region` is that of the signature; default: what the host's name says, else the
    /// environment's.
    #[serde(default)]
    pub aws: Option<At<Aws>>,
    /// `oauth2`: where tokens are given out. A URL.
    #[serde(default)]
    pub token_url: Option<At<String>>,
    /// `oauth2`: who asks.
    #[serde(default)]
    pub client_id: Option<At<String>>,
    /// `oauth2`: its secret.
    #[serde(default)]
    pub client_secret: Option<At<Secret>>,
    /// `oauth2`: what is asked for; several with spaces between. Default: what the server gives without.
    #[serde(default)]
    pub scope: Option<At<String>>,
    /// `oauth2`: whom the token is for, as Auth0 and others want to know it. Default: nobody is named.
    #[serde(default)]
    pub audience: Option<At<String>>,
    /// `oauth2`: what else stands in a request for a token, by name, as `resource`.
    #[serde(default)]
    pub parameters: BTreeMap<String, At<String>>,
    /// `oauth2`: where the client's id and secret stand in a request for a token. Default: in its body.
    #[serde(default)]
    pub credentials_in: Option<At<CredentialsIn>>,
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AuthKind")]
pub enum Kind {
    /// `Authorization: Bearer …`, always the same.
    Bearer,
    /// `Authorization: Basic …`: a name and a password.
    Basic,
    /// A key in a header of any name.
    ApiKey,
    /// A signature by AWS credentials, Signature Version 4.
    Aws,
    /// `Authorization: Bearer …`, fetched with client credentials.
    Oauth2,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Kind::Bearer => "bearer",
            Kind::Basic => "basic",
            Kind::ApiKey => "api_key",
            Kind::Aws => "aws",
            Kind::Oauth2 => "oauth2",
        })
    }
}

/// Where a client's id and secret stand in a request for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsIn {
    /// In the body.
    Body,
    /// In the header, as `Authorization: Basic …`.
    Header,
}

/// Headers that follow from the body and the connection.
pub(in crate::sink) const OURS: [&str; 12] = [
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "host",
    "expect",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
];

/// Why a request cannot be authorised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Something on the way: try again.
    #[error("{message}")]
    Retry {
        /// What happened.
        message: String,
        /// Not before.
        after: Option<Duration>,
    },
    /// Credentials or configuration: the whole sink waits, and says so.
    #[error("{message}")]
    Pause {
        /// What happened, and what to do.
        message: String,
    },
}

/// Whether a secret may travel to this URL: over TLS, or within the machine.
pub fn may_carry_secrets(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || loopback
}

impl AuthConfig {
    /// One of a type, of which nothing else is said.
    pub fn of(kind: Kind) -> AuthConfig {
        AuthConfig {
            r#type: kind.into(),
            token: None,
            user: None,
            password: None,
            header: None,
            key: None,
            prefix: None,
            service: None,
            aws: None,
            token_url: None,
            client_id: None,
            client_secret: None,
            scope: None,
            audience: None,
            parameters: BTreeMap::new(),
            credentials_in: None,
        }
    }

    /// What is wrong with it. `urls` are where requests go.
    pub fn problems<'u>(&self, urls: impl IntoIterator<Item = &'u Url>) -> Vec<Problem> {
        let kind = *self.r#type.value();
        let mut problems = Vec::new();
        for (of, name, stated, required) in self.settings() {
            match stated {
                Some(span) if of != kind => {
                    let message = format!("`{name}` is no setting of an `auth` of type `{kind}`");
                    problems.push(Problem::error(span, message, format!("it belongs to `{of}`: remove one")));
                }
                None if of == kind && required => {
                    let message = format!("an `auth` of type `{kind}` needs `{name}`");
                    problems.push(Problem::error(self.r#type.span(), message, format!("add {name} = …")));
                }
                _ => {}
            }
        }
        for (name, secret) in self.secrets() {
            let label = match secret.reveal() {
                "" => "set the variable or fill the file; its text is the secret",
                text if text.trim() != text => "no header can carry white space at an end",
                text if text.chars().any(char::is_control) => "no header can carry line breaks",
                _ => continue,
            };
            problems.push(Problem::error(secret.span(), format!("`{name}` is no secret to send"), label));
        }
        if let Some(header) = &self.header {
            let shown = header.value().escape_debug();
            if HeaderName::try_from(header.as_str()).is_err() {
                let message = format!("`{shown}` cannot be the name of a header");
                problems.push(Problem::error(header.span(), message, "write one as \"X-Api-Key\""));
            } else if OURS.iter().any(|ours| header.eq_ignore_ascii_case(ours)) {
                let message = format!("`{shown}` is no header for a key: the request itself decides it");
                problems.push(Problem::error(header.span(), message, "write the one the server asks for"));
            }
        }
        if let Some(prefix) =
            self.prefix.as_ref().filter(|prefix| HeaderValue::try_from(prefix.value()).is_err())
        {
            let label = "leave line breaks out";
            problems.push(Problem::error(prefix.span(), "no header can carry this `prefix`", label));
        }
        for (name, value) in &self.parameters {
            let (message, label) = match name.as_str() {
                "grant_type" => ("only client credentials are asked for".to_owned(), "take it out"),
                "scope" | "audience" | "client_id" | "client_secret" => {
                    (format!("`{name}` has a setting of its own"), "write it beside `parameters`")
                }
                _ => continue,
            };
            problems.push(Problem::error(value.span(), message, label));
        }
        if let Some(user) = self.user.as_ref().filter(|user| user.contains(':')) {
            let label = "basic authorisation ends the name at the first one";
            problems.push(Problem::error(user.span(), "`user` has a colon", label));
        }
        if let Some(url) = &self.token_url {
            match Url::parse(url) {
                Err(error) => {
                    let message = format!("`token_url` is not a URL: {error}");
                    let label = "write one as \"https://login.example.com/oauth2/token\"";
                    problems.push(Problem::error(url.span(), message, label));
                }
                Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
                    let message = "a user or password cannot stand in the URL";
                    let label = "take it out: `client_id` and `client_secret` are sent";
                    problems.push(Problem::error(url.span(), message, label));
                }
                Ok(parsed) if !may_carry_secrets(&parsed) => {
                    let message = "the client's secret would cross the network as it is";
                    problems.push(Problem::error(url.span(), message, "write https://…"));
                }
                Ok(_) => {}
            }
        }
        // A signature tells nobody the key.
        if kind != Kind::Aws && !urls.into_iter().all(may_carry_secrets) {
            let message = "what authorises requests would cross the network as it is";
            problems.push(Problem::error(self.r#type.span(), message, "write https://… as the sink's URL"));
        }
        problems
    }

    /// What is asked for with a token, by name.
    fn asks(&self) -> Vec<(String, String)> {
        let named = [("scope", &self.scope), ("audience", &self.audience)];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let others = self.parameters.iter().map(|(name, value)| (name.as_str(), value));
        named.chain(others).map(|(name, value)| (name.to_owned(), value.value().clone())).collect()
    }

    /// Each setting: the type it belongs to, its name, where it is stated, whether it has to be.
    fn settings(&self) -> [(Kind, &'static str, Option<Range<usize>>, bool); 15] {
        fn span<T>(at: &Option<At<T>>) -> Option<Range<usize>> {
            at.as_ref().map(At::span)
        }
        [
            (Kind::Bearer, "token", span(&self.token), true),
            (Kind::Basic, "user", span(&self.user), true),
            (Kind::Basic, "password", span(&self.password), true),
            (Kind::ApiKey, "header", span(&self.header), true),
            (Kind::ApiKey, "key", span(&self.key), true),
            (Kind::ApiKey, "prefix", span(&self.prefix), false),
            (Kind::Aws, "service", span(&self.service), false),
            (Kind::Aws, "aws", span(&self.aws), false),
            (Kind::Oauth2, "token_url", span(&self.token_url), true),
            (Kind::Oauth2, "client_id", span(&self.client_id), true),
            (Kind::Oauth2, "client_secret", span(&self.client_secret), true),
            (Kind::Oauth2, "scope", span(&self.scope), false),
            (Kind::Oauth2, "audience", span(&self.audience), false),
            (Kind::Oauth2, "parameters", self.parameters.values().next().map(At::span), false),
            (Kind::Oauth2, "credentials_in", span(&self.credentials_in), false),
        ]
    }

    fn secrets(&self) -> impl Iterator<Item = (&'static str, &At<Secret>)> {
        let all = [
            ("token", &self.token),
            ("password", &self.password),
            ("key", &self.key),
            ("client_secret", &self.client_secret),
        ];
        all.into_iter().filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
    }
}

/// Authorises the requests of one sink.
pub struct Authorizer {
    current: Mutex<(AuthConfig, Arc<Way>)>,
    client: Client,
    clock: Clock,
}

/// How it is done.
enum Way {
    Header(HeaderName, HeaderValue),
    Sign(sigv4::Signer),
    Token(oauth2::Tokens),
}

/// What one request is authorised with.
pub struct Key(Held);

enum Held {
    Header(HeaderName, HeaderValue),
    Sign(Arc<Way>, sigv4::Found),
}

impl Key {
    fn token(token: HeaderValue) -> Key {
        Key(Held::Header(AUTHORIZATION, token))
    }
}

impl Authorizer {
    /// Makes one; nothing is fetched yet. `client` asks for tokens: that of the sink, with its proxy and certificates.
    ///
    /// # Errors
    /// What is wrong with the settings, in words.
    pub fn build(config: &AuthConfig, client: &Client, clock: &Clock) -> Result<Authorizer, String> {
        let way = Arc::new(Way::of(config)?);
        let (client, clock) = (client.clone(), clock.clone());
        Ok(Authorizer { current: Mutex::new((config.clone(), way)), client, clock })
    }

    /// What a request is authorised with; fetched where there is none.
    ///
    /// # Errors
    /// There is no token and no credentials to be had: for now, or until somebody does something.
    pub async fn key(&self) -> Result<Key, Trouble> {
        let way = self.way();
        Ok(match &*way {
            Way::Header(name, value) => Key(Held::Header(name.clone(), value.clone())),
            Way::Sign(signer) => Key(Held::Sign(way.clone(), signer.get(&self.clock).await?)),
            Way::Token(tokens) => Key::token(tokens.get(&self.client, &self.clock).await?),
        })
    }

    /// The same at once, where nothing has to be fetched for it.
    pub fn at_hand(&self) -> Option<Key> {
        let way = self.way();
        match &*way {
            Way::Header(name, value) => Some(Key(Held::Header(name.clone(), value.clone()))),
            Way::Sign(signer) => Some(Key(Held::Sign(way.clone(), signer.at_hand(&self.clock)?))),
            Way::Token(tokens) => tokens.at_hand(&self.clock).map(Key::token),
        }
    }

    /// Adds to a request what authorises it, in the place of what was there. The last thing that is done to a request: the
    /// URL, the headers and the body are signed as they are.
    ///
    /// # Errors
    /// It cannot be signed, and why.
    pub fn authorize(&self, request: &mut Request, key: Key) -> Result<(), Trouble> {
        match key.0 {
            Held::Header(name, value) => drop(request.headers_mut().insert(name, value)),
            Held::Sign(way, found) => {
                if let Way::Sign(signer) = &*way {
                    signer.sign(request, found, &self.clock)?;
                }
            }
        }
        Ok(())
    }

    /// Notes that a request was refused (401; for `aws`, 403, too). Returns whether it is worth while to send it again at
    /// once: what was kept is then fetched anew. That is done once; what is refused after that stays refused.
    pub fn refused(&self) -> bool {
        match &*self.way() {
            Way::Header(..) => false,
            Way::Sign(signer) => signer.refused(&self.clock),
            Way::Token(tokens) => tokens.refused(&self.clock),
        }
    }

    /// Takes these settings from now on: secrets that were read again. Where nothing has changed, what is kept stays.
    ///
    /// # Errors
    /// What is wrong with them, in words; then those known before stay.
    pub fn renew(&self, config: &AuthConfig) -> Result<(), String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != *config {
            *current = (config.clone(), Arc::new(Way::of(config)?));
        }
        Ok(())
    }

    fn way(&self) -> Arc<Way> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Way {
    fn of(config: &AuthConfig) -> Result<Way, String> {
        fn given<'a, T>(at: &'a Option<At<T>>, name: &str) -> Result<&'a T, String> {
            at.as_ref().map(At::value).ok_or_else(|| format!("`auth` has no `{name}`"))
        }
        let secret = |text: String| {
            let mut value = HeaderValue::try_from(text).map_err(|_| "no header can carry the secret")?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        Ok(match config.r#type.value() {
            Kind::Bearer => {
                let token = given(&config.token, "token")?.reveal();
                Way::Header(AUTHORIZATION, secret(format!("Bearer {token}"))?)
            }
            Kind::Basic => {
                let user = given(&config.user, "user")?;
                let password = given(&config.password, "password")?.reveal();
                Way::Header(AUTHORIZATION, secret(basic(user, password))?)
            }
            Kind::ApiKey => {
                let name = HeaderName::try_from(given(&config.header, "header")?)
                    .map_err(|_| "`header` cannot be the name of a header")?;
                let key = given(&config.key, "key")?.reveal();
                let prefix = config.prefix.as_ref().map(|prefix| format!("{} ", prefix.value()));
                Way::Header(name, secret(prefix.unwrap_or_default() + key)?)
            }
            Kind::Aws => Way::Sign(sigv4::Signer::new(config)),
            Kind::Oauth2 => Way::Token(oauth2::Tokens::new(oauth2::Client {
                url: Url::parse(given(&config.token_url, "token_url")?)
                    .map_err(|error| format!("`token_url`: {error}"))?,
                id: given(&config.client_id, "client_id")?.clone(),
                secret: given(&config.client_secret, "client_secret")?.clone(),
                asks: config.asks(),
                credentials_in: config.credentials_in.as_ref().map_or(CredentialsIn::Body, |at| *at.value()),
            })?),
        })
    }
}

/// `Basic …`, the value of a header.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests;
