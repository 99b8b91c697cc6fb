//! How a server is reached: connections, certificates, proxies; and what comes back of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Identity, Proxy, Request, Url, redirect};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::may_carry_secrets;
use super::handed::Handed;
use crate::clock::Timestamp;
use crate::config::{At, Duration as Span, ValueError};
use crate::telemetry::escaped;

/// Bytes of an answer that are kept for messages.
const SHOWN: usize = 1000;
/// The shortest time-out that can be meant.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest `Retry-After` that is honoured: a server that says more says that it does not know.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How the server is reached.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Connection")]
pub struct Connection {
    /// How long a request may take, answer included; then it is tried again. Time.
    pub timeout: At<Span>,
    /// How long a connection may take. Time.
    pub connect_timeout: At<Span>,
    /// Requests on their way at a time. Default: found out, up to 64, by how fast the answers come. A count.
    pub concurrency: Option<At<std::num::NonZeroU32>>,
    /// A proxy: `http://host:port`. Default: what the environment says (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), where a proxy's
    /// password goes, too.
    pub proxy: Option<At<String>>,
    /// A file of certificates (PEM) of those who may sign the server's. Default: whom the system trusts; where it is set, only these.
    pub ca_file: Option<At<PathBuf>>,
    /// A file with the certificate that is shown to the server (PEM, the chain).
    pub cert_file: Option<At<PathBuf>>,
    /// A file with its private key (PEM).
    pub key_file: Option<At<PathBuf>>,
    /// Whether the server's certificate is NOT verified: anybody in between can then read and change everything, secrets too.
    pub danger_accept_any_certificate: bool,
}

impl Default for Connection {
    fn default() -> Connection {
        Connection {
            timeout: Span::seconds(60).into(),
            connect_timeout: Span::seconds(10).into(),
            concurrency: None,
            proxy: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            danger_accept_any_certificate: false,
        }
    }
}

impl Connection {
    /// Builds a client; reads the files. Blocks.
    ///
    /// # Errors
    /// Which setting cannot be used, and why.
    pub fn client(&self, sink: &str) -> Result<Client, String> {
        let proxies = match &self.proxy {
            Some(proxy) => Matcher::builder().all(proxy.value().as_str()).build(),
            None => Matcher::from_env(),
        };
        let read =
            |path: &Path| std::fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()));
        let bad = |path: &Path, what: &str| format!("{}: {what}", path.display());
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("trailship/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(self.timeout.get())
            .connect_timeout(self.connect_timeout.get())
            .http2_adaptive_window(true);
        if let Some(file) = &self.ca_file {
            let found = Certificate::from_pem_bundle(&read(file.value())?);
            let certificates = found.ok().filter(|found| !found.is_empty());
            builder = builder.tls_certs_only(
                certificates.ok_or_else(|| bad(file.value(), "holds no certificate in PEM form"))?,
            );
        }
        if let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) {
            let mut pem = read(certificate.value())?;
            pem.push(b'\n');
            pem.extend(read(key.value())?);
            let identity = Identity::from_pem(&pem);
            builder = builder.identity(identity.map_err(|_| {
                let with =
                    format!("holds no certificate that goes with the key of {}", key.value().display());
                bad(certificate.value(), &with)
            })?);
        }
        if let Some(proxy) = &self.proxy {
            let proxy = Proxy::all(proxy.value()).map_err(|_| format!("`{}` is no proxy", proxy.value()))?;
            builder = builder.proxy(proxy);
        }
        if self.danger_accept_any_certificate {
            tracing::warn!(
                sink,
                "the server's certificate is not verified: anybody in between can read and change what is sent"
            );
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let http = builder.build().map_err(|error| format!("setting up connections: {}", chain(&error)))?;
        Ok(Client { http, proxies: Arc::new(proxies) })
    }

    /// What is wrong with the settings together, and where.
    pub fn problems(&self) -> Vec<(std::ops::Range<usize>, ValueError)> {
        let mut problems = Vec::new();
        let alone = match (&self.cert_file, &self.key_file) {
            (Some(only), None) => Some((only.span(), "key_file")),
            (None, Some(only)) => Some((only.span(), "cert_file")),
            _ => None,
        };
        if let Some((span, other)) = alone {
            let error = ValueError::new("a certificate needs its key", format!("write `{other}`, too"));
            problems.push((span, error));
        }
        for (span, time) in
            [(self.timeout.span(), &self.timeout), (self.connect_timeout.span(), &self.connect_timeout)]
        {
            if time.get() < SHORTEST {
                let error = ValueError::new("no request can be so quick", "write a few seconds");
                problems.push((span, error));
            }
        }
        if let Some(proxy) = &self.proxy {
            let url = Url::parse(proxy.value()).ok().filter(Url::has_host);
            let error = match url.filter(|url| matches!(url.scheme(), "http" | "https")) {
                None => Some(("is not the URL of a proxy", "write \"http://host:port\"")),
                Some(url) if url.password().is_some() => Some((
                    "a proxy's password cannot be written here",
                    "put the whole URL into HTTPS_PROXY in the environment",
                )),
                Some(_) => None,
            };
            problems.extend(error.map(|(message, hint)| (proxy.span(), ValueError::new(message, hint))));
        }
        problems
    }
}

