//! What the state keeps of a source of files: the files that were shipped, to their end or up to a place, and those on
//! loan.
//!
//! Changes are gathered and committed together. The list of files on loan is only there to say after a crash how many
//! were shipped again (`files/crash.rs`, `files/lending.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::crash::Crash;
use super::known::{Entry, Known, Swept};
use super::mark::{Facts, Inode};
use crate::ack::Reached;
use crate::source::Build;
use crate::state::{Op, StateError, Store};

/// Bytes of one file in the note about a group.
pub(super) const NOTED: usize = 32;
/// The key, among the notes, of what is counted and not told yet; theirs are longer.
const COUNT: &[u8] = &[0];

/// The state's side of the source.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Arc<Store>,
    shipped: Arc<str>,
    lent: Arc<str>,
    pending: Mutex<Vec<Op>>,
    /// Held while a group is committed, so that groups are committed in the order they were made.
    turn: Mutex<()>,
}

/// What a run finds of the runs before it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub known: Known,
    pub crash: Crash,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(super) fn new(build: &Build<'_>) -> Ledger {
        let shipped: Arc<str> = format!("files/{}/{}", build.pipeline, build.name).into();
        let lent = format!("{shipped}/lent").into();
        Ledger {
            store: build.store.clone(),
            shipped,
            lent,
            pending: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Reads what the runs before left.
    pub(super) fn load(&self) -> Result<Found, StateError> {
        let mut found = Found::default();
        let mut strange = 0u64;
        self.store.each(&self.shipped, |key, value| {
            match (Inode::from_bytes(key), Entry::from_bytes(value)) {
                (Some(inode), Some((entry, reached))) => found.known.insert(inode, entry, reached),
                _ => strange += 1,
            }
        })?;
        if strange > 0 {
            tracing::warn!(space = %self.shipped, entries = strange, "state of another version: these files are shipped again");
        }
        let Found { known, crash } = &mut found;
        self.store.each(&self.lent, |key, value| {
            crash.notes.push(key.to_vec());
            let Some((&epoch, _)) = key.split_first_chunk() else { return crash.resume(value) };
            let epoch = u64::from_be_bytes(epoch);
            for noted in value.chunks_exact(NOTED) {
                let number = |at: usize| noted[at..at + 8].try_into().map_or(0, u64::from_be_bytes);
                let inode = Inode { device: number(0), number: number(8) };
                let facts = Facts { size: number(16), modified: number(24).cast_signed(), changed: 0 };
                let same = known.get(inode).is_some_and(|entry| entry.facts.same_content(&facts));
                if !same || known.part(inode).is_some() {
                    crash.noted(inode, epoch);
                }
            }
        })?;
        Ok(found)
    }

    /// The name of a group's note.
    fn note_key(&self, group: u64) -> Vec<u8> {
        [self.store.epoch().to_be_bytes(), group.to_be_bytes()].concat()
    }

    fn push(&self, op: Op) {
        lock(&self.pending).push(op);
    }

    /// A group is lent.
    pub(super) fn lent(&self, group: u64, files: impl Iterator<Item = (Inode, Facts)>) {
        let mut value = Vec::with_capacity(files.size_hint().0 * NOTED);
        for (inode, facts) in files {
            value.extend(inode.to_bytes());
            value.extend(facts.size.to_be_bytes());
            value.extend(facts.modified.to_be_bytes());
        }
        self.push(Op::Put { space: self.lent.clone(), key: self.note_key(group), value });
    }

    /// All loans of a group have ended.
    pub(super) fn returned(&self, group: u64) {
        self.push(Op::Delete { space: self.lent.clone(), key: self.note_key(group) });
    }

    /// A file was shipped: to its end, or up to a place.
    pub(super) fn shipped(&self, inode: Inode, entry: Entry, reached: Option<Reached>) {
        let (space, key) = (self.shipped.clone(), inode.to_bytes());
        self.push(Op::Put { space, key, value: entry.to_bytes(reached) });
    }

    /// A search has found that files have gone, or come back.
    pub(super) fn swept(&self, swept: &[Swept]) {
        for change in swept {
            match change {
                Swept::Changed(inode, entry, reached) => self.shipped(*inode, *entry, *reached),
                Swept::Forgotten(inode) => {
                    self.push(Op::Delete { space: self.shipped.clone(), key: inode.to_bytes() });
                }
            }
        }
    }

    /// Some of what the crash left has been shipped.
    pub(super) fn counted(&self, crash: &mut Crash) {
        if crash.notes.first().is_none_or(|first| first != COUNT) {
            crash.notes.insert(0, COUNT.to_vec());
        }
        self.push(Op::Put { space: self.lent.clone(), key: COUNT.to_vec(), value: crash.to_bytes() });
    }

    /// What the crash left has been shipped, and told.
    pub(super) fn recovered(&self, crash: &mut Crash) {
        for key in crash.notes.drain(..) {
            self.push(Op::Delete { space: self.lent.clone(), key });
        }
    }

    /// Whether there is something to commit.
    pub(super) fn is_pending(&self) -> bool {
        !lock(&self.pending).is_empty()
    }

    /// Commits what has been gathered. Blocks.
    pub(super) fn commit(&self) -> Result<(), StateError> {
        let _turn = lock(&self.turn);
        let mut ops = std::mem::take(&mut *lock(&self.pending));
        // Neighbours in the file are written together; changes of one key keep their order.
        ops.sort_by(|one, other| key_of(one).cmp(&key_of(other)));
        self.store.commit(&ops).inspect_err(|_| lock(&self.pending).splice(..0, ops).for_each(drop))
    }
}

fn key_of(op: &Op) -> (&str, &[u8]) {
    match op {
        Op::Put { space, key, .. } | Op::Delete { space, key } | Op::CompareAndSwap { space, key, .. } => {
            (space, key)
        }
    }
}
