//! Says which environment an account belongs to: the first rule whose pattern matches the account decides.
//!
//! A pattern here sees the account, not the event: `{ id, name, ou_path, tags = { … } }`.
//!
//! ```toml
//! [transforms.environment]
//! type = "environment"
//! default = "unknown"
//! [[transforms.environment.rules]]
//! set = "prod"
//! match = { tags = { env = ["prod", "production"] } }
//! [[transforms.environment.rules]]
//! set = "sandbox"
//! match = { name = [{ wildcard = "*sandbox*" }] }
//! ```

use crate::config::{At, Match};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says which environment an account belongs to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformEnvironment")]
pub struct Config {
    /// The environment of accounts that no rule matches. Default: none is written.
    #[serde(default)]
    pub default: Option<String>,
    /// The rules, in order; the first that matches decides. Required.
    pub rules: At<Vec<Rule>>,
}

/// One rule: what to say of the accounts that match.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EnvironmentRule")]
pub struct Rule {
    /// The environment to write. Required.
    pub set: At<String>,
    /// Which accounts, as an event pattern over `{ id, name, ou_path, tags }`. Required.
    pub r#match: Match,
}
