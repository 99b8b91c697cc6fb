//! Requests without connections: what is answered, when, and what is lent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::answer::Outcome;
use super::request::{Answered, Endpoint, Rules};
use super::*;
use crate::ack::{Note, Verdict};
use crate::clock::{Clock, Timestamp};
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::pipeline::room::Room;
use crate::testing::contract;

use bytes::Bytes;
use std::time::Duration;

const ARN: &str = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/trail";

fn rules() -> Rules {
    Rules {
        sources: vec![ARN.to_owned()],
        most: 1 << 20,
        answer_within: Duration::from_secs(170),
        patience: Duration::from_secs(30),
    }
}

fn endpoint(rules: Rules, memory: usize) -> Arc<Endpoint> {
    let clock = Clock::manual(Timestamp::from_seconds(1_768_435_200));
    let keys = ["one", "two"].map(|key| Sha256::digest(key).into()).to_vec();
    Arc::new(Endpoint::new(
        "stream".to_owned(),
        rules,
        keys,
        Duration::from_secs(3600),
        Room::apart(memory),
        clock,
    ))
}

fn body(id: &str, records: &[&str]) -> String {
    let records: Vec<_> = records.iter().map(|record| json!({ "data": STANDARD.encode(record) })).collect();
    json!({ "requestId": id, "timestamp": 1, "records": records }).to_string()
}

fn request<B>(id: &str, body: B) -> Request<B> {
    Request::post("/any/path")
        .header("X-Amz-Firehose-Protocol-Version", "1.0")
        .header("X-Amz-Firehose-Request-Id", id)
        .header("X-Amz-Firehose-Source-Arn", ARN)
        .header("X-Amz-Firehose-Access-Key", "two")
        .body(body)
        .unwrap()
}

fn whole(id: &str, records: &[&str]) -> Request<Full<Bytes>> {
    request(id, Full::new(body(id, records).into()))
}

/// A body that nobody may read.
fn untouched(id: &str) -> Request<impl hyper::body::Body<Data = Bytes> + Unpin> {
    let never =
        futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            panic!("the body was read")
        });
    request(id, StreamBody::new(never))
}

