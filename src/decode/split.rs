//! Text becomes items: walks the envelopes, finds each record with the scanner, and goes on after damage.
//!
//! The state is a place in the text, the open wrappers around it and what is being done, so it can stop at every boundary
//! of two items and go on in the next window. Only what is left from that place on is carried over; a record that does
//! not end in the window is scanned again when there is more of it.

use super::inflate::{Ending, Inflate};
use super::resync::{self, Follow, Found};
use super::shape::{self, Shape, Skip};
use super::{Buffer, Damage, Format, Item, Limits, SLACK, Space};
use crate::record::scan::Scan;
use crate::record::{Scanner, Span};

/// A container whose members are walked one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Object,
    /// `records`: every element is a record, whatever it holds.
    Array {
        records: bool,
    },
}

/// What stands next in the innermost container (or at the top).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    /// A value, or the end of the array.
    First,
    /// A comma, or the container's end.
    Comma,
}

/// What is being done.
#[derive(Clone, Debug)]
enum Mode {
    Walk,
    /// Passing over a value that is not wanted.
    Skip {
        skip: Skip,
        what: Option<&'static str>,
    },
    /// Streaming out a record over the limit.
    Oversize(Skip),
    /// Searching the next record, from an offset into the text.
    Resync {
        from: usize,
        reason: String,
    },
}

/// What one step of the walk came to.
enum Step {
    Item(Item),
    /// The text of a string that holds a record or more; it may stand in the buffer from this offset on.
    Text(usize, String),
    /// The text does not reach.
    Need,
    /// The segment is used up.
    Done,
}

/// One text taken out of an envelope; it stands where its string stood.
struct Inner {
    split: Split,
    end: usize,
}

/// The walk over one object's text, or over one text taken out of it.
pub(super) struct Split {
    limits: Limits,
    /// Where in the buffer.
    at: usize,
    /// Offset in the decompressed object of the buffer's first byte.
    base: u64,
    frames: Vec<Frame>,
    expect: Expect,
    mode: Mode,
    number: u64,
    format: Format,
    /// More than one value, on lines of their own.
    lines: bool,
    /// Values ended at the top, and whether a newline stood behind the last.
    tops: u64,
    newline: bool,
    last_end: u64,
    torn: bool,
    /// The reason why this segment ends was told.
    told: bool,
    /// The open wrappers are a guess made after damage: no complaint when they stay open.
    guessed: bool,
    /// The text does not reach: this much is held.
    wanted: Option<usize>,
    /// Texts in envelopes around this one; 0: the object's own text.
    depth: usize,
    /// Offset and length of the envelope that is being unwrapped.
    envelope: (u64, u64),
    inner: Option<Box<Inner>>,
}

