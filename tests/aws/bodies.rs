//! Every body that may stand on a queue, sent by moto's own S3, SNS and EventBridge where it can, else by hand.

use serde_json::{Value, json};

use crate::here::{ARCHIVE, record};
use crate::moto::{ACCOUNT, Moto, Queue, REGION, moto};
use crate::scene::{key, object, reading};

const ROOT: &str = "AWSLogs/";
const ONE: &str = "111111111111";

fn to_queue(queue: &Queue) -> String {
    let arn = &queue.arn;
    format!(
        "<QueueConfiguration><Id>q</Id><Queue>{arn}</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>"
    )
}

/// Through a topic, in SNS's envelope or raw.
fn to_topic(moto: &Moto, queue: &Queue, name: &str, raw: &str) -> String {
    let version = ("Version", "2010-03-31");
    moto.form("sns", &[("Action", "CreateTopic"), version, ("Name", name)]);
    let arn = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
    moto.form(
        "sns",
        &[
            ("Action", "Subscribe"),
            version,
            ("TopicArn", &arn),
            ("Protocol", "sqs"),
            ("Endpoint", &queue.arn),
            ("Attributes.entry.1.key", "RawMessageDelivery"),
            ("Attributes.entry.1.value", raw),
        ],
    );
    format!(
        "<TopicConfiguration><Id>t</Id><Topic>{arn}</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration>"
    )
}

/// Through EventBridge.
fn to_bridge(moto: &Moto, queue: &Queue) -> String {
    let pattern = json!({ "source": ["aws.s3"], "detail": { "bucket": { "name": ["bodies-bridge"] } } });
    moto.json(
        "events",
        "AWSEvents.PutRule",
        &json!({ "Name": "bodies", "EventPattern": pattern.to_string(), "State": "ENABLED" }),
    );
    let targets = json!({ "Rule": "bodies", "Targets": [{ "Id": "1", "Arn": queue.arn }] });
    moto.json("events", "AWSEvents.PutTargets", &targets);
    "<EventBridgeConfiguration></EventBridgeConfiguration>".to_owned()
}

fn sns(message: &str) -> String {
    json!({ "Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:x", "Message": message })
        .to_string()
}

#[test]
fn every_body_is_understood_and_what_is_not_ours_stays() {
    let Some(moto) = moto() else { return };
    let queue = moto.queue("bodies", &json!({}));
    let buckets = ["bodies-queue", "bodies-topic", "bodies-raw", "bodies-bridge", "bodies-own"];
    buckets.iter().for_each(|bucket| moto.bucket(bucket));
    moto.notify("bodies-queue", &to_queue(&queue));
    moto.notify("bodies-topic", &to_topic(moto, &queue, "enveloped", "false"));
    moto.notify("bodies-raw", &to_topic(moto, &queue, "raw", "true"));
    moto.notify("bodies-bridge", &to_bridge(moto, &queue));
    for bucket in buckets {
        moto.put(bucket, &key(ROOT, ONE, REGION, 5, "x"), &object(&[bucket]));
    }
    // A key that looks different escaped.
    moto.put("bodies-queue", &key("a b+c/AWSLogs/", ONE, REGION, 5, "y"), &object(&["odd-key"]));
    // CloudTrail's own, with several objects, one of them a digest.
    let more = key(ROOT, ONE, REGION, 6, "more");
    moto.put("bodies-own", &more, &object(&["bodies-own-2"]));
    let keys =
        [key(ROOT, ONE, REGION, 5, "x"), more.clone(), more.replace("/CloudTrail/", "/CloudTrail-Digest/")];
    let own = json!({ "s3Bucket": "bodies-own", "s3ObjectKey": keys }).to_string();
    let event: Value = serde_json::from_str(&record("an-event", "")).unwrap();
    let event = json!({ "version": "0", "id": "1", "source": "aws.ec2", "detail-type": "AWS API Call via CloudTrail", "detail": event });
    let foreign = json!({ "s3Bucket": "somebody-elses", "s3ObjectKey": [&more] }).to_string();
    for body in [
        sns(&own).as_str(),
        &event.to_string(),
        &sns("CloudTrail validation message."),
        &json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "bodies-own" }).to_string(),
        "what is this?",
        &foreign,
    ] {
        queue.send(body);
    }
    // moto: the test events of the notifications, one put in each of four buckets and one more, and six by hand.
    let (visible, _) = queue.count();
    assert!(visible >= 11, "only {visible} messages: {:?}", queue.peek());

    let source =
        format!("type = \"sqs\"\nqueue_url = \"{}\"\nbuckets = {:?}", queue.url, buckets.map(str::to_owned));
    let here = reading(&moto.endpoint(), &source, ARCHIVE);
    let ran = here.once();
    ran.ended(0);
    let expected = [
        "an-event",
        "bodies-bridge",
        "bodies-own",
        "bodies-own-2",
        "bodies-queue",
        "bodies-raw",
        "bodies-topic",
        "odd-key",
    ];
    assert_eq!(here.ids("out"), expected, "{}", ran.said);
    // What is not understood, and the other bucket's.
    assert_eq!(queue.count(), (0, 2), "{}", ran.said);
    assert!(ran.said.contains("stays on the queue") || ran.said.contains("`somebody-elses`"), "{}", ran.said);
}
