//! Documents against real nodes: whatever JSON a record is, it is taken.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use trailship::encode::flat::Flatten;
use trailship::encode::{Encoder, Nested, Shape};
use trailship::record::overlay::Overlay;
use trailship::record::{Identity, Record, Scan, ScanLimits, Scanner, Slots, Span};
use trailship::sink::opensearch::document::Document;
use trailship::sink::opensearch::mapping::{Flavour, Mapping};
use trailship::sink::opensearch::template::{Lifecycle, Plan};

use crate::server::{OpenSearch, Version, opensearch};

/// Writes records as the workers do.
struct Writer {
    scanner: Scanner,
    encoder: Encoder,
    mapping: Arc<Mapping>,
}

impl Writer {
    fn new(shape: Shape, stream: bool) -> Writer {
        let mapping = Arc::new(Mapping::new(&shape, stream, &[]));
        let document = Document::new(shape, mapping.clone(), Arc::default());
        Writer {
            scanner: Scanner::new(Arc::new(Slots::default()), ScanLimits::default()),
            encoder: Encoder::new(Arc::new(Shape::Document(document))),
            mapping,
        }
    }

    /// Appends a record's document; `false`: it is no record.
    fn write(&mut self, record: &str, out: &mut Vec<u8>) -> bool {
        let buffer = record.as_bytes();
        let Scan::Record { end } = self.scanner.scan(buffer, 0) else { return false };
        let span = Span { start: 0, end: u32::try_from(end).unwrap() };
        let (index, overlay) = (&self.scanner, &mut Overlay::default());
        let (identity, protection) = (Identity::default(), trailship::record::protect::Protection::default());
        let record = Record { buffer, span, index, overlay, identity, protection, families: 0 };
        self.encoder.encode(&record, out);
        true
    }
}

fn shapes() -> [(&'static str, Shape); 2] {
    [("nested", Shape::Nested(Nested::default())), ("flat", Shape::Flat(Flatten::default()))]
}

/// The records of the corpus, where there is one; else ours, many times.
fn corpus() -> Vec<String> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let root = std::env::var_os("TRAILSHIP_CORPUS").map_or(beside, PathBuf::from);
    #[derive(serde::Deserialize)]
    struct Trail {
        #[serde(rename = "Records")]
        records: Vec<Box<RawValue>>,
    }
    let mut records = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_map(Result::ok) {
        let path = entry.path().to_string_lossy().into_owned();
        if !entry.file_type().is_file() || !(path.contains("/trail/") || path.contains("/records/")) {
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            let mut reader = flate2::read::MultiGzDecoder::new(&bytes[..]);
            if std::io::Read::read_to_end(&mut reader, &mut plain).is_err() {
                continue;
            }
            bytes = plain;
        }
        for value in serde_json::Deserializer::from_slice(&bytes).into_iter::<Box<RawValue>>() {
            let Ok(value) = value else { break };
            let many = serde_json::from_str::<Trail>(value.get())
                .map(|trail| trail.records)
                .or_else(|_| serde_json::from_str(value.get()))
                .unwrap_or_else(|_| vec![value]);
            records.extend(
                many.iter().map(|record| record.get().to_owned()).filter(|record| record.starts_with('{')),
            );
        }
    }
    if records.is_empty() {
        eprintln!("skipped: no corpus (set TRAILSHIP_CORPUS)");
    }
    records
}

