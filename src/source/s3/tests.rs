//! What listing costs, against a fake S3.

#[allow(dead_code, reason = "shared with tests/aws.rs")]
#[path = "../../../tests/support/fake_s3.rs"]
mod fake_s3;

use std::sync::atomic::AtomicBool;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

use self::fake_s3::{FakeS3, Kind, Run};
use super::*;
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::pipeline::room::Room;
use crate::source::piped::Pipe;
use crate::state::Store;

fn bucket(fake: &FakeS3) -> Arc<Bucket> {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(fake.endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .build();
    Arc::new(Bucket {
        client: aws_sdk_s3::Client::from_conf(config),
        name: "trail".to_owned(),
        payer: None,
        owner: None,
        who: "a test".to_owned(),
        readable: AtomicBool::new(true),
    })
}

/// Takes and settles what the source lends.
async fn ship(source: Arc<S3>, shipped: Arc<AtomicU64>) {
    while let Ok(Some(lent)) = source.next(100).await {
        shipped.fetch_add(lent.len() as u64, Ordering::SeqCst);
        let settled = lent.iter().map(|lent| settled(lent, Verdict::Delivered, Note::None));
        source.settle(settled.collect()).await.unwrap();
    }
}

/// Waits until a number stands still for longer than the source rests.
async fn settles(number: impl Fn() -> u64) -> u64 {
    let mut before = u64::MAX;
    for _ in 0..60 {
        let now = number();
        if now == before && now > 0 {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }
    before
}

/// A source of a bucket, and where its state is.
fn source(fake: &FakeS3, clock: &Clock) -> (Arc<S3>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), clock).unwrap();
    (source_with(fake, clock, store, ""), folder)
}

/// The same with a state and settings of its own.
fn source_with(fake: &FakeS3, clock: &Clock, store: Store, more: &str) -> Arc<S3> {
    let config: Config = toml::from_str(&format!("bucket = \"trail\"\nevery = \"1s\"\n{more}")).unwrap();
    let (clock, store, stdin) = (clock.clone(), Arc::new(store), Pipe::empty());
    let room = Room::apart(64 << 20);
    let build = Build { pipeline: "main", name: "trail", store, clock, once: false, stdin, room };
    let source = S3::build(&config, &build).unwrap();
    assert!(source.open.set(source.begin(bucket(fake))).is_ok());
    Arc::new(source)
}

/// Partitions in as many accounts, each with so many keys five minutes apart, the last of them five minutes ago.
fn accounts(number: u64, keys: u64) -> Vec<Run> {
    let last = Clock::System.now().seconds() / 60 - 5;
    let first = last - 5 * (i64::try_from(keys).unwrap() - 1);
    let prefix = |number| format!("AWSLogs/{}/CloudTrail/eu-west-1/", 100_000_000_000 + number);
    (0..number).map(|number| Run { prefix: prefix(number), first, every: 5, keys }).collect()
}

