//! A fake of CloudWatch Logs that answers FilterLogEvents as AWS does where it hurts: pages that are empty and have a token,
//! events that appear late, tokens that want the same parameters again, a quota.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::fake_json::{Answer, Asked, Quota, listen};

/// The group that is there.
pub(crate) const GROUP: &str = "CloudTrail/logs";

/// Events that are made when they are asked for: number `n` happens at `first + n * step`, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub(crate) first: i64,
    pub(crate) step: i64,
    pub(crate) events: i64,
}

/// How the fake behaves.
pub(crate) struct Ways {
    /// Events in a page, at most.
    pub(crate) page: usize,
    /// Every such page is empty, and has a token. 0: none.
    pub(crate) empty: u64,
    /// Requests in a second.
    pub(crate) quota: usize,
    /// The last event of a page is the first of the next, too.
    pub(crate) repeats: bool,
    /// What goes wrong with a request, by its number.
    pub(crate) fault: fn(u64) -> Option<Answer>,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways { page: 10_000, empty: 0, quota: 1000, repeats: false, fault: |_| None }
    }
}

/// The request without its token, and what comes first.
type GoesOn = (Value, (i64, usize));

struct Shared {
    row: Row,
    ways: Ways,
    quota: Quota,
    /// By time and number.
    events: Mutex<BTreeMap<(i64, usize), (String, String)>>,
    /// What tokens stand for.
    tokens: Mutex<HashMap<String, GoesOn>>,
    requests: Mutex<Vec<Value>>,
    regions: Mutex<BTreeSet<String>>,
}

/// The server. Ends with its runtime.
pub(crate) struct FakeLogs {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A record with this id.
pub(crate) fn record(id: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","eventTime":"2026-01-15T10:00:00Z","awsRegion":"eu-west-1","eventID":"{id}","recipientAccountId":"111122223333"}}"#
    )
}

impl FakeLogs {
    pub(crate) async fn start(row: Row, ways: Ways) -> FakeLogs {
        let quota = Quota::new(ways.quota);
        let shared = Arc::new(Shared {
            row,
            ways,
            quota,
            events: Mutex::default(),
            tokens: Mutex::default(),
            requests: Mutex::default(),
            regions: Mutex::default(),
        });
        let answering = shared.clone();
        let address = listen(move |asked| answering.answer(&asked)).await;
        FakeLogs { address, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An event appears now, whenever it happened.
    pub(crate) fn put(&self, time: i64, stream: &str, text: &str) {
        let mut events = self.shared.events.lock().unwrap();
        let number = usize::try_from(self.shared.row.events).unwrap() + events.len();
        events.insert((time, number), (stream.to_owned(), text.to_owned()));
    }

    /// The regions that requests were signed for.
    pub(crate) fn regions(&self) -> Vec<String> {
        self.shared.regions.lock().unwrap().iter().cloned().collect()
    }

    pub(crate) fn quota(&self) -> &Quota {
        &self.shared.quota
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Shared {
    fn answer(&self, asked: &Asked) -> Answer {
        self.regions.lock().unwrap().insert(asked.region.clone());
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(asked.body.clone());
            requests.len() as u64 - 1
        };
        if let Some(fault) = (self.ways.fault)(number) {
            return fault;
        }
        if !self.quota.takes() {
            return Answer::Refused(400, "ThrottlingException", "Rate exceeded");
        }
        let body = &asked.body;
        let group = body["logGroupName"].as_str().or(body["logGroupIdentifier"].as_str());
        if asked.operation != "FilterLogEvents" || !group.is_some_and(|group| group.ends_with(GROUP)) {
            return Answer::Refused(
                400,
                "ResourceNotFoundException",
                "The specified log group does not exist.",
            );
        }
        let mut plain = body.clone();
        plain.as_object_mut().unwrap().remove("nextToken");
        let (from, to) =
            (body["startTime"].as_i64().unwrap_or(0), body["endTime"].as_i64().unwrap_or(i64::MAX - 1));
        let start = match body["nextToken"].as_str() {
            None => (from, 0),
            Some(token) => match self.tokens.lock().unwrap().get(token) {
                Some((request, start)) if *request == plain => *start,
                _ => {
                    return Answer::Refused(
                        400,
                        "InvalidParameterException",
                        "The specified nextToken is invalid.",
                    );
                }
            },
        };
        let next = |start| {
            let token = format!("t{number}");
            self.tokens.lock().unwrap().insert(token.clone(), (plain.clone(), start));
            json!(token)
        };
        if self.ways.empty > 0 && number % self.ways.empty == 1 {
            return Answer::Is(json!({ "events": [], "nextToken": next(start), "searchedLogStreams": [] }));
        }
        let found = self.between(start, to, &plain);
        let mut answer = json!({ "searchedLogStreams": [] });
        if found.len() > self.ways.page {
            let (time, number) = found[self.ways.page - 1].0;
            answer["nextToken"] = next((time, number + usize::from(!self.ways.repeats)));
        }
        answer["events"] = found.into_iter().take(self.ways.page).map(|(_, event)| event).collect();
        Answer::Is(answer)
    }

    /// One more than a page of events, from a place on.
    fn between(&self, start: (i64, usize), to: i64, asked: &Value) -> Vec<((i64, usize), Value)> {
        let Row { first, step, events } = self.row;
        let mut found = Vec::new();
        let mut number =
            if step > 0 { ((start.0 - first).div_euclid(step)).clamp(0, events) } else { events };
        while number < events && found.len() <= self.ways.page {
            let key = (first + number * step, usize::try_from(number).unwrap());
            if key.0 > to {
                break;
            }
            if key >= start {
                found.push((key, self.event(key, "made", &record(&format!("made-{number}")))));
            }
            number += 1;
        }
        let put = self.events.lock().unwrap();
        let chosen = |stream: &str| {
            let named = asked["logStreamNames"].as_array();
            named.is_none_or(|named| named.iter().any(|name| name == stream))
                && asked["logStreamNamePrefix"].as_str().is_none_or(|prefix| stream.starts_with(prefix))
        };
        let put = put.range(start..=(to, usize::MAX)).filter(|(_, (stream, _))| chosen(stream));
        found.extend(
            put.take(self.ways.page + 1).map(|(key, (stream, text))| (*key, self.event(*key, stream, text))),
        );
        found.sort_by_key(|(key, _)| *key);
        found.truncate(self.ways.page + 1);
        found
    }

    fn event(&self, key: (i64, usize), stream: &str, text: &str) -> Value {
        json!({ "eventId": format!("{:056}", key.1), "timestamp": key.0, "ingestionTime": key.0, "logStreamName": stream, "message": text })
    }
}
