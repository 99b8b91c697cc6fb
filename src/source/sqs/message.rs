//! What a message on the queue means: which objects it tells of, an event itself, or nothing for us.
//!
//! Recognised, in any nesting up to the limit of envelopes: S3 notifications, S3's test event, EventBridge's
//! `Object Created`, CloudTrail's own notification, SNS envelopes around any of them, and CloudTrail events that EventBridge
//! sends. Nothing in a message but bucket, key, size and tag is used; no address in it is ever opened.
//!
//! Source: S3 User Guide, *Event message structure* and *EventBridge event message structure*; CloudTrail User Guide,
//! *Configuring Amazon SNS notifications*.

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Envelopes inside each other, at most.
const ENVELOPES: usize = 4;

/// An object a message tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) bucket: String,
    pub(super) key: String,
    /// The key read the other way (escaped or not), where that is another one.
    pub(super) other_key: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) tag: Option<String>,
    /// What orders messages about one key.
    pub(super) sequencer: Option<String>,
}

/// What a message means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Objects were made.
    Objects(Vec<Told>),
    /// It is itself a CloudTrail event, in EventBridge's envelope: this text.
    Event(String),
    /// It asks for nothing: a test, a subscription's validation, an object that was removed. Why.
    Nothing(&'static str),
    /// It cannot be understood: why.
    Unknown(&'static str),
}

/// Reads a message's body.
pub(super) fn read(body: &str) -> Meaning {
    let mut text = body.to_owned();
    for _ in 0..=ENVELOPES {
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            // CloudTrail and SNS say hello in words.
            let hello = text.contains("validation message") || text.contains("You have chosen to subscribe");
            return if hello {
                Meaning::Nothing("a validation message")
            } else {
                Meaning::Unknown("it is not JSON")
            };
        };
        if is(&value, "Type", "SubscriptionConfirmation") || is(&value, "Type", "UnsubscribeConfirmation") {
            return Meaning::Nothing("a subscription's confirmation");
        }
        if is(&value, "Type", "Notification")
            && let Some(message) = value.get("Message").and_then(Value::as_str)
        {
            text = message.to_owned();
            continue;
        }
        return inner(&value, text);
    }
    Meaning::Unknown("it has too many envelopes")
}

fn inner(value: &Value, text: String) -> Meaning {
    if is(value, "Event", "s3:TestEvent") {
        return Meaning::Nothing("a test event of S3");
    }
    if let Some(records) = value.get("Records").and_then(Value::as_array) {
        return notification(records);
    }
    if let (Some(bucket), Some(keys)) = (text_of(value, "s3Bucket"), value.get("s3ObjectKey")) {
        let keys: Vec<&str> = match keys {
            Value::Array(keys) => keys.iter().filter_map(Value::as_str).collect(),
            Value::String(key) => vec![key],
            _ => return Meaning::Unknown("its `s3ObjectKey` is no list"),
        };
        return objects(
            keys.into_iter().map(|key| Told { bucket: bucket.clone(), ..told(key, false) }).collect(),
        );
    }
    let kind = text_of(value, "detail-type").unwrap_or_default();
    if is(value, "source", "aws.s3") {
        let detail = value.get("detail").unwrap_or(&Value::Null);
        let (bucket, object) = (detail.get("bucket"), detail.get("object"));
        let (Some(bucket), Some(object)) = (bucket, object) else {
            return Meaning::Unknown("its `detail` has no object");
        };
        if kind != "Object Created" {
            return Meaning::Nothing("an event of S3 that is no new object");
        }
        let (Some(bucket), Some(key)) = (text_of(bucket, "name"), text_of(object, "key")) else {
            return Meaning::Unknown("its `detail` has no bucket or key");
        };
        return objects(vec![Told {
            bucket,
            size: object.get("size").and_then(Value::as_u64),
            tag: text_of(object, "etag"),
            sequencer: text_of(object, "sequencer"),
            ..told(&key, false)
        }]);
    }
    let is_event = value.get("detail").is_some_and(|detail| detail.get("eventVersion").is_some());
    if kind.ends_with("via CloudTrail") || is_event {
        return Meaning::Event(text);
    }
    Meaning::Unknown("nothing in it is known")
}

fn notification(records: &[Value]) -> Meaning {
    let mut found = Vec::new();
    for record in records {
        if !is(record, "eventSource", "aws:s3") {
            return Meaning::Unknown("its `Records` are not of S3");
        }
        let name = text_of(record, "eventName").unwrap_or_default();
        if !name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
            continue;
        }
        let (bucket, object) = (record.pointer("/s3/bucket"), record.pointer("/s3/object"));
        let (Some(bucket), Some(object)) = (bucket, object) else {
            return Meaning::Unknown("a record has no object");
        };
        let (Some(bucket), Some(key)) = (text_of(bucket, "name"), text_of(object, "key")) else {
            return Meaning::Unknown("a record has no bucket or key");
        };
        found.push(Told {
            bucket,
            size: object.get("size").and_then(Value::as_u64),
            tag: text_of(object, "eTag"),
            sequencer: text_of(object, "sequencer"),
            ..told(&key, true)
        });
    }
    if found.is_empty() { Meaning::Nothing("objects that were removed or tagged") } else { objects(found) }
}

