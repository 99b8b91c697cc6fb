//! A page: memory that is written over and over, in whole blocks.
//!
//! A record is made of some sixty short pieces. Each is copied as a block of fixed size and cut to length, which needs
//! no call; and because the page is the same from record to record, it stays near.

use wide::u8x32;

use super::text::escape_byte;

/// Bytes copied at once.
const BLOCK: usize = 32;
/// The page does not stay larger than this, bytes.
const ROOM: usize = 256 * 1024;

/// Text in the making.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Written up to `at`; the rest is of no meaning.
    bytes: Vec<u8>,
    at: usize,
}

impl Page {
    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.at = 0;
        if self.bytes.len() > ROOM {
            self.bytes = Vec::new();
        }
    }

    /// What was written since.
    pub(crate) fn text(&self) -> &[u8] {
        self.bytes.get(..self.at).unwrap_or_default()
    }

    /// Writes `source[start..end]`.
    #[inline(always)]
    pub(crate) fn append(&mut self, source: &[u8], start: usize, end: usize) {
        let length = end.wrapping_sub(start);
        if length <= BLOCK
            && let (Some(block), Some(room)) = (block::<BLOCK>(source, start), self.room::<BLOCK>())
        {
            room.copy_from_slice(block);
            self.at += length;
        } else if length <= 2 * BLOCK
            && let (Some(blocks), Some(room)) =
                (block::<{ 2 * BLOCK }>(source, start), self.room::<{ 2 * BLOCK }>())
        {
            room.copy_from_slice(blocks);
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
            self.bytes.resize((end * 2).max(8 * 1024), 0);
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
            let (mut page, mut escaped) = (Page::default(), Page::default());
            let (mut expected, mut expected_escaped) = (Vec::new(), Vec::new());
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
            prop_assert_eq!(page.text(), &expected[..]);
            prop_assert_eq!(escaped.text(), &expected_escaped[..]);
            page.clear();
            page.write(b"again");
            prop_assert_eq!(page.text(), b"again");
        }
    }

    #[test]
    fn a_page_does_not_stay_large() {
        let mut page = Page::default();
        page.write(&vec![b'x'; ROOM + 1]);
        page.clear();
        assert!(page.bytes.is_empty());
    }
}
