//! How much memory a job needs at least: what its pipeline must be able to hold, whatever comes.

/// Objects up to this size, as stored, are read whole; larger ones in steps.
pub const READ_WHOLE: u64 = 4 << 20;
/// Records above this size ask for their memory before they are begun.
pub(super) const LARGE_RECORD: usize = 128 << 10;

/// Bytes of each kind a pipeline must be able to hold, whatever comes: one object read whole, one window, and what it
/// grows by for the largest record.
pub fn reserve(limits: &crate::decode::Limits) -> [usize; 3] {
    const SPARE: usize = 480 << 10;
    let growth = limits.largest_window() - limits.window + SPARE;
    [usize::try_from(READ_WHOLE).unwrap_or(usize::MAX), limits.window + SPARE, growth]
}

/// Bytes one record of the largest size may need at one sink.
pub fn largest_payload(limits: &crate::decode::Limits) -> usize {
    large_record_needs(limits.record)
}

/// Bytes one record of this length may need at one sink.
pub(super) fn large_record_needs(length: usize) -> usize {
    length + length / 4 + (64 << 10)
}
