//! Keeps one record in `keep_one_in`, chosen by a hash of one field; protected records are always kept.
//!
//! The choice depends on the record only, so a redelivered record gets the same answer.
//!
//! ```toml
//! [transforms.thin]
//! type = "sample"
//! match = { eventCategory = ["Data"], readOnly = [true] }
//! keep_one_in = 50
//! ```

use crate::config::{At, Match};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Keeps one record in N; protected records are always kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformSample")]
pub struct Config {
    /// Which records are thinned, as an event pattern. Default: all that are not protected.
    #[serde(default)]
    pub r#match: Option<Match>,
    /// Keep one record in this many; `1` keeps all. A count of records, from 1. Required.
    pub keep_one_in: At<NonZeroU32>,
    /// The field whose text is hashed, as a dotted path: records that agree in it share their fate. Records without it
    /// are kept. Default: the record's id.
    #[serde(default)]
    pub by: Option<At<String>>,
    /// Text mixed into the hash, so that two `sample` steps choose independently.
    #[serde(default)]
    pub salt: String,
}
