//! How much memory a job needs at least: what its pipeline must be able to hold, whatever comes.

use crate::decode::Limits;

/// Objects smaller than this, as stored, are read whole; larger ones in steps. 4 MiB.
pub fn read_whole(limits: &Limits) -> u64 {
    limits.window as u64 / 2
}

/// Records above this size ask for their memory before they are begun. 128 KiB.
pub(super) fn large_record(limits: &Limits) -> usize {
    limits.window / 64
}

/// Bytes of each kind a pipeline must be able to hold, whatever comes: one object read whole, one window, and what it
/// grows by for the largest record.
pub fn reserve(limits: &Limits) -> [usize; 3] {
    let spare = limits.window / 16;
    let growth = limits.largest_window().saturating_sub(limits.window).saturating_add(spare);
    [usize::try_from(read_whole(limits)).unwrap_or(usize::MAX), limits.window + spare, growth]
}

/// Bytes one record of the largest size may need at one sink.
pub fn largest_payload(limits: &Limits) -> usize {
    large_record_needs(limits.record)
}

/// Bytes one record of this length may need at one sink.
pub(super) fn large_record_needs(length: usize) -> usize {
    length.saturating_add(length / 4).saturating_add(64 << 10)
}
