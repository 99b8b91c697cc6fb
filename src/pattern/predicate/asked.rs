//! The part of a record that dotted paths lead to, as a tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads a record's text; members that no path leads to are left out, elements of arrays are not. Of a name that stands twice
/// the last one counts.
///
/// # Errors
/// It is not JSON, or too deep.
pub(super) fn read(record_json: &[u8], paths: &[&str]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(record_json);
    let value = Asked(paths).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// What is left of the paths, from the value on.
struct Asked<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for Asked<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.contains(&"") {
            return serde::Deserialize::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Asked<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut asked = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let below: Vec<&str> = self
                .0
                .iter()
                .map(|path| path.split_once('.').unwrap_or((path, "")))
                .filter_map(|(head, rest)| (head == name).then_some(rest))
                .collect();
            if below.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                asked.insert(name, map.next_value_seed(Asked(&below))?);
            }
        }
        Ok(Value::Object(asked))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = elements.next_element_seed(Asked(self.0))? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_path_leads_to_is_left_out() {
        let text =
            br#"{"a":{"b":[{"c":1,"d":2},"x",{"c":{"e":[3]}}],"f":4},"a.b":5,"g":null,"h":[1.5,true]}"#;
        let asked = |paths: &[&str]| read(text, paths).unwrap().to_string();
        assert_eq!(asked(&["a.b.c", "g.x"]), r#"{"a":{"b":[{"c":1},"x",{"c":{"e":[3]}}]},"g":null}"#);
        assert_eq!(asked(&["a.f", "a"]), r#"{"a":{"b":[{"c":1,"d":2},"x",{"c":{"e":[3]}}],"f":4}}"#);
        assert_eq!(asked(&["h.i", "nowhere"]), r#"{"h":[1.5,true]}"#);
        let twice = br#"{"a":{"b":1},"a":{"b":2}}"#;
        assert_eq!(read(twice, &["a.b"]).unwrap().to_string(), r#"{"a":{"b":2}}"#);
        for wrong in ["{\"a\":1", "{\"a\":1}x", "", "{\"b\":tru}"] {
            assert!(read(wrong.as_bytes(), &["a"]).is_err(), "{wrong}");
        }
    }
}
