//! What a set of patterns said about records with the same values at the fields it reads first: CloudTrail repeats
//! itself, and so do the answers.
//!
//! The key is the text of those values, all of it: two records with one key are the same to the patterns that are
//! remembered here. Nothing is remembered for sets that read too much, for long values, or for values in arrays of
//! objects (patterns may ask which element they stand in).

use foldhash::HashMap;

use super::compile::Leaves;
use crate::record::SlotId;

/// Fields read first, at most; more would cost more than they save.
const MOST_SLOTS: usize = 16;
/// Fields of sets that are remembered whole.
const FEW_SLOTS: usize = 4;
/// Longest key that is remembered, bytes.
const LONGEST: usize = 512;
/// Bytes of keys that one thread keeps for one set; then it begins anew.
const ROOM: usize = 384 << 10;

/// The fields that decide what is remembered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    slots: Box<[SlotId]>,
    complete: bool,
}

impl Reads {
    /// All fields of the set where they are few; else those that are read `first`; else none.
    pub(super) fn new(all: Vec<SlotId>, first: Vec<SlotId>) -> Reads {
        let once = |mut slots: Vec<SlotId>| {
            slots.sort_unstable();
            slots.dedup();
            slots
        };
        let (all, first) = (once(all), once(first));
        if all.len() <= FEW_SLOTS {
            Reads { slots: all.into(), complete: true }
        } else if first.len() <= MOST_SLOTS {
            Reads { slots: first.into(), complete: false }
        } else {
            Reads::default()
        }
    }

    /// Whether these are all fields of the set, so that nothing else decides.
    pub(super) fn complete(&self) -> bool {
        self.complete
    }

    /// Writes the record's key. `false`: it has none.
    pub(super) fn key<L: Leaves>(&self, record: &L, key: &mut Vec<u8>) -> bool {
        key.clear();
        let mut plain = !self.slots.is_empty();
        for (number, &slot) in (0_u8..).zip(&self.slots) {
            record.each(slot, |leaf| {
                let text = record.text(leaf);
                plain &= !record.is_tied(leaf) && key.len() + text.len() <= LONGEST;
                if plain {
                    // Values are JSON texts, which no such byte can be part of: keys are the same only if all values are.
                    key.push(number);
                    key.extend_from_slice(text);
                }
                plain
            });
        }
        plain
    }
}

/// What was said, by key. One per thread and set.
#[derive(Debug, Default)]
pub(super) struct Memo {
    said: HashMap<Box<[u8]>, Said>,
    bytes: usize,
}

/// What a set said about records with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The always-candidates that match.
    pub(super) matched: u64,
    /// Whether the tables know any candidate: they must be asked.
    pub(super) ask: bool,
}

impl Memo {
    pub(super) fn get(&self, key: &[u8]) -> Option<Said> {
        self.said.get(key).copied()
    }

    pub(super) fn keep(&mut self, key: &[u8], said: Said) {
        self.bytes += key.len() + 64;
        if self.bytes > ROOM {
            self.said.clear();
            self.bytes = key.len() + 64;
        }
        self.said.insert(key.into(), said);
    }
}
