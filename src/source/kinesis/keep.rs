//! Where it is kept how far shards are settled: the program's own state, or a table of leases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mark::Checkpoint;
use crate::source::Build;
use crate::state::{Op, StateError, Store};

/// How far shards are settled, by their ids.
pub(super) type Known = BTreeMap<Arc<str>, Checkpoint>;

/// Where it is kept.
pub(super) enum Keep {
    /// In the state.
    State(Ledger),
}

impl Keep {
    /// How often it is kept, at most: each time costs something.
    pub(super) fn every(&self) -> Duration {
        match self {
            Keep::State(_) => Duration::ZERO,
        }
    }

    /// Keeps how far shards are settled, durable on return. Returns those that are somebody else's by now.
    ///
    /// # Errors
    /// It cannot be kept, in words.
    pub(super) async fn put(&self, changed: &[(Arc<str>, Checkpoint)]) -> Result<Vec<Arc<str>>, String> {
        match self {
            Keep::State(ledger) => ledger.put(changed).await.map(|()| Vec::new()),
        }
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
