//! The slow and obvious road: reads what a shape has written and changes what the server would refuse.
//!
//! | what arrives | what becomes of it |
//! |---|---|
//! | anything but an object or null in a flattened field | `{"value": …}` there |
//! | a value that is too long to be indexed where it is | moved |
//! | a value of another type than its field, a name that is none | moved |
//! | a second member of one name | `name__2`, then `name__3` |
//! | a number of more than 1,000 digits | its text |
//! | a member whose name no server reads | its JSON text, moved |
//!
//! **Moved**: to `trailship.unindexed`, an object that takes any JSON and is not indexed, under its path with its names and
//! positions between dots. An element of an array leaves null behind, so that the others keep their places.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::encode::text::escape;
use crate::encode::tree::{Node, is_container};
use crate::record;
use crate::record::path::unescape;
use crate::sink::opensearch::mapping::{
    DEEPEST_ARRAY, LONGEST, LONGEST_NAME, LONGEST_NUMBER, Mapping, Node as Field, Place, Type, kind,
};

/// Bytes of a path as a name, at most.
const LONGEST_PATH: usize = 1_000;

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) wrapped: u64,
    pub(super) too_long: u64,
    pub(super) other_type: u64,
    pub(super) same_name: u64,
}

/// The document that the server takes in the place of this one; `None`: this one.
pub(super) fn rewrite(mapping: &Mapping, text: &[u8]) -> Option<(Vec<u8>, Made)> {
    let tree = Node::read(text);
    let Node::Object(members, _) = tree else { return None };
    let mut rewriter =
        Rewriter { mapping, path: String::new(), names: 0, moved: Vec::new(), made: Made::default() };
    let mut members = rewriter.object(members, mapping.root());
    if rewriter.made == Made::default() {
        return None;
    }
    rewriter.put_moved(&mut members);
    let mut out = Vec::with_capacity(text.len() + 256);
    Node::Object(members, 0..0).write(&mut out);
    if out.is_empty() {
        out.extend_from_slice(b"{}");
    }
    Some((out, rewriter.made))
}

type Members<'t> = Vec<(Cow<'t, [u8]>, Node<'t>)>;

struct Rewriter<'m, 't> {
    mapping: &'m Mapping,
    /// Names and positions on the way, with dots between.
    path: String,
    /// Bytes of the names among them, and of what stands between.
    names: usize,
    /// What has no other place, by its path.
    moved: Vec<(String, Node<'t>)>,
    made: Made,
}

impl<'m, 't> Rewriter<'m, 't> {
    fn object(&mut self, members: Members<'t>, place: Place<'m>) -> Members<'t> {
        let mut names = HashSet::with_capacity(members.len());
        let mut kept = Vec::with_capacity(members.len());
        for (written, value) in members {
            let length = self.enter(&unescape(&written));
            self.names += written.len() + 1;
            let own = written.len() + 1;
            if is_readable(&written) {
                let (name, again) = free_name(unescape(&written).into_owned(), &names);
                self.made.same_name += u64::from(again);
                let below = self.mapping.step(place, &name);
                let key = if again { quoted(&name) } else { written };
                names.insert(name);
                if let Some(value) = self.value(value, below, 0) {
                    kept.push((key, value));
                }
            } else {
                // As the text of an object with this one member.
                let mut text = Vec::new();
                Node::Object(vec![(written, value)], 0..0).write(&mut text);
                self.made.other_type += 1;
                self.moved.push((self.path.clone(), string(&text)));
            }
            self.names -= own;
            self.path.truncate(length);
        }
        kept
    }