async fn said(answered: Answered) -> (u16, Value) {
    let status = answered.response.status().as_u16();
    let bytes = answered.response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// Lends everything there is now.
async fn lent(endpoint: &Endpoint) -> Vec<(DeliveryId, Lent)> {
    tokio::time::timeout(Duration::from_millis(700), endpoint.desk.next(100, new_id))
        .await
        .unwrap_or_default()
}

fn settle(endpoint: &Endpoint, lent: &[(DeliveryId, Lent)], verdict: Verdict) {
    let one = |(id, lent): &(DeliveryId, Lent)| {
        let key = DeliveryKey::of(&lent.identity);
        Settled { id: *id, key, verdict, note: Note::None, books: Books::default() }
    };
    endpoint.desk.settle(lent.iter().map(one).collect());
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_200_only_after_everything_in_it_is_settled() {
    let endpoint = endpoint(rules(), 64 << 20);
    let answering = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { said(endpoint.answer(whole("a-1", &["{\"a\":1}", "{\"a\":2}", "what?"])).await).await }
    });
    let lent = lent(&endpoint).await;
    let texts: Vec<&[u8]> = lent.iter().map(|(_, lent)| &lent.body[..]).collect();
    assert_eq!(texts, [&b"{\"a\":1}\n{\"a\":2}"[..], b"what?"]);
    assert_eq!(&*lent[1].1.address, "firehose://trail/a-1#2");
    settle(&endpoint, &lent[..1], Verdict::Delivered);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!answering.is_finished());
    settle(&endpoint, &lent[1..], Verdict::Rejected);
    let (status, text) = answering.await.unwrap();
    assert_eq!((status, text), (200, json!({ "requestId": "a-1", "timestamp": 1_768_435_200_000_u64 })));
    let again = endpoint.answer(whole("a-1", &["{\"a\":1}", "{\"a\":2}", "what?"])).await;
    assert_eq!(said(again).await.0, 200);
    let outcomes = endpoint.requests().outcomes;
    assert_eq!((outcomes[Outcome::Delivered as usize], outcomes[Outcome::Remembered as usize]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn after_its_time_it_is_answered_503_and_its_retry_joins() {
    let endpoint = endpoint(rules(), 64 << 20);
    let (late, text) = said(endpoint.answer(whole("a", &["{}"])).await).await;
    assert_eq!((late, text["requestId"].as_str()), (503, Some("a")));
    let lent_once = lent(&endpoint).await;
    let retry = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { said(endpoint.answer(whole("a", &["{}"])).await).await.0 }
    });
    assert!(lent(&endpoint).await.is_empty());
    settle(&endpoint, &lent_once, Verdict::Delivered);
    assert_eq!(retry.await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_come_in_is_told_before_the_body_is_read() {
    let endpoint = endpoint(rules(), 64 << 20);
    let change = |name: &'static str, value: &str| {
        let mut request = untouched("a");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let mut keyless = untouched("a");
    keyless.headers_mut().remove("x-amz-firehose-access-key");
    let mut get = untouched("a");
    *get.method_mut() = Method::GET;
    let huge = "k".repeat(90_000);
    for (request, expected, word) in [
        (get, 405, "POST"),
        (keyless, 401, "access key"),
        (change("x-amz-firehose-access-key", "tw"), 401, "access key"),
        (change("x-amz-firehose-access-key", "twoo"), 401, "access key"),
        (change("x-amz-firehose-access-key", ""), 401, "access key"),
        (change("x-amz-firehose-access-key", &huge), 401, "access key"),
        (
            change("x-amz-firehose-source-arn", "arn:aws:firehose:x:1:deliverystream/other"),
            403,
            "source_arns",
        ),
        (change("x-amz-firehose-protocol-version", "2.0"), 400, "version"),
        (change("x-amz-firehose-request-id", "../../etc"), 400, "request-id"),
        (change("x-amz-firehose-request-id", ""), 400, "request-id"),
        (change("content-encoding", "br"), 400, "gzip"),
    ] {
        let answered = endpoint.answer(request).await;
        assert!(answered.unread && answered.response.headers()["connection"] == "close");
        let (status, text) = said(answered).await;
        assert_eq!(status, expected, "{text}");
        assert!(text["errorMessage"].as_str().unwrap().contains(word), "{text}");
        assert!(!text.to_string().contains("two") && !text.to_string().contains("etc"), "{text}");
    }
    let mut first = whole("a", &[]);
    first.headers_mut().insert("x-amz-firehose-access-key", "one".parse().unwrap());
    assert_eq!(said(endpoint.answer(first).await).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn without_memory_it_is_503_before_the_body_is_read() {
    let endpoint = endpoint(Rules { most: 64 << 20, ..rules() }, 2 << 20);
    // Half of it may be held.
    let hog = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { endpoint.answer(whole("hog", &[&"x".repeat(700 << 10)])).await }
    });
    let held = lent(&endpoint).await;
    let wants = request("a", Full::new(Bytes::from(vec![b'x'; 600 << 10])));
    let (status, text) = said(endpoint.answer(wants).await).await;
    assert_eq!((status, text["errorMessage"].as_str().unwrap().contains("memory")), (503, true));
    let never = request("a", Full::new(Bytes::from(vec![b'x'; 2 << 20])));
    let (status, text) = said(endpoint.answer(never).await).await;
    assert_eq!((status, text["errorMessage"].as_str().unwrap().contains("raise `memory`")), (503, true));
    settle(&endpoint, &held, Verdict::Delivered);
    drop(held);
    assert_eq!(hog.await.unwrap().response.status(), 200);
    let (status, _) = said(endpoint.answer(whole("b", &[&" ".repeat(600 << 10)])).await).await;
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_bounded_whole_in_pieces_and_inflated() {
    let endpoint = endpoint(rules(), 64 << 20);
    let long = vec![b' '; (1 << 20) + 1];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &long).unwrap();
    let packed = packed.finish().unwrap();
    let told = request("a", Full::new(Bytes::from(long.clone())));
    let mut inflates = request("a", Full::new(Bytes::from(packed)));
    inflates.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let pieces =
        long.chunks(1000).map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece))));
    let chunked = request("a", StreamBody::new(futures_util::stream::iter(pieces.collect::<Vec<_>>())));
    for (answered, unread) in [
        (endpoint.answer(told).await, true),
        (endpoint.answer(inflates).await, false),
        (endpoint.answer(chunked).await, true),
    ] {
        assert_eq!(answered.unread, unread);
        let (status, text) = said(answered).await;
        assert_eq!(
            (status, text["errorMessage"].as_str().unwrap().contains("1048576 bytes")),
            (400, true),
            "{text}"
        );
    }
    let mut damaged = request("a", Full::new(Bytes::from_static(b"\x1f\x8b\x08\0nonsense")));
    damaged.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(said(endpoint.answer(damaged).await).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let endpoint = endpoint(rules(), 64 << 20);
    let silent = futures_util::stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
    let (status, text) = said(endpoint.answer(request("a", StreamBody::new(silent))).await).await;
    assert_eq!((status, text["errorMessage"].as_str().unwrap().contains("in time")), (400, true));
    let broken = futures_util::stream::iter([Err::<Frame<Bytes>, _>(std::io::Error::other("reset"))]);
    endpoint.answer(request("a", StreamBody::new(broken))).await;
    assert_eq!(endpoint.requests().outcomes[Outcome::Broken as usize], 1);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_shipped_all_the_same() {
    let endpoint = endpoint(rules(), 64 << 20);
    let mut answering = Box::pin(endpoint.answer(whole("a", &["{}"])));
    assert!(answering.as_mut().now_or_never().is_none());
    drop(answering);
    let lent = lent(&endpoint).await;
    settle(&endpoint, &lent, Verdict::Delivered);
    assert_eq!(said(endpoint.answer(whole("a", &["{}"])).await).await.0, 200);
    assert_eq!(endpoint.requests().outcomes[Outcome::Remembered as usize], 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_everybody_503() {
    let endpoint = endpoint(rules(), 64 << 20);
    let waiting = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { said(endpoint.answer(whole("a", &["{}"])).await).await.0 }
    });
    tokio::task::yield_now().await;
    endpoint.stops();
    assert_eq!(waiting.await.unwrap(), 503);
    let answered = endpoint.answer(untouched("b")).await;
    assert_eq!((answered.unread, said(answered).await.0), (true, 503));
}

#[test]
fn once_is_refused_in_words_and_a_port_in_use_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config: Config = toml::from_str(&format!("listen = \"{address}\"")).unwrap();
    let clock = Clock::manual(Timestamp::from_seconds(0));
    let store = Arc::new(crate::state::Store::in_memory(&clock).unwrap());
    let build = |once| Build {
        pipeline: "main",
        name: "stream",
        store: store.clone(),
        clock: clock.clone(),
        once,
        stdin: crate::source::piped::Pipe::empty(),
        room: Room::apart(1 << 20),
    };
    let why = |once| Firehose::build(&config, &build(once)).map(|_| ()).unwrap_err().0;
    assert!(why(true).contains("--once"), "{}", why(true));
    assert!(why(false).contains("cannot listen on"), "{}", why(false));
}

