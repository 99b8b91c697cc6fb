//! Removes values from records, or replaces them by a keyed hash, before anything is written.
//!
//! ```toml
//! [transforms.private]
//! type = "redact"
//! remove = ["requestParameters.password"]
//! hash = ["sourceIPAddress"]
//! ```
//!
//! With `over`, only in large records: what a service would refuse for its size is sent without the parts that make it large,
//! and says so.
//!
//! ```toml
//! [transforms.trim]
//! type = "redact"
//! over = "900 kB"
//! remove = ["responseElements", "requestParameters"]
//! ```

use crate::config::{At, ByteSize, Problem, Secret};
use crate::record::overlay::{Fragment, FragmentLeaf, Overlay, Parent};
use crate::record::{Kind, Record, SlotId, unquoted};
use crate::transform::{Building, Context, Decision, Transform, Why};
use hmac::{Hmac, Mac as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{PoisonError, RwLock};

/// Removes or hashes values of records.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformRedact")]
pub struct Config {
    /// Dotted paths of the values to remove.
    #[serde(default)]
    pub remove: Vec<At<String>>,
    /// Dotted paths of the values to replace by a hash of them (the first 16 bytes of HMAC-SHA-256, in hex): equal values
    /// stay equal.
    #[serde(default)]
    pub hash: Vec<At<String>>,
    /// The key of the hash; without it, hashes of guessable values (addresses, names) can be undone by trying.
    /// `{ env = "NAME" }` or `{ file = "path" }`. Default: none.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Size above which a record is changed by `remove` and `hash`, as AWS wrote it; what was removed is then listed in
    /// `trailship.redacted`. Default: all records are changed, and nothing is listed.
    #[serde(default)]
    pub over: Option<At<ByteSize>>,
    /// Whether `responseElements.credentials.sessionToken` is removed, too. Off means live credentials are written.
    #[serde(default = "yes")]
    pub default: bool,
}

const fn yes() -> bool {
    true
}

impl Config {
    /// What is wrong with its settings together. `name` is its own.
    pub fn problems(&self, name: &At<String>) -> Option<Problem> {
        let changes = !self.remove.is_empty() || !self.hash.is_empty();
        match &self.over {
            Some(over) if !changes => Some(Problem::error(
                over.span(),
                "nothing is removed from records over this size",
                "add remove = [\"responseElements\"], say",
            )),
            None if !changes && !self.default => {
                let message = format!("redact `{}` redacts nothing", name.value());
                Some(Problem::warning(name.span(), message, "add `remove` or `hash`, or remove it"))
            }
            _ => None,
        }
    }
}

/// The member of what is added that lists what was removed from a record for its size.
const LIST: &str = "redacted";

/// Where STS records carry a live credential.
///
/// Source: IAM User Guide, "Logging IAM and AWS STS API calls with AWS CloudTrail".
pub const SESSION_TOKEN: &str = "responseElements.credentials.sessionToken";

/// What stands where a session token was.
const REDACTED: &[u8] = b"\"REDACTED\"";

/// Removes and hashes values.
pub struct Redact {
    token: Option<SlotId>,
    remove: Vec<Box<str>>,
    hash: Vec<Box<str>>,
    /// Records of more bytes only.
    over: Option<usize>,
    /// The secret, and what is made of it; may change while it is used.
    key: RwLock<(Option<Secret>, Hmac<Sha256>)>,
}

impl Redact {
    /// Builds it.
    pub fn build(config: &Config, building: &mut Building<'_>) -> Redact {
        building.redacts = true;
        if !config.default {
            tracing::warn!(
                "session tokens are written: `redact` has `default = false`, and some records hold live credentials"
            );
        }
        let paths = |paths: &[At<String>]| paths.iter().map(|path| path.value().as_str().into()).collect();
        Redact {
            token: config.default.then(|| building.slots.want(SESSION_TOKEN)),
            remove: paths(&config.remove),
            hash: paths(&config.hash),
            over: config.over.as_ref().map(|over| over.as_usize()),
            key: RwLock::new((config.key.clone(), keyed(config.key.as_ref()))),
        }
    }

    /// The rule that is always on unless it is switched off: session tokens are removed.
    pub fn default_rule(building: &mut Building<'_>) -> Redact {
        let token = Some(building.slots.want(SESSION_TOKEN));
        Redact {
            token,
            remove: Vec::new(),
            hash: Vec::new(),
            over: None,
            key: RwLock::new((None, keyed(None))),
        }
    }

    /// Takes the key of these settings from now on.
    pub fn renew(&self, name: &str, config: &Config) {
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if key.0 != config.key {
            *key = (config.key.clone(), keyed(config.key.as_ref()));
            tracing::info!(
                transform = name,
                "the key has changed: values are hashed with the new one from now on"
            );
        }
    }

    /// Goes through the record's leaves for paths that are, or are below, a configured one.
    fn paths(&self, record: &mut Record<'_>) {
        // Of each path that was seen, the place in `remove`, or that it is hashed.
        let mut seen: Vec<(crate::record::PathId, Option<Result<usize, ()>>)> = Vec::new();
        let mut removed: Vec<usize> = Vec::new();
        for (position, leaf) in (0u32..).zip(record.index.leaves()) {
            let path = record.index.path(*leaf);
            let what = match seen.iter().find(|(known, _)| *known == path) {
                Some((_, what)) => *what,
                None => {
                    let dotted = record.index.paths().dotted(path);
                    let what = match self.remove.iter().position(|path| covers(path, &dotted)) {
                        Some(at) => Some(Ok(at)),
                        None => self.hash.iter().any(|path| covers(path, &dotted)).then_some(Err(())),
                    };
                    if seen.len() < 256 {
                        seen.push((path, what));
                    }
                    what
                }
            };
            match what {
                None => {}
                Some(Ok(at)) => {
                    record.overlay.removed.push(position);
                    if !removed.contains(&at) {
                        removed.push(at);
                    }
                }
                Some(Err(())) => {
                    let text = record.buffer.get(leaf.start as usize..leaf.end as usize).unwrap_or_default();
                    if Kind::of(text) != Kind::Null {
                        record.overlay.replaced.push((position, self.hashed(text).into()));
                    }
                }
            }
        }
        record.overlay.removed.sort_unstable();
        record.overlay.removed.dedup();
        record.overlay.replaced.sort_by_key(|(position, _)| *position);
        record.overlay.replaced.dedup_by_key(|(position, _)| *position);
        if self.over.is_some() && !removed.is_empty() {
            removed.sort_unstable();
            self.list(removed.into_iter().filter_map(|at| self.remove.get(at)), record.overlay);
        }
    }

    /// Says on the record what was removed, together with what a rule before this one removed.
    fn list<'p>(&self, paths: impl Iterator<Item = &'p Box<str>>, overlay: &mut Overlay) {
        let is_list = |(parent, fragment): &(Parent, Rc<Fragment>)| {
            *parent == Parent::Root
                && fragment
                    .leaves
                    .first()
                    .and_then(|leaf| leaf.keys.first())
                    .is_some_and(|key| &**key == LIST)
        };
        let before = overlay.added.iter().position(is_list).map(|at| overlay.added.remove(at));
        let mut leaves = before.map(|(_, fragment)| fragment.leaves.clone()).unwrap_or_default();
        for path in paths {
            let value: Box<[u8]> = serde_json::Value::from(&**path).to_string().into_bytes().into();
            if leaves.iter().all(|leaf| leaf.value != value) {
                let index = u32::try_from(leaves.len()).ok();
                leaves.push(FragmentLeaf { keys: vec![LIST.into()], index, value });
            }
        }
        overlay.added.push((Parent::Root, Rc::new(Fragment::once(leaves))));
    }

    /// Whether a record is large enough to be changed.
    fn means(&self, record: &Record<'_>) -> bool {
        self.over.is_none_or(|over| record.original().len() > over)
    }

    fn hashed(&self, text: &[u8]) -> Vec<u8> {
        let mut key = self.key.read().unwrap_or_else(PoisonError::into_inner).1.clone();
        key.update(unquoted(text));
        let mut hex = String::with_capacity(34);
        for byte in key.finalize().into_bytes().iter().take(16) {
            let _ = write!(hex, "{byte:02x}");
        }
        format!("\"{hex}\"").into_bytes()
    }
}

