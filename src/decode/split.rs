//! Text becomes items: walks the envelopes, finds each record with the scanner, and goes on after damage.
//!
//! The state is a place in the text, the open wrappers around it and what is being done, so it can stop at every boundary
//! of two items and go on in the next window. Only what is left from that place on is carried over; a record that does
//! not end in the window is scanned again when there is more of it.

mod recover;
mod walk;

use super::inflate::{Ending, Inflate};
use super::shape::Skip;
use super::{Boundary, Buffer, Damage, Format, Item, Limits, SLACK, Space};
use crate::record::{Scanner, Span};

/// Bytes of a text out of a string that are kept for the next one.
const SCRATCH: usize = 1 << 20;
/// Bytes behind such a text that the scanner may look at, which reads blocks.
const PAD: usize = 128;

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
    /// The scratch begins with the text of a string that holds a record or more, so many bytes; it may stand in the buffer
    /// from this offset on.
    Text {
        start: usize,
        length: usize,
    },
    /// The text does not reach.
    Need,
    /// The segment is used up.
    Done,
}

/// One text taken out of an envelope; it stands where its string stood.
struct Inner {
    split: Split,
    end: usize,
    /// Zeros stand up to here: no text goes on with them.
    padded: usize,
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
    /// The last one, to be used again.
    spare: Option<Box<Inner>>,
    /// The text of a string without its escapes, before it is known to stand in a whole object.
    scratch: Vec<u8>,
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
            spare: None,
            scratch: Vec::new(),
        }
    }

    /// Begins another text, in an envelope. What memory there is stays.
    fn begin(&mut self, at: usize, depth: usize) {
        let (mut frames, scratch) = (std::mem::take(&mut self.frames), std::mem::take(&mut self.scratch));
        frames.clear();
        let spare = self.spare.take();
        *self = Split { at, depth, frames, spare, scratch, ..Split::new(self.limits) };
    }

    /// Begins between two values of a line format.
    pub(super) fn begin_at(&mut self, boundary: Boundary) {
        (self.base, self.number) = (boundary.offset, boundary.number);
        (self.lines, self.newline, self.tops) = (true, true, 1);
    }

    /// The place that was reached, if it is one to begin at.
    pub(super) fn boundary(&self) -> Option<Boundary> {
        let between = self.frames.is_empty() && self.inner.is_none() && matches!(self.mode, Mode::Walk);
        // A value that fills a window makes the next one larger.
        (self.lines && between && self.wanted().is_none())
            .then(|| Boundary { offset: self.base.wrapping_add(self.at as u64), number: self.number })
    }

    /// Whether nothing was walked yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.base == 0 && self.at == 0 && self.tops == 0 && self.frames.is_empty()
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

    /// Offset in the decompressed object of a place in the buffer.
    pub(super) fn offset(&self, at: u32) -> u64 {
        self.base.wrapping_add(u64::from(at))
    }

    /// Offset of the end of the record returned last, its envelope included.
    pub(super) fn last_end(&self) -> u64 {
        self.last_end
    }

    /// Bytes of the window that one value fills without ending.
    pub(super) fn wanted(&self) -> Option<usize> {
        self.wanted.filter(|held| *held >= self.limits.window)
    }

    /// Whether the buffer has an unwalked tail.
    pub(super) fn holds(&self, buffer: &Buffer) -> bool {
        self.at < buffer.filled
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
        if inflate.is_quiet()
            && let Some(span) = self.usual(scanner, buffer)
        {
            return self.record_ended(span);
        }
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
        match self.advance(scanner, buffer, (end, end), inflate.ending()) {
            Step::Item(item) => self.numbered(item, buffer, inflate),
            Step::Need | Step::Text { .. } => {
                self.wanted = Some(buffer.filled - self.at);
                Item::WindowEnd
            }
            Step::Done => {
                let ending = inflate.ending().cloned().unwrap_or_default();
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
            inflate.stop(None);
        }
        match &mut item {
            Item::Record { span, .. } => item = self.record_ended(*span),
            Item::Damage { number, more, .. } => {
                *number = self.number;
                self.number += u64::from(!*more);
            }
            Item::LeftOut { .. } => self.number += 1,
            Item::WindowEnd | Item::End => {}
        }
        item
    }

    /// A record, with its number.
    fn record_ended(&mut self, span: Span) -> Item {
        let number = self.number;
        self.number += 1;
        self.last_end = self.base.wrapping_add(self.at as u64);
        Item::Record { span, number }
    }

    /// One step of the innermost text.
    fn advance(
        &mut self,
        scanner: &mut Scanner,
        buffer: &mut Buffer,
        (end, padded): (usize, usize),
        ending: Option<&Ending>,
    ) -> Step {
        loop {
            if let Some(inner) = &mut self.inner {
                let ends = (inner.end, inner.padded);
                let step = inner.split.advance(scanner, buffer, ends, Some(&Ending::default()));
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
                    None => self.spare = self.inner.take(),
                }
            }
            let text = buffer.bytes.get(..padded).unwrap_or_default();
            match self.walk(scanner, (text.get(..end).unwrap_or_default(), text), ending) {
                Step::Text { start, length } => {
                    // Un-escaped text is never longer than the string it was.
                    let end = start + length;
                    let (Some(place), Some(text)) =
                        (buffer.bytes.get_mut(start..end), self.scratch.get(..length))
                    else {
                        return Step::Need;
                    };
                    place.copy_from_slice(text);
                    // Nobody asks for the rest of the envelope any more.
                    let padded = self.at.clamp(end, end + PAD);
                    buffer.bytes.get_mut(end..padded).unwrap_or_default().fill(0);
                    if length > SCRATCH {
                        self.scratch = Vec::new();
                    }
                    let text = buffer.bytes.get(..padded).unwrap_or_default();
                    if let Some(step) = self.text_of_record(scanner, text, (start, end)) {
                        return step;
                    }
                    let spare = self.spare.take();
                    let new = || Box::new(Inner { split: Split::new(self.limits), end, padded });
                    let mut inner = spare.unwrap_or_else(new);
                    inner.split.begin(start, self.depth + 1);
                    (inner.end, inner.padded) = (end, padded);
                    self.inner = Some(inner);
                }
                step => return step,
            }
        }
    }

    /// Walks the text up to the next item. `padded`: the same with its padding; `ending`: nothing follows this text.
    fn walk(
        &mut self,
        scanner: &mut Scanner,
        (text, padded): (&[u8], &[u8]),
        ending: Option<&Ending>,
    ) -> Step {
        loop {
            let step = match &self.mode {
                Mode::Walk => self.token(scanner, (text, padded), ending.is_some()),
                Mode::Skip { .. } => self.skip(text, ending.is_some()),
                Mode::Oversize(_) => Some(self.oversize(text, ending)),
                Mode::Resync { .. } => Some(self.resync(scanner, text, ending)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }
}

/// A range as a span. Buffers are far below 4 GiB: the largest is two records and a window.
fn span(from: usize, to: usize) -> Span {
    Span { start: u32::try_from(from).unwrap_or(u32::MAX), end: u32::try_from(to).unwrap_or(u32::MAX) }
}
