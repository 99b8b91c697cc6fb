//! One delivery on its way through a worker: opened, decoded window by window, its records transformed, routed and
//! encoded. Parked at a record boundary when there is no memory, and then continued by any worker.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use super::books::Books;
use super::budget::{Kind, Permit};
use super::hands::{Hands, Place};
use super::line::Pipeline;
use super::outcomes::{Answer, Outcome, answer, partition_hash};
use super::refused::Refused;
use crate::ack::{Ack, Note, Verdict};
use crate::decode::{Decode, Input, Item};
use crate::encode::packer::Chunk;
use crate::record::protect::Protection;
use crate::record::{Record, Scan, Span};
use crate::source::{Body, Delivery};
use crate::transform::{Context, Decision};

/// Objects up to this size, as stored, are read whole; larger ones in steps.
const READ_WHOLE: u64 = 4 << 20;
/// Records above this size ask for their memory before they are begun.
const LARGE_RECORD: usize = 128 << 10;

/// Bytes of one kind a pipeline must be able to hold, whatever comes: one object read whole, one window.
pub fn reserve(limits: &crate::decode::Limits) -> [usize; 2] {
    [usize::try_from(READ_WHOLE).unwrap_or(usize::MAX), limits.record.max(limits.window) + (1 << 20)]
}

/// Bytes one record of the largest size may need at one sink.
pub fn largest_payload(limits: &crate::decode::Limits) -> usize {
    large_record_needs(limits.record)
}

fn large_record_needs(length: usize) -> usize {
    length + length / 4 + (64 << 10)
}

/// How a run of a job ended.
pub enum Ran {
    /// The delivery's own share is settled; what is in payloads settles later.
    Done,
    /// There is no memory for the next step.
    NoMemory(Box<Job>),
}

enum Stored {
    Unopened(Body),
    Whole { bytes: Held, check: Option<(File, Check)> },
    Steps { from: Box<dyn Read + Send>, check: Option<(File, Check)> },
}

type Check = Arc<dyn Fn(&File) -> Result<(), String> + Send + Sync>;

enum Held {
    Shared(Bytes),
    Own(Vec<u8>, Permit),
}

impl Held {
    fn bytes(&self) -> &[u8] {
        match self {
            Held::Shared(bytes) => bytes,
            Held::Own(bytes, _) => bytes,
        }
    }
}

/// A delivery being worked on.
pub struct Job {
    pipeline: Arc<Pipeline>,
    ack: Option<Ack>,
    origin: crate::source::Origin,
    growing: bool,
    stored: Stored,
    decode: Decode,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that the window before did not use up.
    permit: Option<Permit>,
    window: u32,
    in_window: bool,
    books: Books,
    /// Next ordinals of partitions of this window whose chunk is not at hand.
    ordinals: Vec<(usize, Arc<str>, u32)>,
    remembered: Vec<Outcome>,
    refused: Refused,
    failed: bool,
    rejected: bool,
    overdrawn: bool,
}

/// Why a delivery cannot be worked on further.
enum Halt {
    /// No memory; park.
    NoMemory,
    /// It fails; the note is for its source.
    Fail(Note),
}

impl Job {
    /// A job for a delivery.
    pub fn new(pipeline: Arc<Pipeline>, delivery: Delivery, ack: Ack) -> Job {
        let remembered = pipeline.outcomes.recall(ack.key());
        let sinks = pipeline.sinks.len();
        Job {
            decode: Decode::new(pipeline.limits),
            ack: Some(ack),
            origin: delivery.origin,
            growing: delivery.growing,
            stored: Stored::Unopened(delivery.body),
            buffer: Vec::new(),
            permit: None,
            window: 0,
            in_window: false,
            books: Books::with_sinks(sinks),
            ordinals: Vec::new(),
            remembered,
            refused: Refused::default(),
            failed: false,
            rejected: false,
            overdrawn: false,
            pipeline,
        }
    }

    /// Where the object is, for log lines.
    pub fn address(&self) -> Arc<str> {
        self.origin.address.clone()
    }

    /// Works until the object is used up or there is no memory.
    pub fn run(mut self, hands: &mut Hands) -> Ran {
        match self.go(hands) {
            Ok(()) => self.end(hands, Note::None),
            Err(Halt::NoMemory) => {
                self.put_down(hands);
                Ran::NoMemory(Box::new(self))
            }
            Err(Halt::Fail(note)) => {
                self.failed = true;
                self.end(hands, note)
            }
        }
    }

    fn go(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        self.open(hands)?;
        loop {
            if !self.in_window {
                self.fill(hands)?;
            }
            if !self.records(hands)? {
                return self.check();
            }
            self.end_window(hands);
        }
    }

    /// Opens the object; a small one is read whole.
    fn open(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        if !matches!(self.stored, Stored::Unopened(_)) {
            return Ok(());
        }
        if let Stored::Unopened(Body::File { size, .. }) = &self.stored
            && *size <= READ_WHOLE
        {
            self.read_whole(hands)
        } else {
            self.open_steps()
        }
    }

