//! Many patterns compiled into one set, matched against a scanned record without looking anything up by name.
//!
//! A pattern is looked at only where it may match: the exact strings of its most selective field are the keys of a
//! table, one lookup a record finds the candidates of all patterns together. Patterns without such a field are always
//! candidates. A candidate is judged field by field in three values: no, yes, and *tied* (only members of array
//! elements match, which must agree with other fields about the element). Only the last needs a search (`ties`).

use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::{HashMap, HashMapExt, HashSet};

use super::memo::{Memo, Reads, Said};
use super::value::Matcher;
use super::wanted::{Content, Wanted};
use super::{Field, Node, Pattern, path_order, ties};
use crate::record::{SlotId, Slots};

/// What a pattern reads a record through: the leaves at the paths it asked for, edits and additions included.
pub trait Leaves {
    /// One scalar of the record.
    type Leaf: Copy;

    /// Calls `visit` with each scalar at a slot until it returns `false`. Empty containers and removed leaves are not shown.
    fn each(&self, slot: SlotId, visit: impl FnMut(Self::Leaf) -> bool);

    /// The JSON text of a leaf's value, a string with its quotes and escapes.
    fn text(&self, leaf: Self::Leaf) -> &[u8];

    /// Whether the leaf stands inside an element (an object or an array) of an array. A plain element does not.
    fn is_tied(&self, leaf: Self::Leaf) -> bool;

    /// Appends the elements a leaf stands inside of.
    fn ties(&self, leaf: Self::Leaf, ties: &mut Vec<Tie>);
}

/// An element of an array that a leaf stands inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tie {
    /// Names the array within its record: two leaves of one array say the same.
    pub array: u64,
    /// The element's position, from 0.
    pub index: u32,
}

/// Memory reused from record to record. One per thread.
#[derive(Debug, Default)]
pub struct MatchScratch {
    matched: Vec<u64>,
    judged: Vec<u64>,
    pub(super) text: Vec<u8>,
    key: Vec<u8>,
    /// By number of the set.
    memos: Vec<Memo>,
}

/// Compiled patterns, numbered in the order they were given.
#[derive(Debug)]
pub struct PatternSet {
    programs: Box<[Program]>,
    tables: Box<[Table]>,
    always: Box<[u32]>,
    /// What the always-candidates and the tables read.
    reads: Reads,
    /// Names the set among those of the process: each thread remembers what it said.
    number: usize,
}

/// Which patterns can match where a slot holds a certain string.
#[derive(Debug)]
struct Table {
    slot: SlotId,
    candidates: HashMap<Box<[u8]>, Box<[u32]>>,
}

/// The candidates of a table that is being filled.
type Growing = HashMap<Box<[u8]>, Vec<u32>>;

/// One compiled pattern.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) root: Step,
    /// In the order of their paths: what `exists: false` is tied to.
    pub(super) fields: Box<[Place]>,
    /// How many `$or`s there are.
    pub(super) ors: usize,
    /// Whether any field may be absent.
    pub(super) absence: bool,
}

#[derive(Debug)]
pub(super) enum Step {
    All(Box<[Step]>),
    Any { or: usize, parts: Box<[Step]> },
    Field(usize),
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) slot: SlotId,
    pub(super) wanted: Wanted,
    /// The alternatives it stands in, from outermost: number of the `$or`, position of the alternative.
    pub(super) inside: Box<[(usize, usize)]>,
}

/// What one pattern or part of it says about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    No,
    /// Perhaps: it depends on which elements of arrays are chosen.
    Tied,
    Yes,
}

