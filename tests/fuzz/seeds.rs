//! What the fuzzer starts from: generated records in the form each target reads. A run with `TRAILSHIP_BLESS=1` writes
//! them anew; finds that were added by hand stay.

use std::fs;

use serde_json::value::RawValue;
use trailship::generate::{Generator, Options, Profile};

use super::project;

#[derive(serde::Deserialize)]
struct File {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
}

/// A few generated records of every kind.
fn records() -> Vec<String> {
    let options = Options { seed: 4, bytes: 200_000, ..Options::new(Profile::Mixed) };
    let mut generator = Generator::new(&options).unwrap();
    let mut records = Vec::new();
    while let Some(object) = generator.next_object() {
        let file: Result<File, _> = serde_json::from_slice(object.body);
        records.extend(file.into_iter().flat_map(|file| file.records).map(|record| record.get().to_owned()));
    }
    records.retain(|record| record.len() < 1_500);
    let step = records.len() / 8;
    records.into_iter().step_by(step.max(1)).take(8).collect()
}

fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let records = records();
    let (one, two) = (records[0].as_str(), records[..2].join(","));
    let log = format!(r#"{{"Records":[{two}]}}"#);
    let text = |record: &str| serde_json::to_string(record).unwrap();
    let joined = |settings: &[u8], texts: &[&str]| [settings, texts.join("\u{0}").as_bytes()].concat();
    let separated = |settings: &[u8], texts: &[&str]| {
        let mut bytes = joined(settings, texts);
        bytes.iter_mut().skip(settings.len()).filter(|byte| **byte == 0).for_each(|byte| *byte = 0xff);
        bytes
    };
    let decode = |settings: [u8; 3], text: &str| [&settings[..], text.as_bytes()].concat();
    let awkward =
        r#"{"a":1,"a":{"b":[],"c":{}},"a.b":[1,[2,{"x":null}],"\u0061\\"],"":-0.5e+3,"\u0061":"é"}"#;
    let lines = "{\n  \"a\" : { \"b\" : [ 1 , 2 ] } ,\r\n \"requestParameters\": {\"x\": \"y\"}\n}";
    let flat = |settings: [u8; 4]| separated(&settings, &[one, awkward, lines, &records[1]]);
    let coded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let delivered = |records: &[String]| {
        let records: Vec<String> = records.iter().map(|data| format!(r#"{{"data":"{data}"}}"#)).collect();
        format!(r#"{{"requestId":"one","timestamp":1,"records":[{}]}}"#, records.join(",")).into_bytes()
    };
    vec![
        // The message of an aggregated record: a key, and three records, the last of them base64.
        ("kinesis", "parts", [&b"\x0a\x01k"[..], b"\x1a\x06\x08\0\x1a\x02{}", b"\x1a\x07\x08\0\x1a\x03\x1f\x8b\x08", b"\x1a\x08\x08\0\x1a\x04e30="].concat()),
        ("kinesis", "base64", b"ZXlKbGRtVnVkRWxFSWpvaU1TSjk=".to_vec()),
        ("kinesis", "lines", records[..2].join("\n").into_bytes()),
        ("firehose", "records", delivered(&records.iter().map(|record| coded(record)).collect::<Vec<_>>())),
        ("firehose", "pieces", delivered(&[
            coded("{}"), String::new(), coded(&coded("[1]")), coded(&format!("\"{}\"\n", coded("{\"a\":\"?>/\"}"))),
            coded("what?"), "H4sIAAAA".to_owned(), coded(" \n"), coded(one)])),
        ("firehose", "escapes", br#" { "records" : [ { "x" : [1,"\""], "d\u0061ta" : "e30\u003d" }, {"data":"ey8\/fQ=="} ] , "requestI\u0064":"\u006fne" } "#.to_vec()),
        ("decode", "log_file", decode([0, 9, 3], &log)),
        ("decode", "log_file_gzip", decode([1, 8, 5], &log)),
        ("decode", "log_file_two_members", decode([127, 10, 40], &log)),
        ("decode", "array_zstd", decode([3, 7, 2], &format!("[{two}]"))),
        ("decode", "lines_two_frames", decode([204, 6, 9], &records[2..4].join("\n"))),
        ("decode", "bare", decode([0, 11, 1], one)),
        ("decode", "event_bridge", decode([0, 9, 6], &format!(r#"{{"detail-type":"AWS API Call via CloudTrail","detail":{one}}}"#))),
        ("decode", "subscription", decode([1, 9, 6], &format!(
            r#"{{"messageType":"DATA_MESSAGE","logEvents":[{{"id":"1","message":{}}},{{"message":{}}}]}}"#,
            text(one), text(&records[1])))),
        ("decode", "lookup", decode([0, 5, 6], &format!(r#"{{"Events":[{{"CloudTrailEvent":{}}}]}}"#, text(one)))),
        ("decode", "raw_in_message", decode([0, 9, 2], &format!(r#"{{"_raw":{}}}"#, text(&format!(r#"{{"message":{}}}"#, text(one)))))),
        ("decode", "damaged", decode([0, 9, 3], &log.replacen("\":", "\"", 3))),
        ("record", "generated", separated(&[0, 3], &[one, &records[3], &records[1]])),
        ("record", "awkward", separated(&[2, 3], &[awkward, "{ }", r#"{"a":[{"b":1},{"b":2}]}"#, awkward])),
        ("record", "of_many_lines", separated(&[1, 1], &[lines, one])),
        ("flatten", "default", flat([0, 0, 15, 1])),
        ("flatten", "lossless", flat([30, 0, 0, 0])),
        ("flatten", "joined", flat([13, 23, 3, 2])),
        ("flatten", "limits", flat([20, 250, 7, 3])),
        ("pattern", "text", [
            r#"{"eventName":["GetObject",{"prefix":"Put"}],"userIdentity":{"type":[{"anything-but":"AWSService"}]}}"#,
            r#"{"$or":[{"errorCode":[{"exists":true}]},{"sourceIPAddress":[{"cidr":"10.0.0.0/8"}]}]}"#,
            r#"{"resources":{"ARN":[{"wildcard":"*s3*"}],"type":[{"equals-ignore-case":"aws::s3::object"}]}}"#,
            r#"{"a":[{"numeric":[">",0,"<=",5]}],"readOnly":[true]}"#, "", one, &records[4], r#"{"a":[4,{"b":1}],"readOnly":true}"#,
        ].join("\n").into_bytes()),
        ("pattern", "choices", (0..=255u8).cycle().map(|byte| byte.wrapping_mul(167).rotate_left(3)).take(600).collect()),
        ("bulk", "each_its_own", [&b"\x01\x00"[..], concat!(
            r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"there"}}},"#,
            r#"{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse","caused_by":{"type":"x","reason":"why"}}}},"#,
            r#"{"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue"}}},{"create":{"status":503,"error":"away"}}]}"#).as_bytes()].concat()),
        ("bulk", "not_the_event", [&b"\x01\x00"[..],
            br#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"full"}}}]}"#].concat()),
        ("bulk", "too_few", [&b"\x00\x03"[..], br#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":200}}]}"#].concat()),
        ("hec", "received", [&b"\x00\x05"[..], br#"{"text":"Success","code":0,"ackId":7}"#].concat()),
        ("hec", "one_invalid", [&b"\x04\x05"[..], br#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#].concat()),
        ("hec", "busy", [&b"\x0e\x05"[..], br#"{"text":"Server is busy","code":9}"#].concat()),
        ("documents", "nested", separated(&[0], &[one, awkward, REFUSED, &records[1]])),
        ("documents", "flat", separated(&[1], &[one, awkward, REFUSED, &records[1]])),
        ("documents", "stream_with_more_fields", separated(&[24], &[one, awkward, REFUSED, lines])),
        ("documents", "flat_by_index", separated(&[35], &[one, awkward, REFUSED, &records[2]])),
        ("documents", "long", separated(&[0], &[&format!(r#"{{"requestParameters":{{"policy":"{0}"}},"errorMessage":"{0}","n":{1}}}"#, "x".repeat(6_000), "7".repeat(1_001))])),
        ("config", "pipelines", CONFIG.as_bytes().to_vec()),
        ("template", "every_name", b"out/{account}/{region}/{environment}/{date}T{hour}/{year}-{month}-{day}/{kind}-{sink}.ndjson\xff111122223333\xffeu-west-1\xffprod\xff\x80\x5f\x3e\x69\0\0\0\0".to_vec()),
        ("template", "hostile", b"/var/x/{region}.{environment}/f\xff1\xff../..\xff..\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        ("rejects", "pieces", format!("siem\ndecode\nsearch\nAWSLogs/x.json.gz\n2026-01-15T00:00:00Z\nbad\n{one}\n").into_bytes()),
        ("rejects", "stranger", br#"{"version":2,"entry":7,"pipeline":"p","stage":"decode","object":"o","at":"","items":[{"reason":"","offset":0,"length":2}],"mac":"0123456789012345678901234567890123456789012345678901234567890123"}
{}"#.to_vec()),
    ]
}

/// What an index would refuse.
const REFUSED: &str = r#"{"eventName":{"a":1},"readOnly":"yes","requestParameters":"text","userIdentity":[1,{"":2}],"resources":[{"ARN":"a","ARN":"b"},"c",{"ARN":{"d":1}}],"_id":1,"a..b":2,"@timestamp":"2024-01-01T00:00:00Z","trailship":{"account":{"id":[]}}}"#;

const CONFIG: &str = r#"data_dir = "state"
memory = "256 MiB"
[sources.trail]
type = "files"
path = { env = "PATHS", default = "logs/**/*.json.gz" }
[transforms.thin]
type = "sample"
match = { eventCategory = ["Data"], readOnly = [true] }
keep_one_in = 50
[transforms.flat]
type = "flatten"
[sinks.out]
type = "file"
path = "out/{account}/{date}.ndjson"
match = { "$or" = [{ errorCode = [{ exists = true }] }, { eventName = [{ wildcard = "Put*" }] }] }
[sinks.screen]
type = "stdout"
shape = "flat"
[protect]
except = ["errors"]
[pipelines.main]
sources = ["trail"]
transforms = ["thin"]
sinks = ["out", "screen"]
"#;

#[test]
fn the_corpus_is_small() {
    if std::env::var_os("TRAILSHIP_BLESS").is_some() {
        for (target, name, bytes) in all() {
            let folder = project("fuzz/corpus").join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for (target, name, bytes) in all() {
        let path = project("fuzz/corpus").join(target).join(name);
        assert!(path.exists(), "{} is missing: run again with TRAILSHIP_BLESS=1", path.display());
        assert!(bytes.len() < 16 << 10, "{target}/{name} has {} bytes", bytes.len());
    }
}
