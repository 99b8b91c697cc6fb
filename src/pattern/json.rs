//! A plain tree of JSON that keeps what `serde_json::Value` loses: repeated keys and the text of numbers.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::MAX_DEPTH;

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(Cow<'a, str>),
    /// Without quotes, escapes undone.
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    /// In the order written, repeated keys kept.
    Object(Vec<(String, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads JSON text.
    ///
    /// # Errors
    /// What is wrong with the text: invalid JSON, text behind the value, or nesting deeper than [`MAX_DEPTH`].
    pub(super) fn parse(text: &'a str) -> Result<Json<'a>, String> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Json::from_raw(raw, 0)
    }

    fn from_raw(raw: &'a RawValue, depth: usize) -> Result<Json<'a>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let text = raw.get();
        let says = |error: serde_json::Error| error.to_string();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Json::Null,
            Some(b't') => Json::Bool(true),
            Some(b'f') => Json::Bool(false),
            Some(b'"') => Json::Text(Cow::Owned(serde_json::from_str(text).map_err(says)?)),
            Some(b'[') => {
                let Elements(elements) = serde_json::from_str(text).map_err(says)?;
                Json::List(
                    elements
                        .into_iter()
                        .map(|raw| Json::from_raw(raw, depth + 1))
                        .collect::<Result<_, _>>()?,
                )
            }
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).map_err(says)?;
                let member = |(key, raw): (String, &'a RawValue)| Ok((key, Json::from_raw(raw, depth + 1)?));
                Json::Object(members.into_iter().map(member).collect::<Result<_, String>>()?)
            }
            _ => Json::Number(Cow::Borrowed(text)),
        })
    }

    /// The same of a value that was read already.
    pub(super) fn from_value(value: &'a Value) -> Json<'a> {
        match value {
            Value::Null => Json::Null,
            Value::Bool(bool) => Json::Bool(*bool),
            Value::Number(number) => Json::Number(Cow::Owned(number.to_string())),
            Value::String(text) => Json::Text(Cow::Borrowed(text)),
            Value::Array(elements) => Json::List(elements.iter().map(Json::from_value).collect()),
            Value::Object(members) => Json::Object(
                members.iter().map(|(key, value)| (key.clone(), Json::from_value(value))).collect(),
            ),
        }
    }

    /// What it is, in the words of error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(true) => "true",
            Json::Bool(false) => "false",
            Json::Number(_) => "a number",
            Json::Text(_) => "a string",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

struct Elements<'a>(Vec<&'a RawValue>);
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Seen)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_and_number_text_are_kept() {
        let json = Json::parse(r#" {"a":1.50,"a":[1E400,{}],"\u0061":"\u00e9"} "#).unwrap();
        let number = |text| Json::Number(Cow::Borrowed(text));
        assert_eq!(
            json,
            Json::Object(vec![
                ("a".into(), number("1.50")),
                ("a".into(), Json::List(vec![number("1E400"), Json::Object(vec![])])),
                ("a".into(), Json::Text("é".into())),
            ])
        );
    }

    #[test]
    fn deep_nesting_and_text_behind_the_value_are_refused() {
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(
            Json::parse(&deep).unwrap_err().contains("deeper")
                || Json::parse(&deep).unwrap_err().contains("recursion")
        );
        assert!(Json::parse("{} x").is_err());
    }
}