impl PatternSet {
    /// Compiles patterns, asking for the paths they need.
    pub fn compile(patterns: &[&Pattern], slots: &mut Slots) -> PatternSet {
        let programs: Box<[Program]> = patterns.iter().map(|pattern| Program::new(pattern, slots)).collect();
        let diversity = Diversity::of(patterns);
        let mut tables: Vec<(SlotId, Growing)> = Vec::new();
        let mut always = Vec::new();
        for (number, pattern) in (0u32..).zip(patterns) {
            let Some(keys) = diversity.keys(&pattern.root) else {
                always.push(number);
                continue;
            };
            for (path, text) in keys.found {
                let slot = slots.want(path);
                let at = tables.iter().position(|(known, _)| *known == slot).unwrap_or_else(|| {
                    tables.push((slot, HashMap::new()));
                    tables.len() - 1
                });
                let candidates = tables[at].1.entry(text.as_bytes().into()).or_default();
                if candidates.last() != Some(&number) {
                    candidates.push(number);
                }
            }
        }
        let table = |(slot, candidates): (SlotId, Growing)| Table {
            slot,
            candidates: candidates.into_iter().map(|(text, numbers)| (text, numbers.into())).collect(),
        };
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let fields = |program: &Program| program.fields.iter().map(|place| place.slot).collect::<Vec<_>>();
        let all = programs.iter().flat_map(fields).collect();
        let first = always.iter().flat_map(|&number: &u32| fields(&programs[number as usize]));
        let first = first.chain(tables.iter().map(|(slot, _)| *slot)).collect();
        // One bit for each pattern is remembered.
        let reads = if programs.len() <= 64 { Reads::new(all, first) } else { Reads::default() };
        let tables = tables.into_iter().map(table).collect();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        PatternSet { programs, tables, always: always.into(), reads, number }
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.programs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// Which patterns match: bit `n % 64` of word `n / 64` is set where pattern `n` does.
    pub fn matches<'s, L: Leaves>(&self, record: &L, scratch: &'s mut MatchScratch) -> &'s [u64] {
        let words = self.programs.len().div_ceil(64);
        scratch.matched.clear();
        scratch.matched.resize(words, 0);
        if let Some(said) = self.said(record, scratch) {
            scratch.matched[0] = said.matched;
            if said.ask {
                self.ask(record, scratch, |matched, number| {
                    matched[0] |= 1 << number;
                    true
                });
            }
            return &scratch.matched;
        }
        self.visit(record, scratch, |matched, number| {
            matched[number as usize / 64] |= 1 << (number % 64);
            true
        });
        &scratch.matched
    }

    /// Whether any pattern matches.
    pub fn any<L: Leaves>(&self, record: &L, scratch: &mut MatchScratch) -> bool {
        let mut any = false;
        if let Some(said) = self.said(record, scratch) {
            any = said.matched != 0;
            if said.ask && !any {
                self.ask(record, scratch, |_, _| {
                    any = true;
                    false
                });
            }
            return any;
        }
        self.visit(record, scratch, |_, _| {
            any = true;
            false
        });
        any
    }

    /// What the always-candidates say, and whether the tables know any candidate; remembered.
    fn said<L: Leaves>(&self, record: &L, scratch: &mut MatchScratch) -> Option<Said> {
        let mut key = std::mem::take(&mut scratch.key);
        let said = self.reads.key(record, &mut key).then(|| {
            if scratch.memos.len() <= self.number {
                scratch.memos.resize_with(self.number + 1, Memo::default);
            }
            scratch.memos[self.number].get(&key).unwrap_or_else(|| {
                let mut said = Said { matched: 0, ask: false };
                let mut judge = |number: u32, text: &mut Vec<u8>| {
                    said.matched |= u64::from(self.programs[number as usize].holds(record, text)) << number;
                };
                if self.reads.complete() {
                    (0_u32..).zip(&self.programs).for_each(|(number, _)| judge(number, &mut scratch.text));
                } else {
                    self.always.iter().for_each(|&number| judge(number, &mut scratch.text));
                    for table in &self.tables {
                        record.each(table.slot, |leaf| {
                            if let Content::Text(text) = Content::of(record.text(leaf), &mut scratch.text) {
                                said.ask |= table.candidates.contains_key(text);
                            }
                            !said.ask
                        });
                    }
                }
                scratch.memos[self.number].keep(&key, said);
                said
            })
        });
        scratch.key = key;
        said
    }

    /// Judges every candidate once; `found` says whether to go on.
    fn visit<L: Leaves>(
        &self,
        record: &L,
        scratch: &mut MatchScratch,
        mut found: impl FnMut(&mut [u64], u32) -> bool,
    ) {
        if !self.ask(record, scratch, &mut found) {
            return;
        }
        for &number in &self.always {
            if self.programs[number as usize].holds(record, &mut scratch.text)
                && !found(&mut scratch.matched, number)
            {
                return;
            }
        }
    }

    /// Judges the candidates the tables know; `false`: `found` has said to stop.
    fn ask<L: Leaves>(
        &self,
        record: &L,
        scratch: &mut MatchScratch,
        mut found: impl FnMut(&mut [u64], u32) -> bool,
    ) -> bool {
        // A pattern may be a candidate by several keys: remember who was judged.
        let mut begun = false;
        for table in &self.tables {
            let mut stop = false;
            record.each(table.slot, |leaf| {
                let Content::Text(text) = Content::of(record.text(leaf), &mut scratch.text) else {
                    return true;
                };
                let Some(candidates) = table.candidates.get(text) else { return true };
                if !begun {
                    scratch.judged.clear();
                    scratch.judged.resize(self.programs.len().div_ceil(64), 0);
                    begun = true;
                }
                for &number in candidates {
                    let judged = &mut scratch.judged[number as usize / 64];
                    let bit = 1u64 << (number % 64);
                    if *judged & bit != 0 {
                        continue;
                    }
                    *judged |= bit;
                    if self.programs[number as usize].holds(record, &mut scratch.text)
                        && !found(&mut scratch.matched, number)
                    {
                        stop = true;
                        return false;
                    }
                }
                true
            });
            if stop {
                return false;
            }
        }
        true
    }
}

