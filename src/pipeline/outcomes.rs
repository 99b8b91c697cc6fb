//! What became of the parts of deliveries that have not ended well yet, so that a redelivery goes only where it is missing.
//!
//! Remembered by delivery, window, sink and partition while some sink has not answered or the source may still redeliver; in
//! at most 16 MiB, then the deliveries known longest are forgotten early, and counted: their records may arrive twice.
//!
//! A delivery with refused records is lent again, and ends only if every refusal is still known then. So a record costs
//! little, however it was refused (a byte, see [`Refusals`]; texts are shared, and bounded), what is remembered of a
//! delivery is never forgotten for its own sake, and where nothing was refused it is forgotten first.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sink::refusals::{Refusals, Texts};

/// A delivery across redeliveries: XXH3 of its identity; 0 is not remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// How a sink answered about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It has it.
    Delivered,
    /// It will never take it, and why.
    Refused(&'a str),
}

/// The records of one window of a delivery that go to one partition of one sink. Their ordinals count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lot {
    /// The window's number in the delivery.
    pub window: u32,
    /// The sink's number in the pipeline.
    pub sink: usize,
    /// Hash of the partition.
    pub partition: u64,
}

impl Lot {
    /// All lots of some windows.
    const fn of(windows: RangeInclusive<u32>) -> RangeInclusive<Lot> {
        let first = Lot { window: *windows.start(), sink: 0, partition: 0 };
        first..=Lot { window: *windows.end(), sink: usize::MAX, partition: u64::MAX }
    }
}

/// Hash of a partition's name.
pub fn partition_hash(partition: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(partition.as_bytes())
}

/// What was said of a lot.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Ordinals that were answered about, in order and apart.
    answered: Vec<Range<u32>>,
    refused: Option<Box<Refusals>>,
}

impl Said {
    fn answer(&self, ordinal: u32) -> Option<Answer<'_>> {
        let after = self.answered.partition_point(|run| run.end <= ordinal);
        self.answered.get(after).filter(|run| run.contains(&ordinal))?;
        let reason = self.refused.as_ref().and_then(|refused| refused.reason(ordinal));
        Some(reason.map_or(Answer::Delivered, Answer::Refused))
    }

    fn add(&mut self, run: Range<u32>) {
        let from = self.answered.partition_point(|known| known.end < run.start);
        let to = self.answered.partition_point(|known| known.start <= run.end);
        let joined = self
            .answered
            .drain(from..to)
            .fold(run, |all, known| all.start.min(known.start)..all.end.max(known.end));
        self.answered.insert(from, joined);
    }

    fn records(&self) -> u64 {
        self.answered.iter().map(|run| u64::from(run.end - run.start)).sum()
    }

    /// The memory it takes, about, bytes.
    fn size(&self) -> usize {
        let refused = self.refused.as_ref().map_or(0, |refused| refused.size());
        LOT + self.answered.len() * size_of::<Range<u32>>() + refused
    }
}

/// Bytes one lot costs at least, about: its place in the tree, in the order, and its first run.
const LOT: usize = 192;
/// What may be remembered of all deliveries, bytes.
const MOST: usize = 16 << 20;
/// The part of it that is for texts: a sixteenth.
const TEXTS: usize = 16;

/// What sinks have answered about one window of an earlier loan.
#[derive(Debug, Default)]
pub struct Known(Vec<(Lot, Said)>);

impl Known {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The answer about one record, where there is one.
    pub fn answer(&self, lot: Lot, ordinal: u32) -> Option<Answer<'_>> {
        let at = self.0.binary_search_by_key(&lot, |(lot, _)| *lot).ok()?;
        self.0.get(at)?.1.answer(ordinal)
    }
}

#[derive(Debug)]
struct Memory {
    lots: BTreeMap<(DeliveryKey, Lot), Said>,
    /// Deliveries, those first that were first noted; those that have ended are swept out now and then.
    order: VecDeque<DeliveryKey>,
    /// Of these, those with refused records.
    refusing: VecDeque<DeliveryKey>,
    texts: Texts,
    bytes: usize,
}

