//! Adds name, tags and organizational unit of the record's account, and of the caller's where it differs, from a file.
//!
//! ```toml
//! [transforms.accounts]
//! type = "account_tags"
//! file = "accounts.csv"
//! tags = ["team", "env"]
//! ```

use crate::clock::Timestamp;
use crate::config::{At, Duration, Problem};
use crate::record::Record;
use crate::record::identity::Account;
use crate::record::overlay::{Fragment, FragmentLeaf, Parent};
use crate::transform::{Building, Context, Decision, Transform, Why};
use foldhash::HashSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

mod table;

pub use table::{AccountInfo, Row, Table};

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

/// Unknown accounts that are named in the log, at most; the rest are only counted.
const MOST_NAMED: usize = 1000;

/// The accounts known now, shared with `environment`. Reloaded when the file changes; a broken file changes nothing.
#[derive(Debug)]
pub struct Accounts {
    path: PathBuf,
    table: RwLock<Arc<Table>>,
    /// Grows with each reload: what was made from an older table is made anew.
    version: AtomicU64,
    seen: Mutex<Seen>,
    unknown: AtomicU64,
    named: Mutex<HashSet<Account>>,
}

/// The file as it was looked at last.
#[derive(Debug)]
struct Seen {
    looked: Option<Timestamp>,
    stamp: Option<(SystemTime, u64)>,
    broken: bool,
}

