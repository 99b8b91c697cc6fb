//! Where the next record begins after damage.
//!
//! The rule, made so that an inner object (of `resources`, say) is never shipped as a record. A `{` begins a record when
//!
//! - a comma stands before it, or `"Records": [`;
//! - it scans as a whole valid object, with `eventVersion` and two more of a record's keys at its own top level;
//! - behind it stands what may stand behind an element: a comma and another value, or `]`, or the end.
//!
//! Or it begins a line, and what begins there is something [`shape`] knows. In a line format, any line is
//! a new beginning. The search begins at the string before the fault: a quote that is missing is noticed late.

use super::shape::{self, Shape};
use crate::record::scan::{Scan, Scanner};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record, as an element of the array that is being walked.
    Element(usize),
    /// The first record of a `Records` array.
    Records(usize),
    /// The beginning of a line, where a new value may stand.
    Line(usize),
    /// Nothing yet.
    Hold {
        /// What stands before is needed no more.
        keep: usize,
        /// Where to go on searching.
        from: usize,
    },
}

/// What stands behind an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// What may.
    Fits,
    /// The text ends, more may follow.
    More,
    /// The text ends, and nothing follows.
    Nothing,
    /// What may not, from this offset on.
    Wrong(usize),
}

/// Looks behind an element of an array: a stray brace makes a valid shorter record, told by what follows it.
pub(super) fn behind_element(text: &[u8], end: usize, eof: bool) -> Follow {
    let open = if eof { Follow::Nothing } else { Follow::More };
    let at = shape::blanks(text, end);
    match text.get(at) {
        None => open,
        Some(b']') => Follow::Fits,
        Some(b',') => {
            let next = shape::blanks(text, at + 1);
            match text.get(next) {
                None => open,
                // A string is an element or, with a colon behind it, a key of the object that ended too early.
                Some(b'"') => {
                    match shape::string_end(text, next).map(|end| text.get(shape::blanks(text, end))) {
                        Some(Some(b':')) => Follow::Wrong(at),
                        Some(Some(_)) => Follow::Fits,
                        Some(None) | None => open,
                    }
                }
                Some(b'}' | b':' | b',') => Follow::Wrong(at),
                Some(_) => Follow::Fits,
            }
        }
        Some(_) => Follow::Wrong(at),
    }
}

/// Looks behind a value that stands alone: only another object or array may follow on the same line.
pub(super) fn behind_value(text: &[u8], end: usize, eof: bool) -> Follow {
    let rest = text.get(end..).unwrap_or_default();
    let at = end + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')).unwrap_or(rest.len());
    match text.get(at) {
        None if eof => Follow::Fits,
        None => Follow::More,
        Some(b'\n' | b'{' | b'[') => Follow::Fits,
        Some(_) => Follow::Wrong(at),
    }
}

/// Where to begin searching when the object at `start` turned out wrong at `fault`.
pub(super) fn search_from(text: &[u8], start: usize, fault: usize) -> usize {
    let fault = fault.clamp(start, text.len());
    let quote = |to: usize| {
        memchr::memrchr(b'"', text.get(start + 1..to).unwrap_or_default()).map(|at| at + start + 1)
    };
    quote(fault).and_then(quote).unwrap_or(fault).max(start + 1)
}

