//! Which leaves of the record stand at a wanted path.

use super::slots::SlotId;

/// Ends a list.
const NONE: u32 = u32::MAX;

/// One slot. Nearly always there is one leaf or none; repeated keys and arrays add a list.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The record this was written for.
    stamp: u32,
    first: u32,
    last: u32,
    /// The list of further leaves: its head and its end.
    head: u32,
    end: u32,
}

/// The slots of one record. Starting a new record costs nothing.
#[derive(Debug)]
pub(super) struct SlotTable {
    stamp: u32,
    places: Vec<Place>,
    more: Vec<(u32, u32)>,
}

impl SlotTable {
    pub(super) fn new(slots: usize) -> SlotTable {
        let empty = Place { stamp: 0, first: 0, last: 0, head: NONE, end: NONE };
        SlotTable { stamp: 0, places: vec![empty; slots], more: Vec::new() }
    }

    pub(super) fn begin(&mut self) {
        self.more.clear();
        self.more.shrink_to(4096);
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            *self = SlotTable::new(self.places.len());
            self.stamp = 1;
        }
    }

    #[inline]
    pub(super) fn add(&mut self, slot: u32, leaf: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        if place.stamp == self.stamp {
            self.repeat(slot, leaf);
        } else {
            *place = Place { stamp: self.stamp, first: leaf, last: leaf, head: NONE, end: NONE };
        }
    }

    /// Enters the first leaf of a slot (of none: [`super::shape::NONE`]); `false` where there is one already.
    #[inline(always)]
    pub(super) fn set_first(&mut self, slot: u32, leaf: u32) -> bool {
        if let Some(place) = self.places.get_mut(slot as usize) {
            if place.stamp == self.stamp {
                return false;
            }
            *place = Place { stamp: self.stamp, first: leaf, last: leaf, head: NONE, end: NONE };
        }
        true
    }

    #[inline(never)]
    fn repeat(&mut self, slot: u32, leaf: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Ok(entry) = u32::try_from(self.more.len()) else { return };
        self.more.push((leaf, NONE));
        place.last = leaf;
        if place.head == NONE {
            place.head = entry;
        } else if let Some(end) = self.more.get_mut(place.end as usize) {
            end.1 = entry;
        }
        place.end = entry;
    }

    #[inline]
    fn place(&self, slot: SlotId) -> Option<Place> {
        self.places.get(usize::from(slot.0)).copied().filter(|place| place.stamp == self.stamp)
    }

    #[inline]
    pub(super) fn first(&self, slot: SlotId) -> Option<u32> {
        self.place(slot).map(|place| place.first)
    }

    #[inline]
    pub(super) fn last(&self, slot: SlotId) -> Option<u32> {
        self.place(slot).map(|place| place.last)
    }

    #[inline]
    pub(super) fn alone(&self, slot: SlotId) -> Alone<u32> {
        match self.places.get(usize::from(slot.0)) {
            Some(place) if place.stamp == self.stamp => match place.head {
                NONE => Alone::One(place.first),
                _ => Alone::Several,
            },
            _ => Alone::None,
        }
    }

    #[inline]
    pub(super) fn all(&self, slot: SlotId) -> Hits<'_> {
        let place = self.place(slot);
        Hits {
            more: &self.more,
            first: place.map(|place| place.first),
            head: place.map_or(NONE, |place| place.head),
        }
    }
}

/// What there is in a slot: nearly always nothing, or one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone<T> {
    /// Nothing.
    None,
    /// This.
    One(T),
    /// Perhaps several: they have to be gone through.
    Several,
}

/// The leaves of one slot, in the order they stand in the record: positions in [`super::Scanner::leaves`].
#[derive(Clone, Debug)]
pub struct Hits<'a> {
    more: &'a [(u32, u32)],
    first: Option<u32>,
    head: u32,
}

impl Iterator for Hits<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let &(leaf, next) = self.more.get(self.head as usize)?;
        self.head = next;
        Some(leaf)
    }
}