/// A URL that is sent to; shown without what may be a secret in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not show it.
    pub fn parse(text: &str) -> Result<Target, ValueError> {
        let hint = "write a URL, as in \"https://logs.example.com:8088/path\"";
        let url = Url::parse(text.trim())
            .map_err(|error| ValueError::new(format!("this is not a URL: {error}"), hint))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ValueError::new("this is not the URL of a server", hint));
        }
        if url.port() == Some(0) {
            return Err(ValueError::new("no server listens on port 0", hint));
        }
        if url.fragment().is_some() {
            let hint =
                "leave the `#` and what follows it out: it is never sent; in a password or a path it is %23";
            return Err(ValueError::new("the URL has a fragment", hint));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let hint = "take it out, and write auth = { type = \"basic\", user = …, password = { env = … } }";
            return Err(ValueError::new("a user or password cannot stand in the URL", hint));
        }
        Ok(Target(url))
    }

    /// The URL. Whoever calls this must not log it.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether what is sent can be read on the way.
    pub fn is_open(&self) -> bool {
        !may_carry_secrets(&self.0)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.origin().ascii_serialization())
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Which proxy a request goes through, for messages.
    proxies: Arc<Matcher>,
}

/// How an answer is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Bytes of its body that are read, at most; the connection is given up where there are more.
    pub most: usize,
    /// Whether a success is one whatever becomes of its body.
    pub status_decides: bool,
}

impl From<usize> for Reading {
    fn from(most: usize) -> Reading {
        Reading { most, status_decides: false }
    }
}

/// There was no answer.
#[derive(Clone, Debug)]
pub struct Unanswered {
    /// Who did not answer, through whom it was asked, and what happened.
    pub message: String,
    /// The request may have arrived.
    pub connected: bool,
    /// It took too long.
    pub timed_out: bool,
}

/// What came back, its body cut.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as much as is read of it.
    pub body: Bytes,
    /// Whether there was more.
    pub cut: bool,
    /// Whether it came before the request was sent to its end.
    pub early: bool,
    /// What the request carried that must not be shown.
    secrets: Vec<String>,
}

impl Client {
    /// One without a proxy, with this for its connections.
    #[cfg(test)]
    pub fn plain(http: reqwest::Client) -> Client {
        Client { http, proxies: Arc::new(Matcher::builder().build()) }
    }

    /// Sends a request and reads its answer. `body` is the request's, where it may be large.
    ///
    /// # Errors
    /// There was no answer, or not the whole of it that is read.
    pub async fn send(
        &self,
        mut request: Request,
        body: Option<&Bytes>,
        reading: impl Into<Reading>,
    ) -> Result<Answer, Unanswered> {
        let Reading { most, status_decides } = reading.into();
        let secrets = secrets_of(&request);
        let url = request.url().clone();
        let unanswered = |error: reqwest::Error| Unanswered {
            connected: !error.is_connect(),
            timed_out: error.is_timeout(),
            message: format!("{}: {}", self.place(&url), chain(&error.without_url())),
        };
        let handed = body.map_or_else(Handed::default, |body| Handed::over(&mut request, body));
        let mut response = self.http.execute(request).await.map_err(unanswered)?;
        let early = !handed.is_over();
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let decided = status_decides && status.is_success();
        let (mut body, mut cut) = (BytesMut::new(), false);
        while !cut {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) => {
                    let room = most - body.len();
                    cut = chunk.len() > room;
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Err(_) if decided => cut = true,
                Err(error) => return Err(unanswered(error)),
            }
        }
        Ok(Answer { status, headers, body: body.freeze(), cut, early, secrets })
    }

    /// Whom a request to this URL goes to, and through which proxy, without what may be a secret.
    pub fn place(&self, url: &Url) -> String {
        let server = url.origin().ascii_serialization();
        let uri = url.as_str().parse().ok();
        match uri.and_then(|uri| self.proxies.intercept(&uri)) {
            Some(proxy) => {
                let (scheme, proxy) = (proxy.uri().scheme_str().unwrap_or("http"), proxy.uri());
                let host = proxy.authority().map_or("", |all| all.as_str().rsplit('@').next().unwrap_or(""));
                format!("{server} through the proxy {scheme}://{host}")
            }
            None => server,
        }
    }
}

