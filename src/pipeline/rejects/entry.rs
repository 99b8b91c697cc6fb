//! One entry as a file: a line of JSON (the manifest, its last member the keyed hash), then the bytes of the items.
//!
//! The hash is over everything in the file but its own digits. An entry is read to its end before it is believed, and
//! never held: what is asked for is copied on the way.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::key::{DIGITS, Key, Seal};
use super::{Manifest, VERSION};

/// A manifest longer than this is none: one of ours describes at most about a MiB of items and their reasons.
const LONGEST: u64 = 32 << 20;
/// What stands before the hash.
const BEFORE: &[u8] = b",\"mac\":\"";
/// What stands behind the hash.
const BEHIND: &[u8] = b"\"}\n";

/// What is wrong with an entry. It is shown, and never shipped again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not whole, or cannot be read.
    #[error("torn: {0}")]
    Torn(String),
    /// It is whole, and was not written by a program with this data directory, or was changed since.
    #[error("forged: {0}")]
    Forged(&'static str),
}

/// Writes the head of an entry: the line up to the hash, and from it to the line's end.
///
/// # Errors
/// The manifest cannot be written as JSON.
pub(super) fn head(manifest: &Manifest, key: &Key, bytes: &[&[u8]]) -> serde_json::Result<Vec<u8>> {
    let mut head = serde_json::to_vec(manifest)?;
    head.pop();
    head.extend_from_slice(BEFORE);
    let mut seal = key.seal();
    seal.add(&head);
    seal.add(BEHIND);
    bytes.iter().for_each(|piece| seal.add(piece));
    head.extend_from_slice(seal.digits().as_bytes());
    head.extend_from_slice(BEHIND);
    Ok(head)
}

/// An entry that was opened; its manifest is not to be believed before [`Entry::verify`].
#[derive(Debug)]
pub struct Entry {
    /// What it says it is.
    pub manifest: Manifest,
    /// The line, hash included.
    line: Vec<u8>,
    rest: BufReader<File>,
}

impl Entry {
    /// Opens an entry and reads its manifest. `number` is what its name says.
    ///
    /// # Errors
    /// It is not there (`NotFound`), or what is wrong with it.
    pub fn open(path: &Path) -> io::Result<Result<Entry, Fault>> {
        // Neither a link nor a pipe that somebody put here is followed or waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(rustix::io::Errno::LOOP) => return Ok(Err(Fault::Torn("it is a link".to_owned()))),
            opened => opened?,
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Ok(Err(Fault::Torn("it is no file".to_owned())));
        }
        let mut rest = BufReader::with_capacity(64 << 10, File::from(file));
        let mut line = Vec::new();
        rest.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(Err(Fault::Torn("its first line does not end".to_owned())));
        }
        Ok(match serde_json::from_slice(&line) {
            Ok(manifest) => Ok(Entry { manifest, line, rest }),
            Err(error) => Err(Fault::Torn(format!("its first line is no manifest: {error}"))),
        })
    }

    /// Reads it to its end and says whether it is what it says. Each item's bytes are handed to `take` on the way, in
    /// pieces, with the item's number: not to be used before the answer is known.
    ///
    /// # Errors
    /// What is wrong with it, or what `take` or the system says.
    pub fn verify(
        self,
        number: u64,
        key: Option<&Key>,
        mut take: impl FnMut(usize, &[u8]) -> io::Result<()>,
    ) -> io::Result<Result<Manifest, Fault>> {
        let Entry { manifest, line, mut rest } = self;
        let digits = line.len().checked_sub(DIGITS + BEHIND.len());
        let sealed =
            digits.and_then(|at| line.split_at_checked(at)).filter(|(front, _)| front.ends_with(BEFORE));
        let mut seal = key.map(Key::seal);
        let add = |seal: &mut Option<Seal>, bytes: &[u8]| {
            if let Some(seal) = seal {
                seal.add(bytes);
            }
        };
        if let Some((front, _)) = sealed {
            add(&mut seal, front);
            add(&mut seal, BEHIND);
        }
        for (item, described) in manifest.items.iter().enumerate() {
            let mut left = described.length;
            while left > 0 {
                let piece = rest.fill_buf()?;
                let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let Some(piece) = piece.get(..length).filter(|piece| !piece.is_empty()) else {
                    return Ok(Err(Fault::Torn("it is shorter than its manifest says".to_owned())));
                };
                add(&mut seal, piece);
                take(item, piece)?;
                rest.consume(length);
                left -= length as u64;
            }
        }
        if !rest.fill_buf()?.is_empty() {
            return Ok(Err(Fault::Torn("it is longer than its manifest says".to_owned())));
        }
        let (Some(seal), Some((_, digits))) = (seal, sealed) else {
            return Ok(Err(Fault::Forged("it has no keyed hash of this data directory")));
        };
        Ok(if !digits.get(..DIGITS).is_some_and(|digits| seal.is(digits)) {
            Err(Fault::Forged(
                "its keyed hash is not that of this data directory: it was changed, or put here",
            ))
        } else if manifest.entry != number || manifest.version != VERSION {
            Err(Fault::Forged("it is a copy of another entry"))
        } else {
            Ok(manifest)
        })
    }
}

/// Writes an item's bytes into a list of pieces, for whoever may hold them.
pub fn collect(into: &mut Vec<Vec<u8>>) -> impl FnMut(usize, &[u8]) -> io::Result<()> {
    |item, bytes| {
        into.resize(into.len().max(item + 1), Vec::new());
        into[item].write_all(bytes)
    }
}
