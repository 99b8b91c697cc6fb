//! Acknowledgement: what a source lends comes back exactly once, with the worst that happened to any share of it.
//!
//! A delivery starts as one [`Ack`]. Whoever passes a part of it on forks the ack first; each share is settled, and
//! after the last one the source is told. A share that is dropped without a word (a panic, a bug, a cancelled task)
//! counts as failed: nothing can be acknowledged by accident.
//!
//! An object of lines may be long, so the source is also told on the way how far everything is settled: the end of the
//! last window of which, and of all windows before it, every share is accounted for (`ack/spans.rs`).
//!
//! A share may also wait for what becomes of another delivery ([`Ack::wait`]): it holds up the end of its own, but two
//! deliveries that wait for each other must both come to an end. So how a delivery's *own* shares ended is told apart,
//! and first ([`Settle::own_ended`]).

mod spans;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::spans::{Own, Spans};

use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;

/// How a delivery, or a share of it, ended. Later variants win when shares disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Written, or left out on purpose by a named transform.
    #[default]
    Delivered,
    /// Can never succeed; stored in rejects with its reason.
    Rejected,
    /// Try again: give it back to the source.
    Failed,
}

/// A delivery's number: unique within one run of one pipeline, growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// What a failed delivery's source should know besides the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Note {
    /// Nothing.
    #[default]
    None,
    /// The object ends before its format does (no gzip trailer, open JSON): it may still be growing.
    Incomplete,
    /// The object was not what had been lent (replaced, shrunk, gone), in words.
    Changed(String),
    /// It cannot be fetched for a reason of its own, in words: it counts towards [`crate::source::MOST_FAILURES`].
    Object(String),
    /// Nothing in the place where it is can be read, in words: it is not about this object, and others need not wait for it.
    Place(String),
    /// Nothing is wrong: the program stops, and gives back what was not read.
    Stopped,
    /// Anything else worth a log line.
    Why(String),
}

/// How far a delivery has come: where the next run may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Decompressed bytes before it.
    pub offset: u64,
    /// Windows before it; their boundaries are the same whether they are read from here or from the beginning.
    pub windows: u32,
    /// The number of the next record.
    pub records: u64,
}

/// The end of a part of a loan: everything up to a place is settled, and none of it failed.
#[derive(Debug)]
pub struct SettledPart {
    /// Which delivery.
    pub id: DeliveryId,
    /// The same across redeliveries.
    pub key: DeliveryKey,
    /// Up to where, from the beginning of the object; it only grows.
    pub reached: Reached,
    /// What happened to the records since the part before. They balance.
    pub books: Books,
}

/// The end of a loan: what the source is told, once.
#[derive(Debug)]
pub struct Settled {
    /// Which delivery.
    pub id: DeliveryId,
    /// The same across redeliveries.
    pub key: DeliveryKey,
    /// The worst verdict of all its shares.
    pub verdict: Verdict,
    /// Why, where that matters to the source.
    pub note: Note,
    /// What happened to its records, but for those in its parts. They balance, or the verdict is `Failed`.
    pub books: Books,
}

/// Takes the end of each loan; called from any thread, must not block.
pub trait Settle: Send + Sync {
    /// The loan has ended. Called exactly once for each delivery.
    fn settle(&self, settled: Settled);

    /// The own shares of a span of windows (`None`: of all that was not told) have ended, those that wait for other deliveries
    /// aside; the worst verdict of them. Told before the end of the loan; again, if windows joined the span since.
    /// Called without any lock.
    fn own_ended(&self, id: DeliveryId, span: Option<u64>, worst: Verdict) {
        let _ = (id, span, worst);
    }

    /// A part of the loan has ended; never after [`Settle::settle`], and in order. Only for deliveries whose source can
    /// go on from there ([`crate::source::Delivery::from`]). Called under the delivery's lock: must not touch its acks.
    fn settle_part(&self, part: SettledPart) {
        let _ = part;
    }
}

struct Settlement {
    id: DeliveryId,
    key: DeliveryKey,
    facts: Mutex<Facts>,
    to: Arc<dyn Settle>,
}

#[derive(Default)]
struct Facts {
    shares: u32,
    /// Of these: wait for no other delivery, and are not settled.
    own: u32,
    worst: Verdict,
    own_worst: Verdict,
    note: Note,
    spans: Spans,
}

