//! Every road gives the same records as S3: what was recorded goes down each of them, and what comes out is compared as
//! JSON values.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::fake_history::{self, FakeHistory};
use crate::fake_kinesis::{FakeKinesis, Rules, aggregated};
use crate::fake_logs::{self, FakeLogs, GROUP};
use crate::fake_s3::FakeS3;
use crate::firehose::{Batch, Client};
use crate::here::{ARCHIVE, Here, gz, id, log_file, record, unpacked};
use crate::moto::REGION;
use crate::scene::{key, reading};

/// Texts of records by their ids.
type Records = BTreeMap<String, String>;

#[derive(serde::Deserialize)]
struct LogFile<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'a RawValue>,
}

/// Adds the records of every log file below a folder.
fn gather(folder: &std::path::Path, records: &mut Records) {
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten() {
        let Ok(stored) = std::fs::read(entry.path()) else { continue };
        let text = if stored.starts_with(b"\x1f\x8b") { unpacked(&stored) } else { stored };
        let Ok(file) = serde_json::from_slice::<LogFile<'_>>(&text) else { continue };
        for record in file.records {
            let named = id(record.get());
            // Records of one id are copies; those without one cannot be compared.
            if named != record.get() && record.get().len() < 256 << 10 {
                records.entry(named).or_insert_with(|| record.get().to_owned());
            }
        }
    }
}

/// Generated records, and those others have recorded where they are at hand.
fn records() -> Records {
    let here = Here::with("");
    here.run(&["generate", "--out", "made", "--bytes", "700 kB", "--accounts", "3", "--seed", "6"]).ended(0);
    let mut records = Records::new();
    gather(&here.at("made"), &mut records);
    assert!(records.len() > 200, "{}", records.len());
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let corpus = std::env::var_os("TRAILSHIP_CORPUS").map_or(beside, Into::into);
    gather(&corpus.join("trail"), &mut records);
    records
}

/// What came out, by id.
fn came(here: &Here) -> BTreeMap<String, Value> {
    let lines = here.lines("out");
    let count = lines.len();
    let came: BTreeMap<String, Value> =
        lines.iter().map(|line| (id(line), serde_json::from_str(line).unwrap())).collect();
    assert_eq!(came.len(), count, "something came twice");
    came
}

/// Compares without printing thousands of records.
fn same(road: &str, expected: &BTreeMap<String, Value>, came: &BTreeMap<String, Value>) {
    let missing: Vec<&String> = expected.keys().filter(|id| !came.contains_key(*id)).take(3).collect();
    assert!(
        missing.is_empty(),
        "{road}: of {} records {} came; missing {missing:?}",
        expected.len(),
        came.len()
    );
    for (id, value) in came {
        assert!(Some(value) == expected.get(id), "{road}: {id} is another record");
    }
}

/// A subscription's message of these records.
fn message(records: &[&String]) -> Vec<u8> {
    let events: Vec<Value> = records
        .iter()
        .enumerate()
        .map(|(at, text)| json!({ "id": format!("{at}"), "timestamp": 1_432_826_855_000_u64, "message": text }))
        .collect();
    let message = json!({
        "messageType": "DATA_MESSAGE", "owner": "111111111111", "logGroup": GROUP,
        "logStream": "111111111111_CloudTrail_eu-west-1", "subscriptionFilters": ["all"], "logEvents": events
    });
    gz(message.to_string())
}

/// An event as EventBridge hands it on: its keys in another order, its numbers written anew.
fn event(text: &str) -> Vec<u8> {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let members: BTreeMap<String, Value> =
                    members.into_iter().map(|(key, value)| (key, sorted(value))).collect();
                Value::Object(members.into_iter().collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
            scalar => scalar,
        }
    }
    let detail = sorted(serde_json::from_str(text).unwrap());
    let kind = "AWS API Call via CloudTrail";
    json!({ "version": "0", "detail-type": kind, "source": "aws.iam", "detail": detail })
        .to_string()
        .into_bytes()
}

