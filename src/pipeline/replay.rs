//! Ships rejects again: through the transforms, as they decide now, and only to the sink that refused (to all, where it
//! was refused before any sink saw it).
//!
//! An entry is claimed by rename, believed only after its keyed hash was checked over the very bytes that are shipped,
//! lent to its pipeline like any other delivery, and removed after the sinks have answered. What is refused again is in
//! rejects again, as a new entry, before the old one goes. A crash in the middle leaves the claim, which the next program
//! with this data directory gives up: the entry is there as before.

mod lane;
mod spool;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::line::Pipeline;
use super::rejects::{Manifest, Rejects, shelf};
use lane::End;
pub use lane::Lane;
use spool::{Piece, Spooled};

/// Entries that are claimed at a time: each has a copy on disk meanwhile.
const AT_ONCE: u32 = 8;
/// How long the end waits for entries whose answers are known to be removed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its number.
    pub id: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How the shipping of an entry ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The sinks have it, or a transform left it out on purpose; it is removed.
    Shipped {
        /// Records that the sinks took.
        records: u64,
    },
    /// Something of it was refused again, and stands in a new entry; this one is removed.
    Refused {
        /// Records that the sinks took.
        records: u64,
        /// Records and damaged ranges that were refused again.
        refused: u64,
    },
    /// It is there as before.
    Kept {
        /// Why.
        why: String,
    },
}

impl Outcome {
    fn kept(why: impl std::fmt::Display) -> Outcome {
        Outcome::Kept { why: why.to_string() }
    }
}

/// Takes requests to ship entries again, for all pipelines of an engine.
pub struct Replays {
    rejects: Arc<Rejects>,
    lanes: Vec<(Arc<Pipeline>, Arc<Lane>)>,
    room: Arc<Semaphore>,
}

impl std::fmt::Debug for Replays {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Replays").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

impl Replays {
    /// Lanes for these pipelines, into which the engine must put a feed each.
    pub fn new(rejects: Arc<Rejects>, pipelines: &[Arc<Pipeline>]) -> Replays {
        let lanes = pipelines.iter().map(|pipeline| (pipeline.clone(), Arc::new(Lane::default()))).collect();
        Replays { rejects, lanes, room: Arc::new(Semaphore::new(AT_ONCE as usize)) }
    }

    /// The lanes, in the order of the pipelines.
    pub fn lanes(&self) -> &[(Arc<Pipeline>, Arc<Lane>)] {
        &self.lanes
    }

