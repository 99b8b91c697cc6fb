//! The source `kinesis` against a fake that holds to the service's limits: throttling, expired iterators, trimmed
//! checkpoints, resharding, answers that fail.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::fake_kinesis::{FakeKinesis, Rules};
use crate::here::{ARCHIVE, Here, record};
use crate::kinesis::names;
use crate::scene::{PROMPT, reading};

/// The server, as long as this is there, and a directory whose program reads it from its oldest record on.
fn world(shards: usize, rules: Rules, sink: &str) -> (Runtime, FakeKinesis, Here) {
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeKinesis::start(shards, rules, None));
    let source = "type = \"kinesis\"\nstream = \"trail\"\nfrom = \"trim_horizon\"";
    let here = reading(&fake.endpoint(), source, sink);
    (runtime, fake, here)
}

fn put(fake: &FakeKinesis, shard: usize, ids: &[String]) {
    for id in ids {
        fake.put(shard, record(id, "").as_bytes(), Duration::ZERO);
    }
}

#[test]
fn limits_are_kept_to_and_a_large_shard_is_read_whole() {
    let (_runtime, fake, here) = world(2, Rules::default(), ARCHIVE);
    let pad = format!(r#","pad":"{}""#, "abcdefgh".repeat(4000));
    let ids = names("large", 500);
    for (at, id) in ids.iter().enumerate() {
        fake.put(at % 2, record(id, &pad).as_bytes(), Duration::from_secs(60));
    }
    let began = std::time::SystemTime::now();
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids);
    let counts = fake.counts();
    assert_eq!(counts.throttled.load(Ordering::SeqCst), 0, "{counts:?}");
    // 8 MB a shard, of which 2 MB may come at once.
    assert!(began.elapsed().unwrap() > Duration::from_millis(700), "{counts:?}");
}

