//! A cluster that does what a test says: refuses single events, hangs, goes away before or after it has taken what was sent.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::fake_http::{Reply, Seen, Server};

/// What it does about one bulk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes what it is sent, but for single events as [`Fake::refuses`] says.
    Answers,
    /// Never answers.
    Hangs,
    /// Goes away without having taken anything.
    Leaves,
    /// Takes everything and goes away.
    TakesAndLeaves,
    /// Refuses the whole request.
    Refuses(u16),
}

/// What a cluster has, and what it was asked.
#[derive(Default)]
pub(crate) struct Held {
    /// Documents by index and id.
    pub(crate) documents: BTreeMap<(String, String), Value>,
    /// Documents that came without an id.
    pub(crate) nameless: Vec<(String, Value)>,
    /// Index templates by name.
    pub(crate) templates: BTreeMap<String, Value>,
    /// Policies by path.
    pub(crate) policies: BTreeMap<String, Value>,
    /// How often an event came that was there already.
    pub(crate) again: u64,
}

/// A cluster.
pub(crate) struct Fake {
    pub(crate) server: Server,
    pub(crate) held: Arc<Mutex<Held>>,
}

/// Numbers by chance, from a seed.
pub(crate) fn chance(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

fn error(status: u16, r#type: &str, reason: &str) -> Value {
    json!({ "create": { "status": status, "error": { "type": r#type, "reason": reason } } })
}

impl Fake {
    /// One that takes everything.
    pub(crate) fn start() -> Fake {
        Fake::moody(|_| Mood::Answers, |_| None)
    }

    /// One with moods, by the number of the bulk request, and refusals of single events, by the event.
    pub(crate) fn moody(
        mood: impl Fn(usize) -> Mood + Send + Sync + 'static,
        refuses: impl Fn(&Value) -> Option<(u16, &'static str)> + Send + Sync + 'static,
    ) -> Fake {
        let held: Arc<Mutex<Held>> = Arc::default();
        let (own, bulks) = (held.clone(), std::sync::atomic::AtomicUsize::new(0));
        let server = Server::start(move |_, seen| {
            let mut held = own.lock().unwrap();
            if !seen.uri.contains("/_bulk") {
                return held.manage(seen);
            }
            let number = bulks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match mood(number) {
                Mood::Answers => {
                    let answer = held.take(seen, &refuses);
                    Reply::Answer(200, vec![("content-type", "application/json".into())], answer.to_string())
                }
                Mood::Hangs => Reply::Hang,
                Mood::Leaves => Reply::Leave,
                Mood::TakesAndLeaves => {
                    held.take(seen, &|_| None);
                    Reply::TakeAndLeave
                }
                Mood::Refuses(status) => Reply::Answer(status, vec![], "{\"error\":\"no\"}".into()),
            }
        });
        Fake { server, held }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("")
    }

    /// The `eventID`s of what it has, sorted.
    pub(crate) fn events(&self) -> Vec<String> {
        let held = self.held.lock().unwrap();
        let named = held.documents.values().chain(held.nameless.iter().map(|(_, document)| document));
        let mut all: Vec<String> =
            named.map(|document| document["eventID"].as_str().unwrap_or_default().to_owned()).collect();
        all.sort_unstable();
        all
    }

    /// The names of its indexes.
    pub(crate) fn indexes(&self) -> BTreeSet<String> {
        self.held.lock().unwrap().documents.keys().map(|(index, _)| index.clone()).collect()
    }

    /// The bulk requests that came.
    pub(crate) fn bulks(&self) -> Vec<Seen> {
        self.server.seen().into_iter().filter(|seen| seen.uri.contains("/_bulk")).collect()
    }
}

impl Held {
    /// What is no bulk request.
    fn manage(&mut self, seen: &Seen) -> Reply {
        let ok = |body: &Value| {
            Reply::Answer(200, vec![("content-type", "application/json".into())], body.to_string())
        };
        let all = match seen.uri.split_once("/_index_template/") {
            Some((_, name)) if seen.method == "PUT" => {
                let template: Value = serde_json::from_str(&seen.body).unwrap();
                self.templates.insert(name.to_owned(), template);
                return ok(&json!({ "acknowledged": true }));
            }
            Some((_, name)) => self
                .templates
                .get(name)
                .map(|template| json!({ "index_templates": [{ "name": name, "index_template": template }] })),
            None if seen.method == "PUT" => {
                self.policies.insert(seen.uri.clone(), serde_json::from_str(&seen.body).unwrap());
                return ok(&json!({}));
            }
            None => self.policies.get(&seen.uri).cloned(),
        };
        all.map_or_else(|| Reply::status(404), |body| ok(&body))
    }

    /// Takes the events of a bulk request, but for those refused.
    fn take(&mut self, seen: &Seen, refuses: &dyn Fn(&Value) -> Option<(u16, &'static str)>) -> Value {
        assert!(seen.body.ends_with('\n'), "the last line has an end");
        let index = seen.uri.split('/').nth(1).unwrap().to_owned();
        let mut lines = seen.body.lines();
        let (mut items, mut errors) = (Vec::new(), false);
        while let Some(action) = lines.next() {
            let action: Value = serde_json::from_str(action).unwrap();
            let document: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            let item = match (refuses(&document), action["create"]["_id"].as_str()) {
                (Some((status, r#type)), _) => error(status, r#type, "as the test says"),
                (None, None) => {
                    self.nameless.push((index.clone(), document));
                    json!({ "create": { "status": 201 } })
                }
                (None, Some(id)) => {
                    let key = (index.clone(), id.to_owned());
                    match self.documents.entry(key) {
                        Entry::Occupied(_) => {
                            self.again += 1;
                            error(409, "version_conflict_engine_exception", "document already exists")
                        }
                        Entry::Vacant(place) => {
                            place.insert(document);
                            json!({ "create": { "status": 201 } })
                        }
                    }
                }
            };
            errors |= item["create"]["error"].is_object();
            items.push(item);
        }
        json!({ "errors": errors, "items": items })
    }
}
