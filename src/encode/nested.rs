//! The nested shape: the record as AWS wrote it, byte for byte, and what was added before its last brace.
//!
//! Blanks go only where they would break a line in two, or where fields were removed.

use std::sync::Arc;

use super::text::{breaks_lines, plain_key, strip};
use super::tree::{Node, splice};
use crate::record::{EdgeId, PathId, Record, Segment};

/// What the nested shape looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// The top-level key of what is added. Where the record has a member of this name, ours is `name__2`, and so on:
    /// neither is lost.
    pub name: Arc<str>,
}

impl Default for Nested {
    fn default() -> Self {
        Nested { name: "trailship".into() }
    }
}

/// Appends the record's own members: `{…` without the last brace. Returns whether there are any.
///
/// What was written is not read again where nothing has to be taken out: a copy that is on its way to memory would be waited
/// for.
pub(crate) fn members(
    record: &Record<'_>,
    is_stripped: bool,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let own = record.span.of(record.buffer);
    let (first, leaves) = (record.span.start as usize, record.index.leaves());
    if !is_stripped && record.overlay.removed.is_empty() {
        let open = own.strip_suffix(b"}").unwrap_or(own);
        if record.overlay.replaced.is_empty() {
            out.extend_from_slice(open);
        } else {
            splice(record.buffer, first, first + open.len(), leaves, record.overlay, out);
        }
        return has_members(open);
    }
    if !record.overlay.removed.is_empty() {
        Node::of_record(record.buffer, first, leaves, record.overlay).write(out);
    } else {
        scratch.clear();
        let edited = if record.overlay.replaced.is_empty() {
            own
        } else {
            splice(record.buffer, first, first + own.len(), leaves, record.overlay, scratch);
            scratch
        };
        strip(edited, out);
    }
    if out.last() == Some(&b'}') {
        out.pop();
    }
    has_members(out.get(start..).unwrap_or_default())
}

/// Whether anything but blanks stands behind an object's first brace.
fn has_members(open: &[u8]) -> bool {
    open.get(1..).is_some_and(|members| !members.iter().all(u8::is_ascii_whitespace))
}

/// The first of `name`, `name__2`, `name__3`, … that is no member of the record.
pub(crate) fn free_name(record: &Record<'_>, name: &str) -> String {
    let paths = record.index.paths();
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for leaf in record.index.leaves() {
        if let Some(Segment::Key(key)) = paths.segments(record.index.path(*leaf)).next() {
            taken.push(plain_key(key).into_owned());
        }
    }
    let mut free = name.to_owned();
    let mut number = 2usize;
    while taken.iter().any(|key| key == free.as_bytes()) {
        free = format!("{name}__{number}");
        number += 1;
    }
    free
}

/// What the nested shape has to know of a record, learned by edge.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    generation: u64,
    /// By lasting edge: a set of the bits below; 0 is unknown.
    known: Vec<u8>,
}

/// Set for every edge that was looked at.
const KNOWN: u8 = 1;
/// It leads into a member that has the name of what is added.
const OURS: u8 = 2;
/// A line break stands in it.
const LINES: u8 = 4;

/// What a record needs beside being copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// It has a member of the name of what is added.
    pub(crate) another_name: bool,
    /// It spans lines.
    pub(crate) strip: bool,
}

impl Edges {
    /// Looks at all edges of a record.
    pub(crate) fn needs(&mut self, record: &Record<'_>, name: &str) -> Needs {
        self.renew(record);
        let mut bits = 0;
        for leaf in record.index.leaves() {
            bits |= self.bits(record, leaf.edge, name);
        }
        self.needs_beside(record, name, bits)
    }

    /// The same for who has looked at the edges of all leaves: their bits, by [`learn`].
    pub(crate) fn needs_beside(&mut self, record: &Record<'_>, name: &str, bits: u8) -> Needs {
        self.renew(record);
        let bits = bits | self.bits(record, record.index.tail(), name);
        let strip = bits & LINES != 0
            || (record.index.has_wide_container() && breaks_lines(record.span.of(record.buffer)));
        Needs { another_name: bits & OURS != 0, strip }
    }

    fn renew(&mut self, record: &Record<'_>) {
        if self.generation != record.index.generation() {
            *self = Edges { generation: record.index.generation(), known: Vec::new() };
        }
    }

    #[inline]
    fn bits(&mut self, record: &Record<'_>, edge: EdgeId, name: &str) -> u8 {
        match self.known.get(edge.0 as usize) {
            Some(&known) if known != 0 => known,
            _ => self.look(record, edge, name),
        }
    }

    #[inline(never)]
    fn look(&mut self, record: &Record<'_>, id: EdgeId, name: &str) -> u8 {
        let id = record.index.like(id).unwrap_or(id); // far elements of an array are alike in this
        if let Some(&known) = self.known.get(id.0 as usize)
            && known != 0
        {
            return known;
        }
        let bits = KNOWN | learn(record, id, name);
        if !id.is_temporary() {
            let at = id.0 as usize;
            if at >= self.known.len() {
                self.known.resize(at + 1, 0);
            }
            if let Some(known) = self.known.get_mut(at) {
                *known = bits;
            }
        }
        bits
    }
}

/// What the nested shape has to know of an edge; 0: nothing, as of nearly every one.
pub(crate) fn learn(record: &Record<'_>, id: EdgeId, name: &str) -> u8 {
    let (paths, edge) = (record.index.paths(), record.index.edge(id));
    let mut top = edge.path;
    while paths.parent(top) != PathId::ROOT {
        top = paths.parent(top);
    }
    let ours = matches!(paths.last(top), Some(Segment::Key(key)) if *plain_key(key) == *name.as_bytes());
    (if ours { OURS } else { 0 }) | if edge.has_newline { LINES } else { 0 }
}
