//! The files that were shipped: 56 bytes each in memory, 53 in the state; those that were shipped up to a place have that
//! besides.
//!
//! A file is known while its device, inode, size and time of writing are those it was shipped with. Its entry goes 7 days
//! after the file; until then it may come back (a file system that was not mounted).

use std::collections::HashMap;
use std::time::Duration;

use super::mark::{Facts, Inode};
use crate::ack::Reached;
use crate::clock::Timestamp;

/// How long an entry outlives its file.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// What an entry in the state begins with: of a file that was shipped.
const WHOLE: u8 = 1;
/// Of one that was shipped up to a place.
const PART: u8 = 2;

/// One shipped file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub facts: Facts,
    /// Of its first and last 4 KiB; 0: not known.
    pub digest: u64,
    /// Hours since 1970 when it was first missed; 0: it is there.
    gone: u32,
    /// The search that saw it last.
    round: u32,
}

impl Entry {
    pub(super) fn new(facts: Facts, digest: u64) -> Entry {
        Entry { facts, digest, gone: 0, round: 0 }
    }

    /// As the state keeps it, with the place up to which the file was shipped, where that is not all of it.
    pub(super) fn to_bytes(self, reached: Option<Reached>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(57);
        bytes.push(if reached.is_some() { PART } else { WHOLE });
        bytes.extend(self.facts.size.to_be_bytes());
        bytes.extend(self.facts.modified.to_be_bytes());
        bytes.extend(self.facts.changed.to_be_bytes());
        bytes.extend(self.digest.to_be_bytes());
        bytes.extend(self.gone.to_be_bytes());
        if let Some(Reached { offset, windows, records }) = reached {
            bytes.extend(offset.to_be_bytes());
            bytes.extend(windows.to_be_bytes());
            bytes.extend(records.to_be_bytes());
        }
        bytes
    }

    /// From the state; `None` where it is of a kind this program does not know.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<(Entry, Option<Reached>)> {
        fn number<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8; 8]> {
            let (number, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(number)
        }
        let (kind, mut rest) = bytes.split_first()?;
        let mut long = || number(&mut rest).copied().map(u64::from_be_bytes);
        let (size, modified, changed) = (long()?, long()?.cast_signed(), long()?.cast_signed());
        let (facts, digest) = (Facts { size, modified, changed }, long()?);
        let (gone, mut rest) = rest.split_first_chunk()?;
        let entry = Entry { facts, digest, gone: u32::from_be_bytes(*gone), round: 0 };
        let reached = match *kind {
            WHOLE => None,
            PART => {
                let offset = u64::from_be_bytes(*number(&mut rest)?);
                let (windows, after) = rest.split_first_chunk()?;
                rest = after;
                let records = u64::from_be_bytes(*number(&mut rest)?);
                Some(Reached { offset, windows: u32::from_be_bytes(*windows), records })
            }
            _ => return None,
        };
        rest.is_empty().then_some((entry, reached))
    }
}

impl Inode {
    /// As the state keeps it.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.device.to_be_bytes(), self.number.to_be_bytes()].concat()
    }

    /// From the state.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Inode> {
        let (device, number) = bytes.split_at_checked(8)?;
        let number_of = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        Some(Inode { device: number_of(device)?, number: number_of(number)? })
    }
}

/// What a search did to an entry, to be told to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swept {
    /// It is another now.
    Changed(Inode, Entry, Option<Reached>),
    /// It has gone.
    Forgotten(Inode),
}

/// All shipped files.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: HashMap<Inode, Entry, foldhash::fast::RandomState>,
    /// Of those that were not shipped to their end: up to where.
    parts: HashMap<Inode, Reached, foldhash::fast::RandomState>,
    round: u32,
    swept: Option<Timestamp>,
}

