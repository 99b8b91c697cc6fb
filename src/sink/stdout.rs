//! Writes NDJSON to standard output.
//!
//! ```toml
//! [sinks.screen]
//! type = "stdout"
//! match = { eventCategory = ["Management"] }
//! ```

use crate::config::{At, Match};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Writes NDJSON to standard output.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkStdout")]
pub struct Config {
    /// How records are written: `nested` as AWS wrote them, `flat` with one level of keys, or the name of a shape.
    /// Default: the pipeline's shape, else `nested`.
    #[serde(default)]
    pub shape: Option<At<String>>,
    /// Which records are written here, as an event pattern over the nested record. Default: all.
    #[serde(default)]
    pub r#match: Option<Match>,
}
