//! The configuration: a TOML file read into typed, checked components.
//!
//! Reading has two steps, so that every problem keeps its line and column: the file becomes a tree with places, then each
//! component's part of it becomes that component's `Config`. All problems are reported at once ([`Problems`]). What is
//! read is then wired and checked as a whole ([`Resolved`]); nothing here opens a source or a sink.
//!
//! Adding a component is its file, one enum line here, and one arm in each function of the `impl Kind` below the enum.

pub mod at;
pub mod check;
#[doc(hidden)]
pub mod fuzz;
pub mod manual;
pub mod matching;
pub mod problem;
mod read;
mod reference;
pub mod resolve;
mod since;
mod suggest;
pub mod surroundings;
pub mod telemetry;
pub mod value;

pub use at::{At, OneOrMany};
pub use matching::{Match, PathSegment, Patterns};
pub use problem::{Document, Problem, Problems, Severity};
pub use resolve::{Component, Pipeline, PipelineSink, Resolved, Shape};
pub use since::Since;
pub use surroundings::Surroundings;
pub use telemetry::{Listen, Telemetry};
pub(crate) use value::read_from_text;
pub use value::{ByteSize, Duration, Secret, ValueError};

use crate::{sink, source, transform};
use read::Part;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// What holds for the whole program.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Globals {
    /// Where state and rejects are kept. A path. Default: `/var/lib/trailship` where it exists and can be written to, else
    /// `trailship` in the XDG state directory.
    pub data_dir: Option<At<PathBuf>>,
    /// Bytes of records and payloads held at a time, all pipelines together.
    pub memory: At<ByteSize>,
    /// The top-level key under which everything stands that is added to a record.
    pub field: At<String>,
    /// How long a stop waits for what is in flight to be written; the rest is given back. Time.
    pub stop_deadline: Duration,
    /// Threads that inflate, transform and encode. A count. Default: one for each core.
    pub workers: Option<NonZeroUsize>,
    /// Whether `origin` (the object a record is from, and its place there) is added to every record, not only to marked
    /// ones.
    pub origin: bool,
    /// What is kept of records that were refused.
    pub rejects: Rejects,
    /// Which records no `sample` and no `filter` may drop.
    pub protect: Protect,
    /// What the program tells of itself while it runs.
    pub telemetry: Telemetry,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            data_dir: None,
            memory: ByteSize::mib(256).into(),
            field: "trailship".to_owned().into(),
            stop_deadline: Duration::seconds(30),
            workers: None,
            origin: false,
            rejects: Rejects::default(),
            protect: Protect::default(),
            telemetry: Telemetry::default(),
        }
    }
}

/// What is kept of records that were refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rejects {
    /// Bytes of rejects, at most. What would need more is not acknowledged, and `/readyz` says so.
    pub max_size: ByteSize,
    /// Age at which rejects are deleted. Time.
    pub max_age: Duration,
}

impl Default for Rejects {
    fn default() -> Self {
        Self { max_size: ByteSize::gib(1), max_age: Duration::days(30) }
    }
}

/// Which records no `sample` and no `filter` may drop, beside those that are protected anyway.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Protect {
    /// Event patterns of further records to protect. One or a list. Default: none.
    pub also: Option<Patterns>,
    /// What not to protect: names (`errors`, `signin`, `sts`, `root`, `writes`, `network`, `insights`, `addenda`, or a signal
    /// family) and event patterns. Said aloud at start, and counted. Default: none.
    pub except: Vec<Except>,
}

/// One exception from protection.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Except {
    /// A name of a protected class or a signal family.
    Name(At<String>),
    /// An event pattern.
    Pattern(Match),
}

impl<'de> Deserialize<'de> for Except {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Untagged reading would lose the places; a pattern as JSON text starts with a brace, a name never does.
        matching::text_or_pattern(deserializer).map(|either| match either {
            Ok(name) => Self::Name(name),
            Err(pattern) => Self::Pattern(pattern),
        })
    }
}

/// One chain: what is read, what is done with it, where it goes. A pipeline is the unit of fate and of progress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Names of the sources. Default: the one source there is.
    #[serde(default)]
    pub sources: Option<At<Vec<At<String>>>>,
    /// Names of the transforms, in order; a shape (`flatten`) stands last. Default: none.
    #[serde(default)]
    pub transforms: Vec<At<String>>,
    /// Names of the sinks. Default: the one sink there is; without any, standard output.
    #[serde(default)]
    pub sinks: Option<At<Vec<At<String>>>>,
}

