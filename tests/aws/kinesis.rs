//! The source `kinesis` against moto: a log group's subscription, aggregated records, checkpoints.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::fake_kinesis::aggregated;
use crate::here::{ARCHIVE, Here, gz, log_file, record};
use crate::moto::{ACCOUNT, Moto, REGION, moto};
use crate::scene::{PROMPT, reading};

/// A stream of moto's.
pub(crate) struct Stream {
    moto: &'static Moto,
    name: String,
}

impl Stream {
    pub(crate) fn new(moto: &'static Moto, name: &str, shards: u32) -> Stream {
        let stream = Stream { moto, name: name.to_owned() };
        stream.ask("CreateStream", json!({ "ShardCount": shards }));
        stream
    }

    fn ask(&self, what: &str, mut body: serde_json::Value) -> serde_json::Value {
        body["StreamName"] = json!(self.name);
        self.moto.json("kinesis", &format!("Kinesis_20131202.{what}"), &body)
    }

    /// Puts records, spread over the shards.
    pub(crate) fn put(&self, records: &[Vec<u8>]) {
        for some in records.chunks(400) {
            let key = |data: &[u8]| format!("{:x}", xxhash_rust::xxh3::xxh3_128(data));
            let records: Vec<_> = some
                .iter()
                .map(|data| json!({ "Data": STANDARD.encode(data), "PartitionKey": key(data) }))
                .collect();
            let put = self.ask("PutRecords", json!({ "Records": records }));
            assert_eq!(put["FailedRecordCount"], 0, "{put}");
        }
    }

    /// A log group whose events go to the stream.
    fn subscribed(&self) -> String {
        let group = format!("group-{}", self.name);
        self.logs("CreateLogGroup", json!({ "logGroupName": group }));
        self.logs("CreateLogStream", json!({ "logGroupName": group, "logStreamName": "one" }));
        let arn = format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{}", self.name);
        let role = format!("arn:aws:iam::{ACCOUNT}:role/logs");
        self.logs(
            "PutSubscriptionFilter",
            json!({ "logGroupName": group, "filterName": "all", "filterPattern": "", "destinationArn": arn, "roleArn": role }),
        );
        group
    }

    fn logs(&self, what: &str, body: serde_json::Value) {
        self.moto.json("logs", &format!("Logs_20140328.{what}"), &body);
    }

    /// Puts events into a log group.
    fn log(&self, group: &str, ids: &[String]) {
        let now = jiff::Timestamp::now().as_millisecond();
        let events: Vec<_> =
            ids.iter().map(|id| json!({ "timestamp": now, "message": record(id, "") })).collect();
        self.logs(
            "PutLogEvents",
            json!({ "logGroupName": group, "logStreamName": "one", "logEvents": events }),
        );
    }
}

/// A directory whose program reads a stream from its oldest record on.
pub(crate) fn oldest(moto: &Moto, name: &str, sink: &str) -> Here {
    let source = format!("type = \"kinesis\"\nstream = \"{name}\"\nfrom = \"trim_horizon\"");
    reading(&moto.endpoint(), &source, sink)
}

pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number:04}")).collect()
}

/// A subscription's message.
pub(crate) fn message(ids: &[String], number_ids: bool) -> String {
    let events: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(at, id)| {
            let event = if number_ids {
                json!(at)
            } else {
                json!(format!("3195310660696698337880902507980421114328961{at:013}"))
            };
            json!({ "id": event, "timestamp": 1_768_471_200_000_i64, "message": record(id, "") })
        })
        .collect();
    json!({ "messageType": "DATA_MESSAGE", "owner": ACCOUNT, "logGroup": "trail", "logStream": "one", "subscriptionFilters": ["all"],
        "logEvents": events })
    .to_string()
}

fn control() -> String {
    json!({ "messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "", "subscriptionFilters": [],
        "logEvents": [{ "id": "", "timestamp": 1_768_471_200_000_i64, "message": "CWL CONTROL MESSAGE: Checking health of destination Kinesis stream." }] })
    .to_string()
}

#[test]
fn what_a_log_group_sends_is_shipped_and_a_later_run_goes_on_from_there() {
    let Some(moto) = moto() else { return };
    let stream = Stream::new(moto, "subscribed", 3);
    let group = stream.subscribed();
    let here = oldest(moto, "subscribed", ARCHIVE);
    let mut expected = names("first", 40);
    for some in expected.chunks(7) {
        stream.log(&group, some);
    }
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), expected, "{}", ran.said);
    // moto's event ids are numbers; a health check is left out.
    assert!(ran.said.contains("trim_horizon"), "it says where it begins: {}", ran.said);
    assert_eq!(here.once().ended(0).books().read, 0);
    let more = names("more", 9);
    stream.log(&group, &more);
    let again = here.once();
    assert_eq!(again.ended(0).books().read, 9, "{}", again.said);
    expected.extend(more);
    assert_eq!(here.ids("out"), expected);
}

