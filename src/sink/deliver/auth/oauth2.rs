//! Tokens for client credentials.
//!
//! Source: RFC 6749, sections 2.3.1, 4.4 and 5.

use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::kept::{Fetched, Kept};
use super::{CredentialsIn, Trouble, basic};
use crate::clock::Clock;
use crate::config::Secret;
use crate::sink::deliver::client;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read, bytes.
const LONGEST: usize = 64 << 10;
/// How long a token is good of which the server does not say it.
const UNSAID: Duration = Duration::from_secs(300);
/// How much of an answer is told, characters.
const TOLD: usize = 300;

/// Who asks for tokens, and where.
pub(super) struct Client {
    pub(super) url: Url,
    pub(super) id: String,
    pub(super) secret: Secret,
    /// What else stands in a request, by name.
    pub(super) asks: Vec<(String, String)>,
    pub(super) credentials_in: CredentialsIn,
}

/// Fetches tokens and keeps them.
pub(super) struct Tokens {
    client: Client,
    /// The same for every token.
    body: String,
    header: Option<HeaderValue>,
    kept: Kept<HeaderValue>,
}

/// What a token is given out with.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

/// What it is refused with.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

impl Tokens {
    /// Makes what asks for them; nothing is fetched yet.
    pub(super) fn new(client: Client) -> Result<Tokens, String> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.extend_pairs(&client.asks);
        let header = match client.credentials_in {
            CredentialsIn::Body => {
                form.append_pair("client_id", &client.id)
                    .append_pair("client_secret", client.secret.reveal());
                None
            }
            CredentialsIn::Header => {
                // Both are form-encoded first (section 2.3.1).
                let coded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let text = basic(&coded(&client.id), &coded(client.secret.reveal()));
                let mut value =
                    HeaderValue::try_from(text).map_err(|_| "no header can carry the client's secret")?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let body = form.finish();
        Ok(Tokens { client, body, header, kept: Kept::default() })
    }

    /// `Bearer …`, as it is kept or new.
    pub(super) async fn get(&self, http: &client::Client, clock: &Clock) -> Result<HeaderValue, Trouble> {
        self.kept.get(clock, || self.fetch(http)).await
    }

    /// The same, where it is kept.
    pub(super) fn at_hand(&self, clock: &Clock) -> Option<HeaderValue> {
        self.kept.at_hand(clock)
    }

    /// See [`super::Authorizer::refused`].
    pub(super) fn refused(&self, clock: &Clock) -> bool {
        self.kept.refused(clock)
    }

    async fn fetch(&self, http: &client::Client) -> Result<Fetched<HeaderValue>, Trouble> {
        let mut request = Request::new(Method::POST, self.client.url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(header) = &self.header {
            headers.insert(AUTHORIZATION, header.clone());
        }
        *request.body_mut() = Some(self.body.clone().into());
        match tokio::time::timeout(PATIENCE, http.send(request, None, LONGEST)).await {
            Err(_) => Err(self.retry(&format!("no answer for {} s", PATIENCE.as_secs()))),
            Ok(Err(unanswered)) => Err(self.retry(&unanswered.message)),
            Ok(Ok(answer)) if answer.status.is_success() => self.token(&answer.body),
            Ok(Ok(answer)) => Err(self.refusal(answer.status, &answer.body)),
        }
    }

    fn token(&self, body: &[u8]) -> Result<Fetched<HeaderValue>, Trouble> {
        let given: serde_json::Value = serde_json::from_slice(body)
            // Something on the way has answered: a proxy, a page.
            .map_err(|_| self.retry("the answer is no JSON"))?;
        let given: Given =
            serde_json::from_value(given).map_err(|_| self.pause("the answer holds no `access_token`"))?;
        if let Some(kind) = given.token_type.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(self.pause(&format!("the token is of type `{kind}`, and only `Bearer` can be used")));
        }
        let mut value = HeaderValue::try_from(format!("Bearer {}", given.access_token))
            .map_err(|_| self.pause("no header can carry the token"))?;
        value.set_sensitive(true);
        // Some servers write the number as text.
        let lasts = given.expires_in.and_then(|lasts| match lasts {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_f64().filter(|seconds| *seconds >= 0.0),
        });
        let lasts = lasts.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
        Ok(Fetched { value, lasts: lasts.unwrap_or(UNSAID) })
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Trouble {
        let said: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let words = match (said.error.as_str(), said.error_description.as_str()) {
            ("", _) => format!("status {}", status.as_u16()),
            (error, "") => format!("status {}: {error}", status.as_u16()),
            (error, description) => format!("status {}: {error}: {description}", status.as_u16()),
        };
        let transient = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            )
            || said.error == "temporarily_unavailable";
        match (transient, status.is_redirection()) {
            (true, _) => self.retry(&words),
            (false, true) => self.pause(&format!("{words}: no redirect is followed: write where it leads")),
            (false, false) => {
                self.pause(&format!("{words}: look at `client_id`, `client_secret`, `scope` and `audience`"))
            }
        }
    }

    fn retry(&self, what: &str) -> Trouble {
        Trouble::Retry { message: self.message(what), after: None }
    }

    fn pause(&self, what: &str) -> Trouble {
        Trouble::Pause { message: self.message(what) }
    }

    /// The words for a trouble, without the secret: a server may repeat what it was sent.
    fn message(&self, what: &str) -> String {
        let what = match self.client.secret.reveal() {
            "" => what.to_owned(),
            secret => what.replace(secret, "***"),
        };
        let what: String = what.chars().take(TOLD).flat_map(char::escape_debug).collect();
        let host = self.client.url.host_str().unwrap_or_default();
        format!("asking {host} for a token as `{}`: {what}", self.client.id.escape_debug())
    }
}
