//! Whose buckets the source `sqs` reads: a message may name any.

use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;

use crate::fake_s3::{Asked, FakeS3, Fault, Kind};
use crate::here::{ARCHIVE, Here};
use crate::moto::{ACCOUNT, Moto, Queue, REGION, moto};
use crate::scene::{key, object};

const ROOT: &str = "AWSLogs/";
const ONE: &str = "111111111111";

/// A program that reads a queue of moto's and the buckets of a fake.
fn reading(moto: &'static Moto, fake: &FakeS3, queue: &Queue, more: &str) -> Here {
    let source = format!("type = \"sqs\"\nqueue_url = \"{}\"\naws.path_style = true\n{more}", queue.url);
    Here::with("").reading(&source, ARCHIVE).knowing([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", REGION),
        ("AWS_ENDPOINT_URL_SQS", &moto.endpoint()),
        ("AWS_ENDPOINT_URL_S3", &fake.endpoint()),
    ])
}

/// As S3 answers: `theirs` is not the account's that is asked for, whatever it is called.
fn owned(asked: &Asked<'_>) -> Option<Fault> {
    let expected = asked.header("x-amz-expected-bucket-owner");
    let is_refused = match asked.bucket() {
        "ours" => expected.is_some_and(|account| account != ACCOUNT),
        _ => expected.is_some_and(|account| account == ACCOUNT),
    };
    is_refused.then_some(Fault::Refused("AccessDenied"))
}

#[test]
fn without_buckets_only_those_of_the_queues_own_account_are_read() {
    let Some(moto) = moto() else { return };
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, owned));
    let queue = moto.queue("owners", &json!({}));
    let (log, other) = (key(ROOT, ONE, REGION, 5, "x"), "secrets/of-another-kind.json.gz".to_owned());
    fake.put(&log, object(&["ours"]));
    fake.put(&other, object(&["no-log"]));
    for (bucket, key) in [("theirs", &log), ("ours", &log), ("ours", &other)] {
        queue.send(&json!({ "s3Bucket": bucket, "s3ObjectKey": [key] }).to_string());
    }
    // More of them than requests can be made at once.
    for number in 0..70 {
        queue.send(&json!({ "s3Bucket": format!("theirs-{number}"), "s3ObjectKey": [&log] }).to_string());
    }
    let here = reading(moto, &fake, &queue, "");
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ["ours"], "{}", ran.said);
    assert_eq!((queue.count(), here.rejects().len()), ((0, 72), 0), "{}", ran.said);
    assert_eq!(fake.asked(Kind::Head, &other) + fake.asked(Kind::Get, &other), 0);
    for words in ["may not be read by", "has no key of CloudTrail's"] {
        assert_eq!(ran.told(words).len(), 1, "only the first is told: {}", ran.said);
    }
}

#[test]
fn buckets_that_are_named_are_read_whoever_owns_them_and_no_other() {
    let Some(moto) = moto() else { return };
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, owned));
    let queue = moto.queue("named", &json!({}));
    let log = key(ROOT, ONE, REGION, 5, "x");
    fake.put(&log, object(&["theirs"]));
    for bucket in ["theirs", "ours"] {
        queue.send(&json!({ "s3Bucket": bucket, "s3ObjectKey": [&log] }).to_string());
    }
    let here = reading(moto, &fake, &queue, "buckets = [\"theirs\"]");
    let ran = here.once();
    ran.ended(0);
    assert_eq!((here.ids("out"), queue.count()), (vec!["theirs".to_owned()], (0, 1)), "{}", ran.said);
    assert!(ran.said.contains("names bucket `ours`"), "{}", ran.said);
}

#[test]
fn a_record_of_another_account_than_its_keys_is_marked() {
    let Some(moto) = moto() else { return };
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, owned));
    let queue = moto.queue("marked", &json!({}));
    // The records of these tests are of account 111122223333.
    for account in [ONE, "111122223333"] {
        let log = key(ROOT, account, REGION, 5, "x");
        fake.put(&log, object(&[account]));
        queue.send(&json!({ "s3Bucket": "ours", "s3ObjectKey": [&log] }).to_string());
    }
    let here = reading(moto, &fake, &queue, "");
    here.once().ended(0);
    let lines: Vec<serde_json::Value> =
        here.lines("out").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        let origin = &line["trailship"]["origin"];
        let expected = if line["eventID"] == ONE { json!(true) } else { json!(null) };
        assert_eq!(origin["other_account"], expected, "{line}");
    }
}