/// A closed set of components: each has a `type` that is the name of its file.
pub(crate) trait Kind: Sized {
    /// `source`, `transform` or `sink`.
    const PLACE: &'static str;
    /// Every `type` there is.
    const TYPES: &'static [&'static str];
    /// Reads a component of the given type.
    fn read(kind: &str, part: Part<'_, '_, '_>) -> Read<Self>;
    /// Describes the settings of the given type.
    fn schema(kind: &str, generator: &mut SchemaGenerator) -> Schema;
}

/// A source, by its `type`.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// `files`
    Files(source::files::Config),
    /// `kinesis`
    Kinesis(Box<source::kinesis::Config>),
    /// `s3`
    S3(Box<source::s3::Config>),
    /// `sqs`
    Sqs(Box<source::sqs::Config>),
    /// `firehose`
    Firehose(Box<source::firehose::Config>),
    /// `cloudwatch_logs`
    CloudwatchLogs(Box<source::cloudwatch_logs::Config>),
    /// `event_history`
    EventHistory(Box<source::event_history::Config>),
}

impl Kind for SourceConfig {
    const PLACE: &'static str = "source";
    const TYPES: &'static [&'static str] =
        &["files", "firehose", "kinesis", "s3", "sqs", "cloudwatch_logs", "event_history"];

    fn read(kind: &str, part: Part<'_, '_, '_>) -> Read<Self> {
        match kind {
            "files" => part.into().map(Self::Files),
            "kinesis" => part.into().map(|config| Self::Kinesis(Box::new(config))),
            "s3" => part.into().map(|config| Self::S3(Box::new(config))),
            "sqs" => part.into().map(|config| Self::Sqs(Box::new(config))),
            "firehose" => part.into().map(|config| Self::Firehose(Box::new(config))),
            "cloudwatch_logs" => part.into().map(|config| Self::CloudwatchLogs(Box::new(config))),
            "event_history" => part.into().map(|config| Self::EventHistory(Box::new(config))),
            _ => Read::Nothing,
        }
    }

    fn schema(kind: &str, generator: &mut SchemaGenerator) -> Schema {
        match kind {
            "files" => source::files::Config::json_schema(generator),
            "kinesis" => source::kinesis::Config::json_schema(generator),
            "s3" => source::s3::Config::json_schema(generator),
            "sqs" => source::sqs::Config::json_schema(generator),
            "firehose" => source::firehose::Config::json_schema(generator),
            "cloudwatch_logs" => source::cloudwatch_logs::Config::json_schema(generator),
            "event_history" => source::event_history::Config::json_schema(generator),
            _ => Schema::default(),
        }
    }
}

/// A transform, by its `type`.
#[derive(Clone, Debug)]
pub enum TransformConfig {
    /// `account_tags`
    AccountTags(transform::account_tags::Config),
    /// `environment`
    Environment(transform::environment::Config),
    /// `signals`
    Signals(transform::signals::Config),
    /// `sample`
    Sample(transform::sample::Config),
    /// `filter`
    Filter(transform::filter::Config),
    /// `redact`
    Redact(transform::redact::Config),
    /// `dedupe`
    Dedupe(transform::dedupe::Config),
    /// `flatten`, a shape
    Flatten(transform::flatten::Config),
}

impl Kind for TransformConfig {
    const PLACE: &'static str = "transform";
    const TYPES: &'static [&'static str] =
        &["account_tags", "environment", "signals", "sample", "filter", "redact", "dedupe", "flatten"];

    fn read(kind: &str, part: Part<'_, '_, '_>) -> Read<Self> {
        match kind {
            "account_tags" => part.into().map(Self::AccountTags),
            "environment" => part.into().map(Self::Environment),
            "signals" => part.into().map(Self::Signals),
            "sample" => part.into().map(Self::Sample),
            "filter" => part.into().map(Self::Filter),
            "redact" => part.into().map(Self::Redact),
            "dedupe" => part.into().map(Self::Dedupe),
            "flatten" => part.into().map(Self::Flatten),
            _ => Read::Nothing,
        }
    }

    fn schema(kind: &str, generator: &mut SchemaGenerator) -> Schema {
        match kind {
            "account_tags" => transform::account_tags::Config::json_schema(generator),
            "environment" => transform::environment::Config::json_schema(generator),
            "signals" => transform::signals::Config::json_schema(generator),
            "sample" => transform::sample::Config::json_schema(generator),
            "filter" => transform::filter::Config::json_schema(generator),
            "redact" => transform::redact::Config::json_schema(generator),
            "dedupe" => transform::dedupe::Config::json_schema(generator),
            "flatten" => transform::flatten::Config::json_schema(generator),
            _ => Schema::default(),
        }
    }
}

