//! The flat shape: one level of keys, each the names of a path joined by a separator.
//!
//! The rules, for every container but the record itself, in this order. It is written
//! 1. as JSON text (a string that holds its text as AWS wrote it) where its path is one of `keep_json`, or it is an
//!    array and arrays are written so;
//! 2. as it is, where it is an array and arrays are kept; as one text, where arrays are joined and it holds scalars only
//!    (else as JSON text: an array field is always a string then);
//! 3. as JSON text where it stands `max_depth` names deep;
//! 4. as `{}` or `[]` where it is empty;
//! 5. as JSON text where one of its members would have a key of more than `max_key` bytes, or where taking it apart would
//!    bring the record over `max_fields`. Members that are already promised count, so the fields at the top come
//!    before those below; the record's own members are never fewer than AWS wrote.
//!
//! So what is written is at most twice the record, and `max_fields` × `max_key` bytes.
//!
//! Two values with one key are both written: the second as `key__2`, then `key__3`. With `lossless`, names are escaped
//! so that a key tells its path: a backslash before `\`, before the separator's characters and before a digit
//! that starts a name, and the second member of one name in one object is `name\#2`. Then
//! [`unflatten`](super::unflatten::unflatten) gives the record back, byte for byte where it was compact and no limit was met.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::text::{breaks_lines, escape, plain_key, strip};
use super::tree::{Node, is_container, is_empty_container, splice};
use crate::record::Leaf;
use crate::record::overlay::Overlay;

/// How arrays are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrays {
    /// As they are.
    #[default]
    Keep,
    /// One key for each element.
    Index,
    /// One text with commas between the elements, where all are scalars; else as JSON text.
    Join,
    /// As JSON text.
    Json,
}

/// What the flat shape looks like. Made by [`crate::transform::flatten::Config::build`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// The top-level key of what is added.
    pub name: Arc<str>,
    /// What stands between the names of a path: ASCII punctuation except `"`, `\` and `#`.
    pub separator: Arc<str>,
    /// How arrays are written.
    pub arrays: Arrays,
    /// Names in a key, at most.
    pub max_depth: usize,
    /// Fields of a record, at most, as long as its own members are fewer. What is added is counted apart.
    pub max_fields: usize,
    /// Bytes of a joined key, at most, as written between its quotes.
    pub max_key: usize,
    /// Dotted paths (no array positions) of the values that stay JSON text; sorted.
    pub keep_json: Vec<Box<str>>,
    /// Whether names are escaped, so that keys can be taken apart again.
    pub lossless: bool,
}

impl Default for Flatten {
    fn default() -> Self {
        Flatten {
            name: "trailship".into(),
            separator: ".".into(),
            arrays: Arrays::Keep,
            max_depth: 32,
            max_fields: 2_000,
            max_key: 512,
            keep_json: [
                "additionalEventData",
                "requestParameters",
                "responseElements",
                "serviceEventDetails",
            ]
            .map(Box::from)
            .into(),
            lossless: false,
        }
    }
}

impl Flatten {
    /// Whether the values at this path (plain names joined by dots) stay JSON text.
    pub(crate) fn keeps_json(&self, dotted: &[u8]) -> bool {
        self.keep_json.binary_search_by(|path| path.as_bytes().cmp(dotted)).is_ok()
    }

    /// Appends one name of a path to a key, given as written in the record.
    pub(crate) fn push_name(&self, name: &[u8], key: &mut Vec<u8>) {
        if !self.lossless {
            key.extend_from_slice(name);
            return;
        }
        let mut at = 0;
        while let Some(unit) = unit(name, at) {
            let plain = plain_unit(unit);
            let marked = match plain {
                Some(b'\\') => true,
                Some(byte) => self.separator.as_bytes().contains(&byte) || (at == 0 && byte.is_ascii_digit()),
                None => false,
            };
            if marked {
                key.extend_from_slice(b"\\\\");
            }
            key.extend_from_slice(unit);
            at += unit.len();
        }
    }
}

/// The character or the whole escape that starts at `at` in a key as written.
pub(crate) fn unit(written: &[u8], at: usize) -> Option<&[u8]> {
    let rest = written.get(at..)?;
    let length = match rest {
        [] => return None,
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        _ => 1,
    };
    Some(rest.get(..length).unwrap_or(rest))
}

