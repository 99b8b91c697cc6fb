//! Slots: the paths somebody asked for, numbered once at start.

use foldhash::HashMap;

/// A path somebody asked for: dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u16);

/// The paths wanted by patterns, identity, protection and transforms. Filled at start, then shared and never changed.
///
/// A path is its dotted text without array indices (`resources.ARN`), after un-escaping keys: `{"a":{"b":1}}` and
/// `{"a.b":1}` are the same path, as in Event Ruler. An empty key is not entered: nothing below it has a slot.
#[derive(Debug, Default, Clone)]
pub struct Slots {
    by_path: HashMap<Box<str>, SlotId>,
    paths: Vec<Box<str>>,
}

impl Slots {
    /// Returns the slot of a dotted path, new or known. At most 65,535; beyond that the last slot is shared.
    pub fn want(&mut self, dotted: &str) -> SlotId {
        if let Some(&slot) = self.by_path.get(dotted) {
            return slot;
        }
        let slot = SlotId(u16::try_from(self.paths.len()).unwrap_or(u16::MAX));
        self.paths.push(dotted.into());
        self.by_path.insert(dotted.into(), slot);
        slot
    }

    /// The slot of a dotted path, where somebody asked for it.
    pub fn find(&self, dotted: &str) -> Option<SlotId> {
        self.by_path.get(dotted).copied()
    }

    /// The dotted path of a slot.
    pub fn path(&self, slot: SlotId) -> &str {
        self.paths.get(usize::from(slot.0)).map_or("", |path| path)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nobody asked for anything.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}