impl Memory {
    fn range(key: DeliveryKey, windows: RangeInclusive<u32>) -> RangeInclusive<(DeliveryKey, Lot)> {
        let (first, last) = Lot::of(windows).into_inner();
        (key, first)..=(key, last)
    }

    fn knows(&self, key: DeliveryKey) -> bool {
        self.lots.range(Memory::range(key, 0..=u32::MAX)).next().is_some()
    }

    /// Forgets some windows of a delivery; how many records were answered in them.
    fn forget(&mut self, key: DeliveryKey, windows: RangeInclusive<u32>) -> u64 {
        let mut records = 0;
        for (_, said) in self.lots.extract_if(Memory::range(key, windows), |_, _| true) {
            records += said.records();
            self.bytes -= said.size();
            if said.refused.is_some() {
                self.texts.released();
            }
        }
        records
    }

    /// Takes a delivery into an order.
    fn enter(order: &mut VecDeque<DeliveryKey>, lots: &BTreeMap<(DeliveryKey, Lot), Said>, key: DeliveryKey) {
        if order.len() > 1024 && order.len() > 2 * lots.len() {
            let mut seen = HashSet::new();
            let is_known = |key| lots.range(Memory::range(key, 0..=u32::MAX)).next().is_some();
            order.retain(|key| is_known(*key) && seen.insert(*key));
        }
        order.push_back(key);
    }

    /// The delivery that is forgotten next: of those without refusals the one known longest, then of the others.
    fn oldest(&mut self, but: DeliveryKey) -> Option<DeliveryKey> {
        let Memory { lots, order, refusing, .. } = self;
        let refuses =
            |key| lots.range(Memory::range(key, 0..=u32::MAX)).any(|(_, said)| said.refused.is_some());
        for (queue, any) in [(order, false), (refusing, true)] {
            for _ in 0..queue.len() {
                match queue.pop_front()? {
                    // Never for its own sake: it would be refused again, and forgotten again.
                    key if key == but => queue.push_back(key),
                    key if any || !refuses(key) => return Some(key),
                    _ => {}
                }
            }
        }
        None
    }
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
        Outcomes::within(MOST)
    }
}

impl Outcomes {
    /// A memory of at most this many bytes, or of what one delivery takes.
    pub fn within(bytes: usize) -> Outcomes {
        let texts = bytes / TEXTS;
        let (order, refusing) = Default::default();
        let memory = Memory { lots: BTreeMap::new(), order, refusing, texts: Texts::within(texts), bytes: 0 };
        Outcomes { memory: Mutex::new(memory), most: bytes - texts, forgotten: AtomicU64::new(0) }
    }

