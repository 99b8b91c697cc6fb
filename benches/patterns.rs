//! What patterns cost per record: ten and five hundred with an `eventName` of their own, and the shipped families.
//!
//! `cargo bench --bench patterns`. Each figure is the time of scanning and matching less that of scanning alone, the
//! best of several passes over the same records.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops at what it did not expect"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;
use trailship::generate::{Generator, Options, Profile};
use trailship::pattern::{MatchScratch, Pattern, PatternSet, View, family};
use trailship::record::scan::ScanLimits;
use trailship::record::{Scanner, Slots};

/// JSON bytes of the records matched.
const BYTES: u64 = 16 << 20;
const PASSES: usize = 15;

#[derive(Deserialize)]
struct File<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "eventName")]
    event_name: Option<String>,
}

/// The records' texts one after the other, where each begins, and their names from the most frequent on.
fn records() -> (Vec<u8>, Vec<usize>, Vec<String>) {
    let mut generator = Generator::new(&Options { bytes: BYTES, ..Options::new(Profile::Mixed) }).unwrap();
    let (mut buffer, mut starts, mut names) = (Vec::new(), Vec::new(), HashMap::<String, usize>::new());
    while let Some(object) = generator.next_object() {
        let Ok(file) = serde_json::from_slice::<File<'_>>(object.body) else { continue };
        for record in file.records {
            starts.push(buffer.len());
            buffer.extend_from_slice(record.get().as_bytes());
            let named: Named = serde_json::from_str(record.get()).unwrap();
            *names.entry(named.event_name.unwrap_or_default()).or_default() += 1;
        }
    }
    let mut names: Vec<(usize, String)> = names.into_iter().map(|(name, count)| (count, name)).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    (buffer, starts, names.into_iter().map(|(_, name)| name).collect())
}

/// One pattern a name.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Pattern> {
    let text = |name| format!(r#"{{"eventName":["{name}"],"errorCode":[{{"exists":false}}]}}"#);
    names.map(|name| Pattern::parse_json(&text(name)).unwrap()).collect()
}

fn main() {
    let (buffer, starts, names) = records();
    let seen: Vec<&str> = names.iter().map(String::as_str).collect();
    let others: Vec<String> = (0..500).map(|number| format!("DescribeSomething{number}")).collect();
    let strange = |count: usize| others.iter().map(String::as_str).take(count);
    let families = family::shipped().unwrap();
    let sets: Vec<(&str, Vec<Pattern>)> = vec![
        ("10 patterns, names no record has", named(strange(10))),
        ("500 patterns, names no record has", named(strange(500))),
        ("10 patterns, the most frequent names", named(seen.iter().copied().take(10))),
        (
            "500 patterns, all names seen and others",
            named(seen.iter().copied().chain(strange(500)).take(500)),
        ),
        ("shipped families", families.iter().map(|family| family.pattern.clone()).collect()),
    ];
    let mut slots = Slots::default();
    let compiled: Vec<(&str, PatternSet)> = sets
        .iter()
        .map(|(what, patterns)| {
            (*what, PatternSet::compile(&patterns.iter().collect::<Vec<_>>(), &mut slots))
        })
        .collect();
    let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
    let mut scratch = MatchScratch::default();
    let mut best = vec![f64::MAX; compiled.len() + 1];
    let mut matched = vec![0usize; compiled.len()];
    for _ in 0..PASSES {
        for (at, best) in best.iter_mut().enumerate() {
            let set = at.checked_sub(1).map(|at| &compiled[at].1);
            let mut found = 0;
            let began = Instant::now();
            for &start in &starts {
                black_box(scanner.scan(&buffer, start));
                if let Some(set) = set {
                    let bits = set.matches(&View::scanned(&buffer, &scanner), &mut scratch);
                    found += bits.iter().map(|word| word.count_ones() as usize).sum::<usize>();
                }
            }
            *best = best.min(began.elapsed().as_secs_f64());
            if let Some(at) = at.checked_sub(1) {
                matched[at] = found;
            }
        }
    }
    let each = 1e9 / f64::from(u32::try_from(starts.len()).unwrap());
    println!(
        "{} records, {} bytes, {} names; scan alone {:.0} ns a record",
        starts.len(),
        buffer.len(),
        names.len(),
        best[0] * each
    );
    let cost: Vec<f64> = best[1..].iter().map(|with| (with - best[0]) * each).collect();
    for ((what, set), (cost, matched)) in compiled.iter().zip(cost.iter().zip(&matched)) {
        println!("{what}: {cost:.1} ns a record ({} patterns, {matched} matches)", set.len());
    }
    println!(
        "500 to 10: {:.2} times where none matches, {:.2} times where most do",
        cost[1] / cost[0],
        cost[3] / cost[2]
    );
}
