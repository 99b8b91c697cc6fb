//! What an index knows of a document: types of the fields that are named, and where a path leads in it.
//!
//! The rules were seen on OpenSearch 3.8.0 and 2.19.1; the tests send awkward records to both.
//!
//! - `dynamic: false`: a field that is not named is kept and not indexed. Its own name still has to be one that the server
//!   reads: no empty part between dots, none of the server's own (`_id`); below the root, no dots at all.
//! - A field of a named type refuses an object, and a field that is an object refuses everything else but null. Numbers,
//!   dates and addresses take any scalar (`ignore_malformed`), keywords of any length are taken (`ignore_above`).
//! - `flat_object` (Elasticsearch: `flattened`) takes objects and null. What is in it may have any name and depth, but a path
//!   with its value is one term of at most 32,766 bytes.
//! - `enabled: false` takes any JSON. That is where we put what has no other place.
//! - Nowhere: two members of one name, names over 50,000 characters, halves of surrogate pairs in names, numbers of more than
//!   1,000 digits; more than 20 arrays directly in each other in a member of a named object.

mod fields;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::encode::Shape;
use crate::encode::flat::{Arrays, Flatten};
use fields::{ALSO, FIELDS};

/// Bytes of a path with its value within a flattened field, at most; the server takes 32,766.
pub(super) const LONGEST: usize = 32_000;
/// Digits of a number, at most; more the server does not read.
pub(super) const LONGEST_NUMBER: usize = 1_000;
/// Bytes of a name, at most; the server reads 50,000 characters.
pub(super) const LONGEST_NAME: usize = 32_000;
/// Arrays directly in each other, at most; the server takes 20.
pub(super) const DEEPEST_ARRAY: u8 = 16;
/// The member of what we add that holds what has no other place.
pub(super) const UNINDEXED: &str = "unindexed";
/// Characters of a keyword that are indexed: 32,766 bytes at four bytes each.
const KEYWORD_LENGTH: u32 = 8_191;
/// What dates may look like: `eventTime` and `creationDate` (both spellings), what aggregated events have, numbers.
const DATES: &str = "strict_date_optional_time||basic_date_time_no_millis||yyyy-MM-dd HH:mm:ss||epoch_millis";

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OpensearchType")]
pub enum Type {
    /// Text that is compared as a whole.
    Keyword,
    /// Text that is searched by its words.
    Text,
    /// A time.
    Date,
    /// A number.
    Double,
    /// A whole number.
    Long,
    /// `true` or `false`.
    Boolean,
    /// An IPv4 or IPv6 address.
    Ip,
    /// An object whose members are all searchable as keywords, and no fields of their own.
    Flattened,
}

/// What a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// An object whose members are named.
    Object(Vec<(Box<str>, Node)>),
    /// A value.
    Leaf(Type),
    /// A keyword with a second type beside it, under this name.
    Also(&'static str, Type),
    /// The time of the event by another name; the record may have nothing there.
    Time,
    /// Any JSON, not indexed.
    Kept,
}

/// Which server an index template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// OpenSearch, from 2.19 on.
    Opensearch,
    /// Elasticsearch, from 8.0 on.
    Elasticsearch,
}

/// Where in an index a value of a record goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'m> {
    /// A field that is named.
    At(&'m Node),
    /// Within a flattened field.
    Flattened,
    /// A field that is not named, or something within it.
    Free,
    /// The same, but no array: the server takes it for an array of another field ([`Mapping::step`]).
    Lone,
    /// Where nothing can be.
    Nowhere,
}

/// Bits of what a value may be.
pub(super) mod kind {
    pub(in super::super) const STRING: u8 = 1;
    pub(in super::super) const NUMBER: u8 = 2;
    pub(in super::super) const BOOL: u8 = 4;
    pub(in super::super) const NULL: u8 = 8;
    pub(in super::super) const OBJECT: u8 = 16;
    pub(in super::super) const ARRAY: u8 = 32;
    pub(in super::super) const SCALAR: u8 = STRING | NUMBER | BOOL | NULL;
    pub(in super::super) const ANY: u8 = SCALAR | OBJECT | ARRAY;

    /// The bit of a JSON value, from its text.
    #[inline]
    pub(in super::super) fn of(text: &[u8]) -> u8 {
        text.first().map_or(NUMBER, |&first| begins(first))
    }

    /// The bit of a JSON value that begins so.
    #[inline]
    pub(in super::super) fn begins(first: u8) -> u8 {
        BEGINS[usize::from(first)]
    }

    /// By the first byte: a branch would be wrong for every second value.
    const BEGINS: [u8; 256] = {
        let mut all = [NUMBER; 256];
        all[b'"' as usize] = STRING;
        all[b'{' as usize] = OBJECT;
        all[b'[' as usize] = ARRAY;
        all[b'n' as usize] = NULL;
        (all[b't' as usize], all[b'f' as usize]) = (BOOL, BOOL);
        all
    };
}

