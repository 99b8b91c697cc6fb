//! A shape: writes records as one level of keys (`userIdentity.arn`), with a bound on fields and stable types.
//!
//! ```toml
//! [transforms.flat]
//! type = "flatten"
//! ```

use crate::config::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// A shape: writes records as one level of keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "TransformFlatten")]
pub struct Config {
    /// What stands between the names of a path.
    pub separator: At<String>,
    /// How arrays are written.
    pub arrays: Arrays,
    /// Levels that are taken apart; what is deeper is written as JSON text. A count.
    pub max_depth: NonZeroU32,
    /// Fields of one record; what comes after is written as JSON text in one field. A count.
    pub max_fields: NonZeroU32,
    /// Bytes of one key; what has a longer one is written as JSON text at the key above. A count of bytes.
    pub max_key: NonZeroU32,
    /// Dotted paths of the values that are written as JSON text, because what is below them is named by AWS's customers.
    pub keep_json: Vec<At<String>>,
}

impl Default for Config {
    fn default() -> Self {
        const DEPTH: NonZeroU32 = NonZeroU32::new(32).unwrap();
        const FIELDS: NonZeroU32 = NonZeroU32::new(2_000).unwrap();
        const KEY: NonZeroU32 = NonZeroU32::new(512).unwrap();
        Self {
            separator: ".".to_owned().into(),
            arrays: Arrays::Index,
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
        }
    }
}

/// How arrays are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FlattenArrays")]
pub enum Arrays {
    /// One key for each element: `resources.0.ARN`.
    #[default]
    Index,
    /// One text with the elements between commas, where all are scalars; else as `json`.
    Join,
    /// One JSON text.
    Json,
    /// An array as it is.
    Keep,
}
