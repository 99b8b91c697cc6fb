//! Sends events to Splunk: the event endpoint of the HTTP Event Collector.
//!
//! ```toml
//! [sinks.splunk]
//! type = "splunk_hec"
//! url = "https://hec.example.com:8088"
//! token = { env = "HEC_TOKEN" }
//! index = "security"
//! ```
//!
//! An event is the record as AWS wrote it, so that the AWS add-on's extractions work, with its own time and a few indexed
//! fields beside it (`encode/frame/splunk.rs`). What an answer means stands in `splunk_hec/answer.rs`.
//!
//! Where the token has indexer acknowledgment, a request counts as delivered when Splunk says that its events are indexed
//! (`splunk_hec/acks.rs`); where it has not, when they are received. Several endpoints are asked in turns, one that is down is
//! left out for a while.
//!
//! Source: *Splunk Enterprise, Getting Data In: Format events for HTTP Event Collector; About HTTP Event Collector Indexer
//! Acknowledgment; Troubleshoot HTTP Event Collector*.

mod acks;
mod answer;
#[doc(hidden)]
pub mod fuzz;
mod node;
mod numbers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::Request;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::acks::{Acks, Post};
use self::answer::{Meaning, Said};
use self::node::Node;
use crate::clock::Clock;
use crate::config::{At, ByteSize, Duration as Span, Match, OneOrMany, Problem, Secret};
use crate::encode::compress::Compression;
use crate::encode::frame::splunk::{Fields, Stored};
use crate::encode::frame::{Around, Frame, Splunk};
use crate::encode::packer::Packing;
use crate::sink::Build;
use crate::sink::deliver::auth::{AuthConfig, Kind};
use crate::sink::deliver::batch::{Encoding, Usual};
use crate::sink::deliver::{
    Answer, Batch, Connection, Deliver, Endpoint, Judged, Part, Promise, Protocol, Service, Target,
};

/// Splunk's sourcetype for CloudTrail, that of its AWS add-on.
const SOURCETYPE: &str = "aws:cloudtrail";

/// Bytes of a request that Splunk takes as it comes (`max_content_length`).
const MOST: ByteSize = ByteSize::mib(800);

/// Sends events to Splunk's HTTP Event Collector.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkSplunkHec")]
pub struct Config {
    /// Where the collector is: `https://host:8088`, without a path. One or a list; of several each takes its turn, and one that is down is left
    /// out for a while. Required.
    pub url: OneOrMany<At<String>>,
    /// The token. Read again at SIGHUP. Required.
    pub token: At<Secret>,
    /// The index that events go to; the token has to be allowed to write there. Default: the token's own.
    #[serde(default)]
    pub index: Option<At<String>>,
    /// The source that events are of. Default: the token's own.
    #[serde(default)]
    pub source: Option<At<String>>,
    /// The host that events are of. Default: the token's own.
    #[serde(default)]
    pub host: Option<At<String>>,
    /// The sourcetype of events. With another the searches and detections of Splunk's AWS add-on do not find them.
    #[serde(default = "sourcetype")]
    pub sourcetype: At<String>,
    /// Which fields are indexed beside the event: `account`, `environment` and `signals`. The latter two are what the transforms
    /// of these names have said.
    #[serde(default = "all_fields")]
    pub fields: Vec<At<Field>>,
    /// When events count as delivered.
    #[serde(default)]
    pub acknowledgement: Acknowledgement,
    /// How often Splunk is asked which events are indexed. Time.
    #[serde(default = "poll")]
    pub ack_poll: At<Span>,
    /// How long an acknowledgement is waited for; then the events are sent again, and counted as possible duplicates. Time.
    #[serde(default = "patience")]
    pub ack_timeout: At<Span>,
    /// How much one request holds. Default: 1 MB, gzip.
    #[serde(default)]
    pub batch: Batch,
    /// How the server is reached.
    #[serde(default)]
    pub connection: Connection,
    /// How records are written. Splunk's AWS add-on knows them as AWS wrote them, `nested`, only. Default: the pipeline's shape,
    /// else `nested`.
    #[serde(default)]
    pub shape: Option<At<String>>,
    /// Which records are sent there, as an event pattern over the nested record. Default: all.
    #[serde(default)]
    pub r#match: Option<Match>,
}

/// A field that is indexed beside the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SplunkField")]
pub enum Field {
    /// The account that the event was recorded in: 12 digits.
    Account,
    /// The environment of that account.
    Environment,
    /// The signals of the event, a list.
    Signals,
}

/// When events count as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledgement {
    /// When they are indexed, where the token has indexer acknowledgment; else when they are received.
    #[default]
    Auto,
    /// When they are received.
    Off,
}

fn sourcetype() -> At<String> {
    SOURCETYPE.to_owned().into()
}

fn all_fields() -> Vec<At<Field>> {
    [Field::Account, Field::Environment, Field::Signals].map(At::from).into()
}

fn poll() -> At<Span> {
    Span::seconds(10).into()
}

fn patience() -> At<Span> {
    Span::minutes(5).into()
}

