//! The compiled form agrees with the slow one on patterns and events that are made up.

use std::sync::Arc;

use proptest::prelude::*;

use super::choices::Choices;
use super::compile::{Leaves, MatchScratch, PatternSet, Tie};
use super::json::Json;
use super::view::Written;
use super::{Pattern, slow};
use crate::record::scan::ScanLimits;
use crate::record::{Scan, Scanner, SlotId, Slots};

/// An event's leaves by slot, found the plain way.
struct Plain {
    leaves: Vec<(SlotId, Vec<u8>, Vec<Tie>)>,
    /// Keys and positions that lead to each array.
    arrays: Vec<(String, Vec<u32>)>,
}

impl Plain {
    fn new(event: &str, slots: &Slots, escape: bool) -> Plain {
        let json = Json::parse(event).unwrap();
        let mut plain = Plain { leaves: Vec::new(), arrays: Vec::new() };
        plain.collect(&json, slots, escape, &mut Vec::new(), &mut Vec::new());
        plain
    }

    fn collect<'a>(
        &mut self,
        json: &'a Json<'a>,
        slots: &Slots,
        escape: bool,
        keys: &mut Vec<&'a str>,
        ties: &mut Vec<Tie>,
    ) {
        let value = match json {
            Json::Object(members) => {
                for (key, value) in members.iter().filter(|(key, _)| !key.is_empty()) {
                    keys.push(key);
                    self.collect(value, slots, escape, keys, ties);
                    keys.pop();
                }
                return;
            }
            Json::List(elements) => {
                let array = self.arrays.len() as u64;
                self.arrays.push((keys.join("."), ties.iter().map(|tie| tie.index).collect()));
                for (index, element) in (0u32..).zip(elements) {
                    let tied = matches!(element, Json::Object(_) | Json::List(_));
                    ties.extend(tied.then_some(Tie { array, index }));
                    self.collect(element, slots, escape, keys, ties);
                    ties.truncate(ties.len() - usize::from(tied));
                }
                return;
            }
            Json::Text(text) if escape => {
                let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                format!("\"{units}\"")
            }
            Json::Text(text) => serde_json::to_string(text).unwrap(),
            Json::Number(text) => text.to_string(),
            other => other.kind().to_owned(),
        };
        if let Some(slot) = slots.find(&keys.join(".")) {
            self.leaves.push((slot, value.into_bytes(), ties.clone()));
        }
    }

    /// Whether a repeated key made two arrays of one path: a scanned record does not tell them apart.
    fn has_twins(&self) -> bool {
        self.arrays.iter().enumerate().any(|(at, array)| self.arrays[..at].contains(array))
    }
}

impl Leaves for Plain {
    type Leaf = usize;

    fn each(&self, slot: SlotId, mut visit: impl FnMut(usize) -> bool) {
        for (at, leaf) in self.leaves.iter().enumerate() {
            if leaf.0 == slot && !visit(at) {
                return;
            }
        }
    }

    fn text(&self, leaf: usize) -> &[u8] {
        &self.leaves[leaf].1
    }

    fn is_tied(&self, leaf: usize) -> bool {
        !self.leaves[leaf].2.is_empty()
    }

    fn ties(&self, leaf: usize, ties: &mut Vec<Tie>) {
        ties.extend(&self.leaves[leaf].2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiled_patterns_match_what_slow_ones_match(bytes in prop::collection::vec(any::<u8>(), 0..900), escape in any::<bool>()) {
        let mut choices = Choices::new(bytes.into_iter(), true);
        let texts: Vec<String> = (0..5).map(|_| choices.pattern()).collect();
        let patterns: Vec<Pattern> = texts.iter().filter_map(|text| Pattern::parse_json(text).ok()).collect();
        let mut slots = Slots::default();
        let set = PatternSet::compile(&patterns.iter().collect::<Vec<_>>(), &mut slots);
        let mut scanner = Scanner::new(Arc::new(slots.clone()), ScanLimits::default());
        let mut scratch = MatchScratch::default();
        for _ in 0..4 {
            let event = choices.event();
            let plain = Plain::new(&event, &slots, escape);
            let matched = set.matches(&plain, &mut scratch).first().copied().unwrap_or(0);
            for (number, pattern) in patterns.iter().enumerate() {
                prop_assert_eq!(matched >> number & 1 == 1, slow::matches(pattern, &event), "{:?} ~ {}", pattern, event);
            }
            prop_assert_eq!(set.any(&plain, &mut scratch), matched != 0);
            if !plain.has_twins() {
                let scan = scanner.scan(event.as_bytes(), 0);
                prop_assert_eq!(scan, Scan::Record { end: event.len() });
                let seen = set.matches(&Written::new(event.as_bytes(), &scanner), &mut scratch);
                prop_assert_eq!(seen.first().copied().unwrap_or(0), matched, "{:?} ~ {}", texts, event);
            }
        }
    }
}
