//! Commands that read a bucket: `cat`, `enqueue`, `replay --source`; and ranges of time.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::fake_s3::{FakeS3, Kind, Run};
use crate::here::{Here, Ran, id};
use crate::moto::{REGION, moto};
use crate::scene::PROMPT;

/// A bucket of two accounts, an object every ten minutes of the last two days; its newest minute.
fn bucket(runtime: &Runtime) -> (FakeS3, i64) {
    let newest = jiff::Timestamp::now().as_second() / 60 - 5;
    let keys = 288;
    let run = |account: u64| Run {
        prefix: format!("AWSLogs/{account}/CloudTrail/eu-west-1/"),
        first: newest - 10 * (keys - 1),
        every: 10,
        keys: u64::try_from(keys).unwrap(),
    };
    let runs = vec![run(111_111_111_111), run(222_222_222_222)];
    (runtime.block_on(FakeS3::start(runs, Duration::from_millis(2), |_| None)), newest)
}

fn here(fake: &FakeS3, sqs: &str, source: &str) -> Here {
    Here::with("").reading(&format!("{source}\naws.path_style = true"), PROMPT).knowing([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", REGION),
        ("AWS_ENDPOINT_URL_S3", &fake.endpoint()),
        ("AWS_ENDPOINT_URL_SQS", sqs),
    ])
}

const TRAIL: &str = "type = \"s3\"\nbucket = \"trail\"";

/// A minute as it is written on a command line.
fn time(minute: i64) -> String {
    jiff::Timestamp::from_second(minute * 60).unwrap().to_string()
}

/// Ids of an account's last so many objects, without those of the last few.
fn ids(account: &str, last: u64, but: u64) -> impl Iterator<Item = String> {
    (288 - last..288 - but).map(move |number| format!("{account}-{number}"))
}

fn of_both(last: u64, but: u64) -> Vec<String> {
    let mut all: Vec<String> =
        ["111111111111", "222222222222"].iter().flat_map(|account| ids(account, last, but)).collect();
    all.sort();
    all
}

fn printed(ran: &Ran) -> Vec<String> {
    let mut all: Vec<String> = String::from_utf8(ran.out.clone()).unwrap().lines().map(id).collect();
    all.sort();
    all
}

#[test]
fn cat_prints_what_a_bucket_holds_since_a_time() {
    let runtime = Runtime::new().unwrap();
    let (fake, _) = bucket(&runtime);
    let here = here(&fake, "", TRAIL);
    // By delivery; the events of these objects are older than any `--since` that is not `beginning`.
    let one = here.run(&["cat", "s3://trail/AWSLogs/111111111111", "--since", "beginning"]);
    one.ended(0);
    let mut expected: Vec<String> = ids("111111111111", 288, 0).collect();
    expected.sort();
    assert_eq!(printed(&one), expected, "{}", one.said);
    let gets = fake.count(Kind::Get);
    here.run(&["cat", "s3://trail", "--since", "1h"]).ended(0);
    assert_eq!(fake.count(Kind::Get) - gets, 12, "what was delivered before is not fetched");
    let nowhere = here.run(&["cat", "s3://trail/nowhere", "--since", "1h"]);
    assert_eq!(nowhere.out, b"", "{}", nowhere.said);
    let nameless = here.run(&["cat", "s3://"]);
    assert!(nameless.said.contains("there is no bucket in `s3://`"), "{}", nameless.said);
}

