//! The end of a part: by size, by age, or because nothing more comes; its final name.

use std::collections::BTreeMap;
use std::io;

use super::super::disk::{Disk, explain, gone};
use super::super::name;
use super::{Outcome, Writer};
use crate::failpoint;

impl<D: Disk> Writer<D> {
    /// Finishes what is old enough, and tries again what could not be finished.
    pub(super) fn rotate(&mut self) {
        let now = self.clock.now();
        let mut any = false;
        while let Some((began, sequence)) = self.ages.front().copied() {
            let living = self.parts.contains_key(&sequence);
            if living && now.since(began) < self.rotation.age {
                break;
            }
            self.ages.pop_front();
            if living {
                self.fill(sequence);
                any = true;
            }
        }
        if any {
            self.sync();
        }
    }

    /// Gives full parts their final names; what fails stays and is tried again. Only what is durable is finished.
    pub(super) fn finish_full(&mut self) -> bool {
        let mut folders = BTreeMap::new();
        let mut problem = None;
        for sequence in self.full.clone() {
            match self.finish_part(sequence) {
                Ok(Some(path)) => {
                    folders.insert(path[..path.rfind('/').unwrap_or(0)].to_owned(), path);
                }
                Ok(None) => {}
                Err(message) => problem = Some(message),
            }
        }
        for path in folders.into_values() {
            if let Err(error) = self.disk.sync_parent(&path) {
                let path = self.root.join(path);
                tracing::warn!("{}", explain("syncing the folder of", &path, &error));
            }
        }
        // Once, not every second.
        if let Some(message) = problem.as_ref().filter(|_| !self.failing) {
            tracing::warn!("{message}");
        }
        self.failing = problem.is_some();
        problem.is_none()
    }

    fn finish_part(&mut self, sequence: u64) -> Result<Option<String>, String> {
        let Some(part) = self.parts.get(&sequence) else { return Ok(None) };
        if part.length != part.durable {
            return Ok(None);
        }
        if part.length == 0 {
            let path = self.root.join(&part.path);
            self.disk.remove(&part.path).map_err(|error| explain("removing", &path, &error))?;
            self.forget(sequence);
            return Ok(None);
        }
        if part.ragged {
            self.open(sequence)?;
        }
        let Some(part) = self.parts.get(&sequence) else { return Ok(None) };
        // Before the rename: a crash in between must not look like a file that somebody removed.
        self.journal.finish(sequence);
        let _ = self.journal.write();
        failpoint::here!("file.before_rename");
        match give_final_name(&mut self.disk, &part.path, &part.partition, sequence, &mut self.next) {
            Ok(path) => {
                failpoint::here!("file.renamed");
                self.close(sequence);
                self.forget(sequence);
                Ok(Some(path))
            }
            Err(error) if gone(&error) => {
                let path = self.root.join(&part.path);
                tracing::error!(path = %path.display(), bytes = part.durable, "a file was removed before it was whole");
                self.forget(sequence);
                Ok(None)
            }
            Err(error) => Err(explain("finishing", &self.root.join(&*part.partition), &error)),
        }
    }

    /// Makes everything durable and final.
    pub(super) fn finish(&mut self) -> Outcome {
        let growing: Vec<u64> = self.growing.values().copied().collect();
        growing.into_iter().for_each(|sequence| self.fill(sequence));
        self.full.sort_unstable();
        self.sync();
        match self.full.first().and_then(|sequence| self.parts.get(sequence)) {
            Some(part) => {
                let path = self.root.join(&part.path);
                Err(format!(
                    "{} files could not be given their final names, first {}",
                    self.full.len(),
                    path.display()
                ))
            }
            None => Ok(()),
        }
    }
}

/// Renames a part to its final name, with the next free sequence where its own is taken; says the name.
pub(in crate::sink::file) fn give_final_name<D: Disk>(
    disk: &mut D,
    part: &str,
    partition: &str,
    sequence: u64,
    next: &mut u64,
) -> io::Result<String> {
    let mut sequence = sequence;
    let mut stride = 1;
    loop {
        let path = name::whole(partition, sequence);
        match disk.rename(part, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && stride < 1 << 40 => {
                // Larger and larger steps: after a lost journal there may be many files.
                sequence = (*next).saturating_add(stride - 1);
                *next = sequence.saturating_add(1);
                stride *= 2;
            }
            other => return other.map(|()| path),
        }
    }
}
