//! What was put in, what came out, and what may differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::here::{Here, Ran};

/// The folders of the two sinks.
pub(crate) const SINKS: [&str; 2] = ["out", "flat"];

/// Records in an object of a bucket, at most. A bucket's source tells how many objects it ships again, not how many records.
pub(crate) const MOST_RECORDS: u64 = 20;

/// How often each id was seen.
type Counts = BTreeMap<String, u64>;

/// Keeps the books of a tree from outside.
#[derive(Default)]
pub(crate) struct Oracle {
    /// How often each id was put in since all was settled last: more than once where a whole file came again under another
    /// name.
    put: Counts,
    /// What every sink held then.
    settled: [Counts; 2],
    /// Marks of the damaged parts that were ever put in.
    damaged: BTreeSet<String>,
    /// Pieces in rejects beyond one for each mark, when all was settled last.
    refused: u64,
    /// Records the program said it shipped again, since then.
    told: u64,
    /// Records that came out twice, in the sink that has the most of them, and records told; of all times.
    pub(crate) copies: (u64, u64),
}

impl Oracle {
    /// Records were put in.
    pub(crate) fn put(&mut self, ids: impl IntoIterator<Item = String>) {
        ids.into_iter().for_each(|id| *self.put.entry(id).or_default() += 1);
    }

    /// A part was put in that is no record; its bytes hold this mark.
    pub(crate) fn damage(&mut self, mark: String) {
        self.damaged.insert(mark);
    }

    /// A run has ended, in whatever way.
    pub(crate) fn ran(&mut self, ran: &Ran) {
        assert!(!ran.said.contains("panicked"), "{}", ran.said);
        assert!(!ran.said.contains("do not balance"), "{}", ran.said);
        let again = ran.told("shipped again after a crash");
        self.told += again.iter().map(|line| line["records"].as_u64().unwrap()).sum::<u64>();
        let objects = ran.told("not settled by the run before: shipped again");
        let objects = objects.iter().map(|line| line["objects"].as_u64().unwrap()).sum::<u64>();
        self.told = self.told.saturating_add(objects * MOST_RECORDS);
    }

    /// Copies are not counted this time: a queue does not tell what came out of its messages before.
    pub(crate) fn forgives(&mut self) {
        self.told = u64::MAX;
    }

    /// A run has ended well: everything is there, nothing else, and copies only of what was not settled before.
    #[track_caller]
    pub(crate) fn check(&mut self, here: &Here, ran: &Ran) {
        assert!(matches!(ran.code, Some(0 | 3)), "{:?}: {}", ran.code, ran.said);
        ran.books();
        let mut most = self.check_rejects(here, ran);
        for (sink, before) in SINKS.iter().zip(&mut self.settled) {
            let mut got = Counts::new();
            here.ids(sink).into_iter().for_each(|id| *got.entry(id).or_default() += 1);
            let mut copies = 0;
            for (id, put) in &self.put {
                let came = count(&got, id) - count(before, id);
                assert!(came >= *put, "{id} is missing in {sink}: {came} of {put}; said: {}", ran.said);
                copies += came - put;
            }
            for (id, came) in got.iter().filter(|(id, _)| !self.put.contains_key(*id)) {
                let there = count(before, id);
                assert!(there > 0, "{id} is in {sink} and was never put in");
                assert_eq!(*came, there, "{id} was settled, and came to {sink} again; said: {}", ran.said);
            }
            most = most.max(copies);
            *before = got;
        }
        assert!(most <= self.told, "{most} copies, {} told; said: {}", self.told, ran.said);
        self.copies = (self.copies.0 + most, self.copies.1.saturating_add(self.told));
        self.told = 0;
        self.put.clear();
    }

    /// Every damaged part is in rejects, and nothing else. Returns how many came there again.
    #[track_caller]
    fn check_rejects(&mut self, here: &Here, ran: &Ran) -> u64 {
        let rejects = here.rejects();
        let mut marks = BTreeSet::new();
        for reject in &rejects {
            let text = String::from_utf8_lossy(&reject.bytes);
            let mark = self.damaged.iter().find(|mark| text.contains(*mark));
            marks.insert(mark.unwrap_or_else(|| panic!("in rejects and was never put in: {reject:?}")));
        }
        let missing: Vec<_> = self.damaged.iter().filter(|mark| !marks.contains(mark)).collect();
        assert!(missing.is_empty(), "missing in rejects: {missing:?}; said: {}", ran.said);
        let refused = (rejects.len() - marks.len()) as u64;
        refused - std::mem::replace(&mut self.refused, refused)
    }
}

fn count(counts: &Counts, id: &str) -> u64 {
    counts.get(id).copied().unwrap_or_default()
}
