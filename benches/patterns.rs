//! What patterns cost per record: ten and five hundred with an `eventName` of their own, and the shipped families.
//!
//! `cargo bench --bench patterns`. Records are scanned before the clock starts, each by a scanner of its own, and then
//! matched in turn, again and again: the figures are CPU time for matching alone, with warm caches, the least of
//! several passes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops at what it did not expect"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use trailship::generate::{Generator, Options, Profile};
use trailship::pattern::{MatchScratch, Pattern, PatternSet, Written, family};
use trailship::record::scan::ScanLimits;
use trailship::record::{Scanner, Slots};

/// JSON bytes the records are chosen from.
const BYTES: u64 = 8 << 20;
/// How many records are matched in turn.
const RECORDS: usize = 256;
/// How often in a pass.
const ROUNDS: usize = 1_000;
const PASSES: usize = 9;

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
    let slots = Arc::new(slots);
    let every = (starts.len() / RECORDS).max(1);
    let scanned: Vec<(usize, Scanner)> = starts
        .iter()
        .step_by(every)
        .map(|&start| {
            let mut scanner = Scanner::new(slots.clone(), ScanLimits::default());
            // Twice: what is met again is kept.
            black_box((scanner.scan(&buffer, start), scanner.scan(&buffer, start)));
            (start, scanner)
        })
        .collect();
    let mut scratch = MatchScratch::default();
    let mut best = vec![f64::MAX; compiled.len()];
    let mut matched = vec![0usize; compiled.len()];
    for _ in 0..PASSES {
        for (at, (_, set)) in compiled.iter().enumerate() {
            let mut found = 0;
            let began = cpu();
            for _ in 0..ROUNDS {
                for (_, scanner) in &scanned {
                    let bits = set.matches(&Written::new(&buffer, black_box(scanner)), &mut scratch);
                    found += bits.iter().map(|word| word.count_ones() as usize).sum::<usize>();
                }
            }
            best[at] = best[at].min(cpu() - began);
            matched[at] = found / ROUNDS;
        }
    }
    let count = scanned.len();
    let cost: Vec<f64> = best
        .iter()
        .map(|seconds| seconds * 1e9 / f64::from(u32::try_from(count * ROUNDS).unwrap()))
        .collect();
    println!(
        "{count} of {} records with {} names, {:?} bytes in all",
        starts.len(),
        names.len(),
        buffer.len()
    );
    for ((what, set), (cost, matched)) in compiled.iter().zip(cost.iter().zip(&matched)) {
        println!("{what}: {cost:.1} ns a record ({} patterns, {matched} matches)", set.len());
    }
    println!(
        "500 to 10: {:.2} times where none matches, {:.2} times where most do",
        cost[1] / cost[0],
        cost[3] / cost[2]
    );
}

/// Seconds this thread has spent on a CPU, as the scheduler counts; elsewhere the time of day.
fn cpu() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(
        || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64(),
        |nanoseconds| nanoseconds / 1e9,
    )
}
