//! Sends events to OpenSearch (from 2.19 on), to Elasticsearch (from 8.0 on; `type = "elasticsearch"`), and to what AWS runs of
//! them, domains and Serverless.
//!
//! ```toml
//! [sinks.search]
//! type = "opensearch"
//! url = ["https://search-1.example.com:9200", "https://search-2.example.com:9200"]
//! auth = { type = "basic", user = "trailship", password = { env = "SEARCH_PASSWORD" } }
//! lifecycle = { delete_after = "90 d" }
//! ```
//!
//! **Once.** Events are created, under an id that is the same whenever the event is sent: 32 hexadecimal digits, a hash of
//! `eventID` and the account. Indexes are named by the event's own day, so a copy meets the first one wherever it comes from:
//! each event is there exactly once. A data stream begins a new index now and then, and what is sent again after that
//! is there twice; a time series of Serverless takes no ids (`ids = false`). Both are at least once.
//!
//! **Everything is taken.** The index template that is installed follows the shape of the events: fields that are documented have
//! a type that stays, subtrees whose names are AWS's customers' are one field each (`flat_object`, `flattened`; in the flat
//! shape they are text), and other fields are kept and not indexed. What an index would refuse all the same is wrapped, moved
//! to `trailship.unindexed` or renamed, and counted: nested under [`document`].
//!
//! **Answers.** Events refused for now are sent again, alone; events refused for good go to rejects with the server's reason;
//! what is not about events (credentials, a missing permission, a full disk, too many shards) pauses the sink.

#[doc(hidden)]
pub mod bulk;
pub mod document;
pub mod mapping;
mod names;
mod ready;
pub mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Map;

pub use bulk::OpenSearch;

use crate::config::{At, ByteSize, Duration, Match, OneOrMany, Problem};
use crate::encode::Shape;
use crate::encode::compress::Compression;
use crate::encode::frame::{Around, Frame};
use crate::encode::packer::Packing;
use crate::sink::Build;
use crate::sink::deliver::auth::Kind;
use crate::sink::deliver::batch::Usual;
use crate::sink::deliver::{AuthConfig, Batch, Connection, Deliver, Service, Target};
use crate::sink::template::{Oldest, Partitions};
use document::{Counts, Document};
use mapping::{Flavour, Mapping, Type};
use names::{Index, NAMES, bad_name};
use ready::Ready;
use template::Plan;

/// The index where none is configured.
const INDEX: &str = "cloudtrail-{year}.{month}.{day}";
/// Letters that an index begins with, at least, before the first name in braces.
const SHORTEST: usize = 3;
/// Bytes of a request that servers take as they come (`http.max_content_length`).
const MOST: ByteSize = ByteSize::mib(100);
/// Bytes of a request that Serverless takes.
const MOST_SERVERLESS: ByteSize = ByteSize::mib(10);
/// Seconds of a day.
const DAY: u64 = 86_400;

