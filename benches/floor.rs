//! The floor of the main job: read each file, inflate it in one shot, split `Records` with serde_json's `RawValue`
//! (which validates). Whatever ships CloudTrail must do at least this much.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct LogFile<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<&'a RawValue>,
}

/// Goes through a tree with this many threads; returns records and decompressed bytes.
pub(crate) fn run(tree: &Path, threads: usize) -> (u64, u64) {
    let files = files(tree);
    let next = AtomicUsize::new(0);
    let sums = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&files, &next))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    sums.into_iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

fn work(files: &[PathBuf], next: &AtomicUsize) -> (u64, u64) {
    let mut inflater = libdeflater::Decompressor::new();
    let mut text = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
        let stored = fs::read(file).unwrap();
        let size = u32::from_le_bytes(stored[stored.len() - 4..].try_into().unwrap()) as usize;
        if text.len() < size {
            text.resize(size, 0);
        }
        let length = inflater.gzip_decompress(&stored, &mut text[..size]).unwrap();
        let file: LogFile<'_> = serde_json::from_slice(&text[..length]).unwrap();
        records += file.records.len() as u64;
        bytes += length as u64;
    }
    (records, bytes)
}

/// The log files of a tree, sorted.
pub(crate) fn files(tree: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = walkdir::WalkDir::new(tree)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    files.sort();
    files
}
