//! The source against a fake of CloudWatch Logs: late events, empty pages, quotas, restarts.

#[allow(dead_code, reason = "shared with tests/aws.rs")]
#[path = "../../../tests/support/fake_logs.rs"]
mod fake_logs;

use std::collections::BTreeMap;
use std::sync::Mutex;

use aws_sdk_cloudwatchlogs::config::retry::RetryConfig;
use aws_sdk_cloudwatchlogs::config::{BehaviorVersion, Credentials, Region};

use self::fake_logs::{FakeLogs, GROUP, Row, Ways, record};
use super::*;
use crate::ack::{Note, Verdict};
use crate::clock::Clock;
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::pipeline::room::Room;
use crate::source::Body;
use crate::source::piped::Pipe;
use crate::source::pull::fake_json::{self, Answer};
use crate::state::Store;

/// A source that asks a fake.
struct Fed {
    source: CloudwatchLogs,
    client: Client,
    most: u32,
    pace: String,
}

impl Source for Fed {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        let places = async || {
            let ask = Group {
                client: self.client.clone(),
                name: GROUP.to_owned(),
                is_arn: false,
                streams: Vec::new(),
                prefix: None,
                who: "a test".to_owned(),
                region: "eu-west-1".to_owned(),
            };
            let pace = Pace::of(&self.pace, Duration::from_secs(1) / self.most);
            Ok(vec![Place { name: String::new(), ask: Arc::new(ask), pace }])
        };
        self.source.pull.next(most, places).await
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        self.source.settle(settled).await
    }

    fn trouble(&self) -> Option<String> {
        self.source.trouble()
    }

    fn figures(&self) -> Figures {
        self.source.figures()
    }
}

fn client(fake: &FakeLogs) -> Client {
    let config = aws_sdk_cloudwatchlogs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(fake.endpoint())
        .retry_config(RetryConfig::disabled())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"));
    Client::from_conf(config.build())
}

/// A source of the fake's group; what it remembers is in `store`.
fn open(fake: &FakeLogs, store: &Arc<Store>, once: bool, more: &str, most: u32) -> Fed {
    let config: Config = toml::from_str(&format!("log_group = \"{GROUP}\"\n{more}")).unwrap();
    let build = Build {
        pipeline: "main",
        name: "group",
        store: store.clone(),
        clock: Clock::System,
        once,
        stdin: Pipe::empty(),
        room: Room::apart(64 << 20),
    };
    let source = CloudwatchLogs::build(&config, &build).unwrap();
    Fed { source, client: client(fake), most, pace: fake.endpoint() }
}

fn store() -> Arc<Store> {
    Arc::new(Store::in_memory(&Clock::System).unwrap())
}

fn now() -> i64 {
    Clock::System.now().0 / 1_000_000
}

fn ended(lent: &Delivery, verdict: Verdict) -> Settled {
    let key = DeliveryKey::of(&lent.identity);
    Settled { id: lent.id, key, verdict, note: Note::None, books: Books::default() }
}

