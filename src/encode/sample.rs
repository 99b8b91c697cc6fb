//! What the encoder's tests work on: scanned records, awkward JSON, real records.

use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;

pub(super) use super::fuzz::{keys, scanner, slow};
use super::{Encoder, Shape, flat::Flatten, fuzz};
use crate::record::overlay::{Fragment, Overlay, Parent};
use crate::record::{Record, Scanner};

/// Scans `text` as one record and lends it.
pub(super) fn with_record<T>(
    scanner: &mut Scanner,
    text: &str,
    overlay: &mut Overlay,
    work: impl FnOnce(&Record<'_>) -> T,
) -> T {
    fuzz::with_record(scanner, text, overlay, work).unwrap_or_else(|| panic!("no record: {text}"))
}

/// Writes one record in one shape, twice (unlearned and learned), and checks that both are the same.
pub(super) fn encode(shape: &Shape, text: &str, overlay: &mut Overlay) -> String {
    let mut scanner = scanner();
    let mut encoder = Encoder::new(Arc::new(shape.clone()));
    let mut outs = Vec::new();
    for _ in 0..3 {
        let mut out = b"before".to_vec();
        with_record(&mut scanner, text, overlay, |record| encoder.encode(record, &mut out));
        outs.push(String::from_utf8(out.split_off(6)).unwrap());
    }
    assert_eq!(outs[0], outs[1]);
    assert_eq!(outs[0], outs[2]);
    outs.remove(0)
}

pub(super) fn fragment(id: u32, members: &str) -> Rc<Fragment> {
    Rc::new(Fragment { id, members: members.as_bytes().into(), leaves: Vec::new() })
}

pub(super) fn added() -> Overlay {
    Overlay {
        added: vec![
            (Parent::Root, fragment(3, r#""signals":["a","b"]"#)),
            (Parent::Account, fragment(1, r#""name":"pay","tags":{"env":"prod"}"#)),
        ],
        ..Overlay::default()
    }
}

/// JSON values as text with awkward keys, duplicates, odd spellings; `%` stands for an optional blank.
fn value() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "1",
        "-0.5e+3",
        "514.0",
        "1.688560107857E9",
        "true",
        "false",
        "null",
        "\"\"",
        "\"x\"",
        "\"\\u003d\"",
        "{%}",
        "[%]",
        "\"a \\\" b \\\\ { } [ ] : ,\"",
        "\"{\\\"json\\\": [1]}\"",
        "\"é\\n\\ud83d\\ude00\"",
        "\"a plain string of more than thirty-two bytes\"",
        "\"thirty-one bytes, then a quote:\\\" and more, \\\\ and more than that\"",
    ])
    .prop_map(str::to_owned);
    scalar.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5)
                .prop_map(|elements| format!("[%{}%]", elements.join("%,%"))),
            inner.clone().prop_map(|element| format!("[{}]", vec![element; 36].join("%,%"))),
            members(inner, 1..6),
        ]
    })
}

fn members(
    value: impl Strategy<Value = String>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "eventName",
        "userIdentity",
        "a.b",
        "b.a",
        "",
        ".",
        "0",
        "1",
        "01",
        "a__2",
        "\\u0061",
        "\\u002e",
        "\\\\",
        "x_y",
        "_",
        "a#2",
        "trailship",
        "trailship.account",
        "\\u0074railship",
        "requestParameters",
        "responseElements",
        "resources",
        "é",
        "a b",
        "a key that is longer than forty bytes, which is a limit in some of these tests",
    ]);
    prop::collection::vec((key, value), count).prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\"%:%{value}")).collect();
        format!("{{%{}%}}", members.join("%,%"))
    })
}

/// Records as text, compact or with blanks.
pub(super) fn record() -> impl Strategy<Value = String> {
    (members(value(), 0..9), prop::sample::select(vec!["", "", " ", "\t", "\n  "]))
        .prop_map(|(text, blank)| text.replace('%', blank))
}

/// Settings of every sort.
pub(super) fn settings() -> impl Strategy<Value = Flatten> {
    use super::Arrays::{Index, Join, Json, Keep};
    let separator = prop::sample::select(vec![".", ".", "_", "__", "::", ".."]);
    let arrays = prop::sample::select(vec![Keep, Index, Join, Json]);
    let depth = prop::sample::select(vec![1, 2, 3, 32]);
    let fields = prop::sample::select(vec![3, 8, 2_000]);
    let key = prop::sample::select(vec![8, 40, 512]);
    let keep = prop::sample::select(vec![
        vec![],
        vec!["requestParameters", "responseElements"],
        vec!["a", "resources.a", "trailship.account"],
    ]);
    (separator, arrays, depth, fields, key, keep, any::<bool>()).prop_map(
        |(separator, arrays, max_depth, max_fields, max_key, keep, lossless)| Flatten {
            name: "trailship".into(),
            separator: separator.into(),
            arrays,
            max_depth,
            max_fields,
            max_key,
            keep_json: keep.into_iter().map(Box::from).collect(),
            lossless,
        },
    )
}

/// Which leaves are replaced and removed, as shares of the leaf list.
pub(super) fn edits() -> impl Strategy<Value = Vec<(usize, Option<&'static str>)>> {
    let text = prop::sample::select(vec![
        Some("\"REDACTED\""),
        Some("null"),
        Some("\"a\\\"b\""),
        Some("{\"n\":[1, 2]}"),
        None,
    ]);
    prop::collection::vec((any::<usize>(), text), 0..4)
}

/// Puts edits onto a record's leaves.
pub(super) fn overlay(text: &str, edits: &[(usize, Option<&'static str>)], with_added: bool) -> Overlay {
    let mut overlay = if with_added { added() } else { Overlay::default() };
    let mut scanner = scanner();
    let leaves =
        with_record(&mut scanner, text, &mut Overlay::default(), |record| record.index.leaves().len());
    for (share, new) in edits {
        if leaves == 0 {
            break;
        }
        let position = u32::try_from(share % leaves).unwrap();
        match new {
            Some(new) => overlay.replaced.push((position, new.as_bytes().into())),
            None => overlay.removed.push(position),
        }
    }
    overlay.replaced.sort();
    overlay.replaced.dedup_by_key(|(position, _)| *position);
    overlay.removed.sort_unstable();
    overlay.removed.dedup();
    overlay
}

/// Whether it is one JSON object on one line without a key twice; gives it back parsed.
pub(super) fn checked(out: &str) -> serde_json::Value {
    assert!(!out.contains(['\n', '\r']), "{out}");
    let value: serde_json::Value = serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert!(value.is_object(), "{out}");
    value
}

/// The records of the corpus, where there is one.
pub(super) fn corpus() -> Vec<String> {
    let root = std::env::var_os("TRAILSHIP_CORPUS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        std::path::PathBuf::from,
    );
    let mut records = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_map(Result::ok) {
        let path = entry.path().to_string_lossy().into_owned();
        if !entry.file_type().is_file() || !(path.contains("/trail/") || path.contains("/records/")) {
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            if std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain)
                .is_err()
            {
                continue;
            }
            bytes = plain;
        }
        for value in
            serde_json::Deserializer::from_slice(&bytes).into_iter::<Box<serde_json::value::RawValue>>()
        {
            let Ok(value) = value else { break };
            #[derive(serde::Deserialize)]
            struct Trail {
                #[serde(rename = "Records")]
                records: Vec<Box<serde_json::value::RawValue>>,
            }
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
        eprintln!("skipped: no corpus");
    }
    records
}
