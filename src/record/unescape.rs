//! A JSON string's text without its escapes, in one pass that finds the string's end as well.
//!
//! A record that stands in a string has an escaped quote every ten bytes. So nothing here goes from escape to escape:
//! of 64 bytes it is told at once which backslashes go, and what is between them is copied 32 bytes at a time, the excess
//! of each copy overwritten by the next. Where anything else is escaped than a quote, 32 bytes are looked at more closely.

use super::block::{BLOCK, Block, high, marks};

/// Bytes looked at: a block, and what a copy that begins in it may reach.
const REACH: usize = 2 * BLOCK;
/// The same of two blocks.
const REACH_OF_TWO: usize = 3 * BLOCK;
/// Bytes the room for the text begins with.
const FIRST: usize = 4 << 10;
/// Every second bit, from the lowest.
const EVEN: u32 = 0x5555_5555;

/// Un-escapes the string whose text begins at `text[at]`, behind its opening quote, to the front of `out`. Gives one past
/// its closing quote, and the length of what was written; `out` is made as long as it takes, and no shorter.
///
/// `None`: it is not for this road (a surrogate), no JSON string, not UTF-8, or the text ends before it does: a slower
/// parser is to say which.
pub(crate) fn unescape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<(usize, usize)> {
    let (mut read, mut written, mut seen_high) = (at, 0, 0);
    // Whether the block before ended with a backslash that escapes the first byte of this one.
    let mut carried = 0;
    let mut last;
    loop {
        let rest = text.get(read..).unwrap_or_default();
        if let Some(from) = rest.first_chunk::<REACH_OF_TWO>()
            && let Some(to) = out.get_mut(written..).and_then(|out| out.first_chunk_mut::<REACH_OF_TWO>())
            && let Some((length, carries)) = quotes(from, to, carried)
        {
            (read, written, carried) = (read + 2 * BLOCK, written + length, carries);
            continue;
        }
        let from = match rest.first_chunk::<REACH>() {
            Some(from) => from,
            None => {
                last = padded(rest);
                &last
            }
        };
        if out.len() < written + REACH {
            out.resize((2 * out.len()).max(FIRST), 0);
        }
        let to: &mut [u8; REACH] = out.get_mut(written..)?.first_chunk_mut()?;
        let block: &Block = from.first_chunk()?;
        let marks = marks(block);
        let high = high(block);
        seen_high |= high;
        let (escaped, carries) = escaped(marks.backslash, carried);
        let closing = marks.quote & !escaped;
        let others = escaped & !(marks.quote | marks.backslash);
        let stop = closing | others | (marks.other & !high);
        let length = stop.trailing_zeros() as usize;
        let before = if stop == 0 { u32::MAX } else { (1 << length) - 1 };
        written += squeeze(from, to, length, u64::from(marks.backslash & !escaped & before));
        read += length;
        if stop == 0 {
            carried = carries;
            continue;
        }
        let first = stop & stop.wrapping_neg();
        if first & closing != 0 {
            let is_text = seen_high == 0 || std::str::from_utf8(out.get(..written)?).is_ok();
            return is_text.then_some((read + 1, written));
        }
        if first & others == 0 {
            return None;
        }
        let (character, length) = character(text.get(read..)?)?;
        written += character.encode_utf8(out.get_mut(written..written + 4)?).len();
        read += length;
        carried = 0;
    }
}

/// Two blocks as nearly all are: every backslash escapes a quote, and every quote is escaped. Gives how many bytes are left
/// of them, and whether the first byte behind them is escaped.
#[inline(always)]
fn quotes(from: &[u8; REACH_OF_TWO], to: &mut [u8; REACH_OF_TWO], carried: u32) -> Option<(usize, u32)> {
    let (first, second) = (marks(from.first_chunk()?), marks(from.get(BLOCK..)?.first_chunk()?));
    let both = |first: u32, second: u32| u64::from(first) | u64::from(second) << BLOCK;
    let (quote, backslash) = (both(first.quote, second.quote), both(first.backslash, second.backslash));
    let follows = backslash << 1 | u64::from(carried);
    let usual = quote == follows && backslash & follows == 0 && first.other | second.other == 0;
    usual.then(|| (squeeze(from, to, 2 * BLOCK, backslash), second.backslash >> (BLOCK - 1)))
}

/// Copies `length` bytes, at most two blocks, without those of the mask, which are among them; how many are left.
#[inline(always)]
fn squeeze<const N: usize>(from: &[u8; N], to: &mut [u8; N], length: usize, mut without: u64) -> usize {
    let (mut start, mut written) = (0, 0);
    let mut copy = |start: usize, written: usize| {
        if let (Some(from), Some(to)) = (from.get(start..start + BLOCK), to.get_mut(written..written + BLOCK))
        {
            to.copy_from_slice(from);
        }
    };
    let mut run = |start: usize, end: usize, written: usize| {
        copy(start, written);
        if end - start > BLOCK {
            copy(start + BLOCK, written + BLOCK);
        }
        written + end - start
    };
    while without != 0 {
        let end = without.trailing_zeros() as usize;
        written = run(start, end, written);
        start = end + 1;
        without &= without - 1;
    }
    run(start, length, written)
}

