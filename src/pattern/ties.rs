//! The search for elements of arrays that all fields of a pattern agree about.
//!
//! Fields are taken in the order of their paths, as Event Ruler does; each chooses a leaf that agrees with all chosen
//! before it. Where a choice failed is remembered by what later fields can still see of it, so that arrays side by side
//! cost the sum of their sizes, not the product, and alternatives are not multiplied out.

use foldhash::fast::FixedState;
use foldhash::{HashMap, HashMapExt, HashSet};
use std::hash::BuildHasher;

use super::compile::{Leaves, Place, Program, Step, Tie, Verdict};

/// Whether a choice of leaves exists for a pattern whose fields match one by one.
pub(super) fn holds<L: Leaves>(program: &Program, record: &L, scratch: &mut Vec<u8>) -> bool {
    let mut search = Search {
        program,
        options: program.fields.iter().map(|place| Options::of(place, record, scratch)).collect(),
        open: vec![None; program.ors],
        last_or: vec![0; program.ors],
        last_array: HashMap::new(),
        failed: HashSet::default(),
    };
    for (position, (place, options)) in program.fields.iter().zip(&search.options).enumerate() {
        for &(or, _) in &place.inside {
            search.last_or[or] = position;
        }
        for tie in options.matching.all.iter().chain(&options.present.all).flatten() {
            search.last_array.insert(tie.array, position);
        }
    }
    let mut alternatives = vec![Vec::new(); program.ors];
    allowed(program, &program.root, record, scratch, &mut alternatives);
    search.go(0, &mut Vec::new(), &alternatives)
}

/// For each `$or` the alternatives worth trying.
fn allowed<L: Leaves>(
    program: &Program,
    step: &Step,
    record: &L,
    scratch: &mut Vec<u8>,
    found: &mut [Vec<usize>],
) {
    match step {
        Step::Field(_) => {}
        Step::All(parts) => parts.iter().for_each(|part| allowed(program, part, record, scratch, found)),
        Step::Any { or, parts } => {
            for (position, part) in parts.iter().enumerate() {
                let verdict = program.verdict(part, record, scratch);
                if verdict == Verdict::Yes && !program.absence {
                    // It holds whatever is chosen and ties nothing: only an absence could gain from another one.
                    found[*or] = vec![position];
                } else if verdict != Verdict::No {
                    found[*or].push(position);
                }
                allowed(program, part, record, scratch, found);
                if verdict == Verdict::Yes && !program.absence {
                    break;
                }
            }
        }
    }
}

/// What one field may choose from.
#[derive(Default)]
struct Options {
    /// The leaves that match.
    matching: Ties,
    /// Every leaf, where the field may be absent.
    present: Ties,
    absent: bool,
}

impl Options {
    fn of<L: Leaves>(place: &Place, record: &L, scratch: &mut Vec<u8>) -> Options {
        let mut options = Options { absent: place.wanted.absent, ..Options::default() };
        record.each(place.slot, |leaf| {
            let holds = place.wanted.holds(record.text(leaf), record.may_escape(leaf), scratch);
            if holds || options.absent {
                let mut ties = Vec::new();
                record.ties(leaf, &mut ties);
                if options.absent {
                    options.present.add(&ties);
                }
                if holds {
                    options.matching.add(&ties);
                }
            }
            true
        });
        options
    }
}

/// The different ties of some leaves, found by element: joining large arrays must not compare each with each.
#[derive(Default)]
struct Ties {
    all: Vec<Vec<Tie>>,
    known: HashSet<Vec<Tie>>,
    /// Which of all stand inside an element.
    inside: HashMap<Tie, Vec<usize>>,
    /// How many of all stand inside an array.
    counts: HashMap<u64, usize>,
}

impl Ties {
    fn add(&mut self, ties: &[Tie]) {
        if !self.known.insert(ties.to_vec()) {
            return;
        }
        for tie in ties {
            self.inside.entry(*tie).or_default().push(self.all.len());
            *self.counts.entry(tie.array).or_default() += 1;
        }
        self.all.push(ties.to_vec());
    }

    /// Those that agree with what was chosen.
    fn agreeing<'a>(&'a self, chosen: &'a [Tie]) -> impl Iterator<Item = &'a [Tie]> {
        // Where all stand inside an array of which an element was chosen, only those inside that element can agree.
        let bound = chosen.iter().filter(|tie| self.counts.get(&tie.array) == Some(&self.all.len()));
        let few = bound
            .map(|tie| self.inside.get(tie).map_or(&[] as &[usize], Vec::as_slice))
            .min_by_key(|few| few.len());
        let all = if few.is_some() { 0 } else { self.all.len() };
        let found = few.unwrap_or_default().iter().copied().chain(0..all);
        found.map(|at| self.all[at].as_slice()).filter(|ties| agree(chosen, ties))
    }
}

struct Search<'a> {
    program: &'a Program,
    options: Vec<Options>,
    /// The alternative chosen of each `$or`, where one was.
    open: Vec<Option<usize>>,
    /// The last field that stands in an alternative of each `$or`.
    last_or: Vec<usize>,
    /// The last field that has leaves in each array.
    last_array: HashMap<u64, usize>,
    /// Where a choice failed already: a hash of the field and all that fields from it on can see.
    failed: HashSet<u64>,
}

impl Search<'_> {
    fn go(&mut self, mut position: usize, chosen: &mut Vec<Tie>, alternatives: &[Vec<usize>]) -> bool {
        let undecided = loop {
            let Some(place) = self.program.fields.get(position) else { return true };
            match place.inside.iter().find(|(or, alternative)| self.open[*or] != Some(*alternative)) {
                Some((or, _)) if self.open[*or].is_some() => position += 1,
                undecided => break undecided,
            }
        };
        let state = self.state(position, chosen);
        if self.failed.contains(&state) {
            return false;
        }
        let found = match undecided {
            Some(&(or, _)) => {
                let found = alternatives[or].iter().any(|&alternative| {
                    self.open[or] = Some(alternative);
                    self.go(position, chosen, alternatives)
                });
                self.open[or] = None;
                found
            }
            None => self.choose(position, chosen, alternatives),
        };
        if !found {
            self.failed.insert(state);
        }
        found
    }

    fn choose(&mut self, position: usize, chosen: &mut Vec<Tie>, alternatives: &[Vec<usize>]) -> bool {
        let options = std::mem::take(&mut self.options[position]);
        let before = chosen.len();
        let absent = options.absent && options.present.agreeing(chosen).next().is_none();
        let found = (absent && self.go(position + 1, chosen, alternatives)) || {
            let so_far = chosen.clone();
            options.matching.agreeing(&so_far).any(|ties| {
                chosen.extend(ties.iter().filter(|tie| !so_far.contains(tie)));
                let found = self.go(position + 1, chosen, alternatives);
                chosen.truncate(before);
                found
            })
        };
        self.options[position] = options;
        found
    }

    fn state(&self, position: usize, chosen: &[Tie]) -> u64 {
        let mut seen: Vec<Tie> = chosen
            .iter()
            .filter(|tie| self.last_array.get(&tie.array).is_some_and(|last| *last >= position))
            .copied()
            .collect();
        seen.sort_unstable();
        let choices =
            self.open.iter().zip(&self.last_or).map(|(choice, last)| choice.filter(|_| *last >= position));
        FixedState::default().hash_one((position, seen, choices.collect::<Vec<_>>()))
    }
}

fn agree(chosen: &[Tie], ties: &[Tie]) -> bool {
    ties.iter().all(|tie| chosen.iter().all(|other| other.array != tie.array || other.index == tie.index))
}
