//! Which problems have been said, and how often each came up since.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tracing::callsite::Identifier;

use super::Line;
use crate::clock::Timestamp;

/// How long a problem is only counted before it may be said again.
const QUIET: Duration = Duration::from_secs(600);
/// Problems told apart of one place in the program; the others of that place count as one.
const APART: usize = 16;
/// Fields that say whose problem it is. Others (an address, a size) differ from time to time.
const WHOSE: [&str; 11] = [
    "pipeline",
    "source",
    "sink",
    "transform",
    "except",
    "account",
    "reason",
    "shard",
    "region",
    "place",
    "error",
];

/// The problems of one run. Bounded: the places in the program that report problems, times [`APART`].
#[derive(Default)]
pub(super) struct Told {
    places: HashMap<Identifier, HashMap<String, Problem>>,
    /// Numbers problems in the order they first came up.
    next: u64,
}

struct Problem {
    number: u64,
    said: Timestamp,
    /// Times it came up since it was said.
    since: u64,
    last: Line,
}

impl Told {
    /// Counts a problem. Returns how often it came up since it was said last, this time included, when it is to be said
    /// now.
    pub(super) fn met(&mut self, place: Identifier, line: &Line, now: Timestamp) -> Option<u64> {
        let problems = self.places.entry(place).or_default();
        let mut which = which(line);
        if problems.len() >= APART && !problems.contains_key(&which) {
            which.clear();
        }
        let Some(problem) = problems.get_mut(&which) else {
            self.next += 1;
            let last = Line { level: line.level, ..Line::default() };
            problems.insert(which, Problem { number: self.next, said: now, since: 0, last });
            return Some(1);
        };
        problem.since += 1;
        if now.since(problem.said) < QUIET {
            problem.last = line.clone();
            return None;
        }
        problem.said = now;
        Some(std::mem::take(&mut problem.since))
    }

    /// Takes what was counted and not said, in the order the problems first came up.
    pub(super) fn rest(&mut self) -> Vec<(Line, u64)> {
        let mut problems: Vec<&mut Problem> = self
            .places
            .values_mut()
            .flat_map(HashMap::values_mut)
            .filter(|problem| problem.since > 0)
            .collect();
        problems.sort_by_key(|problem| problem.number);
        problems
            .into_iter()
            .map(|problem| (problem.last.clone(), std::mem::take(&mut problem.since)))
            .collect()
    }
}

/// What makes a problem of one place the same problem.
fn which(line: &Line) -> String {
    let mut which = line.message.clone();
    for (name, value) in &line.fields {
        if WHOSE.contains(name) {
            which.push('\u{1f}');
            match value {
                Value::String(value) => which.push_str(value),
                value => which.push_str(&value.to_string()),
            }
        }
    }
    which
}