impl Accounts {
    /// Loads a file.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn load(path: &Path) -> Result<Accounts, String> {
        let table = Table::read(path)?;
        Ok(Accounts {
            path: path.to_owned(),
            table: RwLock::new(Arc::new(table)),
            version: AtomicU64::new(1),
            seen: Mutex::new(Seen { looked: None, stamp: stamp(path), broken: false }),
            unknown: AtomicU64::new(0),
            named: Mutex::default(),
        })
    }

    /// The table now.
    pub fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The table's version.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Records of accounts that are not in the file, since the start.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Looks at the file again, if it is time to; loads it if it changed.
    pub fn look(&self, now: Timestamp, every: std::time::Duration) {
        let mut seen = self.lock();
        if seen.looked.is_some_and(|looked| now.since(looked) < every) {
            return;
        }
        let stamp = stamp(&self.path);
        if stamp == seen.stamp && (stamp.is_some() || seen.broken) {
            seen.looked = Some(now);
            return;
        }
        drop(seen);
        self.reload(now);
    }

    /// Loads the file again, whether it changed or not.
    pub fn reload(&self, now: Timestamp) {
        let mut seen = self.lock();
        (seen.looked, seen.stamp) = (Some(now), stamp(&self.path));
        match Table::read(&self.path) {
            Ok(table) => {
                seen.broken = false;
                tracing::info!(file = %self.path.display(), accounts = table.len(), "accounts reloaded");
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
                self.version.fetch_add(1, Ordering::AcqRel);
                self.named.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            Err(message) => {
                seen.broken = true;
                tracing::error!(error = %message, "the accounts file cannot be used: the accounts known before stay");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names an unknown account in the log, once.
    fn name_unknown(&self, account: Account) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < MOST_NAMED && named.insert(account) {
            tracing::warn!(%account, file = %self.path.display(), "an account is not in the accounts file");
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

/// Adds what is known of accounts.
pub struct AccountTags {
    accounts: Arc<Accounts>,
    tags: Vec<String>,
    every: std::time::Duration,
}

impl AccountTags {
    /// Builds it; reads the file.
    ///
    /// # Errors
    /// The file cannot be read or used.
    pub fn build(config: &Config, building: &mut Building<'_>) -> Result<AccountTags, Vec<Problem>> {
        let path = building.base.join(config.file.value());
        let accounts = Accounts::load(&path).map_err(|message| {
            vec![Problem::error(config.file.span(), message, "the accounts cannot be read")]
        })?;
        let accounts = Arc::new(accounts);
        building.accounts = Some(accounts.clone());
        Ok(AccountTags { accounts, tags: config.tags.clone(), every: config.reload.get() })
    }

    /// Records of accounts that are not in the file, since the start.
    pub fn unknown(&self) -> u64 {
        self.accounts.unknown()
    }

    /// What is written for an account.
    fn fragment(&self, account: Account) -> Fragment {
        let leaf = |keys: &[&str], value: serde_json::Value| FragmentLeaf {
            keys: keys.iter().map(|&key| key.into()).collect(),
            index: None,
            value: value.to_string().into_bytes().into(),
        };
        let mut leaves = vec![leaf(&["id"], account.to_string().into())];
        match self.accounts.table().get(account) {
            None => leaves.push(leaf(&["unknown"], true.into())),
            Some(info) => {
                if let Some(name) = &info.name {
                    leaves.push(leaf(&["name"], name.as_str().into()));
                }
                if let Some(ou_path) = &info.ou_path {
                    leaves.push(leaf(&["ou_path"], ou_path.as_str().into()));
                }
                let written = info.tags.iter().filter(|(tag, _)| self.tags.contains(tag));
                leaves.extend(written.map(|(tag, value)| leaf(&["tags", tag], value.as_str().into())));
            }
        }
        Fragment::shared(leaves)
    }

    /// Which row of the file speaks of an account, in words and as a fact.
    fn explained(&self, whose: &str, account: Account, why: Why) -> Why {
        let (table, file) = (self.accounts.table(), self.accounts.path.display());
        let Some(info) = table.get(account) else {
            let said = format!("{whose} {account} is not in {file} ({} accounts)", table.len());
            let fact = serde_json::json!({ "id": account.to_string(), "unknown": true });
            return why.and(said).fact(whose, fact);
        };
        let row = table.row(account).map_or_else(String::new, |row| format!("{row} of "));
        let name = info.name.as_deref().map_or_else(String::new, |name| format!(": {name:?}"));
        let hidden = info.tags.iter().filter(|(tag, _)| !self.tags.contains(tag)).count();
        let hidden = match hidden {
            0 => String::new(),
            more => format!(" ({more} of its tags not written: `tags` does not name them)"),
        };
        let fact = serde_json::json!({
            "id": account.to_string(),
            "row": table.row(account).map(|row| row.to_string()),
            "name": info.name,
        });
        why.and(format!("{whose} {account} is {row}{file}{name}{hidden}")).fact(whose, fact)
    }

    fn add(&self, account: Account, parent: Parent, record: &mut Record<'_>, context: &mut Context<'_>) {
        let fragment = context.local.fragment(self.accounts.version(), key(account), || {
            let fragment = self.fragment(account);
            if is_unknown(&fragment) {
                self.accounts.name_unknown(account);
            }
            Some(fragment)
        });
        if let Some(fragment) = fragment {
            if is_unknown(&fragment) {
                self.accounts.unknown.fetch_add(1, Ordering::Relaxed);
            }
            record.overlay.added.push((parent, fragment));
        }
    }
}

/// Whether it says that the account is not in the file.
fn is_unknown(fragment: &Fragment) -> bool {
    matches!(&*fragment.leaves, [_, leaf] if matches!(&*leaf.keys, [key] if &**key == "unknown"))
}

/// The key of an account's text among what a transform keeps on a thread.
pub(super) fn key(account: Account) -> u64 {
    account.number()
}

impl Transform for AccountTags {
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
        let file = self.accounts.path.display().to_string();
        let Some(account) = record.identity.account else {
            return Why::because("the record has no account").fact("file", file);
        };
        let why = self.explained("account", account, Why::default().fact("file", file));
        match record.identity.caller {
            Some(caller) if caller != account => self.explained("caller", caller, why),
            _ => why,
        }
    }

    fn reload(&self, now: Timestamp) {
        self.accounts.reload(now);
    }

    fn tick(&self, now: Timestamp) {
        self.accounts.look(now, self.every);
    }
}
