//! Small work on JSON text: escaping it into a string, taking blanks out, comparing keys.

use std::borrow::Cow;

use memchr::memchr2;

/// Appends `text` as the inside of a JSON string: quotes, backslashes and control characters escaped, all else as it is.
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut done = 0;
    while let Some(found) = text.get(done..).and_then(|rest| rest.iter().position(|&byte| needs_escape(byte)))
    {
        out.extend_from_slice(text.get(done..done + found).unwrap_or_default());
        escape_byte(text.get(done + found).copied().unwrap_or_default(), out);
        done += found + 1;
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
}

fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Appends one byte of a string's inside.
pub(crate) fn escape_byte(byte: u8, out: &mut Vec<u8>) {
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