impl Known {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * (size_of::<(Inode, Entry)>() + 1)
    }

    pub(super) fn get(&self, inode: Inode) -> Option<&Entry> {
        self.entries.get(&inode)
    }

    /// The place up to which a file was shipped that was not shipped to its end.
    pub(super) fn part(&self, inode: Inode) -> Option<Reached> {
        self.parts.get(&inode).copied()
    }

    /// A file was shipped: to its end, or up to a place.
    pub(super) fn insert(&mut self, inode: Inode, mut entry: Entry, reached: Option<Reached>) {
        entry.round = self.round;
        self.entries.insert(inode, entry);
        match reached {
            Some(reached) => self.parts.insert(inode, reached),
            None => self.parts.remove(&inode),
        };
    }

    /// A search of everything begins.
    pub(super) fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The search has seen this file. Returns its entry, if it has one.
    pub(super) fn seen(&mut self, inode: Inode) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&inode)?;
        entry.round = self.round;
        Some(entry)
    }

    /// A search of everything has ended, without a directory that could not be read: at the first, and then once a day,
    /// entries whose file was not seen are marked, and forgotten 7 days later.
    pub(super) fn end_round(&mut self, now: Timestamp) -> Vec<Swept> {
        const DAY: Duration = Duration::from_secs(86_400);
        if self.swept.is_some_and(|swept| now.since(swept) < DAY) {
            return Vec::new();
        }
        self.swept = Some(now);
        let hour = |at: Timestamp| u32::try_from(at.seconds() / 3600).unwrap_or(0);
        let kept = u32::try_from(KEPT.as_secs() / 3600).unwrap_or(u32::MAX);
        let mut swept = Vec::new();
        self.entries.retain(|inode, entry| {
            let missing = entry.round != self.round;
            if missing && entry.gone != 0 && hour(now).saturating_sub(entry.gone) >= kept {
                swept.push(Swept::Forgotten(*inode));
                self.parts.remove(inode);
                return false;
            }
            if missing != (entry.gone != 0) {
                entry.gone = if missing { hour(now) } else { 0 };
                swept.push(Swept::Changed(*inode, *entry, self.parts.get(inode).copied()));
            }
            true
        });
        if self.entries.capacity() > 4 * self.entries.len().max(1024) {
            self.entries.shrink_to_fit();
        }
        swept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(number: u64) -> Inode {
        Inode { device: 7, number }
    }

    #[test]
    fn an_entry_reads_back_and_is_small() {
        let facts = Facts { size: 1 << 40, modified: -5, changed: 1_700_000_000_123_456_789 };
        let entry = Entry { gone: 9, ..Entry::new(facts, 3) };
        let reached = Reached { offset: 1 << 41, windows: 7, records: 1 << 33 };
        for reached in [None, Some(reached)] {
            let bytes = entry.to_bytes(reached);
            assert_eq!(Entry::from_bytes(&bytes), Some((entry, reached)));
            assert_eq!(Entry::from_bytes(&bytes[..bytes.len() - 1]), None);
        }
        for wrong in [&[][..], &[1, 2], &[2; 37], &[3; 37], &[1; 38]] {
            assert_eq!(Entry::from_bytes(wrong), None);
        }
        assert_eq!(Inode::from_bytes(&inode(9).to_bytes()), Some(inode(9)));
        assert_eq!(Inode::from_bytes(&[1; 15]), None);
        assert_eq!(size_of::<(Inode, Entry)>(), 56);
    }

    #[test]
    fn an_entry_goes_7_days_after_its_file() {
        let mut known = Known::default();
        let entry = Entry::new(Facts::default(), 1);
        known.insert(inode(1), entry, None);
        known.insert(inode(2), entry, Some(Reached::default()));
        let mut now = Timestamp::from_seconds(1_700_000_000);
        let mut search = |known: &mut Known, sees: &[u64], days: u64| {
            now = now.after(Duration::from_secs(days * 86_400));
            known.begin_round();
            for number in sees {
                known.seen(inode(*number));
            }
            known.end_round(now)
        };
        assert_eq!(search(&mut known, &[1, 2], 0), []);
        assert!(matches!(search(&mut known, &[2], 1)[..], [Swept::Changed(it, _, None)] if it == inode(1)));
        assert_eq!(search(&mut known, &[2], 6), []);
        // It was only away.
        assert!(
            matches!(search(&mut known, &[1, 2], 1)[..], [Swept::Changed(it, _, None)] if it == inode(1))
        );
        assert!(matches!(search(&mut known, &[2], 1)[..], [Swept::Changed(..)]));
        assert_eq!(search(&mut known, &[2], 7), [Swept::Forgotten(inode(1))]);
        assert_eq!((known.len(), known.get(inode(1))), (1, None));
    }

    #[test]
    fn searches_within_a_day_of_a_sweep_mark_nothing() {
        let mut known = Known::default();
        known.insert(inode(1), Entry::default(), None);
        let now = Timestamp::from_seconds(1_700_000_000);
        known.begin_round();
        assert_eq!(known.end_round(now).len(), 1);
        known.begin_round();
        known.seen(inode(1));
        assert_eq!(known.end_round(now.after(Duration::from_secs(3600))), []);
    }
}