/// Records that nobody should have.
fn nasty() -> Vec<String> {
    let long = "x".repeat(100_000);
    let nested =
        |open: &str, close: &str, times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
    let deep = nested("{\"a\":", "}", 100);
    let arrays = nested("[", "]", 100);
    let keys: Vec<String> = (0..10_000).map(|number| format!("\"key{number}\":{number}")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    let key = "k".repeat(60_000);
    let digits = "7".repeat(1_200);
    let mut values: Vec<String> = [
        "null",
        "\"text\"",
        "\"\"",
        "1",
        "1.5",
        "1e400",
        "true",
        "{}",
        "[]",
        "[null]",
        "[\"a\",1,null,{\"b\":[]}]",
        "[{\"a\":1},{\"a\":\"x\"},{\"a\":{\"b\":1}}]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"x\":1},\"a\":{\"y\":1}}",
        "{\"\":1,\" \":2,\".\":3,\"a.b\":4,\"a\":{\"b\":5},\"..\":6,\"a.\":7,\".a\":8,\"a..b\":9}",
        "{\"_id\":1,\"_source\":2,\"\\u0000\":3,\"\\ud800\":4,\"\\u002e\":5}",
        "\"\\ud800\"",
        "{\"a\":\"\\udc00\"}",
        "[[[\"a\"]]]",
        "{\"a\":[1,\"x\",null,{\"b\":1},[1,[2]],true]}",
        "\"2024-01-01T00:00:00Z\"",
        "\"Oct 2, 2019 11:12:29 PM\"",
        "\"true\"",
    ]
    .map(str::to_owned)
    .into();
    values.extend([
        format!("\"{long}\""),
        format!("{{\"a\":\"{long}\"}}"),
        format!("{{\"a\":[\"{long}\",\"b\"]}}"),
        format!("{{\"a\":\"{}\"}}", "é".repeat(16_001)),
        format!("{{\"a\":\"{}\"}}", "\\u00e9".repeat(17_000)),
        deep.clone(),
        arrays.clone(),
        format!("{{\"a\":{arrays}}}"),
        keys,
        format!("{{\"{key}\":1}}"),
        digits.clone(),
        format!("{{\"a\":{digits}}}"),
    ]);
    let paths = [
        "requestParameters",
        "responseElements",
        "eventName",
        "eventTime",
        "readOnly",
        "userIdentity",
        "resources",
        "userIdentity.type",
        "sourceIPAddress",
        "trailship",
        "@timestamp",
        "somethingElse",
        "errorMessage",
        "",
        "requestParameters.x",
        "eventName.x",
        "_id",
        "..",
        "insightDetails",
        "summary",
        "annotation",
        "trailship.unindexed",
    ];
    let mut records = vec!["{}".to_owned(), format!("{{\"a\":1,\"b\":{deep},\"a\":2}}")];
    for path in paths {
        for value in &values {
            records.push(format!("{{\"eventName\":\"E\",\"{path}\":{value}}}"));
            records
                .push(format!("{{\"userIdentity\":{{\"{path}\":{value}}},\"u\":[{{\"{path}\":{value}}}]}}"));
        }
    }
    records
}

/// Sends documents in bulk requests of some megabytes; what was refused.
fn send(server: &OpenSearch, index: &str, documents: &[(String, Vec<u8>)]) -> Vec<(String, Value)> {
    let mut refused = Vec::new();
    let (mut body, mut ids) = (Vec::new(), Vec::new());
    for (number, (record, document)) in documents.iter().enumerate() {
        body.extend_from_slice(
            format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{number}\"}}}}\n").as_bytes(),
        );
        body.extend_from_slice(document);
        body.push(b'\n');
        ids.push(record);
        if body.len() > 4 << 20 || number + 1 == documents.len() {
            let (status, answer) = server.bulk(std::mem::take(&mut body));
            assert_eq!(status, 200, "{answer}");
            let items = answer["items"].as_array().unwrap();
            assert_eq!(items.len(), ids.len());
            for (record, item) in ids.drain(..).zip(items) {
                if item["create"]["status"] != 201 {
                    refused.push((record.chars().take(300).collect(), item["create"]["error"].clone()));
                }
            }
        }
    }
    refused
}

fn takes_everything(version: Version) {
    let Some(server) = opensearch(version) else { return };
    let (corpus, nasty) = (corpus(), nasty());
    for (name, shape) in shapes() {
        let mut writer = Writer::new(shape, false);
        let pattern = format!("cloudtrail-{name}-*");
        let (lifecycle, settings) = (Lifecycle::default(), Map::new());
        let plan = Plan { flavour: Flavour::Opensearch, name: name.to_owned(), pattern, settings, lifecycle };
        let (status, answer) =
            server.ask("PUT", &format!("/_index_template/{name}"), Some(&plan.template(&writer.mapping)));
        assert_eq!(status, 200, "{answer}");
        for (what, records) in [("corpus", &corpus), ("nasty", &nasty)] {
            let mut documents = Vec::new();
            // Twice: unlearned and learned.
            for record in records.iter().chain(records) {
                let mut document = Vec::new();
                if writer.write(record, &mut document) {
                    documents.push((record.clone(), document));
                }
            }
            let index = format!("cloudtrail-{name}-{what}");
            let refused = send(&server, &index, &documents);
            assert!(
                refused.is_empty(),
                "{version:?} {name} {what}: {} refused, as {:?}",
                refused.len(),
                refused[0]
            );
            if !documents.is_empty() {
                let fields = server.fields(&index);
                eprintln!("{version:?}: {index}: {} documents, 0 refused, {fields} fields", documents.len());
                assert_eq!(server.count(&index), documents.len() as u64);
                assert!(fields <= 300, "{fields} fields");
            }
        }
        // What is named can be found.
        let index = format!("cloudtrail-{name}-nasty");
        let found = server.ask(
            "POST",
            &format!("/{index}/_count"),
            Some(&json!({ "query": { "term": { "eventName": "E" } } })),
        );
        assert!(found.1["count"].as_u64().unwrap() > 100, "{found:?}");
    }
}

#[test]
fn opensearch_3_refuses_nothing() {
    takes_everything(Version::Three);
}

#[test]
fn opensearch_2_refuses_nothing() {
    takes_everything(Version::Two);
}
