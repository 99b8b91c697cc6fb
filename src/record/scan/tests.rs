//! The scan against the slow and obvious parser and against `serde_json`.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::record::fuzz::{self, check_edge, scanner};
use crate::record::plain;

/// The verdict of `serde_json`: the end of the first value, `None` for anything but an object.
fn oracle(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    match stream.next() {
        Some(Ok(_)) => Some(stream.byte_offset()),
        _ => None,
    }
}

/// Scans `text` and compares everything with the plain parser; the verdict.
fn compare(scanner: &mut Scanner, text: &[u8]) -> Scan {
    fuzz::compare(scanner, text).0
}

const RECORDS: &[&str] = &[
    r#"{}"#,
    r#"{ }"#,
    r#"{"a":1}"#,
    r#"{"eventVersion":"1.08","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/x/y","sessionContext":{"sessionIssuer":{},"attributes":{"mfaAuthenticated":"false"}}},"eventTime":"2024-01-02T03:04:05Z","eventName":"GetObject","requestParameters":{"bucketName":"b","key":"a long key that is longer than thirty-two bytes"},"responseElements":null,"readOnly":true,"resources":[{"ARN":"arn:aws:s3:::b/k","type":"AWS::S3::Object"},{"ARN":"arn:aws:s3:::b","type":"AWS::S3::Bucket","accountId":"111122223333"}],"additionalEventData":{"bytes":514.0,"x":1.688560107857E9}}"#,
    r#"{"a":[],"b":{},"c":[ ],"d":{ 	},"e":[[],[[]],{}],"f":[1,-0.5e+3,"x",null,true,false]}"#,
    "{\r\n  \"a\" : { \"b\" : [ 1 , 2 ] } ,\n\t\"c\"\t:\t\"d\"\n}",
    r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\ud800","k\u0065y":1,"a.b":2,"":{"a":3},"a":{"b":{"c":4}},"a":5}"#,
    r#"{"é":"ü","x":"日本語 text that goes on for more than a block of bytes, and then some more: ß"}"#,
    r#"{"requestParameters":{"policy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\"}]}"},"eventName":"PutUserPolicy"}"#,
];

#[test]
fn leaves_paths_and_marks_are_those_of_the_plain_parser_cold_and_warm() {
    let mut scanner = scanner();
    for _ in 0..4 {
        for record in RECORDS {
            assert_eq!(compare(&mut scanner, record.as_bytes()), Scan::Record { end: record.len() });
        }
    }
    assert!(!scanner.tail().is_temporary(), "what was met before is learned");
    assert!(scanner.leaves().iter().all(|leaf| !leaf.edge.is_temporary()));
}

#[test]
fn a_record_is_learned_as_a_whole_when_it_comes_again() {
    for record in RECORDS {
        let mut scanner = scanner();
        for _ in 0..2 {
            compare(&mut scanner, record.as_bytes());
        }
        assert!(!scanner.tail().is_temporary(), "{record}");
        assert!(scanner.leaves().iter().all(|leaf| !leaf.edge.is_temporary()), "{record}");
    }
}

#[test]
fn a_key_that_never_comes_again_makes_no_strangers_of_its_neighbours() {
    let shapes = [
        r#"{"<>":1,"a":{"b":2,"c":[3,4]},"d":5}"#,
        r#"{"a":{"<>":"x","b":2,"c":[3,4]},"d":5}"#,
        r#"{"a":{"b":2,"<>":"x","c":[3,4]},"d":5}"#,
        r#"{"a":{"b":2,"c":[3,4],"<>":{}},"d":5}"#,
        r#"{"a":[{"<>":"x","b":2},{"c":3,"d":4}],"e":5}"#,
        r#"{"a":{"b":{"c":{"<>":"x","d":2}},"e":3},"f":[]}"#,
        r#"{"a":{"b":2},"<>":"x"}"#,
    ];
    for shape in shapes {
        let mut scanner = scanner();
        for round in 0..20 {
            // Where the buffer ends the scan goes byte by byte: here it does not.
            let text = shape.replace("<>", &format!("key{round}")) + &" ".repeat(100);
            compare(&mut scanner, text.as_bytes());
            let strangers = scanner.leaves().iter().filter(|leaf| leaf.edge.is_temporary()).count();
            assert!(round < 4 || strangers == 1, "{shape}, round {round}: {strangers}");
            assert!(round < 4 || !scanner.tail().is_temporary(), "{shape}, round {round}");
        }
    }
}

#[test]
fn a_torn_record_is_incomplete_at_every_offset() {
    let mut warm = scanner();
    for record in RECORDS.iter().cycle().take(RECORDS.len() * 3) {
        compare(&mut warm, record.as_bytes());
    }
    for record in RECORDS {
        for end in 0..record.len() {
            let text = &record.as_bytes()[..end];
            assert_eq!(scanner().scan(text, 0), Scan::Incomplete, "{}", text.escape_ascii());
            assert_eq!(compare(&mut warm, text), Scan::Incomplete, "{}", text.escape_ascii());
        }
    }
}