fn objects(found: Vec<Told>) -> Meaning {
    if found.is_empty() { Meaning::Nothing("no objects") } else { Meaning::Objects(found) }
}

/// A key, and how it would be the other way.
fn told(written: &str, is_escaped: bool) -> Told {
    let plain = written.replace('+', " ");
    let plain = percent_decode_str(&plain)
        .decode_utf8()
        .map_or_else(|_| written.to_owned(), |text| text.into_owned());
    let (key, other) = if is_escaped { (plain, written.to_owned()) } else { (written.to_owned(), plain) };
    let other_key = (other != key).then_some(other);
    Told { key, other_key, ..Told::default() }
}

fn is(value: &Value, key: &str, expected: &str) -> bool {
    value.get(key).and_then(Value::as_str) == Some(expected)
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(body: &Value) -> Told {
        match read(&body.to_string()) {
            Meaning::Objects(told) if told.len() == 1 => told.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn s3(key: &str, name: &str) -> Value {
        json!({ "Records": [{ "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name,
            "s3": { "bucket": { "name": "b" }, "object": { "key": key, "size": 7, "eTag": "t", "sequencer": "0A" } } }] })
    }

    fn sns(message: &Value) -> Value {
        json!({ "Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:x", "Message": message.to_string() })
    }

    #[test]
    fn every_body_that_tells_of_objects_is_understood_alike() {
        let bridge = json!({ "source": "aws.s3", "detail-type": "Object Created",
            "detail": { "bucket": { "name": "b" }, "object": { "key": "AWSLogs/a b", "size": 7, "etag": "t", "sequencer": "0A" } } });
        let own = json!({ "s3Bucket": "b", "s3ObjectKey": ["AWSLogs/a b"] });
        let notified = s3("AWSLogs/a+b", "ObjectCreated:Put");
        let moto = s3("AWSLogs%2Fa%20b", "ObjectCreated:CompleteMultipartUpload");
        for body in [notified, moto, bridge, own] {
            for body in [body.clone(), sns(&body), sns(&sns(&body))] {
                let told = one(&body);
                assert_eq!((told.bucket.as_str(), told.key.as_str()), ("b", "AWSLogs/a b"), "{body}");
            }
        }
    }

    #[test]
    fn a_key_is_kept_the_other_way_too() {
        let told = one(&s3("a%2Bb+c", "ObjectCreated:Put"));
        assert_eq!((told.key.as_str(), told.other_key.as_deref()), ("a+b c", Some("a%2Bb+c")));
        assert_eq!(one(&s3("plain", "ObjectCreated:Put")).other_key, None);
    }

    #[test]
    fn several_objects_in_a_message_are_all_found() {
        let body = json!({ "s3Bucket": "b", "s3ObjectKey": ["1", "2", "3"] });
        assert!(matches!(read(&body.to_string()), Meaning::Objects(told) if told.len() == 3));
    }

    #[test]
    fn what_asks_for_nothing_and_what_is_not_understood_are_told_apart() {
        for nothing in [
            json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b" }).to_string(),
            json!({ "Type": "Notification", "Message": "CloudTrail validation message." }).to_string(),
            json!({ "Type": "SubscriptionConfirmation", "SubscribeURL": "https://example.com" }).to_string(),
            s3("k", "ObjectRemoved:Delete").to_string(),
            json!({ "source": "aws.s3", "detail-type": "Object Deleted", "detail": { "bucket": {}, "object": {} } }).to_string(),
        ] {
            assert!(matches!(read(&nothing), Meaning::Nothing(_)), "{nothing}");
        }
        let mut deep = s3("k", "ObjectCreated:Put");
        (0..6).for_each(|_| deep = sns(&deep));
        for unknown in [
            "",
            "hello",
            "[]",
            "{}",
            "{\"Records\":[{}]}",
            "{\"s3Bucket\":\"b\",\"s3ObjectKey\":1}",
            &deep.to_string(),
        ] {
            assert!(matches!(read(unknown), Meaning::Unknown(_)), "{unknown}");
        }
    }

    #[test]
    fn events_that_eventbridge_sends_are_shipped_themselves() {
        for kind in [
            "AWS API Call via CloudTrail",
            "AWS Console Sign In via CloudTrail",
            "AWS Service Event via CloudTrail",
        ] {
            let body = json!({ "source": "aws.ec2", "detail-type": kind, "detail": { "eventVersion": "1.08", "eventID": "1" } });
            assert_eq!(read(&body.to_string()), Meaning::Event(body.to_string()));
        }
    }
}
