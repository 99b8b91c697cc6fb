//! The journal: which parts there are and how much of each is durable. What it says survives a crash; what it does not
//! say was never acknowledged.
//!
//! One line each, a checksum before it: `N` a part is about to be made, `L` its durable length, `F` it is about to get its
//! final name (or is gone). Reading ends at the first line that is torn. Lines are appended; a full copy replaces the file
//! when it has grown large, and after any failure to write it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::disk::{Disk, gone};
use crate::failpoint;

/// Size from which the journal is written anew once most of it is of the past, bytes.
const LARGE: u64 = 1 << 20;

/// A part as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The path below the root, without sequence.
    pub(super) partition: String,
    /// Every durable length it had, bytes, in order.
    pub(super) lengths: Vec<u64>,
    /// Whether its final name may have been given.
    pub(super) finishing: bool,
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The journal's own number, part of the names of its parts; 0: there is no journal.
    pub(super) id: u32,
    /// The next sequence.
    pub(super) next: u64,
    /// The folder the parts are below, absolute.
    pub(super) root: String,
    /// By sequence.
    pub(super) parts: BTreeMap<u64, Left>,
}

/// What a new copy of the journal must hold of a part.
pub(super) struct Living<'a> {
    pub(super) sequence: u64,
    pub(super) partition: &'a str,
    pub(super) length: u64,
}

/// The journal of one sink, open for appending.
pub(super) struct Journal<D: Disk> {
    disk: D,
    path: String,
    file: Option<D::File>,
    length: u64,
    id: u32,
    root: String,
    /// Lines not yet written.
    pending: String,
    /// A write failed: what the file holds is not known, it must be written anew before anything else.
    broken: bool,
    /// Length of the last full copy, bytes.
    copied: u64,
}

impl<D: Disk> Journal<D> {
    /// Reads what is there. Nothing is written before [`Journal::copy`].
    pub(super) fn open(mut disk: D, path: String, root: &str) -> io::Result<(Journal<D>, Said)> {
        let said = match disk.read(&path) {
            Ok(bytes) => Some(read(&bytes)).filter(|said| said.id != 0).ok_or_else(|| {
                let why =
                    "not a journal of parts: move it away; the parts it told of stay hidden where they are";
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            Err(error) if gone(&error) => Said::default(),
            Err(error) => return Err(error),
        };
        let id = if said.id == 0 { random() } else { said.id };
        let (file, pending, root) = (None, String::new(), root.to_owned());
        let journal = Journal { disk, path, file, length: 0, id, root, pending, broken: true, copied: 0 };
        Ok((journal, said))
    }

    /// The journal's own number, never 0.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Whether the journal must be written anew before a part is written to.
    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// What the file says of the last lines is not known.
    pub(super) fn spoil(&mut self) {
        self.broken = true;
        self.pending.clear();
    }

    /// Whether most of a large journal is of the past.
    pub(super) fn large(&self) -> bool {
        self.length > LARGE && self.length > 4 * self.copied
    }

    pub(super) fn begin(&mut self, sequence: u64, partition: &str) {
        line(&mut self.pending, format_args!("N {sequence} {partition}"));
    }

    pub(super) fn durable(&mut self, sequence: u64, length: u64) {
        line(&mut self.pending, format_args!("L {sequence} {length}"));
    }

    pub(super) fn finish(&mut self, sequence: u64) {
        line(&mut self.pending, format_args!("F {sequence}"));
    }

    /// Writes what is pending: it survives the process, not yet the machine.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() || self.broken {
            return Ok(());
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = self.disk.write(file, self.length, pending.as_bytes());
        self.broken = written.is_err();
        self.length += pending.len() as u64;
        written
    }

    /// Writes what is pending, durably.
    ///
    /// Errors: what the file holds is unknown; [`Journal::copy`] must come next.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        self.write()?;
        let Some(file) = self.file.as_mut().filter(|_| !self.broken) else {
            return Err(io::Error::other("the journal could not be written before"));
        };
        // A journal that somebody removed would say nothing after a crash.
        let kept = self
            .disk
            .is_at(&self.path, file)
            .and_then(|there| if there { self.disk.sync(file) } else { Err(io::ErrorKind::NotFound.into()) });
        self.broken = kept.is_err();
        kept
    }

    /// Writes the whole journal anew, durably.
    pub(super) fn copy<'a>(&mut self, next: u64, living: impl Iterator<Item = Living<'a>>) -> io::Result<()> {
        self.broken = true;
        self.pending.clear();
        let mut text = String::new();
        line(&mut text, format_args!("trailship-parts 1 {:08x} {next} {}", self.id, self.root));
        for part in living {
            line(&mut text, format_args!("N {} {}", part.sequence, part.partition));
            if part.length > 0 {
                line(&mut text, format_args!("L {} {}", part.sequence, part.length));
            }
        }
        let new = format!("{}.new", self.path);
        self.disk.remove(&new)?;
        let mut file = self.disk.create(&new)?;
        self.disk.write(&mut file, 0, text.as_bytes())?;
        self.disk.sync(&mut file)?;
        failpoint::here!("journal.before_rename");
        self.disk.replace(&new, &self.path)?;
        failpoint::here!("journal.renamed");
        self.disk.sync_parent(&self.path)?;
        self.file = Some(file);
        self.length = text.len() as u64;
        self.copied = self.length;
        self.broken = false;
        Ok(())
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let start = text.len() + 9;
    let written = write!(text, "00000000 {what}");
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
    let sum = format!("{:08x}", crc32fast::hash(&text.as_bytes()[start..]));
    text.replace_range(start - 9..start - 1, &sum);
    text.push('\n');
}