/// The ASCII character a unit stands for; `None` for everything else.
pub(crate) fn plain_unit(unit: &[u8]) -> Option<u8> {
    match unit {
        [byte] if byte.is_ascii() => Some(*byte),
        [b'\\', b'u', digits @ ..] => {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)
        }
        [b'\\', escaped @ (b'"' | b'\\' | b'/')] => Some(*escaped),
        _ => None,
    }
}

/// Writes records without any learned help: every rule, one value at a time.
pub(crate) struct Plain<'a> {
    shape: &'a Flatten,
    out: &'a mut Vec<u8>,
    source: Option<Source<'a>>,
    /// Names written so far, with the last number given to a second one.
    names: HashMap<Vec<u8>, u32>,
    key: Vec<u8>,
    dotted: Vec<u8>,
    promised: usize,
    scratch: Vec<u8>,
    start: usize,
}

/// Where containers find the text AWS wrote.
struct Source<'a> {
    buffer: &'a [u8],
    leaves: &'a [Leaf],
    overlay: &'a Overlay,
    compact: bool,
}

impl<'a> Plain<'a> {
    /// Starts an object. Nothing is written before the first field.
    pub(crate) fn new(shape: &'a Flatten, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Plain {
            shape,
            out,
            source: None,
            names: HashMap::new(),
            key: Vec::new(),
            dotted: Vec::new(),
            promised: 0,
            scratch: Vec::new(),
            start,
        }
    }

    /// Writes the record's own fields.
    pub(crate) fn record(
        &mut self,
        buffer: &'a [u8],
        start: usize,
        end: usize,
        leaves: &'a [Leaf],
        overlay: &'a Overlay,
    ) {
        let compact = !overlay.removed.is_empty() || breaks_lines(buffer.get(start..end).unwrap_or_default());
        self.source = Some(Source { buffer, leaves, overlay, compact });
        let root = Node::of_record(buffer, start, leaves, overlay);
        self.members(&root);
        self.source = None;
    }

    /// Writes what was added: the value of the added top-level key.
    pub(crate) fn added(&mut self, value: Node<'_>) {
        let members = vec![(self.shape.name.as_bytes().into(), value)];
        self.members(&Node::Object(members, 0..0));
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        if self.out.len() == self.start {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }

    fn members(&mut self, root: &Node<'_>) {
        if let Node::Object(members, _) = root {
            self.promised = members.len();
            self.object(members, 0);
        }
    }

    fn object(&mut self, members: &[(std::borrow::Cow<'_, [u8]>, Node<'_>)], depth: usize) {
        let mut seconds: HashMap<Vec<u8>, u32> = HashMap::new();
        for (name, value) in members {
            let (key_length, dotted_length) = (self.key.len(), self.dotted.len());
            if depth > 0 {
                self.key.extend_from_slice(self.shape.separator.as_bytes());
            }
            self.shape.push_name(name, &mut self.key);
            let plain = plain_key(name);
            if self.shape.lossless {
                let count = seconds.entry(plain.to_vec()).and_modify(|count| *count += 1).or_insert(1);
                if *count > 1 {
                    self.key.extend_from_slice(format!("\\\\#{count}").as_bytes());
                }
            }
            if !self.dotted.is_empty() {
                self.dotted.push(b'.');
            }
            self.dotted.extend_from_slice(&plain);
            let keeps = self.shape.keeps_json(&self.dotted);
            self.value(value, depth + 1, keeps);
            self.key.truncate(key_length);
            self.dotted.truncate(dotted_length);
        }
    }

    fn value(&mut self, node: &Node<'_>, depth: usize, keeps: bool) {
        let is_array = match node {
            Node::Leaf(text) if !is_container(text) => {
                return self.field(|_, out| out.extend_from_slice(text));
            }
            Node::Leaf(text) => text.first() == Some(&b'['),
            Node::Object(..) => false,
            Node::Array(..) => true,
        };
        if keeps {
            return self.json(node);
        }
        if is_array {
            match self.shape.arrays {
                Arrays::Json => return self.json(node),
                Arrays::Keep => return self.field(|this, out| this.text(node, out)),
                Arrays::Join => return self.join(node),
                Arrays::Index => {}
            }
        }
        if depth >= self.shape.max_depth {
            return self.json(node);
        }
        match node {
            Node::Leaf(text) if is_empty_container(text) => self.field(|this, out| this.text(node, out)),
            Node::Leaf(_) => self.json(node),
            Node::Object(members, _) => {
                let longest = members.iter().map(|(name, _)| self.name_length(name)).max().unwrap_or(0);
                if self.fits(members.len(), longest) {
                    self.object(members, depth);
                } else {
                    self.json(node);
                }
            }
            Node::Array(elements, _) => {
                let last = elements.last().map_or(0, |(position, _)| *position);
                if self.fits(elements.len(), last.checked_ilog10().unwrap_or(0) as usize + 1) {
                    for (position, value) in elements {
                        let length = self.key.len();
                        self.key.extend_from_slice(self.shape.separator.as_bytes());
                        self.key.extend_from_slice(position.to_string().as_bytes());
                        self.value(value, depth + 1, false);
                        self.key.truncate(length);
                    }
                } else {
                    self.json(node);
                }
            }
        }
    }

    fn name_length(&mut self, name: &[u8]) -> usize {
        self.scratch.clear();
        self.shape.push_name(name, &mut self.scratch);
        self.scratch.len()
    }

    /// Whether a container may be taken apart; then its members are promised.
    fn fits(&mut self, members: usize, longest: usize) -> bool {
        let promised = self.promised.saturating_sub(1) + members;
        if promised > self.shape.max_fields
            || self.key.len() + self.shape.separator.len() + longest > self.shape.max_key
        {
            return false;
        }
        self.promised = promised;
        true
    }

    fn json(&mut self, node: &Node<'_>) {
        self.field(|this, out| {
            let mut text = Vec::new();
            this.text(node, &mut text);
            out.push(b'"');
            escape(&text, out);
            out.push(b'"');
        });
    }

    fn join(&mut self, node: &Node<'_>) {
        let elements: &[(u32, Node<'_>)] = match node {
            Node::Array(elements, _) => elements,
            Node::Leaf(text) if is_empty_container(text) => &[],
            _ => return self.json(node),
        };
        if !elements.iter().all(|(_, element)| matches!(element, Node::Leaf(text) if !is_container(text))) {
            return self.json(node);
        }
        self.field(|_, out| {
            out.push(b'"');
            for (position, (_, element)) in elements.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                if let Node::Leaf(text) = element {
                    out.extend_from_slice(unquoted(text));
                }
            }
            out.push(b'"');
        });
    }

    /// The text of a value: as AWS wrote it, without blanks where the record spans lines or lost leaves.
    fn text(&self, node: &Node<'_>, out: &mut Vec<u8>) {
        match (node, &self.source) {
            (Node::Leaf(text), Some(source)) if is_container(text) && !source.compact => {
                out.extend_from_slice(text)
            }
            (Node::Object(_, text) | Node::Array(_, text), Some(source))
                if !source.compact && !text.is_empty() =>
            {
                splice(source.buffer, text.start, text.end, source.leaves, source.overlay, out);
            }
            (Node::Leaf(text), _) if is_container(text) => strip(text, out),
            _ => node.write(out),
        }
    }

    fn field(&mut self, value: impl FnOnce(&Self, &mut Vec<u8>)) {
        let first = if self.out.len() == self.start { b'{' } else { b',' };
        let mut name = plain_key(&self.key).into_owned();
        let length = name.len();
        let mut number = self.names.get(&name).copied().unwrap_or(0);
        if number > 0 {
            loop {
                number += 1;
                name.truncate(length);
                name.extend_from_slice(format!("__{number}").as_bytes());
                if !self.names.contains_key(&name) {
                    break;
                }
            }
            self.names.insert(name.get(..length).unwrap_or_default().to_vec(), number);
        }
        self.names.insert(name, 1);
        let mut out = std::mem::take(self.out);
        out.push(first);
        out.push(b'"');
        out.extend_from_slice(&self.key);
        if number > 0 {
            out.extend_from_slice(format!("__{number}").as_bytes());
        }
        out.extend_from_slice(b"\":");
        value(self, &mut out);
        *self.out = out;
    }
}

/// A scalar's text without the quotes of a string.
pub(crate) fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inside @ .., b'"'] => inside,
        _ => text,
    }
}