/// Whether a dotted path is the configured one, or below it.
fn covers(configured: &str, dotted: &str) -> bool {
    dotted.strip_prefix(configured).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn keyed(key: Option<&Secret>) -> Hmac<Sha256> {
    let key = key.map_or("", |key| key.reveal());
    // HMAC takes keys of every length; the error type is for other algorithms.
    Hmac::new_from_slice(key.as_bytes())
        .unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()))
}

impl Transform for Redact {
    fn apply(&self, record: &mut Record<'_>, _context: &mut Context<'_>) -> Decision {
        if let Some(token) = self.token {
            for position in record.index.hits(token) {
                let text = record.index.leaves().get(position as usize).map(|leaf| leaf.end - leaf.start);
                // Null and the empty string hide nothing.
                let known = record.overlay.replaced.iter().any(|(other, _)| *other == position);
                if text.is_some_and(|length| length > 2) && !known && !is_null(record, position) {
                    record.overlay.replaced.push((position, REDACTED.into()));
                }
            }
            if record.overlay.replaced.len() > 1 {
                record.overlay.replaced.sort_by_key(|(position, _)| *position);
            }
        }
        if (!self.remove.is_empty() || !self.hash.is_empty()) && self.means(record) {
            self.paths(record);
        }
        Decision::Keep
    }

    fn explain(&self, record: &Record<'_>, _context: &mut Context<'_>) -> Why {
        let token = match self.token {
            None => "session tokens are written: `default = false`",
            Some(token) if record.index.hits(token).next().is_some() => {
                "the record has a session token, a live credential"
            }
            Some(_) => "the record has no session token",
        };
        let mut why = Why::because(token);
        for (what, paths) in [("remove", &self.remove), ("hash", &self.hash)] {
            if !paths.is_empty() {
                why = why.and(format!("`{what}` names {}", paths.join(", ")));
            }
        }
        if let Some(over) = self.over {
            let (size, means) = (record.original().len(), if self.means(record) { "" } else { "not " });
            why = why.and(format!("the record has {size} bytes, {means}over {over}"));
        }
        why
    }
}

fn is_null(record: &Record<'_>, position: u32) -> bool {
    record.index.leaves().get(position as usize).is_some_and(|leaf| {
        record
            .buffer
            .get(leaf.start as usize..leaf.end as usize)
            .is_some_and(|text| Kind::of(text) == Kind::Null)
    })
}