    /// The value that can stand in its place; `None`: it was moved. `arrays`: how many stand directly around it.
    fn value(&mut self, node: Node<'t>, place: Place<'m>, arrays: u8) -> Option<Node<'t>> {
        if arrays > DEEPEST_ARRAY && !matches!(place, Place::Flattened) {
            return self.other_type(node);
        }
        match (place, node) {
            (Place::At(Field::Leaf(Type::Flattened)), node) => Some(self.flattened(node)),
            (_, Node::Leaf(text)) => self.leaf(text, place),
            (Place::At(Field::Object(_)), Node::Object(members, text)) => {
                Some(Node::Object(self.object(members, place), text))
            }
            (
                Place::Flattened | Place::Free | Place::Lone | Place::At(Field::Kept),
                Node::Object(members, text),
            ) => {
                let below = if matches!(place, Place::Flattened) { place } else { Place::Free };
                Some(Node::Object(self.object(members, below), text))
            }
            (_, Node::Object(members, text)) => self.other_type(Node::Object(members, text)),
            // What is wrong with one element of values is wrong with all of them.
            (Place::At(Field::Leaf(_) | Field::Also(..)), Node::Array(elements, text)) => {
                let fits = elements.iter().all(|(_, element)| self.fits(element, place, arrays + 1));
                let array = Node::Array(elements, text);
                if fits { Some(array) } else { self.other_type(array) }
            }
            (Place::Nowhere | Place::Lone | Place::At(Field::Time), array) => self.other_type(array),
            (place, Node::Array(elements, text)) => {
                if matches!(place, Place::Free | Place::At(_))
                    && depth(&elements).saturating_add(arrays) > DEEPEST_ARRAY
                {
                    return self.other_type(Node::Array(elements, text));
                }
                let element = |(position, node)| {
                    let length = self.enter(&format!("{position}"));
                    let node = self.value(node, place, arrays.saturating_add(1));
                    self.path.truncate(length);
                    (position, node.unwrap_or(Node::Leaf(Cow::Borrowed(b"null"))))
                };
                Some(Node::Array(elements.into_iter().map(element).collect(), text))
            }
        }
    }

    /// What stands in a flattened field.
    fn flattened(&mut self, node: Node<'t>) -> Node<'t> {
        match node {
            Node::Object(members, text) => Node::Object(self.object(members, Place::Flattened), text),
            Node::Leaf(text) if matches!(kind::of(&text), kind::NULL | kind::OBJECT) => Node::Leaf(text),
            node => {
                self.made.wrapped += 1;
                let members = vec![(Cow::Borrowed(&b"value"[..]), node)];
                Node::Object(self.object(members, Place::Flattened), 0..0)
            }
        }
    }

    fn leaf(&mut self, text: Cow<'t, [u8]>, place: Place<'m>) -> Option<Node<'t>> {
        let kind = kind::of(&text);
        if place.accepts() & kind == 0 {
            return self.other_type(Node::Leaf(text));
        }
        if kind == kind::NUMBER && text.len() > LONGEST_NUMBER {
            self.made.other_type += 1;
            return Some(string(&text));
        }
        if is_too_long(&text, place, self.names) {
            self.made.too_long += 1;
            self.moved.push((self.path.clone(), Node::Leaf(text)));
            return None;
        }
        Some(Node::Leaf(text))
    }

    /// Whether an element of an array of values is one of them.
    fn fits(&self, node: &Node<'t>, place: Place<'m>, arrays: u8) -> bool {
        match node {
            Node::Object(..) => false,
            Node::Array(elements, _) => {
                arrays < DEEPEST_ARRAY
                    && elements.iter().all(|(_, element)| self.fits(element, place, arrays + 1))
            }
            Node::Leaf(text) => {
                let kind = kind::of(text);
                let digits = kind == kind::NUMBER && text.len() > LONGEST_NUMBER;
                place.accepts() & kind != 0 && !digits && !is_too_long(text, place, 0)
            }
        }
    }

    /// Moves a value whose field is of another type.
    fn other_type(&mut self, node: Node<'t>) -> Option<Node<'t>> {
        self.made.other_type += 1;
        self.moved(node);
        None
    }

    fn moved(&mut self, node: Node<'t>) {
        let deep = matches!(&node, Node::Array(elements, _) if depth(elements) > DEEPEST_ARRAY);
        let node = match node {
            Node::Leaf(text) if kind::of(&text) == kind::NUMBER && text.len() > LONGEST_NUMBER => {
                string(&text)
            }
            Node::Leaf(text) => Node::Leaf(text),
            node if deep => {
                let mut text = Vec::new();
                node.write(&mut text);
                string(&text)
            }
            Node::Object(members, text) => Node::Object(self.object(members, Place::Free), text),
            array => self.value(array, Place::Free, 0).unwrap_or(Node::Leaf(Cow::Borrowed(b"null"))),
        };
        self.moved.push((self.path.clone(), node));
    }

    /// Puts what was moved into the document.
    fn put_moved(&mut self, root: &mut Members<'t>) {
        let mut names = HashSet::new();
        let mut moved: Members<'t> = Vec::new();
        for (path, node) in std::mem::take(&mut self.moved) {
            let (name, _) = free_name(path, &names);
            moved.push((quoted(&name), node));
            names.insert(name);
        }
        if moved.is_empty() {
            return;
        }
        let moved = Node::Object(moved, 0..0);
        let (outer, inner) = &self.mapping.unindexed;
        let ours = root.iter_mut().find(|(name, _)| unescape(name) == **outer).map(|(_, node)| node);
        match (inner, ours) {
            (Some(inner), Some(Node::Object(members, _))) => push(members, inner, moved),
            (Some(inner), ours) => {
                let node = Node::Object(vec![(quoted(inner), moved)], 0..0);
                match ours {
                    Some(empty @ Node::Leaf(_)) => *empty = node,
                    _ => push(root, outer, node),
                }
            }
            (None, _) => push(root, outer, moved),
        }
    }

    /// Goes down by a name; returns how long the path was.
    fn enter(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }
}

