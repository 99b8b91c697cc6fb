//! Paths from a record's root to its leaves, interned per scanner.

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Segment<'a> {
    /// A member of an object: the key's text as written between its quotes (escapes kept).
    Key(&'a [u8]),
    /// An element of an array, from 0.
    Index(u32),
}

/// A path, dense, local to one [`Paths`]; [`PathId::ROOT`] is the record itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl PathId {
    /// The record itself.
    pub const ROOT: PathId = PathId(0);
}
