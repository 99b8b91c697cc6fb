//! Decoding: the bytes of one object become windows of whole records.
//!
//! gzip (any number of members), zstd (any number of frames) or plain; `Records` anywhere in an object, a top-level array,
//! a bare record, NDJSON, an EventBridge envelope, a CloudWatch Logs subscription payload. Told apart by content, never by name.
//!
//! Two rooms: [`inflate`] makes text of stored bytes, a window at a time; [`split`] walks the text and finds records
//! ([`shape`] says what an object is, [`resync`] where the next record begins after damage).
//! Records stay byte for byte as they were written: a record is a span of the buffer.
//!
//! ```text
//! let mut decode = Decode::new(limits);
//! loop {
//!     decode.fill(&mut tools, &mut input, &mut buffer)?;
//!     loop {
//!         match decode.next(&mut scanner, &mut buffer) {
//!             Item::WindowEnd => break,          // hand the window on, then fill the next
//!             Item::End => return Ok(()),
//!             item => …                          // spans index `buffer` until the next fill
//!         }
//!     }
//! }
//! ```
//!
//! Nothing here depends on the thread: between two calls a `Decode` and its `Buffer` may move on to another scanner.

#[doc(hidden)]
pub mod fuzz;
mod gzip;
mod inflate;
mod magic;
mod resync;
mod shape;
mod split;
mod stored;
#[cfg(test)]
mod tests;

use std::io;

use crate::record::{Scanner, Span};

/// Whether these bytes begin a gzip member or a zstd frame that anybody can read.
pub fn is_packed(bytes: &[u8]) -> bool {
    magic::is_gzip(bytes) || magic::is_zstd(bytes)
}

/// Limits on what an object may be; over a limit the rest of the object goes to rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest window, decompressed bytes.
    pub window: usize,
    /// Decompressed bytes of one object (not of line formats, which settle window by window).
    pub object: u64,
    /// Decompressed bytes for each compressed one, after the first MiB (not of line formats).
    pub ratio: u64,
    /// Nesting of JSON: the scanner's limit, kept here so that all limits stand together.
    pub depth: usize,
    /// Records in one object (not in line formats).
    pub records: u64,
    /// Bytes of one record.
    pub record: usize,
    /// Envelopes around a record.
    pub envelopes: usize,
}

impl Limits {
    /// Bytes of the largest window there may be: one record of the largest size, and the look behind it.
    pub fn largest_window(&self) -> usize {
        self.record.max(self.window).saturating_add(SLACK)
    }
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

/// Where a damage's offset counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Space {
    /// In the decompressed object.
    #[default]
    Decompressed,
    /// In the object as stored: the bytes do not decompress.
    Stored,
}

/// A piece of the object that cannot be shipped: `offset..offset + length` in `space`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What the offset counts.
    pub space: Space,
    /// First byte.
    pub offset: u64,
    /// Bytes; 0 where something is missing rather than wrong (the end of a file), or where it was not read (over a limit).
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
        /// Its number in the object, from 0; whatever is left out or damaged has a number too.
        number: u64,
    },
    /// Recognised and left out on purpose (a digest, a control message), counted as one read and one filtered.
    LeftOut {
        /// What it was.
        what: &'static str,
    },
    /// Cannot be shipped, counted as one read and one rejected. Long damage comes as several pieces with `more` set on all
    /// but the last, and counts once.
    Damage {
        /// Its number in the object; the same on every piece.
        number: u64,
        /// Where and why.
        damage: Damage,
        /// The bytes in this window's buffer; empty where nothing is left to keep.
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
    /// The record comes, in whole or in part, from a gzip member after the first of a CloudTrail log file (`Records` or an
    /// array): AWS writes one member, a second is a known way to smuggle records. Not set where the object begins with
    /// bare records, envelopes or subscription payloads: there many members are the rule.
    pub later_member: bool,
}

/// A place between two values of a line format, from which decoding can go on without what stands before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    /// Decompressed bytes before it.
    pub offset: u64,
    /// The number of the next record.
    pub number: u64,
}

