//! `match` values: an EventBridge event pattern written as TOML, or a string holding it as JSON.

use super::at::At;
use super::value::ValueError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use toml::Spanned;

/// One step from a pattern to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// The value of this key.
    Key(String),
    /// The element at this position, from 0.
    Index(usize),
}

impl From<&str> for PathSegment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for PathSegment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// An event pattern as read, with the places of its parts. Compiling it is `pattern`'s business.
#[derive(Clone, Debug)]
pub struct Match {
    value: Value,
    /// The pattern as it was written, where it was written as JSON: it has repeated keys and the spelling of numbers.
    text: Option<String>,
    places: Places,
}

/// Where a part of a pattern stands, and where its members do. Spans are `start..end`, offsets into the file.
#[derive(Clone, Debug, Default)]
struct Places {
    span: Range<usize>,
    members: Vec<(PathSegment, Range<usize>, Places)>,
}

impl Match {
    /// Wraps a pattern that was not read from a configuration file; every place is `0..0`.
    pub fn from_value(value: Value) -> Self {
        Self { value, text: None, places: Places::default() }
    }

    /// Reads a pattern from JSON text; every place is `0..0`.
    ///
    /// # Errors
    /// Text that is not JSON.
    pub fn from_json(text: &str) -> Result<Self, ValueError> {
        match serde_json::from_str(text) {
            Ok(value) => Ok(Self { value, text: Some(text.to_owned()), places: Places::default() }),
            Err(error) => {
                let hint = "a string as `match` holds an event pattern as JSON";
                Err(ValueError::new(format!("the pattern is not JSON: {error}"), hint))
            }
        }
    }

    /// Returns the text of a pattern that was written as JSON.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Returns the pattern as JSON.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the place of the whole pattern, offsets into the configuration file.
    pub fn span(&self) -> Range<usize> {
        self.places.span.clone()
    }

    /// Returns the place of the part at `path`; where the path leads nowhere, the place of the last part on it.
    pub fn locate(&self, path: &[PathSegment]) -> Range<usize> {
        self.walk(path).1
    }

    /// Returns the place of the key the path ends in; of the part itself where it has none.
    pub fn locate_key(&self, path: &[PathSegment]) -> Range<usize> {
        self.walk(path).0
    }

    /// Returns the places of the key and of the value.
    fn walk(&self, path: &[PathSegment]) -> (Range<usize>, Range<usize>) {
        let mut at = (self.places.span.clone(), &self.places);
        for segment in path {
            match at.1.members.iter().find(|(name, _, _)| name == segment) {
                Some((_, key, places)) => at = (key.clone(), places),
                None => break,
            }
        }
        (at.0, at.1.span.clone())
    }
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Serialize for Match {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Match {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_node(Spanned::<Node>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Match {
    fn from_node(node: Spanned<Node>) -> Result<Self, ValueError> {
        let span = node.span();
        let (value, members) = match node.into_inner() {
            Node::Leaf(Value::String(text)) => {
                let read = Self::from_json(&text)?;
                if !read.value.is_object() {
                    let hint = "write '{\"field\": [\"value\"]}'";
                    return Err(ValueError::new("the pattern in this string is not a JSON object", hint));
                }
                return Ok(Self { places: Places { span, members: Vec::new() }, ..read });
            }
            Node::Leaf(_) | Node::List(_) => {
                return Err(ValueError::new(
                    "a pattern is a table",
                    "write { field = [\"value\"] }, or the pattern as JSON in a string",
                ));
            }
            table => table.split(),
        };
        Ok(Self { value, text: None, places: Places { span, members } })
    }
}

/// One or more event patterns; one may be written without the brackets.
#[derive(Clone, Debug, PartialEq)]
pub struct Patterns(Vec<Match>);

impl Patterns {
    /// Makes a list of the given patterns.
    pub const fn new(patterns: Vec<Match>) -> Self {
        Self(patterns)
    }
}

impl std::ops::Deref for Patterns {
    type Target = [Match];

    fn deref(&self) -> &[Match] {
        &self.0
    }
}

impl Serialize for Patterns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<Node>::deserialize(deserializer)?;
        let span = node.span();
        let nodes = match node.into_inner() {
            Node::List(nodes) => nodes,
            one => vec![Spanned::new(span, one)],
        };
        let patterns: Result<Vec<_>, _> = nodes.into_iter().map(Match::from_node).collect();
        match patterns.map_err(de::Error::custom)? {
            patterns if patterns.is_empty() => Err(de::Error::custom(super::at::EMPTY)),
            patterns => Ok(Self(patterns)),
        }
    }
}

impl JsonSchema for Patterns {
    fn schema_name() -> Cow<'static, str> {
        "Patterns".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Match>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Reads text that is a name, or else a pattern.
pub(super) fn text_or_pattern<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Result<At<String>, Match>, D::Error> {
    let node = Spanned::<Node>::deserialize(deserializer)?;
    let span = node.span();
    match node.get_ref() {
        Node::Leaf(Value::String(text)) if !text.trim_start().starts_with('{') => {
            Ok(Ok(At::new(text.clone(), span)))
        }
        _ => Match::from_node(node).map(Err).map_err(de::Error::custom),
    }
}

impl JsonSchema for Match {
    fn schema_name() -> Cow<'static, str> {
        "Match".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An EventBridge event pattern: as a table, or as JSON in a string. JSON's null is written `{ null = true }`.",
            "type": ["object", "string"]
        })
    }
}

