//! Sends events to any HTTP endpoint: lines, a JSON array, one a request, or in a template of its own.
//!
//! ```toml
//! [sinks.lake]
//! type = "http"
//! url = "https://ingest.example.com/v1/events"
//! format = "json_array"
//! auth = { type = "bearer", token = { env = "INGEST_TOKEN" } }
//! headers = { X-Tenant = "security" }
//! ```
//!
//! What an answer means can be changed (`answers`); as it comes: 2xx, taken; 408, 425, 429 and 5xx, tried again; 413, sent
//! in halves; 400 and 422, refused, and the record it is about is found by halving and goes to rejects; anything else
//! (redirects and 401, 403, 404 among it) is no matter of the events: the sink pauses and says so.

use std::collections::BTreeMap;
use std::str::FromStr;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Request;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::config::{At, ByteSize, Match, Problem, ValueError, read_from_text};
use crate::encode::compress::Compression;
use crate::encode::frame::{Around, Frame, Template};
use crate::encode::packer::Packing;
use crate::sink::Build;
use crate::sink::deliver::auth::OURS;
use crate::sink::deliver::batch::Usual;
use crate::sink::deliver::client::Reading;
use crate::sink::deliver::{
    Answer, AuthConfig, Batch, Connection, Deliver, Endpoint, Judged, Part, Protocol, Service, Target,
};

/// Sends events to any HTTP endpoint.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkHttp")]
pub struct Config {
    /// Where requests go. Only the server's name is ever shown: a URL with a secret in it is written as `{ env = "NAME" }`.
    /// Required.
    pub url: At<String>,
    /// `POST` or `PUT`. Default: `POST`.
    #[serde(default)]
    pub method: Option<At<Verb>>,
    /// How events stand in a request. Default: `ndjson`.
    #[serde(default)]
    pub format: Option<At<Format>>,
    /// What each event is written as, with names in double braces: `{{record}}` (the event, a JSON object), `{{record_text}}`
    /// (the event as text, for between quotes), `{{id}}`, `{{time}}`, `{{time_s}}`, `{{time_ms}}`, `{{time_ns}}`,
    /// `{{account}}`, `{{region}}`, `{{event_name}}`, `{{environment}}`, `{{kind}}`. Default: the event alone.
    #[serde(default)]
    pub template: Option<At<Template>>,
    /// What stands around all events of a request, as `{"Records":[{{events}}]}`. Default: nothing; of `json_array`, brackets.
    #[serde(default)]
    pub envelope: Option<At<Envelope>>,
    /// `Content-Type`. Where it is JSON, `template` and `envelope` have to make JSON. Default: `application/x-ndjson` for lines, else
    /// `application/json`.
    #[serde(default)]
    pub content_type: Option<At<String>>,
    /// Further headers. What is secret belongs into `auth`.
    #[serde(default)]
    pub headers: BTreeMap<String, At<String>>,
    /// How requests are authorised. Default: not at all.
    #[serde(default)]
    pub auth: Option<At<AuthConfig>>,
    /// What answers mean, by status, where it is something else than usual: 408, 425, 429 and 5xx are tried again, 413 is sent in
    /// halves, 400 and 422 refuse events, and with anything else the sink waits until somebody mends it.
    #[serde(default)]
    pub answers: Answers,
    /// How much one request holds. Default: 1 MiB or 1,000 events, not compressed.
    #[serde(default)]
    pub batch: Batch,
    /// How the server is reached.
    #[serde(default)]
    pub connection: Connection,
    /// How records are written: `nested` as AWS wrote them, `flat` with one level of keys, or the name of a shape.
    /// Default: the pipeline's shape, else `nested`.
    #[serde(default)]
    pub shape: Option<At<String>>,
    /// Which records are sent there, as an event pattern over the nested record. Default: all.
    #[serde(default)]
    pub r#match: Option<Match>,
}

/// How events stand in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "HttpFormat")]
pub enum Format {
    /// One on each line.
    #[default]
    Ndjson,
    /// Elements of a JSON array.
    JsonArray,
    /// One event in each request.
    Json,
}

