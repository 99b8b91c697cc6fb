//! The configuration: a TOML file read into typed, checked components.
//!
//! Reading has two steps, so that every problem keeps its line and column: the file becomes a tree with places, then each
//! component's part of it becomes that component's `Config`. All problems are reported at once ([`Problems`]). What is
//! read is then wired and checked as a whole ([`Resolved`]); nothing here opens a source or a sink.
//! Files that the configuration names are read: values, certificates and keys.
//!
//! Adding a component is its file, and its lines in `config/kinds.rs`.

pub mod at;
pub mod check;
#[doc(hidden)]
pub mod fuzz;
mod kinds;
pub mod manual;
mod masked;
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
pub(crate) use kinds::Kind;
use kinds::places_of;
pub use kinds::{SinkConfig, SourceConfig, TransformConfig};
pub use matching::{Match, PathSegment, Patterns};
pub use problem::{Document, Problem, Problems, Severity};
pub use resolve::{Component, Pipeline, PipelineSink, Resolved, Shape};
pub use since::Since;
pub use surroundings::Surroundings;
pub use telemetry::{Listen, Telemetry};
pub(crate) use value::read_from_text;
pub use value::{ByteSize, Duration, Secret, ValueError};

use schemars::JsonSchema;
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

    pub(crate) fn map<D>(self, then: impl FnOnce(C) -> D) -> Read<D> {
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
