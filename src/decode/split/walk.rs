//! The ordinary walk: containers, envelopes, records.

use super::{Expect, Frame, Mode, Split, Step, span};
use crate::decode::resync::{self, Follow, Found};
use crate::decode::shape::{self, Shape, Skip};
use crate::decode::{Format, Item, SLACK};
use crate::record::{Scan, Scanner, Span};

/// What [`Split::look_behind`] finds.
enum Behind {
    /// It may be delivered.
    Fits,
    /// It may not; how to go on.
    Not(Option<Step>),
}

impl Split {
    /// The next record of a log file as AWS writes it: behind a comma, and with the next or the end behind it, all without
    /// a blank. `None`: it has to be looked at closely, and nothing has happened yet.
    pub(super) fn usual(&mut self, scanner: &mut Scanner, text: &[u8]) -> Option<Span> {
        let in_records = matches!(self.frames.last(), Some(Frame::Array { records: true }));
        let behind_one =
            self.inner.is_none() && matches!((&self.mode, self.expect), (Mode::Walk, Expect::Comma));
        let start = self.at + 1;
        if !in_records
            || !behind_one
            || self.number >= self.limits.records
            || text.get(self.at..=start)? != b",{"
        {
            return None;
        }
        let Scan::Record { end } = scanner.scan(text, start) else { return None };
        let fits = matches!(text.get(end..end + 2)?, b",{" | [b']', _]) && end - start <= self.limits.record;
        fits.then(|| {
            self.at = end;
            span(start, end)
        })
    }

    /// Reads what stands next; `None`: nothing to tell yet.
    pub(super) fn token(
        &mut self,
        scanner: &mut Scanner,
        (text, padded): (&[u8], &[u8]),
        eof: bool,
    ) -> Option<Step> {
        let blanks = shape::blanks(text, self.at);
        if self.frames.is_empty() && !self.newline {
            self.newline = memchr::memchr(b'\n', text.get(self.at..blanks).unwrap_or_default()).is_some();
        }
        self.at = blanks;
        let Some(&byte) = text.get(blanks) else { return Some(if eof { Step::Done } else { Step::Need }) };
        match (self.frames.last().copied(), self.expect, byte) {
            (Some(Frame::Array { .. }), Expect::Comma, b',') => {
                self.at += 1;
                // A comma before the end is nobody's loss.
                self.expect = Expect::First;
            }
            (Some(Frame::Array { .. }), Expect::Comma | Expect::First, b']')
            | (Some(Frame::Object), Expect::Comma, b'}') => {
                self.at += 1;
                self.frames.pop();
                self.value_ended();
            }
            (Some(Frame::Object), Expect::Comma, b',') => return self.member(text, eof),
            (Some(Frame::Array { records: true }), Expect::First | Expect::Value, b'{') => {
                return self.record(scanner, (text, padded), (blanks, None), blanks, eof);
            }
            (Some(Frame::Array { .. }), Expect::First | Expect::Value, b'{') => {
                return self.object(scanner, (text, padded), eof);
            }
            (Some(Frame::Array { .. }), Expect::First | Expect::Value, _) => return self.element(text, eof),
            (None, _, b'{') => {
                self.begin_top();
                return self.object(scanner, (text, padded), eof);
            }
            (None, _, b'[') => {
                self.begin_top();
                self.push(Format::Array, blanks + 1, false);
            }
            (None, _, 0xef) if self.base == 0 && blanks == 0 && text.starts_with(b"\xef\xbb\xbf") => {
                self.at += 3
            }
            (None, ..) if self.base == 0 && blanks == 0 && text.len() < 3 && !eof && byte == 0xef => {
                return Some(Step::Need);
            }
            (None, ..) => return self.broken(text, blanks, blanks, "neither a JSON object nor an array"),
            (Some(_), ..) => {
                return self.broken(
                    text,
                    blanks,
                    blanks,
                    "a comma or the end of the array or object should stand here",
                );
            }
        }
        None
    }

    /// A value begins at the top: on a line of its own, it makes this a line format.
    fn begin_top(&mut self) {
        self.lines |= self.tops > 0 && self.newline;
    }

