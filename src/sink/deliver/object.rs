//! What a server says, where it is a JSON object.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

/// A `T` that was written as an object. What `serde` derives takes the values of its fields in an array, too: `[0]` would be a
/// collector's "success".
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Said {
        code: Option<i64>,
    }

    #[test]
    fn an_array_of_the_same_values_is_no_object() {
        let read = |text: &str| serde_json::from_str::<Object<Said>>(text).map(|said| said.0.code);
        assert_eq!(read(r#" {"text":"Success","code":0}"#).unwrap(), Some(0));
        assert_eq!(read("{}").unwrap(), None);
        for text in ["[0]", "[]", "0", "\"code\"", "null"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Said>("[0]").is_ok(), "what it is for");
    }
}
