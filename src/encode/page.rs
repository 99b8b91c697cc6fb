//! A page: the end of an output buffer, written in whole blocks.
//!
//! A record is made of some sixty short pieces. Each is copied as a block of fixed size and cut to length, which needs
//! no call; so the buffer is lengthened once for a record, and cut at its end. Where it was not lengthened enough, that
//! is seen at the end, and the record is written once more.

use wide::u8x32;

use super::text::escape_byte;

/// Bytes looked at, and escaped, at once.
const BLOCK: usize = 32;
/// What a block may become when each byte is escaped, and the block written last.
const ESCAPED: usize = 3 * BLOCK;
/// Bytes copied at once.
const WIDE: usize = 64;
/// Where a page that was too short stands: beyond any end.
const BEYOND: usize = usize::MAX / 2;

/// Text in the making. It never moves, so where it stands can be kept in a register.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// Written up to `at`; the rest is of no meaning.
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Page<'a> {
    /// A page over these bytes, written from `at` on.
    pub(crate) fn new(bytes: &'a mut [u8], at: usize) -> Page<'a> {
        Page { bytes, at }
    }

    /// Where the next byte goes; `None`: the page was too short.
    pub(crate) fn end(&self) -> Option<usize> {
        (self.at <= self.bytes.len()).then_some(self.at)
    }

    /// What was written from here on.
    pub(crate) fn text(&self, start: usize) -> &[u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Takes back the last bytes.
    #[inline(always)]
    pub(crate) fn back(&mut self, bytes: usize) {
        self.at = self.at.saturating_sub(bytes);
    }

    /// Writes `source[start..end]`.
    #[inline(always)]
    pub(crate) fn append(&mut self, source: &[u8], start: usize, end: usize) {
        let length = end.wrapping_sub(start);
        if length <= WIDE
            && let (Some(block), Some(room)) = (block::<WIDE>(source, start), self.room::<WIDE>())
        {
            *room = *block; // an assignment is inlined; `copy_from_slice` calls
            self.at += length;
        } else {
            self.at = write(self.bytes, self.at, source.get(start..end).unwrap_or_default());
        }
    }

    /// Writes these bytes.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        match self.room() {
            Some(room) => {
                *room = bytes;
                self.at += N;
            }
            None => self.at = BEYOND,
        }
    }

    /// Writes any text.
    pub(crate) fn write(&mut self, text: &[u8]) {
        self.at = write(self.bytes, self.at, text);
    }

    /// Writes `source[start..end]` as the inside of a JSON string.
    #[inline(always)]
    pub(crate) fn escape(&mut self, source: &[u8], start: usize, end: usize) {
        let mut from = start;
        while from < end {
            let (Some(block), Some(room)) = (block::<BLOCK>(source, from), self.room::<ESCAPED>()) else {
                self.at = escape_slowly(self.bytes, self.at, source.get(from..end).unwrap_or_default());
                return;
            };
            if let Some(first) = room.first_chunk_mut() {
                *first = *block;
            }
            let length = BLOCK.min(end - from);
            let mut mask =
                special(*block) & u32::MAX.unbounded_shr(u32::try_from(BLOCK - length).unwrap_or(0));
            let mut backslashes = 0;
            // Each special byte moves what follows it by one: the rest is written again from there. Where that goes
            // depends on the mask alone, so one does not wait for the other.
            while mask != 0 {
                let special = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                let to = room.get_mut(special + backslashes..).and_then(|rest| rest.first_chunk_mut());
                let (Some(to), Some(rest)) = (to, self::block::<BLOCK>(source, from + special)) else {
                    self.at = escape_slowly(self.bytes, self.at, source.get(from..end).unwrap_or_default());
                    return;
                };
                if rest[0] < b' ' {
                    self.at = escape_slowly(self.bytes, self.at, source.get(from..end).unwrap_or_default());
                    return;
                }
                put(to, rest);
                backslashes += 1;
            }
            self.at += length + backslashes;
            from += length;
        }
    }

    #[inline(always)]
    fn room<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.bytes.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut())
    }
}

/// A backslash, then the block.
#[inline(always)]
fn put(to: &mut [u8; BLOCK + 1], block: &[u8; BLOCK]) {
    to[0] = b'\\';
    if let Some(rest) = to.last_chunk_mut() {
        *rest = *block;
    }
}

/// Writes any text at `at`; returns where the next byte goes.
#[inline(never)]
fn write(bytes: &mut [u8], at: usize, text: &[u8]) -> usize {
    match bytes.get_mut(at..).and_then(|rest| rest.get_mut(..text.len())) {
        Some(room) => {
            room.copy_from_slice(text);
            at + text.len()
        }
        None => BEYOND,
    }
}

#[cold]
#[inline(never)]
fn escape_slowly(bytes: &mut [u8], at: usize, text: &[u8]) -> usize {
    let mut escaped = Vec::with_capacity(text.len() * 2);
    for &byte in text {
        escape_byte(byte, &mut escaped);
    }
    write(bytes, at, &escaped)
}

#[inline(always)]
fn block<const N: usize>(source: &[u8], start: usize) -> Option<&[u8; N]> {
    source.get(start..).and_then(|rest| rest.first_chunk())
}

/// One bit for each byte that may not stand in a string as it is.
#[inline(always)]
pub(super) fn special(bytes: [u8; BLOCK]) -> u32 {
    let block = u8x32::new(bytes);
    let quote = block.simd_eq(u8x32::splat(b'"'));
    let backslash = block.simd_eq(u8x32::splat(b'\\'));
    let control = block.simd_eq(block.min(u8x32::splat(0x1f)));
    (quote | backslash | control).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_of_a_text_are_written_alone(
            text in "[a-z\"\\\\é\n]{0,300}",
            parts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
            room in 0..40_000usize,
        ) {
            let text = text.as_bytes();
            let (mut out, mut out_escaped) = (vec![0; room], vec![0; room]);
            let (mut page, mut escaped) = (Page::new(&mut out, 0), Page::new(&mut out_escaped, 0));
            let (mut expected, mut expected_escaped) = (Vec::new(), Vec::new());
            for (one, other) in parts {
                let (one, other) = (one.index(text.len() + 1), other.index(text.len() + 1));
                let (start, end) = (one.min(other), one.max(other));
                page.append(text, start, end);
                page.write(b"abc");
                page.back(1);
                expected.extend_from_slice(&text[start..end]);
                expected.extend_from_slice(b"ab");
                escaped.escape(text, start, end);
                text[start..end].iter().for_each(|&byte| escape_byte(byte, &mut expected_escaped));
            }
            for (page, expected) in [(page, expected), (escaped, expected_escaped)] {
                match page.end() {
                    Some(end) => {
                        prop_assert_eq!(page.text(0), expected.as_slice());
                        prop_assert_eq!(end, expected.len());
                    }
                    None => prop_assert!(expected.len() + ESCAPED > room),
                }
            }
        }
    }
}
