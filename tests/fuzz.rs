//! Every fuzz target for three seconds on its corpus, with a simple mutator, on the stable compiler. `fuzz/run` gives
//! the same functions to a fuzzer that sees where they go.
//!
//! `TRAILSHIP_FUZZ_SECONDS` sets another time, `TRAILSHIP_FUZZ_SEED` repeats a run. What a target could not stand is
//! printed with its seed and kept in a file; copied into the target's corpus, it is tried first ever after.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::print_stderr, reason = "a seed that is not shown cannot be tried again")]
#![allow(clippy::disallowed_methods, reason = "how long a target runs is told by the real clock")]

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

#[path = "fuzz/seeds.rs"]
mod seeds;

/// What a fuzzer calls: panics when a promise is broken.
type Target = fn(&[u8]);

/// Names of the targets and their functions.
const TARGETS: [(&str, Target); 12] = [
    ("bulk", trailship::sink::opensearch::bulk::fuzz::bulk),
    ("config", trailship::config::fuzz::config),
    ("decode", trailship::decode::fuzz::decode),
    ("documents", trailship::sink::opensearch::document::fuzz::documents),
    ("firehose", trailship::source::firehose::fuzz::firehose),
    ("flatten", trailship::encode::fuzz::flatten),
    ("hec", trailship::sink::splunk_hec::fuzz::hec),
    ("kinesis", trailship::source::kinesis::fuzz::kinesis),
    ("pattern", trailship::pattern::fuzz::pattern),
    ("record", trailship::record::fuzz::record),
    ("rejects", trailship::pipeline::rejects::fuzz::rejects),
    ("template", trailship::sink::template::fuzz::template),
];

/// Largest input, bytes.
const LARGEST: usize = 16 << 10;

/// Pieces of the languages that are read here.
const WORDS: [&[u8]; 32] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\n",
    b"\n\n",
    b"\xff",
    b"\0",
    b"{}",
    b"[]",
    b"null",
    b"1e9",
    b"\\u0061",
    b"\\ud800",
    b"\"a\":1,",
    b"},{",
    b"..",
    b"{account}",
    b"/",
    b"=",
    b"[sources.x]\n",
    b"true",
    b"-0",
    b"\"Records\":[",
    b"\"eventVersion\":\"1.08\",",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\xc3\xa9",
];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The corpus of a target: its own files, sorted, and those of `TRAILSHIP_FUZZ_EXTRA/TARGET`.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let own = project("fuzz/corpus").join(target);
    let extra = std::env::var_os("TRAILSHIP_FUZZ_EXTRA").map(|folder| Path::new(&folder).join(target));
    let files = walkdir::WalkDir::new(own).sort_by_file_name().into_iter();
    let extra = extra.into_iter().flat_map(|folder| walkdir::WalkDir::new(folder).sort_by_file_name());
    files
        .chain(extra)
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|entry| fs::read(entry.path()).unwrap())
        .collect()
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Changes a seed in up to eight places.
fn mutated(corpus: &[Vec<u8>], random: &mut Xoshiro256StarStar) -> Vec<u8> {
    let mut below = |end: usize| usize::try_from(random.next_u64() % end.max(1) as u64).unwrap();
    let mut input = corpus[below(corpus.len())].clone();
    for _ in 0..=below(8) {
        let (at, other) = (below(input.len() + 1), &corpus[below(corpus.len())]);
        let most = if below(4) == 0 { 512 } else { 16 };
        let to = (at + below(most)).min(input.len());
        let from = below(other.len());
        let piece = &other[from..(from + below(256)).min(other.len())];
        match below(7) {
            0 => _ = input.splice(at..at, WORDS[below(WORDS.len())].iter().copied()),
            1 => _ = input.splice(at..to, WORDS[below(WORDS.len())].iter().copied()),
            2 => _ = input.drain(at..to),
            3 => _ = input.splice(at..to, piece.iter().copied()),
            4 => {
                let again = input[at..to].to_vec();
                input.splice(at..at, again);
            }
            5 if at < input.len() => input[at] ^= 1 << below(8),
            _ if at < input.len() => input[at] = u8::try_from(below(256)).unwrap(),
            _ => {}
        }
    }
    input.truncate(LARGEST);
    input
}

/// Runs a target on its corpus as it is, then on changed pieces of it until the time is over.
fn run(target: &str) {
    let (_, function) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no corpus for {target}");
    let seed = number("TRAILSHIP_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(target));
    let time = Duration::from_secs(number("TRAILSHIP_FUZZ_SECONDS").unwrap_or(3));
    let mut random = Xoshiro256StarStar::seed_from_u64(seed);
    let began = Instant::now();
    let mut tried = 0;
    while tried < corpus.len() || began.elapsed() < time {
        let input = corpus.get(tried).cloned().unwrap_or_else(|| mutated(&corpus, &mut random));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| function(&input))) {
            let kept = std::env::temp_dir().join(format!("trailship-fuzz-{target}-{seed}-{tried}"));
            fs::write(&kept, &input).unwrap();
            eprintln!("{target}: seed {seed}, input {tried}, kept in {}", kept.display());
            std::panic::resume_unwind(panic);
        }
        tried += 1;
    }
    eprintln!("{target}: {tried} inputs, seed {seed}");
}

/// One test for each target, so that they run beside each other.
macro_rules! tests {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            run(stringify!($target));
        })*

        #[test]
        fn every_target_is_small_and_stands_here_too() {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($target)),*]);
            let mut files = Vec::new();
            for entry in fs::read_dir(project("fuzz/fuzz_targets")).unwrap() {
                let path = entry.unwrap().path();
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                assert!((8..=12).contains(&lines), "{} has {lines} lines", path.display());
                files.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
            }
            files.sort();
            assert_eq!(files, names);
        }
    };
}

tests!(bulk, config, decode, documents, firehose, flatten, hec, kinesis, pattern, record, rejects, template);
