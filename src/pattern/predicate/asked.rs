//! The part of a record that dotted paths lead to, as a tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What is asked of a value: all of it, or some of its members.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    whole: bool,
    members: Vec<(Box<str>, Asked)>,
}

impl Asked {
    /// Asks for what a dotted path leads to, too; the empty path leads to the value itself.
    pub(super) fn add(&mut self, path: &str) {
        if path.is_empty() {
            self.whole = true;
            return;
        }
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        let at = self.members.iter().position(|(name, _)| **name == *head).unwrap_or_else(|| {
            self.members.push((head.into(), Asked::default()));
            self.members.len() - 1
        });
        if let Some((_, below)) = self.members.get_mut(at) {
            below.add(rest);
        }
    }

    /// Reads a record's text; members that no path leads to are left out, elements of arrays are not. Of a name that stands
    /// twice the last one counts.
    ///
    /// # Errors
    /// It is not JSON, or too deep.
    pub(super) fn read(&self, record_json: &[u8]) -> Result<Value, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(record_json);
        let value = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for &Asked {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.whole {
            return serde::Deserialize::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Asked {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut asked = Map::new();
        while let Some(member) = map.next_key_seed(Member(&self.members))? {
            match member {
                Some((name, below)) => {
                    asked.insert(name.as_ref().to_owned(), map.next_value_seed(below)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(asked))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            all.push(element);
        }
        Ok(Value::Array(all))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// The names that are asked for: a key is looked up where it stands, without a copy of it.
struct Member<'a>(&'a [(Box<str>, Asked)]);

impl<'a, 'de> DeserializeSeed<'de> for Member<'a> {
    type Value = Option<&'a (Box<str>, Asked)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Member<'a> {
    type Value = Option<&'a (Box<str>, Asked)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(name, _)| **name == *key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], paths: &[&str]) -> Result<Value, serde_json::Error> {
        let mut asked = Asked::default();
        paths.iter().for_each(|path| asked.add(path));
        asked.read(text)
    }

    #[test]
    fn what_no_path_leads_to_is_left_out() {
        let text =
            br#"{"a":{"b":[{"c":1,"d":2},"x",{"c":{"e":[3]}}],"f":4},"a.b":5,"g":null,"h":[1.5,true]}"#;
        let asked = |paths: &[&str]| read(text, paths).unwrap().to_string();
        assert_eq!(asked(&["a.b.c", "g.x"]), r#"{"a":{"b":[{"c":1},"x",{"c":{"e":[3]}}]},"g":null}"#);
        assert_eq!(asked(&["a.f", "a"]), r#"{"a":{"b":[{"c":1,"d":2},"x",{"c":{"e":[3]}}],"f":4}}"#);
        assert_eq!(asked(&["h.i", "nowhere"]), r#"{"h":[1.5,true]}"#);
        let escaped = br#"{"\u0061":{"b":1},"a\n":2}"#;
        assert_eq!(read(escaped, &["a.b"]).unwrap().to_string(), r#"{"a":{"b":1}}"#);
        let twice = br#"{"a":{"b":1},"a":{"b":2}}"#;
        assert_eq!(read(twice, &["a.b"]).unwrap().to_string(), r#"{"a":{"b":2}}"#);
        for wrong in ["{\"a\":1", "{\"a\":1}x", "", "{\"b\":tru}"] {
            assert!(read(wrong.as_bytes(), &["a"]).is_err(), "{wrong}");
        }
    }
}