/// The desk keeps the contract of sources, with requests that are sent again until they are answered 200.
#[tokio::test(start_paused = true)]
async fn it_lends_as_every_source_does() {
    struct Sent(Arc<Endpoint>, Vec<tokio::task::JoinHandle<()>>);
    impl Source for Sent {
        async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
            let lend = async {
                let lent = self.0.desk.next(most, new_id).await;
                lent.into_iter().map(|(id, lent)| Delivery {
                    id,
                    identity: lent.identity,
                    origin: Origin { address: lent.address, ..Origin::default() },
                    body: Body::Bytes(lent.body),
                    failures: lent.failures,
                    growing: false,
                    again: None,
                    from: None,
                })
            };
            tokio::select! {
                biased;
                lent = lend => Ok(Some(lent.collect())),
                // All have had their 200.
                () = async { while self.1.iter().any(|sent| !sent.is_finished()) { tokio::time::sleep(Duration::from_secs(1)).await } } => Ok(None),
            }
        }
        async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
            self.0.desk.settle(settled);
            Ok(())
        }
    }
    let delivered = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let open = || {
        let endpoint = endpoint(rules(), 64 << 20);
        let send = |number: u32| {
            let (endpoint, delivered) = (endpoint.clone(), delivered.clone());
            tokio::spawn(async move {
                let id = format!("r{number}");
                while !delivered.lock().unwrap().contains(&number) {
                    let answered = endpoint.answer(whole(&id, &[&format!("{{\"a\":{number}}}")])).await;
                    if answered.response.status() == 200 {
                        delivered.lock().unwrap().insert(number);
                    }
                }
            })
        };
        let sent = (0..40).map(send).collect();
        Sent(endpoint, sent)
    };
    contract::source(open, 40, 5).await.unwrap();
}