#[test]
fn enqueue_shares_a_range_among_readers_of_a_queue_and_goes_on_where_it_was() {
    let Some(moto) = moto() else { return };
    let runtime = Runtime::new().unwrap();
    let (fake, newest) = bucket(&runtime);
    let queue = moto.queue("backfill", &json!({}));
    let source = format!("type = \"sqs\"\nqueue_url = \"{}\"", queue.url);
    let here = here(&fake, &moto.endpoint(), &source);
    // From the 30th before the last up to the 10th, without that.
    let (since, until) = (time(newest - 290), time(newest - 90));
    let command = [
        "enqueue",
        "s3://trail",
        "--queue",
        &queue.url,
        "--since",
        &since,
        "--until",
        &until,
        "--data-dir",
        "sent",
    ];
    let began = std::time::SystemTime::now();
    let mut slow = here.start(&[&command[..], &["--rate", "10"]].concat());
    slow.until("some are sent", |_| queue.count().0 >= 10);
    slow.signal(Signal::SIGKILL);
    slow.end();
    let sent = queue.count().0;
    assert!(sent < 40, "the rate is not kept: {sent} in {:?}", began.elapsed());
    let ran = here.run(&command);
    ran.ended(0);
    assert!(ran.said.contains("objects are on the queue"), "{}", ran.said);
    // What was being sent when it was killed is sent again.
    let (all, _) = queue.count();
    assert!((40..=50).contains(&all), "{all} messages");
    let again = here.run(&command);
    again.ended(0);
    assert_eq!(queue.count().0, all, "{}", again.said);

    let ran = here.once();
    ran.ended(0);
    let mut shipped = here.ids("out");
    shipped.dedup();
    assert_eq!((shipped, queue.count()), (of_both(30, 10), (0, 0)));
}

#[test]
fn a_range_is_shipped_again_and_leaves_the_cursors_alone() {
    let runtime = Runtime::new().unwrap();
    let (fake, newest) = bucket(&runtime);
    let here = here(&fake, "", TRAIL);
    let first = here.once();
    first.ended(0);
    assert_eq!(here.ids("out"), of_both(6, 0));
    let (from, to) = (time(newest - 290), time(newest - 90));
    let only = r#"{"recipientAccountId":["222222222222"]}"#;
    for _ in 0..2 {
        // The same range can be asked for again.
        std::fs::remove_dir_all(here.at("out")).unwrap();
        let ran = here.run(&["replay", "--source", "trail", "--from", &from, "--to", &to, "--match", only]);
        ran.ended(0);
        let mut expected: Vec<String> = ids("222222222222", 30, 10).collect();
        expected.sort();
        assert_eq!(here.ids("out"), expected, "{}", ran.said);
    }
    assert_eq!(here.once().ended(0).books().read, 0, "the source's own cursors were moved");
}

#[test]
fn a_backfill_that_was_killed_goes_on_where_it_was_beside_a_live_source() {
    let runtime = Runtime::new().unwrap();
    let (fake, newest) = bucket(&runtime);
    let range = format!("{TRAIL}\nsince = \"{}\"\nuntil = \"{}\"", time(newest - 2000), time(newest + 1));
    let here = here(&fake, "", &range);
    let text = std::fs::read_to_string(here.at("trailship.toml")).unwrap();
    let live = text.replace(&range, TRAIL);
    // First the live one.
    std::fs::write(here.at("trailship.toml"), &live).unwrap();
    here.once().ended(0);
    assert_eq!(here.ids("out").len(), 12);
    std::fs::write(here.at("trailship.toml"), &text).unwrap();
    let mut fetched = fake.count(Kind::Get);
    let mut running = here.start(&["run"]);
    running.until("some of it is shipped", |_| fake.count(Kind::Get) > fetched + 50);
    running.signal(Signal::SIGKILL);
    running.end();
    let rest = here.once();
    rest.ended(0);
    let mut shipped = here.ids("out");
    shipped.dedup();
    assert_eq!(shipped, of_both(201, 0), "{}", rest.said);
    fetched = fake.count(Kind::Get);
    assert_eq!(here.once().ended(0).books().read, 0, "a range that was shipped is over");
    std::fs::write(here.at("trailship.toml"), &live).unwrap();
    assert_eq!(here.once().ended(0).books().read, 0, "the live cursors were moved");
    assert_eq!(fake.count(Kind::Get), fetched);
}
