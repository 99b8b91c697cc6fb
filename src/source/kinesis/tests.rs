//! The source as a library, against a fake stream.

#[allow(
    dead_code,
    unreachable_pub,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "shared with tests/aws.rs and the bench; times are positive and small"
)]
#[path = "../../../tests/support/fake_kinesis.rs"]
mod fake_kinesis;

use std::time::Duration;

use self::fake_kinesis::{FakeKinesis, Rules};
use super::*;
use crate::ack::{Note, Verdict};
use crate::clock::Clock;
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::source::piped::Pipe;
use crate::state::Store;

/// A source of the fake's stream, which is read from its oldest record on.
fn source(fake: &FakeKinesis, store: &Arc<Store>, room: Room, once: bool) -> Kinesis {
    let config: Config = toml::from_str("stream = \"trail\"").unwrap();
    let (store, clock) = (store.clone(), Clock::System);
    let build = Build { pipeline: "main", name: "stream", store, clock, once, stdin: Pipe::empty(), room };
    let source = Kinesis::build(&config, &build).unwrap();
    assert!(source.open.set(open(&source, fake)).is_ok());
    source
}

/// What [`Kinesis::open`] does, with credentials of its own.
fn open(source: &Kinesis, fake: &FakeKinesis) -> Open {
    let stream = Arc::new(Stream::fake(&fake.endpoint()));
    let (to, found) = mpsc::channel(FOUND);
    let means = Means {
        stream: stream.clone(),
        desk: source.desk.clone(),
        room: source.room.clone(),
        to,
        at_once: Arc::new(Semaphore::new(AT_ONCE)),
        begin: None,
        once: source.once.then(|| source.desk.now()),
    };
    let task = tokio::spawn(Overseer { means, known: source.known.clone() }.run());
    Open { stream, found: tokio::sync::Mutex::new(found), task }
}

fn end(delivery: &Delivery, verdict: Verdict) -> Settled {
    let key = DeliveryKey::of(&delivery.identity);
    Settled { id: delivery.id, key, verdict, note: Note::None, books: Books::default() }
}

fn packed(number: usize) -> Vec<u8> {
    // What is packed is lent alone.
    [b"\x1f\x8b\x08\0".as_slice(), number.to_string().as_bytes()].concat()
}

