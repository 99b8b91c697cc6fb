//! Rejects: what cannot be shipped, kept with its address.
//!
//! Each entry is one file in `data_dir/rejects`, named by time and sequence: a first line of JSON (the manifest: pipeline,
//! stage, sink, object, and for each item its reason and where it was), then the original bytes, item after item. It is
//! written under a hidden name, synced, and renamed: an entry is whole or not there. A place that is full or cannot be
//! written keeps the delivery unacknowledged.
//!
//! Entries are claimed by rename, so that several programs may look, remove and ship again at a time: `N.reject` is free,
//! `N.replaying` is being shipped again by whoever has the data directory's lock, and hidden names are leftovers.

pub mod entry;
#[doc(hidden)]
pub mod fuzz;
pub mod key;
pub mod shelf;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failpoint;
use crate::telemetry::trouble::Trouble;
use key::Key;

/// The format of entries.
pub const VERSION: u32 = 2;

/// One refused piece: a record, or a damaged byte range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Why, in words.
    pub reason: String,
    /// Offset of its first byte in the decompressed object (in the stored one where it does not decompress).
    pub offset: u64,
    /// Its bytes: how many of them stand in this entry.
    pub length: u64,
    /// The record's number in the object, from 0; a damaged range has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<u64>,
    /// More bytes of the same damaged range stand in the next entry.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub continues: bool,
    /// A live session token was taken out of the bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub token_removed: bool,
}

/// Whose the items are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the entry: [`VERSION`].
    pub version: u32,
    /// The number in its name: a copy under another name is none.
    #[serde(default)]
    pub entry: u64,
    /// The pipeline that refused.
    pub pipeline: String,
    /// Where in it: `decode`, the transform's name, or `sink`.
    pub stage: String,
    /// The sink that refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sink: Option<String>,
    /// The object's address.
    pub object: String,
    /// When, RFC 3339.
    pub at: String,
    /// What follows, in order.
    pub items: Vec<Item>,
}

/// The place where rejects are kept. Shared by threads.
#[derive(Debug)]
pub struct Rejects {
    folder: PathBuf,
    key: Key,
    max_size: u64,
    max_age: Duration,
    size: AtomicU64,
    sequence: AtomicU64,
    /// Why nothing can be stored now.
    pub trouble: Trouble,
}

/// Why an entry was not stored.
#[derive(Debug, thiserror::Error)]
pub enum RejectError {
    /// The place is full: `rejects.max_size`.
    #[error(
        "rejects in {folder} have reached {max_size} bytes (`rejects.max_size`): ship or remove some, or raise the limit"
    )]
    Full {
        /// Where.
        folder: String,
        /// The limit, bytes.
        max_size: u64,
    },
    /// The place cannot be written.
    #[error("writing a reject in {folder}: {error}")]
    Write {
        /// Where.
        folder: String,
        /// What the system said.
        error: io::Error,
    },
}