/// Searches `text[from..]`. What stands before `start` was told already and makes nothing of a brace, or it would matter
/// how the text comes in windows. `lines`: a line format; `most`: bytes of the largest record.
pub(super) fn find(
    scanner: &mut Scanner,
    text: &[u8],
    (start, from): (usize, usize),
    lines: bool,
    eof: bool,
    most: usize,
) -> Found {
    let mut at = from;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let next = if lines { memchr::memchr2(b'{', b'\n', rest) } else { memchr::memchr(b'{', rest) };
        let Some(next) = next.map(|next| next + at) else {
            return Found::Hold {
                keep: if eof { text.len() } else { context(text, start) },
                from: text.len(),
            };
        };
        if text.get(next) == Some(&b'\n') {
            return Found::Line(next + 1);
        }
        let (keep, found) = match before(text, start, next) {
            Some(before) => before,
            None => {
                at = next + 1;
                continue;
            }
        };
        if matches!(found, Found::Line(_)) {
            match shape::of(text, next, eof, &mut Vec::new()) {
                Shape::Unknown { .. } | Shape::Invalid { .. } => at = next + 1,
                Shape::Incomplete if eof || text.len() - next > most => at = next + 1,
                Shape::Incomplete => return Found::Hold { keep, from: next },
                Shape::Record => {
                    at = match scanner.scan(text, next) {
                        Scan::Record { .. } => return found,
                        Scan::Incomplete if eof || text.len() - next > most => next + 1,
                        Scan::Incomplete => return Found::Hold { keep, from: next },
                        Scan::Invalid { at: fault, .. } => search_from(text, next, fault),
                    }
                }
                _ => return found,
            }
            continue;
        }
        at = match scanner.scan(text, next) {
            Scan::Record { end } => {
                let record = shape::is_record(text.get(next..end).unwrap_or_default());
                match behind_element(text, end, eof) {
                    Follow::Fits | Follow::Nothing if record => return found,
                    Follow::More if record && text.len() - next <= most => {
                        return Found::Hold { keep, from: next };
                    }
                    // The line before it ends with a comma: that one is cut where a key should stand.
                    Follow::Wrong(_) if record && is_line(text, next, end) => return Found::Line(next),
                    Follow::Wrong(fault) if record => fault,
                    _ => end,
                }
            }
            Scan::Incomplete if eof || text.len() - next > most => next + 1,
            Scan::Incomplete => return Found::Hold { keep, from: next },
            Scan::Invalid { at: fault, .. } => search_from(text, next, fault),
        };
    }
}

/// Whether a value has its lines for itself.
fn is_line(text: &[u8], start: usize, end: usize) -> bool {
    let behind = text.get(end..).unwrap_or_default();
    let behind = behind.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
    start > 0 && text.get(start - 1) == Some(&b'\n') && behind == Some(&b'\n')
}

/// Where the last byte that is no blank stands before `to`, from `start` on.
fn ahead(text: &[u8], start: usize, to: usize) -> Option<usize> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    Some(start + text.get(start..to)?.iter().rposition(|byte| !blank(byte))?)
}

/// What the text before a brace makes of it, and where that text begins, from `start` on.
fn before(text: &[u8], start: usize, brace: usize) -> Option<(usize, Found)> {
    let start = start.max(brace.saturating_sub(BLANKS));
    let begins_line = || brace > start && text.get(brace - 1) == Some(&b'\n');
    let Some(at) = ahead(text, start, brace) else {
        return begins_line().then_some((start, Found::Line(brace)));
    };
    match text.get(at) {
        Some(b',') => Some((at, Found::Element(brace))),
        Some(b'[') => {
            let colon = ahead(text, start, at).filter(|&at| text.get(at) == Some(&b':'))?;
            let quote = ahead(text, start, colon)?;
            let key = quote.checked_sub(RECORDS.len() - 1).filter(|&key| key >= start)?;
            (text.get(key..=quote) == Some(RECORDS)).then_some((key, Found::Records(brace)))
        }
        Some(b':') => None,
        _ => begins_line().then_some((at, Found::Line(brace))),
    }
}

const RECORDS: &[u8] = br#""Records""#;
/// More blanks than this are no context.
const BLANKS: usize = 4096;

/// Where the context of a brace begins that may stand behind the text, from `start` on.
fn context(text: &[u8], start: usize) -> usize {
    // The key, its colon, the bracket, with blanks between them.
    let step = |to: usize| ahead(text, start, to).unwrap_or(start);
    let quote = step(step(step(text.len())));
    quote.saturating_sub(RECORDS.len() - 1).max(text.len().saturating_sub(BLANKS)).max(start)
}