    /// Ships entries again and tells what became of each. An entry that goes on in others takes them along.
    ///
    /// Cancel: what was begun goes on.
    pub async fn replay(self: Arc<Self>, ids: Vec<u64>, told: UnboundedSender<Told>) {
        let folder = self.rejects.folder().to_path_buf();
        let chains = tokio::task::spawn_blocking(move || spool::chains(&folder)).await;
        let chains: HashMap<u64, Arc<[u64]>> = match chains {
            Ok(Ok(chains)) => chains,
            Ok(Err(error)) => {
                return tell(&told, &ids, &Outcome::kept(format!("looking into rejects: {error}")));
            }
            Err(error) => return tell(&told, &ids, &Outcome::kept(error)),
        };
        let mut begun = HashSet::new();
        let mut tasks = Vec::new();
        for id in ids {
            if begun.contains(&id) {
                continue;
            }
            let entries = chains.get(&id).cloned().unwrap_or_else(|| [id].into());
            begun.extend(entries.iter().copied());
            let Ok(room) = self.room.clone().acquire_owned().await else { return };
            let (replays, told) = (self.clone(), told.clone());
            // A task of its own: whoever asked may go away, what was begun is brought to its end.
            tasks.push(tokio::spawn(async move {
                let outcome = replays.ship(entries.clone(), room).await;
                tell(&told, &entries, &outcome);
            }));
        }
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Ships one entry, or those that one damaged range goes through.
    async fn ship(&self, entries: Arc<[u64]>, _room: OwnedSemaphorePermit) -> Outcome {
        let (rejects, claiming) = (self.rejects.clone(), entries.clone());
        let claimed = tokio::task::spawn_blocking(move || claim(&rejects, &claiming)).await;
        let spooled = match claimed.map_err(io::Error::other) {
            Ok(Ok(spooled)) => spooled,
            Ok(Err(kept)) => return kept,
            Err(error) => return Outcome::kept(error),
        };
        let Spooled { manifest, pieces, empty } = spooled;
        let ended = match self.lend(&manifest, pieces) {
            Ok(ended) => ended.await.unwrap_or_else(|_| End::failed("the program is stopping")),
            Err(why) => End::failed(why),
        };
        let rejects = self.rejects.clone();
        let finished =
            tokio::task::spawn_blocking(move || finish(&rejects, &entries, ended, manifest, empty));
        finished.await.unwrap_or_else(Outcome::kept)
    }

    fn lend(
        &self,
        manifest: &Manifest,
        pieces: Vec<Piece>,
    ) -> Result<tokio::sync::oneshot::Receiver<End>, String> {
        let name = &manifest.pipeline;
        let Some((pipeline, lane)) = self.lanes.iter().find(|(pipeline, _)| *pipeline.name == **name) else {
            return Err(format!("there is no pipeline `{name}` in the configuration"));
        };
        if let Some(sink) = &manifest.sink
            && !pipeline.sinks.iter().any(|line| *line.name == **sink)
        {
            return Err(format!("pipeline `{name}` has no sink `{sink}` in the configuration"));
        }
        Ok(lane.ship(pieces, &manifest.object))
    }

    /// There will be no more requests: the lanes end when what was asked for is done.
    pub fn close(&self) {
        self.lanes.iter().for_each(|(_, lane)| lane.close(false));
    }

    /// Nothing more is lent: what was not begun is kept.
    pub fn stop(&self) {
        self.lanes.iter().for_each(|(_, lane)| lane.close(true));
    }

    /// Waits until what was answered is removed, and gives the rest back.
    pub async fn end(&self, drained: bool) {
        // What was not drained may never be answered.
        let patience = if drained { PATIENCE } else { Duration::ZERO };
        let all = tokio::time::timeout(patience, self.room.acquire_many(AT_ONCE)).await;
        self.room.close();
        if all.is_ok() {
            // An entry that somebody still holds stays claimed until the next start.
            let folder = self.rejects.folder().to_path_buf();
            let _ = tokio::task::spawn_blocking(move || shelf::release(&folder)).await;
        }
    }
}

fn tell(told: &UnboundedSender<Told>, ids: &[u64], outcome: &Outcome) {
    for (number, id) in ids.iter().enumerate() {
        // Of entries that belong together, the first has the records.
        let outcome = match outcome {
            Outcome::Shipped { .. } | Outcome::Refused { .. } if number > 0 => {
                Outcome::Shipped { records: 0 }
            }
            outcome => outcome.clone(),
        };
        // Whoever asked may have gone.
        let _ = told.send(Told { id: *id, outcome });
    }
}

/// Takes entries, checks them and copies what is to be shipped. Blocks.
fn claim(rejects: &Rejects, entries: &[u64]) -> Result<Spooled, Outcome> {
    let folder = rejects.folder();
    let mut mine = Vec::new();
    let taken = (|| {
        for &entry in entries {
            if !shelf::claim(folder, entry).map_err(Outcome::kept)? {
                let claimed = folder.join(shelf::claimed(entry)).exists();
                return Err(Outcome::kept(if claimed {
                    "it is being shipped again already"
                } else {
                    "it is not there"
                }));
            }
            mine.push(entry);
        }
        spool::spool(rejects, entries).map_err(Outcome::kept)
    })();
    taken.inspect_err(|_| give_back(rejects, &mine))
}

fn give_back(rejects: &Rejects, entries: &[u64]) {
    for &entry in entries {
        if let Err(error) = shelf::unclaim(rejects.folder(), entry) {
            tracing::warn!(entry, %error, "an entry of rejects stays claimed until the next start");
        }
    }
}

/// Removes what was shipped, gives back what was not. Blocks.
fn finish(
    rejects: &Rejects,
    entries: &[u64],
    end: End,
    manifest: Manifest,
    empty: Vec<super::rejects::Item>,
) -> Outcome {
    let End { records, refused, failed } = end;
    if let Some(why) = failed {
        give_back(rejects, entries);
        return Outcome::kept(why);
    }
    let gone = (|| {
        if !empty.is_empty() {
            // What has an address and no bytes cannot be shipped from here; its address must not be lost.
            rejects.store(Manifest { items: empty, ..manifest }, &[]).map_err(|error| error.to_string())?;
        }
        entries.iter().try_for_each(|&entry| rejects.shipped(entry)).map_err(|error| error.to_string())
    })();
    match gone {
        Ok(()) if refused > 0 => Outcome::Refused { records, refused },
        Ok(()) => Outcome::Shipped { records },
        Err(error) => {
            give_back(rejects, entries);
            Outcome::kept(format!("it was shipped and could not be removed: {error}"))
        }
    }
}