async fn lent(source: &Kinesis, number: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < number {
        let next = tokio::time::timeout(Duration::from_secs(60), source.next(100)).await.unwrap();
        all.extend(next.unwrap().unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept() {
    let fake = FakeKinesis::start(3, Rules { throttles: false, ..Rules::default() }, None).await;
    for number in 0..24 {
        let parts: Vec<Vec<u8>> = (0..3).map(|part| packed(number * 10 + part)).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        match number % 2 {
            0 => fake.put(number % 3, &packed(number), Duration::ZERO),
            _ => fake.put(number % 3, &kpl::aggregated(&parts), Duration::ZERO),
        }
    }
    let store = Arc::new(Store::in_memory(&Clock::System).unwrap());
    let room = Room::apart(64 << 20);
    let open = || source(&fake, &store, room.clone(), true);
    assert_eq!(crate::testing::contract::source(open, 12 + 36, 5).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_an_aggregated_record_is_where_the_next_run_goes_on() {
    let fake = FakeKinesis::start(1, Rules::default(), None).await;
    let parts: Vec<Vec<u8>> = (0..8).map(packed).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    fake.put(0, &kpl::aggregated(&parts), Duration::ZERO);
    fake.put(0, &packed(9), Duration::ZERO);
    let store = Arc::new(Store::in_memory(&Clock::System).unwrap());
    let room = Room::apart(64 << 20);
    let kept = || {
        let value = store.get("kinesis/main/stream", b"shardId-000000000000").unwrap();
        value.and_then(|value| Checkpoint::read(&value)).unwrap_or_default().shown()
    };
    let address = |delivery: &Delivery| delivery.origin.address.rsplit('/').next().unwrap().to_owned();
    let first = source(&fake, &store, room.clone(), false);
    let got = lent(&first, 9).await;
    let addresses: Vec<String> = got.iter().map(address).collect();
    assert_eq!(
        (addresses[0].as_str(), addresses[7].as_str(), addresses[8].as_str()),
        ("1001#0", "1001#7", "1002")
    );
    // All but the fifth part.
    let most = got.iter().enumerate().filter(|(at, _)| *at != 4);
    first.settle(most.map(|(_, delivery)| end(delivery, Verdict::Delivered)).collect()).await.unwrap();
    assert_eq!(kept(), "1001#3");
    drop(first);
    let second = source(&fake, &store, room.clone(), true);
    let got = lent(&second, 1).await;
    // What was settled behind it is remembered, too.
    assert_eq!(got.iter().map(address).collect::<Vec<_>>(), ["1001#4"]);
    // One that fails is read again: that part, and nothing else.
    second.settle(vec![end(&got[0], Verdict::Failed)]).await.unwrap();
    let again = lent(&second, 1).await;
    assert_eq!(again.iter().map(address).collect::<Vec<_>>(), ["1001#4"]);
    let Body::Bytes(bytes) = &again[0].body else { panic!("bytes") };
    assert_eq!(bytes, &packed(4));
    assert_eq!(kept(), "1001#3");
    second.settle(vec![end(&again[0], Verdict::Delivered)]).await.unwrap();
    assert_eq!(kept(), "1002");
    drop((got, again));
    assert!(second.next(10).await.unwrap().is_none());
}

/// Nobody takes what is read: what is held is no more than the room, and others are served when it is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_and_not_taken_is_bounded() {
    let fake = FakeKinesis::start(4, Rules { throttles: false, ..Rules::default() }, None).await;
    for number in 0..200 {
        fake.put(number % 4, &[packed(number), vec![b'x'; 400_000]].concat(), Duration::ZERO);
    }
    let store = Arc::new(Store::in_memory(&Clock::System).unwrap());
    let room = Room::apart(32 << 20);
    let source = source(&fake, &store, room.clone(), true);
    let read = || fake.counts().bytes.load(std::sync::atomic::Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Half of the budget ahead of the workers, and what was on its way.
    assert!(read() <= 40 << 20, "{}", read());
    let mut shipped = 0;
    while let Some(lent) = source.next(10).await.unwrap() {
        shipped += lent.len();
        source.settle(lent.iter().map(|delivery| end(delivery, Verdict::Delivered)).collect()).await.unwrap();
    }
    assert_eq!(shipped, 200);
}

/// Leases were used until now. What was shipped meanwhile is known to their table alone, so the stream is read since the first
/// run began; a run that is broken off then does not change that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_from_leases_the_stream_is_read_again_since_it_began() {
    let fake = FakeKinesis::start(2, Rules { throttles: false, ..Rules::default() }, None).await;
    (0..6).for_each(|number| fake.put(number % 2, &packed(number), Duration::ZERO));
    let store = Arc::new(Store::in_memory(&Clock::System).unwrap());
    let table = keep::Kept { name: "leases".to_owned(), ids: vec!["one".to_owned()] };
    let before = Begun { stream: "trail".to_owned(), from: None, table: Some(table) };
    Ledger::of(store.clone(), "main", "stream").begin(&before).await.unwrap();
    let room = Room::apart(64 << 20);
    for (left, settled) in [(6, 0), (6, 2), (4, 4)] {
        let source = source(&fake, &store, room.clone(), true);
        let begun = source.begin(&Stream::fake(&fake.endpoint())).await.unwrap();
        assert_eq!((begun.from, begun.table), (None, None), "and not from `latest`, as configured");
        let got = lent(&source, left).await;
        assert_eq!(got.len(), left);
        let ends = got.iter().take(settled).map(|delivery| end(delivery, Verdict::Delivered));
        source.settle(ends.collect()).await.unwrap();
    }
    assert!(source(&fake, &store, room, true).next(10).await.unwrap().is_none());
}

/// What was shipped last is not in the stream any more, and runs are broken off while they find their place anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trimmed_checkpoint_everything_that_is_there_is_read_whoever_is_killed() {
    for refuses_trimmed in [false, true] {
        let rules = Rules { throttles: false, refuses_trimmed, ..Rules::default() };
        let fake = FakeKinesis::start(1, rules, None).await;
        (0..10).for_each(|number| fake.put(0, &packed(number), Duration::ZERO));
        let store = Arc::new(Store::in_memory(&Clock::System).unwrap());
        let room = Room::apart(64 << 20);
        // The first three are settled, and the first five are trimmed then.
        for (left, settled, trimmed) in [(10, 3, 5), (5, 0, 0), (5, 2, 0), (3, 0, 3), (2, 2, 0)] {
            let source = source(&fake, &store, room.clone(), true);
            let got = lent(&source, left).await;
            assert_eq!(got.len(), left);
            let ends = got.iter().take(settled).map(|delivery| end(delivery, Verdict::Delivered));
            source.settle(ends.collect()).await.unwrap();
            drop(source);
            fake.trim(0, trimmed);
        }
        assert!(source(&fake, &store, room, true).next(10).await.unwrap().is_none());
    }
}
