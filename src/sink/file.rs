//! Writes NDJSON to files whose paths may be made of record fields, compressed and rotated.
//!
//! ```toml
//! [sinks.archive]
//! type = "file"
//! path = "out/{{ recipientAccountId }}/{{ date }}.ndjson.gz"
//! compression = "gzip"
//! ```

use crate::config::{At, ByteSize, Duration, Match};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Writes NDJSON to files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkFile")]
pub struct Config {
    /// Where to write; `{{ field }}` stands for a field of the nested record. Nothing is written above the part before
    /// the first field. Required.
    pub path: At<String>,
    /// How files are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Size at which a file is finished and the next begun, in bytes as written. Default: none.
    #[serde(default)]
    pub rotate_size: Option<At<ByteSize>>,
    /// Age at which a file is finished and the next begun. Time. Default: none.
    #[serde(default)]
    pub rotate_age: Option<At<Duration>>,
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