/// The method of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "HttpVerb")]
pub enum Verb {
    /// `POST`
    #[default]
    #[serde(rename = "POST")]
    Post,
    /// `PUT`
    #[serde(rename = "PUT")]
    Put,
}

/// What answers mean, by status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "HttpAnswers")]
pub struct Answers {
    /// Tried again, for ever.
    pub retry: Vec<At<u16>>,
    /// Refused for good: the events go to rejects.
    pub refuse: Vec<At<u16>>,
    /// The sink waits until somebody mends it.
    pub pause: Vec<At<u16>>,
}

/// Text around all events of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    before: String,
    after: String,
}

impl FromStr for Envelope {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Envelope, ValueError> {
        match text.split_once("{{events}}") {
            Some((before, after)) if !after.contains("{{events}}") => {
                Ok(Envelope { before: before.to_owned(), after: after.to_owned() })
            }
            Some(_) => {
                Err(ValueError::new("the envelope has two places for the events", "write {{events}} once"))
            }
            None => {
                let hint = "write {{events}} where they go, as in '{\"Records\":[{{events}}]}'";
                Err(ValueError::new("the envelope has no place for the events", hint))
            }
        }
    }
}

impl std::fmt::Display for Envelope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{{{{events}}}}{}", self.before, self.after)
    }
}

read_from_text!(
    Envelope,
    "text with the events in it, as in '{\"Records\":[{{events}}]}'",
    ["{\"Records\":[{{events}}]}"]
);

/// Words in the name of a header whose value is a secret.
const SECRET_HEADERS: [&str; 7] =
    ["authorization", "api-key", "apikey", "token", "secret", "cookie", "license-key"];

