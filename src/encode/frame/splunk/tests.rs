use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::encode::sample::{checked, record, scanner, with_record};
use crate::encode::{Nested, Shape};
use crate::record::overlay::{Fragment, FragmentLeaf};

const ALL: Fields = Fields { account: true, environment: true, signals: true };

/// A frame with everything, and names that have to be escaped.
fn frame() -> Splunk {
    let stored = Stored {
        host: Some("a \"host\""),
        source: Some("s3://trail\\1\n"),
        sourcetype: Some("aws:cloudtrail"),
        index: Some("security"),
    };
    Splunk::new(stored, ALL)
}

fn leaf(keys: &[&str], index: Option<u32>, value: &str) -> FragmentLeaf {
    FragmentLeaf { keys: keys.iter().map(|&key| key.into()).collect(), index, value: value.as_bytes().into() }
}

/// What the transforms add: an account with tags, its environment, signals.
fn added(environment: Option<&str>, signals: &[String], once: bool) -> Overlay {
    let fragment = |leaves| Rc::new(if once { Fragment::once(leaves) } else { Fragment::shared(leaves) });
    let of_account = vec![
        leaf(&["name"], None, "\"pay\""),
        leaf(&["tags", "environment"], None, "\"a tag\""),
        leaf(&["tags", "signals"], None, "\"no signal\""),
    ];
    let mut added = vec![(Parent::Account, fragment(of_account))];
    if !signals.is_empty() {
        let leaves = (0..).zip(signals).map(|(index, signal)| {
            leaf(&["signals"], Some(index), &Value::from(signal.as_str()).to_string())
        });
        added.push((Parent::Root, fragment(leaves.collect())));
    }
    if let Some(environment) = environment {
        let first = leaf(&["environment"], None, "\"overruled\"");
        added.push((Parent::Account, fragment(vec![first])));
        let leaf = leaf(&["environment"], None, &Value::from(environment).to_string());
        added.push((Parent::Account, fragment(vec![leaf])));
    }
    Overlay { added, ..Overlay::default() }
}

/// Writes a record in a frame over what stood there before.
fn framed(
    frame: &Splunk,
    encoder: &mut Encoder,
    text: &str,
    (time, account): (Option<i64>, Option<Account>),
    overlay: &mut Overlay,
) -> String {
    let mut out = b"before, and much that was there and is of no meaning any more".repeat(3);
    let mut end = frame.before(time, &mut out, 6);
    with_record(&mut scanner(), text, overlay, |record| end = encoder.encode_at(record, &mut out, end));
    end = frame.after(&mut encoder.fields, account, overlay, &mut out, end);
    out.truncate(end);
    String::from_utf8(out.split_off(6)).unwrap()
}

fn encoder() -> Encoder {
    Encoder::new(Arc::new(Shape::Nested(Nested::default())))
}

fn account() -> Option<Account> {
    Account::parse(b"000000000042")
}

#[test]
fn an_event_has_its_time_what_is_configured_and_indexed_fields() {
    let mut overlay = added(Some("prod"), &["root_use".to_owned(), "login_failure".to_owned()], false);
    let mut encoder = encoder();
    let text = r#"{"eventID":"1","n":1.0E9}"#;
    let whole = framed(&frame(), &mut encoder, text, (Some(1_768_471_200), account()), &mut overlay);
    assert_eq!(
        whole,
        r#"{"time":1768471200,"host":"a \"host\"","source":"s3://trail\\1\n","sourcetype":"aws:cloudtrail","index":"security","event":"#
            .to_owned()
            + r#"{"eventID":"1","n":1.0E9,"trailship":{"account":{"name":"pay","tags":{"environment":"a tag","signals":"no signal"},"#
            + r#""environment":"overruled","environment":"prod"},"signals":["root_use","login_failure"]}}"#
            + r#","fields":{"account":"000000000042","environment":"prod","signals":["root_use","login_failure"]}}"#
    );
    // What is not known and not configured is left out.
    let bare = Splunk::new(Stored::default(), ALL);
    let plain = framed(&bare, &mut encoder, text, (None, None), &mut Overlay::default());
    assert_eq!(plain, format!(r#"{{"event":{text}}}"#));
    let negative = framed(&bare, &mut encoder, text, (Some(-1), account()), &mut Overlay::default());
    assert_eq!(negative, format!(r#"{{"event":{text},"fields":{{"account":"000000000042"}}}}"#));
    let zero = framed(&bare, &mut encoder, text, (Some(0), None), &mut Overlay::default());
    assert_eq!(zero, format!(r#"{{"time":0,"event":{text}}}"#));
}

#[test]
fn only_the_fields_that_are_wanted_are_indexed() {
    let mut encoder = encoder();
    let signals = ["a".to_owned()];
    let only = [
        (Fields { account: true, ..Fields::default() }, json!({ "account": "000000000042" })),
        (Fields { environment: true, ..Fields::default() }, json!({ "environment": "prod" })),
        (Fields { signals: true, ..Fields::default() }, json!({ "signals": ["a"] })),
        (Fields::default(), Value::Null),
        (ALL, json!({ "account": "000000000042", "environment": "prod", "signals": ["a"] })),
    ];
    // One encoder serves several sinks.
    for (fields, expected) in only.iter().chain(&only) {
        let frame = Splunk::new(Stored::default(), *fields);
        let mut overlay = added(Some("prod"), &signals, false);
        let whole = framed(&frame, &mut encoder, "{}", (None, account()), &mut overlay);
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(whole["fields"], *expected, "{fields:?}");
    }
}

proptest! {
    #[test]
    fn what_is_framed_is_one_object_whose_event_is_the_record(
        texts in prop::collection::vec(record(), 1..4),
        time in prop::option::of(any::<i64>()),
        number in prop::option::of(0u64..1_000_000_000_000),
        environment in prop::option::of(".{0,12}"),
        signals in prop::collection::vec(".{0,12}", 0..4),
        once in any::<bool>(),
    ) {
        let mut encoder = encoder();
        let account = number.and_then(|number| Account::parse(format!("{number:012}").as_bytes()));
        for text in &texts {
            let mut overlay = added(environment.as_deref(), &signals, once);
            let whole = framed(&frame(), &mut encoder, text, (time, account), &mut overlay);
            let mut alone = Vec::new();
            with_record(&mut scanner(), text, &mut overlay, |record| encoder.encode(record, &mut alone));
            let alone = String::from_utf8(alone).unwrap();
            let inside = format!(",\"event\":{alone}");
            prop_assert!(whole.contains(&inside));
            let whole = checked(&whole);
            prop_assert_eq!(&whole["event"], &serde_json::from_str::<Value>(&alone).unwrap());
            prop_assert_eq!(whole["time"].as_i64(), time.filter(|time| *time >= 0));
            let fields = &whole["fields"];
            prop_assert_eq!(fields["account"].as_str().map(str::to_owned), number.map(|number| format!("{number:012}")));
            prop_assert_eq!(fields["environment"].as_str(), environment.as_deref());
            let listed: Vec<&str> = fields["signals"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            prop_assert_eq!(listed, signals.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