impl TransformConfig {
    /// Returns the `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AccountTags(_) => "account_tags",
            Self::Environment(_) => "environment",
            Self::Signals(_) => "signals",
            Self::Sample(_) => "sample",
            Self::Filter(_) => "filter",
            Self::Redact(_) => "redact",
            Self::Dedupe(_) => "dedupe",
            Self::Flatten(_) => "flatten",
        }
    }

    /// Returns its patterns.
    fn matching(&self) -> Vec<&Match> {
        match self {
            Self::Environment(config) => config.rules.iter().map(|rule| &rule.r#match).collect(),
            Self::Sample(config) => config.r#match.iter().collect(),
            Self::Filter(config) => {
                config.keep.iter().chain(&config.drop).flat_map(|patterns| patterns.iter()).collect()
            }
            Self::AccountTags(_)
            | Self::Signals(_)
            | Self::Redact(_)
            | Self::Dedupe(_)
            | Self::Flatten(_) => Vec::new(),
        }
    }

    /// Returns how many bytes it may hold beside what is in flight, in each pipeline that names it.
    pub fn memory(&self) -> u64 {
        match self {
            Self::Dedupe(config) => config.memory.get(),
            _ => 0,
        }
    }

    /// Returns whether it is a shape: it changes only what is written.
    pub const fn is_shape(&self) -> bool {
        matches!(self, Self::Flatten(_))
    }
}

/// A sink, by its `type`.
#[derive(Clone, Debug)]
pub enum SinkConfig {
    /// `file`
    File(sink::file::Config),
    /// `stdout`
    Stdout(sink::stdout::Config),
}

impl Kind for SinkConfig {
    const PLACE: &'static str = "sink";
    const TYPES: &'static [&'static str] = &["file", "stdout"];

    fn read(kind: &str, part: Part<'_, '_, '_>) -> Read<Self> {
        match kind {
            "file" => part.into().map(Self::File),
            "stdout" => part.into().map(Self::Stdout),
            _ => Read::Nothing,
        }
    }

    fn schema(kind: &str, generator: &mut SchemaGenerator) -> Schema {
        match kind {
            "file" => sink::file::Config::json_schema(generator),
            "stdout" => sink::stdout::Config::json_schema(generator),
            _ => Schema::default(),
        }
    }
}

impl SinkConfig {
    /// Returns the `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout(_) => "stdout",
        }
    }

    /// Returns how records are written, as the configuration says it.
    pub const fn shape(&self) -> Option<&At<String>> {
        match self {
            Self::File(config) => config.shape.as_ref(),
            Self::Stdout(config) => config.shape.as_ref(),
        }
    }

    /// Returns which records are written; all where there is no pattern.
    pub const fn matching(&self) -> Option<&Match> {
        match self {
            Self::File(config) => config.r#match.as_ref(),
            Self::Stdout(config) => config.r#match.as_ref(),
        }
    }
}

impl SourceConfig {
    /// Returns the `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Kinesis(_) => "kinesis",
            Self::S3(_) => "s3",
            Self::Sqs(_) => "sqs",
            Self::Firehose(_) => "firehose",
            Self::CloudwatchLogs(_) => "cloudwatch_logs",
            Self::EventHistory(_) => "event_history",
        }
    }

    /// Returns whether it can be read only once, so that pipelines that name it share what is read.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Sqs(_) | Self::Firehose(_))
    }

    /// Returns what only one source may read, with the name of such a thing: of two, each would get a part.
    pub const fn place(&self) -> Option<(&'static str, &At<String>)> {
        match self {
            Self::Sqs(config) => Some(("queue", &config.queue_url)),
            Self::Files(_)
            | Self::Firehose(_)
            | Self::Kinesis(_)
            | Self::S3(_)
            | Self::CloudwatchLogs(_)
            | Self::EventHistory(_) => None,
        }
    }

    /// Returns whether an event time long ago is a wrong one: not in files, nor in what is asked for by its date.
    pub fn is_live(&self) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Firehose(_) | Self::Kinesis(_) | Self::Sqs(_) => true,
            Self::S3(config) => config.is_live(),
            Self::CloudwatchLogs(config) => config.is_live(),
            // It knows nothing that is older than event times are believed.
            Self::EventHistory(_) => true,
        }
    }
}