impl Config {
    /// What is wrong with its settings together.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let target = Target::parse(&self.url);
        match &target {
            Err(error) => problems.push(Problem::error(self.url.span(), &error.message, &error.hint)),
            Ok(target) if target.url().query().is_some() && target.is_open() => {
                let message = "what may be a secret in the URL would cross the network as it is";
                problems.push(Problem::error(self.url.span(), message, "write https://…"));
            }
            Ok(_) => {}
        }
        if let Some(auth) = &self.auth {
            problems.extend(auth.problems(target.iter().map(Target::url)));
        }
        let mut names: Vec<&str> = self
            .auth
            .iter()
            .filter_map(|auth| auth.header.as_ref())
            .map(|name| name.value().as_str())
            .collect();
        for (name, value) in &self.headers {
            let twice = names.iter().any(|other| other.eq_ignore_ascii_case(name));
            names.push(name);
            let (message, label) = if HeaderName::try_from(name).is_err() {
                (
                    format!("`{}` cannot be the name of a header", name.escape_debug()),
                    "write one as \"X-Tenant\"",
                )
            } else if HeaderValue::try_from(value.value()).is_err() {
                (format!("no header can carry the value of `{name}`"), "leave line breaks out")
            } else if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
                let label = "leave it out: `content_type`, `batch` and the body say it";
                (format!("`{name}` is not written here"), label)
            } else if SECRET_HEADERS.iter().any(|secret| name.to_ascii_lowercase().contains(secret)) {
                (
                    format!("`{name}` carries a secret"),
                    "write auth = { type = \"api_key\", header = \"…\", key = { env = \"NAME\" } }",
                )
            } else if twice {
                (format!("`{name}` is written twice"), "remove one: large and small letters are the same")
            } else {
                continue;
            };
            problems.push(Problem::error(value.span(), message, label));
        }
        problems.extend(self.not_json());
        problems.extend(self.batch.problems(None));
        if let Some(kind) = &self.content_type
            && HeaderValue::try_from(kind.value()).is_err()
        {
            problems.push(Problem::error(
                kind.span(),
                "no header can carry this `content_type`",
                "leave line breaks out",
            ));
        }
        let mut seen: Vec<&At<u16>> = Vec::new();
        for status in self.answers.retry.iter().chain(&self.answers.refuse).chain(&self.answers.pause) {
            if !(300..600).contains(status.value()) {
                let message = format!("{} is no status that can mean this", status.value());
                problems.push(Problem::error(
                    status.span(),
                    message,
                    "write statuses of 300 to 599; 2xx is always taken",
                ));
            } else if let Some(first) = seen.iter().find(|first| first.value() == status.value()) {
                let message = format!("{} means two things", status.value());
                problems.push(
                    Problem::error(status.span(), message, "take it out of one list")
                        .and(first.span(), "here, too"),
                );
            }
            seen.push(status);
        }
        if self.format() == Format::Json
            && let Some(events) = self.batch.events.as_ref().filter(|events| events.get() > 1)
        {
            let label = "take it out, or write format = \"json_array\"";
            problems.push(Problem::error(events.span(), "a request of `json` holds one event", label));
        }
        problems.extend(
            self.connection
                .problems()
                .into_iter()
                .map(|(span, error)| Problem::error(span, error.message, error.hint)),
        );
        problems
    }

    /// What is no JSON where `content_type` says so: an event in its template, or a request in its envelope.
    fn not_json(&self) -> Option<Problem> {
        let said = self.content_type.as_ref().map(|kind| kind.value().to_ascii_lowercase());
        if said.is_some_and(|kind| !kind.contains("json")) {
            return None;
        }
        let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let mut event = "{}".to_owned();
        if let Some(template) = &self.template {
            event = template.value().sample();
            let note = format!("an event would be {event}");
            if !is_json(&event) {
                let label = match template.value().to_string().contains("\"{{record}}\"") {
                    true => "write {{record}} without quotes, or \"{{record_text}}\"",
                    false => {
                        "write JSON; only {{record}}, {{time_s}}, {{time_ms}} and {{time_ns}} stand without quotes"
                    }
                };
                let problem = Problem::error(template.span(), "an event in this template is no JSON", label);
                return Some(problem.note(note).note("for other text write content_type = \"text/plain\""));
            }
            if self.format() == Format::Ndjson && event.contains('\n') {
                let message = "an event in this template takes more than one line";
                let label = "write it on one: `ndjson` has a line for each event";
                return Some(Problem::error(template.span(), message, label).note(note));
            }
        }
        let envelope = self.envelope.as_ref().filter(|_| self.format() != Format::Ndjson)?;
        let Envelope { before, after } = envelope.value();
        let events = if self.format() == Format::Json { event } else { format!("{event},{event}") };
        let request = format!("{before}{events}{after}");
        (!is_json(&request)).then(|| {
            let label = match self.format() {
                Format::JsonArray => "events stand there with commas between: write [{{events}}]",
                _ => "the event stands there as it is",
            };
            let problem = Problem::error(envelope.span(), "a request in this envelope is no JSON", label);
            problem.note(format!("a request would be {request}"))
        })
    }

    fn format(&self) -> Format {
        self.format.as_ref().map_or(Format::default(), |format| *format.value())
    }

    /// What its payloads must be.
    pub fn packing(&self) -> Packing {
        let frame = match self.format() {
            Format::Ndjson => Frame::lines(),
            Format::JsonArray => Frame::array(),
            Format::Json => Frame::bare(),
        };
        let mut frame = match &self.template {
            Some(template) => frame.around(Around::Template(template.value().clone())),
            None => frame,
        };
        if let Some(envelope) = &self.envelope {
            frame.open = envelope.before.as_bytes().into();
            frame.close = envelope.after.as_bytes().into();
        }
        let usual = Usual { bytes: ByteSize::mib(1), events: 1000, compression: Compression::None };
        let mut packing = self.batch.packing(usual, frame);
        if self.format() == Format::Json {
            packing.max_records = 1;
        }
        packing
    }

    /// Builds the sink. Blocks.
    ///
    /// # Errors
    /// Why it cannot start, in words.
    pub fn build(&self, build: &Build<'_>) -> Result<Deliver<Http>, String> {
        let target = Target::parse(&self.url).map_err(|error| error.message)?;
        let mut headers = HeaderMap::new();
        let kind = self.content_type.as_ref().map_or(
            match self.format() {
                Format::Ndjson => "application/x-ndjson",
                Format::JsonArray | Format::Json => "application/json",
            },
            |kind| kind.value().as_str(),
        );
        let named = |name: &str, value: &str| {
            let bad = |_| format!("`{name}` cannot be a header");
            Ok::<_, String>((
                name.parse::<HeaderName>().map_err(|_| bad(()))?,
                value.parse::<HeaderValue>().map_err(|_| bad(()))?,
            ))
        };
        for (name, value) in &self.headers {
            let (name, value) = named(name, value.value())?;
            headers.insert(name, value);
        }
        let (name, value) = named(CONTENT_TYPE.as_str(), kind)?;
        headers.insert(name, value);
        let packing = self.packing();
        if let Some(encoding) = packing.compression.header() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let method = match self.method.as_ref().map(At::value) {
            Some(Verb::Put) => Method::PUT,
            Some(Verb::Post) | None => Method::POST,
        };
        let auth = self.auth.as_ref().map(At::value);
        let service = Service::build(vec![target], &self.connection, auth, build)?;
        let protocol = Http { method, headers, answers: self.answers.clone(), clock: build.clock.clone() };
        Ok(Deliver::new(protocol, service, &self.connection, packing, build.figures))
    }
}

