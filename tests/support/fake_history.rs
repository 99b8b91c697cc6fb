//! A fake of CloudTrail that answers LookupEvents: newest first, 50 at a time, from an offset, so that what appears while it is
//! asked moves the rest; two requests a second in a region; nothing that is older than 90 days.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::fake_json::{Answer, Asked, Quota, listen};

/// Events that are made when they are asked for: number `n` happens at `first + n / each`, seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub(crate) first: i64,
    /// In a second.
    pub(crate) each: i64,
    pub(crate) events: i64,
}

/// How the fake behaves.
pub(crate) struct Ways {
    /// Requests in a second, in each region.
    pub(crate) quota: usize,
    /// Every such page is empty, and has a token. 0: none.
    pub(crate) empty: u64,
    /// With each request an event appears that has just happened.
    pub(crate) grows: bool,
    /// What goes wrong with a request, by its region and number.
    pub(crate) fault: fn(&str, u64) -> Option<Answer>,
    /// The record of an event, by its number.
    pub(crate) record: fn(&str, i64) -> String,
}

impl Default for Ways {
    fn default() -> Ways {
        let record = |id: &str, _| record(id);
        Ways { quota: 1000, empty: 0, grows: false, fault: |_, _| None, record }
    }
}

/// The request without its token, and the offset to go on from.
type GoesOn = (Value, usize);

#[derive(Default)]
struct Region {
    /// Times, ids, records.
    events: Vec<(i64, String, String)>,
    tokens: HashMap<String, GoesOn>,
    requests: Vec<Value>,
    quota: Option<Arc<Quota>>,
}

struct Shared {
    row: Row,
    ways: Ways,
    regions: Mutex<BTreeMap<String, Region>>,
}

/// The server. Ends with its runtime.
pub(crate) struct FakeHistory {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A record with this id.
pub(crate) fn record(id: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","eventTime":"2026-01-15T10:00:00Z","awsRegion":"eu-west-1","eventID":"{id}","recipientAccountId":"111122223333"}}"#
    )
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl FakeHistory {
    pub(crate) async fn start(row: Row, ways: Ways) -> FakeHistory {
        let shared = Arc::new(Shared { row, ways, regions: Mutex::default() });
        let answering = shared.clone();
        let address = listen(move |asked| answering.answer(&asked)).await;
        FakeHistory { address, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An event appears now, whenever it happened (seconds).
    pub(crate) fn put(&self, region: &str, time: i64, id: &str, record: &str) {
        let mut regions = self.shared.regions.lock().unwrap();
        regions.entry(region.to_owned()).or_default().events.push((time, id.to_owned(), record.to_owned()));
    }

    /// The requests so far.
    pub(crate) fn requests(&self, region: &str) -> Vec<Value> {
        self.shared
            .regions
            .lock()
            .unwrap()
            .get(region)
            .map(|region| region.requests.clone())
            .unwrap_or_default()
    }

    pub(crate) fn quota(&self, region: &str) -> Arc<Quota> {
        self.shared.regions.lock().unwrap()[region].quota.clone().unwrap()
    }
}

impl Shared {
    fn answer(&self, asked: &Asked) -> Answer {
        let mut regions = self.regions.lock().unwrap();
        let region = regions.entry(asked.region.clone()).or_default();
        let number = region.requests.len() as u64;
        region.requests.push(asked.body.clone());
        if let Some(fault) = (self.ways.fault)(&asked.region, number) {
            return fault;
        }
        let quota = region.quota.get_or_insert_with(|| Arc::new(Quota::new(self.ways.quota)));
        if !quota.takes() {
            return Answer::Refused(400, "ThrottlingException", "Rate exceeded");
        }
        let body = &asked.body;
        let (from, to) = (time(&body["StartTime"]).unwrap_or(0), time(&body["EndTime"]).unwrap_or_else(now));
        if asked.operation != "LookupEvents" || from > to || from < now() - 90 * 86_400 {
            return Answer::Refused(
                400,
                "InvalidTimeRangeException",
                "StartTime is not in the range of possible values.",
            );
        }
        if self.ways.grows {
            let id = format!("grown-{}-{number}", asked.region);
            region.events.push((now(), id.clone(), record(&id)));
        }
        let mut plain = body.clone();
        plain.as_object_mut().unwrap().remove("NextToken");
        let start = match body["NextToken"].as_str() {
            None => 0,
            Some(token) => match region.tokens.get(token) {
                Some((request, start)) if *request == plain => *start,
                _ => return Answer::Refused(400, "InvalidNextTokenException", "Invalid token."),
            },
        };
        let most = usize::try_from(body["MaxResults"].as_i64().unwrap_or(50)).unwrap();
        let empty = self.ways.empty > 0 && number % self.ways.empty == 1;
        let found = if empty { Vec::new() } else { self.between(region, from, to, start, most + 1, body) };
        let mut answer = json!({});
        if empty || found.len() > most {
            let token = format!("t{number}");
            answer["NextToken"] = json!(token);
            region.tokens.insert(token, (plain, if empty { start } else { start + most }));
        }
        answer["Events"] = found.into_iter().take(most).collect();
        Answer::Is(answer)
    }

    /// So many events from an offset on, newest first.
    fn between(
        &self,
        region: &Region,
        from: i64,
        to: i64,
        start: usize,
        most: usize,
        body: &Value,
    ) -> Vec<Value> {
        let wanted = &body["LookupAttributes"][0];
        let chosen = |id: &str| {
            wanted.is_null() || wanted["AttributeKey"] == "EventId" && wanted["AttributeValue"] == id
        };
        let mut put: Vec<_> =
            region.events.iter().filter(|(at, id, _)| (from..=to).contains(at) && chosen(id)).collect();
        put.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let mut put = put.into_iter().peekable();
        let Row { first, each, events } = self.row;
        // Of the row, those below this number have happened by `to`.
        let mut number = ((to + 1 - first).saturating_mul(each)).clamp(0, events) - 1;
        let mut found = Vec::new();
        let mut passed = 0;
        while found.len() < most {
            let made =
                (number >= 0 && wanted.is_null()).then(|| first + number / each).filter(|at| *at >= from);
            let is_put = put.peek().is_some_and(|(at, ..)| made.is_none_or(|made| *at >= made));
            if !is_put && made.is_none() {
                break;
            }
            if passed < start && !is_put && put.peek().is_none() {
                // Nothing of those that were put is left: the rest is counted.
                let skip = i64::try_from(start - passed).unwrap();
                number -= skip;
                passed = start;
                continue;
            }
            let event = if is_put {
                put.next().map(|(at, id, record)| (*at, id.clone(), record.clone()))
            } else {
                number -= 1;
                let id = format!("made-{}", number + 1);
                (passed >= start)
                    .then(|| (first + (number + 1) / each, id.clone(), (self.ways.record)(&id, number + 1)))
            };
            passed += 1;
            if passed > start
                && let Some((at, id, record)) = event
            {
                found.push(json!({ "EventId": id, "EventTime": at, "EventName": "GetUser", "CloudTrailEvent": record }));
            }
        }
        found
    }
}

/// A time as the SDK writes it: seconds, perhaps with a fraction.
fn time(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "seconds of our time")]
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}
