//! The leaves of one record, in order, in memory that the next record uses again.

use crate::record::Leaf;

/// How many leaves there is room for at first.
const FIRST: usize = 512;
/// Room that is kept from one record to the next.
const KEPT: usize = 4096;

/// A list whose memory is always written: adding to it within its room is one comparison.
pub(super) struct Leaves {
    room: Vec<Leaf>,
    len: usize,
}

impl Leaves {
    const EMPTY: Leaf = Leaf { edge: crate::record::EdgeId(0), start: 0, end: 0 };

    pub(super) fn new() -> Leaves {
        Leaves { room: vec![Leaves::EMPTY; FIRST], len: 0 }
    }

    pub(super) fn clear(&mut self) {
        if self.room.len() > KEPT {
            self.room.truncate(KEPT);
            self.room.shrink_to_fit();
        }
        self.len = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, leaf: Leaf) {
        if self.len == self.room.len() {
            self.room.resize(2 * self.len, Leaves::EMPTY);
        }
        self.room[self.len] = leaf;
        self.len += 1;
    }

    /// The room for at most `most` leaves, with how many there are: what is written behind them is there once this is raised.
    pub(super) fn room(&mut self, most: usize) -> (&mut [Leaf], &mut usize) {
        let end = most.min(self.room.len());
        (&mut self.room[..end], &mut self.len)
    }
}

impl std::ops::Deref for Leaves {
    type Target = [Leaf];

    fn deref(&self) -> &[Leaf] {
        &self.room[..self.len]
    }
}