/// How the stored bytes are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Not at all, or nothing was there.
    #[default]
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// What the text is: the first thing recognised in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Nothing recognised (yet).
    #[default]
    Unknown,
    /// `{"Records":[…]}`: a CloudTrail log file.
    Records,
    /// `{"Events":[{"CloudTrailEvent":"…"}]}`: what LookupEvents answers.
    Lookup,
    /// A top-level array.
    Array,
    /// One record, alone.
    Bare,
    /// Several values, each on its line.
    Lines,
    /// An EventBridge envelope.
    EventBridge,
    /// A CloudWatch Logs subscription payload.
    CloudWatchLogs,
    /// A record as a string in an envelope (`_raw`, `message`, SNS `Message`, `CloudTrailEvent`).
    Wrapped,
    /// A digest.
    Digest,
}

/// What is known of an object once it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How it is stored.
    pub packing: Packing,
    /// What it is.
    pub format: Format,
    /// gzip members or zstd frames begun; 0 for plain objects.
    pub members: u64,
    /// Decompressed bytes so far.
    pub decompressed: u64,
    /// The stored object ends before its format does: no gzip trailer, an open JSON value. It may still be growing.
    pub incomplete: bool,
    /// A limit was passed: the rest was not read.
    pub unread: bool,
}

/// The stored bytes of an object.
pub enum Input<'a> {
    /// All of them; the same slice at every call.
    Whole(&'a [u8]),
    /// Read as needed, in steps of 256 KiB.
    Read(&'a mut dyn io::Read),
}

/// Whether there may be more after this window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// There may be.
    More,
    /// The object ends in this window.
    Last,
}

/// A window's bytes: decompressed text. Reused from object to object; dereferences to the bytes in use.
///
/// A record inside a string is un-escaped in its place, so it needs no memory and its span indexes the same buffer.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Initialised to its whole length, so that growing into it costs nothing.
    bytes: Vec<u8>,
    /// End of the window's text.
    filled: usize,
}

impl Buffer {
    /// Bytes held in memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Makes room for `more` bytes, in few steps and never for more than `most` in all; the room itself.
    fn room(&mut self, more: usize, most: usize) -> &mut [u8] {
        let size = self.filled + more;
        if self.bytes.len() < size {
            let size = self.bytes.len().saturating_mul(2).min(most).max(size);
            if self.filled == 0 {
                // The old memory goes first, and the new needs no filling.
                self.bytes = Vec::new();
                self.bytes = vec![0; size];
            } else {
                self.bytes.reserve_exact(size - self.bytes.len());
                self.bytes.resize(size, 0);
            }
        }
        self.bytes.get_mut(self.filled..self.filled + more).unwrap_or_default()
    }