impl Program {
    fn new(pattern: &Pattern, slots: &mut Slots) -> Program {
        let mut builder = Builder { slots, found: Vec::new(), inside: Vec::new(), ors: 0 };
        let root = builder.step(&pattern.root);
        let Builder { found, ors, .. } = builder;
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by(|&a, &b| path_order(&found[a].0, &found[b].0));
        let mut rank = vec![0; found.len()];
        for (to, &from) in order.iter().enumerate() {
            rank[from] = to;
        }
        let mut fields: Vec<(usize, Place)> =
            rank.iter().copied().zip(found.into_iter().map(|(_, place)| place)).collect();
        fields.sort_by_key(|(rank, _)| *rank);
        let fields: Box<[Place]> = fields.into_iter().map(|(_, place)| place).collect();
        let mut root = root;
        renumber(&mut root, &rank);
        cheapest_first(&mut root, &fields);
        let absence = fields.iter().any(|place| place.wanted.absent);
        Program { root, fields, ors, absence }
    }

    fn holds<L: Leaves>(&self, record: &L, scratch: &mut Vec<u8>) -> bool {
        match self.verdict(&self.root, record, scratch) {
            Verdict::No => false,
            Verdict::Yes => true,
            Verdict::Tied => ties::holds(self, record, scratch),
        }
    }

    pub(super) fn verdict<L: Leaves>(&self, step: &Step, record: &L, scratch: &mut Vec<u8>) -> Verdict {
        match step {
            Step::Field(number) => self.fields[*number].verdict(record, scratch),
            Step::All(parts) => {
                let mut all = Verdict::Yes;
                for part in parts {
                    all = all.min(self.verdict(part, record, scratch));
                    if all == Verdict::No {
                        break;
                    }
                }
                all
            }
            Step::Any { parts, .. } => {
                let mut any = Verdict::No;
                for part in parts {
                    any = any.max(self.verdict(part, record, scratch));
                    if any == Verdict::Yes {
                        break;
                    }
                }
                any
            }
        }
    }
}

impl Place {
    pub(super) fn verdict<L: Leaves>(&self, record: &L, scratch: &mut Vec<u8>) -> Verdict {
        let absent = self.wanted.absent;
        let mut verdict = Verdict::No;
        let (mut loose, mut present) = (false, false);
        record.each(self.slot, |leaf| {
            let holds = self.wanted.holds(record.text(leaf), scratch);
            if holds || absent {
                let tied = record.is_tied(leaf);
                present = true;
                loose |= !tied;
                if holds {
                    verdict = verdict.max(if tied { Verdict::Tied } else { Verdict::Yes });
                }
            }
            verdict != Verdict::Yes
        });
        match (absent, present, loose) {
            (true, false, _) => Verdict::Yes,
            // The leaves there are may disagree with what other fields choose: then the field is absent.
            (true, true, false) => verdict.max(Verdict::Tied),
            _ => verdict,
        }
    }
}

