//! Where the wanted text begins, how much of it is to be expected, and how much there may be.

use std::io;

use super::{Inflate, Phase, RATIO_FROM};
use crate::decode::{Buffer, Input, Packing, Tools, gzip, magic};

impl Inflate {
    /// Bytes of text to expect, as far as can be seen; at least 64 KiB.
    pub(in crate::decode) fn expected(&self, input: &Input<'_>) -> usize {
        let hint = match input {
            Input::Whole(stored) if magic::is_gzip(stored) => match self.phase {
                Phase::Sniff if self.pass == 0 => gzip::length_hint(stored),
                _ => None,
            },
            // And one, to see that it ends there.
            Input::Whole(stored) if !magic::is_zstd(stored) => Some(stored.len().saturating_add(1)),
            _ => None,
        };
        hint.unwrap_or(usize::MAX).max(64 << 10)
    }

    /// Begins at an offset into the text. Whether the text stands in the stored bytes as it is: then they begin there, too.
    pub(in crate::decode) fn begin_at(&mut self, offset: u64, start: &[u8]) -> bool {
        if magic::is_gzip(start) || magic::is_zstd(start) {
            self.pass = offset;
            return false;
        }
        self.phase = Phase::Plain;
        self.stored.begin_at(offset);
        self.produced = offset;
        true
    }

    /// Inflates what stands before the offset it began at; what is wrong there was told by whoever was there.
    pub(in crate::decode) fn pass(
        &mut self,
        tools: &mut Tools,
        input: &mut Input<'_>,
        buffer: &mut Buffer,
        target: usize,
    ) -> io::Result<()> {
        while self.produced < self.pass {
            if self.is_done() {
                let message =
                    format!("it ends at byte {}, before byte {} where to go on", self.produced, self.pass);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            let left = usize::try_from(self.pass - self.produced).unwrap_or(usize::MAX);
            self.step(tools, input, buffer, left.min(target))?;
            buffer.clear();
            (self.ending, self.note, self.piece) = (None, None, None);
        }
        self.pass = 0;
        Ok(())
    }

    /// Ends the object here: a limit is passed. Without a reason, it was told.
    pub(in crate::decode) fn stop(&mut self, reason: Option<String>) {
        self.unread = true;
        self.finish(reason);
    }

    /// Whether a limit was passed.
    pub(in crate::decode) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Says which limit is passed.
    pub(super) fn over_limit(&self) -> Option<String> {
        let (produced, stored) = (self.produced, self.stored.used());
        let at = || format!("the rest, from byte {stored} of the stored object, was not read");
        if produced > self.limits.object {
            return Some(format!("more than {} bytes decompressed: {}", self.limits.object, at()));
        }
        let is_bomb = self.packing != Packing::Plain
            && produced > RATIO_FROM
            && produced > self.limits.ratio.saturating_mul(stored);
        is_bomb.then(|| {
            format!("{produced} bytes from {stored} stored, over {} for one: {}", self.limits.ratio, at())
        })
    }
}

/// Bytes of text until the limit, and one to tell that it is passed. Beyond it (line formats) there is none.
pub(super) fn remaining(limit: u64, produced: u64) -> usize {
    match limit.checked_sub(produced) {
        Some(left) => usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1),
        None => usize::MAX,
    }
}