impl Answer {
    /// The status and the beginning of the body, for messages: cut, escaped, and without the secrets of the request, which
    /// some servers repeat.
    pub fn shown(&self) -> String {
        // Masked before it is cut: half a secret is one, too.
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(SHOWN * 8)]);
        let text = self.secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "***").into());
        let text = escaped(text[..text.floor_char_boundary(SHOWN)].trim()).into_owned();
        if text.is_empty() { self.status.to_string() } else { format!("{}: {text}", self.status) }
    }

    /// How long the server wants us to wait: `Retry-After` in seconds or as a date.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let date =
                    httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
                let now = Duration::from_nanos(u64::try_from(now.0).unwrap_or(0));
                date.saturating_sub(now)
            }
        };
        Some(wait.min(LONGEST_WAIT))
    }
}

/// What a request carries that must not be shown: values of secret headers, whole and without the word before, and the path
/// of the URL.
fn secrets_of(request: &reqwest::Request) -> Vec<String> {
    let values = request.headers().values().filter(|value| value.is_sensitive());
    let mut secrets: Vec<String> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| [value, value.rsplit(' ').next().unwrap_or_default()])
        .chain([request.url().path(), request.url().query().unwrap_or_default()])
        .filter(|secret| secret.len() >= 6)
        .map(str::to_owned)
        .collect();
    // What holds another goes first.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// What went wrong without an answer, the causes too, and without the URL: it may be a secret.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        // reqwest says the whole of it again in each part of the chain.
        if !text.contains(&part) {
            let between = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{between}{part}");
        }
        next = error.source();
    }
    escaped(text.get(..SHOWN).unwrap_or(&text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(header: Option<&str>, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
        }
        let body = Bytes::copy_from_slice(body.as_bytes());
        Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers,
            body,
            cut: false,
            early: false,
            secrets: Vec::new(),
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_and_never_believed_for_long() {
        let now = Timestamp::from_seconds(784_111_777);
        let wait = |text| answer(Some(text), "").retry_after(now);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:57 GMT"), Some(Duration::from_secs(20)));
        assert_eq!(wait("Sat, 06 Nov 1993 08:49:57 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("soon"), None);
        assert_eq!(answer(None, "").retry_after(now), None);
    }

    #[test]
    fn a_target_shows_only_where_it_is() {
        let target = Target::parse("https://collector.example.com/receiver/v1/http/c2VjcmV0?x=y").unwrap();
        assert_eq!(
            format!("{target} {target:?}"),
            "https://collector.example.com https://collector.example.com"
        );
        for bad in ["", "collector", "ftp://a/b", "https://", "https://user:pw@host/", "file:///etc/passwd"] {
            let error = Target::parse(bad).unwrap_err();
            assert!(!error.message.contains("pw"), "{}", error.message);
        }
    }

    #[test]
    fn what_is_sent_to_this_machine_cannot_be_read_on_the_way() {
        let open = |text| Target::parse(text).unwrap().is_open();
        assert!(open("http://10.0.0.1:8088/") && open("http://localhost.example.com/"));
        assert!(!open("https://example.com/"));
        for here in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"] {
            assert!(!open(here), "{here}");
        }
    }

    #[test]
    fn what_a_server_repeats_of_the_secrets_is_masked() {
        let mut request = reqwest::Request::new(
            http::Method::POST,
            Url::parse("https://a.example/in/c2VjcmV0?k=s3cret").unwrap(),
        );
        let mut value = http::HeaderValue::from_static("Bearer t0ken-1");
        value.set_sensitive(true);
        request.headers_mut().insert(http::header::AUTHORIZATION, value);
        let body = "no: Bearer t0ken-1, t0ken-1, POST /in/c2VjcmV0?k=s3cret";
        let answer = Answer { secrets: secrets_of(&request), ..answer(None, body) };
        assert_eq!(answer.shown(), "503 Service Unavailable: no: ***, ***, POST ***?***");
    }

    #[test]
    fn an_answer_is_shown_cut_and_escaped() {
        let shown = answer(None, &format!("busy\u{1b}[2J{}", "x".repeat(5000))).shown();
        assert!(shown.starts_with("503 Service Unavailable: busy\\u{1b}[2Jxxx"), "{shown}");
        assert!(shown.len() < 1100);
        assert_eq!(answer(None, " ").shown(), "503 Service Unavailable");
    }
}
