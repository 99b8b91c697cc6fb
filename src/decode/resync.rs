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
    /// Nothing before this offset; from there on it cannot be told yet.
    Hold(usize),
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

/// Searches `text[from..]`. `lines`: a line format; `most`: bytes of the largest record.
pub(super) fn find(
    scanner: &mut Scanner,
    text: &[u8],
    from: usize,
    lines: bool,
    eof: bool,
    most: usize,
) -> Found {
    let mut at = from;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let next = if lines { memchr::memchr2(b'{', b'\n', rest) } else { memchr::memchr(b'{', rest) };
        let Some(next) = next.map(|next| next + at) else {
            // Keeps what may be the context of a brace that is still to come.
            return Found::Hold(if eof { text.len() } else { text.len().saturating_sub(64).max(from) });
        };
        if text.get(next) == Some(&b'\n') {
            return Found::Line(next + 1);
        }
        let (context, found) = match before(text, next) {
            Some(context) => context,
            None => {
                at = next + 1;
                continue;
            }
        };
        if matches!(found, Found::Line(_)) {
            match shape::of(text, next, eof, &mut Vec::new()) {
                Shape::Unknown { .. } | Shape::Invalid { .. } => at = next + 1,
                Shape::Incomplete if eof || text.len() - next > most => at = next + 1,
                Shape::Incomplete => return Found::Hold(context),
                Shape::Record => {
                    at = match scanner.scan(text, next) {
                        Scan::Record { .. } => return found,
                        Scan::Incomplete if eof || text.len() - next > most => next + 1,
                        Scan::Incomplete => return Found::Hold(context),
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
                    Follow::More if record && text.len() - next <= most => return Found::Hold(context),
                    // The line before it ends with a comma: that one is cut where a key should stand.
                    Follow::Wrong(_) if record && is_line(text, next, end) => return Found::Line(next),
                    Follow::Wrong(fault) if record => fault,
                    _ => end,
                }
            }
            Scan::Incomplete if eof || text.len() - next > most => next + 1,
            Scan::Incomplete => return Found::Hold(context),
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

/// What the text before a brace makes of it, and where that text begins.
fn before(text: &[u8], brace: usize) -> Option<(usize, Found)> {
    let ahead = |to: usize| {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        text.get(..to)?.iter().rposition(|byte| !blank(byte))
    };
    let Some(at) = ahead(brace) else {
        return (brace > 0 && text.get(brace - 1) == Some(&b'\n')).then_some((0, Found::Line(brace)));
    };
    match text.get(at) {
        Some(b',') => Some((at, Found::Element(brace))),
        Some(b'[') => {
            let colon = ahead(at).filter(|&at| text.get(at) == Some(&b':'))?;
            let quote = ahead(colon)?;
            let key = quote.checked_sub(8)?;
            (text.get(key..=quote) == Some(br#""Records""#)).then_some((key, Found::Records(brace)))
        }
        Some(b':') => None,
        _ => (text.get(brace - 1) == Some(&b'\n')).then_some((at, Found::Line(brace))),
    }
}