struct Builder<'a> {
    slots: &'a mut Slots,
    found: Vec<(String, Place)>,
    inside: Vec<(usize, usize)>,
    ors: usize,
}

impl Builder<'_> {
    fn step(&mut self, node: &Node) -> Step {
        match node {
            Node::All(parts) => Step::All(parts.iter().map(|part| self.step(part)).collect()),
            Node::Any(parts) => {
                let or = self.ors;
                self.ors += 1;
                let mut alternative = |(position, part): (usize, &Node)| {
                    self.inside.push((or, position));
                    let step = self.step(part);
                    self.inside.pop();
                    step
                };
                Step::Any { or, parts: parts.iter().enumerate().map(&mut alternative).collect() }
            }
            Node::Field(field) => {
                let slot = self.slots.want(&field.path);
                let place =
                    Place { slot, wanted: Wanted::new(&field.values), inside: self.inside.as_slice().into() };
                self.found.push((field.path.clone(), place));
                Step::Field(self.found.len() - 1)
            }
        }
    }
}

fn renumber(step: &mut Step, rank: &[usize]) {
    match step {
        Step::Field(number) => *number = rank[*number],
        Step::All(parts) | Step::Any { parts, .. } => parts.iter_mut().for_each(|part| renumber(part, rank)),
    }
}

fn cheapest_first(step: &mut Step, fields: &[Place]) {
    match step {
        Step::Field(_) => {}
        // The alternatives of an `$or` keep their order: it is how the search numbers them.
        Step::Any { parts, .. } => parts.iter_mut().for_each(|part| cheapest_first(part, fields)),
        Step::All(parts) => {
            parts.iter_mut().for_each(|part| cheapest_first(part, fields));
            parts.sort_by_key(|part| match part {
                Step::Field(number) => fields[*number].wanted.cost(),
                _ => u32::MAX,
            });
        }
    }
}

/// How many different strings the patterns together want at each path: the more, the more a value there tells.
struct Diversity<'a>(HashMap<&'a str, HashSet<&'a str>>);

/// Strings of which one is there wherever a part of a pattern holds.
struct Keys<'a> {
    found: Vec<(&'a str, &'a str)>,
    /// The least diversity among their paths.
    diversity: usize,
}

impl<'a> Diversity<'a> {
    fn of(patterns: &[&'a Pattern]) -> Diversity<'a> {
        fn walk<'a>(node: &'a Node, found: &mut HashMap<&'a str, HashSet<&'a str>>) {
            match node {
                Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| walk(part, found)),
                Node::Field(field) => {
                    if let Some(texts) = exact(field) {
                        found.entry(&field.path).or_default().extend(texts);
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
            Node::Field(field) => Some(Keys {
                found: exact(field)?.into_iter().map(|text| (field.path.as_str(), text)).collect(),
                diversity: self.0.get(field.path.as_str()).map_or(0, HashSet::len),
            }),
            // `eventName` breaks ties, then fewer strings.
            Node::All(parts) => parts.iter().filter_map(|part| self.keys(part)).max_by_key(|keys| {
                let named = keys.found.iter().all(|(path, _)| *path == "eventName");
                (keys.diversity, named, usize::MAX - keys.found.len())
            }),
            Node::Any(parts) => {
                let parts: Option<Vec<Keys<'a>>> = parts.iter().map(|part| self.keys(part)).collect();
                let parts = parts?;
                Some(Keys {
                    diversity: parts.iter().map(|keys| keys.diversity).min().unwrap_or(0),
                    found: parts.into_iter().flat_map(|keys| keys.found).collect(),
                })
            }
        }
    }
}

/// The strings of a field that wants nothing but strings.
fn exact(field: &Field) -> Option<Vec<&str>> {
    fn text(matcher: &Matcher) -> Option<&str> {
        match matcher {
            Matcher::Text(text) => Some(text),
            _ => None,
        }
    }
    field.values.iter().map(text).collect()
}