/// Which bytes of a block are escaped by a backslash before them, and whether the first of the next one is. `carried`: the
/// first of this one is.
///
/// A run of backslashes escapes what is behind it if it is odd. Adding a run's first bit to the run carries to behind its
/// end, so runs that begin at even and at odd places are told apart by whether that is at an even or an odd one.
#[inline(always)]
fn escaped(backslash: u32, carried: u32) -> (u32, u32) {
    let backslash = backslash & !carried;
    let follows = backslash << 1 | carried;
    let odd_starts = backslash & !EVEN & !follows;
    let (even_runs, carries) = odd_starts.overflowing_add(backslash);
    ((EVEN ^ (even_runs << 1)) & follows, u32::from(carries))
}

/// What is escaped as anything else than itself: the character, and the length of what stands behind the backslash.
#[inline(never)]
fn character(escape: &[u8]) -> Option<(char, usize)> {
    let character = match escape.first()? {
        b'/' => '/',
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => {
            let digits = escape.get(1..5)?;
            let value = digits
                .iter()
                .try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))?;
            return Some((char::from_u32(value)?, 5));
        }
        _ => return None,
    };
    Some((character, 1))
}

/// What is left, and zeros, which are in no string.
#[cold]
#[inline(never)]
fn padded(rest: &[u8]) -> [u8; REACH] {
    let mut padded = [0; REACH];
    for (to, &from) in padded.iter_mut().zip(rest) {
        *to = from;
    }
    padded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What serde_json makes of the string that begins the text; `None`: none begins it.
    fn oracle(text: &[u8]) -> Option<(usize, String)> {
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<String>();
        let string = values.next()?.ok()?;
        Some((values.byte_offset(), string))
    }

    /// Whatever there is of a text, both say the same of it, but for surrogates.
    #[track_caller]
    fn agrees(text: &[u8]) {
        let mut out = Vec::new();
        let ours = unescape(text, 1, &mut out).map(|(end, length)| (end, out[..length].to_vec()));
        let expected = oracle(text).map(|(end, string)| (end, string.into_bytes()));
        let shown = String::from_utf8_lossy(text);
        if ours != expected {
            let surrogate = shown.to_ascii_lowercase().contains(r"\ud");
            assert!(surrogate && ours.is_none(), "{shown}: {ours:?}, not {expected:?}");
        }
    }

    #[test]
    fn every_escape_at_every_place_is_what_serde_json_makes_of_it() {
        for middle in [
            "",
            "\"",
            "\\\"",
            "\\\\",
            "\\\\\\\"",
            "\\/",
            "\\n\\t\\r\\b\\f",
            "\\u0041",
            "\\u00e9\\u20AC",
            "\\uFFFF",
            "\\ud83d\\ude00",
            "\\ud800",
            "\\u12",
            "\\u12g4",
            "\\u+123",
            "\\x",
            "\n",
            "\u{7f}",
            "\u{1}",
            "é€😀",
            "\\é",
            "\\",
            "\\\\\\",
            "\\u0000",
        ] {
            for place in 0..=2 * REACH {
                for (filler, rest) in [("a", 1), ("\\\"", 40), ("\\\\", 70), ("é", 0), ("ab\\\"", 33)] {
                    let text = format!("\"{}{middle}{}\"", filler.repeat(place), filler.repeat(rest));
                    agrees(text.as_bytes());
                    agrees(format!("{text},{}", "\\".repeat(70)).as_bytes());
                    agrees(&text.as_bytes()[..text.len() - 1]);
                    let mut wrong = text.into_bytes();
                    wrong[place / 2 + 1] ^= 0x80;
                    agrees(&wrong);
                }
            }
        }
    }

    #[test]
    fn long_text_finds_room() {
        let text = serde_json::to_string(&r#"{"a":"b"}"#.repeat(10_000)).unwrap();
        agrees(text.as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_is_what_it_was_before_it_was_escaped(text: String, noise in r#"[\\"\\"a-c/nu0-9é\n]{0,200}"#) {
            for text in [&text, &noise] {
                agrees(serde_json::to_string(text).unwrap().as_bytes());
                let twice = serde_json::to_string(&serde_json::to_string(text).unwrap()).unwrap();
                agrees(twice.as_bytes());
            }
        }

        #[test]
        fn any_bytes_are_what_serde_json_says_of_them(bytes: Vec<u8>, noise in r#"([\\"\\a-c/nu0-9é\n]|\\"|\\\\|\\u00){0,200}"#) {
            for bytes in [&bytes, noise.as_bytes()] {
                agrees(&[b"\"", bytes, b"\""].concat());
            }
        }
    }
}
