//! What the state keeps of a bucket: a cursor for each partition, the names seen of late, and the objects on their way.
//!
//! | space | key | value |
//! |---|---|---|
//! | `s3/PIPELINE/SOURCE` | a partition's prefix | its [`Cursor`], as JSON |
//! | `s3/PIPELINE/SOURCE` | nothing | a [`Cursor`] for partitions that are found later: from when on they are ours |
//! | `s3/PIPELINE/SOURCE/seen` | prefix, `0x00`, hour (8 bytes) | hashes of names, 8 bytes each |
//! | `s3/PIPELINE/SOURCE/waiting` | an object's key | [`Waiting`], as JSON |
//!
//! A listing's news (cursor, seen, waiting) are one commit, before any of them is lent: so what is not settled is known,
//! whenever the program ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keys::Minute;
use super::partition::{Cursor, Listed, News, Partition};
use crate::source::Build;
use crate::state::{Op, StateError, Store};

/// An object that was listed and is not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// Bytes.
    pub(super) size: u64,
    /// Its tag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) tag: String,
    /// How often it could not be had for a reason of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) failures: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The state's side of the source.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    store: Arc<Store>,
    bucket: Arc<str>,
    cursors: Arc<str>,
    seen: Arc<str>,
    waiting: Arc<str>,
}

impl Ledger {
    /// The spaces of one source of one pipeline; a range of time has spaces of its own.
    pub(super) fn new(build: &Build<'_>, bucket: &str, range: Option<&str>) -> Ledger {
        let mut cursors = format!("s3/{}/{}", build.pipeline, build.name);
        if let Some(range) = range {
            cursors = format!("{cursors}/{range}");
        }
        let (seen, waiting) = (format!("{cursors}/seen").into(), format!("{cursors}/waiting").into());
        Ledger { store: build.store.clone(), bucket: bucket.into(), cursors: cursors.into(), seen, waiting }
    }

    /// Partitions as the runs before left them, by prefix, and the objects that were not settled, in order. The partition
    /// without a prefix stands for all that are found later.
    ///
    /// # Errors
    /// The state cannot be read.
    #[expect(clippy::type_complexity, reason = "two lists, said in the line above")]
    pub(super) fn load(&self) -> Result<(BTreeMap<String, Partition>, Vec<(String, Waiting)>), StateError> {
        let mut partitions = BTreeMap::new();
        let mut strange = 0_u64;
        self.store.each(&self.cursors, |key, value| {
            match (std::str::from_utf8(key), serde_json::from_slice::<Cursor>(value)) {
                (Ok(prefix), Ok(cursor)) => {
                    partitions.insert(prefix.to_owned(), Partition::restored(prefix.to_owned(), cursor));
                }
                _ => strange += 1,
            }
        })?;
        self.store.each(&self.seen, |key, value| {
            let Some((prefix, hour)) = key.split_last_chunk::<8>() else { return };
            let prefix = std::str::from_utf8(&prefix[..prefix.len().saturating_sub(1)]).unwrap_or_default();
            if let Some(partition) = partitions.get_mut(prefix) {
                let hashes =
                    value.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
                partition.remember(i64::from_be_bytes(*hour), hashes);
            }
        })?;
        let mut waiting = Vec::new();
        self.store.each(&self.waiting, |key, value| {
            match (std::str::from_utf8(key), serde_json::from_slice::<Waiting>(value)) {
                (Ok(key), Ok(object)) => waiting.push((key.to_owned(), object)),
                _ => strange += 1,
            }
        })?;
        if strange > 0 {
            tracing::warn!(space = %self.cursors, entries = strange, "state of another version: what it told of is listed again");
        }
        Ok((partitions, waiting))
    }

    /// The changes that a page's news are.
    pub(super) fn news(&self, partition: &Partition, news: &News) -> Vec<Op> {
        let mut ops = vec![self.cursor(partition)];
        for &hour in &news.hours {
            let value = partition.seen(hour).iter().flat_map(|hash| hash.to_be_bytes()).collect();
            ops.push(Op::Put { space: self.seen.clone(), key: hour_key(&partition.prefix, hour), value });
        }
        for &hour in &news.forgotten {
            ops.push(Op::Delete { space: self.seen.clone(), key: hour_key(&partition.prefix, hour) });
        }
        for Listed { key, size, tag } in &news.objects {
            ops.push(self.waits(key, &Waiting { size: *size, tag: tag.clone(), failures: 0 }));
        }
        ops
    }

    /// From when on partitions are ours that are found later, also by later runs.
    pub(super) fn begins(&self, floor: Minute) -> Op {
        self.cursor(&Partition::new(String::new(), floor))
    }

    /// A partition's cursor.
    pub(super) fn cursor(&self, partition: &Partition) -> Op {
        let cursor = Cursor { bucket: self.bucket.to_string(), ..partition.cursor.clone() };
        let value = serde_json::to_vec(&cursor).unwrap_or_default();
        Op::Put { space: self.cursors.clone(), key: partition.prefix.as_bytes().to_vec(), value }
    }

    /// An object is not settled.
    pub(super) fn waits(&self, key: &str, object: &Waiting) -> Op {
        let value = serde_json::to_vec(object).unwrap_or_default();
        Op::Put { space: self.waiting.clone(), key: key.as_bytes().to_vec(), value }
    }

    /// An object is settled.
    pub(super) fn settled(&self, key: &str) -> Op {
        Op::Delete { space: self.waiting.clone(), key: key.as_bytes().to_vec() }
    }

    /// Makes changes durable. Does not block the task that waits.
    ///
    /// # Errors
    /// The state cannot be written, in words.
    pub(super) async fn commit(&self, ops: Vec<Op>) -> Result<(), String> {
        let store = self.store.clone();
        let committed = tokio::task::spawn_blocking(move || store.commit(&ops)).await;
        committed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

fn hour_key(prefix: &str, hour: i64) -> Vec<u8> {
    let mut key = prefix.as_bytes().to_vec();
    key.push(0);
    key.extend(hour.to_be_bytes());
    key
}
