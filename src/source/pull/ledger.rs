//! What the state keeps of lanes.
//!
//! | space | key | value |
//! |---|---|---|
//! | `KIND/PIPELINE/SOURCE` | the lane's name: a region, or nothing | its [`Cursor`], as JSON |
//! | `KIND/PIPELINE/SOURCE/seen` | the lane's name, `0x00`, minute of the newest event, a hash (8 bytes each) | time and id of each event of a delivery, 8 bytes each |
//!
//! A range of time has spaces of its own, named below the source. What is settled is one commit: the ids, and how far everything
//! is settled with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lane::Cursor;
use crate::source::Build;
use crate::state::{Op, StateError, Store};

/// The ids of one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Times, in milliseconds, and ids.
    pub(super) events: Vec<(i64, u64)>,
}

/// The name of an entry of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    pub(super) minute: i64,
    pub(super) hash: u64,
}

impl Seen {
    /// Its name in the state.
    pub(super) fn known(&self) -> Known {
        let newest = self.events.iter().map(|(time, _)| *time).max().unwrap_or_default();
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        self.events.iter().for_each(|(_, id)| hasher.update(&id.to_be_bytes()));
        Known { minute: newest.div_euclid(60_000), hash: hasher.digest() }
    }

    fn read(value: &[u8]) -> Seen {
        let pairs = value.as_chunks::<16>().0.iter().map(|pair| {
            let (time, id) = pair.split_at(8);
            let part = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or_default();
            (part(time).cast_signed(), part(id))
        });
        Seen { events: pairs.collect() }
    }
}

/// What the runs before left of a lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) cursor: Cursor,
    pub(super) seen: Vec<Seen>,
}

/// The state's side of the source.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Arc<Store>,
    cursors: Arc<str>,
    seen: Arc<str>,
}

impl Ledger {
    /// The spaces of one source of one pipeline; a range of time has spaces of its own.
    pub(super) fn new(build: &Build<'_>, spaces: &str, range: Option<&str>) -> Ledger {
        let mut cursors = format!("{spaces}{}/{}", build.pipeline, build.name);
        if let Some(range) = range {
            cursors = format!("{cursors}/{range}");
        }
        Ledger { store: build.store.clone(), seen: format!("{cursors}/seen").into(), cursors: cursors.into() }
    }

    /// Lanes as the runs before left them, by name.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(super) fn load(&self) -> Result<BTreeMap<String, Kept>, StateError> {
        let mut lanes = BTreeMap::new();
        let mut strange = 0_u64;
        self.store.each(&self.cursors, |key, value| {
            match (std::str::from_utf8(key), Cursor::read(value)) {
                (Ok(name), Some(cursor)) => {
                    lanes.insert(name.to_owned(), Kept { cursor, seen: Vec::new() });
                }
                _ => strange += 1,
            }
        })?;
        self.store.each(&self.seen, |key, value| {
            let name = key.split_last_chunk::<17>().and_then(|(name, _)| std::str::from_utf8(name).ok());
            if let Some(kept) = name.and_then(|name| lanes.get_mut(name)) {
                kept.seen.push(Seen::read(value));
            }
        })?;
        if strange > 0 {
            tracing::warn!(space = %self.cursors, entries = strange, "state of another version: what it told of is read again");
        }
        Ok(lanes)
    }

    /// How far a lane is.
    pub(super) fn cursor(&self, lane: &str, cursor: &Cursor) -> Op {
        let value = serde_json::to_vec(cursor).unwrap_or_default();
        Op::Put { space: self.cursors.clone(), key: lane.as_bytes().to_vec(), value }
    }

    /// A delivery of a lane is settled.
    pub(super) fn seen(&self, lane: &str, seen: &Seen) -> Op {
        let pairs = seen.events.iter();
        let value = pairs.flat_map(|(time, id)| [time.to_be_bytes(), id.to_be_bytes()]).flatten().collect();
        Op::Put { space: self.seen.clone(), key: key(lane, seen.known()), value }
    }

    /// Ids that nobody needs any more.
    pub(super) fn forgets(&self, lane: &str, known: Known) -> Op {
        Op::Delete { space: self.seen.clone(), key: key(lane, known) }
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

fn key(lane: &str, known: Known) -> Vec<u8> {
    let mut key = lane.as_bytes().to_vec();
    key.push(0);
    key.extend(known.minute.to_be_bytes());
    key.extend(known.hash.to_be_bytes());
    key
}
