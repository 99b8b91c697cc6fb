//! The values: where a string, a number, a word or an empty container ends.

use super::Scan;
use super::block::{BLOCK, block, last_block, special};

/// Where a string ends and what was met in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// One past the closing quote.
    pub(super) end: usize,
    /// Whether there are escapes.
    pub(super) escaped: bool,
    /// Whether there are bytes outside ASCII: to be checked.
    pub(super) high: bool,
}

/// Reads a string from `at`, the byte after the opening quote; up to `plain` there is nothing special in it.
///
/// # Errors
///
/// [`Scan::Incomplete`] or [`Scan::Invalid`].
fn read(buffer: &[u8], at: usize, plain: usize) -> Result<Found, Scan> {
    let mut found = Found { end: plain, escaped: false, high: false };
    loop {
        let last;
        let bytes = match block(buffer, found.end) {
            Some(bytes) => bytes,
            None => {
                last = last_block(buffer, found.end);
                &last
            }
        };
        let base = found.end;
        let mut mask = special(bytes);
        found.end = loop {
            let offset = mask.trailing_zeros() as usize;
            let here = base + offset;
            match bytes.get(offset) {
                None => break base + BLOCK,
                Some(_) if here >= buffer.len() => return Err(torn(buffer, at)),
                Some(b'"') => {
                    found.end = here + 1;
                    return Ok(found);
                }
                Some(b'\\') => {
                    found.escaped = true;
                    let length = match escape(buffer, here) {
                        Err(Scan::Incomplete) => return Err(torn(buffer, at)),
                        other => other?,
                    };
                    // The rest of the block was looked at already.
                    match u32::try_from(offset + length).ok().and_then(|from| u32::MAX.checked_shl(from)) {
                        Some(rest) => mask &= rest,
                        None => break here + length,
                    }
                }
                Some(0x80..) => {
                    found.high = true;
                    let high =
                        buffer.get(here..).unwrap_or_default().iter().take_while(|byte| **byte >= 0x80);
                    break here + high.count();
                }
                Some(_) => return Err(Scan::Invalid { at: here, reason: "control character in a string" }),
            }
        };
    }
}

/// The buffer ends inside a string: what is there of it may already be wrong.
#[cold]
fn torn(buffer: &[u8], at: usize) -> Scan {
    match check_utf8(buffer, at, buffer.len()) {
        Ok(()) => Scan::Incomplete,
        Err(scan) => scan,
    }
}

/// Checks the text between two quotes.
///
/// # Errors
///
/// [`Scan::Invalid`]; [`Scan::Incomplete`] where it ends inside a character at the end of the buffer.
fn check_utf8(buffer: &[u8], start: usize, end: usize) -> Result<(), Scan> {
    match std::str::from_utf8(buffer.get(start..end).unwrap_or_default()) {
        Ok(_) => Ok(()),
        Err(error) if error.error_len().is_none() && end == buffer.len() => Err(Scan::Incomplete),
        Err(error) => Err(Scan::Invalid { at: start + error.valid_up_to(), reason: "not UTF-8" }),
    }
}

/// Length of the escape at `at`, the backslash.
fn escape(buffer: &[u8], at: usize) -> Result<usize, Scan> {
    match buffer.get(at + 1) {
        None => Err(Scan::Incomplete),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => {
            for digit in at + 2..at + 6 {
                match buffer.get(digit) {
                    None => return Err(Scan::Incomplete),
                    Some(byte) if byte.is_ascii_hexdigit() => {}
                    Some(_) => {
                        return Err(Scan::Invalid { at: digit, reason: "expected four hexadecimal digits" });
                    }
                }
            }
            Ok(6)
        }
        Some(_) => Err(Scan::Invalid { at: at + 1, reason: "unknown escape" }),
    }
}

/// Where a number ends that begins at `at`. A number at the buffer's end may go on: what follows decides.
///
/// # Errors
///
/// [`Scan::Incomplete`] or [`Scan::Invalid`].
fn number(buffer: &[u8], at: usize) -> Result<usize, Scan> {
    let mut end = at + usize::from(buffer.get(at) == Some(&b'-'));
    if buffer.get(end) == Some(&b'0') {
        end += 1;
    } else {
        end = digits(buffer, end)?;
    }
    if buffer.get(end) == Some(&b'.') {
        end = digits(buffer, end + 1)?;
    }
    if let Some(b'e' | b'E') = buffer.get(end) {
        end += 1;
        if let Some(b'+' | b'-') = buffer.get(end) {
            end += 1;
        }
        end = digits(buffer, end)?;
    }
    Ok(end)
}

/// One digit or more.
fn digits(buffer: &[u8], at: usize) -> Result<usize, Scan> {
    let mut end = at;
    while buffer.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    match buffer.get(end) {
        _ if end > at => Ok(end),
        None => Err(Scan::Incomplete),
        Some(_) => Err(Scan::Invalid { at: end, reason: "expected a digit" }),
    }
}

/// Where `true`, `false` or `null` ends that begins at `at`.
///
/// # Errors
///
/// [`Scan::Incomplete`] or [`Scan::Invalid`].
fn word(buffer: &[u8], at: usize) -> Result<usize, Scan> {
    let text = buffer.get(at..).unwrap_or_default();
    let word: &[u8] = match text.first() {
        Some(b't') => b"true",
        Some(b'f') => b"false",
        _ => b"null",
    };
    if text.starts_with(word) {
        return Ok(at + word.len());
    }
    if word.starts_with(text) {
        return Err(Scan::Incomplete);
    }
    Err(Scan::Invalid { at, reason: "expected true, false or null" })
}

/// Where any value that is no string or filled container ends; `Err(None)`: none starts here.
///
/// # Errors
///
/// [`Scan::Incomplete`] or [`Scan::Invalid`].
pub(super) fn other(buffer: &[u8], at: usize) -> Result<usize, Option<Scan>> {
    match buffer.get(at) {
        Some(b't' | b'f' | b'n') => Ok(word(buffer, at)?),
        Some(b'-' | b'0'..=b'9') => Ok(number(buffer, at)?),
        Some(b'{' | b'[') => empty(buffer, at).ok_or(None),
        _ => Err(None),
    }
}

/// Reads a string from its opening quote on, and checks it: one past its closing quote.
///
/// # Errors
///
/// [`Scan::Incomplete`] or [`Scan::Invalid`].
pub(super) fn whole(buffer: &[u8], at: usize, plain: usize) -> Result<Found, Scan> {
    let found = read(buffer, at + 1, plain)?;
    if found.high {
        check_utf8(buffer, at + 1, found.end - 1)?;
    }
    Ok(found)
}

/// Where the empty container ends that begins at `at`; `None` if it is not empty, or the buffer ends before that is known.
fn empty(buffer: &[u8], at: usize) -> Option<usize> {
    let close = buffer.get(at)? + 2;
    let mut end = at + 1;
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = buffer.get(end) {
        end += 1;
    }
    (buffer.get(end) == Some(&close)).then_some(end + 1)
}
