//! Where it is kept how far shards are settled: the program's own state, or a table of leases.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mark::Checkpoint;
use super::table::{Change, Table};
use crate::source::Build;
use crate::state::{Op, StateError, Store};

/// How far shards are settled, by their ids.
pub(super) type Known = BTreeMap<Arc<str>, Checkpoint>;

/// Where it is kept.
pub(super) enum Keep {
    /// In the state.
    State(Ledger),
    /// In a table of leases, once that is found.
    Leases(OnceLock<Table>),
}

/// What could not be kept.
#[derive(Debug, Default)]
pub(super) struct Unkept {
    /// Shards that are somebody else's by now.
    pub(super) lost: Vec<Arc<str>>,
    /// Shards of which it is tried again.
    pub(super) failed: Vec<Arc<str>>,
    /// Why, in words.
    pub(super) why: Option<String>,
}

impl Keep {
    /// The table of leases, where there is one.
    pub(super) fn table(&self) -> Option<&Table> {
        match self {
            Keep::State(_) => None,
            Keep::Leases(table) => table.get(),
        }
    }

    /// How long what is kept stands for a lease; `None`: there are none.
    pub(super) fn lasts(&self) -> Option<Duration> {
        self.table().map(|table| table.lasts)
    }

    /// How often it is kept, at most: each time costs something.
    pub(super) fn every(&self) -> Duration {
        self.lasts().map_or(Duration::ZERO, |lasts| lasts / 6)
    }

    /// How often it is kept, at least; `None`: only when there is something new.
    pub(super) fn renews(&self) -> Option<Duration> {
        self.lasts().map(|lasts| lasts / 4)
    }

    /// Keeps how far shards are settled, durable on return. `gives`: and gives their leases back.
    ///
    /// # Errors
    /// The state cannot be written, in words.
    pub(super) async fn put(
        &self,
        changed: &[(Arc<str>, Checkpoint)],
        gives: bool,
    ) -> Result<Unkept, String> {
        let mut unkept = Unkept::default();
        let table = match self {
            Keep::State(ledger) => return ledger.put(changed).await.map(|()| unkept),
            Keep::Leases(table) => table.get(),
        };
        let Some(table) = table else { return Ok(unkept) };
        let writes = changed.iter().map(|(shard, checkpoint)| table.write(shard, checkpoint, gives));
        for ((shard, _), written) in changed.iter().zip(futures_util::future::join_all(writes).await) {
            match written {
                Ok(Change::Made) => {}
                Ok(Change::Lost) => unkept.lost.push(shard.clone()),
                Err(why) => {
                    unkept.failed.push(shard.clone());
                    unkept.why = Some(why);
                }
            }
        }
        Ok(unkept)
    }
}

/// What the state keeps of a stream.
///
/// | space | key | value |
/// |---|---|---|
/// | `kinesis/PIPELINE/SOURCE` | a shard's id | its [`Checkpoint`], as JSON |
/// | `kinesis/PIPELINE/SOURCE` | nothing | [`Begun`], as JSON |
pub(super) struct Ledger {
    store: Arc<Store>,
    space: Arc<str>,
}

/// Which stream it is, and from when on it is read: written once, before anything is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Its name.
    pub(super) stream: String,
    /// Milliseconds since 1970; `None`: from the oldest record.
    pub(super) from: Option<i64>,
}

impl Ledger {
    pub(super) fn new(build: &Build<'_>) -> Ledger {
        let space = format!("{}{}/{}", super::SPACES, build.pipeline, build.name).into();
        Ledger { store: build.store.clone(), space }
    }

    /// What the runs before left.
    pub(super) fn load(&self) -> Result<(Option<Begun>, Known), StateError> {
        let (mut begun, mut shards, mut strange) = (None, Known::new(), 0_u64);
        self.store.each(&self.space, |key, value| {
            match (std::str::from_utf8(key), Checkpoint::read(value)) {
                (Ok(""), _) => begun = serde_json::from_slice(value).ok(),
                (Ok(shard), Some(checkpoint)) => _ = shards.insert(shard.into(), checkpoint),
                _ => strange += 1,
            }
        })?;
        if strange > 0 {
            tracing::warn!(space = %self.space, entries = strange, "state of another version: those shards are read from the beginning");
        }
        Ok((begun, shards))
    }

    /// Keeps when it has begun.
    pub(super) async fn begin(&self, begun: &Begun) -> Result<(), String> {
        let value = serde_json::to_vec(begun).unwrap_or_default();
        self.commit(vec![Op::Put { space: self.space.clone(), key: Vec::new(), value }]).await
    }

    /// Forgets shards that the stream has no more.
    pub(super) async fn forget(&self, shards: &[Arc<str>]) -> Result<(), String> {
        let delete =
            |shard: &Arc<str>| Op::Delete { space: self.space.clone(), key: shard.as_bytes().to_vec() };
        self.commit(shards.iter().map(delete).collect()).await
    }

    async fn put(&self, changed: &[(Arc<str>, Checkpoint)]) -> Result<(), String> {
        let put = |(shard, checkpoint): &(Arc<str>, Checkpoint)| Op::Put {
            space: self.space.clone(),
            key: shard.as_bytes().to_vec(),
            value: serde_json::to_vec(checkpoint).unwrap_or_default(),
        };
        self.commit(changed.iter().map(put).collect()).await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), String> {
        let store = self.store.clone();
        let committed = tokio::task::spawn_blocking(move || store.commit(&ops)).await;
        committed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}
