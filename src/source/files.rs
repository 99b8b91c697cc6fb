//! Reads CloudTrail objects and lines from directories, globs, single files and standard input.
//!
//! ```toml
//! [sources.trail]
//! type = "files"
//! path = "./trail"
//! ```

use crate::config::{At, ByteSize, Duration, OneOrMany};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};

/// Reads CloudTrail from directories, globs, files and standard input.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceFiles")]
pub struct Config {
    /// What to read: a directory (with everything below it), a glob, a file, or `-` for standard input. One or a list.
    /// Required.
    pub path: OneOrMany<At<String>>,
    /// Whether to go on watching for new and growing files after what is there was read. Always off for `-` and with
    /// `run --once`.
    #[serde(default = "yes")]
    pub follow: bool,
    /// How long a compressed or `Records` file that ends too early may stay unchanged before it goes to rejects. Time.
    #[serde(default = "incomplete_after")]
    pub incomplete_after: Duration,
    /// How long a last line without a line feed may stay unchanged before it is taken as complete. Time.
    #[serde(default = "line_incomplete_after")]
    pub line_incomplete_after: Duration,
    /// How often everything is looked through again, should a notice of the operating system have been lost. Time.
    #[serde(default = "rescan")]
    pub rescan: Duration,
    /// How much one object may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

/// How much one object may be or hold before it goes to rejects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "SourceLimits")]
pub struct Limits {
    /// Decompressed bytes of one object.
    pub object: At<ByteSize>,
    /// Decompressed bytes for each compressed byte, after the first MiB. A count.
    pub ratio: NonZeroU64,
    /// Depth of nested objects and arrays. A count.
    pub depth: NonZeroU32,
    /// Records in one object. A count.
    pub records: NonZeroU64,
    /// Bytes of one record.
    pub record: At<ByteSize>,
    /// Envelopes inside each other (a notification in a message in a body). A count.
    pub envelopes: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        const RATIO: NonZeroU64 = NonZeroU64::new(1_000).unwrap();
        const DEPTH: NonZeroU32 = NonZeroU32::new(128).unwrap();
        const RECORDS: NonZeroU64 = NonZeroU64::new(4_000_000).unwrap();
        const ENVELOPES: NonZeroU32 = NonZeroU32::new(4).unwrap();
        Self {
            object: ByteSize::gib(2).into(),
            ratio: RATIO,
            depth: DEPTH,
            records: RECORDS,
            record: ByteSize::mib(16).into(),
            envelopes: ENVELOPES,
        }
    }
}

const fn yes() -> bool {
    true
}

const fn incomplete_after() -> Duration {
    Duration::minutes(10)
}

const fn line_incomplete_after() -> Duration {
    Duration::seconds(10)
}

const fn rescan() -> Duration {
    Duration::seconds(60)
}
