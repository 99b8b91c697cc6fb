//! One delivery on its way through a worker: opened, decoded window by window, its records transformed, routed and
//! encoded. Parked at a record boundary when there is no memory, and then continued by any worker. Each window of a line
//! format is settled by itself, where the source can go on from there; then a stop gives back the rest of the object.

mod again;
mod fetched;
mod memory;
mod needs;
mod offer;
mod open;
mod stored;
mod window;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::books::Books;
use super::budget::Permit;
use super::hands::Hands;
use super::line::Pipeline;
use super::origin;
use super::outcomes::Known;
use super::refused::Refused;
use super::through::{Way, through};
use crate::ack::{Ack, Note, Reached, Verdict};
use crate::clock::Timestamp;
use crate::decode::{Buffer, Decode, Item};
use crate::pattern::view::View;
use crate::record::identity::{Account, ObjectFacts};
use crate::record::protect::Protection;
use crate::record::{Record, Scan, Span};
use crate::source::piped::Pipe;
use crate::source::{Body, Delivery};
use crate::transform::{Decision, Loan};
use needs::large_record;
use stored::{Held, Stored};

pub use needs::{largest_payload, read_whole, reserve};

/// How a run of a job ended.
pub enum Ran {
    /// The delivery's own share is settled; what is in payloads settles later.
    Done,
    /// There is no memory for the next step.
    NoMemory(Box<Job>),
}

