//! Removes values from records, or replaces them by a keyed hash, before anything is written.
//!
//! ```toml
//! [transforms.private]
//! type = "redact"
//! remove = ["requestParameters.password"]
//! hash = ["sourceIPAddress"]
//! ```

use crate::config::{At, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Removes or hashes values of records.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformRedact")]
pub struct Config {
    /// Dotted paths of the values to remove.
    #[serde(default)]
    pub remove: Vec<At<String>>,
    /// Dotted paths of the values to replace by a hash of them: equal values stay equal.
    #[serde(default)]
    pub hash: Vec<At<String>>,
    /// The key of the hash; without it, hashes of guessable values (addresses, names) can be undone by trying.
    /// `{ env = "NAME" }` or `{ file = "path" }`. Default: none.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Whether `responseElements.credentials.sessionToken` is removed, too. Off means live credentials are written.
    #[serde(default = "yes")]
    pub default: bool,
}

const fn yes() -> bool {
    true
}