#[test]
fn every_shape_of_a_record_is_shipped_and_what_is_damaged_goes_to_rejects() {
    let Some(moto) = moto() else { return };
    let stream = Stream::new(moto, "shapes", 1);
    let name = |name: &str| vec![format!("{name}-a"), format!("{name}-b")];
    let text =
        |name: &str| format!("{}\n{}", record(&format!("{name}-a"), ""), record(&format!("{name}-b"), ""));
    let bomb = gz(vec![b' '; 64 << 20]);
    let torn = gz(message(&name("torn"), false));
    let mut changed = aggregated(&[record("changed", "").into_bytes()]);
    *changed.last_mut().unwrap() ^= 1;
    stream.put(&[
        gz(message(&name("gzip"), false)),
        gz(message(&name("number"), true)),
        gz(control()),
        control().into_bytes(),
        STANDARD.encode(gz(message(&name("base64"), false))).into_bytes(),
        STANDARD.encode(STANDARD.encode(text("base64-twice"))).into_bytes(),
        message(&name("message"), false).into_bytes(),
        text("lines").into_bytes(),
        log_file(&name("file").iter().map(|id| record(id, "")).collect::<Vec<_>>()).into_bytes(),
        aggregated(&[
            record("part-a", "").into_bytes(),
            gz(message(&name("part-gzip"), false)),
            STANDARD.encode(record("part-b", "")).into_bytes(),
            b"a part of nonsense".to_vec(),
        ]),
        Vec::new(),
        b"nonsense".to_vec(),
        b"{\"eventVersion\": \"1.08\", nonsense".to_vec(),
        b"AAAA====BBBB".to_vec(),
        STANDARD.encode(&torn[..torn.len() / 2]).into_bytes(),
        changed,
        bomb,
        record("last", "").into_bytes(),
    ]);
    let here = oldest(moto, "shapes", ARCHIVE);
    here.set("memory = \"128 MiB\"");
    let ran = here.once();
    ran.ended(3);
    let mut expected: Vec<String> =
        ["gzip", "number", "base64", "base64-twice", "message", "lines", "file", "part-gzip"]
            .iter()
            .flat_map(|of| name(of))
            .collect();
    expected.extend(["part-a", "part-b", "last"].map(str::to_owned));
    expected.sort();
    let got: Vec<String> = here.ids("out").into_iter().filter(|id| !id.starts_with("torn")).collect();
    assert_eq!(got, expected, "{}", ran.said);
    let rejects = here.rejects();
    let addresses: Vec<&str> = rejects.iter().map(|reject| reject.object.as_str()).collect();
    assert!(
        addresses.iter().all(|address| address.starts_with("kinesis://shapes/shardId-000000000000/")),
        "{addresses:?}"
    );
    assert!(
        addresses.iter().any(|address| address.ends_with("#3")),
        "the part of an aggregated record: {addresses:?}"
    );
    let reasons: Vec<&str> = rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert!(rejects.len() >= 6, "{reasons:?}");
    assert!(ran.books().left_out == 2, "two control messages: {:?}", ran.books());
    assert_eq!(here.once().ended(0).books().read, 0);
}

#[test]
fn latest_begins_with_what_comes_also_after_a_crash() {
    let Some(moto) = moto() else { return };
    let stream = Stream::new(moto, "latest", 2);
    stream.put(&names("old", 20).iter().map(|id| record(id, "").into_bytes()).collect::<Vec<_>>());
    // What came before is told from what comes by the clock.
    std::thread::sleep(Duration::from_millis(1100));
    let here = reading(&moto.endpoint(), "type = \"kinesis\"\nstream = \"latest\"", PROMPT);
    let mut running = here.start(&["run"]);
    running.until("it reads", |said| said.matches("reading a shard").count() == 2);
    running.signal(Signal::SIGKILL);
    running.end();
    let new = names("new", 20);
    stream.put(&new.iter().map(|id| record(id, "").into_bytes()).collect::<Vec<_>>());
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), new, "{}", ran.said);
}

#[test]
fn an_unknown_stream_and_another_one_are_told() {
    let Some(moto) = moto() else { return };
    let ran = oldest(moto, "nowhere", ARCHIVE).once();
    ran.ended(1);
    assert!(ran.said.contains("stream nowhere in eu-west-1: there is no such place"), "{}", ran.said);
    Stream::new(moto, "one", 1);
    Stream::new(moto, "other", 1);
    let here = oldest(moto, "one", ARCHIVE);
    here.once().ended(0);
    let config = std::fs::read_to_string(here.at("trailship.toml")).unwrap();
    std::fs::write(here.at("trailship.toml"), config.replace("\"one\"", "\"other\"")).unwrap();
    let ran = here.once();
    ran.ended(1);
    assert!(ran.said.contains("it was stream `one` until now"), "{}", ran.said);
}
