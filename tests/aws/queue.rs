//! The source `sqs` against moto: leases, failures, ends.

use std::fs;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::here::{ARCHIVE, Here, id};
use crate::moto::{Moto, Queue, REGION, moto};
use crate::scene::{BLOCKED, PROMPT, STDOUT, bulky, key, object, reading};

const ROOT: &str = "AWSLogs/";
const ONE: &str = "111111111111";

/// CloudTrail's own notification.
fn tell(queue: &Queue, bucket: &str, keys: &[String]) {
    queue.send(&json!({ "s3Bucket": bucket, "s3ObjectKey": keys }).to_string());
}

fn world(
    moto: &'static Moto,
    name: &str,
    attributes: &serde_json::Value,
    more: &str,
    sink: &str,
) -> (Queue, Here) {
    moto.bucket(name);
    let queue = moto.queue(name, attributes);
    let source = format!("type = \"sqs\"\nqueue_url = \"{}\"\nbuckets = [\"{name}\"]\n{more}", queue.url);
    let here = reading(&moto.endpoint(), &source, sink);
    (queue, here)
}

#[test]
fn a_lease_is_extended_as_long_as_the_sink_is_stalled() {
    let Some(moto) = moto() else { return };
    let (queue, here) = world(moto, "stalled", &json!({}), "lease = \"4s\"", STDOUT);
    let (bytes, ids) = bulky("stalled", 400);
    let at = key(ROOT, ONE, REGION, 5, "x");
    moto.put("stalled", &at, &bytes);
    tell(&queue, "stalled", &[at]);
    let mut running = here.start_unread(&["run"]);
    running.until("it has received the message", |_| queue.count() == (0, 1));
    let began = SystemTime::now();
    while began.elapsed().unwrap() < Duration::from_secs(10) {
        assert_eq!(queue.count(), (0, 1), "the lease was lost: {}", running.said());
        std::thread::sleep(Duration::from_millis(200));
    }
    running.read_on();
    running.until("it has deleted the message", |_| queue.count() == (0, 0));
    let ran = running.stop();
    ran.ended(0);
    let mut got: Vec<String> = String::from_utf8(ran.out.clone()).unwrap().lines().map(id).collect();
    got.sort();
    assert_eq!(got, ids, "{}", ran.said);
}

#[test]
fn a_message_is_given_back_at_a_stop() {
    let Some(moto) = moto() else { return };
    let (queue, here) = world(moto, "given-back", &json!({}), "lease = \"10m\"", STDOUT);
    let text = fs::read_to_string(here.at("trailship.toml")).unwrap();
    fs::write(here.at("trailship.toml"), format!("stop_deadline = \"1s\"\n{text}")).unwrap();
    let at = key(ROOT, ONE, REGION, 5, "x");
    moto.put("given-back", &at, &bulky("x", 400).0);
    tell(&queue, "given-back", &[at]);
    let mut running = here.start_unread(&["run"]);
    running.until("it has received the message", |_| queue.count() == (0, 1));
    std::thread::sleep(Duration::from_millis(500));
    running.signal(Signal::SIGTERM);
    let ran = running.end();
    assert_ne!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(queue.count(), (1, 0), "{}", ran.said);
}

#[test]
fn an_object_that_is_gone_goes_to_rejects_before_the_queue_takes_its_message_away() {
    let Some(moto) = moto() else { return };
    let dead = moto.queue("dead-letters", &json!({}));
    let redrive = json!({ "deadLetterTargetArn": dead.arn, "maxReceiveCount": "3" }).to_string();
    let (queue, here) = world(moto, "gone", &json!({ "RedrivePolicy": redrive }), "", ARCHIVE);
    let (there, gone) = (key(ROOT, ONE, REGION, 5, "there"), key(ROOT, ONE, REGION, 5, "gone"));
    moto.put("gone", &there, &object(&["there"]));
    tell(&queue, "gone", &[gone.clone(), there]);
    // Two others have had it: the next time is the last.
    assert_eq!((queue.peek().len(), queue.peek().len()), (1, 1));
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.ids("out"), ["there"]);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1, "{rejects:?}");
    assert_eq!(rejects[0].object, format!("s3://gone/{gone}"));
    assert!(rejects[0].reason.contains("is not there"), "{}", rejects[0].reason);
    assert_eq!(ran.told("is not there").len(), 1, "it was tried only once more: {}", ran.said);
    assert_eq!((queue.count(), dead.count()), ((0, 0), (0, 0)));
}

#[test]
fn killed_in_the_middle_nothing_is_lost() {
    let Some(moto) = moto() else { return };
    let (queue, here) = world(moto, "killed-queue", &json!({}), "lease = \"3s\"", PROMPT);
    let mut expected = Vec::new();
    for number in 0..40 {
        let ids = [1, 2, 3].map(|part| format!("{number:02}-{part}"));
        let at = key(ROOT, ONE, REGION, 5, &format!("{number:02}"));
        moto.put("killed-queue", &at, &object(&ids.each_ref().map(String::as_str)));
        tell(&queue, "killed-queue", &[at]);
        expected.extend(ids);
    }
    for pause in [300, 900] {
        let running = here.start(&["run"]);
        std::thread::sleep(Duration::from_millis(pause));
        running.signal(Signal::SIGKILL);
        running.end();
    }
    let mut running = here.start(&["run"]);
    // The runs before may have left nothing.
    running.until("the queue is empty", |said| said.contains("receiving") && queue.count() == (0, 0));
    let ran = running.stop();
    ran.ended(0);
    let mut ids = here.ids("out");
    ids.dedup();
    assert_eq!(ids, expected, "{}", ran.said);
}