#[test]
fn a_character_cut_by_an_escape_is_no_torn_character() {
    for text in [b"{\"x\":\"\xe8\\".as_slice(), b"{\"\xe8\\", b"{\"x\":\"\xe8\""] {
        assert!(matches!(compare(&mut scanner(), text), Scan::Invalid { .. }));
    }
    assert_eq!(compare(&mut scanner(), b"{\"x\":\"\xe8"), Scan::Incomplete);
}

#[test]
fn what_follows_the_record_is_not_looked_at() {
    let mut scanner = scanner();
    for _ in 0..3 {
        assert_eq!(scanner.scan(b"[{\"a\":1},{\"a\":2}]", 1), Scan::Record { end: 8 });
        assert_eq!(scanner.scan(b"[{\"a\":1},{\"a\":2}]", 9), Scan::Record { end: 16 });
        assert_eq!(scanner.scan(b"{\"a\":1}\xff\xff\x00", 0), Scan::Record { end: 7 });
    }
}

/// A small generator of numbers: the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

const BYTES: &[u8] = b"\"\\{}[]:,0123456789.eE+-truefalsn \t\n\r\x00\x1f\x7f\xc3\xa9\xff\xed\xa0/ubx";

fn mutate(dice: &mut Dice, text: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(text.len() + 1);
        let byte = BYTES[dice.roll(BYTES.len())];
        match dice.roll(8) {
            0 if at < text.len() => text[at] = byte,
            1 => text.insert(at, byte),
            2 if at < text.len() => {
                text.remove(at);
            }
            3 if at < text.len() => text[at] ^= 1 << dice.roll(8),
            4 => text.truncate(at),
            5 => {
                let from = dice.roll(other.len());
                let to = (from + dice.roll(40)).min(other.len());
                text.splice(at..at, other[from..to].iter().copied());
            }
            6 => {
                let to = (at + dice.roll(40)).min(text.len());
                text.drain(at..to);
            }
            _ => {
                let to = (at + dice.roll(40)).min(text.len());
                let copy = text[at..to].to_vec();
                text.splice(at..at, copy);
            }
        }
    }
}

#[test]
fn mutated_records_have_the_verdict_of_serde_json() {
    let rounds = std::env::var("TRAILSHIP_MUTATIONS").map_or(20_000, |rounds| rounds.parse().unwrap());
    let mut records: Vec<Vec<u8>> = RECORDS.iter().map(|record| record.as_bytes().to_vec()).collect();
    records.extend(corpus());
    let mut dice = Dice(rounds);
    let mut scanner = scanner();
    let mut valid = 0;
    for round in 0..rounds {
        if round % 20_000 == 0 {
            scanner = self::scanner();
        }
        let mut text = records[dice.roll(records.len())].clone();
        if text.len() > 4_000 {
            continue;
        }
        compare(&mut scanner, &text);
        let other = records[dice.roll(records.len())].clone();
        mutate(&mut dice, &mut text, &other);
        let verdict = compare(&mut scanner, &text);
        let end = match verdict {
            Scan::Record { end } => Some(end),
            _ => None,
        };
        valid += u64::from(end.is_some());
        assert_eq!(end, oracle(&text), "{}", text.escape_ascii());
    }
    assert!(valid * 50 > rounds, "mutations must leave some records valid, not only {valid}");
}

