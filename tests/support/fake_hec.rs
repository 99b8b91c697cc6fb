//! A server that speaks Splunk's HTTP Event Collector: takes events as it is told, acknowledges them late or never, refuses
//! single ones, hangs, disconnects; and keeps what it has indexed.
//!
//! Written from *Splunk Enterprise, Getting Data In: Format events for HTTP Event Collector; About HTTP Event Collector
//! Indexer Acknowledgment; Troubleshoot HTTP Event Collector*.

#[path = "fake_hec/manners.rs"]
mod manners;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use self::manners::{Acks, Manners};

/// The token it lets in.
pub(crate) const TOKEN: &str = "11111111-2222-3333-4444-555555555555";

/// One request for events.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) channel: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    /// What was answered: the status; 0 where nothing was.
    pub(crate) status: u16,
}

/// An answer that was ordered: status, body, more headers, and whether the events are taken all the same.
pub(crate) type Ordered = (u16, String, Vec<(&'static str, &'static str)>, bool);

#[derive(Default)]
struct Told {
    manners: Manners,
    /// As they came, whole.
    indexed: Vec<Box<RawValue>>,
    asked: Vec<Asked>,
    polls: Vec<(Instant, Vec<u64>)>,
    health: usize,
    ordered: VecDeque<Ordered>,
    orders_polls: VecDeque<Ordered>,
    /// By node and channel: what is not acknowledged yet.
    channels: BTreeMap<(usize, String), Channel>,
    requests: u64,
    /// Whether answers to requests for events are held back.
    holds: watch::Sender<bool>,
}

#[derive(Default)]
struct Channel {
    next: u64,
    pending: BTreeMap<u64, Pending>,
}

struct Pending {
    at: Instant,
    lost: bool,
    events: Vec<Box<RawValue>>,
}

/// The server; it ends with this.
pub(crate) struct Hec {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    _runtime: tokio::runtime::Runtime,
}

impl Hec {
    /// Listens on a free loopback port.
    pub(crate) fn start(manners: Manners) -> Hec {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let told = Arc::new(Mutex::new(Told { manners, ..Told::default() }));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = told.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let told = serving.clone();
                let service = service_fn(move |request| one(request, told.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Hec { address, told, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Behaves otherwise from now on.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.told().manners);
    }

    /// Orders the answer to the next request for events.
    pub(crate) fn order(&self, status: u16, body: &str, taken: bool) {
        self.told().ordered.push_back((status, body.to_owned(), Vec::new(), taken));
    }

    /// The same with headers.
    pub(crate) fn order_with(&self, status: u16, body: &str, headers: &[(&'static str, &'static str)]) {
        self.told().ordered.push_back((status, body.to_owned(), headers.to_vec(), false));
    }

    /// Orders the answer to the next request for acknowledgements.
    pub(crate) fn order_poll(&self, status: u16, body: &str) {
        self.told().orders_polls.push_back((status, body.to_owned(), Vec::new(), false));
    }

    /// Forgets what was not indexed, and numbers acknowledgements from 0 again.
    pub(crate) fn restart(&self) {
        self.told().channels.clear();
    }

    /// Holds back the answers to requests for events that come from now on, or gives them.
    pub(crate) fn hold(&self, holds: bool) {
        self.told().holds.send_replace(holds);
    }

    /// What is indexed, as it came.
    pub(crate) fn indexed(&self) -> Vec<String> {
        let mut told = self.told();
        told.index_what_is_due();
        told.indexed.iter().map(|event| event.get().to_owned()).collect()
    }

    /// The ids of the events that are indexed, sorted, copies kept.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.indexed().iter().map(|event| id(event)).collect();
        ids.sort();
        ids
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.told().asked.clone()
    }

    /// When acknowledgements were asked for, and which.
    pub(crate) fn polls(&self) -> Vec<(Instant, Vec<u64>)> {
        self.told().polls.clone()
    }

    /// How often its health was asked for.
    pub(crate) fn health(&self) -> usize {
        self.told().health
    }

    /// Whether it finds the event with this id invalid.
    pub(crate) fn refuses(&self, id: &str) -> bool {
        self.told().manners.refuses(id)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }
}

/// The id of the record in an event.
fn id(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    event["event"]["eventID"].as_str().unwrap().to_owned()
}

/// What becomes of a request.
enum Fate {
    /// Status, body, headers.
    Answered(u16, String, Vec<(String, String)>),
    Hangs,
    Dies,
}

fn says(status: u16, text: &str, code: i64) -> Fate {
    Fate::Answered(status, json!({ "text": text, "code": code }).to_string(), Vec::new())
}

fn invalid(text: &str, code: i64, number: usize) -> Fate {
    let body = json!({ "text": text, "code": code, "invalid-event-number": number });
    Fate::Answered(400, body.to_string(), Vec::new())
}

async fn one(
    request: Request<Incoming>,
    told: Arc<Mutex<Told>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let takes = told.lock().unwrap().manners.takes;
    tokio::time::sleep(takes).await;
    let query = head.uri.query().unwrap_or_default().to_owned();
    let (fate, mut holds) = {
        let mut told = told.lock().unwrap();
        told.index_what_is_due();
        let holds = told.holds.subscribe();
        let fate = match (head.method.as_str(), head.uri.path()) {
            ("GET", "/services/collector/health") => {
                told.health += 1;
                let (status, code) = told.manners.health;
                says(status, "HEC is as it is", code)
            }
            ("POST", "/services/collector/event") => told.events(&head.headers, &query, &body),
            ("POST", "/services/collector/ack") => told.acks(&head.headers, &query, &body),
            _ => says(404, "The requested URL was not found on this server.", 404),
        };
        (fate, holds)
    };
    if head.uri.path() == "/services/collector/event" {
        holds.wait_for(|holds| !holds).await.unwrap();
    }
    let (status, text, headers) = match fate {
        Fate::Answered(status, text, headers) => (status, text, headers),
        Fate::Hangs => std::future::pending().await,
        Fate::Dies => return Err(std::io::Error::other("as asked")),
    };
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    Ok(answer.body(Full::new(text.into())).unwrap())
}

/// The channel of a request: in its URL or in a header.
fn channel(headers: &HeaderMap, query: &str) -> Option<String> {
    let header = || headers.get("x-splunk-request-channel").map(|value| value.to_str().unwrap());
    query.strip_prefix("channel=").or_else(header).map(str::to_owned)
}

impl Told {
    /// Who is let in.
    fn known(headers: &HeaderMap) -> Option<Fate> {
        let by = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        match by.as_deref().map(|by| by.strip_prefix("Splunk ")) {
            None => Some(says(401, "Token is required", 2)),
            Some(None) => Some(says(401, "Invalid authorization", 3)),
            Some(Some(token)) if token != TOKEN => Some(says(403, "Invalid token", 4)),
            Some(Some(_)) => None,
        }
    }

