//! Encoding: how a record becomes output text.
//!
//! A [`Shape`] says what is written, an [`Encoder`] writes it: one JSON object for each record, on one line. What no
//! transform touched is written byte for byte as AWS wrote it: order of members, spelling of numbers, escapes, fields
//! nobody knows.
//!
//! - **Nested**: the record, with what was added under one top-level key.
//! - **Flat**: one level of keys, for tools that want stable columns; the rules stand in [`flat`].

pub(crate) mod added;
pub mod compress;
mod fast;
pub mod flat;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod nested;
pub mod packer;
mod page;
pub(crate) mod text;
pub(crate) mod tree;
pub mod unflatten;

use std::sync::Arc;

pub use flat::{Arrays, Flatten};
pub use nested::Nested;

use crate::record::{PathId, Paths, Record, Segment};
use crate::sink::opensearch::document::{Document, Needs};

/// One shape of output; built once from the configuration, shared by threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As AWS wrote it.
    Nested(Nested),
    /// One level of keys.
    Flat(Flatten),
    /// One of these, as an index takes it.
    Document(Document),
}

/// Writes records in one shape. One per thread, shape and [`Scanner`](crate::record::Scanner): what it has learned is
/// keyed by that scanner's edges.
#[derive(Debug)]
pub struct Encoder {
    shape: Arc<Shape>,
    /// What of the additions a frame says once more.
    fields: added::Texts,
    learned: Learned,
}

/// What an encoder has learned, beside the shape: so that a record costs no count of who holds that. An atomic one waits until
/// the record before is in memory.
#[derive(Debug, Default)]
struct Learned {
    texts: added::Texts,
    fast: fast::Fast,
    /// The same for records that span lines.
    lines: fast::Fast,
    edges: nested::Edges,
    needs: Needs,
    scratch: Vec<u8>,
}

impl Encoder {
    /// Makes an encoder that has learned nothing yet.
    pub fn new(shape: Arc<Shape>) -> Encoder {
        Encoder { shape, fields: added::Texts::default(), learned: Learned::default() }
    }

    /// The shape it writes.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Appends the record as one JSON object: no line break inside, none at the end.
    pub fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let end = self.encode_at(record, out, out.len());
        out.truncate(end);
    }

    /// Writes the record as one JSON object from `at` on, over what stands there, and returns where it ends. What stands
    /// behind is of no meaning: a buffer that is used again need not be cleared.
    pub fn encode_at(&mut self, record: &Record<'_>, out: &mut Vec<u8>, at: usize) -> usize {
        let learned = &mut self.learned;
        match &*self.shape {
            Shape::Nested(nested) => {
                out.truncate(at);
                let needs = learned.edges.needs(record, &nested.name);
                learned.nested(nested, needs, record, out);
                out.len()
            }
            Shape::Flat(flat) => learned.flat(flat, record, out, at).0,
            Shape::Document(document) => learned.document(document, record, out, at),
        }
    }
}

impl Learned {
    fn document(&mut self, document: &Document, record: &Record<'_>, out: &mut Vec<u8>, at: usize) -> usize {
        let head = document.head(record);
        // The brace of the record becomes the comma behind it.
        let start = head.as_ref().map_or(at, |head| put(out, at, head.as_bytes()));
        let fits = self.needs.fits(document, record);
        let (mut end, by_rule) = match &*document.inner {
            Shape::Nested(nested) => {
                out.truncate(start);
                let needs = match fits {
                    true => self.edges.needs_beside(record, &nested.name, self.needs.of_nested()),
                    false => self.edges.needs(record, &nested.name),
                };
                self.nested(nested, needs, record, out);
                (out.len(), true)
            }
            Shape::Flat(flat) => self.flat(flat, record, out, start),
            Shape::Document(_) => (start, true),
        };
        if !fits || !by_rule {
            out.truncate(end);
            document.rewrite(out, start);
            end = out.len();
        }
        if head.is_some() {
            if end == start + 2 {
                return put(out, start, b"}");
            }
            put(out, start, b",");
        }
        end
    }

    fn nested(&mut self, shape: &Nested, needs: nested::Needs, record: &Record<'_>, out: &mut Vec<u8>) {
        let has_members = nested::members(record, needs.strip, &mut self.scratch, out);
        if !record.overlay.added.is_empty() {
            let start = out.len();
            if needs.another_name {
                added::nested(&nested::free_name(record, &shape.name), record.overlay, out);
            } else {
                let text =
                    self.texts.of(record.overlay, |overlay, out| added::nested(&shape.name, overlay, out));
                out.extend_from_slice(text);
            }
            if !has_members {
                out.remove(start);
            }
        }
        out.push(b'}');
    }

    /// Returns where the record ends, and whether each of its values stands where [`flat_put`] says.
    fn flat(&mut self, shape: &Flatten, record: &Record<'_>, out: &mut Vec<u8>, at: usize) -> (usize, bool) {
        let Some(end) = fast::Fast::members(&mut self.fast, &mut self.lines, shape, record, out, at) else {
            out.truncate(at);
            flat_plain(shape, record, out);
            return (out.len(), false);
        };
        let added = self.texts.of(record.overlay, |overlay, out| added::flat(shape, overlay, out));
        let end = put(out, end, added);
        (put(out, end, b"}"), true)
    }
}

/// Where the flat shape puts the value of a path.
pub(crate) struct FlatPut {
    /// Its key, as written.
    pub(crate) key: Vec<u8>,
    /// Names from the root to the kept container it is written within; 0: there is none.
    pub(crate) within: usize,
    /// Whether that is written as JSON text.
    pub(crate) json: bool,
    /// Whether an empty object is written as it is; else it is a text.
    pub(crate) object: bool,
    /// The same of an empty array.
    pub(crate) array: bool,
}

/// Where the flat shape puts a value; `None`: it depends on the record.
pub(crate) fn flat_put(
    shape: &Flatten,
    paths: &Paths,
    path: PathId,
    steps: &[Segment<'_>],
) -> Option<FlatPut> {
    fast::place(shape, paths, path, steps)
}

/// Writes a text at a place in a buffer; returns where it ends.
pub(crate) fn put(out: &mut Vec<u8>, at: usize, text: &[u8]) -> usize {
    let end = at + text.len();
    match out.get_mut(at..end) {
        Some(room) => room.copy_from_slice(text),
        None => {
            out.truncate(at);
            out.extend_from_slice(text);
        }
    }
    end
}

/// The slow and obvious flat road.
fn flat_plain(shape: &Flatten, record: &Record<'_>, out: &mut Vec<u8>) {
    let mut object = Vec::new();
    let mut plain = flat::Plain::new(shape, out);
    plain.record(
        record.buffer,
        record.span.start as usize,
        record.span.end as usize,
        record.index.leaves(),
        record.overlay,
    );
    if !record.overlay.added.is_empty() {
        added::object(record.overlay, &mut object);
        plain.added(tree::Node::read(&object));
    }
    plain.end();
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
