//! Many patterns compiled into one set, matched against a scanned record without looking anything up by name.
//!
//! A pattern is looked at only where it may match (`gate`). A candidate is judged field by field in three values: no,
//! yes, and *tied* (only members of array elements match, which must agree with other fields about the element). Only
//! the last needs a search (`ties`).

use super::gate::{self, Gates};
use super::wanted::Wanted;
use super::{Node, Pattern, path_order, ties};
use crate::record::{Alone, SlotId, Slots};

/// What a pattern reads a record through: the leaves at the paths it asked for, edits and additions included.
pub trait Leaves {
    /// One scalar of the record.
    type Leaf: Copy;

    /// Calls `visit` with each scalar at a slot until it returns `false`. Empty containers and removed leaves are not shown.
    fn each(&self, slot: SlotId, visit: impl FnMut(Self::Leaf) -> bool);

    /// Whether it is plain to see that there is nothing at a slot, as is the case with most.
    fn is_bare(&self, _slot: SlotId) -> bool {
        false
    }

    /// The leaf at a slot, where it is plain to see that there is nothing or but one.
    fn only(&self, _slot: SlotId) -> Alone<Self::Leaf> {
        Alone::Several
    }

    /// The JSON text of a leaf's value, a string with its quotes and escapes.
    fn text(&self, leaf: Self::Leaf) -> &[u8];

    /// Whether a string may have escapes; `false` saves looking for them.
    fn may_escape(&self, _leaf: Self::Leaf) -> bool {
        true
    }

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
    candidates: Vec<u64>,
    text: Vec<u8>,
}

/// Compiled patterns, numbered in the order they were given.
#[derive(Debug)]
pub struct PatternSet {
    programs: Box<[Program]>,
    gates: Gates,
}

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
    /// See [`cost`].
    cost: u32,
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
        let programs = patterns.iter().map(|pattern| Program::new(pattern, slots)).collect();
        PatternSet { programs, gates: Gates::new(patterns, slots) }
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
        let MatchScratch { matched, candidates, text } = scratch;
        matched.clear();
        matched.resize(self.programs.len().div_ceil(64), 0);
        self.visit(record, candidates, text, |number| {
            gate::set(matched, number);
            true
        });
        matched
    }

    /// Whether any pattern matches.
    pub fn any<L: Leaves>(&self, record: &L, scratch: &mut MatchScratch) -> bool {
        let mut any = false;
        self.visit(record, &mut scratch.candidates, &mut scratch.text, |_| {
            any = true;
            false
        });
        any
    }

    /// Judges every candidate; `found` says whether to go on.
    fn visit<L: Leaves>(
        &self,
        record: &L,
        candidates: &mut Vec<u64>,
        text: &mut Vec<u8>,
        mut found: impl FnMut(u32) -> bool,
    ) {
        // What a gate would ask of a pattern alone, the pattern asks itself.
        if let [only] = &*self.programs {
            if only.holds(record, text) {
                found(0);
            }
            return;
        }
        self.gates.ask(record, text, candidates);
        for (first, &word) in (0u32..).step_by(64).zip(&*candidates) {
            let mut word = word;
            while word != 0 {
                let number = first + word.trailing_zeros();
                word &= word - 1;
                let holds =
                    self.programs.get(number as usize).is_some_and(|program| program.holds(record, text));
                if holds && !found(number) {
                    return;
                }
            }
        }
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
    #[inline]
    pub(super) fn verdict<L: Leaves>(&self, record: &L, scratch: &mut Vec<u8>) -> Verdict {
        let nothing = if self.wanted.absent { Verdict::Yes } else { Verdict::No };
        if record.is_bare(self.slot) {
            return nothing;
        }
        match record.only(self.slot) {
            Alone::None => nothing,
            Alone::One(leaf) if !self.wanted.absent => {
                let holds = self.wanted.holds(record.text(leaf), record.may_escape(leaf), scratch);
                match holds {
                    true if record.is_tied(leaf) => Verdict::Tied,
                    true => Verdict::Yes,
                    false => Verdict::No,
                }
            }
            _ => self.verdict_of_all(record, scratch),
        }
    }

    #[cold]
    fn verdict_of_all<L: Leaves>(&self, record: &L, scratch: &mut Vec<u8>) -> Verdict {
        let absent = self.wanted.absent;
        let mut verdict = Verdict::No;
        let (mut loose, mut present) = (false, false);
        record.each(self.slot, |leaf| {
            let holds = self.wanted.holds(record.text(leaf), record.may_escape(leaf), scratch);
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
                let wanted = Wanted::new(&field.values);
                let looked_at = is_usual(&field.path) || wanted.absent;
                let cost = if looked_at { 8 + wanted.cost() } else { 1 };
                let place = Place { slot, wanted, cost, inside: self.inside.as_slice().into() };
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

/// What it costs to hear a no, roughly: most fields are not there at all.
fn cost(step: &Step, fields: &[Place]) -> u32 {
    match step {
        Step::Field(number) => fields.get(*number).map_or(0, |place| place.cost),
        Step::Any { parts, .. } => parts.iter().map(|part| cost(part, fields)).sum(),
        Step::All(parts) => parts.iter().map(|part| cost(part, fields)).min().unwrap_or(0),
    }
}

/// Whether nearly every record has this field.
fn is_usual(path: &str) -> bool {
    const OTHERS: [&str; 5] = ["awsRegion", "sourceIPAddress", "userAgent", "readOnly", "managementEvent"];
    path.starts_with("event") || path.starts_with("userIdentity.") || OTHERS.contains(&path)
}

fn cheapest_first(step: &mut Step, fields: &[Place]) {
    match step {
        Step::Field(_) => {}
        // The alternatives of an `$or` keep their order: it is how the search numbers them.
        Step::Any { parts, .. } => parts.iter_mut().for_each(|part| cheapest_first(part, fields)),
        Step::All(parts) => {
            parts.iter_mut().for_each(|part| cheapest_first(part, fields));
            parts.sort_by_key(|part| cost(part, fields));
        }
    }
}
