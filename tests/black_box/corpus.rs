//! Other people's CloudTrail, where it is at hand: everything in it comes out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::here::{ARCHIVE, Here, id, unpacked};

/// The corpus, where the environment names it or it lies beside the project.
fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let found = std::env::var_os("TRAILSHIP_CORPUS").map_or(beside, PathBuf::from);
    if found.is_dir() {
        return Some(found);
    }
    eprintln!("skipped: no corpus");
    None
}

#[derive(serde::Deserialize)]
struct LogFile<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'a RawValue>,
}

/// How often each record is in a log file, as serde_json sees it, by its id.
fn expected(path: &Path, counts: &mut BTreeMap<String, u64>) {
    let stored = fs::read(path).unwrap();
    let text = if stored.starts_with(b"\x1f\x8b") { unpacked(&stored) } else { stored };
    let Ok(file) = serde_json::from_slice::<LogFile<'_>>(&text) else {
        panic!("{} is no log file", path.display());
    };
    for record in file.records {
        *counts.entry(key(record.get())).or_default() += 1;
    }
}

/// The record's id; one without an id is known by what it says.
fn key(record: &str) -> String {
    let id = id(record);
    if id != record {
        return id;
    }
    let mut event: Value = serde_json::from_str(record).unwrap();
    event.as_object_mut().unwrap().remove("trailship");
    event.to_string()
}

#[test]
fn every_record_of_the_corpus_comes_out() {
    let Some(corpus) = corpus() else { return };
    let mut counts = BTreeMap::new();
    let here = Here::with(ARCHIVE);
    let mut objects = 0;
    for entry in walkdir::WalkDir::new(corpus.join("trail")).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            objects += 1;
            expected(entry.path(), &mut counts);
            let below = entry.path().strip_prefix(&corpus).unwrap().to_str().unwrap();
            here.put(below, fs::read(entry.path()).unwrap());
        }
    }
    let ran = here.once();
    ran.ended(0);
    let mut got = BTreeMap::new();
    for line in here.lines("out") {
        *got.entry(key(&line)).or_default() += 1;
    }
    assert!(got == counts, "{objects} objects: {} ids came out of {}", got.len(), counts.len());
    let total: u64 = counts.values().sum();
    assert_eq!((ran.books().read, ran.books().delivered), (total, total));
    eprintln!("{objects} objects, {total} records");
}
