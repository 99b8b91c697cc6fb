//! What is installed before the first document: an index template that follows the shape of the documents, and, where it is
//! wanted, a policy that ends indexes when they are old.
//!
//! A template holds for indexes that are made after it: one that is changed shows from the next day's index on, or from a data
//! stream's next rollover.

use serde_json::{Map, Value, json};

use super::mapping::{Flavour, Mapping};

/// Above the templates that servers come with.
const PRIORITY: u32 = 200;

/// What an index template and its policy are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Which server it is for.
    pub flavour: Flavour,
    /// The name of the template and of the policy.
    pub name: String,
    /// The indexes it is for, with `*`; the data stream itself.
    pub pattern: String,
    /// Settings of the indexes besides ours.
    pub settings: Map<String, Value>,
    /// When indexes end.
    pub lifecycle: Lifecycle,
}

/// When an index ends, and when the next of a data stream begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Age at which an index is deleted: days.
    pub delete_after: Option<u64>,
    /// Age at which a data stream gets its next index: days.
    pub rollover_age: Option<u64>,
    /// Size of a data stream's index at which it gets its next, bytes.
    pub rollover_size: Option<u64>,
}

impl Lifecycle {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Lifecycle::default()
    }
}

impl Plan {
    /// The body of `PUT /_index_template/…`.
    pub fn template(&self, mapping: &Mapping) -> Value {
        let mut settings = self.settings.clone();
        if self.flavour == Flavour::Elasticsearch && !self.lifecycle.is_empty() {
            settings.entry("index.lifecycle.name").or_insert_with(|| self.name.clone().into());
        }
        let mut template = json!({
            "index_patterns": [self.pattern],
            "priority": PRIORITY,
            "template": {
                "settings": settings,
                "mappings": { "dynamic": false, "properties": mapping.properties(self.flavour) },
            },
        });
        if mapping.stream {
            template["data_stream"] = json!({});
        }
        // Servers write settings in another way than they take them: what was installed is known by this.
        let fingerprint = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(template.to_string().as_bytes()));
        template["_meta"] = json!({ "managed_by": "trailship", "fingerprint": fingerprint });
        template
    }

    /// The path of the policy, and the body of its `PUT`; `None`: there is none.
    pub fn policy(&self) -> Option<(String, Value)> {
        if self.lifecycle.is_empty() {
            return None;
        }
        let days = |days: u64| Value::from(format!("{days}d"));
        let bytes = |bytes: u64| Value::from(format!("{bytes}b"));
        let Lifecycle { delete_after, rollover_age, rollover_size } = self.lifecycle;
        let mut rollover = Map::new();
        let (age, size) = match self.flavour {
            Flavour::Opensearch => ("min_index_age", "min_size"),
            Flavour::Elasticsearch => ("max_age", "max_size"),
        };
        rollover.extend(rollover_age.map(|age_days| (age.to_owned(), days(age_days))));
        rollover.extend(rollover_size.map(|most| (size.to_owned(), bytes(most))));
        Some(match self.flavour {
            Flavour::Opensearch => {
                let actions = if rollover.is_empty() { json!([]) } else { json!([{ "rollover": rollover }]) };
                let mut states = vec![json!({ "name": "live", "actions": actions, "transitions": [] })];
                if let Some(age) = delete_after {
                    let then =
                        json!([{ "state_name": "delete", "conditions": { "min_index_age": days(age) } }]);
                    states[0]["transitions"] = then;
                    states
                        .push(json!({ "name": "delete", "actions": [{ "delete": {} }], "transitions": [] }));
                }
                let policy = json!({
                    "description": "CloudTrail, made by trailship",
                    "default_state": "live",
                    "states": states,
                    "ism_template": [{ "index_patterns": [self.pattern], "priority": PRIORITY }],
                });
                (format!("/_plugins/_ism/policies/{}", self.name), json!({ "policy": policy }))
            }
            Flavour::Elasticsearch => {
                let actions = if rollover.is_empty() { json!({}) } else { json!({ "rollover": rollover }) };
                let mut phases = json!({ "hot": { "min_age": "0ms", "actions": actions } });
                if let Some(age) = delete_after {
                    phases["delete"] = json!({ "min_age": days(age), "actions": { "delete": {} } });
                }
                (format!("/_ilm/policy/{}", self.name), json!({ "policy": { "phases": phases } }))
            }
        })
    }
}

#[cfg(test)]
mod tests;
