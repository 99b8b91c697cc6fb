//! What a crash left: every part is cut to its durable length and gets its final name, or goes if nothing of it was ever
//! acknowledged.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::disk::{Disk, explain, gone};
use super::journal::{Left, Said};
use super::name;
use super::writer::give_final_name;
use crate::failpoint;
use crate::sink::template::stays_below;

/// Finishes all parts a journal tells of; `disk` is at the journal's root. Raises `said.next` beyond every sequence used.
///
/// Errors: in words; what is left is found again next time.
pub(super) fn finish_left<D: Disk>(disk: &mut D, said: &mut Said) -> Result<(), String> {
    let root = Path::new(&said.root);
    let mut folders = BTreeMap::new();
    let mut finished = 0u64;
    for (sequence, left) in &said.parts {
        if !stays_below(&left.partition) {
            continue;
        }
        let path = name::part(&left.partition, *sequence, said.id);
        let done = finish_one(disk, &path, *sequence, left, &mut said.next);
        if let Some(whole) = done.map_err(|error| explain("finishing", &root.join(&path), &error))? {
            finished += 1;
            folders.insert(whole[..whole.rfind('/').unwrap_or(0)].to_owned(), whole);
        }
    }
    for path in folders.into_values() {
        disk.sync_parent(&path)
            .map_err(|error| explain("syncing the folder of", &root.join(&path), &error))?;
    }
    if finished > 0 {
        tracing::info!(files = finished, root = said.root, "finished the files that were left unfinished");
    }
    Ok(())
}

fn finish_one<D: Disk>(
    disk: &mut D,
    path: &str,
    sequence: u64,
    left: &Left,
    next: &mut u64,
) -> io::Result<Option<String>> {
    let said = left.lengths.last().copied().unwrap_or(0);
    let mut file = match disk.open(path) {
        Err(error) if gone(&error) => {
            if said > 0 && !left.finishing {
                tracing::error!(path, bytes = said, "an unfinished file is gone: somebody removed it");
            }
            return Ok(None);
        }
        other => other?,
    };
    let length = disk.length(&mut file)?;
    // A failed sync cuts a part back to an earlier length than the journal may tell of.
    let durable = left.lengths.iter().rev().copied().find(|durable| *durable <= length).unwrap_or(0);
    if durable < said {
        tracing::warn!(
            path,
            bytes = length,
            journal = said,
            "an unfinished file is shorter than the journal says"
        );
    }
    if durable == 0 {
        disk.remove(path)?;
        return Ok(None);
    }
    if durable < length {
        disk.cut(&mut file, durable)?;
        disk.sync(&mut file)?;
        failpoint::here!("recover.cut");
    }
    let whole = give_final_name(disk, path, &left.partition, sequence, next)?;
    failpoint::here!("recover.renamed");
    Ok(Some(whole))
}