/// Says whether another section has a `type`: "sink".
fn places_of(kind: &str) -> Option<&'static str> {
    [
        (SourceConfig::PLACE, SourceConfig::TYPES),
        (TransformConfig::PLACE, TransformConfig::TYPES),
        (SinkConfig::PLACE, SinkConfig::TYPES),
    ]
    .into_iter()
    .find(|(_, types)| types.contains(&kind))
    .map(|(place, _)| place)
}

/// What reading a part of the file gave.
#[derive(Clone, Debug, Default)]
pub(crate) enum Read<C> {
    /// Everything.
    Whole(C),
    /// What was left without its mistakes: good only for finding more of them.
    Partial(C),
    /// Nothing that could be used.
    #[default]
    Nothing,
}

impl<C> Read<C> {
    /// Returns what was read without a mistake.
    pub(crate) const fn whole(&self) -> Option<&C> {
        match self {
            Self::Whole(config) => Some(config),
            Self::Partial(_) | Self::Nothing => None,
        }
    }

    /// Returns what was read, mistakes or not.
    pub(crate) const fn any(&self) -> Option<&C> {
        match self {
            Self::Whole(config) | Self::Partial(config) => Some(config),
            Self::Nothing => None,
        }
    }

    fn map<D>(self, then: impl FnOnce(C) -> D) -> Read<D> {
        match self {
            Self::Whole(config) => Read::Whole(then(config)),
            Self::Partial(config) => Read::Partial(then(config)),
            Self::Nothing => Read::Nothing,
        }
    }
}

/// A component or pipeline with its name.
#[derive(Clone, Debug)]
pub(crate) struct Named<C> {
    pub(crate) name: At<String>,
    pub(crate) config: Read<C>,
}

/// What was read of the file, before it is wired.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    pub(crate) globals: Read<Globals>,
    pub(crate) sources: Vec<Named<SourceConfig>>,
    pub(crate) transforms: Vec<Named<TransformConfig>>,
    pub(crate) sinks: Vec<Named<SinkConfig>>,
    pub(crate) pipelines: Vec<Named<PipelineConfig>>,
    /// The place of the section `pipelines`, empty or not.
    pub(crate) pipelines_stated: Option<Range<usize>>,
}

/// Reads a configuration file.
///
/// # Errors
/// All problems of the file at once; a file that cannot be read is one problem.
pub fn read_file(path: &Path, around: &Surroundings<'_>) -> Result<Resolved, Problems> {
    let name = path.display().to_string();
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => read_str(&name, &text, around),
        Ok(Err(error)) => {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count()
                    + 1;
            let message = format!("line {line} is not UTF-8");
            Err(Problems::new(
                Document { name, text: String::new() },
                vec![Problem::error(0..0, message, "")],
            ))
        }
        Err(error) => {
            let message = format!("the configuration cannot be read: {error}");
            Err(Problems::new(
                Document { name, text: String::new() },
                vec![Problem::error(0..0, message, "")],
            ))
        }
    }
}

/// Reads a configuration from text; `name` is what the problems call it.
///
/// # Errors
/// All problems of the text at once; warnings alone are no error and stand in [`Resolved::warnings`].
pub fn read_str(name: &str, text: &str, around: &Surroundings<'_>) -> Result<Resolved, Problems> {
    let document = Document { name: name.to_owned(), text: text.to_owned() };
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut problems = problem::of_syntax(text, &errors);
    // A tree around broken syntax is a guess; around a key that stands twice it is not.
    if errors.iter().any(|error| !problem::is_duplicate(error)) {
        return Err(Problems::new(document, problems));
    }
    let tree = tree.into_inner();
    let found = reference::find(&tree, around, &mut problems);
    let raw = read::read(text, tree, &found, &mut problems);
    resolve::resolve(document, raw, around, problems)
}

#[cfg(test)]
mod tests;
