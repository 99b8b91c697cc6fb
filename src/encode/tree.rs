//! A record as a tree over its own text: the slow and obvious road, for what is rare, and what the fast one is compared with.
//!
//! Nothing is interpreted: keys and scalars stay as they are written, members stay in order, duplicates stay.

use std::borrow::Cow;

use super::text::{string_end, strip};
use crate::record::Leaf;
use crate::record::overlay::Overlay;

/// Deeper than this a container is a leaf. (Records are refused at less.)
const DEEPEST: usize = 512;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    /// A scalar, an empty container, or a container that is kept whole: its text.
    Leaf(Cow<'a, [u8]>),
    /// An object that is not empty.
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>, Text),
    /// An array that is not empty: elements with the position AWS wrote them at.
    Array(Vec<(u32, Node<'a>)>, Text),
}

/// Where a container's text stands in the record's buffer, brackets included: `start..end`. Empty: not from a record.
pub(crate) type Text = std::ops::Range<usize>;

impl<'a> Node<'a> {
    /// Reads valid JSON text. Text that is not valid gives some tree, and never a panic.
    pub(crate) fn read(text: &'a [u8]) -> Node<'a> {
        let mut reader = Reader { text, at: 0, leaves: &[], position: 0, overlay: None };
        reader.value(0).unwrap_or(Node::Leaf(Cow::Borrowed(b"null")))
    }

    /// Reads a record with its edits: replaced leaves have their new text, removed ones are gone, and so are the
    /// containers that held nothing else.
    pub(crate) fn of_record(
        buffer: &'a [u8],
        start: usize,
        leaves: &'a [Leaf],
        overlay: &'a Overlay,
    ) -> Node<'a> {
        let mut reader = Reader { text: buffer, at: start, leaves, position: 0, overlay: Some(overlay) };
        reader.value(0).unwrap_or(Node::Leaf(Cow::Borrowed(b"{}")))
    }

    /// Appends it as JSON text without blanks.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Leaf(text) if is_container(text) => strip(text, out),
            Node::Leaf(text) => out.extend_from_slice(text),
            Node::Object(members, _) => {
                out.push(b'{');
                for (position, (key, value)) in members.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    out.push(b'"');
                    out.extend_from_slice(key);
                    out.extend_from_slice(b"\":");
                    value.write(out);
                }
                out.push(b'}');
            }
            Node::Array(elements, _) => {
                out.push(b'[');
                for (position, (_, value)) in elements.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
        }
    }
}

/// Whether the text is an object or an array.
pub(crate) fn is_container(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'{' | b'['))
}

/// Whether the text is `{}` or `[]`, blanks inside or not.
pub(crate) fn is_empty_container(text: &[u8]) -> bool {
    match text {
        [b'{' | b'[', inside @ .., b'}' | b']'] => {
            inside.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        }
        _ => false,
    }
}

/// Appends the text `start..end` of the buffer with the new text of its replaced leaves.
pub(crate) fn splice(
    buffer: &[u8],
    start: usize,
    end: usize,
    leaves: &[Leaf],
    overlay: &Overlay,
    out: &mut Vec<u8>,
) {
    let mut from = start;
    for (position, text) in &overlay.replaced {
        let Some(leaf) = leaves.get(*position as usize) else { continue };
        let (leaf_start, leaf_end) = (leaf.start as usize, leaf.end as usize);
        if leaf_start >= from && leaf_end <= end {
            out.extend_from_slice(buffer.get(from..leaf_start).unwrap_or_default());
            out.extend_from_slice(text);
            from = leaf_end;
        }
    }
    out.extend_from_slice(buffer.get(from..end).unwrap_or_default());
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    leaves: &'a [Leaf],
    position: usize,
    overlay: Option<&'a Overlay>,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => return Some(*byte),
            }
        }
        None
    }

    /// The value at the next token; `None` where it is removed.
    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        let first = self.peek();
        let start = self.at;
        if let Some(leaf) = self.leaves.get(self.position)
            && leaf.start as usize == start
        {
            self.at = (leaf.end as usize).max(start + 1);
            let position = self.position;
            self.position += 1;
            return self.leaf(position, start);
        }
        match first {
            Some(b'{' | b'[') if depth < DEEPEST => self.container(depth, start),
            Some(b'"') => {
                self.at = string_end(self.text, start);
                Some(self.taken(start))
            }
            _ => {
                while let Some(byte) = self.text.get(self.at) {
                    if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') {
                        break;
                    }
                    self.at += 1;
                }
                Some(self.taken(start))
            }
        }
    }

    fn taken(&self, start: usize) -> Node<'a> {
        Node::Leaf(Cow::Borrowed(self.text.get(start..self.at).unwrap_or_default()))
    }

    fn leaf(&self, position: usize, start: usize) -> Option<Node<'a>> {
        let Some(overlay) = self.overlay else { return Some(self.taken(start)) };
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        if overlay.removed.binary_search(&position).is_ok() {
            return None;
        }
        match overlay.replaced.binary_search_by_key(&position, |(position, _)| *position) {
            Ok(found) => overlay.replaced.get(found).map(|(_, text)| Node::read(text)),
            Err(_) => Some(self.taken(start)),
        }
    }

    fn container(&mut self, depth: usize, start: usize) -> Option<Node<'a>> {
        let is_object = self.text.get(start) == Some(&b'{');
        self.at += 1;
        let mut members = Vec::new();
        let mut elements = Vec::new();
        let mut seen = 0u32;
        loop {
            match self.peek() {
                None => break,
                Some(b'}' | b']') => {
                    self.at += 1;
                    break;
                }
                Some(b',') => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {}
            }
            let before = self.at;
            if is_object {
                let key_end = string_end(self.text, before);
                let key = self.text.get(before + 1..key_end.saturating_sub(1)).unwrap_or_default();
                self.at = key_end;
                if self.peek() == Some(b':') {
                    self.at += 1;
                }
                if let Some(value) = self.value(depth + 1) {
                    members.push((Cow::Borrowed(key), value));
                }
            } else if let Some(value) = self.value(depth + 1) {
                elements.push((seen, value));
            }
            seen = seen.saturating_add(1);
            if self.at == before {
                self.at += 1; // not JSON: never stand still
            }
        }
        let text = if self.overlay.is_some() { start..self.at } else { 0..0 };
        match (seen, is_object) {
            (0, _) => Some(self.taken(start)),
            (_, true) if members.is_empty() => None,
            (_, false) if elements.is_empty() => None,
            (_, true) => Some(Node::Object(members, text)),
            (_, false) => Some(Node::Array(elements, text)),
        }
    }
}
