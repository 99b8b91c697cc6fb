//! A shape: writes records as one level of keys (`userIdentity.arn`), with a bound on fields and stable types.
//!
//! ```toml
//! [transforms.flat]
//! type = "flatten"
//! ```
//!
//! The rules stand in [`crate::encode::flat`].

use crate::config::{At, ValueError};
use crate::encode::flat::{self, Flatten};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::sync::Arc;

/// A shape: writes records as one level of keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "TransformFlatten")]
pub struct Config {
    /// What stands between the names of a path: 1 to 8 characters of ASCII punctuation, but not `"`, `\` or `#`.
    pub separator: At<String>,
    /// How arrays are written.
    pub arrays: Arrays,
    /// Names in a key; what is deeper is written as JSON text. A count.
    pub max_depth: NonZeroU32,
    /// Fields of one record; a value that would bring more of them is written as JSON text. A count.
    pub max_fields: NonZeroU32,
    /// Bytes of one joined key; a value whose members would have a longer one is written as JSON text. A count of bytes.
    pub max_key: NonZeroU32,
    /// Dotted paths of the values that are written as JSON text, because what is below them is named by AWS's customers:
    /// a new field for each name, in types that change.
    pub keep_json: Vec<At<String>>,
    /// Whether names are escaped so that keys can be taken apart again: `\` before `\`, before the separator's
    /// characters and before a digit that starts a name; `\#2` after the second of two equal names.
    pub lossless: bool,
}

impl Default for Config {
    fn default() -> Self {
        const DEPTH: NonZeroU32 = NonZeroU32::new(32).unwrap();
        const FIELDS: NonZeroU32 = NonZeroU32::new(2_000).unwrap();
        const KEY: NonZeroU32 = NonZeroU32::new(512).unwrap();
        Self {
            separator: ".".to_owned().into(),
            arrays: Arrays::default(),
            max_depth: DEPTH,
            max_fields: FIELDS,
            max_key: KEY,
            keep_json: [
                "requestParameters",
                "responseElements",
                "additionalEventData",
                "serviceEventDetails",
            ]
            .map(|path| path.to_owned().into())
            .into(),
            lossless: false,
        }
    }
}

/// How arrays are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FlattenArrays")]
pub enum Arrays {
    /// As AWS wrote it. The tools that read the output find elements by the array's own key, and no position becomes a field.
    #[default]
    Keep,
    /// One key for each element: `resources.0.ARN`.
    Index,
    /// One text with the elements between commas, where all are scalars; else as `json`.
    Join,
    /// One JSON text.
    Json,
}

/// The longest separator, bytes.
const LONGEST_SEPARATOR: usize = 8;

impl Config {
    /// Makes the shape. `name` is the top-level key of what is added to events.
    ///
    /// # Errors
    ///
    /// A separator that keys could not be told from, or that JSON would have to escape.
    pub fn build(&self, name: &str) -> Result<Flatten, ValueError> {
        let separator = self.separator.value();
        let good = |byte: u8| byte.is_ascii_punctuation() && !matches!(byte, b'"' | b'\\' | b'#');
        if separator.is_empty() || separator.len() > LONGEST_SEPARATOR || !separator.bytes().all(good) {
            return Err(ValueError::new(
                format!("`separator` is {separator:?}"),
                "write 1 to 8 characters of ASCII punctuation, such as \".\", \"_\" or \"::\", but not `\"`, `\\` or `#`",
            ));
        }
        let count = |number: NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        let mut keep_json: Vec<Box<str>> =
            self.keep_json.iter().map(|path| path.value().as_str().into()).collect();
        keep_json.sort_unstable();
        Ok(Flatten {
            name: Arc::from(name),
            separator: Arc::from(separator.as_str()),
            arrays: match self.arrays {
                Arrays::Keep => flat::Arrays::Keep,
                Arrays::Index => flat::Arrays::Index,
                Arrays::Join => flat::Arrays::Join,
                Arrays::Json => flat::Arrays::Json,
            },
            max_depth: count(self.max_depth),
            max_fields: count(self.max_fields),
            max_key: count(self.max_key),
            keep_json,
            lossless: self.lossless,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_shape_s_default() {
        assert_eq!(Config::default().build("trailship").unwrap(), Flatten::default());
    }

    #[test]
    fn settings_are_read() {
        let config: Config = toml::from_str(
            "separator = \"_\"\narrays = \"index\"\nmax_depth = 3\nmax_fields = 9\nmax_key = 40\nkeep_json = [\"b.c\", \"a\"]\nlossless = true",
        )
        .unwrap();
        let shape = config.build("ts").unwrap();
        assert_eq!(
            shape,
            Flatten {
                name: "ts".into(),
                separator: "_".into(),
                arrays: flat::Arrays::Index,
                max_depth: 3,
                max_fields: 9,
                max_key: 40,
                keep_json: vec!["a".into(), "b.c".into()],
                lossless: true,
            }
        );
    }

    #[test]
    fn a_separator_that_keys_could_not_be_told_from_is_refused() {
        for separator in ["", "a", "\"", "\\", "#", ".........", "é"] {
            let config = Config { separator: separator.to_owned().into(), ..Config::default() };
            assert!(config.build("trailship").unwrap_err().hint.contains("punctuation"), "{separator}");
        }
    }
}
