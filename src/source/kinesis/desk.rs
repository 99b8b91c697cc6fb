//! What reading, lending and settling share: the shards that are ours, how far each is settled, and what is on loan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::keep::{Begun, Keep};
use super::mark::{Checkpoint, Marks, Place, Slot, Span};
use crate::ack::{DeliveryId, Note, Settled, Verdict};
use crate::clock::{Clock, Timestamp};
use crate::source::figures::{Figures, ShardLag};
use crate::source::{MOST_FAILURES, SourceError};

/// How soon what failed is lent again, at first; doubles with each failure of its own.
const AGAIN: Duration = Duration::from_secs(1);
/// At most.
const AGAIN_MOST: Duration = Duration::from_secs(300);
/// A shard that gave no answer for so long is as late as its last answer said, and this time more.
const SILENT: Duration = Duration::from_secs(10);
/// How often it is remembered that everything in a shard is settled while nothing comes.
const TIP_EVERY: i64 = 60_000;

/// A piece that was read: what a delivery is made of.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) shard: Arc<str>,
    pub(super) holding: u64,
    pub(super) slot: Slot,
    pub(super) span: Span,
    pub(super) bytes: Bytes,
}

/// A piece that is to be read and lent again.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub(super) due: Instant,
    pub(super) slot: Slot,
    pub(super) span: Span,
}

/// Of which shards it is kept how far they are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that are farther, but not those of which it was kept a moment ago, where that costs something.
    Changed,
    /// All that are farther.
    All,
    /// Those that are farther, and leases that are to be renewed.
    Due,
    /// All; and leases are given back.
    GivenBack,
}

/// Counted for the metrics.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) records: AtomicU64,
    pub(super) trimmed: AtomicU64,
    pub(super) throttled: AtomicU64,
}

/// A shard that is ours.
pub(super) struct Held {
    /// The number of this holding: what was lent by an earlier one says nothing any more.
    number: u64,
    marks: Marks,
    checkpoint: Checkpoint,
    kept: Checkpoint,
    kept_at: Instant,
    again: Vec<Again>,
    /// The last answer: how far behind the newest record it was, milliseconds, and when it came.
    behind: Option<(u64, Instant)>,
    /// Until when it is certainly ours; `None`: nobody else can have it.
    valid: Option<Instant>,
    /// Something is to be read again, or everything is settled.
    wake: Arc<Notify>,
    task: Option<AbortHandle>,
}

struct Loan {
    shard: Arc<str>,
    holding: u64,
    slot: Slot,
    span: Span,
}

#[derive(Default)]
struct State {
    held: BTreeMap<Arc<str>, Held>,
    lent: HashMap<DeliveryId, Loan>,
    /// Shards of which everything is settled.
    ended: BTreeSet<Arc<str>>,
    numbers: u64,
    /// What cannot be read now, in words, by what it is.
    trouble: BTreeMap<String, String>,
}

/// The desk.
pub(super) struct Desk {
    pub(super) name: String,
    pub(super) clock: Clock,
    pub(super) counts: Counts,
    pub(super) keep: Keep,
    state: Mutex<State>,
    /// Held from when it is looked what is to be kept until it is: so that what is kept never goes back.
    keeping: tokio::sync::Mutex<()>,
    /// A shard has ended, or is ours no more.
    pub(super) news: Notify,
}

