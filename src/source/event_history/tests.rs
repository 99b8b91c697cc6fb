//! The source against a fake of CloudTrail: order, growth, quota, late events, regions, catching up.

#[allow(dead_code, reason = "shared with tests/aws.rs")]
#[path = "../../../tests/support/fake_history.rs"]
mod fake_history;

use std::collections::BTreeMap;
use std::sync::Mutex;

use aws_sdk_cloudtrail::config::retry::RetryConfig;
use aws_sdk_cloudtrail::config::{BehaviorVersion, Credentials, Region as Place_};

use self::fake_history::{FakeHistory, Row, Ways, record};
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

/// A source that asks a fake in some regions.
struct Fed {
    source: EventHistory,
    endpoint: String,
    regions: Vec<&'static str>,
}

impl Fed {
    fn client(&self, region: &'static str) -> Client {
        let config = aws_sdk_cloudtrail::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Place_::new(region))
            .endpoint_url(&self.endpoint)
            .retry_config(RetryConfig::disabled())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        Client::from_conf(config.build())
    }
}

impl Source for Fed {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        let places = async || {
            let place =
                |region: &&'static str| self.source.place(self.client(region), region, &self.endpoint);
            Ok(self.regions.iter().map(place).collect())
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

/// A source of these regions; what it remembers is in `store`.
fn open(fake: &FakeHistory, store: &Arc<Store>, once: bool, more: &str, regions: &[&'static str]) -> Fed {
    let config: Config = toml::from_str(more).unwrap();
    let build = Build {
        pipeline: "main",
        name: "history",
        store: store.clone(),
        clock: Clock::System,
        once,
        stdin: Pipe::empty(),
        room: Room::apart(64 << 20),
    };
    let source = EventHistory::build(&config, &build).unwrap();
    Fed { source, endpoint: fake.endpoint(), regions: regions.to_vec() }
}

const FAST: &str = "requests_per_second = 1000\n";
const ONE: &[&str] = &["eu-west-1"];

fn store() -> Arc<Store> {
    Arc::new(Store::in_memory(&Clock::System).unwrap())
}

fn now() -> i64 {
    Clock::System.now().seconds()
}

fn ended(lent: &Delivery, verdict: Verdict) -> Settled {
    let key = DeliveryKey::of(&lent.identity);
    Settled { id: lent.id, key, verdict, note: Note::None, books: Books::default() }
}

/// The event ids in what is lent.
fn ids(lent: &Delivery) -> Vec<String> {
    let Body::Bytes(bytes) = &lent.body else { panic!("{lent:?}") };
    let text = std::str::from_utf8(bytes).unwrap();
    let id = |line: &str| line.split(r#""eventID":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    text.lines().map(id).collect()
}

type Shipped = Mutex<BTreeMap<String, u64>>;

/// Takes and settles what the source lends; how often each event came.
async fn ship(source: &Fed, shipped: &Shipped) -> Result<(), SourceError> {
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

#[track_caller]
fn each_once(shipped: &Shipped, events: usize) {
    let shipped = shipped.lock().unwrap();
    let copies: Vec<_> = shipped.iter().filter(|(_, times)| **times != 1).take(5).collect();
    assert!(shipped.len() == events && copies.is_empty(), "{} of {events}, {copies:?}", shipped.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_the_contract() {
    let fake = FakeHistory::start(Row::default(), Ways { empty: 4, ..Ways::default() }).await;
    // Each alone in its delivery: not on one line.
    for number in 0..40 {
        let text = record(&format!("{number}")).replace(',', ",\n");
        fake.put("eu-west-1", now() - 3600 * (number % 7) - number, &format!("{number}"), &text);
    }
    let more = format!("{FAST}since = \"2 d\"");
    let store = store();
    crate::testing::contract::source(|| open(&fake, &store, true, &more, ONE), 40, 3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ninety_days_are_shipped_once_while_more_appears() {
    let days = 90 * 86_400;
    // Most of them in the last four hours, and one a day before.
    let row = Row { first: now() - 14_400, each: 2, events: 25_000 };
    let fake = FakeHistory::start(row, Ways { empty: 50, grows: true, ..Ways::default() }).await;
    for day in 1..90 {
        fake.put(
            "eu-west-1",
            now() - days + day * 86_400 - 3600,
            &format!("day-{day}"),
            &record(&format!("day-{day}")),
        );
    }
    let (shipped, source) = (Shipped::default(), open(&fake, &store(), true, FAST, ONE));
    ship(&source, &shipped).await.unwrap();
    // What appeared on the way is the next run's, but for what it saw of it.
    shipped.lock().unwrap().retain(|id, _| !id.starts_with("grown"));
    each_once(&shipped, 25_000 + 89);
    let requests = fake.requests("eu-west-1");
    assert!(requests.len() < 25_089 / 50 * 2, "{} requests", requests.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_a_second_in_a_region_and_not_more() {
    let row = Row { first: now() - 3000, each: 1, events: 400 };
    let fake = FakeHistory::start(row, Ways { quota: 2, ..Ways::default() }).await;
    let store = store();
    let regions = ["eu-west-1", "us-east-1"];
    let (shipped, source) = (Shipped::default(), open(&fake, &store, true, "since = \"1 h\"", &regions));
    ship(&source, &shipped).await.unwrap();
    let shipped = shipped.lock().unwrap();
    assert!(shipped.len() == 400 && shipped.values().all(|times| *times == 2), "each in both regions");
    for region in regions {
        let quota = fake.quota(region);
        // On a busy machine two may come closer together than they were sent.
        assert!(
            quota.requests() >= 16 && quota.busiest(4) <= 10,
            "{} {}",
            quota.requests(),
            quota.busiest(4)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_throttles_is_asked_again() {
    let row = Row { first: now() - 3000, each: 1, events: 500 };
    let fake = FakeHistory::start(row, Ways { quota: 5, ..Ways::default() }).await;
    let (shipped, source) =
        (Shipped::default(), open(&fake, &store(), true, &format!("{FAST}since = \"1 h\""), ONE));
    ship(&source, &shipped).await.unwrap();
    each_once(&shipped, 500);
    assert!(source.figures().throttled.unwrap() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_events_are_found_and_none_comes_twice() {
    let fake = FakeHistory::start(Row::default(), Ways::default()).await;
    for number in 0..120 {
        let id = format!("old-{number}");
        fake.put("eu-west-1", now() - 1000 + number, &id, &record(&id));
    }
    let more = format!("{FAST}since = \"1 h\"\nevery = \"1s\"\ndelay = \"1s\"\noverlap = \"4s\"");
    let store = store();
    let (shipped, source) = (Shipped::default(), open(&fake, &store, false, &more, ONE));
    tokio::select! {
        ended = ship(&source, &shipped) => panic!("{ended:?}"),
        () = async {
            until("what was there", || shipped.lock().unwrap().len() == 120).await;
            for number in 0..3 {
                let id = format!("late-{number}");
                fake.put("eu-west-1", now() - 3, &id, &record(&id));
                until("a late one", || shipped.lock().unwrap().len() == 121 + number).await;
            }
        } => {}
    }
    each_once(&shipped, 123);
    assert!(source.figures().late_events.unwrap() >= 1, "{:?}", source.figures());
    drop(source);
    // Not closed when that run ended, or late: the next one finds it.
    fake.put("eu-west-1", now() - 4, "between", &record("between"));
    ship(&open(&fake, &store, true, &more, ONE), &shipped).await.unwrap();
    each_once(&shipped, 124);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_refused_is_named_and_the_others_go_on() {
    let fault = |region: &str, _| match region {
        "me-south-1" => Some(Answer::Refused(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )),
        "eu-west-2" => Some(Answer::Refused(
            400,
            "AccessDeniedException",
            "User: u is not authorized to perform: cloudtrail:LookupEvents",
        )),
        _ => None,
    };
    let row = Row { first: now() - 3000, each: 1, events: 300 };
    let fake = FakeHistory::start(row, Ways { fault, ..Ways::default() }).await;
    let more = format!("{FAST}since = \"1 h\"");
    let regions = ["me-south-1", "eu-west-2", "eu-west-1"];
    let (shipped, source) = (Shipped::default(), open(&fake, &store(), false, &more, &regions));
    tokio::select! {
        ended = ship(&source, &shipped) => panic!("{ended:?}"),
        () = until("the region that answers is read, the others are told", || {
            let trouble = source.trouble().unwrap_or_default();
            shipped.lock().unwrap().len() == 300 && trouble.contains("me-south-1") && trouble.contains("eu-west-2")
        }) => {}
    }
    let trouble = source.trouble().unwrap();
    assert!(
        trouble.contains("allow cloudtrail:LookupEvents") && trouble.contains("not enabled"),
        "{trouble}"
    );
    drop(source);
    // A run that ends ships what there is, and then says what it could not read.
    let (shipped, source) = (Shipped::default(), open(&fake, &store(), true, &more, &regions));
    let ended = ship(&source, &shipped).await;
    assert!(matches!(&ended, Err(SourceError::Stop(why)) if why.contains("me-south-1")), "{ended:?}");
    each_once(&shipped, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_count_no_more_and_answers_that_are_none_cost_time_only() {
    let fault = |_: &str, number| match number {
        12 => Some(Answer::Refused(400, "InvalidNextTokenException", "Invalid token.")),
        14 => Some(Answer::Page(500, "<html>oops</html>")),
        15 => Some(Answer::Is(serde_json::json!({ "Events": "none", "NextToken": 5 }))),
        16 => Some(Answer::Dies),
        _ => None,
    };
    let row = Row { first: now() - 3000, each: 1, events: 600 };
    let fake = FakeHistory::start(row, Ways { fault, ..Ways::default() }).await;
    let (shipped, source) =
        (Shipped::default(), open(&fake, &store(), true, &format!("{FAST}since = \"1 h\""), ONE));
    ship(&source, &shipped).await.unwrap();
    each_once(&shipped, 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_attribute_is_looked_up() {
    let fake = FakeHistory::start(Row { first: now() - 3000, each: 1, events: 300 }, Ways::default()).await;
    fake.put("eu-west-1", now() - 60, "this", &record("this"));
    let more = format!("{FAST}since = \"1 h\"\nlookup = {{ EventId = \"this\" }}");
    let (shipped, source) = (Shipped::default(), open(&fake, &store(), true, &more, ONE));
    ship(&source, &shipped).await.unwrap();
    each_once(&shipped, 1);
    let asked = fake.requests("eu-west-1");
    let attributes = serde_json::json!([{ "AttributeKey": "EventId", "AttributeValue": "this" }]);
    assert!(asked.iter().all(|asked| asked["LookupAttributes"] == attributes), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_estimate_is_near_what_there_is() {
    // Three in a second for five hours, all the time.
    let row = Row { first: now() - 18_000, each: 3, events: 54_000 };
    let fake = FakeHistory::start(row, Ways::default()).await;
    let source = open(&fake, &store(), true, FAST, ONE);
    let region = Region {
        client: source.client("eu-west-1"),
        source: String::new(),
        region: "eu-west-1".to_owned(),
        lookup: None,
        who: String::new(),
        ceiling: 100,
    };
    let range = Range { from: (now() - 18_000) * 1000, to: now() * 1000 };
    let pace = Pace::of("the estimate", Duration::ZERO);
    let estimate = estimate::look(&region, range, &pace).await.unwrap().unwrap();
    assert!(
        (2.5..3.5).contains(&estimate.rate) && (45_000.0..60_000.0).contains(&estimate.behind),
        "{estimate:?}"
    );
    // 140 in a second.
    let row = Row { first: now() - 18_000, each: 140, events: 2_520_000 };
    let fake = FakeHistory::start(row, Ways::default()).await;
    let region = Region { client: Fed { endpoint: fake.endpoint(), ..source }.client("eu-west-1"), ..region };
    let estimate = estimate::look(&region, range, &pace).await.unwrap().unwrap();
    assert!((130.0..150.0).contains(&estimate.rate), "{estimate:?}");
    assert!(estimate.words(100).unwrap_err().contains("can never catch up"));
}
