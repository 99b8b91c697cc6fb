//! Edges of states that have more than a chain holds: found by how their text begins, before it is read as JSON.
//!
//! Behind `userAgent` stand the request parameters of every call there is. Most of these texts begin with the same key
//! (`,"requestParameters":{"`) and differ in the next, so a few lengths of beginnings tell them apart. One edge is kept at
//! each place; whoever steers many to one place makes the scan no slower than it is without them.

use super::{NONE, Shapes};
use crate::record::path::PathId;

/// An edge is found by so many bytes of its text, by as many of these as it has.
const BEGINNINGS: [usize; 8] = [24, 28, 32, 36, 40, 48, 56, 64];
/// Places, a power of two.
const PLACES: usize = 4 * 1024;
/// Every so many uses such an edge is held against those of the chain.
const WEIGHED: u32 = 16;

/// The edge that was found last at each place.
#[derive(Debug)]
pub(super) struct Beyond(Box<[u32]>);

impl Default for Beyond {
    fn default() -> Beyond {
        Beyond(vec![NONE; PLACES].into_boxed_slice())
    }
}

impl Beyond {
    /// Memory it takes.
    pub(super) const BYTES: usize = PLACES * size_of::<u32>();

    fn keep(&mut self, state: PathId, text: &[u8], edge: u32) {
        let mut place = Place::of(state);
        let places = BEGINNINGS.iter().map_while(|&length| Some(place.extend(text.get(..length)?)));
        if let Some(place) = places.last().and_then(|place| self.0.get_mut(place)) {
            *place = edge;
        }
    }
}

impl Shapes {
    /// The edges behind a state's chain that may begin `rest`, one for each length of beginnings, or [`NONE`].
    #[inline(never)]
    pub(in crate::record) fn beyond(&self, state: PathId, rest: &[u8]) -> [u32; BEGINNINGS.len()] {
        let mut place = Place::of(state);
        BEGINNINGS.map(|length| {
            let place = rest.get(..length).map(|text| place.extend(text));
            let edge = place.and_then(|place| self.beyond.0.get(place)).copied().unwrap_or(NONE);
            let leaves_here = self.rows.rows.get(edge as usize).is_some_and(|row| row.link == state.0);
            if leaves_here { edge } else { NONE }
        })
    }

    /// Counts a use of an edge found by [`Shapes::beyond`].
    pub(in crate::record) fn found_beyond(&mut self, state: PathId, at: u32) {
        let Some(hot) = self.hot.get_mut(at as usize) else { return };
        hot.uses = hot.uses.wrapping_add(1);
        if hot.uses.is_multiple_of(WEIGHED) {
            self.weigh(state, at);
        }
    }

    /// Counts a use of an edge found by hash.
    pub(in crate::record) fn found(&mut self, state: PathId, at: u32) {
        let Some(hot) = self.hot.get_mut(at as usize) else { return };
        hot.uses = hot.uses.wrapping_add(1);
        self.weigh(state, at);
    }

    /// Once an edge is used more than the last of the chain it takes its place; until then it is found by its beginning.
    fn weigh(&mut self, state: PathId, at: u32) {
        let uses = self.hot.get(at as usize).map_or(0, |hot| hot.uses);
        let (mut before, mut last) = (NONE, self.head(state));
        while let Some(hot) = self.hot.get(last as usize)
            && hot.next != NONE
        {
            if last == at || hot.next == at {
                return; // it is in the chain: its value decided against it before
            }
            before = last;
            last = hot.next;
        }
        let Some(weakest) = self.hot.get_mut(last as usize) else { return };
        if last == at {
            return;
        }
        if before == NONE || uses <= weakest.uses {
            let text = self.rows.get(at).text;
            self.beyond.keep(state, text, at);
            return;
        }
        weakest.next = NONE;
        if let Some(hot) = self.hot.get_mut(before as usize) {
            hot.next = at;
        }
    }
}

/// Where an edge has its place.
struct Place {
    hash: u64,
    read: usize,
}

impl Place {
    fn of(state: PathId) -> Place {
        Place { hash: u64::from(state.0), read: 0 }
    }

    /// The place of this text, of which an earlier one was the beginning.
    fn extend(&mut self, text: &[u8]) -> usize {
        for word in text.get(self.read..).unwrap_or_default().as_chunks().0 {
            // Fibonacci hashing: what a multiplication moves up, turning moves down for the next.
            let turned = self.hash.rotate_left(29) ^ u64::from(u32::from_le_bytes(*word));
            self.hash = turned.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        self.read = text.len();
        usize::try_from(self.hash >> 40).unwrap_or(0) % PLACES
    }
}
