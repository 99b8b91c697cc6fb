//! Writes the names of the signal families a record belongs to into `trailship.signals`.
//!
//! ```toml
//! [transforms.signals]
//! type = "signals"
//! except = ["dry_run"]
//! ```

use crate::config::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Marks records with the signal families they belong to.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformSignals")]
pub struct Config {
    /// Names of the families to write, no others. Default: all.
    #[serde(default)]
    pub only: Option<Vec<At<String>>>,
    /// Names of families not to write. Default: none.
    #[serde(default)]
    pub except: Vec<At<String>>,
}