#[test]
fn a_queue_that_is_not_there_is_told() {
    let Some(moto) = moto() else { return };
    let source = format!("type = \"sqs\"\nqueue_url = \"{}/123456789012/nowhere\"", moto.endpoint());
    let ran = reading(&moto.endpoint(), &source, ARCHIVE).once();
    ran.ended(1);
    assert!(ran.said.contains("there is no such place"), "{}", ran.said);
}

#[test]
fn a_sink_that_fails_counts_against_no_message() {
    let Some(moto) = moto() else { return };
    let dead = moto.queue("dead-blocked", &json!({}));
    let redrive = json!({ "deadLetterTargetArn": dead.arn, "maxReceiveCount": "2" }).to_string();
    let (queue, here) =
        world(moto, "blocked", &json!({ "RedrivePolicy": redrive }), "lease = \"6s\"", BLOCKED);
    let at = key(ROOT, ONE, REGION, 5, "x");
    moto.put("blocked", &at, &object(&["kept"]));
    tell(&queue, "blocked", &[at]);
    fs::write(here.at("blocked"), "not a folder").unwrap();
    let mut running = here.start(&["run"]);
    // Longer than a lease.
    let began = SystemTime::now();
    running.until("the sink was tried for a while", |said| {
        said.contains("Not a directory") && began.elapsed().unwrap() > Duration::from_secs(9)
    });
    assert_eq!((queue.count(), dead.count()), ((0, 1), (0, 0)), "{}", running.said());
    fs::remove_file(here.at("blocked")).unwrap();
    running.until("the queue is empty", |_| queue.count() == (0, 0));
    running.stop().ended(0);
    assert_eq!((here.ids("blocked"), here.rejects().len()), (vec!["kept".to_owned()], 0));
    assert_eq!(dead.count(), (0, 0));
}

#[test]
fn keys_are_found_whether_they_were_escaped_or_not() {
    let Some(moto) = moto() else { return };
    let (queue, here) = world(moto, "escapes", &json!({}), "", ARCHIVE);
    // The second looks like an escaped one, and stands beside what it would be then.
    let roots = ["a b+c/AWSLogs/", "a%20b+c/AWSLogs/"];
    let keys = roots.map(|root| key(root, ONE, REGION, 5, "x"));
    for (key, id) in keys.iter().zip(["plain", "looks-escaped"]) {
        moto.put("escapes", key, &object(&[id]));
    }
    let notified = |key: &str| {
        json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "escapes" }, "object": { "key": key } } }] })
    };
    // As S3 escapes, as nobody should but some do, and as CloudTrail and EventBridge write keys.
    let escaped = |key: &str| key.replace('%', "%25").replace('+', "%2B").replace(' ', "+");
    let bridge = json!({ "source": "aws.s3", "detail-type": "Object Created",
        "detail": { "bucket": { "name": "escapes" }, "object": { "key": keys[1] } } });
    let only = key("only+here/AWSLogs/", ONE, REGION, 5, "x");
    moto.put("escapes", &only, &object(&["not-escaped"]));
    for body in [notified(&escaped(&keys[0])), bridge, notified(&only)] {
        queue.send(&body.to_string());
    }
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ["looks-escaped", "not-escaped", "plain"], "{}", ran.said);
    assert_eq!((queue.count(), here.rejects().len()), ((0, 0), 0));
}

#[test]
fn two_pipelines_on_one_queue_each_get_everything() {
    let Some(moto) = moto() else { return };
    let (queue, here) = world(moto, "shared", &json!({}), "", ARCHIVE);
    let text = fs::read_to_string(here.at("trailship.toml")).unwrap();
    let second = "[sinks.second]\ntype = \"file\"\npath = \"second/{account}.ndjson\"\nrotate_age = \"1s\"\n\
                  [pipelines.one]\nsinks = [\"archive\"]\n[pipelines.two]\nsinks = [\"second\"]\n";
    fs::write(here.at("trailship.toml"), format!("{text}{second}")).unwrap();
    let ids: Vec<String> = (0..30).map(|number| format!("shared-{number:02}")).collect();
    for (number, id) in ids.iter().enumerate() {
        let at = key(ROOT, ONE, REGION, 5, &number.to_string());
        moto.put("shared", &at, &object(&[id]));
        tell(&queue, "shared", &[at]);
    }
    here.once().ended(0);
    assert_eq!((here.ids("out"), here.ids("second")), (ids.clone(), ids));
    assert_eq!(queue.count(), (0, 0));
}