    /// Which node it comes to, by its cookie or by turns.
    fn node(&self, headers: &HeaderMap) -> usize {
        let cookie = headers.get("cookie").map_or("", |value| value.to_str().unwrap());
        let named = cookie.split("; ").find_map(|pair| pair.strip_prefix("node="));
        let turn = usize::try_from(self.requests).unwrap() % self.manners.nodes;
        named.map_or(turn, |node| node.parse().unwrap())
    }

    fn events(&mut self, headers: &HeaderMap, query: &str, body: &[u8]) -> Fate {
        self.requests += 1;
        let number = self.requests.to_string();
        let named = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let gzip = headers.get("content-encoding").is_some_and(|value| value == "gzip");
        let mut text = Vec::new();
        match gzip {
            true => drop(flate2::read::MultiGzDecoder::new(body).read_to_end(&mut text).unwrap()),
            false => text.extend_from_slice(body),
        }
        let events = read(&text);
        let channel = channel(headers, query);
        let asked =
            Asked { channel: channel.clone(), headers: headers.iter().map(named).collect(), status: 0 };
        self.asked.push(asked);
        let fate = match self.ordered.pop_front() {
            Some((status, body, more, taken)) => {
                if taken {
                    self.indexed.extend(events.unwrap_or_default());
                }
                let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                Fate::Answered(status, body, more.collect())
            }
            None => self.by_manners(headers, channel, &number, text.len(), events),
        };
        if let (Fate::Answered(status, ..), Some(asked)) = (&fate, self.asked.last_mut()) {
            asked.status = *status;
        }
        fate
    }

