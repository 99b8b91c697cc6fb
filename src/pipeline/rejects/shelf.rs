//! The folder of rejects as any program sees it: which entries there are, whose they are, and taking one away.
//!
//! All of it works beside a running `run`: an entry changes hands by rename, and of two that want it one finds it gone.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::Manifest;
use super::entry::{Entry, Fault};
use super::key::Key;
use crate::clock::Timestamp;

/// The name of an entry that is free.
pub fn free(number: u64) -> String {
    format!("{number:020}.reject")
}

/// The name of an entry that is being shipped again.
pub fn claimed(number: u64) -> String {
    format!("{number:020}.replaying")
}

/// The number in a name, and whether the entry is claimed; `None`: it is no entry's name.
pub fn number(name: &str) -> Option<(u64, bool)> {
    let (number, ending) = name.split_once('.')?;
    let claimed = match ending {
        "reject" => false,
        "replaying" => true,
        _ => return None,
    };
    (number.len() == 20).then_some((number.parse().ok()?, claimed))
}

/// The numbers of all entries, sorted, and whether each is claimed.
///
/// # Errors
/// The folder cannot be read; one that is not there has none.
pub fn numbers(folder: &Path) -> io::Result<Vec<(u64, bool)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(entry?.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// One entry, as it was seen.
#[derive(Debug)]
pub struct Seen {
    /// Its number.
    pub number: u64,
    /// Whether it is being shipped again now.
    pub claimed: bool,
    /// Bytes of its file.
    pub size: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What it says it is, where it says anything.
    pub manifest: Option<Manifest>,
    /// Why it is not believed.
    pub fault: Option<Fault>,
}

/// Looks at one entry; `None`: it is gone. Each item's bytes are handed to `take`, in pieces.
///
/// # Errors
/// The system says no.
pub fn look(
    folder: &Path,
    (number, is_claimed): (u64, bool),
    key: Option<&Key>,
    take: impl FnMut(usize, &[u8]) -> io::Result<()>,
) -> io::Result<Option<Seen>> {
    let path = folder.join(if is_claimed { claimed(number) } else { free(number) });
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    };
    let (size, at) = match fs::symlink_metadata(&path) {
        Ok(facts) => (facts.len(), written(&facts)),
        Err(error) => return gone(error),
    };
    let mut seen = Seen { number, claimed: is_claimed, size, at, manifest: None, fault: None };
    match Entry::open(&path) {
        Err(error) => return gone(error),
        Ok(Err(fault)) => seen.fault = Some(fault),
        Ok(Ok(entry)) => {
            seen.manifest = Some(entry.manifest.clone());
            seen.fault = entry.verify(number, key, take)?.err();
        }
    }
    Ok(Some(seen))
}

fn written(facts: &fs::Metadata) -> Timestamp {
    let since = facts.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)))
}

/// Takes an entry to ship it again; `false`: it is not there, or somebody else has it. Only for whoever has the data
/// directory's lock: [`release`] gives up the claims of those who had it before.
///
/// # Errors
/// The system says no.
pub fn claim(folder: &Path, number: u64) -> io::Result<bool> {
    renamed(folder, &free(number), &claimed(number))
}

/// Gives an entry back.
///
/// # Errors
/// The system says no.
pub fn unclaim(folder: &Path, number: u64) -> io::Result<bool> {
    renamed(folder, &claimed(number), &free(number))
}

/// Gives all claimed entries back.
///
/// # Errors
/// The system says no.
pub fn release(folder: &Path) -> io::Result<()> {
    for (number, _) in numbers(folder)?.into_iter().filter(|(_, claimed)| *claimed) {
        unclaim(folder, number)?;
    }
    Ok(())
}

/// Removes an entry that nobody has claimed; `false`: it is not there, or somebody has it.
///
/// # Errors
/// The system says no.
pub fn remove(folder: &Path, number: u64) -> io::Result<bool> {
    // It is ours alone before it goes: whoever claims it at the same time finds it gone.
    let hidden = format!(".{number:020}.removed");
    if !renamed(folder, &free(number), &hidden)? {
        return Ok(false);
    }
    match fs::remove_file(folder.join(hidden)) {
        // A program that started meanwhile has swept it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    File::open(folder)?.sync_all()?;
    Ok(true)
}

fn renamed(folder: &Path, from: &str, to: &str) -> io::Result<bool> {
    match fs::rename(folder.join(from), folder.join(to)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
