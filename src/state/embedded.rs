//! State in one file: an embedded database, written by one process and read by any.

use std::cell::Cell;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use redb::{
    Builder, ConcurrencyMode, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable as _, StorageBackend, TableDefinition, TableError, TableHandle as _, WriteTransaction,
};

use super::{Keep, Op, Pairs, StateError, folder};
use crate::failpoint;

/// The file's name in `data_dir`.
pub(super) const FILE: &str = "state.redb";

/// Most bytes of the file held in memory.
const CACHE: usize = 8 << 20;

/// The database's own facts; no component's space has this name.
const OWN: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("state");
const EPOCH: &[u8] = b"epoch";

enum Opened {
    Writing(Database),
    Reading(ReadOnlyDatabase),
    Closed,
}

/// The database.
pub(super) struct Embedded {
    opened: RwLock<Opened>,
    path: PathBuf,
}

fn table(space: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(space)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    // Others may read beside the one that writes.
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

impl Embedded {
    fn new(opened: Opened, path: &Path) -> Embedded {
        Embedded { opened: RwLock::new(opened), path: path.to_path_buf() }
    }

    /// Opens the file for writing, making it where it is missing; after a crash it is repaired.
    pub(super) fn open(path: &Path) -> Result<Embedded, StateError> {
        if !path.exists() {
            make(path)?;
        }
        let file = folder::private(path)?;
        let backend = redb::backends::FileBackend::new(file).map_err(failed(path))?;
        guarded(path, || {
            let database = builder().create_with_backend(backend).map_err(failed(path))?;
            Ok(Embedded::new(Opened::Writing(database), path))
        })
    }

    /// Opens the file for reading, also while another process writes it. `None`: a crash left it so that it must be
    /// opened for writing once.
    pub(super) fn read_only(path: &Path) -> Result<Option<Embedded>, StateError> {
        match builder().open_read_only(path) {
            Ok(database) => Ok(Some(Embedded::new(Opened::Reading(database), path))),
            Err(redb::DatabaseError::RepairAborted) => Ok(None),
            Err(error) => Err(failed(path)(error)),
        }
    }

    /// Opens a database without a file.
    pub(super) fn in_memory() -> Result<Embedded, StateError> {
        let path = PathBuf::from("in memory");
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let database =
            builder.create_with_backend(redb::backends::InMemoryBackend::new()).map_err(failed(&path))?;
        Ok(Embedded::new(Opened::Writing(database), &path))
    }

    /// Held for as long as a transaction: whoever closes the database waits for its end. Else the database would be closed
    /// by the thread whose transaction is the last, and perhaps that is cut off.
    fn opened(&self) -> RwLockReadGuard<'_, Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, opened: &Opened) -> Result<ReadTransaction, StateError> {
        match opened {
            Opened::Writing(database) => database.begin_read(),
            Opened::Reading(database) => database.begin_read(),
            Opened::Closed => return Err(StateError::Closed),
        }
        .map_err(failed(&self.path))
    }

    fn write(&self, opened: &Opened) -> Result<WriteTransaction, StateError> {
        match opened {
            Opened::Writing(database) => database.begin_write().map_err(failed(&self.path)),
            Opened::Reading(_) => Err(StateError::ReadOnly),
            Opened::Closed => Err(StateError::Closed),
        }
    }
}