    /// A value ended in the innermost container, or at the top.
    pub(super) fn value_ended(&mut self) {
        self.expect = if self.frames.is_empty() { Expect::Value } else { Expect::Comma };
        if self.frames.is_empty() {
            self.tops += 1;
            self.newline = false;
        }
    }

    pub(super) fn recognised(&mut self, format: Format) {
        if self.format == Format::Unknown {
            self.format = format;
        }
    }

    /// Enters an array.
    fn push(&mut self, format: Format, after: usize, records: bool) {
        self.recognised(format);
        self.frames.push(Frame::Array { records });
        self.expect = Expect::First;
        self.at = after;
    }

    /// An object that may be a record or an envelope of records.
    fn object(&mut self, scanner: &mut Scanner, (text, padded): (&[u8], &[u8]), eof: bool) -> Option<Step> {
        let at = self.at;
        let event = match self.frames.last() {
            Some(Frame::Array { .. }) => shape::log_event(text, at, &mut self.scratch),
            _ => None,
        };
        match event.unwrap_or_else(|| shape::of(text, at, eof, &mut self.scratch)) {
            Shape::Record => {
                if self.frames.is_empty() {
                    self.recognised(Format::Bare);
                }
                return self.record(scanner, (text, padded), (at, None), at, eof);
            }
            Shape::Wrapper { format, after, records } => {
                if self.frames.len() / 2 + self.depth >= self.limits.envelopes {
                    return self.broken(text, at, at, "too many envelopes around a record");
                }
                self.frames.push(Frame::Object);
                self.push(format, after, records);
            }
            Shape::LeftOut { what } => {
                self.recognised(if what == "digest" { Format::Digest } else { Format::CloudWatchLogs });
                self.mode = Mode::Skip { skip: Skip::default(), what: Some(what) };
            }
            Shape::Nested { start, end } => {
                self.recognised(Format::EventBridge);
                return self.record(scanner, (text, padded), (at, Some(end)), start, eof);
            }
            Shape::Text { start, length, end } => {
                if let Behind::Not(step) = self.look_behind(scanner, text, (at, end), at, eof) {
                    return step;
                }
                self.recognised(Format::Wrapped);
                self.envelope = (self.base.wrapping_add(at as u64), (end - at) as u64);
                self.at = end;
                self.value_ended();
                if self.depth >= self.limits.envelopes {
                    let reason = format!("more than {} envelopes around a record", self.limits.envelopes);
                    return Some(self.damage(at, end, reason, false));
                }
                return Some(Step::Text { start, length });
            }
            Shape::Unknown { end, reason } => {
                self.at = end;
                self.value_ended();
                return Some(self.damage(at, end, reason.into(), false));
            }
            Shape::Incomplete => return self.incomplete(text, at, false, eof),
            Shape::Invalid { at: fault, reason } => return self.broken(text, at, fault, reason),
        }
        None
    }

    /// The record at `start`, in an object that begins at `outer.0` and ends at `outer.1` (`None`: it stands alone).
    fn record(
        &mut self,
        scanner: &mut Scanner,
        (text, padded): (&[u8], &[u8]),
        outer: (usize, Option<usize>),
        start: usize,
        eof: bool,
    ) -> Option<Step> {
        let scan = match scanner.scan(padded, start) {
            scan @ Scan::Record { end } if end <= text.len() => scan,
            scan if padded.len() == text.len() => scan,
            // What the padding makes wrong is only incomplete without it.
            _ => scanner.scan(text, start),
        };
        match scan {
            Scan::Record { end } => {
                let behind = outer.1.unwrap_or(end);
                if end - start > self.limits.record {
                    self.at = behind;
                    self.value_ended();
                    return Some(self.damage(outer.0, behind, self.too_long(), false));
                }
                if let Behind::Not(step) = self.look_behind(scanner, text, (outer.0, behind), start, eof) {
                    return step;
                }
                self.at = behind;
                self.value_ended();
                Some(Step::Item(Item::Record { span: span(start, end), number: 0 }))
            }
            Scan::Incomplete => self.incomplete(text, outer.0, true, eof),
            Scan::Invalid { at: fault, reason } => self.broken(text, outer.0, fault, reason),
        }
    }

