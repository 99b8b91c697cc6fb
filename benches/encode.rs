//! Speed of encoding: what each shape adds to the scan.
//!
//! Interleaved; each block of 32 records counts with its fastest round, so that a busy machine is not measured.
//!
//! `cargo bench --bench encode`; further arguments name the data sets to measure. Real records are measured where
//! `TRAILSHIP_CORPUS` names a folder of them.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first thing that is wrong, and prints"
)]

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use trailship::encode::{Arrays, Encoder, Flatten, Nested, Shape};
use trailship::generate::{Generator, Options, Profile};
use trailship::record::overlay::{Fragment, Overlay, Parent};
use trailship::record::protect::Protection;
use trailship::record::{Identity, Record, Scan, ScanLimits, Scanner, Slots, Span};

const BYTES: u64 = 24 << 20;
const ROUNDS: usize = 9;
/// Records that are timed together.
const BLOCK: usize = 32;
/// Output is thrown away when it has this many bytes: a sink's chunk.
const CHUNK: usize = 512 << 10;

/// Records one behind the other, and where each starts.
struct Data {
    name: &'static str,
    text: Vec<u8>,
    starts: Vec<usize>,
}

#[derive(serde::Deserialize)]
struct File<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'a RawValue>,
}

impl Data {
    fn new(name: &'static str) -> Data {
        Data { name, text: Vec::new(), starts: Vec::new() }
    }

    fn push(&mut self, record: &str) {
        self.starts.push(self.text.len());
        self.text.extend_from_slice(record.as_bytes());
        self.text.push(b',');
    }

    fn generated(name: &'static str, profile: Profile, fresh_keys: usize, large: f64) -> Data {
        let options = Options { bytes: BYTES, fresh_keys, large, kinds: false, ..Options::new(profile) };
        let mut generator = Generator::new(&options).unwrap();
        let mut data = Data::new(name);
        while let Some(object) = generator.next_object() {
            let file: File<'_> = serde_json::from_slice(object.body).unwrap();
            file.records.iter().for_each(|record| data.push(record.get()));
        }
        data
    }

    /// Real records in random order; compact, as trails are.
    fn corpus() -> Option<Data> {
        let root = std::env::var_os("TRAILSHIP_CORPUS")?;
        let mut records: Vec<String> = Vec::new();
        for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().flatten() {
            let Ok(text) = std::fs::read(entry.path()) else { continue };
            let found = serde_json::from_slice::<File<'_>>(&text).map(|file| file.records);
            if let Ok(found) = found.or_else(|_| serde_json::from_slice(&text)) {
                records.extend(found.into_iter().map(|record| record.get().to_owned()));
            }
        }
        records.retain(|record| {
            record.starts_with('{')
                && record.contains("\"eventName\"")
                && !record.contains('\n')
                && record.len() < 100_000
        });
        let (mut state, mut data) = (1_u64, Data::new("real"));
        while !records.is_empty() && (data.text.len() as u64) < BYTES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            data.push(&records[usize::try_from(state >> 33).unwrap() % records.len()]);
        }
        Some(data)
    }

    /// Scans every record, and encodes it if asked; lowers each block's time to this round's.
    fn run(
        &self,
        scanner: &mut Scanner,
        mut encoder: Option<&mut Encoder>,
        overlay: &mut Overlay,
        out: &mut Vec<u8>,
        best: &mut [Duration],
    ) {
        for (starts, best) in self.starts.chunks(BLOCK).zip(best) {
            let before = now();
            for &start in starts {
                let Scan::Record { end } = scanner.scan(&self.text, start) else {
                    panic!("no record at {start}")
                };
                black_box(scanner.leaves());
                let Some(encoder) = encoder.as_deref_mut() else { continue };
                let span = Span { start: u32::try_from(start).unwrap(), end: u32::try_from(end).unwrap() };
                let identity = Identity::default();
                let record = Record {
                    buffer: &self.text,
                    span,
                    index: scanner,
                    overlay,
                    identity,
                    protection: Protection::default(),
                    families: 0,
                };
                encoder.encode(&record, out);
                out.push(b'\n');
                if out.len() > CHUNK {
                    black_box(&out);
                    out.clear();
                }
            }
            *best = (*best).min(before.elapsed());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let sets = [
        Some(Data::generated("mixed", Profile::Mixed, 0, 0.0)),
        Some(Data::generated("management", Profile::Management, 0, 0.0)),
        Some(Data::generated("fresh keys", Profile::Mixed, 1, 0.0)),
        Some(Data::generated("large", Profile::Mixed, 0, 0.005)),
        Data::corpus(),
    ];
    let flat = Flatten::default();
    let shapes = [
        ("nested", Shape::Nested(Nested::default())),
        ("flat", Shape::Flat(flat.clone())),
        ("flat, arrays by index", Shape::Flat(Flatten { arrays: Arrays::Index, ..flat.clone() })),
        ("flat, all of it", Shape::Flat(Flatten { arrays: Arrays::Index, keep_json: Vec::new(), ..flat })),
    ];
    let members =
        br#""id":"123456789012","name":"payments-prod","environment":"prod","tags":{"owner":"team-a"}"#;
    let fragment = Rc::new(Fragment { id: 1, members: members[..].into(), leaves: Vec::new() });
    let mut overlay = Overlay { added: vec![(Parent::Account, fragment)], ..Overlay::default() };
    for data in
        sets.iter().flatten().filter(|data| wanted.is_empty() || wanted.iter().any(|name| name == data.name))
    {
        let scanner = || Scanner::new(Arc::new(Slots::default()), ScanLimits::default());
        let mut out = Vec::with_capacity(2 * CHUNK);
        let worst = vec![Duration::MAX; data.starts.len().div_ceil(BLOCK)];
        let (mut plain, mut plain_best) = (scanner(), worst.clone());
        let mut rows: Vec<_> = shapes
            .iter()
            .map(|(name, shape)| (*name, scanner(), Encoder::new(Arc::new(shape.clone())), worst.clone()))
            .collect();
        for _ in 0..ROUNDS {
            data.run(&mut plain, None, &mut overlay, &mut out, &mut plain_best);
            for (_, scanner, encoder, best) in &mut rows {
                data.run(scanner, Some(encoder), &mut overlay, &mut out, best);
            }
        }
        let megabytes = data.text.len() as f64 / 1e6;
        let cost = |best: &[Duration]| best.iter().sum::<Duration>().as_secs_f64() * 1e3 / megabytes;
        let scan = cost(&plain_best);
        println!("{}: {} records, {megabytes:.1} MB", data.name, data.starts.len());
        println!("  scan                    {:6.0} MB/s  {scan:.3} ms/MB", 1e3 / scan);
        for (name, _, _, best) in &rows {
            let whole = cost(best);
            println!("  + {name:21} {:6.0} MB/s  {whole:.3} ms/MB, adds {:.3}", 1e3 / whole, whole - scan);
        }
    }
}
