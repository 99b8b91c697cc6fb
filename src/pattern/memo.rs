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
/// Longest key that is remembered, bytes.
const LONGEST: usize = 512;
/// Bytes of keys that one thread keeps for one set; then it begins anew.
const ROOM: usize = 128 << 10;

/// The fields that decide what is remembered.
#[derive(Debug, Default)]
pub(super) struct Reads(Box<[SlotId]>);

impl Reads {
    /// The fields, each once; too many are none.
    pub(super) fn new(mut slots: Vec<SlotId>) -> Reads {
        slots.sort_unstable();
        slots.dedup();
        if slots.len() > MOST_SLOTS { Reads::default() } else { Reads(slots.into()) }
    }

    /// Writes the record's key. `false`: it has none.
    pub(super) fn key<L: Leaves>(&self, record: &L, key: &mut Vec<u8>) -> bool {
        key.clear();
        let mut plain = !self.0.is_empty();
        for (number, &slot) in (0_u8..).zip(&self.0) {
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