    /// The record that a text out of a string is, as nearly always. `None`: the text has to be walked.
    pub(super) fn text_of_record(
        &self,
        scanner: &mut Scanner,
        padded: &[u8],
        (start, end): (usize, usize),
    ) -> Option<Step> {
        let usual = padded.get(start..end)?.starts_with(br#"{"eventVersion":""#)
            && end - start <= self.limits.record
            && scanner.scan(padded, start) == Scan::Record { end };
        usual.then(|| Step::Item(Item::Record { span: span(start, end), number: 0 }))
    }

    /// Judges a whole object by what stands behind it. `scanned`: where the scanner was.
    ///
    /// In an array at the end of the input nothing stands behind it. Then it is delivered unless a record is found inside
    /// it: then a bracket is missing, and it swallowed the ones behind it.
    fn look_behind(
        &mut self,
        scanner: &mut Scanner,
        text: &[u8],
        (start, end): (usize, usize),
        scanned: usize,
        eof: bool,
    ) -> Behind {
        let follow = match self.frames.last() {
            None => resync::behind_value(text, end, eof),
            Some(_) => resync::behind_element(text, end, eof),
        };
        match follow {
            Follow::Fits => Behind::Fits,
            Follow::More if text.len() - start > self.limits.record.saturating_add(SLACK / 2) => Behind::Fits,
            Follow::More => Behind::Not(Some(Step::Need)),
            Follow::Nothing => {
                let inside = text.get(..end).unwrap_or_default();
                let found =
                    resync::find(scanner, inside, (start, start + 1), false, true, self.limits.record);
                if matches!(found, Found::Element(_)) {
                    return Behind::Not(self.broken(text, start, start, "a record without an end"));
                }
                // The search took the scanner's index.
                scanner.scan(text, scanned);
                Behind::Fits
            }
            Follow::Wrong(fault) => {
                Behind::Not(self.broken(text, start, fault, "something stands behind a record that may not"))
            }
        }
    }

    /// A value of an array that is no object.
    fn element(&mut self, text: &[u8], eof: bool) -> Option<Step> {
        let at = self.at;
        match shape::element_end(text, at, eof) {
            Ok(Some(end)) => {
                self.at = end;
                self.value_ended();
                Some(self.damage(at, end, "an element that is no object".into(), false))
            }
            Ok(None) => self.incomplete(text, at, true, eof),
            Err(fault) => self.broken(text, at, fault, "not JSON"),
        }
    }

    /// A member of a wrapper behind its array: another array of records, or nothing we want.
    fn member(&mut self, text: &[u8], eof: bool) -> Option<Step> {
        let comma = self.at;
        match shape::later_member(text, comma + 1) {
            Ok(Some(member)) => {
                if let (key @ (b"Records" | b"Events" | b"logEvents"), Some(b'[')) =
                    (&*member.key, text.get(member.value))
                    && let Shape::Wrapper { format, after, records } = shape::wrapper(key, member.value + 1)
                {
                    self.push(format, after, records);
                } else {
                    self.at = member.value;
                    self.mode = Mode::Skip { skip: Skip::default(), what: None };
                }
                None
            }
            Ok(None) => self.incomplete(text, comma, false, eof),
            Err((fault, reason)) => self.broken(text, comma, fault, reason),
        }
    }

    /// The value at `start` does not end in this text. `known`: it is what it should be, only its size is in question.
    fn incomplete(&mut self, text: &[u8], start: usize, known: bool, eof: bool) -> Option<Step> {
        if eof {
            self.torn = true;
            return self.broken(text, start, start, "the object ends inside a record");
        }
        if text.len() - start <= self.limits.record {
            return Some(Step::Need);
        }
        if known && !self.lines {
            self.at = start;
            self.mode = Mode::Oversize(Skip::default());
            return None;
        }
        self.broken(text, start, start, &self.too_long())
    }
}
