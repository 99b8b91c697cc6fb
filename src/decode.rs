//! Decoding: the bytes of one object become windows of whole records.
//!
//! gzip (any number of members), zstd or plain; `Records` anywhere in an object, a top-level array, a bare record,
//! NDJSON, an EventBridge envelope, a CloudWatch Logs subscription payload. Told apart by content, never by name.

use crate::record::{Scanner, Span};

/// Limits on what an object may be; over a limit the rest of the object goes to rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest window, decompressed bytes.
    pub window: usize,
    /// Decompressed bytes of one object (not of line formats, which settle window by window).
    pub object: u64,
    /// Decompressed bytes for each compressed one, after the first MiB.
    pub ratio: u64,
    /// Nesting of JSON.
    pub depth: usize,
    /// Records in one object.
    pub records: u64,
    /// Bytes of one record.
    pub record: usize,
    /// Envelopes around a record.
    pub envelopes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window: 8 << 20,
            object: 2 << 30,
            ratio: 1000,
            depth: 128,
            records: 4_000_000,
            record: 16 << 20,
            envelopes: 4,
        }
    }
}

/// A piece of the object that cannot be shipped: `offset..offset + length` of the decompressed object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset into the decompressed object (of the stored one where it does not decompress at all).
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What is wrong, in words.
    pub reason: String,
}

/// What comes next in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole valid record; the scanner holds its index.
    Record {
        /// Its text in the window's buffer.
        span: Span,
        /// Its number in the object, from 0.
        number: u64,
    },
    /// Recognised and left out on purpose (a digest, a control message), counted as one read and one filtered.
    LeftOut {
        /// What it was.
        what: &'static str,
    },
    /// Cannot be shipped, counted as one read and one rejected. The bytes are `bytes` of the window's buffer where they fit it;
    /// longer damage comes as several pieces with `more` set on all but the last, and counts once.
    Damage {
        /// Where and why.
        damage: Damage,
        /// The bytes in this window's buffer.
        bytes: Span,
        /// More of the same damage follows.
        more: bool,
    },
    /// The window is used up: fill the next.
    WindowEnd,
    /// The object is used up.
    End,
}

/// Marks an object or record got on the way, for `trailship.origin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The record comes from a gzip member after the first: a known way to smuggle records.
    pub later_member: bool,
}

#[allow(dead_code, reason = "the contract, being built")]
fn contract(_: &mut Scanner) {}
