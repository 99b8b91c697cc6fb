use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::encode::fuzz::with_record;
use crate::encode::tree::Node;
use crate::encode::{Encoder, Nested};
use crate::record::overlay::{Fragment, Overlay, Parent};
use crate::record::{Scan, ScanLimits, Scanner, Slots};
use crate::sink::opensearch::mapping::Flavour;

struct Writer {
    document: Document,
    plain: Encoder,
    encoder: Encoder,
    scanner: Scanner,
    properties: Value,
}

impl Writer {
    fn new(shape: Shape) -> Writer {
        let mapping = Arc::new(Mapping::new(&shape, false, &[]));
        let properties = mapping.properties(Flavour::Opensearch);
        let document = Document::new(shape.clone(), mapping, Arc::default());
        Writer {
            plain: Encoder::new(Arc::new(shape)),
            encoder: Encoder::new(Arc::new(Shape::Document(document.clone()))),
            document,
            scanner: Scanner::new(Arc::new(Slots::default()), ScanLimits::default()),
            properties,
        }
    }

    fn nested() -> Writer {
        Writer::new(Shape::Nested(Nested::default()))
    }

    fn flat() -> Writer {
        Writer::new(Shape::Flat(Flatten::default()))
    }

    /// What the shape writes, and the document.
    fn both(&mut self, record: &str, overlay: &mut Overlay) -> (String, String) {
        let (mut plain, mut out) = (Vec::new(), b"before".to_vec());
        let encoders = (&mut self.plain, &mut self.encoder);
        with_record(&mut self.scanner, record, overlay, |record| {
            encoders.0.encode(record, &mut plain);
            encoders.1.encode(record, &mut out);
        })
        .unwrap_or_else(|| panic!("no record: {record}"));
        assert!(out.starts_with(b"before"));
        (String::from_utf8(plain).unwrap(), String::from_utf8(out.split_off(6)).unwrap())
    }

    /// The document, the same each time it is made, and one the server takes.
    fn write(&mut self, record: &str) -> String {
        self.write_with(record, &mut Overlay::default())
    }

    fn write_with(&mut self, record: &str, overlay: &mut Overlay) -> String {
        let (plain, first) = self.both(record, overlay);
        for _ in 0..3 {
            assert_eq!(self.both(record, overlay), (plain.clone(), first.clone()), "of {record}");
        }
        server::takes(&self.properties, &first)
            .unwrap_or_else(|error| panic!("{error}: {first} of {record}"));
        // What needs nothing is not touched.
        if server::takes(&self.properties, &plain).is_ok() && !has_wrapped(&first) {
            assert!(first == plain || plain.len() > 31_000 || strict(&plain), "{first} of {plain}");
        }
        first
    }

    /// Whether the record goes the fast road.
    fn fits(&mut self, record: &str) -> bool {
        let mut needs = Needs::default();
        let (document, mut fits) = (self.document.clone(), false);
        for _ in 0..4 {
            with_record(&mut self.scanner, record, &mut Overlay::default(), |record| {
                fits = needs.fits(&document, record);
            });
        }
        fits
    }

    fn made(&self) -> [u64; 4] {
        let Counts { wrapped, too_long, other_type, same_name } = &*self.document.counts;
        [wrapped, too_long, other_type, same_name].map(|count| count.load(Relaxed))
    }
}

fn has_wrapped(text: &str) -> bool {
    text.contains("{\"value\":")
}

/// Whether we are stricter than the server there: names with blanks or of its own kind, arrays more than 16 deep.
fn strict(text: &str) -> bool {
    text.contains("\"_")
        || text.contains("[[[[[[")
        || text.contains('\u{a0}')
        || text.contains("\\u0000")
        || text.contains("\\u002e")
        || text.contains(".\"")
        || text.contains(".eventName\":[]")
}

