//! The record: spans into a window's buffer, found by one scan that validates and indexes.
//!
//! A [`Scanner`] walks one JSON object and yields its **leaves** in order: for each scalar and each empty container
//! the span of its text, and the **edge** it was reached by. An edge is the literal text between the leaf before
//! (or the record's start) and this leaf's first byte: quotes, keys, punctuation, blanks. CloudTrail repeats itself,
//! so edges are learned: parsed once by a slow, obvious parser ([`plain`]), compared as bytes afterwards ([`scan`]).
//! Each edge leads to a [`PathId`]: the keys and array indices from the root to the leaf.
//!
//! Whoever wants a field asks for its dotted path once, at start ([`Slots::want`]), and reads its slot per record.
//! Nothing is looked up by name while records flow. The rest of the program must not know how any of this works.

#[doc(hidden)]
pub mod fuzz;
pub mod identity;
pub mod overlay;
pub mod path;
pub mod plain;
pub mod protect;
pub mod scan;
pub mod slots;

mod block;
mod gap;
mod hits;
mod shape;
mod skip;
mod string;
mod unescape;

pub use hits::{Alone, Hits};
pub use path::{PathId, Paths, Segment};
pub use scan::{Scan, ScanLimits, Scanner};
pub use shape::Edge;
pub use slots::{SlotId, Slots};
pub(crate) use unescape::unescape;

/// One leaf of a record: a scalar, an empty container, or a subtree kept whole because the record has too many leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The edge it was reached by: see [`scan::Scanner::edge`].
    pub edge: EdgeId,
    /// First byte of the value's text in the window's buffer (the quote of a string).
    pub start: u32,
    /// One past the value's last byte. `start < end <= buffer.len()`.
    pub end: u32,
}

/// A learned piece of text between two leaves; dense, local to one [`Scanner`], valid until [`Scanner::generation`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub u32);

impl EdgeId {
    /// Ids from here on are valid for the current record only.
    pub const TEMPORARY: u32 = 1 << 31;

    /// Whether this id is valid for the current record only.
    pub const fn is_temporary(self) -> bool {
        self.0 >= EdgeId::TEMPORARY
    }
}

/// A bracket in an edge's text that stands outside keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its offset in the edge's text.
    pub at: u32,
    /// One of `{`, `}`, `[`, `]`.
    pub bracket: u8,
}

/// What kind of JSON value a leaf's text is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"…"`, escapes as written.
    String,
    /// A number as written.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
    /// `{}` (possibly with blanks inside), or an object kept whole.
    Object,
    /// `[]` (possibly with blanks inside), or an array kept whole.
    Array,
}

impl Kind {
    /// Tells the kind of a JSON value from the first byte of its text.
    pub fn of(text: &[u8]) -> Kind {
        match text.first() {
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            _ => Kind::Number,
        }
    }
}

/// What a record is, taken once at decode: later renaming of fields cannot break it.
///
/// Spans are offsets into the window's buffer, of the value's text without its quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `eventID` + `recipientAccountId`; aggregated events `eventId` + `accountId`; neither: a hash of the record's bytes.
    pub id: identity::RecordId,
    /// Whether the id is a hash of the record's bytes: equal records are equal, but the same event written differently is another.
    pub derived: bool,
    /// Seconds since 1970-01-01T00:00:00Z of `eventTime` (Insights too; aggregated: `timeWindow.windowStart`). `None`: absent or unreadable.
    pub time: Option<i64>,
    /// The account the event was recorded in, 12 digits: `recipientAccountId`, else `accountId`, else `userIdentity.accountId`, else the object key's.
    pub account: Option<identity::Account>,
    /// Whether the record itself says another account than its object's key does.
    pub elsewhere: bool,
    /// The caller's account (`userIdentity.accountId`) where it is known.
    pub caller: Option<identity::Account>,
    /// `awsRegion`.
    pub region: Option<Span>,
    /// `eventName` (Insights: `insightDetails.eventName`).
    pub name: Option<Span>,
    /// Management, Data, Insight, NetworkActivity, Aggregated: from `eventCategory`, else `eventType`.
    pub kind: identity::EventKind,
    /// Who did it: `userIdentity.arn`, else `principalId`, else `invokedBy`, else `userIdentity.accountId`.
    pub principal: Option<Span>,
}

/// A range of bytes in a window's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte. `start <= end`.
    pub end: u32,
}

impl Span {
    /// The bytes this span stands for.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One scanned record with what transforms have done to it so far: what patterns, transforms and encoders work on.
pub struct Record<'a> {
    /// The window's buffer; every span points into it. Never changed.
    pub buffer: &'a [u8],
    /// The record's own text, from `{` to `}`.
    pub span: Span,
    /// Leaves, slots, edges and paths of this record.
    pub index: &'a Scanner,
    /// What transforms changed and added.
    pub overlay: &'a mut overlay::Overlay,
    /// What it is.
    pub identity: Identity,
    /// Why no rule may thin it; empty: it may be.
    pub protection: protect::Protection,
    /// The shipped signal families it belongs to, by name: bit `n` is family `n`.
    pub families: u64,
}

impl Record<'_> {
    /// The JSON text of the value at a slot as it stands now, edits included; the last where there are several.
    pub fn text(&self, slot: SlotId) -> Option<&[u8]> {
        let position = self.index.hits(slot).last()?;
        if self.overlay.removed.binary_search(&position).is_ok() {
            return None;
        }
        if let Ok(at) = self.overlay.replaced.binary_search_by_key(&position, |(position, _)| *position) {
            return Some(&self.overlay.replaced[at].1);
        }
        let leaf = self.index.leaves().get(position as usize)?;
        self.buffer.get(leaf.start as usize..leaf.end as usize)
    }

    /// The record's own JSON text, as AWS wrote it.
    pub fn original(&self) -> &[u8] {
        self.span.of(self.buffer)
    }
}

/// A JSON string's text without its quotes, escapes as written; anything else as it is.
pub fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}
