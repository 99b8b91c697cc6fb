//! Small work on JSON text: escaping it into a string, taking blanks out, comparing keys.

use std::borrow::Cow;

use memchr::memchr2;
use wide::u8x32;

/// Blocks are looked at this many bytes at a time.
const BLOCK: usize = 32;

/// Appends `source[start..end]`.
///
/// Short pieces are copied as whole blocks and cut to length: what stands behind them in the source is there to be
/// read, and a block needs no call.
#[inline(always)]
pub(crate) fn append(source: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    let length = end.wrapping_sub(start);
    if length <= BLOCK
        && let Some(block) = source.get(start..).and_then(|rest| rest.first_chunk::<BLOCK>())
    {
        let before = out.len();
        out.extend_from_slice(block);
        out.truncate(before + length);
    } else if length <= 2 * BLOCK
        && let Some(blocks) = source.get(start..).and_then(|rest| rest.first_chunk::<{ 2 * BLOCK }>())
    {
        let before = out.len();
        out.extend_from_slice(blocks);
        out.truncate(before + length);
    } else {
        out.extend_from_slice(source.get(start..end).unwrap_or_default());
    }
}

/// Appends `text` as the inside of a JSON string: quotes, backslashes and control characters escaped, all else as it is.
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    escape_part(text, 0, text.len(), out);
}

/// Appends `source[start..end]` as [`escape`] does.
#[inline]
pub(crate) fn escape_part(source: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    let mut at = start;
    while at < end {
        let Some(block) = source.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) else { break };
        let plain = (special(*block).trailing_zeros() as usize).min(end - at);
        let before = out.len();
        out.extend_from_slice(block);
        at += plain;
        if plain < BLOCK {
            out.truncate(before + plain);
            if at < end
                && let Some(&byte) = block.get(plain)
            {
                escape_byte(byte, out);
                at += 1;
            }
        }
    }
    for &byte in source.get(at..end).unwrap_or_default() {
        escape_byte(byte, out);
    }
}

/// One bit for each byte that may not stand in a string as it is.
#[inline(always)]
fn special(bytes: [u8; BLOCK]) -> u32 {
    let block = u8x32::new(bytes);
    let quote = block.simd_eq(u8x32::splat(b'"'));
    let backslash = block.simd_eq(u8x32::splat(b'\\'));
    let control = block.simd_eq(block.min(u8x32::splat(0x1f)));
    (quote | backslash | control).to_bitmask()
}

#[inline]
fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x20 => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digit = HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
        }
        _ => out.push(byte),
    }
}

/// Appends valid JSON text without the blanks between its tokens.
pub(crate) fn strip(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'"' => {
                let end = string_end(text, at);
                out.extend_from_slice(text.get(at..end).unwrap_or_default());
                at = end;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// One past the closing quote of the string that starts at `at`; the end of the text where there is none.
pub(crate) fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        match memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
            None => return text.len(),
            Some(found) if text.get(at + found) == Some(&b'"') => return at + found + 1,
            Some(found) => at += found + 2,
        }
    }
}

/// Whether JSON text holds a line break between its tokens. (Within strings none can stand.)
pub(crate) fn breaks_lines(text: &[u8]) -> bool {
    memchr2(b'\n', b'\r', text).is_some()
}

/// A key as a reader of the JSON sees it, given as written between its quotes. Where it cannot be read (half of a
/// surrogate pair), as written.
pub(crate) fn plain_key(written: &[u8]) -> Cow<'_, [u8]> {
    if !written.contains(&b'\\') {
        return Cow::Borrowed(written);
    }
    let mut quoted = Vec::with_capacity(written.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(written);
    quoted.push(b'"');
    match serde_json::from_slice::<String>(&quoted) {
        Ok(key) => Cow::Owned(key.into_bytes()),
        Err(_) => Cow::Borrowed(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blanks_go_only_between_tokens() {
        let mut out = Vec::new();
        strip(b" { \"a b\" :\t[ 1 ,\r\n \"c \\\" d\" ] } ", &mut out);
        assert_eq!(out, b"{\"a b\":[1,\"c \\\" d\"]}");
    }

    #[test]
    fn text_that_is_cut_off_does_not_panic() {
        for text in [&b"\"abc"[..], b"\"abc\\", b"\"", b""] {
            let mut out = Vec::new();
            strip(text, &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn keys_are_compared_as_their_reader_sees_them() {
        assert_eq!(plain_key(b"a\\u002eb").as_ref(), b"a.b");
        assert_eq!(plain_key(b"\\ud800").as_ref(), b"\\ud800");
    }

    proptest! {
        #[test]
        fn a_part_of_a_text_is_appended_alone(text in "[a-z\"\\\\é]{0,120}", start in any::<prop::sample::Index>(), end in any::<prop::sample::Index>()) {
            let text = text.as_bytes();
            let (start, end) = (start.index(text.len() + 1), end.index(text.len() + 1));
            let (start, end) = (start.min(end), start.max(end));
            let mut out = b"x".to_vec();
            append(text, start, end, &mut out);
            prop_assert_eq!(&out[1..], &text[start..end]);
            let (mut part, mut alone) = (Vec::new(), Vec::new());
            escape_part(text, start, end, &mut part);
            text[start..end].iter().for_each(|&byte| escape_byte(byte, &mut alone));
            prop_assert_eq!(part, alone);
        }

        #[test]
        fn escaped_text_reads_back_as_itself(text in any::<String>()) {
            let mut out = vec![b'"'];
            escape(text.as_bytes(), &mut out);
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn dense_escapes_read_back(text in "[\"\\\\\\x00-\\x20a]{0,200}") {
            let mut out = vec![b'"'];
            escape(text.as_bytes(), &mut out);
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
