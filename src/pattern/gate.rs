//! Which patterns of a set can match a record, told from a few of its fields.
//!
//! Each pattern has keys of which one is there wherever it matches: the exact values of its most selective field (of
//! each alternative of an `$or`), else that some field is there at all. The keys of all patterns together stand in one
//! table for each field: the cost of asking grows with the number of fields, not with that of the patterns. A pattern
//! without keys (it asks for nothing but absence) is always a candidate.

use foldhash::{HashMap, HashMapExt, HashSet};

use super::compile::Leaves;
use super::value::Matcher;
use super::wanted::Content;
use super::{Field, Node, Pattern};
use crate::record::{Alone, SlotId, Slots};

/// What patterns together want to be there. Patterns are bits of words.
#[derive(Debug)]
pub(super) struct Gates {
    tables: Box<[Table]>,
    always: Box<[u64]>,
}

/// Which patterns may match where a slot holds something.
#[derive(Debug)]
struct Table {
    slot: SlotId,
    /// Whatever it is.
    present: Numbers,
    literals: Box<[(&'static str, Numbers)]>,
    sieve: Sieve,
    texts: HashMap<Box<[u8]>, Numbers>,
}

type Numbers = Box<[u32]>;

/// Tells of most texts that they are not among some, by their length and three of their bytes.
#[derive(Debug)]
struct Sieve([u64; 32]);

impl Sieve {
    fn of<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Sieve {
        let mut sieve = Sieve([0; 32]);
        for (word, bit) in texts.map(Sieve::place) {
            sieve.0[word] |= 1 << bit;
        }
        sieve
    }

    fn may_hold(&self, text: &[u8]) -> bool {
        let (word, bit) = Sieve::place(text);
        self.0[word] >> bit & 1 == 1
    }

    /// One of 2,048 bits: its word, and its number there.
    fn place(text: &[u8]) -> (usize, u32) {
        let byte = |at: usize| text.get(at).copied().unwrap_or_default();
        let [length, ..] = text.len().to_le_bytes();
        let some = [length, byte(0), byte(text.len() / 2), byte(text.len().wrapping_sub(2))];
        // Multiplying by a number without a pattern mixes them; the highest bits depend on all.
        let mixed = u32::from_le_bytes(some).wrapping_mul(0x9E37_79B1) >> 21;
        (mixed as usize / 64, mixed % 64)
    }
}

impl Gates {
    /// Asks for the fields of the keys.
    pub(super) fn new(patterns: &[&Pattern], slots: &mut Slots) -> Gates {
        let diversity = Diversity::of(patterns);
        let mut always = vec![0; patterns.len().div_ceil(64)];
        let mut fields: Vec<(SlotId, HashMap<Key<'_>, Vec<u32>>)> = Vec::new();
        for (number, pattern) in (0u32..).zip(patterns) {
            let Some(keys) = diversity.keys(&pattern.root) else {
                set(&mut always, number);
                continue;
            };
            for (path, key) in keys.found {
                let slot = slots.want(path);
                let at = fields.iter().position(|(known, _)| *known == slot).unwrap_or_else(|| {
                    fields.push((slot, HashMap::new()));
                    fields.len() - 1
                });
                if let Some((_, keys)) = fields.get_mut(at) {
                    keys.entry(key).or_default().push(number);
                }
            }
        }
        let tables = fields.into_iter().map(|(slot, keys)| Table::new(slot, keys)).collect();
        Gates { tables, always: always.into() }
    }

    /// Writes the candidates, one bit each. `scratch` takes a string that has escapes.
    pub(super) fn ask<L: Leaves>(&self, record: &L, scratch: &mut Vec<u8>, candidates: &mut Vec<u64>) {
        candidates.clear();
        candidates.extend_from_slice(&self.always);
        for table in self.tables.iter().filter(|table| !record.is_bare(table.slot)) {
            match record.only(table.slot) {
                Alone::None => {}
                Alone::One(leaf) => table.ask(record, leaf, scratch, candidates),
                Alone::Several => record.each(table.slot, |leaf| {
                    table.ask(record, leaf, scratch, candidates);
                    true
                }),
            }
        }
    }
}

impl Table {
    /// Which patterns may match for what one leaf holds.
    fn ask<L: Leaves>(&self, record: &L, leaf: L::Leaf, scratch: &mut Vec<u8>, candidates: &mut [u64]) {
        for &number in &self.present {
            set(candidates, number);
        }
        let found = match Content::of(record.text(leaf), record.may_escape(leaf), scratch) {
            Content::Text(text) if self.sieve.may_hold(text) => self.texts.get(text),
            Content::Text(_) | Content::Number(_) => None,
            Content::Literal(text) => {
                let mut literals = self.literals.iter();
                literals.find(|(wanted, _)| wanted.as_bytes() == text).map(|(_, numbers)| numbers)
            }
        };
        for &number in found.into_iter().flatten() {
            set(candidates, number);
        }
    }

    fn new(slot: SlotId, keys: HashMap<Key<'_>, Vec<u32>>) -> Table {
        let mut present = Numbers::default();
        let (mut texts, mut literals) = (HashMap::<Box<[u8]>, Numbers>::new(), Vec::new());
        for (key, numbers) in keys {
            match key {
                Key::Present => present = numbers.into(),
                Key::Literal(text) => literals.push((text, numbers.into())),
                Key::Text(text) => _ = texts.insert(text.as_bytes().into(), numbers.into()),
            }
        }
        let sieve = Sieve::of(texts.keys().map(|text| &**text));
        Table { slot, present, literals: literals.into(), sieve, texts }
    }
}

/// Sets one pattern's bit.
pub(super) fn set(words: &mut [u64], number: u32) {
    if let Some(word) = words.get_mut(number as usize / 64) {
        *word |= 1 << (number % 64);
    }
}

/// What is there at a path wherever a part of a pattern holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Text(&'a str),
    Literal(&'static str),
    Present,
}

/// How many different values the patterns together want at each path: the more, the more a value there tells.
struct Diversity<'a>(HashMap<&'a str, HashSet<Key<'a>>>);

/// Keys of which one is there wherever a part of a pattern holds.
struct Keys<'a> {
    found: Vec<(&'a str, Key<'a>)>,
    /// The least diversity among their paths.
    diversity: usize,
}

impl<'a> Diversity<'a> {
    fn of(patterns: &[&'a Pattern]) -> Diversity<'a> {
        fn walk<'a>(node: &'a Node, found: &mut HashMap<&'a str, HashSet<Key<'a>>>) {
            match node {
                Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| walk(part, found)),
                Node::Field(field) => {
                    if let Some(keys) = exact(field) {
                        found.entry(&field.path).or_default().extend(keys);
                    }
                }
            }
        }
        let mut found = HashMap::new();
        patterns.iter().for_each(|pattern| walk(&pattern.root, &mut found));
        Diversity(found)
    }

    fn keys(&self, node: &'a Node) -> Option<Keys<'a>> {
        match node {
            Node::Field(field) => match exact(field) {
                Some(keys) => Some(Keys {
                    found: keys.into_iter().map(|key| (field.path.as_str(), key)).collect(),
                    diversity: self.0.get(field.path.as_str()).map_or(0, HashSet::len),
                }),
                None if field.values.contains(&Matcher::Absent) => None,
                None => Some(Keys {
                    found: vec![(&field.path, Key::Present)],
                    diversity: usize::from(is_rare(&field.path)),
                }),
            },
            // `eventName` and what is seldom there break ties, then fewer values.
            Node::All(parts) => parts.iter().filter_map(|part| self.keys(part)).max_by_key(|keys| {
                let telling = keys.found.iter().all(|(path, _)| *path == "eventName" || is_rare(path));
                (keys.diversity, telling, usize::MAX - keys.found.len())
            }),
            Node::Any(parts) => {
                let parts: Option<Vec<Keys<'a>>> = parts.iter().map(|part| self.keys(part)).collect();
                let parts = parts?;
                let mut found: Vec<_> = Vec::new();
                for key in parts.iter().flat_map(|keys| &keys.found) {
                    if !found.contains(key) {
                        found.push(*key);
                    }
                }
                Some(Keys { diversity: parts.iter().map(|keys| keys.diversity).min().unwrap_or(0), found })
            }
        }
    }
}

/// Whether few records have this field at all.
fn is_rare(path: &str) -> bool {
    matches!(path, "errorCode" | "errorMessage")
}

/// The values of a field that wants nothing but strings and literals.
fn exact(field: &Field) -> Option<Vec<Key<'_>>> {
    let key = |matcher| match matcher {
        &Matcher::Literal(text) => Some(Key::Literal(text)),
        Matcher::Text(text) => Some(Key::Text(text)),
        _ => None,
    };
    field.values.iter().map(key).collect()
}
