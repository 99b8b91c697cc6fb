//! Adds name, tags and organizational unit of the record's account, and of the caller's where it differs, from a file.
//!
//! ```toml
//! [transforms.accounts]
//! type = "account_tags"
//! file = "accounts.csv"
//! tags = ["team", "env"]
//! ```

use crate::config::{At, Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Adds name, tags and organizational unit of the account, from a file.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformAccountTags")]
pub struct Config {
    /// The accounts: CSV, or the JSON that `aws organizations list-accounts` prints. A path.
    /// Required.
    pub file: At<PathBuf>,
    /// Names of the tags that are written to records. The others are still seen by `environment`. Default: none.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How often the file is looked at for a change. Time.
    #[serde(default = "reload")]
    pub reload: Duration,
}

const fn reload() -> Duration {
    Duration::seconds(10)
}