/// Adds a member under its name, or the next that is free.
fn push<'t>(members: &mut Members<'t>, name: &str, node: Node<'t>) {
    let names = members.iter().map(|(name, _)| unescape(name).into_owned()).collect();
    let (name, _) = free_name(name.to_owned(), &names);
    members.push((quoted(&name), node));
}

/// The name, or `name__2` and so on where it is taken, and whether it was.
fn free_name(mut name: String, taken: &HashSet<String>) -> (String, bool) {
    if name.len() > LONGEST_NAME {
        let cut = name.floor_char_boundary(LONGEST_PATH);
        name.truncate(cut);
        name.push('…');
    }
    if !taken.contains(&name) {
        return (name, false);
    }
    let numbered = (2u64..).map(|number| format!("{name}__{number}")).find(|name| !taken.contains(name));
    (numbered.unwrap_or_default(), true)
}

/// Whether a server reads this name, given as written.
fn is_readable(written: &[u8]) -> bool {
    if written.len() > LONGEST_NAME {
        return false;
    }
    if !written.contains(&b'\\') {
        return true;
    }
    let mut text = vec![b'"'];
    text.extend_from_slice(written);
    text.push(b'"');
    // Halves of surrogate pairs; and NUL, which Elasticsearch has no flattened names with.
    serde_json::from_slice::<String>(&text).is_ok_and(|name| !name.contains('\0'))
}

/// Whether a value is too long for its place, `path` bytes of names before it counted.
fn is_too_long(text: &[u8], place: Place<'_>, path: usize) -> bool {
    let limit = place.limit(path);
    // Escapes are longer than what they stand for.
    text.len() > limit && (limit == 0 || text.len() > LONGEST * 6 + 2 || unescaped_length(text) > limit)
}

/// Bytes of a value without its escapes; of a text that has surrogates by the slow road.
fn unescaped_length(text: &[u8]) -> usize {
    let quick = text.starts_with(b"\"").then(|| record::unescape(text, 1, &mut Vec::new())).flatten();
    quick.map_or_else(|| unescape(text).len(), |(_, length)| length + 2)
}

/// How deep arrays stand directly in each other, the one of these elements counted.
fn depth(elements: &[(u32, Node<'_>)]) -> u8 {
    let deepest = elements.iter().map(|(_, element)| match element {
        Node::Array(elements, _) => depth(elements),
        Node::Leaf(text) if is_container(text) && text.first() == Some(&b'[') => 1,
        _ => 0,
    });
    deepest.max().unwrap_or(0).saturating_add(1)
}

/// A string with this text.
fn string<'t>(text: &[u8]) -> Node<'t> {
    let mut quoted = vec![b'"'];
    escape(text, &mut quoted);
    quoted.push(b'"');
    Node::Leaf(Cow::Owned(quoted))
}

/// A name as it is written between quotes.
fn quoted<'t>(name: &str) -> Cow<'t, [u8]> {
    let mut text = Vec::with_capacity(name.len());
    escape(name.as_bytes(), &mut text);
    Cow::Owned(text)
}
