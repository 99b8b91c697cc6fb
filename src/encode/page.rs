//! A page: the end of an output buffer, written in whole blocks.
//!
//! A record is made of some sixty short pieces. Each is copied as a block of fixed size and cut to length, which needs
//! no call; so the buffer is lengthened once for a record, and cut at its end.

use wide::u8x32;

use super::text::escape_byte;

/// Bytes looked at, and escaped, at once.
const BLOCK: usize = 32;
/// Bytes copied at once.
const WIDE: usize = 64;
/// What a page is lengthened by beyond need, bytes.
const SPARE: usize = 512;

/// Text in the making: an output buffer that is longer than what is written.
#[derive(Debug)]
pub(crate) struct Page {
    /// Written up to `at`; the rest is of no meaning.
    bytes: Vec<u8>,
    at: usize,
}

impl Page {
    /// Takes an output buffer to write behind its end, about `expected` bytes.
    pub(crate) fn take(out: &mut Vec<u8>, expected: usize) -> Page {
        let mut bytes = std::mem::take(out);
        let at = bytes.len();
        bytes.resize(at + expected + SPARE, 0);
        Page { bytes, at }
    }

    /// Gives the buffer back, with what was written.
    pub(crate) fn give(mut self, out: &mut Vec<u8>) {
        self.bytes.truncate(self.at);
        *out = self.bytes;
    }

    /// Where the next byte goes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What was written from here on.
    pub(crate) fn text(&self, start: usize) -> &[u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Takes back what was written from here on.
    pub(crate) fn cut(&mut self, at: usize) {
        self.at = self.at.min(at);
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
            self.write(source.get(start..end).unwrap_or_default());
        }
    }

    /// Writes a short text of fixed length.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, text: &[u8; N]) {
        match self.room::<N>() {
            Some(room) => {
                *room = *text;
                self.at += N;
            }
            None => self.write(text),
        }
    }

    /// Writes any text.
    #[inline(never)]
    pub(crate) fn write(&mut self, text: &[u8]) {
        let end = self.at + text.len();
        if end > self.bytes.len() {
            self.bytes.resize(end + text.len() + SPARE, 0);
        }
        if let Some(room) = self.bytes.get_mut(self.at..end) {
            room.copy_from_slice(text);
            self.at = end;
        }
    }

    /// Writes `source[start..end]` as the inside of a JSON string.
    #[inline(always)]
    pub(crate) fn escape(&mut self, source: &[u8], start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let (Some(block), Some(room)) = (block::<BLOCK>(source, at), self.room::<BLOCK>()) else {
                return self.escape_slowly(source.get(at..end).unwrap_or_default());
            };
            *room = *block;
            let plain = (special(*block).trailing_zeros() as usize).min(end - at);
            self.at += plain;
            at += plain;
            if plain < BLOCK && at < end {
                let byte = block.get(plain).copied().unwrap_or_default();
                if byte < b' ' {
                    return self.escape_slowly(source.get(at..end).unwrap_or_default());
                }
                self.put(&[b'\\', byte]);
                at += 1;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn escape_slowly(&mut self, text: &[u8]) {
        let mut escaped = Vec::with_capacity(text.len() * 2);
        for &byte in text {
            escape_byte(byte, &mut escaped);
        }
        self.write(&escaped);
    }

    #[inline(always)]
    fn room<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.bytes.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut())
    }
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
        ) {
            let text = text.as_bytes();
            let (mut out, mut out_escaped) = (b"before".to_vec(), Vec::new());
            let (mut page, mut escaped) = (Page::take(&mut out, 10), Page::take(&mut out_escaped, 0));
            let (mut expected, mut expected_escaped) = (b"before".to_vec(), Vec::new());
            for (one, other) in parts {
                let (one, other) = (one.index(text.len() + 1), other.index(text.len() + 1));
                let (start, end) = (one.min(other), one.max(other));
                page.append(text, start, end);
                page.put(b"ab");
                expected.extend_from_slice(&text[start..end]);
                expected.extend_from_slice(b"ab");
                escaped.escape(text, start, end);
                text[start..end].iter().for_each(|&byte| escape_byte(byte, &mut expected_escaped));
            }
            let end = page.at();
            page.write(b"taken back");
            page.cut(end);
            page.give(&mut out);
            escaped.give(&mut out_escaped);
            prop_assert_eq!(out, expected);
            prop_assert_eq!(out_escaped, expected_escaped);
        }
    }
}
