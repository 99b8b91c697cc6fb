//! A fake Kinesis that holds to the service's limits and misbehaves on request: shards are read five times and 2 MB a
//! second at most, iterators expire, old records are trimmed, shards are split. It speaks AWS's JSON 1.1 over hyper.
//!
//! Records are put there, or made as time goes by ([`Source`]): so many bytes a second in each shard.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Bytes of one answer, at most.
const MOST: usize = 10 << 20;

/// What the server is told to do otherwise than well.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Whether reading too fast is refused.
    pub(crate) throttles: bool,
    /// Every so many reads of a shard find their iterator expired; 0: none. (By count, not by time: however slow the reader is,
    /// it gets on.)
    pub(crate) expires_every: u64,
    /// Every so many answers are an error 500; 0: none.
    pub(crate) fails_every: u64,
    /// Every so many answers are no answer of the service: status 200 and an empty object; 0: none.
    pub(crate) blank_every: u64,
    /// Whether a place that is trimmed is refused; else reading begins with the oldest record.
    pub(crate) refuses_trimmed: bool,
    /// Hours that records are kept, as it says.
    pub(crate) hours: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            throttles: true,
            expires_every: 0,
            fails_every: 0,
            blank_every: 0,
            refuses_trimmed: false,
            hours: 24,
        }
    }
}

/// Makes the `n`th record of a shard: its data as base64, and how many bytes that is decoded.
pub(crate) type Make = dyn Fn(u32, u64) -> (Bytes, usize) + Send + Sync;

/// Records that come as time goes by.
pub(crate) struct Source {
    /// Bytes of data a second in each shard.
    pub(crate) rate: usize,
    pub(crate) make: Box<Make>,
}

/// One record: base64, its bytes decoded, when it came (milliseconds since 1970).
#[derive(Clone)]
struct Kept {
    sequence: u64,
    data: Bytes,
    bytes: usize,
    came: i64,
}

struct Shard {
    parents: Vec<String>,
    children: Vec<String>,
    closed: bool,
    records: VecDeque<Kept>,
    /// Bytes made so far, and how many records.
    made: usize,
    numbers: u64,
    /// How often it was read.
    asked: u64,
    /// When it was read of late, for the limit of five in a second.
    reads: VecDeque<Instant>,
    /// Bytes that may be read.
    bucket: f64,
    filled: Instant,
}

impl Shard {
    fn new(parents: &[String]) -> Shard {
        Shard {
            parents: parents.to_vec(),
            children: Vec::new(),
            closed: false,
            records: VecDeque::new(),
            made: 0,
            numbers: 0,
            asked: 0,
            reads: VecDeque::new(),
            bucket: 0.0,
            filled: Instant::now(),
        }
    }
}

struct State {
    shards: BTreeMap<String, Shard>,
    sequence: u64,
    began: Instant,
}