/// One share in the fate of a delivery. The source is told the worst verdict after the last share is gone.
#[must_use = "an Ack dropped without `settle` counts as Failed"]
pub struct Ack {
    settlement: Option<Arc<Settlement>>,
    /// Which windows it is a share of; `None`: the first share, of whoever goes through the windows.
    span: Option<u64>,
    /// It waits for another delivery.
    waits: bool,
}

impl Ack {
    /// The first share of a new delivery; `to` is told how it ended.
    pub fn new(id: DeliveryId, key: DeliveryKey, to: Arc<dyn Settle>) -> Ack {
        let facts = Mutex::new(Facts { shares: 1, own: 1, ..Facts::default() });
        Ack { settlement: Some(Arc::new(Settlement { id, key, facts, to })), span: None, waits: false }
    }

    /// Another share, in the same window (a fork of the first share: in the window in hand): the delivery is not settled
    /// before both are.
    pub fn fork(&self) -> Ack {
        let span = self.settlement.as_ref().map(|settlement| {
            let mut facts = settlement.lock();
            facts.shares += 1;
            facts.own += 1;
            facts.spans.fork(self.span, false)
        });
        Ack { settlement: self.settlement.clone(), span, waits: false }
    }

    /// A share that is settled as another delivery ends: this one does not end before, and with no better verdict.
    pub fn wait(&self) -> Ack {
        let span = self.settlement.as_ref().map(|settlement| {
            let mut facts = settlement.lock();
            facts.shares += 1;
            facts.spans.fork(self.span, true)
        });
        Ack { settlement: self.settlement.clone(), span, waits: true }
    }

    /// The number of the span that the window in hand belongs to. It is not told as ended before the window is.
    pub fn span(&self) -> u64 {
        self.settlement.as_ref().map_or(0, |settlement| settlement.lock().spans.current())
    }

    /// Which delivery this is a share of.
    pub fn id(&self) -> DeliveryId {
        self.settlement.as_ref().map_or_else(DeliveryId::default, |settlement| settlement.id)
    }

    /// The delivery across redeliveries.
    pub fn key(&self) -> DeliveryKey {
        self.settlement.as_ref().map_or_else(DeliveryKey::default, |settlement| settlement.key)
    }

    /// Adds to the books of the window. May be called many times before `settle`.
    pub fn enter(&self, books: &Books) {
        if let Some(settlement) = &self.settlement {
            settlement.lock().spans.enter(self.span, books);
        }
    }

    /// Leaves a note for the source; the last one stands.
    pub fn note(&self, note: Note) {
        if let Some(settlement) = &self.settlement {
            settlement.lock().note = note;
        }
    }

    /// The window in hand has ended, its books are entered and its shares are out. `reached`: the source can go on from
    /// there, so the window may be settled by itself; `failed`: it may not be, whatever its shares say.
    pub fn end_window(&self, reached: Option<Reached>, failed: bool) {
        if let Some(settlement) = &self.settlement {
            let mut facts = settlement.lock();
            let own = facts.spans.end(reached, failed);
            if own.is_none() {
                return settlement.settle_part(&mut facts);
            }
            drop(facts);
            settlement.tell_own(own);
            settlement.settle_part(&mut settlement.lock());
        }
    }

    /// This share is done.
    pub fn settle(mut self, verdict: Verdict) {
        self.finish(verdict);
    }

    fn finish(&mut self, verdict: Verdict) {
        let Some(settlement) = self.settlement.take() else { return };
        let mut facts = settlement.lock();
        facts.worst = facts.worst.max(verdict);
        let mut own = self.span.and_then(|span| facts.spans.finish(span, verdict, self.waits));
        if !self.waits {
            facts.own_worst = facts.own_worst.max(verdict);
            facts.own -= 1;
            if facts.own == 0 {
                own = Some((None, facts.own_worst));
            }
        }
        if own.is_some() {
            // Without the lock; the delivery does not end meanwhile, this share is still counted.
            drop(facts);
            settlement.tell_own(own);
            facts = settlement.lock();
        }
        if self.span.is_some() {
            settlement.settle_part(&mut facts);
        }
        facts.shares -= 1;
        if facts.shares > 0 {
            return;
        }
        let (books, note) = (facts.spans.rest(), std::mem::take(&mut facts.note));
        let mut worst = facts.worst;
        drop(facts);
        if worst != Verdict::Failed
            && let Err(difference) = books.balance()
        {
            settlement.unbalanced(&difference);
            worst = Verdict::Failed;
        }
        settlement.to.settle(Settled { id: settlement.id, key: settlement.key, verdict: worst, note, books });
    }
}