    fn by_manners(
        &mut self,
        headers: &HeaderMap,
        channel: Option<String>,
        number: &str,
        length: usize,
        events: Events,
    ) -> Fate {
        let manners = self.manners.clone();
        if let Some(refused) = Self::known(headers) {
            return refused;
        }
        if manners.locked {
            return says(403, "Token disabled", 1);
        }
        let node = self.node(headers);
        if manners.acks.is_some() {
            match channel.as_deref().map(uuid::Uuid::parse_str) {
                None => return says(400, "Data channel is missing", 10),
                Some(Err(_)) => return says(400, "Invalid data channel", 11),
                Some(Ok(_)) => {}
            }
        }
        if length > manners.longest {
            let page = "<!doctype html><html><head><title>413 Content-Length too large</title></head></html>";
            return Fate::Answered(413, page.to_owned(), vec![("content-type".into(), "text/html".into())]);
        }
        if manners.chance("busy", number) < manners.busy {
            return says(503, "Server is busy", 9);
        }
        let (hangs, dies) = (manners.chance("hangs", number), manners.chance("dies", number));
        // Every other one of those is taken nonetheless.
        let takes = manners.chance("takes", number) < 50;
        let silent = (hangs < manners.hangs, dies < manners.dies);
        if (silent.0 || silent.1) && !takes {
            return if silent.0 { Fate::Hangs } else { Fate::Dies };
        }
        let (good, wrong) = match events {
            Ok(events) => (events, None),
            Err((good, at)) => (good, Some((at, 6, "Invalid data format"))),
        };
        let wrong = good
            .iter()
            .enumerate()
            .find_map(|(at, event)| manners.wrong(event).map(|(code, text)| (at, code, text)))
            .or(wrong);
        let fate = match wrong {
            Some((at, code, text)) => {
                if manners.keeps_before {
                    self.indexed.extend(good.into_iter().take(at));
                }
                invalid(text, code, at)
            }
            None if good.is_empty() => says(400, "No data", 5),
            None => self.take(good, node, channel, number),
        };
        match silent {
            (true, _) => Fate::Hangs,
            (_, true) => Fate::Dies,
            _ => fate,
        }
    }

    fn take(
        &mut self,
        events: Vec<Box<RawValue>>,
        node: usize,
        channel: Option<String>,
        number: &str,
    ) -> Fate {
        let mut answer = json!({ "text": "Success", "code": 0 });
        match (self.manners.acks, channel) {
            (Some(acks), Some(channel)) => {
                let lost = self.manners.chance("lost", number) < acks.lost;
                let channel = self.channels.entry((node, channel)).or_default();
                answer["ackId"] = json!(channel.next);
                let pending = Pending { at: Instant::now() + acks.after, lost, events };
                channel.pending.insert(channel.next, pending);
                channel.next += 1;
            }
            _ => self.indexed.extend(events),
        }
        let cookie =
            (self.manners.nodes > 1).then(|| ("set-cookie".into(), format!("node={node}; Path=/; HttpOnly")));
        Fate::Answered(200, answer.to_string(), cookie.into_iter().collect())
    }

    /// Indexes what was received long enough ago.
    fn index_what_is_due(&mut self) {
        let now = Instant::now();
        for channel in self.channels.values_mut() {
            for pending in channel.pending.values_mut().filter(|pending| pending.at <= now && !pending.lost) {
                self.indexed.append(&mut pending.events);
            }
        }
    }

    fn acks(&mut self, headers: &HeaderMap, query: &str, body: &[u8]) -> Fate {
        if let Some((status, text, ..)) = self.orders_polls.pop_front() {
            self.polls.push((Instant::now(), Vec::new()));
            return Fate::Answered(status, text, Vec::new());
        }
        if let Some(refused) = Self::known(headers) {
            return refused;
        }
        self.requests += 1;
        if self.manners.acks.is_none() {
            return says(400, "ACK is disabled", 14);
        }
        let Some(channel) = channel(headers, query) else { return says(400, "Data channel is missing", 10) };
        let body: Value = serde_json::from_slice(body).unwrap();
        let asked: Vec<u64> =
            body["acks"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        self.polls.push((Instant::now(), asked.clone()));
        let node = self.node(headers);
        let mut answer = serde_json::Map::new();
        let now = Instant::now();
        let known = self.channels.entry((node, channel)).or_default();
        for id in asked {
            // True once: who has been told is forgotten.
            let done = known.pending.get(&id).is_some_and(|pending| pending.at <= now && !pending.lost);
            // It may have become due since what is due was indexed last.
            if done && let Some(told) = known.pending.remove(&id) {
                self.indexed.extend(told.events);
            }
            answer.insert(id.to_string(), json!(done));
        }
        Fate::Answered(200, json!({ "acks": answer }).to_string(), Vec::new())
    }
}

type Events = Result<Vec<Box<RawValue>>, (Vec<Box<RawValue>>, usize)>;

/// The events of a body; or those before one that is no JSON object, and its number.
fn read(text: &[u8]) -> Events {
    let mut events = Vec::new();
    for event in serde_json::Deserializer::from_slice(text).into_iter::<Box<RawValue>>() {
        match event {
            Ok(event) if event.get().starts_with('{') => events.push(event),
            _ => {
                let number = events.len();
                return Err((events, number));
            }
        }
    }
    Ok(events)
}