/// Sends events to OpenSearch or Elasticsearch.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkOpensearch")]
pub struct Config {
    /// Where the cluster is, without `/_bulk` or an index; a list of its nodes: requests go to them in turn, and not to those that do not answer. Required.
    pub url: OneOrMany<At<String>>,
    /// Which index an event goes to, with names in braces: `{date}`, `{hour}`, `{year}`, `{month}`, `{day}` (of the event, UTC),
    /// `{account}`, `{region}`, `{environment}`, `{kind}`, `{sink}`. It begins with text that ends with `-`, `_` or `.`: that, with
    /// `*`, is what the index template and the policy are for. Default: `cloudtrail-{year}.{month}.{day}`.
    #[serde(default)]
    pub index: Option<At<Index>>,
    /// A data stream to write to instead of indexes by day. An event that is sent again after a rollover is there twice.
    #[serde(default)]
    pub data_stream: Option<At<String>>,
    /// The oldest event time that is believed: what is older, or more than a day ahead, goes to `out-of-range` instead
    /// of a date. A duration before now, or `any`. Default: `400 d` for live sources, `any` for what is read again.
    #[serde(default)]
    pub oldest: Option<At<Oldest>>,
    /// Whether events carry their id. Without it what is sent again is there twice; time series of OpenSearch Serverless
    /// refuse ids. Default: `true`.
    #[serde(default)]
    pub ids: Option<At<bool>>,
    /// Whether the index template, and the policy where there is a `lifecycle`, are installed before the first event. Somebody else
    /// does it otherwise: what they leave out is guessed by the server, and events are refused for it. Default: `true`.
    #[serde(default)]
    pub manage_template: Option<At<bool>>,
    /// The name of the index template and of the policy. Default: `trailship-` and the sink's name.
    #[serde(default)]
    pub template: Option<At<String>>,
    /// Further fields that are indexed, by dotted path, with their type: what the flat shape makes of tags
    /// (`"trailship.account.tags.team" = "keyword"`) and what is not documented. Default: none.
    #[serde(default)]
    pub fields: BTreeMap<String, At<Type>>,
    /// Settings of the indexes, as the server names them: `number_of_shards = "3"`. Default: the server's.
    #[serde(default)]
    pub index_settings: BTreeMap<String, At<String>>,
    /// When indexes end. Default: never.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// How requests are authorised; `aws` for what AWS runs. Default: not at all.
    #[serde(default)]
    pub auth: Option<At<AuthConfig>>,
    /// How much one request holds. Default: 5 MiB or 5,000 events, compressed by gzip.
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

/// When an index ends, and when the next one of a data stream begins; by a policy of the server (ISM, ILM), which it applies
/// to indexes that are made after it. A policy that is there already is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "OpensearchLifecycle")]
pub struct Lifecycle {
    /// Age at which an index is deleted, in whole days; of a data stream, more than `rollover_age`. Time. Default: never.
    pub delete_after: Option<At<Duration>>,
    /// Age at which a data stream begins its next index, in whole days. Time. Default: never.
    pub rollover_age: Option<At<Duration>>,
    /// Size at which a data stream begins its next index. Default: never.
    pub rollover_size: Option<At<ByteSize>>,
}

impl Config {
    fn index(&self) -> Option<Index> {
        self.index.as_ref().map_or_else(|| INDEX.parse().ok(), |index| Some(index.value().clone()))
    }

    fn manages(&self) -> bool {
        self.manage_template.as_ref().is_none_or(|manage| *manage.value())
    }

    fn is_serverless(&self) -> bool {
        let stated = self.auth.as_ref().and_then(|auth| auth.value().service.as_ref());
        let host = |url: &At<String>| {
            let target = Target::parse(url).ok();
            target.is_some_and(|target| target.url().host_str().is_some_and(|host| host.contains(".aoss.")))
        };
        stated.is_some_and(|service| *service.value() == "aoss") || self.url.iter().any(host)
    }

