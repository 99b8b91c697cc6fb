//! What the tests share: an endpoint that runs, and requests of every sort with records of known ids.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::client::{Batch, Client};
use crate::here::{Here, Running, gz, log_file, record};

/// A key that a header can carry.
pub(crate) const ACCESS_KEY: &str = "0123456789abcdef-access-key";

/// A sink whose files are finished at once.
pub(crate) const PROMPT: &str =
    "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson\"\nrotate_age = \"1s\"\n";

/// A directory whose program waits for Firehose on any free port.
pub(crate) fn waiting(more: &str, sinks: &str) -> Here {
    let source = format!(
        "type = \"firehose\"\nlisten = \"127.0.0.1:0\"\naccess_key = {{ env = \"ACCESS_KEY\" }}\n{more}"
    );
    Here::with("").reading(&source, sinks).knowing([("ACCESS_KEY", ACCESS_KEY)])
}

/// Starts it; where it listens.
fn start(here: &Here) -> (Running, SocketAddr) {
    listening(here.start(&["run"]))
}

/// Starts it with this as its standard output.
pub(crate) fn start_onto(here: &Here, out: std::io::PipeWriter) -> (Running, SocketAddr) {
    listening(here.start_onto(&["run"], out))
}

fn listening(mut running: Running) -> (Running, SocketAddr) {
    let mut address = None;
    running.until("it listens", |said| {
        let line = said.lines().find(|line| line.contains("waiting for Firehose"));
        address = line.map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["address"].as_str().unwrap().parse().unwrap()
        });
        address.is_some()
    });
    (running, address.unwrap())
}

/// Starts it, with a client that is patient.
pub(crate) fn started(here: &Here) -> (Running, Client) {
    let (running, address) = start(here);
    (running, Client::new(address, ACCESS_KEY))
}

fn subscription(records: &[String], kind: &str) -> String {
    let events: Vec<_> = records
        .iter()
        .map(|record| json!({ "id": "1", "timestamp": 1_432_826_855_000_u64, "message": record }))
        .collect();
    json!({
        "messageType": kind, "owner": "111111111111", "logGroup": "CloudTrail/logs", "logStream": "s",
        "subscriptionFilters": ["Destination"], "logEvents": events
    })
    .to_string()
}

/// A request of the sort that `number` says, and the ids in it.
pub(crate) fn batch(id: &str, number: u64, records: usize) -> (Batch, Vec<String>) {
    let ids: Vec<String> = (0..records).map(|record| format!("{id}-{record}")).collect();
    let pad = format!(r#","pad":"{}""#, "abcdefgh".repeat(20));
    let texts: Vec<String> = ids.iter().map(|id| record(id, &pad)).collect();
    let halves = || texts.chunks(records.div_ceil(2).max(1));
    let envelope = |text: &String| {
        format!(r#"{{"detail-type":"AWS API Call via CloudTrail","source":"aws.iam","detail":{text}}}"#)
    };
    let control =
        || gz(subscription(&["CWL CONTROL MESSAGE: Checking health".to_owned()], "CONTROL_MESSAGE"));
    let pieces: Vec<Vec<u8>> = match number % 7 {
        // A subscription as CloudWatch Logs sends it, one of the messages a probe.
        0 => halves().map(|half| gz(subscription(half, "DATA_MESSAGE"))).chain([control()]).collect(),
        // Decompressed by Firehose.
        1 => halves().map(|half| subscription(half, "DATA_MESSAGE").into_bytes()).collect(),
        // Extracted messages.
        2 => halves().map(|half| (half.join("\n") + "\n").into_bytes()).collect(),
        // EventBridge, one event in each record, and an empty record.
        3 => texts.iter().map(|text| envelope(text).into_bytes()).chain([Vec::new()]).collect(),
        // Plain records, in base64 once more.
        4 => texts.iter().map(|text| STANDARD.encode(text).into_bytes()).collect(),
        // Log files.
        5 => halves().map(|half| log_file(half).into_bytes()).collect(),
        _ => halves().map(|half| gz(log_file(half))).collect(),
    };
    let batch = Batch::new(id, &pieces);
    (if number.is_multiple_of(3) { batch.packed() } else { batch }, ids)
}