impl Config {
    /// What is wrong with its settings together.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut known: Vec<(&At<String>, Target)> = Vec::new();
        for url in self.url.iter() {
            let target = match Target::parse(url) {
                Ok(target) => target,
                Err(error) => {
                    problems.push(Problem::error(url.span(), &error.message, &error.hint));
                    continue;
                }
            };
            if target.is_open() {
                let message = "the token would cross the network as it is";
                problems.push(Problem::error(url.span(), message, "write https://…"));
            }
            if node::base(target.url().path()).contains("/services/") {
                let message = "this is not where events are sent to";
                let label = "leave the path out, or write /services/collector/event";
                problems.push(Problem::error(url.span(), message, label));
            }
            if target.url().query().is_some() {
                let label = "write where the collector is, as in \"https://hec.example.com:8088\"";
                problems.push(Problem::error(url.span(), "the URL has a query", label));
            }
            if let Some((first, _)) = known.iter().find(|(_, other)| *other == target) {
                let problem = Problem::error(url.span(), "this endpoint is named twice", "remove one");
                problems.push(problem.and(first.span(), "the first"));
            }
            known.push((url, target));
        }
        let token = self.token.value().reveal();
        let label = match token {
            "" => Some("set the variable or fill the file; its text is the token"),
            _ if token.starts_with("Splunk ") => Some("leave the word `Splunk` out: it is sent anyway"),
            _ if HeaderValue::try_from(token).is_err() || token.trim() != token => {
                Some("no header can carry line breaks, or white space at an end")
            }
            _ => None,
        };
        if let Some(label) = label {
            problems.push(Problem::error(self.token.span(), "`token` is no token", label));
        }
        let named = [("index", &self.index), ("source", &self.source), ("host", &self.host)];
        for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            if value.is_empty() {
                let label = "leave it out for what the token says";
                problems.push(Problem::error(value.span(), format!("`{name}` is empty"), label));
            }
        }
        if self.sourcetype.is_empty() {
            let label = format!("write \"{SOURCETYPE}\", or leave it out");
            problems.push(Problem::error(self.sourcetype.span(), "`sourcetype` is empty", label));
        }
        for (at, field) in self.fields.iter().enumerate() {
            if let Some(first) = self.fields.iter().take(at).find(|first| first.value() == field.value()) {
                let problem = Problem::error(field.span(), "this field is named twice", "remove one");
                problems.push(problem.and(first.span(), "the first"));
            }
        }
        problems.extend(self.batch.problems(Some(MOST)));
        if let Some(encoding) = self.batch.compression.as_ref().filter(|chosen| ***chosen == Encoding::Zstd) {
            let label = "write \"gzip\" or \"none\"";
            problems.push(Problem::error(encoding.span(), "Splunk does not take zstd", label));
        }
        if self.ack_poll.get() < Duration::from_millis(100) {
            let label = "Splunk advises \"10s\"";
            problems.push(Problem::error(self.ack_poll.span(), "`ack_poll` is too short", label));
        }
        if self.ack_timeout.get() < self.ack_poll.get() * 2 {
            let label = "within it Splunk has to be asked twice: write \"5 min\"";
            problems.push(Problem::error(self.ack_timeout.span(), "`ack_timeout` is too short", label));
        }
        let connection = self.connection.problems().into_iter();
        problems.extend(connection.map(|(span, error)| Problem::error(span, error.message, error.hint)));
        problems
    }

    /// What its payloads must be.
    pub fn packing(&self) -> Packing {
        let text = |value: &Option<At<String>>| value.as_ref().map(|value| value.value().clone());
        let (host, source, index) = (text(&self.host), text(&self.source), text(&self.index));
        let stored = Stored {
            host: host.as_deref(),
            source: source.as_deref(),
            sourcetype: Some(&self.sourcetype),
            index: index.as_deref(),
        };
        let has = |field| self.fields.iter().any(|named| *named.value() == field);
        let fields = Fields {
            account: has(Field::Account),
            environment: has(Field::Environment),
            signals: has(Field::Signals),
        };
        let frame = Frame::lines().around(Around::Splunk(Splunk::new(stored, fields)));
        let usual =
            Usual { bytes: ByteSize::bytes(1_000_000), events: 10_000, compression: Compression::Gzip };
        self.batch.packing(usual, frame)
    }

    /// Builds the sink. Blocks.
    ///
    /// # Errors
    /// Why it cannot start, in words.
    pub fn build(&self, build: &Build<'_>) -> Result<Deliver<Collector>, String> {
        let targets = self.url.iter().map(|url| Target::parse(url).map_err(|error| error.message));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let nodes = targets.iter().map(|target| Arc::new(Node::new(target))).collect();
        let service = Service::build(targets, &self.connection, Some(&self.auth()), build)?;
        let packing = self.packing();
        let collector = Collector {
            name: build.name.to_owned(),
            nodes,
            encoding: packing.compression.header().map(HeaderValue::from_static),
            acks: Acks::new(self.ack_poll.get(), self.ack_timeout.get()),
            acknowledgement: self.acknowledgement,
            index: self.index.as_ref().map(|index| index.value().clone()),
            learned: AtomicU8::new(UNKNOWN),
            clock: build.clock.clone(),
        };
        if self.acknowledgement == Acknowledgement::Off {
            collector.say_received();
        }
        Ok(Deliver::new(collector, service, &self.connection, packing, build.figures))
    }

    /// How its requests are let in: `Authorization: Splunk …`.
    pub fn auth(&self) -> AuthConfig {
        AuthConfig {
            header: Some(AUTHORIZATION.as_str().to_owned().into()),
            prefix: Some("Splunk".to_owned().into()),
            key: Some(self.token.clone()),
            ..AuthConfig::of(Kind::ApiKey)
        }
    }
}