    fn read_whole(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        let Stored::Unopened(Body::File { path, size, check }) = &self.stored else { return Ok(()) };
        // One byte more than there should be: a file that grew is noticed.
        let size = usize::try_from(*size).unwrap_or(usize::MAX);
        let wants = size.saturating_add(1);
        let spare = hands.spare_body.take().filter(|(buffer, _)| buffer.capacity() >= wants);
        let (mut buffer, permit) = match spare {
            Some(spare) => spare,
            None => {
                // A little more than asked for, so that the next object of about this size fits.
                let takes = (wants + wants / 4).next_multiple_of(64 << 10);
                let least = self.pipeline.budget.try_take(self.pipeline.account, Kind::Body, takes);
                let permit = match least {
                    Some(permit) => permit,
                    None => self.pipeline.budget.try_take(self.pipeline.account, Kind::Body, wants).ok_or(Halt::NoMemory)?,
                };
                (Vec::with_capacity(permit.bytes()), permit)
            }
        };
        buffer.clear();
        let (path, check) = (path.clone(), check.clone());
        let read = (|| {
            let mut file = File::open(&path)?;
            if let Err(changed) = check(&file) {
                return Ok((file, Err(changed)));
            }
            buffer.resize(wants, 0);
            let mut length = 0;
            while length < wants {
                match file.read(&mut buffer[length..]) {
                    Ok(0) => break,
                    Ok(more) => length += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            buffer.truncate(length);
            let unchanged = if length == size { check(&file) } else { Err(format!("its size changed from {size} bytes while it was read")) };
            Ok((file, unchanged))
        })();
        match read {
            Ok((_, Ok(()))) => {
                self.stored = Stored::Whole { bytes: Held::Own(buffer, permit), check: None };
                Ok(())
            }
            Ok((_, Err(changed))) => {
                hands.spare_body = Some((buffer, permit));
                Err(Halt::Fail(Note::Changed(changed)))
            }
            Err(error) => {
                hands.spare_body = Some((buffer, permit));
                Err(Halt::Fail(Note::Changed(format!("reading it: {error}"))))
            }
        }
    }

    fn open_steps(&mut self) -> Result<(), Halt> {
        let Stored::Unopened(body) = std::mem::replace(&mut self.stored, Stored::Unopened(Body::Bytes(Bytes::new()))) else {
            return Ok(());
        };
        self.stored = match body {
            Body::Bytes(bytes) => Stored::Whole { bytes: Held::Shared(bytes), check: None },
            Body::Stream(from) => Stored::Steps { from, check: None },
            Body::File { path, check, .. } => {
                let opened = File::open(&path).and_then(|file| Ok((file.try_clone()?, file)));
                let (file, same) = opened.map_err(|error| Halt::Fail(Note::Changed(format!("opening it: {error}"))))?;
                check(&file).map_err(|changed| Halt::Fail(Note::Changed(changed)))?;
                Stored::Steps { from: Box::new(file), check: Some((same, check)) }
            }
        };
        Ok(())
    }

    /// Whether the file is still the one that was lent, at the end of reading it.
    fn check(&self) -> Result<(), Halt> {
        match &self.stored {
            Stored::Whole { check: Some((file, check)), .. } | Stored::Steps { check: Some((file, check)), .. } => {
                check(file).map_err(|changed| Halt::Fail(Note::Changed(changed)))
            }
            _ => Ok(()),
        }
    }

    /// Fills the next window; its memory first.
    fn fill(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        let stored_size = match &self.stored {
            Stored::Whole { bytes, .. } => Some(bytes.bytes()),
            _ => None,
        };
        let wants = self.decode.need(stored_size, self.buffer.len());
        if self.permit.is_none()
            && let Some((buffer, permit)) = hands.spare_window.take()
            && buffer.capacity() >= wants
        {
            (self.buffer, self.permit) = (buffer, Some(permit));
            self.buffer.clear();
        }
        let holds = self.permit.as_ref().map_or(0, Permit::bytes);
        if holds < wants {
            let takes = (wants + wants / 8).next_multiple_of(64 << 10).max(wants);
            let grown = match &mut self.permit {
                Some(permit) => permit.try_grow(takes - holds) || permit.try_grow(wants - holds),
                none => {
                    let (budget, account) = (&self.pipeline.budget, self.pipeline.account);
                    *none = budget.try_take(account, Kind::Window, takes).or_else(|| budget.try_take(account, Kind::Window, wants));
                    none.is_some()
                }
            };
            if !grown {
                return Err(Halt::NoMemory);
            }
            let holds = self.permit.as_ref().map_or(0, Permit::bytes);
            self.buffer.reserve_exact(holds.saturating_sub(self.buffer.len()));
        }
        let mut input = match &mut self.stored {
            Stored::Whole { bytes, .. } => Input::Whole(bytes.bytes()),
            Stored::Steps { from, .. } => Input::Read(from),
            Stored::Unopened(_) => Input::Whole(&[]),
        };
        let filled = self.decode.fill(&mut hands.tools, &mut input, &mut self.buffer);
        filled.map_err(|error| Halt::Fail(Note::Why(format!("reading it: {error}"))))?;
        if self.growing && self.decode.summary().incomplete {
            return Err(Halt::Fail(Note::Incomplete));
        }
        self.in_window = true;
        Ok(())
    }

    /// Goes through the window. `false`: the object is used up.
    fn records(&mut self, hands: &mut Hands) -> Result<bool, Halt> {
        let buffer = std::mem::take(&mut self.buffer);
        let went = self.records_of(hands, &buffer);
        self.buffer = buffer;
        went
    }

    fn records_of(&mut self, hands: &mut Hands, buffer: &[u8]) -> Result<bool, Halt> {
        loop {
            if self.overdrawn {
                self.room(hands)?;
            }
            match self.decode.next(&mut hands.scanner, buffer) {
                Item::Record { span, number } => {
                    if (span.end - span.start) as usize > LARGE_RECORD && !self.room_for(span) {
                        self.decode.again();
                        return Err(Halt::NoMemory);
                    }
                    self.books.read += 1;
                    self.record(hands, buffer, span, number, 0);
                }
                Item::LeftOut { what } => {
                    self.books.read += 1;
                    self.books.filtered += 1;
                    self.pipeline.count(|totals| totals.left_out += 1);
                    tracing::debug!(object = %self.origin.address, what, "left out");
                }
                Item::Damage { damage, bytes, more } => {
                    if self.growing && self.decode.summary().incomplete {
                        return Err(Halt::Fail(Note::Incomplete));
                    }
                    if !more {
                        self.books.read += 1;
                        self.books.rejected += 1;
                    }
                    self.refused.damage(&damage, bytes.of(buffer), more);
                    self.store_refused_when_many();
                }
                Item::WindowEnd => return Ok(true),
                Item::End => return Ok(false),
            }
        }
    }

    /// Whether one record of this size finds room at every sink.
    fn room_for(&self, span: Span) -> bool {
        let needs = large_record_needs((span.end - span.start) as usize) * self.pipeline.sinks.len();
        self.pipeline.budget.try_take(self.pipeline.account, Kind::Payload, needs).is_some()
    }

    /// The last record used memory that was not there: not before some has come back is another begun.
    fn room(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        self.put_down(hands);
        if self.room_for(Span::default()) {
            self.overdrawn = false;
            return Ok(());
        }
        Err(Halt::NoMemory)
    }

    /// One record through the transforms from `step` on, and to the sinks.
    fn record(&mut self, hands: &mut Hands, buffer: &[u8], span: Span, number: u64, step: usize) {
        let pipeline = self.pipeline.clone();
        hands.overlay.clear();
        let mut record = Record {
            buffer,
            span,
            identity: pipeline.identity.read(&hands.scanner, buffer, span, &self.origin),
            index: &hands.scanner,
            overlay: &mut hands.overlay,
            protection: Protection::default(),
            families: 0,
        };
        pipeline.protector.judge(&mut record, &mut hands.matching);
        let mut added = Vec::new();
        let delivery = self.ack.as_ref().map(Ack::id).unwrap_or_default();
        let mut context = Context { delivery, now: hands.tools.now, added: &mut added, matching: &mut hands.matching };
        let mut ended = None;
        for (at, this) in pipeline.steps.iter().enumerate().skip(step) {
            let decision = this.transform.apply(&mut record, &mut context);
            // Whatever a transform thinks, a protected record is never thinned.
            let thins = matches!(decision, Decision::Sample | Decision::RollUp);
            if decision != Decision::Keep && !(thins && record.protection.any()) {
                ended = Some((at, decision));
                break;
            }
        }
        if let Some((at, decision)) = &ended {
            match decision {
                Decision::Keep => {}
                Decision::Filter => self.books.filtered += 1,
                Decision::Sample => self.books.sampled += 1,
                Decision::Duplicate => self.books.duplicate += 1,
                Decision::RollUp => self.books.rolled_up += 1,
                Decision::Reject(reason) => {
                    self.books.rejected += 1;
                    let offset = self.decode.offset(span);
                    self.refused.record(&pipeline.steps[*at].name, None, reason, &record, pipeline.token, offset, number);
                }
            }
        } else {
            if self.pipeline.origin || self.decode.marks().any() {
                self.refused.origin(&mut record, &self.origin, number, self.decode.marks());
            }
            self.offer(&pipeline, record, hands_for_sinks(hands), number);
        }
        if !added.is_empty() {
            let after = ended.map_or(pipeline.steps.len(), |(at, _)| at + 1);
            self.added(hands, added, number, after);
        }
        self.store_refused_when_many();
    }
}