/// Speaks to an HTTP endpoint.
pub struct Http {
    method: Method,
    headers: HeaderMap,
    answers: Answers,
    clock: Clock,
}

impl Protocol for Http {
    type Sent = ();

    fn request(&self, _: &Part, endpoint: &Endpoint) -> (Request, ()) {
        let mut request = Request::new(self.method.clone(), endpoint.target().url().clone());
        request.headers_mut().clone_from(&self.headers);
        (request, ())
    }

    /// A success is told by its status alone.
    fn reading(&self) -> Reading {
        Reading { most: 64 << 10, status_decides: true }
    }

    fn judge(&self, answer: &Answer, _: &Part, endpoint: &Endpoint, (): ()) -> Judged {
        let status = answer.status;
        if status.is_success() {
            return Judged::Taken;
        }
        let message = format!("{} answers {}", endpoint.target(), answer.shown());
        match meaning(&self.answers, status) {
            Meaning::Retry => {
                let after = answer.retry_after(self.clock.now());
                Judged::Retry { message, after, elsewhere: false }
            }
            Meaning::Split => Judged::Split(message),
            Meaning::Refuse => Judged::Refused(message),
            Meaning::Pause => Judged::Pause(message),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Retry,
    Split,
    Refuse,
    Pause,
}

fn meaning(answers: &Answers, status: StatusCode) -> Meaning {
    let among = |list: &[At<u16>]| list.iter().any(|known| *known.value() == status.as_u16());
    match status.as_u16() {
        _ if among(&answers.retry) => Meaning::Retry,
        _ if among(&answers.refuse) => Meaning::Refuse,
        _ if among(&answers.pause) => Meaning::Pause,
        413 => Meaning::Split,
        408 | 425 | 429 | 500..600 => Meaning::Retry,
        400 | 422 => Meaning::Refuse,
        _ => Meaning::Pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_is_usual_where_nothing_else_is_said() {
        let usual = |status| meaning(&Answers::default(), StatusCode::from_u16(status).unwrap());
        for (statuses, expected) in [
            (&[408, 425, 429, 500, 502, 503, 504, 599][..], Meaning::Retry),
            (&[413], Meaning::Split),
            (&[400, 422], Meaning::Refuse),
            (&[301, 302, 307, 401, 403, 404, 405, 411, 415], Meaning::Pause),
        ] {
            for status in statuses {
                assert_eq!(usual(*status), expected, "{status}");
            }
        }
        let said = Answers { retry: vec![404.into()], refuse: vec![413.into()], pause: vec![500.into()] };
        let of = |status| meaning(&said, StatusCode::from_u16(status).unwrap());
        assert_eq!([of(404), of(413), of(500)], [Meaning::Retry, Meaning::Refuse, Meaning::Pause]);
    }

    #[test]
    fn an_envelope_has_one_place_for_the_events() {
        let envelope: Envelope = "{\"Records\":[{{events}}]}".parse().unwrap();
        assert_eq!(envelope.to_string(), "{\"Records\":[{{events}}]}");
        for bad in ["", "{\"Records\":[]}", "{{events}}{{events}}"] {
            bad.parse::<Envelope>().unwrap_err();
        }
    }
}