const USUAL: &str = r#"{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/a","sessionContext":{"attributes":{"creationDate":"2024-01-01T00:00:00Z","mfaAuthenticated":"true"}}},"eventTime":"2024-02-29T23:59:59Z","eventName":"PutObject","sourceIPAddress":"10.0.0.1","requestParameters":{"bucketName":"b","tags":[{"k":"a"},{"k":"b"}]},"responseElements":null,"readOnly":false,"resources":[{"ARN":"a","type":"t"},{"ARN":"b"}],"eventID":"x","tlsDetails":{}}"#;

#[test]
fn what_needs_nothing_is_copied() {
    for mut writer in [Writer::nested(), Writer::flat()] {
        let (plain, document) = writer.both(USUAL, &mut Overlay::default());
        assert_eq!(plain, document);
        assert!(writer.fits(USUAL));
        assert_eq!(writer.made(), [0; 4]);
    }
}

#[test]
fn what_is_no_object_in_a_flattened_field_is_wrapped() {
    let mut writer = Writer::nested();
    for value in
        ["\"text\"", "1", "true", "[]", "[\"a\"]", "[{\"a\":1}]", "[{\"a\":1},\"x\",null,[3]]", "\"\""]
    {
        let document = writer.write(&format!("{{\"eventName\":\"a\",\"requestParameters\":{value}}}"));
        assert_eq!(document, format!("{{\"eventName\":\"a\",\"requestParameters\":{{\"value\":{value}}}}}"));
    }
    for value in ["null", "{}", "{\"a\":[1,\"x\",{\"b\":null}]}", "{\"\":{\".\":1,\"a.b\":2}}"] {
        let record = format!("{{\"requestParameters\":{value}}}");
        assert_eq!(writer.write(&record), record);
    }
    assert!(writer.made()[0] > 8);
}