#[test]
fn every_road_gives_the_same_records_as_s3() {
    let (runtime, records) = (Runtime::new().unwrap(), records());
    let texts: Vec<&String> = records.values().collect();

    let s3 = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, |_| None));
    // An object below another account's key would be marked.
    let mut accounts: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for text in &texts {
        let record: Value = serde_json::from_str(text).unwrap();
        let account = record["recipientAccountId"].as_str().filter(|account| account.len() == 12);
        let account = account.unwrap_or("111122223333").to_owned();
        accounts.entry(account).or_default().push(text);
    }
    for (account, texts) in &accounts {
        for (number, some) in texts.chunks(100).enumerate() {
            s3.put(&key("AWSLogs/", account, REGION, 5, &number.to_string()), gz(log_file(some)));
        }
    }
    let here = reading(&s3.endpoint(), "type = \"s3\"\nbucket = \"trail\"", ARCHIVE);
    here.once().ended(0);
    let expected = came(&here);
    assert!(expected.keys().eq(records.keys()), "{} of {} came", expected.len(), records.len());

    let kinesis = runtime.block_on(FakeKinesis::start(2, Rules::default(), None));
    for (number, some) in texts.chunks(40).enumerate() {
        let pieces: Vec<Vec<u8>> = some.iter().map(|text| text.as_bytes().to_vec()).collect();
        match number % 3 {
            0 => kinesis.put(0, &aggregated(&pieces), Duration::from_secs(60)),
            _ => kinesis.put(number % 2, &message(some), Duration::from_secs(60)),
        }
    }
    let source = "type = \"kinesis\"\nstream = \"trail\"\nfrom = \"trim_horizon\"";
    let here = reading(&kinesis.endpoint(), source, ARCHIVE);
    here.once().ended(0);
    same("kinesis", &expected, &came(&here));

    let source = "type = \"firehose\"\nlisten = \"127.0.0.1:0\"";
    let here = Here::with("").reading(source, ARCHIVE);
    let mut running = here.start(&["run"]);
    let mut address = None;
    running.until("it listens", |said| {
        let line = said.lines().find(|line| line.contains("waiting for Firehose"));
        let line = line.map(|line| serde_json::from_str::<Value>(line).unwrap());
        address = line.and_then(|line| line["address"].as_str()?.parse().ok());
        address.is_some()
    });
    let client = Client::new(address.unwrap(), "");
    for (number, some) in texts.chunks(50).enumerate() {
        let pieces: Vec<Vec<u8>> = match number % 3 {
            0 => some.chunks(20).map(message).collect(),
            1 => some.iter().map(|text| event(text)).collect(),
            _ => some.iter().map(|text| format!("{text}\n").into_bytes()).collect(),
        };
        let answer = client.send(&Batch::new(&format!("request-{number}"), &pieces)).unwrap();
        assert_eq!(answer.status, 200, "{}", running.said());
    }
    running.stop().ended(0);
    same("firehose", &expected, &came(&here));

    let now = jiff::Timestamp::now();
    let logs = runtime.block_on(FakeLogs::start(fake_logs::Row::default(), fake_logs::Ways::default()));
    for (number, text) in (0..).zip(&texts) {
        logs.put(now.as_millisecond() - 1_800_000 + number, "one", text);
    }
    let source = format!("type = \"cloudwatch_logs\"\nlog_group = \"{GROUP}\"");
    let here = reading(&logs.endpoint(), &source, ARCHIVE);
    here.once().ended(0);
    same("cloudwatch_logs", &expected, &came(&here));

    let history =
        runtime.block_on(FakeHistory::start(fake_history::Row::default(), fake_history::Ways::default()));
    for (number, (id, text)) in (0..).zip(&records) {
        history.put(REGION, now.as_second() - 7200 + number, id, text);
    }
    let source = "type = \"event_history\"\nsince = \"1 d\"\nrequests_per_second = 200";
    let here = reading(&history.endpoint(), source, ARCHIVE);
    here.once().ended(0);
    same("event_history", &expected, &came(&here));
}

#[test]
fn two_roads_side_by_side_ship_everything_once() {
    let runtime = Runtime::new().unwrap();
    let s3 = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, |_| None));
    let kinesis = runtime.block_on(FakeKinesis::start(2, Rules::default(), None));
    let ids: Vec<String> = (0..3000).map(|number| format!("id-{number:04}")).collect();
    let texts: Vec<String> = ids.iter().map(|id| record(id, "")).collect();
    // The bucket has all; the stream all but every tenth, in other groups and in another order.
    for (number, some) in texts.chunks(70).enumerate() {
        s3.put(&key("AWSLogs/", "111122223333", REGION, 5, &number.to_string()), gz(log_file(some)));
    }
    let fast: Vec<&String> =
        texts.iter().enumerate().filter(|(at, _)| at % 10 > 0).map(|(_, text)| text).collect();
    for (number, some) in fast.rchunks(110).enumerate() {
        kinesis.put(number % 2, &message(some), Duration::from_secs(60));
    }
    let more = format!(
        "[sources.fast]\ntype = \"kinesis\"\nstream = \"trail\"\nfrom = \"trim_horizon\"\naws.endpoint = \"{}\"\n\
         [transforms.once]\ntype = \"dedupe\"\n{ARCHIVE}\n\
         [pipelines.main]\nsources = [\"trail\", \"fast\"]\ntransforms = [\"once\"]\nsinks = [\"archive\"]\n",
        kinesis.endpoint()
    );
    let here = reading(&s3.endpoint(), "type = \"s3\"\nbucket = \"trail\"", &more);
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids);
    let books = ran.books();
    assert_eq!((books.read, books.offered + books.duplicate), (5700, 5700), "{}", ran.said);
    assert_eq!(books.delivered, 3000, "{}", ran.said);
}
