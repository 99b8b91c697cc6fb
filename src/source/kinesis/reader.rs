//! Reads one shard, from a checkpoint on, to its end or until nobody wants it any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::Record;
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;

use super::cut::{self, At, Cut};
use super::desk::{Again, Desk, Piece, Which};
use super::mark::{Checkpoint, Place, Span};
use super::pace::Pace;
use super::stream::{MOST_RECORDS, Spot, Stream, Trouble};
use crate::clock::Timestamp;
use crate::pipeline::room::{Held, Room};

/// Bytes expected of an answer, at first and at least.
const FIRST: usize = 1 << 20;
/// Bytes of an answer, at most: the service's own limit.
const MOST: usize = 10 << 20;
/// Bytes of one record, as long as nothing is known of them.
const RECORD: usize = 16 << 10;
/// An answer of so many bytes is cut on a thread of its own.
const LARGE: usize = 64 << 10;
/// How soon reading something again is tried again.
const LATER: Duration = Duration::from_secs(2);

/// What all readers of a stream share.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) stream: Arc<Stream>,
    pub(super) desk: Arc<Desk>,
    pub(super) room: Room,
    pub(super) to: mpsc::Sender<Piece>,
    /// Requests at a time.
    pub(super) at_once: Arc<Semaphore>,
    /// From when on shards are read that have no checkpoint, milliseconds since 1970; `None`: from their oldest record.
    pub(super) begin: Option<i64>,
    /// What has come by then is read, and no more, milliseconds since 1970.
    pub(super) once: Option<i64>,
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reading,
    /// The shard is closed, and was read to its end.
    Ended,
    /// All that was asked for was read.
    Enough,
}

/// Reads one shard.
pub(super) struct Reader {
    means: Means,
    shard: Arc<str>,
    holding: u64,
    wake: Arc<Notify>,
    pace: Pace,
    phase: Phase,
    iterator: Option<String>,
    /// The record that was read last.
    last: Option<Place>,
    /// It should come first, and is passed over.
    expects: Option<Place>,
    /// It is not in the stream any more: from the oldest record on.
    oldest: bool,
    /// Up to when nothing was missed, milliseconds since 1970.
    safe: Option<i64>,
    /// Pieces that the run before had settled before those in front of them.
    beyond: HashSet<String>,
    /// Bytes expected of the next answer, and of a record in it.
    expected: usize,
    record: usize,
}

/// Nobody wants anything of this shard any more.
struct Over;

impl Reader {
    pub(super) fn new(means: Means, shard: Arc<str>, from: &Checkpoint, held: (u64, Arc<Notify>)) -> Reader {
        let (holding, wake) = held;
        Reader {
            means,
            shard,
            holding,
            wake,
            pace: Pace::new(),
            phase: Phase::Reading,
            iterator: None,
            last: from.place(),
            expects: None,
            oldest: false,
            safe: from.safe(),
            beyond: from.beyond.iter().cloned().collect(),
            expected: FIRST,
            record: RECORD,
        }
    }

    /// Reads until the end.
    pub(super) async fn run(mut self) {
        if self.read().await.is_err() {
            return;
        }
        let (desk, shard) = (&self.means.desk, &self.shard);
        if self.phase == Phase::Enough {
            let kept = desk.keep(Which::All).await;
            kept.unwrap_or_else(|error| self.problem(&error));
            return desk.leave(shard, self.holding);
        }
        tracing::info!(source = desk.name, shard = %shard, "everything in this shard is settled, and it is closed");
        while let Err(error) = desk.end(shard, self.holding).await {
            self.problem(&error);
            tokio::time::sleep(LATER).await;
        }
    }