/// A file that nobody needs before it is whole: it is synced once, then.
#[derive(Debug)]
struct Unsynced(redb::backends::FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// Makes an empty database under another name first: a file that a crash left half made is none, and could never be
/// opened again.
fn make(path: &Path) -> Result<(), StateError> {
    let new = path.with_extension("new");
    let file = folder::private(&new)?;
    file.set_len(0).map_err(folder::system("emptying", &new))?;
    let synced = file.try_clone().map_err(folder::system("opening", &new))?;
    let backend = Unsynced(redb::backends::FileBackend::new(file).map_err(failed(&new))?);
    drop(Database::builder().create_with_backend(backend).map_err(failed(&new))?);
    synced.sync_all().map_err(folder::system("writing", &new))?;
    failpoint::here!("state.made");
    std::fs::rename(&new, path).map_err(folder::system("giving its name to", path))
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread is one of the database's, which is told as an error.
pub(super) fn is_guarded() -> bool {
    GUARDED.get()
}

/// Does what reads the file. The database panics where a page is no page: that is damage, and told as such.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
    let before = GUARDED.replace(true);
    let done = std::panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done.unwrap_or_else(|_| {
        Err(StateError::Damaged { path: path.to_path_buf(), reason: "a page is none of its own".to_owned() })
    })
}

fn failed<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> StateError {
    |error| {
        let (path, reason) = (path.to_path_buf(), error.to_string());
        // How every error of the database begins that says so.
        if reason.starts_with("DB corrupted") {
            return StateError::Damaged { path, reason };
        }
        StateError::Database { path, reason }
    }
}

fn number(value: Option<&[u8]>) -> u64 {
    value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// One change, in the table of its space.
fn apply(
    table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    op: &Op,
) -> Result<Result<(), StateError>, redb::StorageError> {
    match op {
        Op::Put { key, value, .. } => {
            table.insert(key.as_slice(), value.as_slice())?;
        }
        Op::Delete { key, .. } => {
            table.remove(key.as_slice())?;
        }
        Op::CompareAndSwap { space, key, expected, new } => {
            let is_expected =
                table.get(key.as_slice())?.as_ref().map(redb::AccessGuard::value) == expected.as_deref();
            if !is_expected {
                return Ok(Err(StateError::Conflict { space: space.to_string() }));
            }
            match new {
                Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                None => drop(table.remove(key.as_slice())?),
            }
        }
    }
    Ok(Ok(()))
}

fn space_of(op: &Op) -> &str {
    match op {
        Op::Put { space, .. } | Op::Delete { space, .. } | Op::CompareAndSwap { space, .. } => space,
    }
}

impl Keep for Embedded {
    fn close(&self) {
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Opened::Closed;
    }

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        guarded(&self.path, || {
            let opened = self.opened();
            let table = match self.read(&opened)?.open_table(table(space)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(failed(&self.path)(error)),
            };
            let value = table.get(key).map_err(failed(&self.path))?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, space: &str, after: Option<&[u8]>, most: usize) -> Result<Pairs, StateError> {
        guarded(&self.path, || {
            use std::ops::Bound;
            let opened = self.opened();
            let table = match self.read(&opened)?.open_table(table(space)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Pairs::new()),
                Err(error) => return Err(failed(&self.path)(error)),
            };
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let range = table.range::<&[u8]>((from, Bound::Unbounded)).map_err(failed(&self.path))?;
            range
                .take(most)
                .map(|pair| pair.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
                .collect::<Result<_, _>>()
                .map_err(failed(&self.path))
        })
    }

    fn spaces(&self) -> Result<Vec<String>, StateError> {
        guarded(&self.path, || {
            let opened = self.opened();
            let transaction = self.read(&opened)?;
            let tables = transaction.list_tables().map_err(failed(&self.path))?;
            let mut names: Vec<String> =
                tables.map(|table| table.name().to_owned()).filter(|name| name != OWN.name()).collect();
            names.sort();
            Ok(names)
        })
    }

    fn begin(&self) -> Result<u64, StateError> {
        guarded(&self.path, || {
            let opened = self.opened();
            let transaction = self.write(&opened)?;
            let epoch = {
                let mut own = transaction.open_table(OWN).map_err(failed(&self.path))?;
                let before = own
                    .get(EPOCH)
                    .map_err(failed(&self.path))?
                    .map_or(0, |value| number(Some(value.value())));
                let epoch = before.saturating_add(1);
                own.insert(EPOCH, epoch.to_be_bytes().as_slice()).map_err(failed(&self.path))?;
                epoch
            };
            transaction.commit().map_err(failed(&self.path))?;
            Ok(epoch)
        })
    }

    fn commit(&self, epoch: u64, ops: &[Op]) -> Result<(), StateError> {
        guarded(&self.path, || {
            // A transaction that is dropped before its commit changes nothing.
            let opened = self.opened();
            let transaction = self.write(&opened)?;
            {
                let own = transaction.open_table(OWN).map_err(failed(&self.path))?;
                let now = own
                    .get(EPOCH)
                    .map_err(failed(&self.path))?
                    .map_or(0, |value| number(Some(value.value())));
                if now != epoch {
                    return Err(StateError::Fenced { ours: epoch, now });
                }
            }
            for run in ops.chunk_by(|one, next| space_of(one) == space_of(next)) {
                let Some(first) = run.first() else { continue };
                let mut table = transaction.open_table(table(space_of(first))).map_err(failed(&self.path))?;
                for op in run {
                    apply(&mut table, op).map_err(failed(&self.path))??;
                }
            }
            failpoint::here!("state.before_commit");
            transaction.commit().map_err(failed(&self.path))?;
            failpoint::here!("state.committed");
            Ok(())
        })
    }
}
