//! What became of the parts of deliveries that have not ended well yet, so that a redelivery goes only where it is missing.
//!
//! Remembered by delivery, sink and window while some sink has not answered or the source may still redeliver; at most
//! 16 MiB, then the oldest are forgotten early, and counted: those records may arrive twice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

/// A delivery across redeliveries: XXH3 of its identity; 0 is not remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeliveryKey(pub u128);

impl DeliveryKey {
    /// The key of an identity; an empty identity is not remembered.
    pub fn of(identity: &str) -> DeliveryKey {
        if identity.is_empty() {
            DeliveryKey(0)
        } else {
            DeliveryKey(xxhash_rust::xxh3::xxh3_128(identity.as_bytes()))
        }
    }
}

/// How a sink answered about a run of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has them.
    Delivered,
    /// It will never take them, and why.
    Refused(Arc<str>),
}

/// A run of records of one window that a sink has answered about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The sink's number in the pipeline.
    pub sink: u16,
    /// The window's number in the delivery.
    pub window: u32,
    /// Hash of the partition.
    pub partition: u64,
    /// Of the window's records for that sink and partition: the first, from 0.
    pub ordinal: u32,
    /// How many.
    pub records: u32,
    /// What the sink said.
    pub answer: Answer,
}

/// Hash of a partition's name.
pub fn partition_hash(partition: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(partition.as_bytes())
}

/// Bytes one outcome costs, about.
const COST: usize = 64;

#[derive(Debug, Default)]
struct Memory {
    by_delivery: HashMap<DeliveryKey, Vec<Outcome>>,
    order: VecDeque<DeliveryKey>,
    outcomes: usize,
}

/// The memory of one pipeline.
#[derive(Debug)]
pub struct Outcomes {
    memory: Mutex<Memory>,
    most: usize,
    forgotten: AtomicU64,
}

impl Default for Outcomes {
    fn default() -> Outcomes {
        Outcomes::within(16 << 20)
    }
}

impl Outcomes {
    /// A memory of at most this many bytes.
    pub fn within(bytes: usize) -> Outcomes {
        Outcomes { memory: Mutex::default(), most: bytes / COST, forgotten: AtomicU64::new(0) }
    }

    /// Remembers what a sink answered.
    pub fn note(&self, key: DeliveryKey, outcome: Outcome) {
        if key.0 == 0 {
            return;
        }
        let mut memory = self.lock();
        if !memory.by_delivery.contains_key(&key) {
            memory.order.push_back(key);
        }
        memory.by_delivery.entry(key).or_default().push(outcome);
        memory.outcomes += 1;
        while memory.outcomes > self.most
            && let Some(oldest) = memory.order.pop_front()
        {
            if let Some(outcomes) = memory.by_delivery.remove(&oldest) {
                memory.outcomes -= outcomes.len();
                self.forgotten.fetch_add(outcomes.len() as u64, Ordering::Relaxed);
            }
        }
    }

    /// The delivery has ended for good.
    pub fn forget(&self, key: DeliveryKey) {
        let mut memory = self.lock();
        if let Some(outcomes) = memory.by_delivery.remove(&key) {
            memory.outcomes -= outcomes.len();
        }
        // Keys of ended deliveries wait in the queue; now and then they are swept out.
        if memory.order.len() > 1024 && memory.order.len() > 2 * memory.by_delivery.len() {
            let Memory { by_delivery, order, .. } = &mut *memory;
            order.retain(|key| by_delivery.contains_key(key));
        }
    }

    /// The delivery's windows before this one are settled: it will not be lent with them again.
    pub fn forget_windows(&self, key: DeliveryKey, before: u32) {
        let mut memory = self.lock();
        if let Some(outcomes) = memory.by_delivery.get_mut(&key) {
            let held = outcomes.len();
            outcomes.retain(|outcome| outcome.window >= before);
            let forgotten = held - outcomes.len();
            memory.outcomes -= forgotten;
        }
    }

    /// What sinks have answered about an earlier loan of this delivery.
    pub fn recall(&self, key: DeliveryKey) -> Vec<Outcome> {
        if key.0 == 0 { Vec::new() } else { self.lock().by_delivery.get(&key).cloned().unwrap_or_default() }
    }

    /// Outcomes forgotten early since the start.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer about one record, where an earlier loan has one.
pub fn answer(
    outcomes: &[Outcome],
    sink: usize,
    window: u32,
    partition: u64,
    ordinal: u32,
) -> Option<&Answer> {
    outcomes
        .iter()
        .find(|outcome| {
            usize::from(outcome.sink) == sink
                && outcome.window == window
                && outcome.partition == partition
                && (outcome.ordinal..outcome.ordinal.saturating_add(outcome.records)).contains(&ordinal)
        })
        .map(|outcome| &outcome.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(window: u32, ordinal: u32, records: u32) -> Outcome {
        Outcome { sink: 0, window, partition: 9, ordinal, records, answer: Answer::Delivered }
    }

    #[test]
    fn a_redelivery_finds_what_was_answered_and_nothing_else() {
        let outcomes = Outcomes::default();
        let key = DeliveryKey::of("file 1");
        outcomes.note(key, delivered(0, 10, 5));
        let known = outcomes.recall(key);
        assert_eq!(answer(&known, 0, 0, 9, 10), Some(&Answer::Delivered));
        assert_eq!(answer(&known, 0, 0, 9, 14), Some(&Answer::Delivered));
        for (sink, window, partition, ordinal) in
            [(0, 0, 9, 9), (0, 0, 9, 15), (1, 0, 9, 10), (0, 1, 9, 10), (0, 0, 8, 10)]
        {
            assert_eq!(answer(&known, sink, window, partition, ordinal), None);
        }
        outcomes.forget(key);
        assert!(outcomes.recall(key).is_empty());
        assert!(outcomes.recall(DeliveryKey::of("")).is_empty());
    }

    #[test]
    fn windows_that_are_settled_are_forgotten() {
        let outcomes = Outcomes::default();
        let key = DeliveryKey::of("file 1");
        (0..10).for_each(|window| outcomes.note(key, delivered(window, 0, 1)));
        outcomes.forget_windows(key, 7);
        let left: Vec<u32> = outcomes.recall(key).iter().map(|outcome| outcome.window).collect();
        assert_eq!((left, outcomes.lock().outcomes), (vec![7, 8, 9], 3));
        outcomes.forget(key);
        assert_eq!((outcomes.lock().outcomes, outcomes.forgotten()), (0, 0));
    }

    #[test]
    fn the_memory_is_bounded_and_forgetting_early_is_counted() {
        let outcomes = Outcomes::within(COST * 100);
        for number in 0..150 {
            outcomes.note(DeliveryKey(number + 1), delivered(0, 0, 1));
        }
        assert_eq!(outcomes.forgotten(), 50);
        assert!(outcomes.recall(DeliveryKey(50)).is_empty());
        assert_eq!(outcomes.recall(DeliveryKey(51)).len(), 1);
        for number in 0..5000 {
            outcomes.note(DeliveryKey(1_000 + number), delivered(0, 0, 1));
            outcomes.forget(DeliveryKey(1_000 + number));
        }
        assert!(outcomes.lock().order.len() <= 1025);
    }
}
