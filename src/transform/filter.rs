//! Keeps or drops records by pattern; protected records are dropped only with `drop_protected`.
//!
//! ```toml
//! [transforms.quiet]
//! type = "filter"
//! drop = [{ eventSource = ["kms.amazonaws.com"], eventName = ["Decrypt"] }]
//! ```

use crate::config::{Patterns, Problem};
use crate::pattern::compile::PatternSet;
use crate::pattern::view::View;
use crate::record::Record;
use crate::transform::{Building, Context, Decision, Transform};
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

/// Leaves records out on purpose.
pub struct Filter {
    keep: Option<PatternSet>,
    drop: Option<PatternSet>,
    drop_protected: bool,
}

impl Filter {
    /// Builds it.
    ///
    /// # Errors
    /// What is wrong with its patterns.
    pub fn build(config: &Config, building: &mut Building<'_>) -> Result<Filter, Vec<Problem>> {
        let mut set = |patterns: &Option<Patterns>| match patterns {
            Some(patterns) => super::compile(patterns.iter(), building.slots).map(Some),
            None => Ok(None),
        };
        Ok(Filter {
            keep: set(&config.keep)?,
            drop: set(&config.drop)?,
            drop_protected: config.drop_protected,
        })
    }
}

impl Transform for Filter {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        if record.protection.any() && !self.drop_protected {
            return Decision::Keep;
        }
        let view = View::of(record, context.field);
        let kept = self.keep.as_ref().is_none_or(|keep| keep.any(&view, context.matching));
        let dropped = self.drop.as_ref().is_some_and(|drop| drop.any(&view, context.matching));
        if kept && !dropped { Decision::Keep } else { Decision::Filter }
    }
}
