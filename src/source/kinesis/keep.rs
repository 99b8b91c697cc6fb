//! Where it is kept how far shards are settled: the program's own state, or a table of leases.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mark::Checkpoint;
use super::table::{Change, Table};
use crate::clock::Timestamp;
use crate::source::Build;
use crate::state::{Op, StateError, Store};

/// Tables that are remembered, at most: one of them may be put back.
const MOST_IDS: usize = 16;

/// How far shards are settled, by their ids.
pub(super) type Known = BTreeMap<Arc<str>, Checkpoint>;

/// Where it is kept.
pub(super) enum Keep {
    /// In the state.
    State(Ledger),
    /// In a table of leases, once that is found. The state keeps which checkpoints those are.
    Leases(OnceLock<Table>, Ledger),
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
            Keep::Leases(table, _) => table.get(),
        }
    }

    /// What the state keeps.
    pub(super) fn ledger(&self) -> &Ledger {
        match self {
            Keep::State(ledger) | Keep::Leases(_, ledger) => ledger,
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
            Keep::Leases(table, _) => table.get(),
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
/// | `kinesis/PIPELINE/SOURCE` | nothing | [`Begun`], as JSON; with leases, nothing else |
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
    /// Where it is kept how far shards are settled; `None`: in the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<Kept>,
}

impl Begun {
    /// The id that its checkpoints in a table have now.
    pub(super) fn id(&self) -> Option<&String> {
        self.table.as_ref()?.ids.last()
    }

    /// From when on it is read, in words.
    pub(super) fn shown(&self) -> String {
        match self.from {
            None => "trim_horizon".to_owned(),
            Some(from) => Timestamp(from.saturating_mul(1_000_000)).to_string(),
        }
    }
}

/// The checkpoints in a table of leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The table's name.
    pub(super) name: String,
    /// The random ids that these checkpoints have had, the last one behind: the table has it, too.
    pub(super) ids: Vec<String>,
}

impl Kept {
    /// Checkpoints that have this id now, and had those.
    pub(super) fn of(name: &str, ids: &[String], id: &str) -> Kept {
        let mut ids: Vec<String> = ids.iter().filter(|old| *old != id).cloned().collect();
        ids.push(id.to_owned());
        let first = ids.len().saturating_sub(MOST_IDS);
        Kept { name: name.to_owned(), ids: ids.split_off(first) }
    }
}

impl Ledger {
    pub(super) fn new(build: &Build<'_>) -> Ledger {
        Ledger::of(build.store.clone(), build.pipeline, build.name)
    }

    pub(super) fn of(store: Arc<Store>, pipeline: &str, source: &str) -> Ledger {
        Ledger { store, space: format!("{}{pipeline}/{source}", super::SPACES).into() }
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
