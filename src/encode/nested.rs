//! The nested shape: the record as AWS wrote it, byte for byte, and what was added before its last brace.
//!
//! Blanks go only where they would break a line in two, or where fields were removed.

use std::borrow::Cow;
use std::sync::Arc;

use super::text::{breaks_lines, plain_key, strip};
use super::tree::{Node, splice};
use crate::record::{Record, Segment};

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
pub(crate) fn free_name<'n>(record: &Record<'_>, name: &'n str) -> Cow<'n, str> {
    let paths = record.index.paths();
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for leaf in record.index.leaves() {
        if let Some(Segment::Key(key)) = paths.segments(record.index.edge(leaf.edge).path).next() {
            let key = plain_key(key);
            if key.starts_with(name.as_bytes()) {
                taken.push(key.into_owned());
            }
        }
    }
    let mut free = Cow::Borrowed(name);
    let mut number = 2usize;
    while taken.iter().any(|key| key == free.as_bytes()) {
        free = Cow::Owned(format!("{name}__{number}"));
        number += 1;
    }
    free
}
