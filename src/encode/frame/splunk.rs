//! What stands around an event for Splunk's HTTP Event Collector.
//!
//! `{"time":1768471200,"host":"…","source":"…","sourcetype":"aws:cloudtrail","index":"…","event":` before the record, and
//! `,"fields":{"account":"…","environment":"…","signals":[…]}}` after it. All but the time and the account is made once.

use super::put;
use crate::encode::Encoder;
use crate::encode::added::Texts;
use crate::record::Record;
use crate::record::identity::Account;
use crate::record::overlay::{Overlay, Parent};

/// What is said of every event, and which fields are indexed beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splunk {
    /// From behind the time to the record.
    head: Box<[u8]>,
    fields: Fields,
}

/// What an event is stored with. What is absent is the token's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored<'a> {
    /// `host`.
    pub host: Option<&'a str>,
    /// `source`.
    pub source: Option<&'a str>,
    /// `sourcetype`.
    pub sourcetype: Option<&'a str>,
    /// `index`.
    pub index: Option<&'a str>,
}

/// Which fields are indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The account that the event was recorded in.
    pub account: bool,
    /// What the `environment` transform says of it.
    pub environment: bool,
    /// What the `signals` transform says of the event: a list.
    pub signals: bool,
}

impl Splunk {
    /// Prepares what is the same for every event.
    pub fn new(stored: Stored<'_>, fields: Fields) -> Splunk {
        let mut head = String::new();
        let all = [
            ("host", stored.host),
            ("source", stored.source),
            ("sourcetype", stored.sourcetype),
            ("index", stored.index),
        ];
        for (key, value) in all {
            if let Some(value) = value {
                head.push_str(&format!(",\"{key}\":{}", serde_json::Value::from(value)));
            }
        }
        head.push_str(",\"event\":");
        Splunk { head: head.into_bytes().into(), fields }
    }

    /// Writes a record in its frame from `at` on; returns where it ends.
    pub fn write(&self, encoder: &mut Encoder, record: &Record<'_>, out: &mut Vec<u8>, at: usize) -> usize {
        let end = self.before(record.identity.time, out, at);
        let end = encoder.encode_at(record, out, end);
        self.after(&mut encoder.fields, record.identity.account, record.overlay, out, end)
    }

    /// What stands before a record. Without a time Splunk takes its own.
    fn before(&self, time: Option<i64>, out: &mut Vec<u8>, at: usize) -> usize {
        match time.and_then(|time| u64::try_from(time).ok()) {
            Some(time) => {
                let end = put(out, at, b"{\"time\":");
                let end = digits::<1>(time, out, end);
                put(out, end, &self.head)
            }
            None => {
                let end = put(out, at, b"{");
                put(out, end, self.head.get(1..).unwrap_or_default())
            }
        }
    }

    /// What stands after it.
    fn after(
        &self,
        texts: &mut Texts,
        account: Option<Account>,
        overlay: &Overlay,
        out: &mut Vec<u8>,
        at: usize,
    ) -> usize {
        let fields = self.fields;
        let about = match fields.environment || fields.signals {
            // Of several frames each has its own texts.
            true => texts.of_kind(fields.key(), overlay, |overlay, out| fields.about(overlay, out)),
            false => &[],
        };
        let end = match account.filter(|_| fields.account) {
            Some(account) => {
                let end = put(out, at, b",\"fields\":{\"account\":\"");
                let end = digits::<12>(account.number(), out, end);
                let end = put(out, end, b"\"");
                put(out, end, about)
            }
            None if about.is_empty() => return put(out, at, b"}"),
            None => {
                let end = put(out, at, b",\"fields\":{");
                put(out, end, about.get(1..).unwrap_or_default())
            }
        };
        put(out, end, b"}}")
    }
}

impl Fields {
    /// Tells texts of different fields apart; never 0.
    fn key(self) -> u64 {
        4 | u64::from(self.environment) | u64::from(self.signals) << 1
    }

    /// Appends `,"environment":"…","signals":[…]`, from what was added to the record.
    fn about(self, overlay: &Overlay, out: &mut Vec<u8>) {
        let leaves = |parent, key: &'static str| {
            let of_parent = overlay.added.iter().filter(move |(of, _)| *of == parent);
            let leaves = of_parent.flat_map(|(_, fragment)| &fragment.leaves);
            // Only text can be indexed.
            leaves.filter(move |leaf| {
                matches!(leaf.keys.as_slice(), [only] if **only == *key) && leaf.value.starts_with(b"\"")
            })
        };
        // What was said last holds.
        if self.environment
            && let Some(leaf) = leaves(Parent::Account, "environment").next_back()
        {
            out.extend_from_slice(b",\"environment\":");
            out.extend_from_slice(&leaf.value);
        }
        if self.signals {
            let mut between = &b",\"signals\":["[..];
            for leaf in leaves(Parent::Root, "signals") {
                out.extend_from_slice(between);
                out.extend_from_slice(&leaf.value);
                between = b",";
            }
            if between == b"," {
                out.push(b']');
            }
        }
    }
}

/// Writes a number with at least so many digits.
fn digits<const LEAST: usize>(mut number: u64, out: &mut Vec<u8>, at: usize) -> usize {
    let mut text = [b'0'; 20];
    let mut first = text.len();
    while number > 0 || text.len() - first < LEAST {
        first -= 1;
        text[first] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    put(out, at, &text[first..])
}

#[cfg(test)]
mod tests;