    /// Remembers what a sink answered about some records of a lot: those refused it says (ordinals, and why), the others
    /// it has.
    pub fn note<'a>(
        &self,
        key: DeliveryKey,
        lot: Lot,
        answered: Range<u32>,
        refused: impl Iterator<Item = (u32, &'a str)>,
    ) {
        if key.0 == 0 || answered.is_empty() {
            return;
        }
        let mut memory = self.lock();
        let is_new = !memory.knows(key);
        let Memory { lots, order, refusing, texts, bytes } = &mut *memory;
        if is_new {
            Memory::enter(order, lots, key);
        }
        let said = lots.entry((key, lot)).or_insert_with(|| {
            *bytes += LOT;
            Said::default()
        });
        let (before, refused_before) = (said.size(), said.refused.is_some());
        said.add(answered);
        for (ordinal, reason) in refused {
            let refused = said.refused.get_or_insert_default();
            refused.refuse_keeping(ordinal, reason, |text| texts.share(text));
        }
        *bytes = *bytes + said.size() - before;
        if said.refused.is_some() && !refused_before && refusing.back() != Some(&key) {
            Memory::enter(refusing, lots, key);
        }
        while memory.bytes > self.most
            && let Some(oldest) = memory.oldest(key)
        {
            let records = memory.forget(oldest, 0..=u32::MAX);
            self.forgotten.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// The delivery has ended for good.
    pub fn forget(&self, key: DeliveryKey) {
        self.lock().forget(key, 0..=u32::MAX);
    }

    /// The delivery's windows before this one are settled: it will not be lent with them again.
    pub fn forget_windows(&self, key: DeliveryKey, before: u32) {
        if let Some(last) = before.checked_sub(1) {
            self.lock().forget(key, 0..=last);
        }
    }

    /// What sinks have answered about a window of an earlier loan of this delivery.
    pub fn recall(&self, key: DeliveryKey, window: u32) -> Known {
        if key.0 == 0 {
            return Known::default();
        }
        let memory = self.lock();
        let of_window = memory.lots.range(Memory::range(key, window..=window));
        Known(of_window.map(|((_, lot), said)| (*lot, said.clone())).collect())
    }

    /// Records whose answers were forgotten early since the start.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn lot(window: u32) -> Lot {
        Lot { window, sink: 0, partition: 9 }
    }

    fn delivered(outcomes: &Outcomes, key: DeliveryKey, window: u32, answered: Range<u32>) {
        outcomes.note(key, lot(window), answered, std::iter::empty());
    }

    /// The memory is what a look at everything says.
    fn checked(outcomes: &Outcomes) -> usize {
        let memory = outcomes.lock();
        assert_eq!(memory.bytes, memory.lots.values().map(Said::size).sum::<usize>());
        memory.bytes
    }

    #[test]
    fn a_redelivery_finds_what_was_answered_and_nothing_else() {
        let outcomes = Outcomes::default();
        let key = DeliveryKey::of("file 1");
        outcomes.note(key, lot(3), 10..15, [(12, "too odd")].into_iter());
        let known = outcomes.recall(key, 3);
        for ordinal in [10, 11, 13, 14] {
            assert_eq!(known.answer(lot(3), ordinal), Some(Answer::Delivered));
        }
        assert_eq!(known.answer(lot(3), 12), Some(Answer::Refused("too odd")));
        for (sink, partition, ordinal) in [(0, 9, 9), (0, 9, 15), (1, 9, 10), (0, 8, 10)] {
            assert_eq!(known.answer(Lot { window: 3, sink, partition }, ordinal), None);
        }
        assert!(outcomes.recall(key, 2).is_empty() && outcomes.recall(key, 4).is_empty());
        assert!(outcomes.recall(DeliveryKey::of("file 2"), 3).is_empty());
        outcomes.forget(key);
        assert!(outcomes.recall(key, 3).is_empty());
        delivered(&outcomes, DeliveryKey::of(""), 0, 0..1);
        assert!(outcomes.recall(DeliveryKey::of(""), 0).is_empty());
        assert_eq!(checked(&outcomes), 0);
    }

    #[test]
    fn windows_that_are_settled_are_forgotten() {
        let outcomes = Outcomes::default();
        let key = DeliveryKey::of("file 1");
        (0..10).for_each(|window| delivered(&outcomes, key, window, 0..1));
        outcomes.forget_windows(key, 0);
        outcomes.forget_windows(key, 7);
        let left: Vec<u32> = (0..10).filter(|window| !outcomes.recall(key, *window).is_empty()).collect();
        assert_eq!(left, [7, 8, 9]);
        outcomes.forget(key);
        assert_eq!((checked(&outcomes), outcomes.forgotten()), (0, 0));
    }

    #[test]
    fn the_memory_is_bounded_and_forgetting_early_is_counted() {
        let outcomes = Outcomes::within(100 * (LOT + 8) * TEXTS / (TEXTS - 1) + TEXTS);
        for number in 0..150 {
            delivered(&outcomes, DeliveryKey(number + 1), 0, 0..3);
        }
        assert_eq!(outcomes.forgotten(), 150);
        assert!(outcomes.recall(DeliveryKey(50), 0).is_empty());
        assert!(!outcomes.recall(DeliveryKey(51), 0).is_empty());
        for number in 0..5000 {
            delivered(&outcomes, DeliveryKey(1_000 + number), 0, 0..1);
            outcomes.forget(DeliveryKey(1_000 + number));
            // What comes in windows without an end is one delivery.
            delivered(&outcomes, DeliveryKey(999), u32::try_from(number).unwrap(), 0..1);
            outcomes.forget_windows(DeliveryKey(999), u32::MAX);
        }
        assert!(outcomes.lock().order.len() <= 1026);
        checked(&outcomes);
    }

    #[test]
    fn where_nothing_was_refused_it_is_forgotten_first() {
        let outcomes = Outcomes::within(50_000);
        let refused = |key| outcomes.note(key, lot(0), 0..9, [(3, "too odd")].into_iter());
        let known = |key| !outcomes.recall(DeliveryKey(key), 0).is_empty();
        (1..=20).for_each(|key| refused(DeliveryKey(key)));
        (100..1_000).for_each(|key| delivered(&outcomes, DeliveryKey(key), 0, 0..1));
        assert!((1..=20).all(known) && known(999) && !known(100));
        (2_000..3_000).for_each(|key| refused(DeliveryKey(key)));
        assert!(!known(1) && !known(2_000) && known(2_999));
        assert!(checked(&outcomes) < 50_000);
    }

    /// A million records of one delivery, each refused in words of its own, or every second, in whatever order the answers
    /// come: all are known, and in little memory; and in far too little they are, too, for they would be refused for ever.
    #[test]
    fn every_refusal_of_one_delivery_is_known_however_many_there_are() {
        const WINDOWS: u32 = 125;
        const RECORDS: u32 = 8_000;
        for (every, most) in [(1, MOST), (2, MOST), (1, 1000)] {
            let outcomes = Outcomes::within(most);
            let key = DeliveryKey::of("all wrong");
            delivered(&outcomes, DeliveryKey::of("another"), 0, 0..10);
            for window in (0..WINDOWS).rev() {
                for from in [4_000, 0, 6_000, 2_000] {
                    let ordinals = from..from + 2_000;
                    let refused: Vec<(u32, String)> = ordinals
                        .clone()
                        .filter(|ordinal| ordinal % every == 0)
                        .map(|ordinal| (ordinal, format!("[{window}-{ordinal}] {}", "is odd ".repeat(150))))
                        .collect();
                    let told = refused.iter().map(|(ordinal, reason)| (*ordinal, reason.as_str()));
                    outcomes.note(key, lot(window), ordinals, told);
                }
            }
            assert!(checked(&outcomes) < 2 << 20);
            assert!(outcomes.lock().texts.share("x").len() < 1_200);
            assert_eq!(outcomes.forgotten(), if most == MOST { 0 } else { 10 });
            for window in 0..WINDOWS {
                let known = outcomes.recall(key, window);
                for ordinal in 0..RECORDS {
                    match known.answer(lot(window), ordinal) {
                        Some(Answer::Refused(reason)) => assert!(ordinal % every == 0 && !reason.is_empty()),
                        Some(Answer::Delivered) => assert!(ordinal % every != 0),
                        None => panic!("{window} {ordinal}"),
                    }
                }
            }
            outcomes.forget(key);
        }
    }

    proptest! {
        /// Whatever runs are answered in whatever order: known are these, joined.
        #[test]
        fn runs_are_joined(runs in prop::collection::vec((0u32..60, 1u32..9), 0..20)) {
            let mut said = Said::default();
            let mut plain = [false; 80];
            for (start, length) in runs {
                said.add(start..start + length);
                plain[start as usize..(start + length) as usize].fill(true);
            }
            for (ordinal, known) in (0u32..).zip(plain) {
                prop_assert_eq!(said.answer(ordinal).is_some(), known);
            }
            prop_assert!(said.answered.windows(2).all(|two| two[0].end < two[1].start));
            prop_assert_eq!(said.records(), plain.iter().filter(|known| **known).count() as u64);
        }
    }
}