impl Desk {
    pub(super) fn new(name: &str, clock: &Clock, keep: Keep) -> Desk {
        Desk {
            name: name.to_owned(),
            clock: clock.clone(),
            counts: Counts::default(),
            keep,
            state: Mutex::default(),
            keeping: tokio::sync::Mutex::default(),
            news: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().0 / 1_000_000
    }

    /// A shard is ours from now on. Returns the number of the holding, and what wakes its reader.
    pub(super) fn hold(
        &self,
        shard: &Arc<str>,
        from: &Checkpoint,
        valid: Option<Instant>,
    ) -> (u64, Arc<Notify>) {
        let mut state = self.state();
        state.numbers += 1;
        let (number, wake) = (state.numbers, Arc::new(Notify::new()));
        let held = Held {
            number,
            marks: Marks::default(),
            checkpoint: from.clone(),
            kept: from.clone(),
            kept_at: Instant::now(),
            again: Vec::new(),
            behind: None,
            valid,
            wake: wake.clone(),
            task: None,
        };
        state.held.insert(shard.clone(), held);
        (number, wake)
    }

    /// The task that reads a shard.
    pub(super) fn read_by(&self, shard: &str, task: AbortHandle) {
        if let Some(held) = self.state().held.get_mut(shard) {
            held.task = Some(task);
        }
    }

    /// Shards that are ours.
    pub(super) fn held(&self) -> Vec<Arc<str>> {
        self.state().held.keys().cloned().collect()
    }

    /// Whether a shard is ours.
    pub(super) fn holds(&self, shard: &str) -> bool {
        self.state().held.contains_key(shard)
    }

    /// Whether a shard is ours and somebody reads it.
    pub(super) fn is_held(&self, shard: &str, number: u64) -> bool {
        let state = self.state();
        state.held.get(shard).is_some_and(|held| held.number == number && held.is_valid())
    }

    /// A shard is ours no more: nothing of it is read or lent.
    pub(super) fn lose(&self, shard: &str) {
        let held = self.state().held.remove(shard);
        if let Some(task) = held.and_then(|held| held.task) {
            task.abort();
        }
        self.over(shard);
        self.news.notify_one();
    }

    /// Nothing is read any more.
    pub(super) fn stop(&self) {
        let state = self.state();
        state.held.values().filter_map(|held| held.task.as_ref()).for_each(AbortHandle::abort);
    }

    /// Notes a piece that was cut; `None`: the shard is ours no more.
    pub(super) fn cut(&self, shard: &str, holding: u64, to: Place, span: Span) -> Option<Slot> {
        let mut state = self.state();
        let held = state.held.get_mut(shard).filter(|held| held.number == holding)?;
        Some(held.marks.push(to, span))
    }

    /// A piece that is read again has become so many.
    pub(super) fn parts(&self, shard: &str, holding: u64, slot: Slot, parts: u32) {
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(shard).filter(|held| held.number == holding) {
            held.marks.parts(slot, parts);
        }
    }

    /// A piece is not there any more: nothing is to be lent of it.
    pub(super) fn pass(&self, shard: &str, holding: u64, slot: Slot) {
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(shard).filter(|held| held.number == holding) {
            held.settle(slot);
        }
    }

    /// Notes a loan; `false`: the shard is ours no more, and nothing may be lent of it.
    pub(super) fn lend(&self, id: DeliveryId, piece: &Piece) -> bool {
        let mut state = self.state();
        let held = state.held.get(&piece.shard);
        if !held.is_some_and(|held| held.number == piece.holding && held.is_valid()) {
            return false;
        }
        let Piece { shard, holding, slot, span, .. } = piece;
        let loan = Loan { shard: shard.clone(), holding: *holding, slot: *slot, span: span.clone() };
        state.lent.insert(id, loan);
        true
    }

    /// What is due to be read again of a shard, or when something will be.
    pub(super) fn again(&self, shard: &str, holding: u64) -> Result<Again, Option<Instant>> {
        let mut state = self.state();
        let held = state.held.get_mut(shard).filter(|held| held.number == holding).ok_or(None)?;
        let first = held.again.iter().enumerate().min_by_key(|(_, again)| again.due);
        match first.map(|(at, again)| (at, again.due)) {
            Some((at, due)) if due <= Instant::now() => Ok(held.again.swap_remove(at)),
            first => Err(first.map(|(_, due)| due)),
        }
    }

    /// Reading it again did not work: later.
    pub(super) fn later(&self, shard: &str, holding: u64, again: Again, pause: Duration) {
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(shard).filter(|held| held.number == holding) {
            held.again.push(Again { due: Instant::now() + pause, ..again });
        }
    }

    /// Whether everything read of a shard is settled.
    pub(super) fn is_settled(&self, shard: &str, holding: u64) -> bool {
        let state = self.state();
        state.held.get(shard).is_none_or(|held| held.number != holding || held.marks.is_empty())
    }

    /// An answer has come: how far behind the newest record it is, milliseconds.
    pub(super) fn answered(&self, shard: &str, holding: u64, behind: u64) {
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(shard).filter(|held| held.number == holding) {
            held.behind = Some((behind, Instant::now()));
        }
        state.trouble.remove(shard);
    }

    /// Everything in a shard was read. Returns whether everything is settled, too, and that should be kept now.
    pub(super) fn at_tip(&self, shard: &str, holding: u64) -> bool {
        let now = self.now();
        let mut state = self.state();
        let Some(held) = state.held.get_mut(shard).filter(|held| held.number == holding) else {
            return false;
        };
        if held.marks.is_empty() {
            held.checkpoint.tip = now;
        }
        held.checkpoint.tip > held.kept.tip + TIP_EVERY
    }

    /// A shard is closed and everything in it is settled.
    pub(super) async fn end(&self, shard: &Arc<str>, holding: u64) -> Result<(), String> {
        if let Some(held) = self.state().held.get_mut(shard).filter(|held| held.number == holding) {
            held.checkpoint.ended = true;
        }
        self.keep(Which::All).await?;
        let mut state = self.state();
        if state.held.get(shard).is_some_and(|held| held.number == holding) {
            state.held.remove(shard);
            state.ended.insert(shard.clone());
        }
        state.trouble.remove(&**shard);
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    /// Shards of which everything is settled.
    pub(super) fn ended(&self) -> BTreeSet<Arc<str>> {
        self.state().ended.clone()
    }

    /// Everything in a shard was settled, by an earlier run or somebody else.
    pub(super) fn has_ended(&self, shard: &Arc<str>) {
        self.state().ended.insert(shard.clone());
    }

    /// The stream has a shard no more.
    pub(super) fn forget(&self, shard: &str) {
        self.state().ended.remove(shard);
    }

    /// A reader has read all that it had to.
    pub(super) fn leave(&self, shard: &str, holding: u64) {
        if let Some(held) = self.state().held.get_mut(shard).filter(|held| held.number == holding) {
            held.task = None;
        }
        self.news.notify_one();
    }

    /// Whether nobody reads anything.
    pub(super) fn is_idle(&self) -> bool {
        self.state().held.values().all(|held| held.task.is_none())
    }

    /// Tells that the table of leases has not the checkpoints that were known.
    pub(super) fn tell_lost(&self, begun: &Begun, known: Option<&Begun>) {
        let place =
            |begun: &Begun| begun.table.as_ref().map_or("the state".to_owned(), |kept| kept.name.clone());
        tracing::error!(
            source = self.name,
            table = place(begun),
            from = begun.shown(),
            "the table of leases does not hold how far this source had shipped (it was deleted, emptied, or is another one than before; \
             that was kept in {}): the stream is read again from there on, as far as it goes back, so records come twice, and what it \
             has trimmed meanwhile is lost. If that table can be had back, stop all that share the stream, name it as `table`, and \
             start them again",
            known.map_or("the state".to_owned(), place)
        );
    }

    /// Something cannot be read now, in words.
    pub(super) fn trouble(&self, what: &str, text: String) {
        self.state().trouble.insert(what.to_owned(), text);
    }

    /// It can be again.
    pub(super) fn over(&self, what: &str) {
        self.state().trouble.remove(what);
    }

    /// What cannot be read now.
    pub(super) fn troubles(&self) -> Option<String> {
        let state = self.state();
        let first = state.trouble.values().next()?;
        let more = state.trouble.len() - 1;
        Some(if more == 0 { first.clone() } else { format!("{first} (and {more} more)") })
    }

    /// Loans have ended.
    pub(super) async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        {
            let mut state = self.state();
            let State { held, lent, .. } = &mut *state;
            for settled in settled {
                let Some(Loan { shard, holding, slot, mut span }) = lent.remove(&settled.id) else {
                    continue;
                };
                // Whoever has the shard now goes on from what was kept.
                let Some(held) = held.get_mut(&shard).filter(|held| held.number == holding) else { continue };
                if settled.verdict != Verdict::Failed {
                    held.settle(slot);
                    continue;
                }
                if let Note::Object(reason) = &settled.note {
                    span.failures += 1;
                    tracing::warn!(
                        source = self.name,
                        failures = span.failures,
                        most = MOST_FAILURES,
                        "{reason}"
                    );
                }
                let pause = AGAIN.saturating_mul(1 << span.failures.min(10)).min(AGAIN_MOST);
                held.again.push(Again { due: Instant::now() + pause, slot, span });
                held.wake.notify_one();
            }
        }
        self.keep(Which::Changed).await.map_err(SourceError::Stop)
    }

    /// Keeps how far shards are settled.
    pub(super) async fn keep(&self, which: Which) -> Result<(), String> {
        let _keeping = self.keeping.lock().await;
        let (numbers, changed): (Vec<u64>, Vec<(Arc<str>, Checkpoint)>) = {
            let state = self.state();
            let chosen = state.held.iter().filter(|(_, held)| {
                let (is_new, age) = (held.checkpoint != held.kept, held.kept_at.elapsed());
                match which {
                    Which::Changed => is_new && age >= self.keep.every(),
                    Which::All => is_new,
                    Which::Due => {
                        is_new && age >= self.keep.every() || self.keep.renews().is_some_and(|due| age >= due)
                    }
                    Which::GivenBack => true,
                }
            });
            chosen.map(|(shard, held)| (held.number, (shard.clone(), held.checkpoint.clone()))).unzip()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let asked = Instant::now();
        let unkept = self.keep.put(&changed, which == Which::GivenBack).await?;
        {
            let mut state = self.state();
            let kept = numbers.into_iter().zip(changed);
            for (number, (shard, checkpoint)) in kept.filter(|(_, (shard, _))| !unkept.failed.contains(shard))
            {
                if let Some(held) = state.held.get_mut(&shard).filter(|held| held.number == number) {
                    (held.kept, held.kept_at) = (checkpoint, asked);
                    held.valid = self.keep.lasts().map(|lasts| asked + lasts);
                }
            }
        }
        match unkept.why {
            Some(why) => {
                tracing::warn!(source = self.name, shards = unkept.failed.len(), "{why}: trying again");
                self.trouble("leases", why);
            }
            None => self.over("leases"),
        }
        for shard in &unkept.lost {
            tracing::info!(source = self.name, shard = %shard, "another process reads this shard now");
            self.lose(shard);
        }
        Ok(())
    }

    /// What it counts.
    pub(super) fn figures(&self) -> Figures {
        let count = |count: &AtomicU64| Some(count.load(Ordering::Relaxed));
        let now = self.clock.now();
        let state = self.state();
        let lags = state
            .held
            .iter()
            .filter_map(|(shard, held)| Some(ShardLag { shard: shard.clone(), seconds: held.lag(now)? }));
        Figures {
            shards: Some(state.held.len() as u64),
            shard_lags: lags.collect(),
            stream_records: count(&self.counts.records),
            trimmed: count(&self.counts.trimmed),
            throttled: count(&self.counts.throttled),
            ..Figures::default()
        }
    }
}

impl Held {
    fn is_valid(&self) -> bool {
        self.valid.is_none_or(|until| Instant::now() < until)
    }

    fn settle(&mut self, slot: Slot) {
        let reached = self.marks.settle(slot);
        // Others that have a lease go on from its place alone.
        if self.valid.is_none() {
            self.checkpoint.beyond = self.marks.beyond();
        }
        if let Some(place) = reached {
            self.checkpoint.reach(&place);
            if self.marks.is_empty() {
                self.wake.notify_one();
            }
        }
    }

    /// How far behind the newest record what is settled is, seconds; `None`: nothing was read yet.
    fn lag(&self, now: Timestamp) -> Option<f64> {
        let (behind, at) = self.behind?;
        let silent = at.elapsed();
        let silent = if silent > SILENT { silent } else { Duration::ZERO };
        let unread = Duration::from_millis(behind) + silent;
        let oldest = self.marks.oldest().map(|came| Timestamp(came.saturating_mul(1_000_000)));
        let unsettled = oldest.map_or(Duration::ZERO, |came| now.since(came));
        Some(unread.max(unsettled).as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
