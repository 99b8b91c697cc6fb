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
use crate::transform::{Building, Context, Decision, Transform, Why, why};
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
    /// Whether protected records (management writes, errors, sign-in, root, signals, …) may be dropped, too.
    #[serde(default)]
    pub drop_protected: bool,
}

/// Leaves records out on purpose.
pub struct Filter {
    keep: Option<PatternSet>,
    drop: Option<PatternSet>,
    drop_protected: bool,
    /// The patterns as JSON, to explain by.
    shown: [Vec<Box<str>>; 2],
}

/// What there is to say about one record.
enum Judged {
    /// It may not be dropped.
    Protected,
    /// No pattern is against it.
    Kept,
    /// None of `keep` matches.
    NotKept,
    /// One of `drop` matches.
    Dropped,
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
            shown: [&config.keep, &config.drop].map(|patterns| {
                let all = patterns.iter().flat_map(|patterns| patterns.iter());
                all.map(|pattern| pattern.value().to_string().into()).collect()
            }),
        })
    }

    /// Decides. [`apply`](Transform::apply) does it, [`explain`](Transform::explain) says it.
    #[inline]
    fn judge(&self, record: &Record<'_>, context: &mut Context<'_>) -> Judged {
        if record.protection.any() && !self.drop_protected {
            return Judged::Protected;
        }
        let view = View::of(record, context.field);
        if self.keep.as_ref().is_some_and(|keep| !keep.any(&view, context.matching)) {
            return Judged::NotKept;
        }
        if self.drop.as_ref().is_some_and(|drop| drop.any(&view, context.matching)) {
            return Judged::Dropped;
        }
        Judged::Kept
    }

    /// The first of a set's patterns that matches: its number, from 1, and its text.
    fn first<'f>(
        set: Option<&PatternSet>,
        shown: &'f [Box<str>],
        record: &Record<'_>,
        context: &mut Context<'_>,
    ) -> Option<(usize, &'f str)> {
        let matched = set?.matches(&View::of(record, context.field), context.matching);
        let holds = |at: &usize| matched.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        (0..shown.len()).find(holds).map(|at| (at + 1, &*shown[at]))
    }
}

impl Transform for Filter {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        match self.judge(record, context) {
            Judged::Protected | Judged::Kept => Decision::Keep,
            Judged::NotKept | Judged::Dropped => Decision::Filter,
        }
    }

    fn explain(&self, record: &Record<'_>, context: &mut Context<'_>) -> Why {
        let judged = self.judge(record, context);
        let [keep, drop] = &self.shown;
        let mut matched = |set: &Option<PatternSet>, name: &str, shown: &[Box<str>]| {
            let Some((number, pattern)) = Filter::first(set.as_ref(), shown, record, context) else {
                return Why::default();
            };
            let of = if shown.len() > 1 {
                format!(" (pattern {number} of {})", shown.len())
            } else {
                String::new()
            };
            Why::because(format!("`{name}`{of} matches: {pattern}"))
                .fact("list", name)
                .fact("pattern", number)
        };
        match judged {
            Judged::Protected => why::protected(record.protection.names()),
            Judged::Dropped => matched(&self.drop, "drop", drop).fact("rule", "drop"),
            Judged::NotKept => Why::because(format!("no pattern of `keep` matches: {}", keep.join(", ")))
                .fact("rule", "keep"),
            Judged::Kept => {
                let why =
                    if self.keep.is_some() { matched(&self.keep, "keep", keep) } else { Why::default() };
                let why = if self.drop.is_some() { why.and("no pattern of `drop` matches") } else { why };
                why.fact("rule", "kept")
            }
        }
    }
}
