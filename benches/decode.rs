//! Speed of decoding against its parts: libdeflate in one go, then the scan of every record. CPU time, interleaved,
//! median of five, MB of decompressed text a second.
//!
//! `cargo bench --bench decode`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops at what it did not expect, and prints"
)]

use std::hint::black_box;
use std::sync::Arc;

use trailship::decode::{Buffer, Decode, Input, Item, Limits, Tools};
use trailship::generate::{Generator, Options, Profile};
use trailship::record::{Scan, ScanLimits, Scanner, Slots};

const BYTES: u64 = 48 << 20;
const ROUNDS: usize = 5;

fn generated(file_bytes: u64) -> Vec<Vec<u8>> {
    let options =
        Options { bytes: BYTES, kinds: false, file_bytes: Some(file_bytes), ..Options::new(Profile::Mixed) };
    let mut generator = Generator::new(&options).unwrap();
    let mut files = Vec::new();
    while let Some(object) = generator.next_object() {
        files.push(object.body.to_vec());
    }
    files
}

/// Nanoseconds this thread has been on a processor.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(6).unwrap());
    let mut out = vec![0; compressor.gzip_compress_bound(text.len())];
    let length = compressor.gzip_compress(text, &mut out).unwrap();
    out.truncate(length);
    out
}

/// What decoding cannot be faster than.
fn parts(
    inflate: &mut libdeflater::Decompressor,
    scanner: &mut Scanner,
    buffer: &mut Vec<u8>,
    stored: &[u8],
) -> u64 {
    let length = u32::from_le_bytes(*stored.last_chunk::<4>().unwrap()) as usize;
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    inflate.gzip_decompress(stored, &mut buffer[..length]).unwrap();
    let (text, mut records) = (&buffer[..length], 0);
    let mut at = text.windows(11).position(|window| window == b"\"Records\":[").unwrap() + 11;
    while text[at] == b'{' {
        match scanner.scan(text, at) {
            Scan::Record { end } => at = end,
            other => panic!("{other:?}"),
        }
        records += 1;
        at += usize::from(text[at] == b',');
    }
    records
}

fn decode(tools: &mut Tools, scanner: &mut Scanner, buffer: &mut Buffer, mut input: Input<'_>) -> u64 {
    let (mut decode, mut records) = (Decode::new(Limits::default()), 0);
    buffer.clear();
    loop {
        decode.fill(tools, &mut input, buffer).unwrap();
        loop {
            match decode.next(scanner, buffer) {
                Item::Record { span, .. } => records += u64::from(black_box(span.end) > 0),
                Item::WindowEnd => break,
                Item::End => return records,
                item => panic!("{item:?}"),
            }
        }
    }
}

fn main() {
    println!("MB/s                          parts   whole  ratio   in steps  ratio");
    for (name, file_bytes) in
        [("files of 1.5 MB", 1_500_000), ("files of 25 kB", 25_000), ("files of 20 MB", 20 << 20)]
    {
        measure(name, &generated(file_bytes));
    }
}

fn measure(name: &str, texts: &[Vec<u8>]) {
    let bytes: usize = texts.iter().map(Vec::len).sum();
    let stored: Vec<Vec<u8>> = texts.iter().map(|text| gzip(text)).collect();
    let lines: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| {
            let records = text.strip_prefix(b"{\"Records\":[").unwrap().strip_suffix(b"]}").unwrap();
            let text = String::from_utf8(records.to_vec())
                .unwrap()
                .replace("},{\"eventVersion\"", "}\n{\"eventVersion\"");
            text.into_bytes()
        })
        .collect();
    let scanner = || Scanner::new(Arc::new(Slots::default()), ScanLimits::default());
    let mut scanners = [scanner(), scanner(), scanner(), scanner()];
    let (mut inflate, mut plain) = (libdeflater::Decompressor::new(), Vec::new());
    let (mut tools, mut buffer) = (Tools::default(), Buffer::default());
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..=ROUNDS {
        let mut records = [0_u64; 4];
        let start = cpu();
        for one in &stored {
            records[0] += parts(&mut inflate, &mut scanners[0], &mut plain, one);
        }
        times[0].push(cpu() - start);
        let start = cpu();
        for one in &stored {
            records[1] += decode(&mut tools, &mut scanners[1], &mut buffer, Input::Whole(one));
        }
        times[1].push(cpu() - start);
        let start = cpu();
        for one in &stored {
            records[2] += decode(&mut tools, &mut scanners[2], &mut buffer, Input::Read(&mut one.as_slice()));
        }
        times[2].push(cpu() - start);
        let start = cpu();
        for one in &lines {
            records[3] += decode(&mut tools, &mut scanners[3], &mut buffer, Input::Whole(one));
        }
        times[3].push(cpu() - start);
        assert!(records.iter().all(|number| *number == records[0]), "{records:?}");
    }
    let rate = |number: usize| {
        let mut times: Vec<u64> = times[number][1..].to_vec();
        times.sort_unstable();
        bytes as f64 * 1000.0 / times[times.len() / 2] as f64
    };
    let (parts, whole, steps, lines) = (rate(0), rate(1), rate(2), rate(3));
    println!(
        "{name:26} {parts:8.0} {whole:7.0} {:6.2} {steps:10.0} {:6.2}   plain lines {lines:.0}",
        whole / parts,
        steps / parts
    );
}