/// A TOML value with the places of its parts.
enum Node {
    Leaf(Value),
    List(Vec<Spanned<Node>>),
    Table(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    /// Parts the tree into the JSON value and the places of its members.
    fn split(self) -> (Value, Vec<(PathSegment, Range<usize>, Places)>) {
        let mut places = Vec::new();
        let mut member = |segment: PathSegment, key: Option<Range<usize>>, node: Spanned<Self>| {
            let span = node.span();
            let (value, members) = node.into_inner().split();
            places.push((segment, key.unwrap_or_else(|| span.clone()), Places { span, members }));
            value
        };
        let value = match self {
            Self::Leaf(value) => value,
            Self::List(items) => Value::Array(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(i, item)| member(PathSegment::Index(i), None, item))
                    .collect(),
            ),
            Self::Table(mut entries) => {
                if let [(key, node)] = &entries[..]
                    && key.get_ref() == "null"
                    && matches!(node.get_ref(), Self::Leaf(Value::Bool(true)))
                {
                    return (Value::Null, Vec::new());
                }
                // The reader hands tables over sorted by key; the file's order is the author's.
                entries.sort_by_key(|(key, _)| key.span().start);
                Value::Object(
                    entries
                        .into_iter()
                        .map(|(key, node)| {
                            let span = key.span();
                            let key = key.into_inner();
                            (key.clone(), member(PathSegment::Key(key), Some(span), node))
                        })
                        .collect(),
                )
            }
        };
        (value, places)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event pattern")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
                match serde_json::Number::from_f64(value) {
                    Some(number) => Ok(Node::Leaf(Value::Number(number))),
                    None => Err(E::custom("a pattern holds only finite numbers")),
                }
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Leaf(value.into()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Node::Table(entries))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Deserialize)]
    struct Holder {
        r#match: Match,
    }

    fn read(text: &str) -> Match {
        toml::from_str::<Holder>(text).unwrap().r#match
    }

    #[test]
    fn toml_and_json_in_a_string_are_the_same_pattern() {
        let table =
            read("match = { readOnly = [true], a = { b = [{ null = true }, { numeric = [\">\", 1.5] }] } }");
        let string = read(r#"match = '{"readOnly":[true],"a":{"b":[null,{"numeric":[">",1.5]}]}}'"#);
        assert_eq!(table, string);
        assert_eq!(table.value(), &json!({"readOnly":[true],"a":{"b":[null,{"numeric":[">",1.5]}]}}));
    }

    #[test]
    fn parts_are_found_where_they_stand() {
        let text = "match = { a = { b = [\"x\", { prefix = 7 }] } }";
        let pattern = read(text);
        let path: Vec<PathSegment> = vec!["a".into(), "b".into(), 1.into(), "prefix".into()];
        assert_eq!(&text[pattern.locate(&path)], "7");
        assert_eq!(&text[pattern.locate_key(&path)], "prefix");
        assert_eq!(&text[pattern.locate(&path[..3])], "{ prefix = 7 }");
        assert_eq!(&text[pattern.locate(&["a".into(), "gone".into()])], "{ b = [\"x\", { prefix = 7 }] }");
        assert_eq!(&text[pattern.span()], &text[8..]);
    }

    #[test]
    fn keys_keep_the_order_of_the_file() {
        assert_eq!(read("match = { z = [1], a = [2] }").value().to_string(), r#"{"z":[1],"a":[2]}"#);
    }

    #[test]
    fn what_is_not_a_pattern_is_refused() {
        for text in ["match = 3", "match = []", "match = '[]'", "match = '{'", "match = { a = [nan] }"] {
            assert!(toml::from_str::<Holder>(text).is_err(), "{text}");
        }
    }
}
