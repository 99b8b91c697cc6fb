//! How much one request holds.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{At, ByteSize, Duration as Span, Problem};
use crate::encode::compress::Compression;
use crate::encode::frame::Frame;
use crate::encode::packer::Packing;

/// How much one request holds. It is sent when it is full, or old enough.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Batch")]
pub struct Batch {
    /// Bytes before compression, at most; a larger event goes alone, and to rejects where the service refuses its size (413).
    /// Default: what the service takes well.
    pub bytes: Option<At<ByteSize>>,
    /// Events, at most. Default: what the service takes. A count.
    pub events: Option<At<NonZeroU32>>,
    /// How long the first event of a request waits for others; it is looked at once a second. Default: `1s`. Time.
    pub age: Option<At<Span>>,
    /// How requests are compressed. Default: `gzip` where the service takes it.
    pub compression: Option<At<Encoding>>,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Encoding")]
pub enum Encoding {
    /// Not at all.
    None,
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: zstd`.
    Zstd,
}

impl From<Encoding> for Compression {
    fn from(encoding: Encoding) -> Compression {
        match encoding {
            Encoding::None => Compression::None,
            Encoding::Gzip => Compression::Gzip,
            Encoding::Zstd => Compression::Zstd,
        }
    }
}

/// What a service takes well.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// Bytes before compression.
    pub bytes: ByteSize,
    /// Events.
    pub events: u32,
    /// How it is compressed.
    pub compression: Compression,
}

/// Longer than this events should not wait: sources wait with them.
const LONG: Duration = Duration::from_secs(300);

impl Batch {
    /// What is wrong with it. `most` is what the service takes in one request as it comes.
    pub fn problems(&self, most: Option<ByteSize>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(bytes) = &self.bytes {
            if bytes.get() == 0 {
                let label = "leave it out, or write it as in \"1 MB\"";
                problems.push(Problem::error(bytes.span(), "a request of no bytes holds no event", label));
            } else if let Some(most) = most.filter(|most| bytes.get() > most.get()) {
                let message = format!("a server takes requests of {most} unless it was told otherwise");
                let label = "what it finds too large (413) is sent in halves, each time: write less";
                problems.push(Problem::warning(bytes.span(), message, label));
            }
        }
        if let Some(age) = self.age.as_ref().filter(|age| age.get() > LONG) {
            let message = format!("events wait {} until they are sent, where there are few", age.value());
            let label = "what they came from waits, too, and may be read again: write \"1 min\" or less";
            problems.push(Problem::warning(age.span(), message, label));
        }
        problems
    }

    /// Where its size is stated.
    pub fn place(&self) -> Option<std::ops::Range<usize>> {
        self.bytes.as_ref().map(At::span).or_else(|| self.events.as_ref().map(At::span))
    }

    /// What payloads must be for a service that takes this usually.
    pub fn packing(&self, usual: Usual, frame: Frame) -> Packing {
        Packing {
            max_bytes: self.bytes.as_ref().map_or(usual.bytes, |bytes| *bytes.value()).as_usize(),
            max_records: self.events.as_ref().map_or(usual.events, |events| events.get()),
            max_age: self.age.as_ref().map_or(Duration::from_secs(1), |age| age.get()),
            when_idle: false,
            compression: self
                .compression
                .as_ref()
                .map_or(usual.compression, |chosen| (*chosen.value()).into()),
            lengths: true,
            frame,
        }
    }
}

impl Compression {
    /// Its name in `Content-Encoding`.
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        }
    }
}
