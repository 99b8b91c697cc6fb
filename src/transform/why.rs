//! Why a transform decides as it does about one record: what [`Transform::explain`](super::Transform::explain) answers.

use serde::Serialize;
use serde_json::{Map, Value};

/// A reason, for people and for programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Why {
    /// In words, a line each.
    pub said: Vec<String>,
    /// The same as values, by name.
    pub facts: Map<String, Value>,
}

impl Why {
    /// A reason in words.
    pub fn because(text: impl Into<String>) -> Why {
        Why::default().and(text)
    }

    /// Another line.
    #[must_use]
    pub fn and(mut self, text: impl Into<String>) -> Why {
        self.said.push(text.into());
        self
    }

    /// Another value.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Why {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

/// Why a step leaves a record alone that it may not touch.
pub(super) fn protected(names: impl Iterator<Item = &'static str>) -> Why {
    let names: Vec<&str> = names.collect();
    Why::because(format!("the record is protected ({})", names.join(", ")))
        .fact("rule", "protected")
        .fact("protected", names)
}
