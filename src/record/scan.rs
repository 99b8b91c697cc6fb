//! The scan: validates, indexes and finds every leaf in one pass, by learned shapes.

use std::sync::Arc;

use super::Slots;

/// How a scan of one record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// A whole valid object ends before this offset. (What follows it is the caller's to judge.)
    Record {
        /// One past the closing brace.
        end: usize,
    },
    /// The buffer ends inside the object; so far it is valid. Scan again from the start when there is more.
    Incomplete,
    /// Not JSON from this offset on, or over a limit.
    Invalid {
        /// Where, offset into the buffer.
        at: usize,
        /// What is wrong, in words.
        reason: &'static str,
    },
}

/// Scans records one at a time. One per thread and pipeline; holds the learned tables (bounded) and the index of the last record.
pub struct Scanner {
    slots: Arc<Slots>,
}
