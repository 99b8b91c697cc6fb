//! Our patterns against AWS's own Event Ruler 2.1.0: its recorded answers everywhere, itself where Java and Maven are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use trailship::pattern::choices::Choices;
use trailship::pattern::{MatchScratch, Pattern, PatternSet, Written, slow};
use trailship::record::scan::ScanLimits;
use trailship::record::{Scan, Scanner, Slots};

#[path = "event_ruler/deviations.rs"]
mod deviations;
#[path = "event_ruler/oracle.rs"]
mod oracle;

use deviations::Words;
use oracle::Question;

/// How many made-up pairs are compared at least, the kept-out ones not counted.
const PAIRS: usize = 100_000;

/// A row of `table.tsv`.
struct Row {
    pattern: String,
    event: String,
    /// What Event Ruler says; `None`: it refuses the pattern.
    ruler: Option<bool>,
    /// What we say.
    ours: Option<bool>,
    /// Why the two differ; empty: they do not.
    why: String,
}

fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/event_ruler/table.tsv");
    let text = fs::read_to_string(path).unwrap();
    let answer = |text: &str| match text {
        "1" => Some(true),
        "0" => Some(false),
        "R" => None,
        other => panic!("answer {other:?}"),
    };
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [pattern, event, ruler, ours, why] = columns[..] else { panic!("five columns: {line}") };
        Row {
            pattern: pattern.into(),
            event: event.into(),
            ruler: answer(ruler),
            ours: answer(ours),
            why: why.into(),
        }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

/// What the slow road and the fast one say, which must be one.
fn ours(pattern: &str, event: &str) -> Option<bool> {
    let parsed = Pattern::parse_json(pattern).ok()?;
    let slow = slow::matches(&parsed, event);
    let mut slots = Slots::default();
    let set = PatternSet::compile(&[&parsed], &mut slots);
    let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
    let scan = scanner.scan(event.as_bytes(), 0);
    assert!(matches!(scan, Scan::Record { .. }), "{event}");
    let fast = set.any(&Written::new(event.as_bytes(), &scanner), &mut MatchScratch::default());
    assert_eq!(fast, slow, "{pattern} ~ {event}");
    Some(slow)
}

#[test]
fn every_row_of_the_table_has_the_answer_we_give() {
    let rows = table();
    assert!(rows.len() >= 200, "{} rows", rows.len());
    for Row { pattern, event, ruler, ours: expected, why } in rows {
        assert_eq!(ours(&pattern, &event), expected, "{pattern} ~ {event}");
        assert_eq!(
            ruler == expected,
            why.is_empty(),
            "a difference has a reason, and only a difference: {pattern} ~ {event}"
        );
    }
}

#[test]
fn event_ruler_itself_says_the_same() {
    let rows = table();
    let recorded = rows.iter().map(|row| Question {
        pattern: row.pattern.clone(),
        event: row.event.clone(),
        branches: vec![],
    });
    let mut questions: Vec<Question> = recorded.collect();
    let mut random = Xoshiro256StarStar::seed_from_u64(2_100);
    let bytes = std::iter::from_fn(move || Some(random.next_u32().to_be_bytes()[0]));
    let mut choices = Choices::new(bytes, false);
    let mut kept_out: BTreeMap<&str, usize> = BTreeMap::new();
    while questions.len() < rows.len() + PAIRS {
        let pattern = choices.pattern();
        for event in [choices.event(), choices.event()] {
            let words = (Words::of(&pattern), Words::of(&event));
            let branches = deviations::branches(&pattern);
            let reason = deviations::ALL
                .iter()
                .find(|(_, concerns)| concerns(&words.0, &words.1))
                .map(|(name, _)| *name);
            match (reason, branches) {
                (Some(name), _) => *kept_out.entry(name).or_default() += 1,
                (None, None) => *kept_out.entry("a path twice on one branch").or_default() += 1,
                (None, Some(branches)) => {
                    questions.push(Question { pattern: pattern.clone(), event, branches })
                }
            }
        }
    }
    let answers = match oracle::ask(&questions) {
        Ok(answers) => answers,
        Err(reason) => return eprintln!("skipped: Event Ruler cannot be asked here ({reason})"),
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (position, (question, (whole, branches))) in questions.iter().zip(answers).enumerate() {
        let Question { pattern, event, .. } = question;
        if let Some(row) = rows.get(position) {
            if row.ruler != whole {
                wrong.push(format!("recorded {:?}, now {whole:?}: {pattern} ~ {event}", row.ruler));
            }
            continue;
        }
        // A pattern that is asked branch by branch is accepted as it stands.
        let theirs = if whole.is_some() { branches.unwrap_or(whole) } else { None };
        let ours = Pattern::parse_json(pattern).ok().map(|parsed| slow::matches(&parsed, event));
        *counts.entry(format!("{ours:?}")).or_default() += 1;
        if ours != theirs {
            wrong.push(format!("ours {ours:?}, theirs {theirs:?}: {pattern} ~ {event}"));
        }
    }
    eprintln!("compared {}: {counts:?}; kept out: {kept_out:?}", questions.len() - rows.len());
    let shown = wrong.len().min(20);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..shown].join("\n"));
}
