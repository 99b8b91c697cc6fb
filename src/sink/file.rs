//! Writes NDJSON to files whose paths may be made of what the record is: plain, gzip or zstd, rotated by size and age.
//!
//! While it grows, a file is hidden (a **part**, `.2026-01-15.000042.5f3a9c01.part`, beside its final place); it gets its
//! final name only when it is whole: at rotation, at the end of `--once`, at a drained stop, and at start for what a crash
//! left. The final name carries a sequence before the extension, `2026-01-15.000042.ndjson.gz`, that grows over the whole
//! sink and is never used twice, also when files have been taken away. No existing file is ever overwritten.
//!
//! ```toml
//! [sinks.archive]
//! type = "file"
//! path = "out/{account}/{date}.ndjson.gz"
//! rotate_size = "256 MiB"
//! rotate_age = "15 min"
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{At, ByteSize, Duration, Match};
use crate::sink::template::{Oldest, Template};

/// Writes NDJSON to files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkFile")]
pub struct Config {
    /// Where to write, with names in braces: `{date}`, `{hour}`, `{year}`, `{month}`, `{day}` (of the event, UTC),
    /// `{account}`, `{region}`, `{environment}`, `{kind}`, `{sink}`. Nothing is written above the part before the first
    /// of them. Required.
    pub path: At<Template>,
    /// How files are compressed. Default: what the path ends with (`.gz`, `.zst`), else not at all; the ending is added
    /// where it is missing.
    #[serde(default)]
    pub compression: Option<At<Compression>>,
    /// Size at which a file is finished and the next begun, in bytes as written. Default: `512 MiB`.
    #[serde(default)]
    pub rotate_size: Option<At<ByteSize>>,
    /// Age at which a file is finished, counted from its first record's arrival. Time. Default: `1 h`.
    #[serde(default)]
    pub rotate_age: Option<At<Duration>>,
    /// The oldest event time that is believed: what is older, or more than a day ahead, goes to `out-of-range` instead
    /// of a date. A duration before now, or `any`. Default: `400 d` for live sources, `any` for what is read again.
    #[serde(default)]
    pub oldest: Option<At<Oldest>>,
    /// How records are written: `nested` as AWS wrote them, `flat` with one level of keys, or the name of a shape.
    /// Default: the pipeline's shape, else `nested`.
    #[serde(default)]
    pub shape: Option<At<String>>,
    /// Which records are written here, as an event pattern over the nested record. Default: all.
    #[serde(default)]
    pub r#match: Option<Match>,
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FileCompression")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As gzip, one member for each write.
    Gzip,
    /// As Zstandard, one frame for each write.
    Zstd,
}
