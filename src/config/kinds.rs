//! The components there are, by their `type`. Adding one is its file, one enum line here, and one arm in each function
//! below the enum.

use schemars::{JsonSchema as _, Schema, SchemaGenerator};

use super::read::Part;
use super::{At, Match, Problem, Read};
use crate::encode::Shape;
use crate::{sink, source, transform};

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
    pub(super) fn matching(&self) -> Vec<&Match> {
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
    /// `elasticsearch`
    Elasticsearch(Box<sink::opensearch::Config>),
    /// `http`
    Http(Box<sink::http::Config>),
    /// `splunk_hec`
    SplunkHec(Box<sink::splunk_hec::Config>),
    /// `opensearch`
    Opensearch(Box<sink::opensearch::Config>),
    /// `stdout`
    Stdout(sink::stdout::Config),
}

impl Kind for SinkConfig {
    const PLACE: &'static str = "sink";
    const TYPES: &'static [&'static str] =
        &["elasticsearch", "file", "http", "opensearch", "splunk_hec", "stdout"];

    fn read(kind: &str, part: Part<'_, '_, '_>) -> Read<Self> {
        match kind {
            "file" => part.into().map(Self::File),
            "elasticsearch" => part.into().map(|config| Self::Elasticsearch(Box::new(config))),
            "http" => part.into().map(|config| Self::Http(Box::new(config))),
            "splunk_hec" => part.into().map(|config| Self::SplunkHec(Box::new(config))),
            "opensearch" => part.into().map(|config| Self::Opensearch(Box::new(config))),
            "stdout" => part.into().map(Self::Stdout),
            _ => Read::Nothing,
        }
    }

    fn schema(kind: &str, generator: &mut SchemaGenerator) -> Schema {
        match kind {
            "file" => sink::file::Config::json_schema(generator),
            "http" => sink::http::Config::json_schema(generator),
            "splunk_hec" => sink::splunk_hec::Config::json_schema(generator),
            "elasticsearch" | "opensearch" => sink::opensearch::Config::json_schema(generator),
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
            Self::Elasticsearch(_) => "elasticsearch",
            Self::Http(_) => "http",
            Self::SplunkHec(_) => "splunk_hec",
            Self::Opensearch(_) => "opensearch",
            Self::Stdout(_) => "stdout",
        }
    }

    /// Returns how records are written, as the configuration says it.
    pub const fn shape(&self) -> Option<&At<String>> {
        match self {
            Self::File(config) => config.shape.as_ref(),
            Self::Http(config) => config.shape.as_ref(),
            Self::SplunkHec(config) => config.shape.as_ref(),
            Self::Elasticsearch(config) | Self::Opensearch(config) => config.shape.as_ref(),
            Self::Stdout(config) => config.shape.as_ref(),
        }
    }

    /// Returns which records are written; all where there is no pattern.
    pub const fn matching(&self) -> Option<&Match> {
        match self {
            Self::File(config) => config.r#match.as_ref(),
            Self::Http(config) => config.r#match.as_ref(),
            Self::SplunkHec(config) => config.r#match.as_ref(),
            Self::Elasticsearch(config) | Self::Opensearch(config) => config.r#match.as_ref(),
            Self::Stdout(config) => config.r#match.as_ref(),
        }
    }

    /// Returns the shape its records are written in, given the one that is configured.
    pub fn shape_of(&self, shape: Shape) -> Shape {
        match self {
            Self::Elasticsearch(config) | Self::Opensearch(config) => config.shape_of(shape),
            Self::File(_) | Self::Http(_) | Self::SplunkHec(_) | Self::Stdout(_) => shape,
        }
    }

    /// Returns how much one request holds, where it sends requests.
    pub const fn batch(&self) -> Option<&sink::deliver::Batch> {
        match self {
            Self::Http(config) => Some(&config.batch),
            Self::SplunkHec(config) => Some(&config.batch),
            Self::Elasticsearch(config) | Self::Opensearch(config) => Some(&config.batch),
            Self::File(_) | Self::Stdout(_) => None,
        }
    }

    /// Returns how its server is reached, where it has one.
    pub const fn connection(&self) -> Option<&sink::deliver::Connection> {
        match self {
            Self::Http(config) => Some(&config.connection),
            Self::SplunkHec(config) => Some(&config.connection),
            Self::Elasticsearch(config) | Self::Opensearch(config) => Some(&config.connection),
            Self::File(_) | Self::Stdout(_) => None,
        }
    }

    /// Returns what is wrong with its settings together.
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Http(config) => config.problems(),
            Self::SplunkHec(config) => config.problems(),
            Self::Elasticsearch(config) | Self::Opensearch(config) => config.problems(),
            Self::File(_) | Self::Stdout(_) => Vec::new(),
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
pub(super) fn places_of(kind: &str) -> Option<&'static str> {
    [
        (SourceConfig::PLACE, SourceConfig::TYPES),
        (TransformConfig::PLACE, TransformConfig::TYPES),
        (SinkConfig::PLACE, SinkConfig::TYPES),
    ]
    .into_iter()
    .find(|(_, types)| types.contains(&kind))
    .map(|(place, _)| place)
}
