//! Speed of the scan against `serde_json`'s `RawValue` split: CPU time, interleaved, median of five.
//!
//! `cargo bench --bench scan`; further arguments name the data sets to measure. Real records are measured where
//! `TRAILSHIP_CORPUS` names a folder of them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops at what it did not expect, and prints"
)]

use std::hint::black_box;
use std::sync::Arc;

use serde_json::value::RawValue;
use trailship::generate::{Generator, Options, Profile};
use trailship::record::identity::{IdentitySlots, ObjectFacts};
use trailship::record::protect::ProtectSlots;
use trailship::record::{Scan, ScanLimits, Scanner, Slots, Span};

const BYTES: u64 = 32 << 20;
const ROUNDS: usize = 5;

/// Makes the files of a data set.
type Make<'a> = &'a dyn Fn() -> Vec<Vec<u8>>;

#[derive(serde::Deserialize)]
struct File<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'a RawValue>,
}

fn generated(profile: Profile, fresh_keys: usize) -> Vec<Vec<u8>> {
    let options = Options {
        bytes: BYTES,
        fresh_keys,
        kinds: false,
        file_bytes: Some(1 << 20),
        ..Options::new(profile)
    };
    let mut generator = Generator::new(&options).unwrap();
    let mut files = Vec::new();
    while let Some(object) = generator.next_object() {
        files.push(object.body.to_vec());
    }
    files
}

/// Real records in random order, in files of a thousand.
fn corpus() -> Vec<Vec<u8>> {
    let Some(root) = std::env::var_os("TRAILSHIP_CORPUS") else { return Vec::new() };
    let mut records = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().flatten() {
        let Ok(text) = std::fs::read(entry.path()) else { continue };
        if let Ok(File { records: found }) = serde_json::from_slice(&text) {
            records.extend(found.into_iter().map(|record| record.get().to_owned()));
        } else if let Ok(found) = serde_json::from_slice::<Vec<&RawValue>>(&text) {
            records.extend(found.into_iter().map(|record| record.get().to_owned()));
        } else {
            let stream = serde_json::Deserializer::from_slice(&text).into_iter::<&RawValue>();
            records.extend(stream.map_while(Result::ok).map(|record| record.get().to_owned()));
        }
    }
    records.retain(|record| {
        record.starts_with('{') && record.contains("\"eventName\"") && record.len() < 100_000
    });
    let (mut state, mut made, mut files) = (1_u64, 0, Vec::new());
    while !records.is_empty() && made < BYTES {
        let mut file = String::from("{\"Records\":[");
        for number in 0..1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = usize::try_from(state >> 33).unwrap() % records.len();
            file.push_str(if number > 0 { "," } else { "" });
            file.push_str(&records[pick]);
        }
        file.push_str("]}");
        made += u64::try_from(file.len()).unwrap();
        files.push(file.into_bytes());
    }
    files
}

/// Nanoseconds this thread has been on a processor.
fn cpu() -> u64 {
    // The kernel brings the count up to date when it looks for another thread to run.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Calls `each` with every record of a file.
fn walk(scanner: &mut Scanner, file: &[u8], mut each: impl FnMut(&Scanner, Span)) {
    let mut at = file.windows(11).position(|window| window == b"\"Records\":[").unwrap() + 11;
    while file[at] == b'{' {
        let start = u32::try_from(at).unwrap();
        match scanner.scan(file, at) {
            Scan::Record { end } => at = end,
            other => panic!("{other:?}"),
        }
        each(scanner, Span { start, end: u32::try_from(at).unwrap() });
        at += usize::from(file[at] == b',');
    }
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| name.contains(wanted.as_str()));
    println!("MB/s                        RawValue   scan  ratio   +identity, protection   ns/record of it");
    let sets: [(&str, Make<'_>); 5] = [
        ("mixed", &|| generated(Profile::Mixed, 0)),
        ("management", &|| generated(Profile::Management, 0)),
        ("real records, shuffled", &corpus),
        ("mixed, 1 fresh key", &|| generated(Profile::Mixed, 1)),
        ("mixed, 20 fresh keys", &|| generated(Profile::Mixed, 20)),
    ];
    for (name, make) in sets {
        if wanted(name) {
            measure(name, &make());
        }
    }
}

fn measure(name: &str, files: &[Vec<u8>]) {
    let mut slots = Slots::default();
    let identity = IdentitySlots::want(&mut slots);
    let protect = ProtectSlots::want(&mut slots);
    let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
    let bytes: usize = files.iter().map(Vec::len).sum();
    let mut times = [const { Vec::new() }; 3];
    let mut records = 0;
    for _ in 0..=ROUNDS {
        let start = cpu();
        for file in files {
            black_box(serde_json::from_slice::<File<'_>>(file).unwrap().records.len());
        }
        times[0].push(cpu() - start);

        let start = cpu();
        for file in files {
            walk(&mut scanner, file, |scanner, _| {
                black_box(scanner.leaves());
            });
        }
        times[1].push(cpu() - start);

        let start = cpu();
        records = 0;
        for file in files {
            walk(&mut scanner, file, |scanner, span| {
                let identity = identity.read(scanner, file, span, &ObjectFacts::default());
                black_box(protect.read(scanner, file, &identity));
                black_box(identity);
                records += 1;
            });
        }
        times[2].push(cpu() - start);
    }
    if bytes == 0 {
        println!("{name:<26}  skipped: no records");
        return;
    }
    // The first round warms up.
    let [raw, scan, read] = times.map(|mut times| {
        times.remove(0);
        times.sort_unstable();
        times[ROUNDS / 2]
    });
    let speed = |time: u64| 1000.0 * bytes as f64 / time as f64;
    println!(
        "{name:<26}    {:>6.0} {:>6.0}   {:>4.2}                  {:>6.0}            {:>6.0}",
        speed(raw),
        speed(scan),
        speed(scan) / speed(raw),
        speed(read),
        (read as f64 - scan as f64) / f64::from(records)
    );
}