    async fn read(&mut self) -> Result<(), Over> {
        loop {
            let due = match self.means.desk.again(&self.shard, self.holding) {
                Ok(again) => {
                    self.again(again).await?;
                    continue;
                }
                Err(due) => due,
            };
            let next = match self.phase {
                Phase::Reading => due.map_or(self.pace.next(), |due| due.min(self.pace.next())),
                _ if self.means.desk.is_settled(&self.shard, self.holding) => return Ok(()),
                _ => due.unwrap_or_else(|| Instant::now() + LATER),
            };
            if next > Instant::now() {
                tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = self.wake.notified() => {}
                }
            } else if self.phase == Phase::Reading {
                self.step().await?;
            }
        }
    }

    /// One request, and what comes of it.
    async fn step(&mut self) -> Result<(), Over> {
        if !self.means.desk.is_held(&self.shard, self.holding) {
            // Whoever renews leases finds out whose it is.
            self.pace.refused();
            return Ok(());
        }
        // What is read is in memory as text, and then as bytes.
        let room = self.means.room.take(self.expected * 5 / 2).await;
        let answer = {
            let at_once = self.means.at_once.clone();
            let Ok(_permit) = at_once.acquire_owned().await else { return Err(Over) };
            self.ask().await
        };
        match answer {
            Ok(answer) => self.take(answer, room).await,
            Err(trouble) => {
                self.trouble(trouble);
                Ok(())
            }
        }
    }

    async fn ask(&mut self) -> Result<GetRecordsOutput, Trouble> {
        self.pace.ask();
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => {
                let spot = match (&self.last, self.means.begin) {
                    (Some(last), _) if !self.oldest => Spot::Record(last.sequence.clone()),
                    (None, Some(time)) => Spot::Time(time),
                    _ => Spot::Oldest,
                };
                self.expects.clone_from(&self.last);
                self.means.stream.iterator(&self.shard, &spot).await?
            }
        };
        let most = i32::try_from(self.expected / self.record).unwrap_or(MOST_RECORDS);
        let counts = &self.means.desk.counts;
        let answer = self.means.stream.records(&self.shard, &iterator, most, counts).await;
        if matches!(answer, Err(Trouble::Slow(_) | Trouble::Retry(_))) {
            self.iterator = Some(iterator);
        }
        answer
    }

    fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Expired => {
                tracing::debug!(shard = %self.shard, "the iterator is too old: a new one is asked for");
                return;
            }
            Trouble::NoRecord(text) if self.expects.is_some() && !self.oldest => {
                self.problem(&format!(
                    "{text}: what was shipped last is not in the stream any more; reading goes on with its oldest record"
                ));
                self.oldest = true;
            }
            Trouble::Slow(text) => tracing::debug!(source = self.means.desk.name, "{text}: later"),
            Trouble::NoRecord(text) | Trouble::Gone(text) | Trouble::Retry(text) => {
                self.problem(&format!("{text}: trying again"));
                self.means.desk.trouble(&self.shard, text);
            }
        }
        self.pace.refused();
    }

    /// An answer.
    async fn take(&mut self, mut answer: GetRecordsOutput, room: Held) -> Result<(), Over> {
        if answer.next_shard_iterator.is_none() && answer.millis_behind_latest.is_none() {
            // The end of a shard would be for good: what is no answer of Kinesis must not be taken for one.
            let shard = &self.shard;
            self.trouble(Trouble::Retry(format!(
                "reading {shard}: the answer says neither how to go on nor how far behind it is, as if something else had answered"
            )));
            return Ok(());
        }
        let desk = self.means.desk.clone();
        let mut records = std::mem::take(&mut answer.records);
        let bytes = records.iter().map(|record| record.data.as_ref().len()).sum();
        let behind = answer.millis_behind_latest.and_then(|millis| u64::try_from(millis).ok()).unwrap_or(0);
        self.pace.answered(bytes, behind > 0);
        self.expect(bytes, records.len());
        desk.answered(&self.shard, self.holding, behind);
        let is_end = answer.next_shard_iterator.is_none();
        let after = self.pass_over(&mut records, is_end || behind == 0);
        desk.counts.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        if let Some(last) = records.last() {
            let last = cut::place(last);
            self.safe = self.safe.max(Some(last.arrival));
            let enough = self.means.once.is_some_and(|once| last.arrival > once);
            self.last = Some(last);
            self.ship(records, (after, None), room, None).await?;
            if enough {
                self.phase = Phase::Enough;
            }
        }
        if behind == 0 {
            self.safe = self.safe.max(Some(desk.now()));
            if self.means.once.is_some() {
                self.phase = Phase::Enough;
            }
            if desk.at_tip(&self.shard, self.holding) {
                desk.keep(Which::Changed).await.unwrap_or_else(|error| self.problem(&error));
            }
        }
        if is_end {
            self.phase = Phase::Ended;
        }
        self.iterator = answer.next_shard_iterator;
        Ok(())
    }

    /// What to expect of the next answer.
    fn expect(&mut self, bytes: usize, records: usize) {
        self.record = bytes.checked_div(records).map_or(self.record, |each| each.max(1));
        self.expected = (bytes * 2).max(self.expected * 3 / 4).clamp(FIRST, MOST);
    }

    /// After a new iterator, the record that was read last comes first: it is left out, or its parts up to the one that is
    /// returned. Where something else comes, it was trimmed, and perhaps more with it.
    fn pass_over(&mut self, records: &mut Vec<Record>, is_all: bool) -> Option<u32> {
        let first = records.first().map(cut::place);
        let expected = self.expects.take_if(|_| first.is_some() || is_all)?;
        self.oldest = false;
        match first {
            Some(first) if first.sequence == expected.sequence => {
                if expected.sub.is_none() {
                    records.remove(0);
                }
                expected.sub
            }
            first => {
                self.lost(&expected, first.as_ref());
                None
            }
        }
    }

    /// The record behind which reading was to go on is not there. Where everything was known to be read later than the stream
    /// forgets, nothing is missing.
    fn lost(&self, after: &Place, first: Option<&Place>) {
        let desk = &self.means.desk;
        let retention = i64::try_from(self.means.stream.retention.as_millis()).unwrap_or(i64::MAX);
        let oldest = desk.now().saturating_sub(retention);
        if self.safe.is_some_and(|safe| safe >= oldest) {
            return;
        }
        desk.counts.trimmed.fetch_add(1, Ordering::Relaxed);
        let time = |millis: i64| Timestamp(millis.saturating_mul(1_000_000)).to_string();
        let (before, before_time) = first
            .map_or((String::new(), time(oldest)), |first| (first.sequence.to_string(), time(first.arrival)));
        tracing::warn!(
            source = desk.name,
            shard = %self.shard,
            after = %after.sequence,
            after_time = time(self.safe.unwrap_or(after.arrival)),
            before,
            before_time,
            "LOST: the stream has trimmed records before they were read, those that came between these two; keep records longer in the \
             stream, or ship them from the trail's bucket with a source of type `s3` and `since`"
        );
    }

    /// Lends what records hold: those behind a part of the first, up to a part of the last. `again`: of what was lent before.
    async fn ship(
        &self,
        mut records: Vec<Record>,
        (after, until): (Option<u32>, Option<u32>),
        mut room: Held,
        again: Option<&Again>,
    ) -> Result<(), Over> {
        let bytes: usize = records.iter().map(|record| record.data.as_ref().len() + 1).sum();
        let missing = bytes.saturating_sub(room.bytes());
        if missing > 0 && !room.try_grow(missing) {
            drop(room);
            room = self.means.room.take(bytes).await;
        }
        let (records, buffer, cuts) = if bytes < LARGE {
            let (buffer, cuts) = cut::cut(&mut records, after, until);
            (records, buffer, cuts)
        } else {
            let cut = move || {
                let (buffer, cuts) = cut::cut(&mut records, after, until);
                (records, buffer, cuts)
            };
            tokio::task::spawn_blocking(cut).await.map_err(|_| Over)?
        };
        let all = room.keep(buffer);
        let desk = &self.means.desk;
        if cuts.is_empty() {
            match (again, records.last()) {
                (Some(again), _) => desk.pass(&self.shard, self.holding, again.slot),
                (None, Some(last)) => {
                    let last = cut::place(last);
                    let at = (last.sequence.clone(), None);
                    let span = Span { first: at.clone(), last: at, came: last.arrival, failures: 0 };
                    let slot = desk.cut(&self.shard, self.holding, last, span).ok_or(Over)?;
                    desk.pass(&self.shard, self.holding, slot);
                }
                (None, None) => {}
            }
            return Ok(());
        }
        if let Some(again) = again {
            let parts = u32::try_from(cuts.len()).unwrap_or(u32::MAX);
            desk.parts(&self.shard, self.holding, again.slot, parts);
        }
        for cut in &cuts {
            let Some(to) = cut.to(&records) else { continue };
            let span = span(cut, &records, again.map_or(0, |again| again.span.failures));
            let slot = match again {
                Some(again) => again.slot,
                None => desk.cut(&self.shard, self.holding, to, span.clone()).ok_or(Over)?,
            };
            if again.is_none() && self.beyond.contains(&span.shown()) {
                desk.pass(&self.shard, self.holding, slot);
                continue;
            }
            let bytes = all.slice(cut.bytes.clone());
            self.send(slot, span, bytes).await?;
        }
        Ok(())
    }

    async fn send(&self, slot: u64, span: Span, bytes: Bytes) -> Result<(), Over> {
        let (shard, holding) = (self.shard.clone(), self.holding);
        self.means.to.send(Piece { shard, holding, slot, span, bytes }).await.map_err(|_| Over)
    }

    /// Reads a piece again.
    async fn again(&mut self, again: Again) -> Result<(), Over> {
        let room = self.means.room.take(FIRST * 5 / 2).await;
        match self.fetch(&again.span).await {
            Ok(records) if records.is_empty() => {
                let desk = &self.means.desk;
                desk.counts.trimmed.fetch_add(1, Ordering::Relaxed);
                let what = again.span.shown();
                tracing::warn!(source = desk.name, shard = %self.shard, records = what, "LOST: the stream has trimmed records that were to be shipped again");
                desk.pass(&self.shard, self.holding, again.slot);
            }
            Ok(records) => {
                let Span { first, last, .. } = &again.span;
                let is_first = records.first().is_some_and(|record| record.sequence_number == *first.0);
                let after = first.1.and_then(|sub| sub.checked_sub(1)).filter(|_| is_first);
                self.ship(records, (after, last.1), room, Some(&again)).await?;
            }
            Err(trouble) => {
                self.trouble(trouble);
                self.means.desk.later(&self.shard, self.holding, again, LATER);
            }
        }
        Ok(())
    }

    /// The records of a piece.
    async fn fetch(&mut self, span: &Span) -> Result<Vec<Record>, Trouble> {
        let (stream, counts) = (self.means.stream.clone(), &self.means.desk.counts);
        let mut found: Vec<Record> = Vec::new();
        tokio::time::sleep_until(self.pace.next()).await;
        self.pace.ask();
        let spot = Spot::Record(span.first.0.clone());
        let mut iterator = match stream.iterator(&self.shard, &spot).await {
            Ok(iterator) => iterator,
            Err(Trouble::NoRecord(_)) => stream.iterator(&self.shard, &Spot::Oldest).await?,
            Err(trouble) => return Err(trouble),
        };
        let most =
            if span.first.0 == span.last.0 { 1 } else { i32::try_from(FIRST / self.record).unwrap_or(1) };
        loop {
            let answer = stream.records(&self.shard, &iterator, most, counts).await?;
            let bytes = answer.records.iter().map(|record| record.data.as_ref().len()).sum();
            self.pace.answered(bytes, true);
            let is_all = answer.next_shard_iterator.is_none() || answer.millis_behind_latest == Some(0);
            for record in answer.records {
                if is_behind(&record.sequence_number, &span.last.0) {
                    return Ok(found);
                }
                found.push(record);
            }
            let is_last = found.last().is_some_and(|record| record.sequence_number == *span.last.0);
            iterator = match answer.next_shard_iterator {
                Some(next) if !is_last && !is_all => next,
                _ => return Ok(found),
            };
            tokio::time::sleep_until(self.pace.next()).await;
            self.pace.ask();
        }
    }

    fn problem(&self, message: &str) {
        tracing::warn!(source = self.means.desk.name, shard = %self.shard, "{message}");
    }
}

/// Which records a body is of.
fn span(cut: &Cut, records: &[Record], failures: u32) -> Span {
    let of = |(at, sub): At| {
        let place = records.get(at).map(cut::place);
        (
            place.as_ref().map_or_else(|| "".into(), |place| place.sequence.clone()),
            sub,
            place.map_or(0, |place| place.arrival),
        )
    };
    let ((first, first_sub, came), (last, last_sub, _)) = (of(cut.first), of(cut.last));
    Span { first: (first, first_sub), last: (last, last_sub), came, failures }
}

/// Whether a sequence number is behind another.
fn is_behind(one: &str, other: &str) -> bool {
    (one.len(), one) > (other.len(), other)
}
