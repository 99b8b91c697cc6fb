//! Where the writing of a record stands.

use super::plan::Within;
use crate::encode::page::Page;

/// How far a record is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// The next leaf.
    pub(super) position: usize,
    /// What the leaf before is written within.
    pub(super) within: Within,
    /// What is copied next, in one piece.
    pub(super) run_start: usize,
    pub(super) run_end: usize,
}

impl Stand {
    pub(super) fn at(start: usize) -> Stand {
        Stand { position: 0, within: Within::default(), run_start: start, run_end: start }
    }

    /// Copies what is to be copied; the next piece begins, and ends, at `end`.
    #[inline(always)]
    pub(super) fn turn(&mut self, buffer: &[u8], page: &mut Page<'_>, end: usize) {
        if self.run_start != self.run_end {
            page.append(buffer, self.run_start, self.run_end);
        }
        (self.run_start, self.run_end) = (end, end);
    }
}
