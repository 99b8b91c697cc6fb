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

use crate::config::{At, Match, Problem};
use crate::pattern::{Pattern, slow};
use crate::record::Record;
use crate::record::identity::Account;
use crate::record::overlay::{Fragment, FragmentLeaf, Parent};
use crate::transform::account_tags::{Accounts, key};
use crate::transform::{Building, Context, Decision, Transform, Why};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

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

/// A rule, ready to be asked.
struct Compiled {
    set: String,
    pattern: Pattern,
    /// The pattern as JSON, to explain by.
    shown: String,
}

/// Says which environment accounts belong to. Decided once for each account and table, not for each record.
pub struct Environment {
    accounts: Option<Arc<Accounts>>,
    rules: Vec<Compiled>,
    default: Option<String>,
}

impl Environment {
    /// Builds it over the accounts of the `account_tags` before it; without one, rules see the account's id only.
    ///
    /// # Errors
    /// What is wrong with its patterns.
    pub fn build(config: &Config, building: &mut Building<'_>) -> Result<Environment, Vec<Problem>> {
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        for rule in config.rules.value() {
            match rule.r#match.compile() {
                Ok(pattern) => {
                    let (set, shown) = (rule.set.value().clone(), rule.r#match.value().to_string());
                    rules.push(Compiled { set, pattern, shown });
                }
                Err(errors) => problems.extend(super::problems(&rule.r#match, &errors)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Environment { accounts: building.accounts.clone(), rules, default: config.default.clone() })
    }

    /// The environment of an account: the first rule that matches decides.
    pub fn of(&self, account: Account) -> Option<&str> {
        let rule = self.rule(&self.seen(account));
        rule.map(|number| self.rules[number].set.as_str()).or(self.default.as_deref())
    }

    /// The first rule that matches.
    fn rule(&self, seen: &str) -> Option<usize> {
        self.rules.iter().position(|rule| slow::matches(&rule.pattern, seen))
    }

    /// What rules see of an account, as JSON.
    fn seen(&self, account: Account) -> String {
        let mut seen = Map::new();
        seen.insert("id".into(), account.to_string().into());
        let table = self.accounts.as_ref().map(|accounts| accounts.table());
        if let Some(info) = table.as_ref().and_then(|table| table.get(account)) {
            if let Some(name) = &info.name {
                seen.insert("name".into(), name.as_str().into());
            }
            if let Some(ou_path) = &info.ou_path {
                seen.insert("ou_path".into(), ou_path.as_str().into());
            }
            let tags: Map<String, Value> =
                info.tags.iter().map(|(tag, value)| (tag.clone(), json!(value))).collect();
            seen.insert("tags".into(), tags.into());
        }
        Value::Object(seen).to_string()
    }

    /// Which rule decides about an account, in words; the environment and the rule's number from 1 as facts.
    fn explained(&self, whose: &str, account: Account, why: Why) -> Why {
        let seen = self.seen(account);
        let number = self.rule(&seen);
        let said = match (number.map(|number| (number + 1, &self.rules[number])), &self.default) {
            (Some((number, rule)), _) => {
                format!(
                    "{whose} {account} is `{}`: rule {number} is the first that matches: {}",
                    rule.set, rule.shown
                )
            }
            (None, Some(default)) => {
                format!("{whose} {account} is `{default}`, the default: no rule matches")
            }
            (None, None) => format!("{whose} {account}: no rule matches, and there is no default"),
        };
        let fact = json!({
            "id": account.to_string(),
            "environment": self.of(account),
            "matched_rule": number.map(|number| number + 1),
            "seen": serde_json::from_str::<Value>(&seen).unwrap_or_default(),
        });
        why.and(said).fact(whose, fact)
    }

    fn add(&self, account: Account, parent: Parent, record: &mut Record<'_>, context: &mut Context<'_>) {
        let version = self.accounts.as_ref().map_or(1, |accounts| accounts.version());
        let fragment = context.local.fragment(version, key(account), || {
            let environment = self.of(account)?;
            let value = Value::from(environment).to_string().into_bytes().into();
            Some(Fragment::shared(vec![FragmentLeaf {
                keys: vec!["environment".into()],
                index: None,
                value,
            }]))
        });
        record.overlay.added.extend(fragment.map(|fragment| (parent, fragment)));
    }
}

impl Transform for Environment {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        if let Some(account) = record.identity.account {
            self.add(account, Parent::Account, record, context);
        }
        if let Some(caller) = record.identity.caller
            && Some(caller) != record.identity.account
        {
            self.add(caller, Parent::Caller, record, context);
        }
        Decision::Keep
    }
    fn explain(&self, record: &Record<'_>, _context: &mut Context<'_>) -> Why {
        let Some(account) = record.identity.account else {
            return Why::because("the record has no account");
        };
        let why = self.explained("account", account, Why::default());
        match record.identity.caller {
            Some(caller) if caller != account => self.explained("caller", caller, why),
            _ => why,
        }
    }
}
