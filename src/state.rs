//! State: what a run must know of the runs before it. Cursors and counts, never events.
//!
//! Keys and values are bytes, in named spaces. Changes are committed in groups: all of a group or nothing, and durable
//! when [`Store::commit`] returns. Each opening has an [`Store::epoch`] of its own, larger than all before it; a commit
//! of an older epoch is refused, so that a process that lost its place cannot write over its successor.
//!
//! Now an embedded database in `data_dir`; anything that has a conditional write can stand behind [`Keep`] later.

mod embedded;
mod folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::telemetry::trouble::Trouble;

/// One change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a value.
    Put {
        /// The space.
        space: Arc<str>,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key; nothing happens where it is not there.
    Delete {
        /// The space.
        space: Arc<str>,
        /// The key.
        key: Vec<u8>,
    },
    /// Changes a value only where it is what the caller believes, else the whole group fails.
    CompareAndSwap {
        /// The space.
        space: Arc<str>,
        /// The key.
        key: Vec<u8>,
        /// What must be there; `None`: nothing.
        expected: Option<Vec<u8>>,
        /// What is there afterwards; `None`: nothing.
        new: Option<Vec<u8>>,
    },
}

/// Keys with their values, in the order of the keys.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A place that keeps state. All calls block.
pub trait Keep: Send + Sync {
    /// Returns a value.
    ///
    /// # Errors
    /// The place cannot be read.
    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Returns at most `most` pairs of a space in order of their keys, those after the key `after` (`None`: from the
    /// first).
    ///
    /// # Errors
    /// The place cannot be read.
    fn scan(&self, space: &str, after: Option<&[u8]>, most: usize) -> Result<Pairs, StateError>;

    /// Returns the names of all spaces that were ever written to, sorted.
    ///
    /// # Errors
    /// The place cannot be read.
    fn spaces(&self) -> Result<Vec<String>, StateError>;

    /// Begins a new epoch and returns it.
    ///
    /// # Errors
    /// The place cannot be written.
    fn begin(&self) -> Result<u64, StateError>;

    /// Makes all of the changes or none, durable on return.
    ///
    /// # Errors
    /// Nothing was changed: another epoch has begun, a `CompareAndSwap` found another value, or the place cannot be
    /// written.
    fn commit(&self, epoch: u64, ops: &[Op]) -> Result<(), StateError>;

    /// Leaves the place in good order; nothing is read or written any more.
    fn close(&self);
}

/// Why state could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it.
    #[error("data_dir {} is in use by {holder}: stop it, or give this one a `data_dir` of its own", .data_dir.display())]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// Who has it: `process 1234`, or `another process` where its number cannot be read.
        holder: String,
    },
    /// Other users could write to it.
    #[error("data_dir {} can be written to by others (mode {mode:o}): run `chmod go-w` on it", .data_dir.display())]
    Open {
        /// The directory.
        data_dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refuses.
    #[error("{doing}: {error}")]
    System {
        /// What was being done, with the path.
        doing: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The database says no.
    #[error("state {}: {reason}", .path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// The database is not whole.
    #[error(
        "state {} is damaged ({reason}): put a copy back, or move it away; without it everything that is still there is \
         read anew, and what was shipped before comes twice",
        .path.display()
    )]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// A value was not what a `CompareAndSwap` expected; nothing was changed.
    #[error("state: a value in `{space}` has been changed by someone else")]
    Conflict {
        /// The space.
        space: String,
    },
    /// A newer epoch has begun; nothing was changed.
    #[error("state: another process has taken over (epoch {now}, this one has {ours})")]
    Fenced {
        /// This store's epoch.
        ours: u64,
        /// The newest.
        now: u64,
    },
    /// It was opened only for reading.
    #[error("state: it is open only for reading")]
    ReadOnly,
    /// The run is over.
    #[error("state: it is closed, the run is over")]
    Closed,
}

/// The state of one `data_dir`, held by one process at a time. Shared by threads; every call blocks for disk.
pub struct Store {
    keep: Box<dyn Keep>,
    epoch: Option<u64>,
    clock: Clock,
    trouble: Trouble,
    /// Held as long as the store is.
    _lock: Option<std::fs::File>,
}

