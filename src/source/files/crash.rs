//! What crashes leave: files that were on loan when a run ended. They are shipped again, and the log says how many records.
//!
//! Each run that ended with a file on loan may have shipped it, so its records are counted once for each. The count is
//! written with what it counts, so that a crash before it is told loses none of it: the log never says too little.

use std::collections::HashMap;

use super::mark::Inode;

/// Files that runs before had lent and not settled.
#[derive(Debug, Default)]
pub(super) struct Crash {
    /// Not settled yet.
    pub open: HashMap<Inode, Runs>,
    /// Settled since.
    pub files: u64,
    /// Their records, once for each run that may have shipped them.
    pub records: u64,
    /// Keys of the notes that told of them.
    pub notes: Vec<Vec<u8>>,
}

/// Runs that ended while a file was on loan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// How many.
    pub count: u64,
    /// The epoch of the last.
    last: u64,
}

impl Crash {
    /// A run noted that a file is on loan; notes come in the order of the runs.
    pub(super) fn noted(&mut self, inode: Inode, epoch: u64) {
        let runs = self.open.entry(inode).or_default();
        // A run may lend a file several times; what came out of it once goes nowhere again in that run.
        if runs.count == 0 || runs.last != epoch {
            *runs = Runs { count: runs.count + 1, last: epoch };
        }
    }

    /// A part of a file was shipped again. `false`: it was not on loan in a crash.
    pub(super) fn part(&mut self, inode: Inode, records: u64) -> bool {
        let Some(runs) = self.open.get(&inode) else { return false };
        self.records += runs.count * records;
        true
    }

    /// The rest of a file was shipped again.
    pub(super) fn settled(&mut self, inode: Inode, records: u64) -> bool {
        let known = self.part(inode, records);
        if known {
            self.open.remove(&inode);
            self.files += 1;
        }
        known
    }

    /// The count, as the state keeps it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [self.files.to_be_bytes(), self.records.to_be_bytes()].concat()
    }

    /// Goes on with the count of a run that ended before it was told.
    pub(super) fn resume(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks();
        if let [files, records] = *words {
            (self.files, self.records) = (u64::from_be_bytes(files), u64::from_be_bytes(records));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_once_for_each_run_that_may_have_shipped_them() {
        let inode = |number| Inode { device: 1, number };
        let mut crash = Crash::default();
        for (number, epoch) in [(1, 3), (2, 3), (1, 3), (1, 5)] {
            crash.noted(inode(number), epoch);
        }
        assert!(!crash.settled(inode(9), 100));
        assert!(crash.part(inode(1), 10) && crash.settled(inode(1), 5));
        assert_eq!((crash.files, crash.records, crash.open.len()), (1, 30, 1));
        let mut next = Crash::default();
        next.resume(&crash.to_bytes());
        next.resume(&[1, 2, 3]);
        assert_eq!((next.files, next.records), (1, 30));
    }
}