/// The fields of an index, as the shape of its documents has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    root: Node,
    /// The member of the document, and the one within it if that is an object, for what has no other place.
    pub(super) unindexed: (Box<str>, Option<&'static str>),
    /// Whether they are of a data stream: it wants a `@timestamp` of its own.
    pub(super) stream: bool,
}

impl Mapping {
    /// The fields of documents in this shape. `stream`: of a data stream. `more`: fields besides those we know, by dotted path.
    pub fn new(shape: &Shape, stream: bool, more: &[(String, Type)]) -> Mapping {
        let flat = match shape {
            Shape::Flat(flat) => Some(flat),
            Shape::Nested(_) | Shape::Document(_) => None,
        };
        let name: &str = match shape {
            Shape::Flat(flat) => &flat.name,
            Shape::Nested(nested) => &nested.name,
            Shape::Document(_) => "trailship",
        };
        let mut root = Node::Object(Vec::new());
        let mut enter = |path: &str, node: Node| {
            let path = path.strip_prefix('+').map_or_else(|| path.to_owned(), |rest| format!("{name}{rest}"));
            match flat {
                None => root.insert(&path.replace("[]", ""), node),
                Some(flat) => {
                    if let Some((path, node)) = column(flat, &path, node) {
                        root.insert(&path, node);
                    }
                }
            }
        };
        for (paths, r#type) in FIELDS {
            paths.iter().for_each(|path| enter(path, Node::Leaf(*r#type)));
        }
        for (path, also, r#type) in ALSO {
            enter(path, Node::Also(also, *r#type));
        }
        let unindexed = match flat {
            None => (Box::from(name), Some(UNINDEXED)),
            Some(flat) => (format!("{name}{}{UNINDEXED}", flat.separator).into(), None),
        };
        match flat {
            None => root.insert(&format!("{name}.{UNINDEXED}"), Node::Kept),
            Some(_) => root.insert(&unindexed.0, Node::Kept),
        }
        for (path, r#type) in more {
            root.insert(path, Node::Leaf(*r#type));
        }
        root.insert("@timestamp", Node::Time);
        Mapping { root, unindexed, stream }
    }

    /// Where records begin.
    pub(super) fn root(&self) -> Place<'_> {
        Place::At(&self.root)
    }

    /// Where the member of this name goes of a value that goes to a place.
    pub(super) fn step<'m>(&'m self, place: Place<'m>, name: &str) -> Place<'m> {
        let mut at = match place {
            Place::At(Node::Leaf(Type::Flattened)) | Place::Flattened => return Place::Flattened,
            Place::At(Node::Kept) | Place::Free | Place::Lone => return Place::Free,
            Place::At(node @ Node::Object(_)) => node,
            Place::At(_) | Place::Nowhere => return Place::Nowhere,
        };
        let at_root = std::ptr::eq(at, &raw const self.root);
        if name.split('.').any(|part| part.trim().is_empty()) || (at_root && name.starts_with('_')) {
            return Place::Nowhere;
        }
        // A name with dots in it is a path; below the root the server follows it from there and from the root.
        if !at_root && name.contains('.') {
            return Place::Nowhere;
        }
        for part in name.split('.') {
            at = match at {
                Node::Object(members) => match members.iter().find(|(known, _)| **known == *part) {
                    Some((_, node)) => node,
                    // The elements of an array under such a name go to the member that has its last part for a name.
                    None => {
                        let last = name.rsplit('.').next().unwrap_or_default();
                        let mistaken = members.iter().any(|(known, _)| **known == *last);
                        return if mistaken { Place::Lone } else { Place::Free };
                    }
                },
                Node::Kept => return Place::Free,
                _ => return Place::Nowhere,
            };
        }
        Place::At(at)
    }

    /// The properties of the mapping, as the server wants them.
    pub(super) fn properties(&self, flavour: Flavour) -> Value {
        self.root.properties(flavour, self.stream)
    }

    /// How many fields it has, as the server counts them.
    #[cfg(test)]
    pub(super) fn fields(&self) -> usize {
        fn count(node: &Node) -> usize {
            match node {
                Node::Object(members) => members.iter().map(|(_, node)| 1 + count(node)).sum(),
                Node::Also(..) => 1,
                _ => 0,
            }
        }
        count(&self.root)
    }
}

impl Place<'_> {
    /// Where the elements of an array go that goes here.
    pub(super) fn element(self) -> Self {
        match self {
            // An array with anything but objects in it is refused there: it is wrapped as a whole.
            Place::At(Node::Leaf(Type::Flattened)) | Place::Lone => Place::Nowhere,
            other => other,
        }
    }

    /// What a value here may be. An object or an array is an empty one.
    pub(super) fn accepts(self) -> u8 {
        match self {
            Place::At(Node::Object(_)) => kind::NULL | kind::OBJECT | kind::ARRAY,
            Place::At(Node::Leaf(Type::Flattened)) => kind::NULL | kind::OBJECT,
            Place::At(Node::Leaf(Type::Boolean)) => kind::BOOL | kind::NULL | kind::ARRAY,
            Place::At(Node::Leaf(_) | Node::Also(..)) => kind::SCALAR | kind::ARRAY,
            Place::Lone => kind::SCALAR | kind::OBJECT,
            Place::At(Node::Time) | Place::Nowhere => 0,
            Place::At(Node::Kept) | Place::Flattened | Place::Free => kind::ANY,
        }
    }

    /// Bytes of a value here, at most, `path` bytes of names before it counted.
    pub(super) fn limit(self, path: usize) -> usize {
        match self {
            Place::Flattened => LONGEST.saturating_sub(path),
            Place::At(Node::Leaf(Type::Keyword) | Node::Also(..)) => LONGEST,
            _ => usize::MAX,
        }
    }
}

/// The column of a field in the flat shape, and what it is there; `None`: it has none that can be named before.
fn column(flat: &Flatten, path: &str, node: Node) -> Option<(String, Node)> {
    let (before, below) = match path.split_once("[]") {
        Some((before, below)) => (before, Some(below.trim_start_matches('.'))),
        None => (path, None),
    };
    let mut names: Vec<&str> = before.split('.').collect();
    // JSON text from the first container on that is written so.
    let json = (1..=names.len()).find(|&depth| {
        let container = depth < names.len() || below.is_some() || node == Node::Leaf(Type::Flattened);
        let keeps = flat.keeps_json(names[..depth].join(".").as_bytes());
        let as_text = match flat.arrays {
            _ if depth < names.len() || below.is_none() => depth >= flat.max_depth,
            Arrays::Keep => false,
            Arrays::Json | Arrays::Join => true,
            Arrays::Index => depth >= flat.max_depth,
        };
        container && (keeps || as_text)
    });
    if let Some(depth) = json {
        names.truncate(depth);
        return Some((names.join(&flat.separator), Node::Leaf(Type::Text)));
    }
    let name = names.join(&flat.separator);
    match below {
        Some(_) if flat.arrays == Arrays::Index => None,
        Some(below) => Some((format!("{name}.{}", below.replace("[]", "")), node)),
        // Its members are columns of their own, and nobody knows their names.
        None if node == Node::Leaf(Type::Flattened) => None,
        None => Some((name, node)),
    }
}

impl Node {
    /// Enters a field by its dotted path. What stands in the way gives way.
    fn insert(&mut self, path: &str, node: Node) {
        if !matches!(self, Node::Object(_)) {
            *self = Node::Object(Vec::new());
        }
        let Node::Object(members) = self else { return };
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let at = members.iter().position(|(known, _)| **known == *name).unwrap_or_else(|| {
            members.push((name.into(), Node::Object(Vec::new())));
            members.len() - 1
        });
        match (rest, members.get_mut(at)) {
            (Some(rest), Some((_, member))) => member.insert(rest, node),
            (None, Some((_, member))) => *member = node,
            (_, None) => {}
        }
    }

    fn properties(&self, flavour: Flavour, stream: bool) -> Value {
        let Node::Object(members) = self else { return json!({}) };
        let mut all = Map::new();
        for (name, node) in members {
            all.insert((**name).to_owned(), node.field(flavour, stream));
        }
        Value::Object(all)
    }

    fn field(&self, flavour: Flavour, stream: bool) -> Value {
        match self {
            Node::Object(_) => json!({ "dynamic": false, "properties": self.properties(flavour, stream) }),
            Node::Kept => json!({ "type": "object", "enabled": false }),
            Node::Time if stream => json!({ "type": "date", "format": "strict_date_optional_time" }),
            Node::Time => json!({ "type": "alias", "path": "eventTime" }),
            Node::Also(name, r#type) => {
                let mut field = Node::Leaf(Type::Keyword).field(flavour, stream);
                field["fields"] = json!({ *name: Node::Leaf(*r#type).field(flavour, stream) });
                field
            }
            Node::Leaf(r#type) => match (r#type, flavour) {
                (Type::Keyword, _) => json!({ "type": "keyword", "ignore_above": KEYWORD_LENGTH }),
                (Type::Text, _) => json!({ "type": "text", "norms": false }),
                (Type::Date, _) => json!({ "type": "date", "format": DATES, "ignore_malformed": true }),
                (Type::Double, _) => json!({ "type": "double", "ignore_malformed": true }),
                (Type::Long, _) => json!({ "type": "long", "ignore_malformed": true }),
                (Type::Ip, _) => json!({ "type": "ip", "ignore_malformed": true }),
                (Type::Boolean, _) => json!({ "type": "boolean" }),
                (Type::Flattened, Flavour::Opensearch) => json!({ "type": "flat_object" }),
                // Its default is 20; records are at most 128 deep.
                (Type::Flattened, Flavour::Elasticsearch) => {
                    json!({ "type": "flattened", "depth_limit": 256 })
                }
            },
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Type::Keyword => "keyword",
            Type::Text => "text",
            Type::Date => "date",
            Type::Double => "double",
            Type::Long => "long",
            Type::Boolean => "boolean",
            Type::Ip => "ip",
            Type::Flattened => "flattened",
        })
    }
}