    /// Moves what is left of the text to the front.
    fn carry(&mut self, from: usize) {
        let from = from.min(self.filled);
        if from > 0 {
            self.bytes.copy_within(from..self.filled, 0);
        }
        self.filled -= from;
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

/// What a thread keeps for decoding: the one-shot decompressor's tables, about 32 KiB.
pub struct Tools {
    inflate: libdeflater::Decompressor,
}

impl Default for Tools {
    fn default() -> Tools {
        Tools { inflate: libdeflater::Decompressor::new() }
    }
}

/// The state of decoding one object, resumable between any two calls.
pub struct Decode {
    limits: Limits,
    inflate: inflate::Inflate,
    split: split::Split,
}

impl Decode {
    /// Begins an object.
    pub fn new(limits: Limits) -> Decode {
        Decode { limits, inflate: inflate::Inflate::new(limits), split: split::Split::new(limits) }
    }

    /// Makes a window end with what one read of the input gave, if a line ends in it: for inputs that trickle (stdin).
    #[must_use]
    pub fn live(mut self) -> Decode {
        self.inflate.live = true;
        self
    }

    /// Goes on in the middle of an object whose stored bytes begin with `start`, instead of at its beginning. `true`: the
    /// text stands in the object as it is, so a reader must be put at the boundary's offset first. `false`: what stands
    /// before is inflated and passed over by the next fill.
    pub fn begin_at(&mut self, boundary: Boundary, start: &[u8]) -> bool {
        self.split.begin_at(boundary);
        self.inflate.begin_at(boundary.offset, start)
    }

    /// The end of the window that has just ended, where decoding could go on from ([`Decode::begin_at`]) with the same
    /// windows, and everything before it has been told: only in line formats, and not inside a value or a damage.
    pub fn boundary(&self) -> Option<Boundary> {
        self.split.boundary().filter(|boundary| boundary.offset > self.inflate.told_at())
    }

    /// How many bytes of buffer the next [`fill`](Decode::fill) may want: never more than the record limit (or the
    /// window, if that is larger) and 64 KiB.
    pub fn need(&self, input: &Input<'_>) -> usize {
        let most = self.limits.largest_window();
        match self.split.wanted() {
            Some(held) => held.saturating_mul(2).clamp(self.limits.window, most),
            None => self.inflate.expected(input).min(self.limits.window),
        }
    }

    /// Whether the buffer holds text that was not gone through. A window is never asked to grow for less than a record
    /// that does not fit into it: what is seen of an object's size before it is read is trusted for one window only.
    pub fn holds(&self, buffer: &Buffer) -> bool {
        self.split.holds(buffer)
    }

    /// Carries the unconsumed tail to the buffer's front and adds decompressed bytes until the window is full, or until
    /// a record larger than that fits, or the object ends.
    ///
    /// # Errors
    /// What the input's `read` answers, or that the object ends before the boundary it should go on from. Everything else
    /// that is wrong with the bytes comes as [`Item::Damage`].
    pub fn fill(
        &mut self,
        tools: &mut Tools,
        input: &mut Input<'_>,
        buffer: &mut Buffer,
    ) -> io::Result<Filled> {
        let target = self.need(input);
        self.split.carry(buffer);
        self.inflate.pass(tools, input, buffer, target)?;
        let lines = if self.split.is_untouched() { None } else { Some(self.split.lines()) };
        self.inflate.fill(tools, input, buffer, target, lines)?;
        Ok(if self.inflate.is_done() { Filled::Last } else { Filled::More })
    }

    /// Whether a plain object that stands in the buffer whole, of which nothing was walked yet, begins with an array of
    /// records that does not end in it: brackets and quotes alone are looked at.
    pub fn begins_without_an_end(&self, buffer: &Buffer) -> bool {
        let whole = self.inflate.is_done() && self.inflate.packing() == Packing::Plain;
        whole && self.split.is_untouched() && shape::is_open(buffer)
    }

    /// The next item of the window. Spans index `buffer` and hold until the next fill.
    pub fn next(&mut self, scanner: &mut Scanner, buffer: &mut Buffer) -> Item {
        self.split.next(scanner, buffer, &mut self.inflate)
    }

    /// Marks of the record that was returned last.
    pub fn marks(&self) -> Marks {
        let log_file = matches!(self.split.format(), Format::Records | Format::Array);
        let later = self.inflate.second_member_at().is_some_and(|second| self.split.last_end() > second);
        Marks { later_member: log_file && later }
    }

    /// Where a record of this window begins in the decompressed object, bytes. For a record inside a string: where its
    /// text begins there.
    pub fn offset(&self, record: Span) -> u64 {
        self.split.offset(record.start)
    }

    /// What is known of the object so far.
    pub fn summary(&self) -> Summary {
        Summary {
            packing: self.inflate.packing(),
            format: if self.split.lines() { Format::Lines } else { self.split.format() },
            members: self.inflate.members(),
            decompressed: self.inflate.produced(),
            incomplete: self.inflate.is_torn() || self.split.is_torn(),
            unread: self.inflate.is_unread(),
        }
    }
}

/// What a window may hold beyond the largest record: the look ahead behind it.
const SLACK: usize = 64 << 10;
