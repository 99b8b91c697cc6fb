//! Rejects: what cannot be shipped, kept with its address.
//!
//! Each entry is one file in `data_dir/rejects`, named by time and sequence: a first line of JSON (the manifest: pipeline,
//! stage, sink, object, and for each item its reason and where it was), then the original bytes, item after item. It is
//! written under a hidden name, synced, and renamed: an entry is whole or not there. A place that is full or cannot be
//! written keeps the delivery unacknowledged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::telemetry::trouble::Trouble;

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
    /// Format of the entry, now 1.
    pub version: u32,
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
    /// Opens the place, making it (0700) where it is missing, and counts what it holds. `now` names the entries.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path, max_size: u64, max_age: Duration, now: Timestamp) -> io::Result<Rejects> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut size = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                // A crash left it half written; its delivery was not acknowledged, so it comes again.
                let _ = fs::remove_file(entry.path());
            } else if let Ok(facts) = entry.metadata() {
                size += facts.len();
            }
        }
        let first = u64::try_from(now.0 / 1_000).unwrap_or(0);
        let folder = folder.to_path_buf();
        Ok(Rejects {
            folder,
            max_size,
            max_age,
            size: AtomicU64::new(size),
            sequence: AtomicU64::new(first),
            trouble: Trouble::default(),
        })
    }

    /// Bytes held.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stores one entry durably: `bytes` are the items' bytes, one after the other. Blocks (a file is synced).
    ///
    /// # Errors
    /// The place is full or cannot be written: nothing is stored, the delivery must not be acknowledged.
    pub fn store(&self, manifest: &Manifest, bytes: &[&[u8]]) -> Result<PathBuf, RejectError> {
        let mut head = serde_json::to_vec(manifest).map_err(|error| self.failed(error.into()))?;
        head.push(b'\n');
        let length = head.len() as u64 + bytes.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if self.size.fetch_add(length, Ordering::Relaxed) + length > self.max_size {
            self.size.fetch_sub(length, Ordering::Relaxed);
            return Err(RejectError::Full {
                folder: self.folder.display().to_string(),
                max_size: self.max_size,
            });
        }
        let name = format!("{:020}.reject", self.sequence.fetch_add(1, Ordering::Relaxed));
        let written = self.write(&name, &head, bytes);
        if written.is_err() {
            self.size.fetch_sub(length, Ordering::Relaxed);
        }
        written.map_err(|error| self.failed(error))
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
            fs::rename(&hidden, &path)?;
            File::open(&self.folder)?.sync_all()
        })();
        if made.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        made.map(|()| path)
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

/// Reads an entry: its manifest, and the bytes of its items.
///
/// # Errors
/// What is wrong with the file, in words.
pub fn read_entry(path: &Path) -> Result<(Manifest, Vec<Vec<u8>>), String> {
    let said = |error: &dyn std::fmt::Display| format!("reading {}: {error}", path.display());
    let text = fs::read(path).map_err(|error| said(&error))?;
    let end = memchr::memchr(b'\n', &text).ok_or_else(|| said(&"no manifest line"))?;
    let manifest: Manifest = serde_json::from_slice(&text[..end]).map_err(|error| said(&error))?;
    let mut rest = &text[end + 1..];
    let mut pieces = Vec::with_capacity(manifest.items.len().min(1 << 16));
    for item in &manifest.items {
        let length = usize::try_from(item.length).unwrap_or(usize::MAX);
        let Some((piece, after)) = rest.split_at_checked(length) else {
            return Err(said(&"it is shorter than its manifest says"));
        };
        pieces.push(piece.to_vec());
        rest = after;
    }
    if rest.is_empty() { Ok((manifest, pieces)) } else { Err(said(&"it is longer than its manifest says")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(reason: &str, length: u64) -> Item {
        Item {
            reason: reason.into(),
            offset: 7,
            length,
            record: Some(3),
            continues: false,
            token_removed: false,
        }
    }

    fn manifest(items: Vec<Item>) -> Manifest {
        let object = "AWSLogs/x.json.gz".into();
        Manifest {
            version: 1,
            pipeline: "siem".into(),
            stage: "decode".into(),
            object,
            items,
            ..Manifest::default()
        }
    }

    #[test]
    fn an_entry_reads_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("rejects");
        let rejects = Rejects::open(&place, 10_000, Duration::from_secs(60), Timestamp(5_000)).unwrap();
        let entry = manifest(vec![item("bad", 3), item("worse", 0), item("worst", 2)]);
        let path = rejects.store(&entry, &[b"a\nb", b"", b"cd"]).unwrap();
        assert_eq!(read_entry(&path).unwrap(), (entry, vec![b"a\nb".to_vec(), vec![], b"cd".to_vec()]));
        let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap()) & 0o777;
        assert_eq!((mode(&path), mode(&place)), (0o600, 0o700));
        assert_eq!(rejects.size(), fs::metadata(&path).unwrap().len());
        let reopened = Rejects::open(&place, 10_000, Duration::from_secs(60), Timestamp(5_000)).unwrap();
        assert_eq!(reopened.size(), rejects.size());
    }

    #[test]
    fn a_full_place_stores_nothing_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let rejects = Rejects::open(folder.path(), 300, Duration::from_secs(60), Timestamp(0)).unwrap();
        let refused = rejects.store(&manifest(vec![item("big", 400)]), &[&[0; 400]]).unwrap_err();
        assert!(refused.to_string().contains("rejects.max_size"), "{refused}");
        assert_eq!((rejects.size(), fs::read_dir(folder.path()).unwrap().count()), (0, 0));
    }

    #[test]
    fn old_entries_are_tidied_away() {
        let folder = tempfile::tempdir().unwrap();
        let rejects = Rejects::open(folder.path(), 10_000, Duration::from_secs(60), Timestamp(0)).unwrap();
        let path = rejects.store(&manifest(vec![item("bad", 1)]), &[b"x"]).unwrap();
        assert_eq!(rejects.tidy(Timestamp(0)), 0);
        assert_eq!(rejects.tidy(Timestamp::from_seconds(5_000_000_000)), 1);
        assert!(!path.exists());
        assert_eq!(rejects.size(), 0);
    }

    #[test]
    fn a_file_that_does_not_hold_what_it_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let head = serde_json::to_string(&manifest(vec![item("bad", 5)])).unwrap();
        for text in ["", "no json\n", &format!("{head}\n1234"), &format!("{head}\n123456")] {
            fs::write(&path, text).unwrap();
            assert!(read_entry(&path).is_err());
        }
    }
}
