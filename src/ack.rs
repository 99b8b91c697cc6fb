//! Acknowledgement: what a source lends comes back exactly once, with the worst that happened to any share of it.
//!
//! A delivery starts as one [`Ack`]. Whoever passes a part of it on forks the ack first; each share is settled, and
//! after the last one the source is told. A share that is dropped without a word (a panic, a bug, a cancelled task)
//! counts as failed: nothing can be acknowledged by accident.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;

/// How a delivery, or a share of it, ended. Later variants win when shares disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// Written, or left out on purpose by a named transform.
    #[default]
    Delivered = 0,
    /// Can never succeed; stored in rejects with its reason.
    Rejected = 1,
    /// Try again: give it back to the source.
    Failed = 2,
}

impl Verdict {
    fn from_byte(byte: u8) -> Verdict {
        match byte {
            0 => Verdict::Delivered,
            1 => Verdict::Rejected,
            _ => Verdict::Failed,
        }
    }
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
    /// Anything else worth a log line.
    Why(String),
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
    /// What happened to its records. They balance, or the verdict is `Failed`.
    pub books: Books,
}

/// Takes the end of each loan; called from any thread, must not block.
pub trait Settle: Send + Sync {
    /// The loan has ended. Called exactly once for each delivery.
    fn settle(&self, settled: Settled);
}

struct Settlement {
    id: DeliveryId,
    key: DeliveryKey,
    shares: AtomicU32,
    worst: AtomicU8,
    facts: Mutex<(Books, Note)>,
    to: Arc<dyn Settle>,
}

/// One share in the fate of a delivery. The source is told the worst verdict after the last share is gone.
#[must_use = "an Ack dropped without `settle` counts as Failed"]
pub struct Ack {
    settlement: Option<Arc<Settlement>>,
}

impl Ack {
    /// The first share of a new delivery; `to` is told how it ended.
    pub fn new(id: DeliveryId, key: DeliveryKey, to: Arc<dyn Settle>) -> Ack {
        let settlement = Settlement {
            id,
            key,
            shares: AtomicU32::new(1),
            worst: AtomicU8::new(0),
            facts: Mutex::default(),
            to,
        };
        Ack { settlement: Some(Arc::new(settlement)) }
    }

    /// Another share: the delivery is not settled before both are.
    pub fn fork(&self) -> Ack {
        if let Some(settlement) = &self.settlement {
            settlement.shares.fetch_add(1, Ordering::Relaxed);
        }
        Ack { settlement: self.settlement.clone() }
    }

    /// Which delivery this is a share of.
    pub fn id(&self) -> DeliveryId {
        self.settlement.as_ref().map_or_else(DeliveryId::default, |settlement| settlement.id)
    }

    /// The delivery across redeliveries.
    pub fn key(&self) -> DeliveryKey {
        self.settlement.as_ref().map_or_else(DeliveryKey::default, |settlement| settlement.key)
    }

    /// Adds to the delivery's books. May be called many times before `settle`.
    pub fn enter(&self, books: &Books) {
        if let Some(settlement) = &self.settlement {
            lock(&settlement.facts).0.add(books);
        }
    }

    /// Leaves a note for the source; the last one stands.
    pub fn note(&self, note: Note) {
        if let Some(settlement) = &self.settlement {
            lock(&settlement.facts).1 = note;
        }
    }

    /// This share is done.
    pub fn settle(mut self, verdict: Verdict) {
        self.finish(verdict);
    }

    fn finish(&mut self, verdict: Verdict) {
        let Some(settlement) = self.settlement.take() else { return };
        settlement.worst.fetch_max(verdict as u8, Ordering::AcqRel);
        if settlement.shares.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let (books, note) = std::mem::take(&mut *lock(&settlement.facts));
        let mut worst = Verdict::from_byte(settlement.worst.load(Ordering::Acquire));
        if worst != Verdict::Failed
            && let Err(difference) = books.balance()
        {
            debug_assert!(false, "the books of delivery {:?} do not balance: {difference}", settlement.id);
            tracing::error!(delivery = settlement.id.0, %difference, "the books do not balance: the delivery counts as failed");
            worst = Verdict::Failed;
        }
        settlement.to.settle(Settled { id: settlement.id, key: settlement.key, verdict: worst, note, books });
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

/// Locks, and goes on with the data where another thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, Verdict)>>);

    impl Settle for Told {
        fn settle(&self, settled: Settled) {
            lock(&self.0).push((settled.id.0, settled.verdict));
        }
    }

    fn told(of: &Arc<Told>) -> Vec<(u64, Verdict)> {
        lock(&of.0).clone()
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
    #[should_panic(expected = "do not balance")]
    fn books_that_do_not_balance_are_a_bug() {
        let ack = Ack::new(DeliveryId(1), DeliveryKey(0), Arc::new(Told::default()));
        ack.enter(&Books { read: 1, ..Books::default() });
        ack.settle(Verdict::Delivered);
    }
}
