//! A file system whose failures a test chooses. Nothing is really synced.

use std::io;
use std::sync::{Arc, Mutex};

use super::super::disk::{Disk, Root};

/// A file system that fails when it is told to.
#[derive(Clone, Default)]
pub(super) struct Faults(pub(super) Arc<Mutex<Told>>);

#[derive(Default)]
pub(super) struct Told {
    /// Bytes until the disk is full; `None`: endless.
    pub(super) space: Option<u64>,
    /// Parts that fail to sync from now on.
    pub(super) failing_syncs: usize,
    /// Nothing can be made, named or written.
    pub(super) read_only: bool,
    /// The journal cannot be written.
    pub(super) bad_journal: bool,
    pub(super) open: usize,
    pub(super) most_open: usize,
    pub(super) syncs: usize,
}

pub(super) struct Faulty {
    pub(super) disk: Root,
    pub(super) faults: Faults,
}

pub(super) struct Counted {
    file: <Root as Disk>::File,
    pub(super) faults: Faults,
    journal: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.faults.0.lock().unwrap().open -= 1;
    }
}

impl Faulty {
    fn counted(&self, file: <Root as Disk>::File, path: &str) -> Counted {
        let mut told = self.faults.0.lock().unwrap();
        told.open += 1;
        told.most_open = told.most_open.max(told.open);
        Counted { file, faults: self.faults.clone(), journal: path.contains("journal") }
    }

    fn allowed(&self, path: &str) -> io::Result<()> {
        let told = self.faults.0.lock().unwrap();
        if told.read_only && !path.contains("journal") {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }
}

impl Disk for Faulty {
    type File = Counted;

    fn create(&mut self, path: &str) -> io::Result<Counted> {
        self.allowed(path)?;
        let file = self.disk.create(path)?;
        Ok(self.counted(file, path))
    }

    fn open(&mut self, path: &str) -> io::Result<Counted> {
        let file = self.disk.open(path)?;
        Ok(self.counted(file, path))
    }

    fn write(&mut self, file: &mut Counted, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut told = self.faults.0.lock().unwrap();
        if file.journal {
            return if told.bad_journal {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                self.disk.write(&mut file.file, at, bytes)
            };
        }
        if let Some(space) = &mut told.space {
            let fits = usize::try_from(*space).unwrap().min(bytes.len());
            *space -= fits as u64;
            self.disk.write(&mut file.file, at, &bytes[..fits])?;
            return if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) };
        }
        self.disk.write(&mut file.file, at, bytes)
    }

    fn cut(&mut self, file: &mut Counted, length: u64) -> io::Result<()> {
        self.disk.cut(&mut file.file, length)
    }

    fn sync(&mut self, file: &mut Counted) -> io::Result<()> {
        let mut told = self.faults.0.lock().unwrap();
        if file.journal {
            return Ok(());
        }
        told.syncs += 1;
        if told.failing_syncs > 0 {
            told.failing_syncs -= 1;
            return Err(io::Error::other("input/output error"));
        }
        // What the file is read for in tests, without waiting for the disk.
        self.disk.length(&mut file.file).map(drop)
    }

    fn length(&mut self, file: &mut Counted) -> io::Result<u64> {
        self.disk.length(&mut file.file)
    }

    fn is_at(&mut self, path: &str, file: &mut Counted) -> io::Result<bool> {
        self.disk.is_at(path, &mut file.file)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.allowed(to)?;
        self.disk.rename(from, to)
    }

    fn replace(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.disk.replace(from, to)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.allowed(path)?;
        self.disk.remove(path)
    }

    fn sync_parent(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }
}