/// From now on panics of the database on a damaged file are told as errors only.
pub fn quiet_damage() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !embedded::is_guarded() {
            usual(panic);
        }
    }));
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the state in `data_dir`, making both where they are missing (0700 and 0600), and keeps others out.
    ///
    /// # Errors
    /// Another process has it, other users can write to it, or it cannot be made or read.
    pub fn open(data_dir: &Path, clock: &Clock) -> Result<Store, StateError> {
        folder::make(data_dir)?;
        let lock = folder::lock(data_dir)?;
        let keep = embedded::Embedded::open(&data_dir.join(embedded::FILE))?;
        let epoch = keep.begin()?;
        Ok(Store {
            keep: Box::new(keep),
            epoch: Some(epoch),
            clock: clock.clone(),
            trouble: Trouble::default(),
            _lock: Some(lock),
        })
    }

    /// What is wrong with `data_dir` as a place to remember things in, in words: it is emptied with the machine or the
    /// container.
    pub fn passing(data_dir: &Path) -> Option<String> {
        let place = folder::passing(data_dir)?;
        Some(format!(
            "data_dir {} is on {place}: what was shipped is forgotten with it, and shipped again or not at all; give it a volume that stays",
            data_dir.display()
        ))
    }

    /// Opens the state in `data_dir` only for reading, also while another process has it; sees what that one has
    /// committed. What a crash left is put in order first, if nobody has it. Empty where nothing was ever kept.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_only(data_dir: &Path, clock: &Clock) -> Result<Store, StateError> {
        let path = data_dir.join(embedded::FILE);
        if !path.try_exists().map_err(folder::system("looking for", &path))? {
            return Store::in_memory(clock);
        }
        let keep = match embedded::Embedded::read_only(&path)? {
            Some(keep) => keep,
            None => {
                let lock = folder::lock(data_dir)?;
                drop(embedded::Embedded::open(&path)?);
                drop(lock);
                embedded::Embedded::read_only(&path)?.ok_or_else(|| StateError::Database {
                    path: path.clone(),
                    reason: "it cannot be repaired".to_owned(),
                })?
            }
        };
        Ok(Store {
            keep: Box::new(keep),
            epoch: None,
            clock: clock.clone(),
            trouble: Trouble::default(),
            _lock: None,
        })
    }

    /// Opens a state that is forgotten when it is dropped: for dry runs and tests.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn in_memory(clock: &Clock) -> Result<Store, StateError> {
        let keep = embedded::Embedded::in_memory()?;
        let epoch = keep.begin()?;
        Ok(Store {
            keep: Box::new(keep),
            epoch: Some(epoch),
            clock: clock.clone(),
            trouble: Trouble::default(),
            _lock: None,
        })
    }

    /// Opens a copy of the state in `data_dir` (of nothing, where there is none) that is forgotten when it is dropped: a dry
    /// run sees what was done before, and leaves nothing behind.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn copy(data_dir: &Path, clock: &Clock) -> Result<Store, StateError> {
        let copy = Store::in_memory(clock)?;
        let store = Store::read_only(data_dir, clock)?;
        for space in store.spaces()? {
            let named: Arc<str> = space.as_str().into();
            let mut ops = Vec::new();
            store.each(&space, |key, value| {
                ops.push(Op::Put { space: named.clone(), key: key.to_vec(), value: value.to_vec() });
            })?;
            copy.commit(&ops)?;
        }
        Ok(copy)
    }

    /// The number of this opening, larger than that of every one before it; 0 where it is open only for reading.
    pub fn epoch(&self) -> u64 {
        self.epoch.unwrap_or(0)
    }

    /// Leaves the state as after every orderly end, also while some thread still holds the store: else whoever opens it
    /// next repairs it first.
    pub fn close(&self) {
        self.keep.close();
    }

    /// The clock that state is dated by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns a value.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.keep.get(space, key)
    }

    /// Returns at most `most` pairs of a space in order of their keys, those after the key `after`.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn scan(&self, space: &str, after: Option<&[u8]>, most: usize) -> Result<Pairs, StateError> {
        self.keep.scan(space, after, most)
    }

    /// Hands every pair of a space to `take`, in order of the keys, a thousand at a time in memory.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn each(&self, space: &str, mut take: impl FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let pairs = self.keep.scan(space, after.as_deref(), 1000)?;
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in &pairs {
                take(key, value);
            }
        }
    }

    /// Returns the names of all spaces, sorted.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn spaces(&self) -> Result<Vec<String>, StateError> {
        self.keep.spaces()
    }

    /// Makes all of the changes or none, durable on return.
    ///
    /// # Errors
    /// See [`Keep::commit`].
    pub fn commit(&self, ops: &[Op]) -> Result<(), StateError> {
        let epoch = self.epoch.ok_or(StateError::ReadOnly)?;
        if ops.is_empty() {
            return Ok(());
        }
        let committed = self.keep.commit(epoch, ops);
        match &committed {
            Ok(()) => self.trouble.over(),
            Err(error) => self.trouble.is(self.clock.now(), error.to_string()),
        }
        committed
    }

    /// Why nothing can be committed now, and since when.
    pub fn trouble(&self) -> Option<(Timestamp, String)> {
        self.trouble.told()
    }
}

#[cfg(test)]
mod tests;