/// Reads a journal up to its first torn line.
fn read(bytes: &[u8]) -> Said {
    let mut said = Said::default();
    let whole = memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1);
    for (number, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
        let text = line.split_at_checked(9).and_then(|(sum, text)| {
            let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.trim_end(), 16).ok()?;
            (sum == crc32fast::hash(text)).then(|| std::str::from_utf8(text).ok())?
        });
        let Some(text) = text else { break };
        if take(text, number == 0, &mut said).is_none() {
            break;
        }
    }
    said
}

fn take(text: &str, first: bool, said: &mut Said) -> Option<()> {
    let (tag, rest) = text.split_once(' ')?;
    if first {
        let mut parts = rest.splitn(4, ' ');
        let right = tag == "trailship-parts" && parts.next()? == "1";
        let (id, next, root) = (parts.next()?, parts.next()?, parts.next()?);
        let id = u32::from_str_radix(id, 16).ok().filter(|id| right && *id != 0)?;
        (said.next, said.root) = (next.parse().ok()?, root.to_owned());
        said.id = id;
        return Some(());
    }
    let (sequence, value) = rest.split_once(' ').unwrap_or((rest, ""));
    let sequence: u64 = sequence.parse().ok()?;
    match tag {
        "N" => {
            let left = Left { partition: value.to_owned(), lengths: Vec::new(), finishing: false };
            said.parts.insert(sequence, left);
            said.next = said.next.max(sequence.saturating_add(1));
        }
        "L" => said.parts.get_mut(&sequence)?.lengths.push(value.parse().ok()?),
        "F" => said.parts.get_mut(&sequence)?.finishing = true,
        _ => return None,
    }
    Some(())
}

/// A number that no other journal has, as far as chance goes.
fn random() -> u32 {
    use std::hash::BuildHasher;
    // Keys come from the system's random numbers.
    let number = std::hash::RandomState::new().hash_one("journal");
    u32::try_from(number >> 32).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::disk::Root;
    use super::*;

    fn journal(folder: &std::path::Path) -> (Journal<Root>, Said) {
        Journal::open(Root::new(folder), "sinks/archive/journal".to_owned(), "/a folder/out").unwrap()
    }

    #[test]
    fn what_was_committed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, said) = journal(folder.path());
        assert_eq!(said, Said::default());
        first.copy(7, [Living { sequence: 3, partition: "a b/c.ndjson", length: 10 }].into_iter()).unwrap();
        first.begin(7, "d.ndjson");
        first.durable(7, 100);
        first.durable(3, 20);
        first.finish(3);
        first.commit().unwrap();
        let (second, said) = journal(folder.path());
        assert_eq!(second.id(), first.id());
        assert_eq!((said.next, said.root.as_str()), (8, "/a folder/out"));
        let left = &said.parts[&3];
        assert_eq!(
            (left.partition.as_str(), left.lengths.as_slice(), left.finishing),
            ("a b/c.ndjson", &[10, 20][..], true)
        );
        assert_eq!(said.parts[&7].lengths, [100]);
    }

    #[test]
    fn a_torn_tail_is_not_believed() {
        let mut text = String::new();
        line(&mut text, format_args!("trailship-parts 1 0000002a 7 /out"));
        line(&mut text, format_args!("N 7 a.ndjson"));
        line(&mut text, format_args!("L 7 10"));
        let whole = text.len();
        line(&mut text, format_args!("L 7 2000"));
        for end in whole..text.len() {
            let said = read(&text.as_bytes()[..end]);
            assert_eq!(said.parts[&7].lengths, [10], "cut at {end}");
        }
        for at in whole..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(read(&bytes).parts[&7].lengths, [10], "changed at {at}");
        }
        assert_eq!(read(text.as_bytes()).parts[&7].lengths, [10, 2000]);
        assert_eq!(read(b""), Said::default());
        assert_eq!(read(&[0; 100]), Said::default());
    }

    #[test]
    fn a_journal_that_was_removed_is_not_committed_to() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = journal(folder.path());
        journal.copy(1, std::iter::empty()).unwrap();
        std::fs::remove_dir_all(folder.path().join("sinks")).unwrap();
        journal.begin(1, "a");
        assert!(journal.commit().is_err());
        assert!(journal.broken());
        journal.copy(1, std::iter::empty()).unwrap();
        journal.commit().unwrap();
    }
}