/// A delivery being worked on.
pub struct Job {
    pipeline: Arc<Pipeline>,
    ack: Option<Ack>,
    origin: crate::source::Origin,
    growing: bool,
    again: again::Place,
    /// How often it was lent before and could not be had.
    failures: u32,
    ahead: Option<tokio::sync::OwnedSemaphorePermit>,
    stored: Stored,
    decode: Decode,
    buffer: Buffer,
    /// What the buffer may hold.
    permit: Option<Permit>,
    /// What it may hold beyond that, for a record larger than a window.
    growth: Option<Permit>,
    window: u32,
    in_window: bool,
    /// Where it begins, where the source takes parts.
    from: Option<Reached>,
    /// Whether the source can lend the rest again.
    gives_back: bool,
    /// The place up to which everything has been handed on, where the rest could be read from.
    reached: Option<Reached>,
    /// Decompressed bytes that are in the totals, or were read by an earlier loan.
    counted: u64,
    books: Books,
    /// Next ordinals of partitions of this window whose chunk is not at hand.
    ordinals: Vec<(usize, Arc<str>, u32)>,
    /// What sinks have answered about the window the last time.
    known: Known,
    refused: Refused,
    failed: bool,
    rejected: bool,
    overdrawn: bool,
    stored_bytes: u64,
    later_member: bool,
    /// A large record that waits for memory.
    pending: Option<(Span, u64)>,
    /// What the object's address says, for records that do not say it themselves.
    facts: ObjectFacts,
    /// The time when the window was begun.
    now: Timestamp,
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
        let sinks = pipeline.sinks.len();
        let account = delivery.origin.account.as_ref().and_then(|account| Account::parse(account.as_bytes()));
        let facts = ObjectFacts { account };
        let decode = Decode::new(pipeline.limits);
        // What trickles is shipped as it comes.
        let decode = if matches!(delivery.body, Body::Stream(_)) { decode.live() } else { decode };
        let stored_bytes = delivery.body.size();
        let from = delivery.from.unwrap_or_default();
        Job {
            decode,
            ack: Some(ack),
            origin: delivery.origin,
            growing: delivery.growing,
            again: again::Place::new(delivery.again, &pipeline),
            failures: delivery.failures,
            ahead: None,
            gives_back: delivery.from.is_some() && matches!(delivery.body, Body::File { .. }),
            stored: Stored::Unopened(delivery.body),
            buffer: Buffer::default(),
            permit: None,
            growth: None,
            window: from.windows,
            in_window: false,
            from: delivery.from,
            reached: None,
            counted: from.offset,
            books: Books::with_sinks(sinks),
            ordinals: Vec::new(),
            known: Known::default(),
            refused: Refused::default(),
            failed: false,
            rejected: false,
            overdrawn: false,
            stored_bytes,
            later_member: false,
            pending: None,
            facts,
            now: pipeline.clock.now(),
            pipeline,
        }
    }

    /// The stream it reads, whose bytes may be long in coming.
    pub fn piped(&self) -> Option<Pipe> {
        match &self.stored {
            Stored::Unopened(Body::Stream(piped)) => Some(piped.pipe()),
            _ => None,
        }
    }

    /// Where the object is, for log lines.
    pub fn address(&self) -> Arc<str> {
        self.origin.address.clone()
    }

    /// Works until the object is used up or there is no memory.
    pub fn run(mut self, hands: &mut Hands) -> Ran {
        hands.keep_for(self.pipeline.account);
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
        if self.unfetched()? {
            return Ok(());
        }
        self.open(hands)?;
        loop {
            if !self.in_window {
                self.fill(hands)?;
            }
            if !self.records(hands)? {
                return self.keep_unread().and_then(|()| self.check());
            }
            self.end_window(hands, true);
            let stopping = self.pipeline.stopping.load(Ordering::Relaxed);
            if stopping && self.gives_back && self.reached.is_some() {
                return Err(Halt::Fail(Note::Stopped));
            }
        }
    }

    /// Goes through the window. `false`: the object is used up.
    fn records(&mut self, hands: &mut Hands) -> Result<bool, Halt> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let went = self.records_of(hands, &mut buffer);
        self.buffer = buffer;
        went
    }

    fn records_of(&mut self, hands: &mut Hands, buffer: &mut Buffer) -> Result<bool, Halt> {
        // Once for a window: threads would fight over the count of owners if each record took a part.
        let pipeline = self.pipeline.clone();
        self.believe(&pipeline, &mut hands.partitions);
        if let Some((span, number)) = self.pending {
            self.room_for(span, hands)?;
            self.pending = None;
            // Perhaps another worker's scanner found it.
            hands.scanner.scan(buffer, span.start as usize);
            self.record(&pipeline, hands, buffer, span, number, 0);
        }
        loop {
            if self.overdrawn {
                self.room_for(Span::default(), hands)?;
                self.overdrawn = false;
            }
            match self.decode.next(&mut hands.scanner, buffer) {
                Item::Record { span, number } => {
                    self.books.read += 1;
                    let number = self.again.number(number);
                    if (span.end - span.start) as usize > large_record(&pipeline.limits) {
                        self.pending = Some((span, number));
                        self.room_for(span, hands)?;
                        self.pending = None;
                    }
                    self.record(&pipeline, hands, buffer, span, number, 0);
                }
                Item::LeftOut { what } => {
                    self.books.read += 1;
                    self.books.filtered += 1;
                    self.pipeline.count(|totals| totals.left_out += 1);
                    tracing::debug!(object = %self.origin.address, what, "left out");
                }
                Item::Damage { damage, bytes, more, .. } => {
                    if self.growing && self.decode.summary().incomplete {
                        return Err(Halt::Fail(Note::Incomplete));
                    }
                    if !more {
                        self.books.read += 1;
                        self.books.rejected += 1;
                    }
                    self.refused.damage(&self.again.damage(damage), bytes.of(buffer), more);
                    self.store_refused(false);
                }
                Item::WindowEnd => return Ok(true),
                Item::End => return Ok(false),
            }
        }
    }

    /// One record through the transforms from `step` on, and to the sinks.
    fn record(
        &mut self,
        pipeline: &Pipeline,
        hands: &mut Hands,
        buffer: &[u8],
        span: Span,
        number: u64,
        step: usize,
    ) {
        hands.overlay.clear();
        let mut record = Record {
            buffer,
            span,
            identity: pipeline.identity.read(&hands.scanner, buffer, span, &self.facts),
            index: &hands.scanner,
            overlay: &mut hands.overlay,
            protection: Protection::default(),
            families: 0,
        };
        pipeline.protector.judge(&mut record, &mut hands.matching);
        let mut added = Vec::new();
        let delivery = self.ack.as_ref().map(Ack::id).unwrap_or_default();
        let loan = self.ack.as_ref().filter(|_| !self.again.is_known());
        let mut way = Way {
            delivery,
            loan: loan.map(|ack| Loan { ack, window: self.window }),
            now: self.now,
            field: &pipeline.field,
            added: &mut added,
            matching: &mut hands.matching,
            locals: &mut hands.locals,
        };
        let mut ended = through(&pipeline.steps, step, &mut record, &mut way, &mut ());
        let mut is_copy = false;
        if let Some((at, Decision::Duplicate)) = ended {
            // It may be the first the next time: it keeps its place among those that go on, without going anywhere.
            self.books.decided(at, &Decision::Duplicate);
            ended = through(&pipeline.steps, at + 1, &mut record, &mut way, &mut ());
            added.clear();
            is_copy = true;
        }
        match &ended {
            None => {
                if !is_copy {
                    let marks = self.decode.marks();
                    self.later_member |= marks.later_member;
                    if pipeline.origin || origin::is_marked(&record, marks) {
                        origin::add(&mut record, &self.origin, number, marks);
                    }
                    self.books.offered += 1;
                }
                self.books.newest = self.books.newest.max(record.identity.time);
                let mut packing = offer::Packing {
                    encoders: &mut hands.encoders,
                    partitions: &mut hands.partitions,
                    places: &mut hands.places,
                    compressor: &mut hands.compressor,
                };
                let routed = if pipeline.routes.is_empty() {
                    0
                } else {
                    pipeline
                        .routes
                        .matches(&View::of(&record, &pipeline.field), &mut hands.matching)
                        .first()
                        .copied()
                        .unwrap_or(0)
                };
                if is_copy {
                    self.pass_over(pipeline, &record, &mut packing, routed);
                } else {
                    self.offer(pipeline, &record, &mut packing, routed, number);
                }
            }
            Some(_) if is_copy => {}
            Some((at, decision)) => {
                self.books.decided(*at, decision);
                if let Decision::Reject(reason) = decision {
                    let (stage, offset) = (&pipeline.steps[*at].name, self.offset(span, number));
                    self.refused.record(stage, None, reason, &record, pipeline.token, offset, number);
                }
            }
        }
        if !added.is_empty() {
            let after = ended.map_or(pipeline.steps.len(), |(at, _)| at + 1);
            self.added(pipeline, hands, added, number, after);
        }
        self.store_refused(false);
    }

    /// Records that a transform made; they belong to the same delivery and pass through what follows.
    fn added(&mut self, pipeline: &Pipeline, hands: &mut Hands, added: Vec<Bytes>, number: u64, step: usize) {
        for text in added {
            self.books.added += 1;
            match hands.scanner.scan(&text, 0) {
                Scan::Record { end } if end == text.len() => {
                    let end = u32::try_from(end).unwrap_or(u32::MAX);
                    self.record(pipeline, hands, &text, Span { start: 0, end }, number, step);
                }
                _ => {
                    debug_assert!(false, "a transform added what is not one JSON object");
                    self.books.rejected += 1;
                    self.refused.text(
                        "added",
                        "a transform added what is not one JSON object",
                        &text,
                        number,
                    );
                }
            }
        }
    }

    /// Stores what was refused, when it is much or the window ends. Where it cannot be stored, the delivery fails.
    fn store_refused(&mut self, all: bool) {
        if self.refused.is_empty() || !(all || self.refused.is_much()) {
            return;
        }
        self.rejected = true;
        if let Err(error) = self.refused.store(&self.pipeline, &self.origin) {
            self.failed = true;
            if let Some(ack) = &self.ack {
                ack.note(Note::Why(error.to_string()));
            }
        }
    }

    /// The delivery's own share ends.
    fn end(mut self, hands: &mut Hands, note: Note) -> Ran {
        if matches!(note, Note::Incomplete | Note::Changed(_)) {
            self.refused = Refused::default();
        }
        self.end_window(hands, false);
        let (stored_bytes, later_member) = (self.stored_bytes, self.later_member);
        let verdict = match (self.failed, self.rejected) {
            (true, _) => Verdict::Failed,
            (false, true) => Verdict::Rejected,
            (false, false) => Verdict::Delivered,
        };
        self.pipeline.count(|totals| {
            totals.stored_bytes += stored_bytes;
            totals.later_members += u64::from(later_member);
        });
        if let (Some(permit), None) = (self.permit.take(), &self.growth) {
            hands.spare_window = Some((std::mem::take(&mut self.buffer), permit));
        }
        if let Stored::Whole { bytes: Held::Own(bytes, permit), .. } = self.stored {
            hands.spare_body = Some((bytes, permit));
        }
        if let Some(ack) = self.ack.take() {
            if note != Note::None {
                ack.note(note);
            }
            ack.settle(verdict);
        }
        Ran::Done
    }
}
