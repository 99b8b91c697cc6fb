//! How the collector behaves.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

/// How it behaves. Shares are of a hundred.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// What chance is made of: the same requests in the same order are treated alike.
    pub(crate) seed: u64,
    /// Events it finds invalid, always the same.
    pub(crate) invalid: u64,
    /// Whether what stands before an invalid event is indexed all the same.
    pub(crate) keeps_before: bool,
    /// Requests it refuses as busy.
    pub(crate) busy: u64,
    /// Requests it never answers; every other one is taken.
    pub(crate) hangs: u64,
    /// Requests at which it disconnects; every other one is taken.
    pub(crate) dies: u64,
    /// Whether it lets nobody in.
    pub(crate) locked: bool,
    /// Indexer acknowledgment.
    pub(crate) acks: Option<Acks>,
    /// The longest body, before decompression; more is a page.
    pub(crate) longest: usize,
    /// The indexes that the token may write to.
    pub(crate) indexes: Vec<&'static str>,
    /// Nodes behind one address; a cookie says which.
    pub(crate) nodes: usize,
    /// How long an answer takes.
    pub(crate) takes: Duration,
    /// What `/health` answers.
    pub(crate) health: (u16, i64),
}

/// How it acknowledges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acks {
    /// How long after a request its events are indexed.
    pub(crate) after: Duration,
    /// Requests whose events are lost before they are indexed.
    pub(crate) lost: u64,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            seed: 1,
            invalid: 0,
            keeps_before: false,
            busy: 0,
            hangs: 0,
            dies: 0,
            locked: false,
            acks: None,
            longest: usize::MAX,
            indexes: Vec::new(),
            nodes: 1,
            takes: Duration::ZERO,
            health: (200, 17),
        }
    }
}

impl Manners {
    pub(super) fn refuses(&self, id: &str) -> bool {
        self.chance("invalid", id) < self.invalid
    }

    /// A number below 100.
    pub(super) fn chance(&self, what: &str, of: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64(format!("{} {what} {of}", self.seed).as_bytes()) % 100
    }
}

impl Manners {
    /// What is wrong with an event.
    pub(super) fn wrong(&self, event: &RawValue) -> Option<(i64, &'static str)> {
        let event: Value = serde_json::from_str(event.get()).unwrap();
        let flat = |value: &Value| match value {
            Value::Array(items) => items.iter().all(Value::is_string),
            value => value.is_string(),
        };
        let fields = event
            .get("fields")
            .map(|fields| fields.as_object().is_some_and(|fields| fields.values().all(flat)));
        let index = event.get("index").and_then(Value::as_str);
        match &event["event"] {
            Value::Null => Some((12, "Event field is required")),
            Value::String(text) if text.is_empty() => Some((13, "Event field cannot be blank")),
            _ if fields == Some(false) => Some((15, "Error in handling indexed fields")),
            _ if !self.indexes.is_empty() && !index.is_some_and(|index| self.indexes.contains(&index)) => {
                Some((7, "Incorrect index"))
            }
            event if event["eventID"].as_str().is_some_and(|id| self.refuses(id)) => {
                Some((6, "Invalid data format"))
            }
            _ => None,
        }
    }
}
