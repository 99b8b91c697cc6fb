//! What transforms did to one record: values replaced, fields removed, and what was added under the one top-level key.
//!
//! The record's own bytes are never changed; reading looks here first, encoding splices.

use std::sync::Arc;

/// Where an addition goes below the added top-level key (`trailship`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parent {
    /// `trailship.account`: pieces of several transforms share this object.
    Account,
    /// `trailship.caller`.
    Caller,
    /// `trailship` itself.
    Root,
}

/// Text to be added, made once and shared (an account's fields), or made for one record (`id` 0).
#[derive(Debug, Default)]
pub struct Fragment {
    /// Unique and never reused, for caches of other spellings of it (flat); 0: made for one record, not to be cached.
    pub id: u32,
    /// Members as JSON text, at least one, without the braces around: `"name":"payments","tags":{"env":"prod"}`.
    pub members: Box<[u8]>,
    /// The same as leaves: dotted path below the parent (`tags.env`), and the value as JSON text. Array elements
    /// repeat their path, with their index: see [`FragmentLeaf`].
    pub leaves: Vec<FragmentLeaf>,
}

/// One leaf of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentLeaf {
    /// Keys from the parent down, as plain text (not escaped).
    pub keys: Vec<Box<str>>,
    /// The position, where the leaf is an element of an array.
    pub index: Option<u32>,
    /// The value as JSON text.
    pub value: Box<[u8]>,
}

/// The changes to one record. Reused from record to record.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Leaves (positions in the record's leaf list) whose value is replaced, with the new JSON text; sorted by position.
    pub replaced: Vec<(u32, Box<[u8]>)>,
    /// Leaves that are left out; sorted. A container all of whose leaves are gone goes with them.
    pub removed: Vec<u32>,
    /// What was added, in the order it was added.
    pub added: Vec<(Parent, Arc<Fragment>)>,
}

impl Overlay {
    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.replaced.clear();
        self.removed.clear();
        self.added.clear();
    }

    /// Whether the record's own fields are as AWS wrote them.
    pub fn leaves_untouched(&self) -> bool {
        self.replaced.is_empty() && self.removed.is_empty()
    }
}
