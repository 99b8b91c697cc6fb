//! The shapes a record comes in.

use super::*;

fn three() -> Vec<String> {
    (1..=3).map(|id| record(id, r#","unknownField":{"z":1,"a":"é\u00e9\/"}"#)).collect()
}

#[track_caller]
fn gives(stored: &str, records: &[String], format: Format) -> Out {
    let out = whole(stored.as_bytes());
    assert_eq!(out.records, records, "{:?}", out.damages);
    assert_eq!(out.damages, []);
    assert_eq!(out.summary.format, format);
    assert!(!out.summary.incomplete);
    assert_eq!(run(small(), stored.as_bytes(), 1).records, records);
    out
}

#[test]
fn a_log_file_gives_its_records_byte_for_byte() {
    gives(&file(&three()), &three(), Format::Records);
    gives(&format!("\u{feff} \r\n{}\n", file(&three())), &three(), Format::Records);
    gives(
        &file(&three()).replace(',', " ,\n\t"),
        &three().map_text(|text| text.replace(',', " ,\n\t")),
        Format::Records,
    );
}

#[test]
fn records_may_stand_anywhere_in_the_object_more_than_once_and_escaped() {
    let [a, b, c]: [String; 3] = three().try_into().unwrap();
    let all = [a.clone(), b.clone(), c.clone()];
    gives(
        &format!(r#"{{"x":{{"y":[1,{{}}]}},"n":-1.5e3,"Records":[{a},{b},{c}],"z":[{{"Records":1}}]}}"#),
        &all,
        Format::Records,
    );
    gives(&format!(r#"{{"Records":[{a}],"x":null,"Records":[{b},{c}]}}"#), &all, Format::Records);
    gives(
        &format!(r#"{{"\u0052ecords":[{a}],"Recor\u0064s":[],"Records":[{b},{c}]}}"#),
        &all,
        Format::Records,
    );
    gives(&format!(r#"{{"Records":null,"Records":[{a},{b},{c}]}}"#), &all, Format::Records);
    let late = format!(r#"{{"filler":"{}","Records":[{a},{b},{c}]}}"#, "0123456789".repeat(1000));
    gives(&late, &all, Format::Records);
}

#[test]
fn an_escaped_key_makes_no_difference_to_a_record() {
    let odd = record(1, "").replace("eventID", r"event\u0049D");
    gives(&file(std::slice::from_ref(&odd)), std::slice::from_ref(&odd), Format::Records);
    let bare = r#"{"event\u0049D":"1","awsRegion":"x"}"#.to_owned();
    gives(&bare, std::slice::from_ref(&bare), Format::Bare);
}

#[test]
fn arrays_bare_records_and_lines_are_told_by_content() {
    gives(&format!("[{}]", three().join(",\n")), &three(), Format::Array);
    gives(&three()[0], &three()[..1], Format::Bare);
    gives(&three().join("\n"), &three(), Format::Lines);
    gives(&format!("\n\n{}\r\n \r\n\n", three().join("\r\n\r\n")), &three(), Format::Lines);
    gives(&three().join(""), &three(), Format::Bare);
    let indented: Vec<String> =
        three().iter().map(|text| text.replace(r#","eventN"#, ",\n  \"eventN")).collect();
    gives(&indented.join("\n"), &indented, Format::Lines);
    gives(
        &three().iter().map(|one| file(std::slice::from_ref(one))).collect::<Vec<_>>().join("\n"),
        &three(),
        Format::Lines,
    );
}

#[test]
fn the_other_kinds_of_records_need_nothing_special() {
    let insight = r#"{"eventVersion":"1.07","eventTime":"2020-09-01T16:55:00Z","awsRegion":"us-east-1","eventID":"f","eventType":"AwsCloudTrailInsight","insightDetails":{"state":"Start"},"eventCategory":"Insight"}"#;
    let network = r#"{"eventVersion":"1.09","userIdentity":{},"eventID":"n","eventType":"AwsVpceEvents","eventCategory":"NetworkActivity"}"#;
    let aggregated = r#"{"eventVersion":"1.0","accountId":"111122223333","eventId":"62759c1a","eventCategory":"Aggregated","eventType":"AwsAggregatedEvent"}"#;
    let all = [insight, network, aggregated].map(str::to_owned);
    gives(&file(&all), &all, Format::Records);
    gives(&format!("[{}]", all.join(",")), &all, Format::Array);
    gives(&all.join("\n"), &all, Format::Lines);
}

#[test]
fn an_eventbridge_envelope_gives_its_detail() {
    let envelope = |detail: &str| {
        format!(
            r#"{{"version":"0","id":"1","detail-type":"AWS API Call via CloudTrail","source":"aws.iam","resources":[],"detail":{detail}}}"#
        )
    };
    let sorted = format!(
        r#"{{"account":"1", "detail" : {} , "detail-type":"AWS Console Sign In via CloudTrail"}}"#,
        three()[0]
    );
    gives(&sorted, &three()[..1], Format::EventBridge);
    gives(&envelope(&three()[0]), &three()[..1], Format::EventBridge);
    let lines: Vec<String> = three().iter().map(|text| envelope(text)).collect();
    gives(&lines.join("\n"), &three(), Format::Lines);
    gives(&format!("[{}]", lines.join(",")), &three(), Format::Array);
    let other = whole(br#"{"detail-type":"EC2 Instance State-change Notification","detail":{"state":"x"}}"#);
    assert_eq!((other.records.len(), other.damages.len()), (0, 1));
}

fn payload(kind: &str, messages: &[String]) -> String {
    let events: Vec<serde_json::Value> =
        messages.iter().map(|text| serde_json::json!({"id": "1", "timestamp": 1, "message": text})).collect();
    serde_json::json!({"messageType": kind, "owner": "1", "logGroup": "g", "logStream": "s", "logEvents": events}).to_string()
}

#[test]
fn a_subscription_payload_gives_its_messages() {
    gives(&payload("DATA_MESSAGE", &three()), &three(), Format::CloudWatchLogs);
    let sorted = payload("DATA_MESSAGE", &three()).replace(r#""messageType":"DATA_MESSAGE","#, "");
    gives(&sorted, &three(), Format::CloudWatchLogs);
    let two = payload("DATA_MESSAGE", &three());
    gives(&format!("{two}{two}"), &[three(), three()].concat(), Format::CloudWatchLogs);
    gives(&format!("{two}\n{two}\n"), &[three(), three()].concat(), Format::Lines);
}

#[test]
fn an_event_told_at_once_is_what_its_members_tell() {
    let id =
        |digits: usize| format!(r#"{{"id":"{}","timestamp":1432826855000,"message":"#, "3".repeat(digits));
    let usual = [id(56), id(1), id(0), r#"{"id":"1","timestamp":1,"message":"#.to_owned()];
    let others = [
        r#"{"id":1,"timestamp":1,"message":"#.to_owned(),
        r#"{"id":"x","timestamp":1,"message":"#.to_owned(),
        r#"{"id":"1","timestamp":01,"message":"#.to_owned(),
        r#"{"id":"1","timestamp":1.5,"message":"#.to_owned(),
        r#"{"id":"1", "timestamp":1,"message":"#.to_owned(),
        r#"{"message":"#.to_owned(),
        id(65),
    ];
    let (message, foreign) =
        (serde_json::to_string(&three()[0]).unwrap(), r#""CWL CONTROL MESSAGE""#.to_owned());
    for head in usual.iter().chain(&others) {
        for message in
            [&message, &foreign, &message[..50].to_owned(), &r#""{\"eventVersion\":\"\ud800""#.to_owned()]
        {
            for tail in ["}", "", " }", r#","x":1}"#] {
                let event = format!("{head}{message}{tail}");
                let (mut once, mut members) = (Vec::new(), Vec::new());
                let told = shape::log_event(event.as_bytes(), 0, &mut once);
                let is_usual = usual.contains(head) && message.len() > 100 && tail == "}";
                assert_eq!(told.is_some(), is_usual, "{event}");
                if let Some(shape::Shape::Text { length, .. }) = told {
                    assert_eq!(told, Some(shape::of(event.as_bytes(), 0, true, &mut members)), "{event}");
                    assert_eq!(once[..length], members[..length]);
                }
            }
        }
    }
}

#[test]
fn a_control_message_is_left_out_and_a_foreign_message_is_damage_of_its_own() {
    let control = whole(payload("CONTROL_MESSAGE", &["CWL CONTROL MESSAGE: Checking".into()]).as_bytes());
    assert_eq!((control.left_out.as_slice(), control.damages.len()), (["control message"].as_slice(), 0));
    let late =
        r#"{"logEvents":[{"message":"CWL CONTROL MESSAGE: Checking"}],"messageType":"CONTROL_MESSAGE"}"#;
    assert_eq!(whole(late.as_bytes()).left_out, ["control message"]);

    let [a, b, c]: [String; 3] = three().try_into().unwrap();
    let foreign =
        [a.clone(), "START RequestId: 1\nsecond".into(), b.clone(), r#"{"level":"info"}"#.into(), c.clone()];
    let text = payload("DATA_MESSAGE", &foreign);
    let out = whole(text.as_bytes());
    assert_eq!(out.records, [a, b, c]);
    assert_eq!(out.damages[0].0, b"START RequestId: 1\nsecond");
    assert_eq!(out.damages.len(), 2);
    // The address is the log event's, in the payload.
    let address = &out.addresses[0];
    let event = &text[usize::try_from(address.offset).unwrap()..][..usize::try_from(address.length).unwrap()];
    assert!(event.starts_with(r#"{"id""#) && event.ends_with('}') && event.contains("START"), "{event}");
    assert_eq!(out.numbers, [0, 2, 4]);
}

#[test]
fn a_message_that_ends_inside_a_record_is_told_as_such_wherever_it_is_cut() {
    let [a, b, ..]: [String; 3] = three().try_into().unwrap();
    for cut in (1..a.len()).filter(|cut| a.is_char_boundary(*cut)) {
        let out = whole(payload("DATA_MESSAGE", &[a[..cut].to_owned(), b.clone()]).as_bytes());
        assert_eq!(out.records, std::slice::from_ref(&b), "{cut}");
        let expected = (a.as_bytes()[..cut].to_vec(), "the object ends inside a record".to_owned());
        assert_eq!(out.damages, [expected], "{cut}");
    }
}

#[test]
fn records_in_strings_are_taken_out_at_most_so_deep() {
    let [a, ..]: [String; 3] = three().try_into().unwrap();
    let wrap = |key: &str, text: &str| serde_json::json!({"Type": "Notification", key: text}).to_string();
    for key in ["_raw", "message", "Message", "CloudTrailEvent"] {
        gives(&wrap(key, &a), std::slice::from_ref(&a), Format::Wrapped);
    }
    gives(&wrap("_raw", &file(&three())), &three(), Format::Wrapped);
    let lookup = format!(r#"{{"Events":[{}],"NextToken":"x"}}"#, wrap("CloudTrailEvent", &a));
    gives(&lookup, std::slice::from_ref(&a), Format::Lookup);
    let mut deep = a.clone();
    for depth in 1..=6 {
        deep = wrap("message", &deep);
        let out = whole(deep.as_bytes());
        assert_eq!(
            (out.records.len(), out.damages.len()),
            if depth <= 4 { (1, 0) } else { (0, 1) },
            "{depth}"
        );
    }
}

#[test]
fn messages_take_no_memory_beside_their_window() {
    let big: Vec<String> =
        (0..40).map(|id| record(id, &format!(r#","x":"{}""#, "y".repeat(200 << 10)))).collect();
    let out = whole(payload("DATA_MESSAGE", &big).as_bytes());
    assert_eq!(out.records, big);
    assert!(out.capacity <= 8 << 20, "{}", out.capacity);
}

#[test]
fn a_digest_is_left_out() {
    let digest = r#"{"awsAccountId":"1","digestStartTime":"a","digestEndTime":"b","digestS3Bucket":"c","digestS3Object":"d","logFiles":[{"s3Object":"x"},{"s3Object":"y"}]}"#;
    for text in [digest.to_owned(), format!("{digest}\n"), gz_text(digest)] {
        let out = whole(text.as_bytes());
        assert_eq!((out.left_out.len(), out.records.len(), out.damages.len()), (1, 0, 0));
        assert_eq!(out.summary.format, Format::Digest);
    }
    assert_eq!(run(small(), digest.repeat(3).as_bytes(), 7).left_out, ["digest"; 3]);
    assert_eq!(whole(&digest.as_bytes()[..digest.len() - 5]).damages.len(), 1);
}

fn gz_text(text: &str) -> String {
    // A digest is told by its content, however its blanks stand.
    text.replace(',', ",\n ")
}

trait MapText {
    fn map_text(self, change: impl Fn(String) -> String) -> Vec<String>;
}

impl MapText for Vec<String> {
    fn map_text(self, change: impl Fn(String) -> String) -> Vec<String> {
        self.into_iter().map(change).collect()
    }
}

#[test]
fn nothing_at_all_is_no_damage() {
    for text in ["", " \n\r\n", r#"{"Records":[]}"#, "{ \"Records\" : [ ] }\n", "[]", "\u{feff}"] {
        let out = whole(text.as_bytes());
        assert_eq!((out.records.len(), out.damages.len(), out.summary.incomplete), (0, 0, false), "{text:?}");
    }
}

#[test]
fn a_plain_object_whose_first_value_ends_with_it_is_used_up() {
    for length in [100_usize, 70_000, 100_000, 1_000_000] {
        let bare = record(1, &format!(r#","pad":"{}""#, "x".repeat(length)));
        assert_eq!(whole(bare.as_bytes()).records, std::slice::from_ref(&bare), "{length}");
        let torn = &bare[..bare.len() - 1];
        let out = whole(torn.as_bytes());
        assert!(out.records.is_empty() && out.summary.incomplete, "{length}");
    }
}