fn settled(lent: &Delivery, verdict: Verdict, note: Note) -> Settled {
    Settled { id: lent.id, key: DeliveryKey::of(&lent.identity), verdict, note, books: Books::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_costs_one_request_for_each_partition_at_midnight_too() {
    // 23:59 of a leap day: a day, a month and 20,000 keys of each partition end.
    let midnight = "2024-03-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let clock = Clock::manual(Timestamp::from_seconds(midnight - 60));
    let runs: Vec<Run> = (0..50)
        .map(|number| Run {
            prefix: format!("AWSLogs/{:012}/CloudTrail/eu-west-1/", 100_000_000_000_u64 + number),
            first: midnight / 60 - 5 * 20_000,
            every: 5,
            keys: 20_000,
        })
        .collect();
    let fake = FakeS3::start(runs.clone(), Duration::ZERO, |_| None).await;
    let (source, _folder) = source(&fake, &clock);
    let shipped = Arc::new(AtomicU64::new(0));
    let shipping = tokio::spawn(ship(source.clone(), shipped.clone()));

    assert_eq!(settles(|| fake.count(Kind::List)).await, 50);
    // From 22:59 on: 23:00, 23:05, … 23:55.
    assert_eq!(shipped.load(Ordering::SeqCst), 50 * 12);
    let folders = fake.count(Kind::Folders);

    // 00:01: new ones of a new day, and a late one of the old.
    let minute = |number: u64, first: i64| Run { first, keys: number + 1, ..runs[0].clone() }.key(number);
    fake.put(&minute(1, midnight / 60 - 5), b"{}".to_vec());
    fake.put(&minute(0, midnight / 60 - 7), b"{}".to_vec());
    clock.advance(Duration::from_secs(120));
    assert_eq!(settles(|| fake.count(Kind::List)).await, 100);
    assert_eq!(shipped.load(Ordering::SeqCst), 50 * 12 + 2);
    // New partitions are looked for again, a folder a second; the clock stands.
    assert_eq!(fake.count(Kind::Folders), folders + 1);
    shipping.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_failed_is_lent_again_soon_also_when_nothing_new_comes() {
    let fake = FakeS3::start(Vec::new(), Duration::ZERO, |_| None).await;
    let prefix = "AWSLogs/123456789012/CloudTrail/eu-west-1/";
    let first = Clock::System.now().seconds() / 60 - 5;
    fake.put(&Run { prefix: prefix.to_owned(), first, every: 1, keys: 1 }.key(0), b"{}".to_vec());
    let (source, _folder) = source(&fake, &Clock::System);
    let lent = source.next(10).await.unwrap().unwrap();
    assert_eq!((lent.len(), lent[0].failures), (1, 0));
    let again = tokio::spawn({
        let source = source.clone();
        async move { source.next(10).await.unwrap().unwrap() }
    });
    // It waits already when the failure is told.
    tokio::time::sleep(Duration::from_millis(200)).await;
    source.settle(vec![settled(&lent[0], Verdict::Failed, Note::Object("gone".into()))]).await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(20), again).await.unwrap().unwrap();
    assert_eq!((again.len(), again[0].failures), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_cannot_be_remembered_stops_the_source() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), &Clock::System).unwrap());
    let fake = FakeS3::start(accounts(1, 3), Duration::ZERO, |_| None).await;
    let store = Store::read_only(folder.path(), &Clock::System).unwrap();
    let source = source_with(&fake, &Clock::System, store, "");
    let ended = tokio::time::timeout(Duration::from_secs(20), source.next(10)).await.unwrap();
    // Nothing is lent that would be forgotten.
    assert!(matches!(&ended, Err(SourceError::Stop(why)) if why.contains("reading")), "{ended:?}");
    assert!(source.trouble().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_listed_in_an_hour_than_is_allowed_and_new_partitions_are_found_all_the_same() {
    let fake = FakeS3::start(accounts(3, 3), Duration::ZERO, |_| None).await;
    let (folder, began) = (tempfile::tempdir().unwrap(), tokio::time::Instant::now());
    let store = Store::open(folder.path(), &Clock::System).unwrap();
    // Two in a second; three partitions alone would take three in a second, and each look for new ones eight more.
    let source = source_with(&fake, &Clock::System, store, "max_list_per_hour = 7200");
    let shipped = Arc::new(AtomicU64::new(0));
    let shipping = tokio::spawn(ship(source.clone(), shipped.clone()));
    while shipped.load(Ordering::SeqCst) < 9 || began.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", source.trouble());
    }
    let lists = fake.count(Kind::List) + fake.count(Kind::Folders);
    let most = began.elapsed().as_secs() * 2 + 3;
    assert!((11..=most).contains(&lists), "{lists} of {most}");
    assert_eq!(source.figures().lists, Some(lists));
    shipping.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_for_new_partitions_that_takes_long_is_not_begun_twice() {
    // Fifty accounts at a folder a second: longer than the ten seconds between two looks.
    let fake = FakeS3::start(accounts(50, 1), Duration::ZERO, |_| None).await;
    let (source, _folder) = source(&fake, &Clock::System);
    let shipping = tokio::spawn(ship(source.clone(), Arc::default()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let first = fake.count(Kind::Folders);
    assert!((100..=110).contains(&first), "{first}");
    tokio::time::sleep(Duration::from_secs(24)).await;
    let (all, of_root) = (fake.count(Kind::Folders), fake.asked(Kind::Folders, ""));
    assert!((first + 8..=first + 18).contains(&all), "{first}, then {all}");
    assert_eq!(of_root, 2);
    shipping.abort();
}

/// What is fetched of an object, as the pipeline does: the pieces, and why there are no more.
async fn fetched(lent: &Delivery) -> (u64, Result<(), crate::source::FetchError>) {
    let Body::Remote(remote) = &lent.body else { panic!("{lent:?}") };
    let size = match remote.size() {
        Some(size) => size,
        None => remote.ask_size().await.unwrap(),
    };
    let mut at = 0;
    let mut open = match remote.open(0).await {
        Ok(open) => open,
        Err(error) => return (0, Err(error)),
    };
    loop {
        match open.next().await {
            Ok(Some(piece)) => at += piece.len() as u64,
            Ok(None) if at >= size => return (at, Ok(())),
            Ok(None) => match remote.open(at).await {
                Ok(next) => open = next,
                Err(error) => return (at, Err(error)),
            },
            Err(error) => return (at, Err(error)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_became_shorter_after_it_was_listed_is_fetched_as_it_is_the_next_time() {
    let fake = FakeS3::start(Vec::new(), Duration::ZERO, |_| None).await;
    let key = accounts(1, 1)[0].key(0);
    fake.put(&key, vec![b'x'; 1000]);
    let (source, _folder) = source(&fake, &Clock::System);
    let lent = source.next(10).await.unwrap().unwrap();
    fake.put(&key, vec![b'x'; 10]);
    let (bytes, ended) = fetched(&lent[0]).await;
    assert!(
        matches!(&ended, Err(crate::source::FetchError::Object(why)) if why.contains("replaced")),
        "{ended:?}"
    );
    assert_eq!(bytes, 0);
    source.settle(vec![settled(&lent[0], Verdict::Failed, Note::Object("replaced".into()))]).await.unwrap();
    let again =
        tokio::time::timeout(Duration::from_secs(20), source.next(10)).await.unwrap().unwrap().unwrap();
    let (bytes, ended) = fetched(&again[0]).await;
    assert_eq!((bytes, ended, again[0].failures), (10, Ok(()), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_of_another_bucket_are_not_taken_for_this_ones() {
    let fake = FakeS3::start(accounts(1, 3), Duration::ZERO, |_| None).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), &Clock::System).unwrap());
    let of = |bucket: &str| {
        let config: Config = toml::from_str(&format!("bucket = \"{bucket}\"")).unwrap();
        let (clock, store, stdin) = (Clock::System, store.clone(), Pipe::empty());
        let room = Room::apart(64 << 20);
        S3::build(&config, &Build { pipeline: "main", name: "trail", store, clock, once: false, stdin, room })
    };
    let source = of("trail").unwrap();
    assert!(source.open.set(source.begin(bucket(&fake))).is_ok());
    assert_eq!(source.next(10).await.unwrap().unwrap()[0].failures, 0);
    drop(source);
    assert!(of("trail").is_ok());
    let error = of("another").err().unwrap().to_string();
    assert!(error.contains("bucket `trail` until now") && error.contains("state rm main/trail"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_new_account_got_while_nobody_looked_is_shipped() {
    let fake = FakeS3::start(Vec::new(), Duration::ZERO, |_| None).await;
    let folder = tempfile::tempdir().unwrap();
    let began = Clock::System.now().seconds();
    let clock = Clock::manual(Timestamp::from_seconds(began));
    let first = source_with(&fake, &clock, Store::open(folder.path(), &clock).unwrap(), "");
    assert!(tokio::time::timeout(Duration::from_secs(2), first.next(10)).await.is_err(), "there is nothing");
    let Some(mut first) = Arc::into_inner(first) else { panic!("somebody else has it") };
    if let Some(open) = first.open.take() {
        open.task.abort();
        let _ = open.task.await;
    }
    drop(first);
    // An hour later an account comes, five hours later somebody looks.
    let run = Run {
        prefix: "AWSLogs/123456789012/CloudTrail/eu-west-1/".to_owned(),
        first: began / 60 + 60,
        every: 1,
        keys: 1,
    };
    fake.put(&run.key(0), b"{}".to_vec());
    fake.put(&Run { first: began / 60 - 90, ..run.clone() }.key(0), b"{}".to_vec());
    clock.advance(Duration::from_hours(5));
    let second = source_with(&fake, &clock, Store::open(folder.path(), &clock).unwrap(), "");
    let lent =
        tokio::time::timeout(Duration::from_secs(20), second.next(10)).await.unwrap().unwrap().unwrap();
    let addresses: Vec<&str> = lent.iter().map(|lent| &*lent.origin.address).collect();
    assert_eq!(addresses, [format!("s3://trail/{}", run.key(0))], "and not what came before the first start");
}
