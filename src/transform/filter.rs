//! Keeps or drops records by pattern; protected records are dropped only with `drop_protected`.
//!
//! ```toml
//! [transforms.quiet]
//! type = "filter"
//! drop = [{ eventSource = ["kms.amazonaws.com"], eventName = ["Decrypt"] }]
//! ```

use crate::config::Patterns;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps or drops records by pattern.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformFilter")]
pub struct Config {
    /// Event patterns; a record that matches none of them is dropped. One or a list. Either `keep` or `drop` is required.
    #[serde(default)]
    pub keep: Option<Patterns>,
    /// Event patterns; a record that matches one of them is dropped. One or a list.
    #[serde(default)]
    pub drop: Option<Patterns>,
    /// Whether protected records (writes, errors, sign-in, root, signals, …) may be dropped, too.
    #[serde(default)]
    pub drop_protected: bool,
}