impl Settlement {
    /// Locks, and goes on with the data where another thread panicked while it held the lock.
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_own(&self, own: Option<Own>) {
        if let Some((span, worst)) = own {
            self.to.own_ended(self.id, span, worst);
        }
    }

    /// Tells how far everything is settled, if that is farther than before.
    fn settle_part(&self, facts: &mut Facts) {
        match facts.spans.settled() {
            Ok(None) => {}
            Ok(Some((reached, books))) => {
                self.to.settle_part(SettledPart { id: self.id, key: self.key, reached, books });
            }
            Err(difference) => {
                facts.worst = Verdict::Failed;
                self.unbalanced(&difference);
            }
        }
    }

    fn unbalanced(&self, difference: &str) {
        debug_assert!(false, "the books of delivery {:?} do not balance: {difference}", self.id);
        tracing::error!(delivery = self.id.0, %difference, "the books do not balance: the delivery counts as failed");
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        self.finish(Verdict::Failed);
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Ack({})", self.id().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, Verdict)>>, Mutex<Vec<u64>>);

    impl Settle for Told {
        fn settle(&self, settled: Settled) {
            self.0.lock().unwrap().push((settled.id.0, settled.verdict));
        }

        fn settle_part(&self, part: SettledPart) {
            assert!(self.0.lock().unwrap().is_empty());
            self.1.lock().unwrap().push(part.reached.offset);
        }
    }

    fn told(of: &Arc<Told>) -> Vec<(u64, Verdict)> {
        of.0.lock().unwrap().clone()
    }

    #[test]
    fn the_source_is_told_once_after_the_last_share_and_the_worst_wins() {
        let source = Arc::new(Told::default());
        let first = Ack::new(DeliveryId(7), DeliveryKey(0), source.clone());
        let second = first.fork();
        let third = second.fork();
        second.settle(Verdict::Rejected);
        first.settle(Verdict::Delivered);
        assert!(told(&source).is_empty());
        third.settle(Verdict::Delivered);
        assert_eq!(told(&source), [(7, Verdict::Rejected)]);
    }

    #[test]
    fn a_share_that_is_dropped_counts_as_failed() {
        let source = Arc::new(Told::default());
        let first = Ack::new(DeliveryId(1), DeliveryKey(0), source.clone());
        drop(first.fork());
        first.settle(Verdict::Delivered);
        assert_eq!(told(&source), [(1, Verdict::Failed)]);
    }

    #[test]
    fn the_source_is_told_on_the_way_how_far_everything_is_settled() {
        let source = Arc::new(Told::default());
        let parts = || source.1.lock().unwrap().clone();
        let ends = |ack: &Ack, offset| ack.end_window(Some(Reached { offset, ..Reached::default() }), false);
        let ack = Ack::new(DeliveryId(1), DeliveryKey(0), source.clone());
        let first = ack.fork();
        ends(&ack, 10);
        let second = [ack.fork(), ack.fork()];
        ends(&ack, 20);
        let third = ack.fork();
        second.into_iter().for_each(|share| share.settle(Verdict::Rejected));
        assert!(parts().is_empty());
        first.settle(Verdict::Delivered);
        assert_eq!(parts(), [20]);
        ends(&ack, 30);
        drop(third);
        ends(&ack, 40);
        ack.settle(Verdict::Delivered);
        assert_eq!((parts(), told(&source)), (vec![20], vec![(1, Verdict::Failed)]));
    }

    /// Every share of random windows comes back in a random order: what is told only grows, and is never past a window
    /// that is not accounted for.
    #[test]
    fn nothing_is_told_past_a_window_that_is_not_accounted_for() {
        let mut chance = crate::testing::contract::Chance::new(11);
        for round in 0..300 {
            let source = Arc::new(Told::default());
            let ack = Ack::new(DeliveryId(1), DeliveryKey(0), source.clone());
            let mut out: Vec<(u64, Ack)> = Vec::new();
            // Windows are numbered from 1 and end at their number; a failed one is never done.
            let (mut ended, mut failed) = (0, u64::MAX);
            let most = 1 + chance.below(20);
            while ended < most || !out.is_empty() {
                if ended < most && chance.below(2) == 0 {
                    out.extend((0..chance.below(4)).map(|_| (ended + 1, ack.fork())));
                    ended += 1;
                    let reached = Reached { offset: ended, ..Reached::default() };
                    ack.end_window((chance.below(4) > 0).then_some(reached), false);
                } else if !out.is_empty() {
                    let at = usize::try_from(chance.below(out.len() as u64)).unwrap();
                    let (window, share) = out.swap_remove(at);
                    if chance.below(30) == 0 {
                        failed = failed.min(window);
                        drop(share);
                    } else {
                        share.settle(Verdict::Delivered);
                    }
                }
                let open = out.iter().map(|(window, _)| *window).min().unwrap_or(u64::MAX);
                let told = source.1.lock().unwrap();
                assert!(told.is_sorted_by(|one, other| one < other), "{round}: {told:?}");
                assert!(told.last().is_none_or(|last| *last < open.min(failed)), "{round}: {told:?} {open}");
            }
            ack.settle(Verdict::Delivered);
            let verdict = if failed == u64::MAX { Verdict::Delivered } else { Verdict::Failed };
            assert_eq!(told(&source), [(1, verdict)], "{round}");
        }
    }

    /// What was told of own shares, and the verdict at the end.
    #[derive(Default)]
    struct Own(Mutex<Vec<(u64, Option<u64>, Verdict)>>, Mutex<Vec<(u64, Verdict)>>);

    impl Settle for Own {
        fn settle(&self, settled: Settled) {
            self.1.lock().unwrap().push((settled.id.0, settled.verdict));
        }

        fn own_ended(&self, id: DeliveryId, span: Option<u64>, worst: Verdict) {
            self.0.lock().unwrap().push((id.0, span, worst));
        }
    }

    #[test]
    fn two_deliveries_that_wait_for_each_other_both_end() {
        let told = Arc::new(Own::default());
        let [one, two] = [1, 2].map(|id| Ack::new(DeliveryId(id), DeliveryKey(0), told.clone()));
        let (of_one, of_two) = (one.wait(), two.wait());
        one.settle(Verdict::Delivered);
        assert_eq!(*told.0.lock().unwrap(), [(1, None, Verdict::Delivered)]);
        of_two.settle(Verdict::Delivered);
        two.settle(Verdict::Failed);
        assert_eq!(told.0.lock().unwrap()[1], (2, None, Verdict::Failed));
        assert_eq!(*told.1.lock().unwrap(), [(2, Verdict::Failed)]);
        // Its own shares are well; it fails by what it waited for.
        of_one.settle(Verdict::Failed);
        assert_eq!(*told.1.lock().unwrap(), [(2, Verdict::Failed), (1, Verdict::Failed)]);
        assert_eq!(told.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn the_own_shares_of_a_part_are_told_when_its_windows_have_ended() {
        let told = Arc::new(Own::default());
        let own = || std::mem::take(&mut *told.0.lock().unwrap());
        let first = Ack::new(DeliveryId(1), DeliveryKey(0), told.clone());
        let end = |offset| Some(Reached { offset, ..Reached::default() });
        let (share, waits) = (first.fork(), first.wait());
        let span = first.span();
        share.settle(Verdict::Delivered);
        assert_eq!(own(), []);
        first.end_window(end(10), false);
        assert_eq!(own(), [(1, Some(span), Verdict::Delivered)]);
        let (next, share) = (first.span(), first.fork());
        assert_ne!(next, span);
        first.end_window(end(20), false);
        assert_eq!(own(), []);
        share.settle(Verdict::Failed);
        assert_eq!(own(), [(1, Some(next), Verdict::Failed)]);
        waits.settle(Verdict::Delivered);
        first.settle(Verdict::Delivered);
        assert_eq!(own(), [(1, None, Verdict::Failed)]);
    }

    #[test]
    #[should_panic(expected = "do not balance")]
    fn books_that_do_not_balance_are_a_bug() {
        let ack = Ack::new(DeliveryId(1), DeliveryKey(0), Arc::new(Told::default()));
        ack.enter(&Books { read: 1, ..Books::default() });
        ack.settle(Verdict::Delivered);
    }
}