/// The event ids in what is lent.
fn ids(lent: &Delivery) -> Vec<String> {
    let Body::Bytes(bytes) = &lent.body else { panic!("{lent:?}") };
    let text = std::str::from_utf8(bytes).unwrap();
    let id = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["eventID"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

/// Takes and settles what the source lends; how often each event came.
async fn ship(source: &Fed, shipped: &Mutex<BTreeMap<String, u64>>) -> Result<(), SourceError> {
    while let Some(lent) = source.next(100).await? {
        source.settle(lent.iter().map(|lent| ended(lent, Verdict::Delivered)).collect()).await?;
        for id in lent.iter().flat_map(ids) {
            *shipped.lock().unwrap().entry(id).or_default() += 1;
        }
    }
    Ok(())
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not after a minute: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_the_contract() {
    let ways = Ways { page: 1, empty: 3, ..Ways::default() };
    let fake = FakeLogs::start(Row { first: now() - 1_800_000, step: 10_000, events: 40 }, ways).await;
    let store = store();
    crate::testing::contract::source(|| open(&fake, &store, true, "", 1000), 40, 7).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_events_are_found_and_none_comes_twice() {
    let fake = FakeLogs::start(Row::default(), Ways { page: 3, repeats: true, ..Ways::default() }).await;
    let start = now();
    for number in 0..20 {
        fake.put(start - 600_000 + number * 20_000, "s", &record(&format!("old-{number}")));
    }
    let more = "every = \"1s\"\noverlap = \"3s\"";
    let store = store();
    let (shipped, source) = (Mutex::default(), open(&fake, &store, false, more, 1000));
    let all = |count: usize| {
        let shipped: &Mutex<BTreeMap<String, u64>> = &shipped;
        move || shipped.lock().unwrap().len() == count
    };
    let shipping = async {
        tokio::select! {
            ended = ship(&source, &shipped) => panic!("{ended:?}"),
            () = async {
                until("what was there", all(20)).await;
                // Of one moment, one after the other: each look has passed it before the next appears.
                for number in 0..4 {
                    fake.put(now() - 500, "s", &record(&format!("late-{number}")));
                    until("a late one", all(21 + number)).await;
                }
                until("it was looked again", || source.figures().seen_again.unwrap() > 4).await;
            } => {}
        }
    };
    shipping.await;
    assert!(shipped.lock().unwrap().values().all(|times| *times == 1), "{shipped:?}");
    // What appears while nobody looks, and is no older than twice the overlap, is found by the next run.
    drop(source);
    fake.put(now() - 1500, "s", &record("between"));
    let source = open(&fake, &store, true, more, 1000);
    ship(&source, &shipped).await.unwrap();
    let shipped = shipped.lock().unwrap();
    assert!(shipped.len() == 25 && shipped.values().all(|times| *times == 1), "{shipped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_kept_and_a_server_that_throttles_is_asked_again() {
    let ways = Ways { page: 10, quota: 20, ..Ways::default() };
    let fake = FakeLogs::start(Row { first: now() - 1_800_000, step: 2000, events: 500 }, ways).await;
    let shipped = Mutex::default();
    let began = tokio::time::Instant::now();
    ship(&open(&fake, &store(), true, "", 18), &shipped).await.unwrap();
    assert_eq!(shipped.lock().unwrap().len(), 500);
    let requests = fake.quota().requests();
    // On a busy machine two may come closer together than they were sent.
    assert!(fake.quota().busiest(1) <= 20 && fake.quota().busiest(2) <= 38, "{}", fake.quota().busiest(2));
    assert!(
        requests >= 50 && began.elapsed() > Duration::from_secs_f64((requests as f64 - 1.0) / 18.1),
        "{requests}"
    );

    let ways = Ways { page: 10, quota: 5, ..Ways::default() };
    let fake = FakeLogs::start(Row { first: now() - 1_800_000, step: 2000, events: 200 }, ways).await;
    let (shipped, source) = (Mutex::default(), open(&fake, &store(), true, "", 1000));
    ship(&source, &shipped).await.unwrap();
    assert_eq!(shipped.lock().unwrap().len(), 200);
    assert!(source.figures().throttled.unwrap() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_events_are_shipped_once_in_bounded_memory() {
    // A million, where that is asked for.
    let events = std::env::var("TRAILSHIP_LOGS_EVENTS").map_or(200_000, |events| events.parse().unwrap());
    let step = 3_500_000 / events;
    let fake = FakeLogs::start(Row { first: now() - 3_500_000, step, events }, Ways::default()).await;
    let (source, mut shipped, mut most) = (open(&fake, &store(), true, "", 1000), 0, 0);
    let mut last = -1;
    while let Some(lent) = source.next(4).await.unwrap() {
        for delivery in &lent {
            most = most.max(delivery.body.size());
            for id in ids(delivery) {
                let number: i64 = id.strip_prefix("made-").unwrap().parse().unwrap();
                assert_eq!(number, last + 1, "in order, each once");
                (last, shipped) = (number, shipped + 1);
            }
        }
        source.settle(lent.iter().map(|lent| ended(lent, Verdict::Delivered)).collect()).await.unwrap();
    }
    assert_eq!((shipped, source.figures().ids_forgotten), (events, Some(0)));
    assert!(most <= (1 << 20) + 1000, "{most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_is_stuck_holds_no_more_and_loses_nothing() {
    let fake =
        FakeLogs::start(Row { first: now() - 3_500_000, step: 3, events: 200_000 }, Ways::default()).await;
    let source = open(&fake, &store(), true, "", 1000);
    let mut held: Vec<Delivery> = Vec::new();
    // Nothing is settled until nothing more is lent.
    while let Ok(lent) = tokio::time::timeout(Duration::from_secs(2), source.next(100)).await {
        held.extend(lent.unwrap().unwrap());
    }
    let requests = fake.quota().requests();
    let lent: usize = held.iter().map(|lent| ids(lent).len()).sum();
    assert!((10_000..=120_000).contains(&lent), "{lent}");
    let bytes: u64 = held.iter().map(|lent| lent.body.size()).sum();
    assert!(bytes <= 16 << 20, "what may be held: {bytes}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.quota().requests(), requests);
    // What failed is lent again, the same bytes under the same name.
    let first = (held[0].identity.clone(), ids(&held[0]));
    source.settle(vec![ended(&held.remove(0), Verdict::Failed)]).await.unwrap();
    let again = source.next(1).await.unwrap().unwrap().remove(0);
    assert_eq!((again.identity.clone(), ids(&again)), first);
    held.push(again);
    source.settle(held.iter().map(|lent| ended(lent, Verdict::Delivered)).collect()).await.unwrap();
    drop(held);
    let shipped = Mutex::default();
    ship(&source, &shipped).await.unwrap();
    assert_eq!(lent + shipped.lock().unwrap().len(), 200_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_counts_no_more_and_answers_that_are_none_cost_time_only() {
    let fault = |number| match number {
        2 => Some(Answer::Refused(400, "InvalidParameterException", "The specified nextToken is invalid.")),
        4 => Some(Answer::Page(500, "<html>oops</html>")),
        5 => Some(Answer::Page(200, "not JSON")),
        6 => Some(Answer::Dies),
        8 => Some(Answer::Refused(503, "ServiceUnavailableException", "later")),
        _ => None,
    };
    let ways = Ways { page: 10, fault, ..Ways::default() };
    let fake = FakeLogs::start(Row { first: now() - 1_800_000, step: 2000, events: 200 }, ways).await;
    let (shipped, source) = (Mutex::default(), open(&fake, &store(), true, "", 1000));
    ship(&source, &shipped).await.unwrap();
    let shipped = shipped.lock().unwrap();
    assert!(shipped.len() == 200 && shipped.values().all(|times| *times == 1), "{shipped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_stops_the_source_and_one_that_is_another_is_told() {
    let gone = |_| {
        Some(Answer::Refused(400, "ResourceNotFoundException", "The specified log group does not exist."))
    };
    let fake = FakeLogs::start(Row::default(), Ways { fault: gone, ..Ways::default() }).await;
    let store = store();
    let ended = open(&fake, &store, false, "", 1000).next(1).await;
    let Err(SourceError::Stop(why)) = ended else { panic!("{ended:?}") };
    assert!(why.contains("log group CloudTrail/logs in eu-west-1: there is no such place"), "{why}");
    let config: Config = toml::from_str("log_group = \"another\"").unwrap();
    let build = Build {
        pipeline: "main",
        name: "group",
        store,
        clock: Clock::System,
        once: true,
        stdin: Pipe::empty(),
        room: Room::apart(1 << 20),
    };
    let why = CloudwatchLogs::build(&config, &build).err().unwrap().to_string();
    assert!(
        why.contains("it was `CloudTrail/logs` until now") && why.contains("state rm main/group"),
        "{why}"
    );
}