/// Speaks to the collector.
pub struct Collector {
    name: String,
    /// One for each endpoint.
    nodes: Vec<Arc<Node>>,
    encoding: Option<HeaderValue>,
    acks: Acks,
    acknowledgement: Acknowledgement,
    index: Option<String>,
    /// Whether answers have an `ackId`, as far as it is known.
    learned: AtomicU8,
    clock: Clock,
}

/// Nothing was answered yet.
const UNKNOWN: u8 = 0;
/// Answers have no `ackId`.
const RECEIVED: u8 = 1;
/// Answers have one.
const ACKNOWLEDGED: u8 = 2;

impl Collector {
    fn say_received(&self) {
        tracing::info!(
            sink = self.name,
            "events count as delivered when Splunk has received them: received, not indexed"
        );
    }

    /// The events are there. Whether that is all there is to know says the answer.
    fn received(&self, post: Post, said: &Said) -> Judged {
        let learned = if said.ack.is_some() { ACKNOWLEDGED } else { RECEIVED };
        let before = self.learned.swap(learned, Ordering::Relaxed);
        match (self.acknowledgement, said.ack) {
            (Acknowledgement::Auto, Some(ack)) => {
                if before != learned {
                    tracing::info!(
                        sink = self.name,
                        "the token has indexer acknowledgment: events count as delivered when Splunk has indexed them"
                    );
                }
                return Judged::Received(self.acks.promised(post, ack));
            }
            (Acknowledgement::Auto, None) => {
                if before != learned {
                    self.say_received();
                }
            }
            (Acknowledgement::Off, Some(_)) => {
                if before != learned {
                    tracing::warn!(
                        sink = self.name,
                        "the token has indexer acknowledgment, and Splunk keeps what nobody asks for: write acknowledgement = \"auto\", or turn it off for the token"
                    );
                }
            }
            (Acknowledgement::Off, None) => {}
        }
        post.has_none();
        Judged::Taken
    }
}

impl Protocol for Collector {
    type Sent = Post;

    fn health(&self, endpoint: &Endpoint) -> Option<Request> {
        self.nodes.get(endpoint.number()).map(|node| node.health())
    }

    fn request(&self, _: &Part, endpoint: &Endpoint) -> (Request, Post) {
        let node = &self.nodes[endpoint.number()];
        let (mut request, channel) = node.post();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(encoding) = &self.encoding {
            headers.insert(CONTENT_ENCODING, encoding.clone());
        }
        (request, Post::begin(node, channel))
    }

    fn unsent(&self, post: Post) {
        post.has_none();
    }

    fn judge(&self, answer: &Answer, part: &Part, endpoint: &Endpoint, post: Post) -> Judged {
        post.node().take_cookies(&answer.headers);
        let said = Said::read(&answer.body);
        let place = endpoint.target();
        let advice = said.advice(answer.status.as_u16(), self.index.as_deref());
        let message = || format!("{place} answers {}{advice}", answer.shown());
        if answer.cut {
            let message =
                format!("{place} answers more than a collector has to say, beginning {}", answer.shown());
            return Judged::Retry { message, after: None, elsewhere: false };
        }
        let meaning = said.means(answer.status.as_u16(), part.records);
        if meaning == Meaning::Received {
            return self.received(post, &said);
        }
        // What somebody in between says tells nothing of what the collector has done.
        if said.code.is_some() {
            post.has_none();
        }
        match meaning {
            Meaning::Received => Judged::Taken,
            Meaning::Invalid(at) => Judged::Invalid(at, message()),
            Meaning::Refused => Judged::Refused(message()),
            Meaning::Split => Judged::Split(message()),
            Meaning::Pause => Judged::Pause(message()),
            Meaning::Retry { elsewhere } => {
                let after = answer.retry_after(self.clock.now());
                Judged::Retry { message: message(), after, elsewhere }
            }
        }
    }

    fn is_overloaded(&self, answer: &Answer) -> bool {
        matches!(answer.status.as_u16(), 429 | 503) || Said::read(&answer.body).is_near_capacity()
    }

    async fn confirmed(&self, promise: Promise, service: &Service) -> Result<(), String> {
        self.acks.confirmed(promise, service).await
    }

    fn patience(&self) -> Duration {
        match self.learned.load(Ordering::Relaxed) {
            RECEIVED => Duration::from_secs(10),
            // It is asked for now and then only.
            _ => self.acks.usual() + Duration::from_secs(30),
        }
    }
}