/// Counted for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) reads: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) answers: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// The server. Ends with its runtime.
pub(crate) struct FakeKinesis {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    rules: Mutex<Rules>,
    source: Option<Source>,
    counts: Counts,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A shard's id.
pub(crate) fn shard_id(number: usize) -> String {
    format!("shardId-{number:012}")
}

impl FakeKinesis {
    /// Listens on a free loopback port, on the current runtime.
    pub(crate) async fn start(shards: usize, rules: Rules, source: Option<Source>) -> FakeKinesis {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shards = (0..shards).map(|number| (shard_id(number), Shard::new(&[]))).collect();
        let state = State { shards, sequence: 1000, began: Instant::now() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            rules: Mutex::new(rules),
            source,
            counts: Counts::default(),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let shared = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(shared.answer(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        FakeKinesis { address, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Other rules from now on.
    pub(crate) fn rule(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules.lock().unwrap());
    }

    /// Puts a record into a shard, as if it had come so long ago.
    pub(crate) fn put(&self, shard: usize, data: &[u8], ago: Duration) {
        let came = now() - i64::try_from(ago.as_millis()).unwrap();
        let data_base64 = STANDARD.encode(data).into();
        let mut state = self.shared.state.lock().unwrap();
        state.sequence += 1;
        let sequence = state.sequence;
        let shard = state.shards.get_mut(&shard_id(shard)).unwrap();
        assert!(!shard.closed, "the shard is closed");
        shard.records.push_back(Kept { sequence, data: data_base64, bytes: data.len(), came });
    }

    /// Trims the oldest records of a shard.
    pub(crate) fn trim(&self, shard: usize, records: usize) {
        let mut state = self.shared.state.lock().unwrap();
        state.shards.get_mut(&shard_id(shard)).unwrap().records.drain(..records);
    }

    /// Closes shards, and opens new ones in their place: one parent is split, two are merged. Returns their numbers.
    pub(crate) fn reshard(&self, parents: &[usize], children: usize) -> Vec<usize> {
        let mut state = self.shared.state.lock().unwrap();
        let first = state.shards.len();
        let names: Vec<String> = parents.iter().map(|parent| shard_id(*parent)).collect();
        for number in first..first + children {
            state.shards.insert(shard_id(number), Shard::new(&names));
        }
        for parent in &names {
            let parent = state.shards.get_mut(parent).unwrap();
            parent.closed = true;
            parent.children = (first..first + children).map(shard_id).collect();
        }
        (first..first + children).collect()
    }
}

fn error(status: u16, kind: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({ "__type": kind, "message": message }).to_string();
    let answer = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    answer.header("x-amzn-requestid", "fake").body(Full::new(body.into())).unwrap()
}

fn answer(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(200).header("content-type", "application/x-amz-json-1.1");
    answer.header("x-amzn-requestid", "fake").body(Full::new(body.into())).unwrap()
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let target = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let answers = self.counts.answers.fetch_add(1, Ordering::SeqCst) + 1;
        let (fails_every, blank_every) = {
            let rules = self.rules.lock().unwrap();
            (rules.fails_every, rules.blank_every)
        };
        let is_read = target.as_deref() == Some("Kinesis_20131202.GetRecords");
        if blank_every > 0 && answers.is_multiple_of(blank_every) && is_read {
            return answer("{}");
        }
        if fails_every > 0 && answers.is_multiple_of(fails_every) {
            return error(500, "InternalFailure", "as asked");
        }
        let stream = body["StreamName"].as_str();
        if stream.is_some_and(|stream| stream != "trail") {
            let message =
                format!("Stream {} under account 123456789012 not found.", stream.unwrap_or_default());
            return error(400, "ResourceNotFoundException", &message);
        }
        match target.as_deref().and_then(|target| target.strip_prefix("Kinesis_20131202.")) {
            Some("DescribeStreamSummary") => self.describe(),
            Some("ListShards") => self.list(&body),
            Some("GetShardIterator") => self.iterator(&body),
            Some("GetRecords") => self.records(&body),
            _ => error(400, "UnknownOperationException", ""),
        }
    }

    fn describe(&self) -> Response<Full<Bytes>> {
        let hours = self.rules.lock().unwrap().hours;
        let open = self.state.lock().unwrap().shards.values().filter(|shard| !shard.closed).count();
        answer(
            json!({ "StreamDescriptionSummary": {
                "StreamName": "trail", "StreamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/trail", "StreamStatus": "ACTIVE",
                "RetentionPeriodHours": hours, "StreamCreationTimestamp": 1_700_000_000, "EnhancedMonitoring": [], "OpenShardCount": open
            } })
            .to_string(),
        )
    }

    /// Three shards on a page, so that there are pages.
    fn list(&self, body: &Value) -> Response<Full<Bytes>> {
        let state = self.state.lock().unwrap();
        let from: usize = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let range = json!({ "StartingHashKey": "0", "EndingHashKey": "1" });
        let shards: Vec<Value> = state
            .shards
            .iter()
            .skip(from)
            .take(3)
            .map(|(id, shard)| {
                let mut one = json!({ "ShardId": id, "HashKeyRange": range, "SequenceNumberRange": { "StartingSequenceNumber": "1" } });
                for (name, parent) in ["ParentShardId", "AdjacentParentShardId"].iter().zip(&shard.parents) {
                    one[*name] = json!(parent);
                }
                one
            })
            .collect();
        let mut page = json!({ "Shards": shards });
        if from + 3 < state.shards.len() {
            page["NextToken"] = json!((from + 3).to_string());
        }
        answer(page.to_string())
    }

    fn iterator(&self, body: &Value) -> Response<Full<Bytes>> {
        self.make();
        let refuses = self.rules.lock().unwrap().refuses_trimmed;
        let state = self.state.lock().unwrap();
        let id = body["ShardId"].as_str().unwrap();
        let Some(shard) = state.shards.get(id) else {
            return error(
                400,
                "ResourceNotFoundException",
                &format!("Shard {id} in stream trail does not exist"),
            );
        };
        let sequence = || -> u64 { body["StartingSequenceNumber"].as_str().unwrap().parse().unwrap() };
        let first = shard.records.front().map_or(u64::MAX, |record| record.sequence);
        let kind = body["ShardIteratorType"].as_str().unwrap();
        if kind.ends_with("SEQUENCE_NUMBER") && refuses && sequence() < first {
            let message = format!(
                "StartingSequenceNumber {} used in GetShardIterator on shard {id} is invalid because it is trimmed",
                sequence()
            );
            return error(400, "InvalidArgumentException", &message);
        }
        let at = match kind {
            "AT_SEQUENCE_NUMBER" => sequence(),
            "AFTER_SEQUENCE_NUMBER" => sequence() + 1,
            "TRIM_HORIZON" => 0,
            "LATEST" => state.sequence + 1,
            _ => {
                let millis = (body["Timestamp"].as_f64().unwrap() * 1000.0) as i64;
                let later = shard.records.iter().find(|record| record.came >= millis);
                later.map_or(state.sequence + 1, |record| record.sequence)
            }
        };
        answer(json!({ "ShardIterator": format!("{id}:{at}") }).to_string())
    }

    /// Makes what should have come by now.
    fn make(&self) {
        let Some(source) = &self.source else { return };
        let mut state = self.state.lock().unwrap();
        let elapsed = state.began.elapsed().as_secs_f64();
        let (due, began) = ((source.rate as f64 * elapsed) as usize, now() - (elapsed * 1000.0) as i64);
        let mut sequence = state.sequence;
        for (number, shard) in (0_u32..).zip(state.shards.values_mut()) {
            while shard.made < due {
                let (data, bytes) = (source.make)(number, shard.numbers);
                sequence += 1;
                shard.made += bytes;
                shard.numbers += 1;
                let came = began + (shard.made as f64 / source.rate as f64 * 1000.0) as i64;
                shard.records.push_back(Kept { sequence, data, bytes, came });
            }
            // What was read long ago needs no memory.
            while shard.records.len() > 60_000 {
                shard.records.pop_front();
            }
        }
        state.sequence = sequence;
    }

    fn records(&self, body: &Value) -> Response<Full<Bytes>> {
        self.make();
        self.counts.reads.fetch_add(1, Ordering::SeqCst);
        let rules = self.rules.lock().unwrap().clone();
        let (id, at) = body["ShardIterator"].as_str().unwrap().split_once(':').unwrap();
        let at: u64 = at.parse().unwrap();
        let most = body["Limit"].as_u64().unwrap_or(10_000);
        let mut state = self.state.lock().unwrap();
        let Some(shard) = state.shards.get_mut(id) else {
            return error(
                400,
                "ResourceNotFoundException",
                &format!("Shard {id} in stream trail does not exist"),
            );
        };
        shard.asked += 1;
        if rules.expires_every > 0 && shard.asked.is_multiple_of(rules.expires_every) {
            self.counts.expired.fetch_add(1, Ordering::SeqCst);
            return error(400, "ExpiredIteratorException", "Iterator expired.");
        }
        if rules.throttles {
            let here = Instant::now();
            while shard.reads.front().is_some_and(|read| read.elapsed() >= Duration::from_secs(1)) {
                shard.reads.pop_front();
            }
            let more = 2_097_152.0 * here.duration_since(shard.filled).as_secs_f64();
            shard.bucket = (shard.bucket + more).min(2_097_152.0);
            shard.filled = here;
            if shard.reads.len() >= 5 || shard.bucket < 0.0 {
                self.counts.throttled.fetch_add(1, Ordering::SeqCst);
                return error(
                    400,
                    "ProvisionedThroughputExceededException",
                    &format!("Rate exceeded for shard {id} in stream trail."),
                );
            }
            shard.reads.push_back(here);
        }
        let start = shard.records.partition_point(|record| record.sequence < at);
        let (mut text, mut bytes, mut taken, mut next) = (Vec::with_capacity(64 << 10), 0, 0_u64, at);
        text.extend_from_slice(b"{\"Records\":[");
        for record in shard.records.iter().skip(start) {
            if taken >= most || (taken > 0 && bytes + record.bytes > MOST) {
                break;
            }
            if taken > 0 {
                text.push(b',');
            }
            let came = record.came as f64 / 1000.0;
            let head = format!(
                "{{\"SequenceNumber\":\"{}\",\"ApproximateArrivalTimestamp\":{came:.3},\"PartitionKey\":\"{}\",\"Data\":\"",
                record.sequence, record.sequence
            );
            text.extend_from_slice(head.as_bytes());
            text.extend_from_slice(&record.data);
            text.extend_from_slice(b"\"}");
            (bytes, taken, next) = (bytes + record.bytes, taken + 1, record.sequence + 1);
        }
        shard.bucket -= bytes as f64;
        self.counts.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        let left = shard.records.get(start + usize::try_from(taken).unwrap());
        let behind = left.map_or(0, |record| (now() - record.came).max(1));
        text.extend_from_slice(format!("],\"MillisBehindLatest\":{behind}").as_bytes());
        if shard.closed && left.is_none() {
            let children: Vec<Value> = shard
                .children
                .iter()
                .map(|child| json!({ "ShardId": child, "ParentShards": [id], "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "1" } }))
                .collect();
            text.extend_from_slice(format!(",\"ChildShards\":{}}}", json!(children)).as_bytes());
        } else {
            text.extend_from_slice(format!(",\"NextShardIterator\":\"{id}:{next}\"}}").as_bytes());
        }
        answer(text)
    }
}

/// An aggregated record of the Kinesis Producer Library, by hand: fields 1 (a key) and 3 (records of fields 1 and 3).
pub(crate) fn aggregated(parts: &[Vec<u8>]) -> Vec<u8> {
    use md5::Digest as _;
    let varint = |mut number: usize| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
        bytes
    };
    let field = |number: u8, data: &[u8]| [vec![number << 3 | 2], varint(data.len()), data.to_vec()].concat();
    let mut message = field(1, b"key");
    for part in parts {
        message.extend(field(3, &[vec![0x08, 0x00], field(3, part)].concat()));
    }
    let sum = md5::Md5::digest(&message);
    [&[0xf3, 0x89, 0x9a, 0xc2], &message[..], &sum].concat()
}