impl Rejects {
    /// Opens the place, making it (0700) where it is missing, and counts what it holds. `now` names the entries. Whoever
    /// calls has the data directory to himself: claims of others are of the dead, and are given up.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(
        folder: &Path,
        key: Key,
        max_size: u64,
        max_age: Duration,
        now: Timestamp,
    ) -> io::Result<Rejects> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                // A crash left it half written; its delivery was not acknowledged, so it comes again.
                let _ = fs::remove_file(entry.path());
            }
        }
        shelf::release(folder)?;
        let first = u64::try_from(now.0 / 1_000).unwrap_or(0);
        let newest = shelf::numbers(folder)?.last().map_or(0, |(newest, _)| newest + 1);
        let (size, sequence) = (AtomicU64::new(held(folder)?), AtomicU64::new(first.max(newest)));
        Ok(Rejects {
            folder: folder.to_path_buf(),
            key,
            max_size,
            max_age,
            size,
            sequence,
            trouble: Trouble::default(),
        })
    }

    /// A place that keeps nothing, for dry runs.
    pub fn nowhere() -> Rejects {
        Rejects {
            folder: PathBuf::new(),
            key: Key::none(),
            max_size: 0,
            max_age: Duration::MAX,
            size: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            trouble: Trouble::default(),
        }
    }

    /// Bytes held.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Bytes it may hold.
    pub fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stores one entry durably: `bytes` are the items' bytes, one after the other. Blocks (a file is synced).
    ///
    /// # Errors
    /// The place is full or cannot be written: nothing is stored, the delivery must not be acknowledged.
    pub fn store(&self, mut manifest: Manifest, bytes: &[&[u8]]) -> Result<PathBuf, RejectError> {
        if self.folder.as_os_str().is_empty() {
            return Ok(PathBuf::new());
        }
        manifest.version = VERSION;
        manifest.entry = self.sequence.fetch_add(1, Ordering::Relaxed);
        let head = entry::head(&manifest, &self.key, bytes).map_err(|error| self.failed(error.into()))?;
        let length = head.len() as u64 + bytes.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if !self.takes(length) {
            return Err(RejectError::Full {
                folder: self.folder.display().to_string(),
                max_size: self.max_size,
            });
        }
        let written = self.write(&shelf::free(manifest.entry), &head, bytes);
        if written.is_err() {
            self.size.fetch_sub(length, Ordering::Relaxed);
        }
        written.map_err(|error| self.failed(error))
    }

    /// Takes the room for so many bytes, where there is.
    fn takes(&self, length: u64) -> bool {
        let take = || {
            let fits = self.size.fetch_add(length, Ordering::Relaxed) + length <= self.max_size;
            if !fits {
                self.size.fetch_sub(length, Ordering::Relaxed);
            }
            fits
        };
        // Other programs remove entries, too: it is counted anew before anything is turned away.
        take()
            || held(&self.folder).is_ok_and(|held| {
                self.size.store(held, Ordering::Relaxed);
                take()
            })
    }

    fn write(&self, name: &str, head: &[u8], bytes: &[&[u8]]) -> io::Result<PathBuf> {
        let hidden = self.folder.join(format!(".{name}"));
        let path = self.folder.join(name);
        let made = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden)?;
            file.write_all(head)?;
            for piece in bytes {
                file.write_all(piece)?;
            }
            file.sync_data()?;
            failpoint::here!("rejects.synced");
            fs::rename(&hidden, &path)?;
            failpoint::here!("rejects.renamed");
            File::open(&self.folder)?.sync_all()
        })();
        if made.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        made.map(|()| path)
    }

    /// The key its entries are sealed with.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Removes an entry that was claimed and has been shipped. Blocks.
    ///
    /// # Errors
    /// What the system says: it will be shipped once more.
    pub fn shipped(&self, number: u64) -> io::Result<()> {
        let path = self.folder.join(shelf::claimed(number));
        let length = fs::metadata(&path)?.len();
        fs::remove_file(&path)?;
        self.size.fetch_sub(length.min(self.size()), Ordering::Relaxed);
        File::open(&self.folder)?.sync_all()
    }

    fn failed(&self, error: io::Error) -> RejectError {
        RejectError::Write { folder: self.folder.display().to_string(), error }
    }

    /// Removes entries older than `rejects.max_age`; returns how many. Blocks.
    pub fn tidy(&self, now: Timestamp) -> u64 {
        let mut removed = 0;
        let Ok(entries) = fs::read_dir(&self.folder) else { return 0 };
        for entry in entries.flatten() {
            let Ok(facts) = entry.metadata() else { continue };
            if entry.file_name().to_str().and_then(shelf::number).is_none_or(|(_, claimed)| claimed) {
                continue;
            }
            let written =
                facts.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let Some(written) = written.and_then(|since| i64::try_from(since.as_nanos()).ok()) else {
                continue;
            };
            if now.since(Timestamp(written)) > self.max_age && fs::remove_file(entry.path()).is_ok() {
                self.size.fetch_sub(facts.len().min(self.size()), Ordering::Relaxed);
                removed += 1;
            }
        }
        removed
    }
}

/// Bytes of all files in the folder.
fn held(folder: &Path) -> io::Result<u64> {
    let lengths = fs::read_dir(folder)?.flatten().filter_map(|entry| entry.metadata().ok());
    Ok(lengths.map(|facts| facts.len()).sum())
}

#[cfg(test)]
mod tests;
