//! Patterns under a fuzzer: the compiled form against the slow, obvious one.

use std::sync::Arc;

use super::choices::Choices;
use super::compile::{MatchScratch, PatternSet};
use super::json::Json;
use super::view::Written;
use super::{Pattern, slow};
use crate::record::scan::ScanLimits;
use crate::record::{Scan, Scanner, Slots};

/// Patterns a set may have here: its answer is one word of bits.
const MOST: usize = 8;

/// Either text (it begins with `{`): patterns, one a line, an empty line, and events, one a line. Or choices, of which
/// patterns and events are made. All patterns in one set must say of each event what the slow form says of it.
///
/// # Panics
/// When they do not.
pub fn pattern(data: &[u8]) {
    let (patterns, events) = match data {
        [b'{', ..] => match std::str::from_utf8(data) {
            Ok(text) => of_text(text),
            Err(_) => return,
        },
        _ => {
            let mut choices = Choices::new(data.iter().copied(), false);
            let patterns = (0..5).map(|_| choices.pattern()).collect();
            (patterns, (0..4).map(|_| choices.event()).collect())
        }
    };
    let parsed: Vec<Pattern> =
        patterns.iter().filter_map(|text| Pattern::parse_json(text).ok()).take(MOST).collect();
    if parsed.is_empty() {
        return;
    }
    let mut slots = Slots::default();
    let set = PatternSet::compile(&parsed.iter().collect::<Vec<_>>(), &mut slots);
    let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
    let mut scratch = MatchScratch::default();
    for event in events.iter().chain(&events) {
        // What the slow form does not look into (too deep, half a surrogate pair) or tells apart (a key that stands
        // twice may hold two arrays of one path) is not compared.
        if !Json::parse(event).is_ok_and(|json| matches!(json, Json::Object(_)) && !has_twins(&json)) {
            continue;
        }
        let start = event.len() - event.trim_start().len();
        let scan = scanner.scan(event.as_bytes(), start);
        assert_eq!(scan, Scan::Record { end: event.trim_end().len() }, "{event}");
        let view = Written::new(event.as_bytes(), &scanner);
        let matched = set.matches(&view, &mut scratch).first().copied().unwrap_or(0);
        for (number, pattern) in parsed.iter().enumerate() {
            let expected = slow::matches(pattern, event);
            assert_eq!(matched >> number & 1 == 1, expected, "pattern {number} of {patterns:#?} ~ {event}");
        }
        assert_eq!(set.any(&view, &mut scratch), matched != 0, "any of {patterns:#?} ~ {event}");
    }
}

fn of_text(text: &str) -> (Vec<String>, Vec<String>) {
    let (patterns, events) = text.split_once("\n\n").unwrap_or((text, "{}"));
    let lines = |text: &str, most| text.lines().take(most).map(str::to_owned).collect();
    (lines(patterns, MOST), lines(events, MOST))
}

/// Whether a list or an object stands below a key that stands twice.
fn has_twins(json: &Json<'_>) -> bool {
    match json {
        Json::Object(members) => members.iter().enumerate().any(|(at, (key, value))| {
            let holds = |value: &Json<'_>| matches!(value, Json::Object(_) | Json::List(_));
            let is_twin = members[..at].iter().any(|(other, before)| other == key && holds(before));
            is_twin && holds(value) || has_twins(value)
        }),
        Json::List(elements) => elements.iter().any(has_twins),
        _ => false,
    }
}
