//! What an object is, told by its top-level keys in the order they stand.
//!
//! The rules depend on nothing but the object, so every window size gives the same answer:
//!
//! 1. The first key is a record's own (`eventVersion`, `eventID`, …): a record.
//! 2. Before any such key, `Records`, `Events` or `logEvents` with an array: a wrapper; its elements are what counts.
//! 3. Before any such key, `digestS3Object` or `digestEndTime`: a digest. `messageType` `CONTROL_MESSAGE`: left out.
//! 4. At its end: `_raw` holding text is an envelope; then any of a record's own keys makes it a record; then `detail` under
//!    a `detail-type` that ends with `via CloudTrail`, then `message`, `Message` or `CloudTrailEvent` holding text.
//! 5. Anything else is not ours.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

use super::Format;
use crate::record::unescape;

/// Keys that only a record has at its top level.
const OWN: [&[u8]; 6] =
    [b"eventVersion", b"eventID", b"eventTime", b"userIdentity", b"eventSource", b"eventName"];
/// Further keys of a record, for telling one from an inner object.
const FURTHER: [&[u8]; 6] =
    [b"awsRegion", b"eventType", b"eventCategory", b"recipientAccountId", b"eventId", b"sourceIPAddress"];
/// Keys whose string holds a record.
const STRINGS: [&[u8]; 4] = [b"_raw", b"message", b"Message", b"CloudTrailEvent"];
/// The text of a control message's only event.
const CONTROL: &[u8] = b"CWL CONTROL MESSAGE";

/// Digits of an event's id, at most: AWS writes 56.
const LONGEST_ID: usize = 64;

