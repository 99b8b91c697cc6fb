//! The configuration: a TOML file read into typed, checked components.
//!
//! Reading has two steps, so that every problem keeps its line and column: the file becomes a tree with places, then each
//! component's part of it becomes that component's `Config`. All problems are reported at once (`Problem`).

pub mod at;
pub mod matching;
pub mod value;

pub use at::{At, OneOrMany};
pub use matching::{Match, PathSegment, Patterns};
pub use value::{ByteSize, Duration, Secret, ValueError};

use crate::{sink, source, transform};

/// A source, by its `type`.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// `files`
    Files(source::files::Config),
}

/// A transform, by its `type`.
#[derive(Clone, Debug)]
pub enum TransformConfig {
    /// `account_tags`
    AccountTags(transform::account_tags::Config),
    /// `environment`
    Environment(transform::environment::Config),
    /// `filter`
    Filter(transform::filter::Config),
    /// `flatten`
    Flatten(transform::flatten::Config),
    /// `redact`
    Redact(transform::redact::Config),
    /// `sample`
    Sample(transform::sample::Config),
    /// `signals`
    Signals(transform::signals::Config),
}

/// A sink, by its `type`.
#[derive(Clone, Debug)]
pub enum SinkConfig {
    /// `file`
    File(sink::file::Config),
    /// `stdout`
    Stdout(sink::stdout::Config),
}
