//! The nested shape: the record as AWS wrote it, byte for byte, and what was added before its last brace.
//!
//! Blanks go only where they would break a line in two, or where fields were removed.

use std::sync::Arc;

use super::text::{breaks_lines, plain_key, strip};
use super::tree::{Node, splice};
use crate::record::{Leaf, PathId, Record, Segment};

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
pub(crate) fn members(record: &Record<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let own = record.span.of(record.buffer);
    let leaves = record.index.leaves();
    if !record.overlay.removed.is_empty() {
        Node::of_record(record.buffer, record.span.start as usize, leaves, record.overlay).write(out);
    } else if breaks_lines(own) {
        scratch.clear();
        let edited = if record.overlay.replaced.is_empty() {
            own
        } else {
            splice(
                record.buffer,
                record.span.start as usize,
                record.span.end as usize,
                leaves,
                record.overlay,
                scratch,
            );
            scratch
        };
        strip(edited, out);
    } else if record.overlay.replaced.is_empty() {
        out.extend_from_slice(own);
    } else {
        splice(
            record.buffer,
            record.span.start as usize,
            record.span.end as usize,
            leaves,
            record.overlay,
            out,
        );
    }
    if out.last() == Some(&b'}') {
        out.pop();
    }
    out.get(start + 1..).is_some_and(|members| !members.iter().all(u8::is_ascii_whitespace))
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

/// Which edges lead into a member that has the name of what is added.
#[derive(Debug, Default)]
pub(crate) struct Names {
    generation: u64,
    /// By lasting edge.
    known: Vec<Answer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    Unknown,
    Other,
    Ours,
}

impl Names {
    /// Whether the record has a member of this name.
    pub(crate) fn has(&mut self, record: &Record<'_>, name: &str) -> bool {
        if self.generation != record.index.generation() {
            *self = Names { generation: record.index.generation(), known: Vec::new() };
        }
        record.index.leaves().iter().any(|leaf| {
            let known = self.known.get(leaf.edge.0 as usize).copied().unwrap_or_default();
            (if known == Answer::Unknown { self.ask(record, leaf, name) } else { known }) == Answer::Ours
        })
    }

    #[cold]
    #[inline(never)]
    fn ask(&mut self, record: &Record<'_>, leaf: &Leaf, name: &str) -> Answer {
        let paths = record.index.paths();
        let mut path = record.index.path(*leaf);
        while paths.parent(path) != PathId::ROOT {
            path = paths.parent(path);
        }
        let answer = match paths.last(path) {
            Some(Segment::Key(key)) if *plain_key(key) == *name.as_bytes() => Answer::Ours,
            _ => Answer::Other,
        };
        if !leaf.edge.is_temporary() {
            let at = leaf.edge.0 as usize;
            if at >= self.known.len() {
                self.known.resize(at + 1, Answer::Unknown);
            }
            if let Some(known) = self.known.get_mut(at) {
                *known = answer;
            }
        }
        answer
    }
}