/// What an object is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A record.
    Record,
    /// Its elements begin at `after`, behind the `[`. `records`: they are records whatever they hold.
    Wrapper { format: Format, after: usize, records: bool },
    /// Recognised and not wanted.
    LeftOut { what: &'static str },
    /// An EventBridge envelope: the record begins at `start`, the envelope ends at `end`.
    Nested { start: usize, end: usize },
    /// The record is text in a string of this object, which ends at `end`; the string's own text begins at `start`, and so
    /// much is at the front of the scratch when its escapes are undone.
    Text { start: usize, length: usize, end: usize },
    /// Whole and valid, and none of ours.
    Unknown { end: usize, reason: &'static str },
    /// The text ends before it can be told.
    Incomplete,
    /// Not JSON from here on.
    Invalid { at: usize, reason: &'static str },
}

/// Why a walk stops.
enum Stop {
    Incomplete,
    Invalid(usize, &'static str),
}

/// A string that may hold a record.
struct Held {
    /// Its place in [`STRINGS`].
    rank: usize,
    /// Where it stands, quotes included.
    span: Range<usize>,
    /// Bytes of it that stand in the scratch; `None`: it has to be parsed yet.
    length: Option<usize>,
}

/// Tells what the object at `text[at]` is. `eof`: nothing follows this text. Text out of a string goes to the scratch.
pub(super) fn of(text: &[u8], at: usize, eof: bool, scratch: &mut Vec<u8>) -> Shape {
    match walk(text, at, eof, scratch) {
        Ok(shape) => shape,
        Err(Stop::Incomplete) => Shape::Incomplete,
        Err(Stop::Invalid(at, reason)) => Shape::Invalid { at, reason },
    }
}

/// The text of a log group's event as the service writes it, told without going from member to member: a number as id, a
/// time, and a record as text. `None`: it has to be looked at closely.
pub(super) fn log_event(text: &[u8], at: usize, scratch: &mut Vec<u8>) -> Option<Shape> {
    let behind = |at: usize, what: &[u8]| text.get(at..)?.starts_with(what).then_some(at + what.len());
    let digits = |at: usize| {
        let digits = text.get(at..).unwrap_or_default().iter().take(LONGEST_ID);
        at + digits.take_while(|byte| byte.is_ascii_digit()).count()
    };
    let id = behind(at, br#"{"id":""#)?;
    let time = behind(digits(id), br#"","timestamp":"#)?;
    let is_number = matches!(text.get(time), Some(b'1'..=b'9'));
    let start = behind(digits(time), br#","message":""#).filter(|_| is_number)?;
    // Before its escapes are undone: if it is none, that is not done twice.
    behind(start, br#"{\"eventVersion\":\""#)?;
    let (end, length) = unescape(text, start, scratch)?;
    let end = behind(end, b"}")?;
    Some(Shape::Text { start, length, end })
}

fn walk(text: &[u8], at: usize, eof: bool, scratch: &mut Vec<u8>) -> Result<Shape, Stop> {
    let mut place = at + 1;
    let (mut own, mut control, mut via, mut first) = (false, false, None, true);
    let mut detail = None;
    let mut held: Option<Held> = None;
    loop {
        let Member { key, value, end } = match member(text, place, first)? {
            Next::Member(member) => member,
            Next::End(end) => return last(text, end, own, via, detail, held, scratch),
        };
        let (byte, key) = (text.get(value).copied(), key.as_ref());
        if OWN.contains(&key) {
            if first {
                return Ok(Shape::Record);
            }
            own = true;
        }
        first = false;
        if byte.is_none() {
            return Err(Stop::Incomplete);
        }
        if !own {
            match (key, byte) {
                (b"logEvents", _) if control => return Ok(Shape::LeftOut { what: "control message" }),
                (b"Records" | b"Events" | b"logEvents", Some(b'[')) => return Ok(wrapper(key, value + 1)),
                (b"digestS3Object" | b"digestEndTime", _) => return Ok(Shape::LeftOut { what: "digest" }),
                _ => {}
            }
        }
        let rank = match byte {
            Some(b'"') => STRINGS.iter().position(|name| *name == key),
            _ => None,
        };
        let rank = rank.filter(|rank| held.as_ref().is_none_or(|held| *rank < held.rank));
        let undone = rank.and_then(|_| unescape(text, value + 1, scratch));
        place = match undone {
            Some((end, _)) => end,
            None => value_end(text, value, end, eof)?,
        };
        if let Some(rank) = rank {
            held = Some(Held { rank, span: value..place, length: undone.map(|(_, length)| length) });
        }
        let span = text.get(value..place).unwrap_or_default();
        match key {
            b"messageType" => control = span == br#""CONTROL_MESSAGE""#,
            b"detail-type" => via = Some(span.ends_with(br#"via CloudTrail""#)),
            b"detail" if byte == Some(b'{') => detail = Some(value),
            _ => {}
        }
    }
}

/// Judges an object of which everything was seen.
fn last(
    text: &[u8],
    end: usize,
    own: bool,
    via: Option<bool>,
    detail: Option<usize>,
    held: Option<Held>,
    scratch: &mut Vec<u8>,
) -> Result<Shape, Stop> {
    let raw = matches!(held, Some(Held { rank: 0, .. }));
    Ok(match (via, detail, held) {
        _ if own && !raw => Shape::Record,
        (Some(true), Some(start), _) => Shape::Nested { start, end },
        (Some(_), _, _) => Shape::Unknown { end, reason: "an EventBridge event that is not from CloudTrail" },
        (None, _, Some(Held { span, length, .. })) => {
            let start = span.start + 1;
            let length = length.or_else(|| {
                let parsed = serde_json::from_slice::<String>(text.get(span).unwrap_or_default()).ok()?;
                *scratch = parsed.into_bytes();
                Some(scratch.len())
            });
            match length {
                Some(length) if scratch.get(..length).is_some_and(|text| text.starts_with(CONTROL)) => {
                    Shape::LeftOut { what: "control message" }
                }
                Some(length) => Shape::Text { start, length, end },
                None => {
                    Shape::Unknown { end, reason: "the string that should hold a record is not valid text" }
                }
            }
        }
        _ => Shape::Unknown { end, reason: "no `Records` and not a CloudTrail record" },
    })
}

/// Recognises a member that opens an array of records, also behind another such array.
pub(super) fn wrapper(key: &[u8], after: usize) -> Shape {
    match key {
        b"Records" => Shape::Wrapper { format: Format::Records, after, records: true },
        b"Events" => Shape::Wrapper { format: Format::Lookup, after, records: false },
        _ => Shape::Wrapper { format: Format::CloudWatchLogs, after, records: false },
    }
}

/// Whether a whole object is certainly a record and no inner object of one: it has `eventVersion` and two more of a
/// record's keys at its top level.
pub(super) fn is_record(object: &[u8]) -> bool {
    let (mut version, mut others, mut at, mut first) = (false, 0, 1, true);
    while let Ok(Next::Member(Member { key, value, end })) = member(object, at, first) {
        first = false;
        let is_version = *key == *b"eventVersion";
        version |= is_version;
        others += usize::from(!is_version && (OWN.contains(&&*key) || FURTHER.contains(&&*key)));
        if version && others >= 2 {
            return true;
        }
        let Ok(next) = value_end(object, value, end, true) else { break };
        at = next;
    }
    false
}

/// A member's key, and where its value begins.
pub(super) struct Member<'a> {
    pub(super) key: Cow<'a, [u8]>,
    pub(super) value: usize,
    /// One past the key's closing quote.
    end: usize,
}

pub(super) enum Next<'a> {
    Member(Member<'a>),
    /// One past the closing brace.
    End(usize),
}

/// A member behind a comma of an object that is being walked; `None`: the text ends before its value begins.
pub(super) fn later_member(text: &[u8], at: usize) -> Result<Option<Member<'_>>, (usize, &'static str)> {
    match member(text, at, true) {
        Ok(Next::Member(member)) if member.value < text.len() => Ok(Some(member)),
        Ok(Next::Member(_)) | Err(Stop::Incomplete) => Ok(None),
        Ok(Next::End(end)) => Err((end - 1, "a key should stand here")),
        Err(Stop::Invalid(at, reason)) => Err((at, reason)),
    }
}

/// Reads `"key":` at `at`, after a comma unless it is the first, or the object's end.
fn member(text: &[u8], at: usize, first: bool) -> Result<Next<'_>, Stop> {
    let mut at = blanks(text, at);
    match text.get(at) {
        Some(b'}') => return Ok(Next::End(at + 1)),
        Some(b',') if !first => at = blanks(text, at + 1),
        Some(b'"') if first => {}
        Some(_) => return Err(Stop::Invalid(at, "expected a comma, a key or a brace")),
        None => return Err(Stop::Incomplete),
    }
    match text.get(at) {
        Some(b'"') => {}
        Some(_) => return Err(Stop::Invalid(at, "a key should stand here")),
        None => return Err(Stop::Incomplete),
    }
    let (end, escaped) = string(text, at).ok_or(Stop::Incomplete)?;
    let key = if escaped {
        // A key no parser can read (a lone surrogate) is none of ours; its text is.
        let key = serde_json::from_slice::<String>(text.get(at..end).unwrap_or_default());
        Cow::Owned(key.unwrap_or_default().into_bytes())
    } else {
        Cow::Borrowed(text.get(at + 1..end - 1).unwrap_or_default())
    };
    let colon = blanks(text, end);
    match text.get(colon) {
        Some(b':') => Ok(Next::Member(Member { key, value: blanks(text, colon + 1), end })),
        Some(_) => Err(Stop::Invalid(colon, "a colon should stand here")),
        None => Err(Stop::Incomplete),
    }
}

/// One past a string's closing quote.
pub(super) fn string_end(text: &[u8], at: usize) -> Option<usize> {
    string(text, at).map(|(end, _)| end)
}

/// One past a string's closing quote, and whether there are escapes in it.
fn string(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let (mut from, mut escaped) = (at + 1, false);
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        match text.get(found) {
            Some(b'"') => return Some((found + 1, escaped)),
            _ => (from, escaped) = (found + 2, true),
        }
    }
}

/// One past the value at `at`, where it is a string without escapes or a number of digits alone, as nearly all are that stand
/// beside a record in its envelope. `None`: it is none, or is to be looked at closely.
fn plain_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    match rest.first()? {
        b'"' => {
            let (end, escaped) = string(text, at)?;
            let inner = text.get(at + 1..end - 1)?;
            (!escaped && inner.iter().fold(true, |plain, byte| plain & (*byte >= b' '))).then_some(end)
        }
        b'1'..=b'9' => {
            let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
            matches!(rest.get(digits), Some(b',' | b'}')).then_some(at + digits)
        }
        _ => None,
    }
}

/// One past the value at `at`, validated.
fn value_end(text: &[u8], at: usize, key: usize, eof: bool) -> Result<usize, Stop> {
    if let Some(end) = plain_end(text, at) {
        return Ok(end);
    }
    let rest = text.get(at..).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => {
            let end = at + values.byte_offset();
            let closed = matches!(text.get(end.wrapping_sub(1)), Some(b'"' | b'}' | b']'));
            if closed || eof || end < text.len() { Ok(end) } else { Err(Stop::Incomplete) }
        }
        Some(Err(error)) if error.is_eof() || (!eof && ends_in_number(rest)) => Err(Stop::Incomplete),
        None => Err(Stop::Incomplete),
        Some(Err(_)) => Err(Stop::Invalid(key.max(at), "not JSON in the value that begins here")),
    }
}

/// Whether a value that is wrong only seems so because the text ends inside a number (`-`, `1.`, `1e`).
fn ends_in_number(text: &[u8]) -> bool {
    let digits = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let before = text.iter().rposition(|byte| !digits(byte)).map_or(0, |at| at + 1);
    let before = text.get(..before).unwrap_or_default();
    before.len() < text.len()
        && serde_json::from_slice::<IgnoredAny>(before).is_err_and(|error| error.is_eof())
}

/// One past the value at `at`; `None`: the text ends before. For elements that are no objects.
pub(super) fn element_end(text: &[u8], at: usize, eof: bool) -> Result<Option<usize>, usize> {
    match value_end(text, at, at, eof) {
        Ok(end) => Ok(Some(end)),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Invalid(at, _)) => Err(at),
    }
}

/// The first byte from `at` on that is no JSON blank.
pub(super) fn blanks(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len())
}

/// Whether the text begins with a value that ends on its line, and another on the next; `None`: as far as can be seen, it
/// may. What begins with a wrapper is an object of its own while that is open.
pub(super) fn begins_lines(text: &[u8], record: usize) -> Option<bool> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = text.get(blanks(text, 0)..).unwrap_or_default();
    let opens = |text: &[u8]| matches!(text.first(), Some(b'{' | b'['));
    if !opens(text) {
        return Some(false);
    }
    let Some(end) = Skip::default().feed(text) else {
        let may =
            text.len() <= record && !matches!(of(text, 0, false, &mut Vec::new()), Shape::Wrapper { .. });
        return if may && text.starts_with(b"{") { None } else { Some(false) };
    };
    let next = blanks(text, end);
    let rest = text.get(next..).filter(|rest| !rest.is_empty())?;
    Some(text.get(end..next).unwrap_or_default().contains(&b'\n') && opens(rest))
}

/// Whether the text begins with an array of records, alone or in a wrapper, that does not end in it. A bare record may be
/// the damaged first of many lines, which need not wait for it.
pub(super) fn is_open(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = text.get(blanks(text, 0)..).unwrap_or_default();
    let is_array = text.starts_with(b"[")
        || text.starts_with(b"{") && matches!(of(text, 0, false, &mut Vec::new()), Shape::Wrapper { .. });
    is_array && Skip::default().feed(text).is_none()
}

/// Finds where a value ends, over any number of buffers, without looking at more than quotes and brackets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skip {
    depth: u64,
    string: bool,
    escape: bool,
    scalar: bool,
}

impl Skip {
    /// Goes over `text`; where in it the value ends, if it does.
    pub(super) fn feed(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            if self.string {
                if self.escape {
                    self.escape = false;
                    at += 1;
                    continue;
                }
                at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
                self.escape = text.get(at) == Some(&b'\\');
                self.string = self.escape;
                at += 1;
                if !self.string && self.depth == 0 {
                    return Some(at);
                }
                continue;
            }
            match byte {
                b'"' => self.string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if self.scalar => return Some(at),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => self.scalar = self.depth == 0,
            }
            at += 1;
        }
        None
    }
}