#[test]
fn long_leaves_are_moved_and_counted() {
    let long = "x".repeat(100_000);
    let mut writer = Writer::nested();
    let record = format!(
        r#"{{"requestParameters":{{"policy":"{long}","list":["a","{long}"]}},"errorMessage":"{long}","other":"{long}"}}"#
    );
    let expected = format!(
        r#"{{"requestParameters":{{"list":["a",null]}},"other":"{long}","trailship":{{"unindexed":{{"requestParameters.policy":"{long}","requestParameters.list.1":"{long}","errorMessage":"{long}"}}}}}}"#
    );
    let (_, document) = writer.both(&record, &mut Overlay::default());
    assert_eq!(document, expected);
    assert_eq!(writer.made(), [0, 3, 0, 0]);
    // At the limit, and one over it: the name counts.
    let name = "requestParameters.a.".len();
    for (length, moved) in [(LONGEST_LEAF - name, false), (LONGEST_LEAF - name + 1, true)] {
        let record = format!(r#"{{"requestParameters":{{"a":"{}"}}}}"#, "y".repeat(length - 2));
        assert_eq!(writer.write(&record) != record, moved, "{length}");
    }
    // Escapes are longer than what they say.
    let record = format!(r#"{{"requestParameters":{{"a":"{}"}}}}"#, "\\n".repeat(20_000));
    assert_eq!(writer.write(&record), record);
}

const LONGEST_LEAF: usize = super::super::mapping::LONGEST;

#[test]
fn what_has_another_type_is_moved_beside() {
    let mut writer = Writer::nested();
    for (record, expected) in [
        (
            r#"{"eventName":{"a":1},"readOnly":"yes"}"#,
            r#"{"trailship":{"unindexed":{"eventName":{"a":1},"readOnly":"yes"}}}"#,
        ),
        (r#"{"userIdentity":"x"}"#, r#"{"trailship":{"unindexed":{"userIdentity":"x"}}}"#),
        (
            r#"{"resources":[{"ARN":"a"},"b",{"ARN":{"c":1}}]}"#,
            r#"{"resources":[{"ARN":"a"},null,{}],"trailship":{"unindexed":{"resources.1":"b","resources.2.ARN":{"c":1}}}}"#,
        ),
        (
            r#"{"trailship":{"account":{"id":"1"}},"_id":1,"":2,".":3,"a..b":4}"#,
            r#"{"trailship":{"account":{"id":"1"},"unindexed":{"_id":1,"":2,".":3,"a..b":4}}}"#,
        ),
        (r#"{"trailship":5}"#, r#"{"trailship":{"unindexed":{"trailship":5}}}"#),
        (r#"{"trailship":{},"":1}"#, r#"{"trailship":{"unindexed":{"":1}}}"#),
        (
            r#"{"@timestamp":"2024-01-01T00:00:00Z"}"#,
            r#"{"trailship":{"unindexed":{"@timestamp":"2024-01-01T00:00:00Z"}}}"#,
        ),
        (
            r#"{"eventName.x":1,"eventTime.":2}"#,
            r#"{"trailship":{"unindexed":{"eventName.x":1,"eventTime.":2}}}"#,
        ),
        (r#"{"requestParameters.x":1}"#, r#"{"trailship":{"unindexed":{"requestParameters.x":1}}}"#),
        (
            r#"{"userIdentity":{"":1,"type":"a"}}"#,
            r#"{"userIdentity":{"type":"a"},"trailship":{"unindexed":{"userIdentity.":1}}}"#,
        ),
    ] {
        assert_eq!(writer.write(record), expected, "of {record}");
    }
}

#[test]
fn members_of_one_name_are_both_kept() {
    let mut writer = Writer::nested();
    for (record, expected) in [
        (r#"{"a":1,"a":2,"\u0061":3}"#, r#"{"a":1,"a__2":2,"a__3":3}"#),
        (r#"{"u":{"a":{"x":1},"a":{"y":2}}}"#, r#"{"u":{"a":{"x":1},"a__2":{"y":2}}}"#),
        (
            r#"{"requestParameters":{"a":[{"b":1,"b":1}]}}"#,
            r#"{"requestParameters":{"a":[{"b":1,"b__2":1}]}}"#,
        ),
        (
            r#"{"userIdentity":{"type":"a"},"userIdentity":{"arn":"b"}}"#,
            r#"{"userIdentity":{"type":"a"},"userIdentity__2":{"arn":"b"}}"#,
        ),
    ] {
        assert_eq!(writer.write(record), expected, "of {record}");
    }
    assert_eq!(Writer::flat().write(r#"{"u":[{"a":1,"a":2}]}"#), r#"{"u":[{"a":1,"a__2":2}]}"#);
}

#[test]
fn what_no_server_reads_is_kept_as_text() {
    let mut writer = Writer::nested();
    let digits = "7".repeat(1_200);
    assert_eq!(
        writer.write(&format!(r#"{{"u":{digits},"requestParameters":{{"n":{digits}}}}}"#)),
        format!(r#"{{"u":"{digits}","requestParameters":{{"n":"{digits}"}}}}"#)
    );
    let name = "k".repeat(60_000);
    assert_eq!(
        writer.write(&format!(r#"{{"u":{{"{name}":1,"b":2}}}}"#)),
        format!(
            r#"{{"u":{{"b":2}},"trailship":{{"unindexed":{{"u.{}…":"{{\"{name}\":1}}"}}}}}}"#,
            "k".repeat(998)
        )
    );
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    assert_eq!(
        writer.write(&format!(r#"{{"u":{deep}}}"#)),
        format!(r#"{{"trailship":{{"unindexed":{{"u":"{deep}"}}}}}}"#)
    );
    let nested = format!(r#"{{"requestParameters":{}1{}}}"#, "{\"a\":".repeat(100), "}".repeat(100));
    assert_eq!(writer.write(&nested), nested);
}

#[test]
fn many_names_need_nothing() {
    let members: Vec<String> = (0..10_000).map(|n| format!("\"key{n}\":\"v{n}\"")).collect();
    let record = format!("{{\"requestParameters\":{{{}}}}}", members.join(","));
    for mut writer in [Writer::nested(), Writer::flat()] {
        let (plain, document) = writer.both(&record, &mut Overlay::default());
        assert_eq!(plain, document);
    }
}

#[test]
fn the_flat_shape_s_columns_are_checked_by_their_keys() {
    let mut writer = Writer::flat();
    for (record, expected) in [
        // A subtree that is kept as JSON text fits whatever it holds.
        (
            r#"{"requestParameters":{"a":1,"":[["x"]]},"responseElements":"y"}"#,
            r#"{"requestParameters":"{\"a\":1,\"\":[[\"x\"]]}","responseElements":"y"}"#,
        ),
        (r#"{"userIdentity":{"type":{"x":1}}}"#, r#"{"trailship.unindexed":{"userIdentity.type.x":1}}"#),
        (
            r#"{"userIdentity":"x","a":{"":{"b":1}}}"#,
            r#"{"trailship.unindexed":{"userIdentity":"x","a..b":1}}"#,
        ),
        (
            r#"{"resources":[{"ARN":{"c":1}}]}"#,
            r#"{"resources":[{}],"trailship.unindexed":{"resources.0.ARN":{"c":1}}}"#,
        ),
    ] {
        assert_eq!(writer.write(record), expected, "of {record}");
    }
    // The elements of this would be indexed as event names.
    assert_eq!(
        writer.write(r#"{"a":{"eventName":["x"],"readOnly":1}}"#),
        r#"{"a.readOnly":1,"trailship.unindexed":{"a.eventName":["x"]}}"#
    );
    // JSON text goes where a text is expected, however it came there.
    let mut shallow = Writer::new(Shape::Flat(Flatten { max_depth: 1, ..Flatten::default() }));
    let (plain, document) = shallow.both(USUAL, &mut Overlay::default());
    assert_eq!(plain, document);
    assert!(shallow.fits(USUAL));
}

#[test]
fn additions_are_judged_once() {
    let fragment =
        |id, members: &str| Rc::new(Fragment { id, members: members.as_bytes().into(), leaves: Vec::new() });
    let overlay =
        |id, members| Overlay { added: vec![(Parent::Account, fragment(id, members))], ..Overlay::default() };
    for mut writer in [Writer::nested(), Writer::flat()] {
        for id in [0, 1] {
            let fine = writer.write_with(USUAL, &mut overlay(id, r#""id":"1","tags":{"a.b":"c"}"#));
            assert!(!fine.contains("unindexed"), "{fine}");
            let moved = writer.write_with(USUAL, &mut overlay(id * 2, r#""id":{"x":1}"#));
            assert!(moved.contains("unindexed"), "{moved}");
        }
    }
}

#[test]
fn lines_are_joined_and_a_member_of_our_name_keeps_it_on_either_road() {
    let mut writer = Writer::nested();
    let members = br#""id":"1""#;
    let fragment = || Rc::new(Fragment { id: 7, members: (*members).into(), leaves: Vec::new() });
    let mut added = Overlay { added: vec![(Parent::Account, fragment())], ..Overlay::default() };
    let cases = [
        ("{\n\"a\":1}", r#"{"a":1}"#),
        ("{\"a\":1\r}", r#"{"a":1}"#),
        ("{\"readOnly\":true,\n\"a\":{ \"b\":[1,\n2]}}", r#"{"readOnly":true,"a":{"b":[1,2]}}"#),
        ("{ \"a\": 1}", r#"{ "a": 1}"#),
    ];
    for (record, own) in cases {
        assert!(writer.fits(record));
        assert_eq!(writer.write(record), own);
        let with = format!("{},\"trailship\":{{\"account\":{{\"id\":\"1\"}}}}}}", &own[..own.len() - 1]);
        assert_eq!(writer.write_with(record, &mut added), with);
    }
    let record = r#"{"eventName":"a","trailship":{"x":1}}"#;
    let document = writer.write_with(record, &mut added);
    assert!(document.ends_with(r#","trailship__2":{"account":{"id":"1"}}}"#), "{document}");
}

#[test]
fn what_a_transform_replaced_has_to_fit_too() {
    let mut writer = Writer::nested();
    let record = r#"{"readOnly":true,"requestParameters":{"a":"b"}}"#;
    let mut fine = Overlay { replaced: vec![(1, (*b"\"REDACTED\"").into())], ..Overlay::default() };
    assert_eq!(
        writer.write_with(record, &mut fine),
        r#"{"readOnly":true,"requestParameters":{"a":"REDACTED"}}"#
    );
    let mut other = Overlay { replaced: vec![(0, (*b"\"REDACTED\"").into())], ..Overlay::default() };
    assert_eq!(
        writer.write_with(record, &mut other),
        r#"{"requestParameters":{"a":"b"},"trailship":{"unindexed":{"readOnly":"REDACTED"}}}"#
    );
}

/// Names that mean something to the index, and some that nobody should have.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "eventName",
        "eventTime",
        "readOnly",
        "userIdentity",
        "type",
        "sessionContext",
        "sessionIssuer",
        "resources",
        "ARN",
        "requestParameters",
        "responseElements",
        "trailship",
        "unindexed",
        "account",
        "id",
        "tags",
        "signals",
        "@timestamp",
        "insightDetails",
        "insightContext",
        "attributions",
        "insight",
        "average",
        "a",
        "b",
        "",
        " ",
        ".",
        "a.b",
        "a.",
        ".a",
        "userIdentity.type",
        "requestParameters.x",
        "eventName.x",
        "trailship.unindexed",
        "resources.ARN",
        "_id",
        "_source",
        "\\u0061",
        "\\ud800",
        "\\u0000",
        "\\u002e",
        "é",
        "sourceIPAddress",
        "timeWindow",
        "windowStart",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        prop::sample::select(vec![
            "1",
            "-0.5e+3",
            "1e400",
            "true",
            "false",
            "null",
            "\"\"",
            "\"x\"",
            "{}",
            "[]",
            "\"\\ud800\"",
            "\"2024-01-01T00:00:00Z\"",
            "\"10.0.0.1\"",
            "[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]",
        ])
        .prop_map(str::to_owned),
        (0..200).prop_map(|number| format!("\"a text of no length {number}\"")),
        Just("9".repeat(1_001)),
        (31_960usize..32_020).prop_map(|length| format!("\"{}\"", "y".repeat(length))),
    ];
    scalar.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|all| format!("[{}]", all.join(","))),
            inner.clone().prop_map(|one| {
                let times = if one.len() > 100 { 2 } else { 36 };
                format!("[{}]", vec![one; times].join(","))
            }),
            members(inner, 1..5),
        ]
    })
}

fn members(
    value: impl Strategy<Value = String>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = String> {
    prop::collection::vec((name(), value), count).prop_map(|members| {
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// The scalars of a document that say something, sorted.
fn scalars(text: &str) -> Vec<String> {
    fn walk(node: &Node<'_>, out: &mut Vec<String>) {
        match node {
            Node::Leaf(text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                if text.starts_with('"') && text.len() > 10 {
                    out.push(text);
                }
            }
            Node::Object(members, _) => members.iter().for_each(|(_, node)| walk(node, out)),
            Node::Array(elements, _) => elements.iter().for_each(|(_, node)| walk(node, out)),
        }
    }
    let mut out = Vec::new();
    walk(&Node::read(text.as_bytes()), &mut out);
    out.sort();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_a_document_the_server_takes(records in prop::collection::vec(members(value(), 0..7), 1..4)) {
        for mut writer in [Writer::nested(), Writer::flat()] {
            for _ in 0..2 {
                for record in &records {
                    let document = writer.write(record);
                    // Nothing is lost, but for what is inside a text now.
                    let (plain, _) = writer.both(record, &mut Overlay::default());
                    let (mut before, after) = (scalars(&plain), scalars(&document));
                    before.retain(|text| !after.contains(text));
                    if !document.contains("\\\"") {
                        prop_assert!(before.is_empty(), "{before:?} of {record} in {document}");
                    }
                }
            }
        }
    }
}

mod head;
mod long_arrays;