#[test]
fn refusals_expired_iterators_and_errors_cost_time_and_nothing_else() {
    let rules = Rules { expires_every: 3, fails_every: 11, blank_every: 13, ..Rules::default() };
    let (_runtime, fake, here) = world(3, rules, PROMPT);
    let mut expected = Vec::new();
    let mut running = here.start(&["run"]);
    for round in 0..4 {
        for shard in 0..3 {
            let ids = names(&format!("{round}-{shard}"), 5);
            put(&fake, shard, &ids);
            expected.extend(ids);
        }
        expected.sort();
        running.until("all are there", |_| here.ids("out") == expected);
    }
    assert!(fake.counts().expired.load(Ordering::SeqCst) > 3, "{:?}", fake.counts());
    running.stop().ended(0);
    // Somebody else reads the same shards: what is refused is asked for again.
    fake.rule(|rules| (rules.expires_every, rules.fails_every) = (0, 0));
    let mut others = here.start(&["run"]);
    let copy =
        reading(&fake.endpoint(), "type = \"kinesis\"\nstream = \"trail\"\nfrom = \"trim_horizon\"", PROMPT);
    let pad = format!(r#","pad":"{}""#, "abcdefgh".repeat(12_000));
    let big = names("big", 60);
    for id in &big {
        fake.put(0, record(id, &pad).as_bytes(), Duration::ZERO);
    }
    let mut second = copy.start(&["run"]);
    expected.extend(big);
    expected.sort();
    others.until("all are there", |_| here.ids("out") == expected);
    second.until("the other has them, too", |_| copy.ids("out") == expected);
    assert!(fake.counts().throttled.load(Ordering::SeqCst) > 0, "{:?}", fake.counts());
    others.stop().ended(0);
    second.stop().ended(0);
}

#[test]
fn a_checkpoint_that_was_trimmed_is_told_as_loss_with_its_range() {
    for refuses_trimmed in [false, true] {
        let (_runtime, fake, here) = world(1, Rules { refuses_trimmed, ..Rules::default() }, ARCHIVE);
        let day = Duration::from_secs(86_400);
        for id in names("old", 5) {
            fake.put(0, record(&id, "").as_bytes(), day * 3);
        }
        // Only what was settled counts, not what was known to be everything: that is long ago.
        let ran = here.once();
        ran.ended(0);
        assert!(!ran.said.contains("LOST"), "{}", ran.said);
        forget_tip(&here);
        for id in names("lost", 5) {
            fake.put(0, record(&id, "").as_bytes(), day * 2);
        }
        put(&fake, 0, &names("new", 5));
        fake.trim(0, 10);
        let ran = here.once();
        ran.ended(0);
        assert_eq!(here.ids("out"), [names("new", 5), names("old", 5)].concat());
        let told = ran.told("LOST: the stream has trimmed records");
        assert_eq!(told.len(), 1, "{}", ran.said);
        assert_eq!((&told[0]["after"], &told[0]["before"]), (&"1005".into(), &"1011".into()), "{}", told[0]);
        assert!(told[0]["after_time"].as_str() < told[0]["before_time"].as_str(), "{}", told[0]);
        // A checkpoint of a moment ago says that nothing is missing, although its record is not there.
        put(&fake, 0, &names("newest", 2));
        fake.trim(0, 5);
        let ran = here.once();
        ran.ended(0);
        assert!(!ran.said.contains("LOST") && here.ids("out").len() == 12, "{}", ran.said);
    }
}

/// As if nothing had been known of the shard since its last record.
fn forget_tip(here: &Here) {
    let store = trailship::state::Store::open(&here.at("state"), &trailship::clock::Clock::System).unwrap();
    let mut ops = Vec::new();
    store
        .each("kinesis/main/trail", |key, value| {
            let mut value: serde_json::Value = serde_json::from_slice(value).unwrap();
            if value.get("tip").is_some() {
                value["tip"] = 0.into();
                let value = serde_json::to_vec(&value).unwrap();
                ops.push(trailship::state::Op::Put {
                    space: "kinesis/main/trail".into(),
                    key: key.to_vec(),
                    value,
                });
            }
        })
        .unwrap();
    store.commit(&ops).unwrap();
}

#[test]
fn children_are_read_after_their_parents_while_it_runs_and_in_a_later_run() {
    let (_runtime, fake, here) = world(2, Rules::default(), PROMPT);
    let mut expected = names("parent-0", 30);
    put(&fake, 0, &expected);
    let mut running = here.start(&["run"]);
    running.until("the parent is read", |_| here.ids("out").len() == 30);
    let [one, two] = fake.reshard(&[0], 2)[..] else { panic!("two children") };
    for (shard, name) in [(one, "child-1"), (two, "child-2"), (1, "parent-1")] {
        let ids = names(name, 20);
        put(&fake, shard, &ids);
        expected.extend(ids);
    }
    running.until("the children are read", |_| here.ids("out").len() == expected.len());
    running.stop().ended(0);
    // Two are merged, and the one they became is split while nobody looks.
    let [merged] = fake.reshard(&[1, two], 1)[..] else { panic!("one child") };
    put(&fake, merged, &names("merged", 20));
    let [third, fourth] = fake.reshard(&[merged], 2)[..] else { panic!("two children") };
    put(&fake, third, &names("third", 20));
    put(&fake, fourth, &names("fourth", 20));
    let ran = here.once();
    ran.ended(0);
    expected.extend([names("merged", 20), names("third", 20), names("fourth", 20)].concat());
    expected.sort();
    assert_eq!(here.ids("out"), expected, "{}", ran.said);
    let at = |shard: usize| {
        let id = format!("\"shard\":\"{}\"", crate::fake_kinesis::shard_id(shard));
        ran.said.lines().position(|line| line.contains("reading a shard") && line.contains(&id)).unwrap()
    };
    let settled = ran.said.lines().enumerate().filter(|(_, line)| line.contains("it is closed"));
    let settled: Vec<usize> = settled.map(|(at, _)| at).collect();
    assert!(settled.len() == 3 && settled[1] < at(merged) && settled[2] < at(third), "{}", ran.said);
    assert_eq!(here.once().ended(0).books().read, 0);
    let shown = here.run(&["state", "show", "main/trail"]);
    assert!(String::from_utf8(shown.out).unwrap().matches("closed").count() == 4);
}

#[test]
fn lag_is_told_for_each_shard() {
    let (_runtime, fake, here) = world(2, Rules::default(), crate::scene::STDOUT);
    put(&fake, 0, &names("one", 3));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    here.set(&format!("telemetry.listen = \"127.0.0.1:{port}\""));
    let mut running = here.start(&["run"]);
    let metrics = || {
        use std::io::{Read as _, Write as _};
        let mut text = String::new();
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            stream.read_to_string(&mut text).unwrap();
        }
        text
    };
    running.until("both shards have a lag, and three records were read", |_| {
        let text = metrics();
        let lag = |shard| format!("trailship_source_shard_lag_seconds{{pipeline=\"main\",source=\"trail\",shard=\"shardId-00000000000{shard}\"}} 0");
        text.contains(&lag(0))
            && text.contains(&lag(1))
            && text.contains("trailship_source_shards{pipeline=\"main\",source=\"trail\"} 2")
            && text.contains("trailship_source_stream_records_total{pipeline=\"main\",source=\"trail\"} 3")
    });
    running.stop().ended(0);
}