    /// What is wrong with its settings together.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut targets = Vec::new();
        for url in self.url.iter() {
            match Target::parse(url) {
                Err(error) => problems.push(Problem::error(url.span(), &error.message, &error.hint)),
                Ok(target) if target.url().query().is_some() => {
                    let label = "write it without what follows the `?`";
                    problems.push(Problem::error(url.span(), "a cluster's URL has no query", label));
                }
                Ok(target) => {
                    let mut names = target.url().path_segments().into_iter().flatten();
                    if let Some(name) = names.find(|name| name.starts_with('_')) {
                        let message = format!("`/{name}` is no part of a cluster's URL");
                        let label = "leave it out, and an index before it: `index` says where events go";
                        problems.push(Problem::error(url.span(), message, label));
                    }
                    targets.push(target);
                }
            }
        }
        if let Some(auth) = &self.auth {
            problems.extend(auth.problems(targets.iter().map(Target::url)));
            if *auth.r#type.value() == Kind::Oauth2 {
                let label = "write `basic`, `api_key` (with prefix = \"ApiKey\"), `bearer` or `aws`";
                problems.push(Problem::error(
                    auth.r#type.span(),
                    "clusters take no tokens of that kind",
                    label,
                ));
            }
        }
        if let Some(index) = &self.index {
            let pattern = index.value().pattern();
            let before = pattern.strip_suffix('*').filter(|_| self.manages());
            let plain = before.map(|before| before.trim_end_matches(['-', '_', '.']));
            if plain.is_some_and(|plain| plain.len() < SHORTEST || before == Some(plain)) {
                let message =
                    format!("the index template would be for `{pattern}`: for indexes of others, too");
                let label = "begin with a longer word and a `-`, as in \"cloudtrail-{date}\"";
                problems.push(Problem::error(index.span(), message, label));
            }
        }
        if let Some(stream) = &self.data_stream {
            if let Some(what) = bad_name(stream.value()) {
                let message = format!("no data stream can be named so: {what}");
                problems.push(Problem::error(stream.span(), message, NAMES));
            }
            if let Some(index) = &self.index {
                let message = "`index` and `data_stream` both say where events go";
                problems.push(
                    Problem::error(index.span(), message, "take one out").and(stream.span(), "here, too"),
                );
            }
            if self.is_serverless() {
                let label = "write `index`";
                problems.push(Problem::error(stream.span(), "Serverless has no data streams", label));
            }
        }
        if let Some(name) = &self.template
            && let Some(what) = bad_name(name.value())
        {
            problems.push(Problem::error(name.span(), format!("no template can be named so: {what}"), NAMES));
        }
        for (path, r#type) in &self.fields {
            let empty = path.split('.').any(|part| part.trim().is_empty());
            if empty || path.starts_with(['_', '@']) {
                let message = format!("`{}` cannot be the path of a field", path.escape_debug());
                problems.push(Problem::error(
                    r#type.span(),
                    message,
                    "write it as in \"trailship.account.tags.team\"",
                ));
            }
        }
        for (outer, r#type) in &self.fields {
            let within = |path: &&String| path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
            if let Some(inner) = self.fields.keys().find(within) {
                let message = format!("`{outer}` is a value and has `{inner}` in it: no field is both");
                problems.push(Problem::error(r#type.span(), message, "take one out"));
            }
        }
        let most = if self.is_serverless() { MOST_SERVERLESS } else { MOST };
        problems.extend(self.batch.problems(Some(most)));
        problems.extend(self.lifecycle_problems());
        problems.extend(self.warnings());
        let problem =
            |(span, error): (_, crate::config::ValueError)| Problem::error(span, error.message, error.hint);
        problems.extend(self.connection.problems().into_iter().map(problem));
        problems
    }

    fn lifecycle_problems(&self) -> Vec<Problem> {
        let Lifecycle { delete_after, rollover_age, rollover_size } = &self.lifecycle;
        let mut problems = Vec::new();
        for age in delete_after.iter().chain(rollover_age) {
            let seconds = age.get().as_secs();
            if seconds < DAY || seconds % DAY != 0 {
                problems.push(Problem::error(
                    age.span(),
                    "these are no whole days",
                    "write it as in \"90 d\"",
                ));
            }
        }
        let rollover = rollover_age.as_ref().map(At::span).or(rollover_size.as_ref().map(At::span));
        if let Some(span) = rollover.clone()
            && self.data_stream.is_none()
        {
            let label = "take it out: indexes named by day begin a new one each day";
            problems.push(Problem::error(span, "only a data stream is rolled over", label));
        }
        if let (Some(delete), Some(_)) = (delete_after, &self.data_stream) {
            let problem = match (rollover_age, rollover_size) {
                (Some(next), _) if next.get() >= delete.get() => Some(
                    Problem::error(
                        delete.span(),
                        "an index would be deleted before the next one begins",
                        "write more than `rollover_age`",
                    )
                    .and(next.span(), "the next one begins"),
                ),
                (None, None) => Some(Problem::error(
                    delete.span(),
                    "the only index of a data stream cannot be deleted",
                    "add rollover_age = \"1 d\": what is deleted are the indexes before the last",
                )),
                _ => None,
            };
            problems.extend(problem);
        }
        if let Some(span) = delete_after.as_ref().map(At::span).or(rollover)
            && self.is_serverless()
        {
            let label = "set a data lifecycle policy of the collection, and take it out here";
            problems.push(Problem::error(span, "Serverless has no policies of indexes", label));
        }
        problems
    }

    /// What is worth knowing before it runs; nothing is wrong.
    fn warnings(&self) -> Vec<Problem> {
        let mut warnings = Vec::new();
        if let Some(stream) = &self.data_stream {
            let message = "a data stream knows ids only since its last rollover";
            let label = "an event that is sent again after one is there twice; with `index` it is not";
            warnings.push(Problem::warning(stream.span(), message, label));
        }
        if let Some(ids) = self.ids.as_ref().filter(|ids| !*ids.value()) {
            let message = "events carry no ids";
            let label = "what is sent again after a lost answer or a crash is there twice";
            warnings.push(Problem::warning(ids.span(), message, label));
        }
        if let Some(manage) = self.manage_template.as_ref().filter(|manage| !*manage.value()) {
            let message = "no index template is installed";
            let label = "without one like ours the server guesses types, and refuses events for it";
            warnings.push(Problem::warning(manage.span(), message, label));
        }
        warnings
    }

    fn ids(&self) -> bool {
        self.ids.as_ref().is_none_or(|ids| *ids.value())
    }

    /// What its payloads must be.
    pub fn packing(&self) -> Packing {
        let usual = Usual { bytes: ByteSize::mib(5), events: 5000, compression: Compression::Gzip };
        self.batch.packing(usual, Frame::lines().around(Around::Bulk { ids: self.ids() }))
    }

    /// Which index an event goes to; a data stream is one place.
    pub fn places(&self, name: &str) -> Option<Partitions> {
        if self.data_stream.is_some() {
            return None;
        }
        let oldest = self.oldest.as_ref().map(|oldest| *oldest.value());
        Some(Partitions::new(self.index()?.template(), name).believing(oldest))
    }

    /// The shape of the documents that a shape's records become.
    pub fn shape_of(&self, inner: Shape) -> Shape {
        let fields: Vec<(String, Type)> =
            self.fields.iter().map(|(path, r#type)| (path.clone(), *r#type.value())).collect();
        let mapping = Arc::new(Mapping::new(&inner, self.data_stream.is_some(), &fields));
        Shape::Document(Document::new(inner, mapping, Arc::new(Counts::default())))
    }

    /// Builds the sink. Blocks.
    ///
    /// # Errors
    /// Why it cannot start, in words.
    pub fn build(&self, flavour: Flavour, build: &Build<'_>) -> Result<Deliver<OpenSearch>, String> {
        let targets: Result<Vec<Target>, _> = self.url.iter().map(|url| Target::parse(url)).collect();
        let targets = targets.map_err(|error| error.message)?;
        let Shape::Document(document) = &**build.shape else {
            return Err("its shape is none of documents".to_owned());
        };
        build.figures.documents(document.counts());
        let name = match &self.template {
            Some(name) => name.value().clone(),
            None => {
                let fine = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
                let name = build.name.replace(|letter| !fine(letter), "-").to_ascii_lowercase();
                format!("trailship-{name}")
            }
        };
        let pattern = match (&self.data_stream, self.index()) {
            (Some(stream), _) => stream.value().clone(),
            (None, Some(index)) => index.pattern(),
            (None, None) => return Err("it has no index".to_owned()),
        };
        let settings: Map<_, _> = self
            .index_settings
            .iter()
            .map(|(name, value)| (name.clone(), value.value().as_str().into()))
            .collect();
        let days = |age: &At<Duration>| age.get().as_secs() / DAY;
        let lifecycle = template::Lifecycle {
            delete_after: self.lifecycle.delete_after.as_ref().map(days),
            rollover_age: self.lifecycle.rollover_age.as_ref().map(days),
            rollover_size: self.lifecycle.rollover_size.as_ref().map(|size| size.as_usize() as u64),
        };
        let plan = Plan { flavour, name, pattern, settings, lifecycle };
        let auth = self.auth.as_ref().map(At::value);
        let service = Service::build(targets, &self.connection, auth, build)?;
        let ready = self.manages().then(|| Ready::new(&plan, document.mapping(), build.clock.clone()));
        let packing = self.packing();
        let stream = self.data_stream.as_ref().map(|stream| stream.value().as_str().into());
        let cluster = service.endpoints.to_string();
        let (ids, clock) = (self.ids(), build.clock.clone());
        let protocol = OpenSearch::new(cluster, ready, stream, packing.compression, ids, clock);
        Ok(Deliver::new(protocol, service, &self.connection, packing, build.figures))
    }
}

#[cfg(test)]
mod tests;