impl Split {
    pub(super) fn new(limits: Limits) -> Split {
        Split {
            limits,
            at: 0,
            base: 0,
            frames: Vec::new(),
            expect: Expect::Value,
            mode: Mode::Walk,
            number: 0,
            format: Format::Unknown,
            lines: false,
            tops: 0,
            newline: false,
            last_end: 0,
            torn: false,
            told: false,
            guessed: false,
            wanted: None,
            depth: 0,
            envelope: (0, 0),
            inner: None,
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn lines(&self) -> bool {
        self.lines
    }

    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Offset of the end of the record returned last.
    pub(super) fn last_end(&self) -> u64 {
        self.last_end
    }

    /// Bytes of the window that one value fills without ending.
    pub(super) fn wanted(&self) -> Option<usize> {
        self.wanted.filter(|held| *held >= self.limits.window)
    }

    /// Moves the buffer's unwalked tail to its front.
    pub(super) fn carry(&mut self, buffer: &mut Buffer) {
        if let Mode::Resync { from, .. } = &mut self.mode {
            *from = from.saturating_sub(self.at);
        }
        self.base = self.base.wrapping_add(self.at as u64);
        buffer.carry(self.at);
        self.at = 0;
        // A window that grew for one large record gives the memory back.
        let most = self.limits.window.saturating_add(SLACK);
        if self.wanted().is_none() && buffer.bytes.len() > most && buffer.filled <= most {
            buffer.bytes.truncate(most);
            buffer.bytes.shrink_to_fit();
        }
        self.wanted = None;
    }

    /// The next item of the window.
    pub(super) fn next(&mut self, scanner: &mut Scanner, buffer: &mut Buffer, inflate: &mut Inflate) -> Item {
        if let Some(damage) = inflate.take_note() {
            return self.numbered(
                Item::Damage { number: 0, damage, bytes: Span::default(), more: false },
                buffer,
                inflate,
            );
        }
        if let Some(piece) = inflate.take_piece() {
            // Stored bytes do not count in the text's offsets.
            self.base = self.base.wrapping_sub((buffer.filled - self.at) as u64);
            let bytes = span(self.at, buffer.filled);
            self.at = buffer.filled;
            let item = Item::Damage { number: 0, damage: piece.damage, bytes, more: piece.more };
            return self.numbered(item, buffer, inflate);
        }
        let end = buffer.filled;
        let ending = inflate.ending().cloned();
        match self.advance(scanner, buffer, end, ending.as_ref()) {
            Step::Item(item) => self.numbered(item, buffer, inflate),
            Step::Need | Step::Text(..) => {
                self.wanted = Some(buffer.filled - self.at);
                Item::WindowEnd
            }
            Step::Done => {
                let ending = ending.unwrap_or_default();
                if let Some(item) = self.segment_ends(&ending) {
                    return self.numbered(item, buffer, inflate);
                }
                inflate.next_segment();
                if inflate.is_done() { Item::End } else { Item::WindowEnd }
            }
        }
    }

    /// Gives an item its number; the record over the limit of records takes the rest of the window with it.
    fn numbered(&mut self, mut item: Item, buffer: &Buffer, inflate: &mut Inflate) -> Item {
        if let Item::Record { span: record, .. } = item
            && self.number >= self.limits.records
            && !self.lines
        {
            let from = (record.start as usize).min(buffer.filled);
            let offset = self.base + from as u64;
            let reason = format!(
                "more than {} records: the rest, from byte {offset} on, was not read beyond this window",
                self.limits.records
            );
            let length = (buffer.filled - from) as u64;
            let damage = Damage { space: Space::Decompressed, offset, length, reason };
            item = Item::Damage { number: 0, damage, bytes: span(from, buffer.filled), more: false };
            self.at = buffer.filled;
            self.inner = None;
            self.frames.clear();
            self.mode = Mode::Walk;
            inflate.stop();
        }
        match &mut item {
            Item::Record { number, .. } => {
                *number = self.number;
                self.number += 1;
                self.last_end = self.base.wrapping_add(self.at as u64);
            }
            Item::Damage { number, more, .. } => {
                *number = self.number;
                self.number += u64::from(!*more);
            }
            Item::LeftOut { .. } => self.number += 1,
            Item::WindowEnd | Item::End => {}
        }
        item
    }

    /// One step of the innermost text.
    fn advance(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut Buffer,
        end: usize,
        ending: Option<&Ending>,
    ) -> Step {
        loop {
            if let Some(inner) = &mut self.inner {
                let step = inner.split.advance(scanner, buffer, inner.end, Some(&Ending::default()));
                let item = match step {
                    Step::Item(item) => Some(item),
                    _ => inner.split.segment_ends(&Ending::default()),
                };
                match item {
                    Some(mut item) => {
                        if let Item::Damage { damage, .. } = &mut item {
                            (damage.offset, damage.length) = self.envelope;
                        }
                        return Step::Item(item);
                    }
                    None => self.inner = None,
                }
            }
            let text = buffer.bytes.get(..end).unwrap_or_default();
            match self.walk(scanner, text, ending) {
                Step::Text(start, text) => {
                    // Un-escaped text is never longer than the string it was.
                    let end = start + text.len();
                    let Some(place) = buffer.bytes.get_mut(start..end) else { return Step::Need };
                    place.copy_from_slice(text.as_bytes());
                    let mut split = Split::new(self.limits);
                    split.at = start;
                    split.depth = self.depth + 1;
                    self.inner = Some(Box::new(Inner { split, end }));
                }
                step => return step,
            }
        }
    }

    /// Walks the text up to the next item. `ending`: nothing follows this text.
    fn walk(&mut self, scanner: &mut Scanner, text: &[u8], ending: Option<&Ending>) -> Step {
        loop {
            let step = match &self.mode {
                Mode::Walk => self.token(scanner, text, ending.is_some()),
                Mode::Skip { .. } => self.skip(text, ending.is_some()),
                Mode::Oversize(_) => Some(self.oversize(text, ending)),
                Mode::Resync { .. } => Some(self.resync(scanner, text, ending)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Passes over a value that is not wanted.
    fn skip(&mut self, text: &[u8], eof: bool) -> Option<Step> {
        let Mode::Skip { skip, what } = &mut self.mode else { return None };
        let what = *what;
        let Some(length) = skip.feed(text.get(self.at..).unwrap_or_default()) else {
            self.at = text.len();
            if !eof {
                return Some(Step::Need);
            }
            // An open container: the end of the segment says so.
            self.frames.push(Frame::Object);
            self.mode = Mode::Walk;
            return None;
        };
        self.at += length;
        self.mode = Mode::Walk;
        self.value_ended();
        what.map(|what| Step::Item(Item::LeftOut { what }))
    }

    /// Streams out a record over the limit.
    fn oversize(&mut self, text: &[u8], ending: Option<&Ending>) -> Step {
        let Mode::Oversize(skip) = &mut self.mode else { return Step::Need };
        let from = self.at;
        let length = skip.feed(text.get(from..).unwrap_or_default());
        let to = length.map_or(text.len(), |length| from + length);
        let reason = self.too_long();
        self.at = to;
        let Some(ending) = ending.filter(|_| length.is_none()) else {
            if length.is_some() {
                self.mode = Mode::Walk;
                self.value_ended();
            } else if from == to {
                return Step::Need;
            }
            return self.damage(from, to, reason, length.is_none());
        };
        self.mode = Mode::Walk;
        self.frames.clear();
        self.value_ended();
        self.torn = true;
        self.told = true;
        self.damage(from, to, ending.reason.clone().unwrap_or(reason), ending.follows)
    }

    /// Goes on with damage up to the next record.
    fn resync(&mut self, scanner: &mut Scanner, text: &[u8], ending: Option<&Ending>) -> Step {
        let Mode::Resync { from, reason } = std::mem::replace(&mut self.mode, Mode::Walk) else {
            return Step::Need;
        };
        let start = self.at;
        let found =
            resync::find(scanner, text, from.max(start), self.lines, ending.is_some(), self.limits.record);
        let next = match found {
            Found::Hold(_) if let Some(ending) = ending => {
                self.at = text.len();
                self.frames.clear();
                self.value_ended();
                self.told = true;
                let reason = ending.reason.clone().unwrap_or(reason);
                return self.damage(start, text.len(), reason, ending.follows);
            }
            Found::Hold(hold) => {
                let damage = (hold > start).then(|| self.damage(start, hold, reason.clone(), true));
                self.at = hold.max(start);
                self.mode = Mode::Resync { from: self.at, reason };
                return damage.unwrap_or(Step::Need);
            }
            Found::Element(next) => {
                if self.frames.is_empty() {
                    self.frames.push(Frame::Object);
                }
                if self.frames.last() == Some(&Frame::Object) {
                    self.frames.push(Frame::Array { records: true });
                }
                next
            }
            Found::Records(next) => {
                self.recognised(Format::Records);
                self.frames.clear();
                self.frames.extend([Frame::Object, Frame::Array { records: true }]);
                next
            }
            Found::Line(next) => {
                self.frames.clear();
                self.tops += 1;
                self.newline = true;
                next
            }
        };
        self.guessed = !self.frames.is_empty();
        self.expect = Expect::Value;
        self.at = next;
        // The comma and the blanks before what was found are not part of the damage.
        let damaged = text.get(start..next).unwrap_or_default().trim_ascii_end();
        let damaged = damaged.strip_suffix(b",").unwrap_or(damaged).trim_ascii_end();
        self.damage(start, start + damaged.len(), reason, false)
    }

    /// The segment is used up: what is to be told of how it ended.
    fn segment_ends(&mut self, ending: &Ending) -> Option<Item> {
        let open = !self.frames.is_empty() && !self.guessed;
        let told = std::mem::take(&mut self.told);
        self.frames.clear();
        self.guessed = false;
        self.expect = Expect::Value;
        self.mode = Mode::Walk;
        self.torn |= open && ending.reason.is_none();
        if told || ending.follows {
            return None;
        }
        let reason = match &ending.reason {
            Some(reason) => reason.clone(),
            None if open => "the object ends before its JSON does".into(),
            None => return None,
        };
        self.told = true;
        match self.damage(self.at, self.at, reason, false) {
            Step::Item(item) => Some(item),
            _ => None,
        }
    }

    /// The object at `start` is wrong at `fault`: what is damaged is found out next.
    fn broken(&mut self, text: &[u8], start: usize, fault: usize, reason: &str) -> Option<Step> {
        self.at = start;
        if self.depth > 0 {
            // One message of many: nothing to find in its rest.
            self.at = text.len();
            self.frames.clear();
            self.value_ended();
            return Some(self.damage(start, text.len(), reason.into(), false));
        }
        let from = if self.lines { start + 1 } else { resync::search_from(text, start, fault) };
        let reason = format!("{reason}, at byte {}", self.base.wrapping_add(fault as u64));
        self.mode = Mode::Resync { from, reason };
        None
    }

    fn too_long(&self) -> String {
        format!("a record over the limit of {} bytes", self.limits.record)
    }

    fn damage(&self, from: usize, to: usize, reason: String, more: bool) -> Step {
        let offset = self.base.wrapping_add(from as u64);
        let damage = Damage { space: Space::Decompressed, offset, length: (to - from) as u64, reason };
        Step::Item(Item::Damage { number: 0, damage, bytes: span(from, to), more })
    }

    /// Reads what stands next; `None`: nothing to tell yet.
    fn token(&mut self, scanner: &mut Scanner, text: &[u8], eof: bool) -> Option<Step> {
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
                return self.record(scanner, text, (blanks, None), blanks, eof);
            }
            (Some(Frame::Array { .. }), Expect::First | Expect::Value, b'{') => {
                return self.object(scanner, text, eof);
            }
            (Some(Frame::Array { .. }), Expect::First | Expect::Value, _) => return self.element(text, eof),
            (None, _, b'{') => {
                self.begin_top();
                return self.object(scanner, text, eof);
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
    fn value_ended(&mut self) {
        self.expect = if self.frames.is_empty() { Expect::Value } else { Expect::Comma };
        if self.frames.is_empty() {
            self.tops += 1;
            self.newline = false;
        }
    }

    fn recognised(&mut self, format: Format) {
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
    fn object(&mut self, scanner: &mut Scanner, text: &[u8], eof: bool) -> Option<Step> {
        let at = self.at;
        match shape::of(text, at, eof) {
            Shape::Record => {
                if self.frames.is_empty() {
                    self.recognised(Format::Bare);
                }
                return self.record(scanner, text, (at, None), at, eof);
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
                return self.record(scanner, text, (at, Some(end)), start, eof);
            }
            Shape::Text { start, text: inner, end } => {
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
                return Some(Step::Text(start, inner));
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
        text: &[u8],
        outer: (usize, Option<usize>),
        start: usize,
        eof: bool,
    ) -> Option<Step> {
        match scanner.scan(text, start) {
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
                let found = resync::find(scanner, inside, start + 1, false, true, self.limits.record);
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
                if let (key @ ("Records" | "Events" | "logEvents"), Some(b'[')) =
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

/// What [`Split::look_behind`] finds.
enum Behind {
    /// It may be delivered.
    Fits,
    /// It may not; how to go on.
    Not(Option<Step>),
}

/// A range as a span. Buffers are far below 4 GiB: the largest is two records and a window.
fn span(from: usize, to: usize) -> Span {
    Span { start: u32::try_from(from).unwrap_or(u32::MAX), end: u32::try_from(to).unwrap_or(u32::MAX) }
}