#[test]
fn tables_that_are_full_lose_what_is_used_least() {
    let limits = ScanLimits { tables: 200_000, ..ScanLimits::default() };
    let mut scanner = Scanner::new(Arc::clone(scanner().slots()), limits);
    for round in 0..2_000 {
        for record in RECORDS {
            compare(&mut scanner, record.as_bytes());
        }
        let text = format!(r#"{{"a":{{"fresh{round}":1,"more{round}":[{{"b":2}}]}},"eventName":"x"}}"#);
        for _ in 0..3 {
            compare(&mut scanner, text.as_bytes());
            assert!(scanner.shapes.bytes() + scanner.paths.bytes() < 201_000);
        }
        assert_eq!(compare(&mut scanner, RECORDS[3].as_bytes()), Scan::Record { end: RECORDS[3].len() });
        assert!(round < 2 || scanner.leaves().iter().all(|leaf| !leaf.edge.is_temporary()), "{round}");
    }
    assert!(scanner.generation() > 2, "{}", scanner.generation());
}

#[test]
fn of_a_record_with_too_many_leaves_large_containers_are_kept_whole() {
    let mut slots = Slots::default();
    let wanted = ["a", "eventName", "userIdentity.arn", "big.b"].map(|path| slots.want(path));
    let limits = ScanLimits { leaves: 5_000, ..ScanLimits::default() };
    let mut scanner = Scanner::new(Arc::new(slots), limits);
    let many = vec![r#"{"b":[1,2,[]]}"#; 2_000].join(" , ");
    let text = format!(
        r#"{{"userIdentity":{{"arn":"x"}}, "big" : [{many}],"a":[{many}],"eventName":"y","z":[ {{ "\u0062":"\u00e9é" }} ]}}tail"#
    );
    for _ in 0..3 {
        assert_eq!(scanner.scan(text.as_bytes(), 0), Scan::Record { end: text.len() - 4 });
        assert!(scanner.truncated_index());
        let found =
            wanted.map(|slot| scanner.first(slot).map(|leaf| &text[leaf.start as usize..leaf.end as usize]));
        assert_eq!(found[1..], [Some(r#""y""#), Some(r#""x""#), None]);
        assert_eq!(found[0].unwrap().len(), many.len() + 2);
        let mut at = 0;
        for leaf in scanner.leaves() {
            assert_eq!(scanner.edge(leaf.edge).text, &text.as_bytes()[at..leaf.start as usize]);
            check_edge(scanner.edge(leaf.edge));
            at = leaf.end as usize;
        }
        assert_eq!(scanner.edge(scanner.tail()).text, b" } ]}");
        // The same text torn or broken is told apart as ever.
        for end in (0..text.len() - 4).step_by(997) {
            assert_eq!(scanner.scan(&text.as_bytes()[..end], 0), Scan::Incomplete);
        }
        let broken = text.replacen("[1,2,[]]}]", "[1,2,[]]}}", 1);
        assert!(matches!(scanner.scan(broken.as_bytes(), 0), Scan::Invalid { .. }));
    }
    let members: Vec<String> = (0..5_001).map(|at| format!(r#""{at}":0"#)).collect();
    let text = format!("{{{}}}", members.join(","));
    assert!(matches!(scanner.scan(text.as_bytes(), 0), Scan::Invalid { .. }));
    assert_eq!(compare(&mut scanner, RECORDS[3].as_bytes()), Scan::Record { end: RECORDS[3].len() });
    assert!(!scanner.truncated_index());
}

#[test]
fn a_container_that_is_skipped_is_judged_as_one_that_is_read() {
    let mut dice = Dice(11);
    let mut valid = 0;
    for _ in 0..20_000 {
        let mut text = RECORDS[dice.roll(RECORDS.len())].as_bytes().to_vec();
        let other = RECORDS[dice.roll(RECORDS.len())].as_bytes();
        mutate(&mut dice, &mut text, other);
        if text.first() != Some(&b'{') {
            continue;
        }
        let (expected, leaves) = plain::parse(&text, 0, 128);
        match (crate::record::skip::skip(&text, 0, 128), expected) {
            (Ok((at, found)), Scan::Record { end }) => {
                valid += 1;
                assert_eq!((at, found), (end, leaves.len() + usize::from(leaves.is_empty())));
            }
            (Err(Scan::Incomplete), Scan::Incomplete) | (Err(Scan::Invalid { .. }), Scan::Invalid { .. }) => {
            }
            (found, _) => panic!("{found:?} {expected:?} {}", text.escape_ascii()),
        }
    }
    assert!(valid > 300, "{valid}");
}

/// Records of the corpus beside the project, where it is there.
fn corpus() -> Vec<Vec<u8>> {
    let root = std::env::var_os("TRAILSHIP_CORPUS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        Into::into,
    );
    let mut records = Vec::new();
    for entry in walkdir::WalkDir::new(root.join("records"))
        .into_iter()
        .chain(walkdir::WalkDir::new(root.join("eventbridge")))
        .flatten()
    {
        let Ok(text) = std::fs::read(entry.path()) else { continue };
        let values = serde_json::Deserializer::from_slice(&text).into_iter::<&RawValue>();
        for value in values.map_while(Result::ok) {
            let value = value.get().trim();
            match serde_json::from_str::<Vec<&RawValue>>(value) {
                Ok(list) => records.extend(list.into_iter().map(|record| record.get().as_bytes().to_vec())),
                Err(_) if value.starts_with('{') => records.push(value.as_bytes().to_vec()),
                Err(_) => {}
            }
        }
    }
    if records.is_empty() {
        eprintln!("skipped: no corpus");
    }
    records
}

#[test]
fn real_records_have_the_leaves_of_the_plain_parser() {
    let records = corpus();
    let mut scanner = scanner();
    for _ in 0..3 {
        for record in &records {
            assert_eq!(compare(&mut scanner, record), Scan::Record { end: record.len() });
        }
    }
}

#[test]
fn ten_thousand_levels_are_refused_and_a_hundred_and_twenty_eight_accepted() {
    let mut scanner = scanner();
    let deep = |levels: usize, open: &str, close: &str| {
        format!("{{\"a\":{}1{}}}", open.repeat(levels), close.repeat(levels))
    };
    for _ in 0..3 {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let fits = deep(127, open, close);
            assert_eq!(compare(&mut scanner, fits.as_bytes()), Scan::Record { end: fits.len() });
            for levels in [128, 10_000] {
                assert!(matches!(
                    compare(&mut scanner, deep(levels, open, close).as_bytes()),
                    Scan::Invalid { .. }
                ));
            }
        }
        // An empty container is a level too, also where the way to it is learned.
        let fits = deep(126, "[", "]").replace('1', "[]");
        assert_eq!(compare(&mut scanner, fits.as_bytes()), Scan::Record { end: fits.len() });
        let full = deep(127, "[", "]");
        compare(&mut scanner, full.as_bytes());
        assert!(matches!(compare(&mut scanner, full.replace('1', "[]").as_bytes()), Scan::Invalid { .. }));
    }
}

#[test]
fn elements_of_long_arrays_have_their_own_index_and_shared_text() {
    let mut scanner = scanner();
    let element = |at: usize| match at % 7 {
        0..=3 => format!(r#"{{"ARN":"{at}","place":{{"zone":[{at},2],"x":{{}}}},"b":"x"}}"#),
        4 => format!(r#"{{"place":{{"zone":[]}},"fresh{at}":{{"a":1}},"ARN":1}}"#),
        5 => "[[1],[2,{\"a\":3}]]".to_owned(),
        _ => "null".to_owned(),
    };
    for len in [31, 32, 33, 34, 35, 70, 100, 300] {
        let list: Vec<String> = (0..len).map(element).collect();
        let list = list.join(",");
        let text = format!(r#"{{"resources":[{list}],"a":[[{list}],[{list}]],"eventName":"x"}}"#);
        for _ in 0..3 {
            assert_eq!(compare(&mut scanner, text.as_bytes()), Scan::Record { end: text.len() });
        }
    }
    let shared = |leaf: &&Leaf| scanner.is_far(**leaf) || scanner.like(leaf.edge).is_some();
    let far = scanner.leaves().iter().filter(shared).count();
    assert!(far * 10 > scanner.leaves().len() * 6, "{far} of {}", scanner.leaves().len());
    for leaf in scanner.leaves() {
        if let Some(like) = scanner.like(leaf.edge) {
            assert_eq!(scanner.edge(like).text, scanner.edge(leaf.edge).text);
        }
    }
}

proptest! {
    #[test]
    fn any_json_has_the_leaves_of_the_plain_parser(texts in proptest::collection::vec(json(), 1..8)) {
        let mut scanner = scanner();
        for text in texts.iter().chain(&texts).chain(&texts) {
            prop_assert_eq!(compare(&mut scanner, text.as_bytes()), Scan::Record { end: text.len() });
        }
    }
}

/// Objects with few different keys, so that shapes repeat, and blanks anywhere.
fn json() -> impl Strategy<Value = String> {
    let blank = prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n"), 1 => Just("\t\r ")];
    let key = prop_oneof![
        Just("a"),
        Just("b"),
        Just(""),
        Just("a.b"),
        Just("eventName"),
        Just("\\u0061"),
        Just("é{}"),
        Just("a key of more than thirty-two bytes")
    ];
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-0.1e9".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("{}".to_owned()),
        Just("[ ]".to_owned()),
        "[a-z\\{\\},:\u{e9}]{0,70}".prop_map(|text| format!("\"{text}\"")),
        Just("\"\\\"\\u00e9\\\\\"".to_owned()),
    ];
    let value = leaf.prop_recursive(4, 40, 6, {
        let (blank, key) = (blank.clone(), key.clone());
        move |inner| {
            prop_oneof![
                (proptest::collection::vec((blank.clone(), inner.clone(), blank.clone()), 1..6)).prop_map(
                    |items| {
                        let items: Vec<String> = items
                            .into_iter()
                            .map(|(before, item, after)| format!("{before}{item}{after}"))
                            .collect();
                        format!("[{}]", items.join(","))
                    }
                ),
                members(blank.clone(), key.clone(), inner),
            ]
        }
    });
    members(blank, key, value)
}

fn members(
    blank: impl Strategy<Value = &'static str> + Clone,
    key: impl Strategy<Value = &'static str>,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    proptest::collection::vec((blank.clone(), key, blank.clone(), value, blank), 1..6).prop_map(|items| {
        let items: Vec<String> = items
            .into_iter()
            .map(|(before, key, colon, item, after)| {
                format!("{before}\"{key}\"{colon}:{before}{item}{after}")
            })
            .collect();
        format!("{{{}}}", items.join(","))
    })
}
