//! Both shapes against what they promise.

use proptest::prelude::*;

use super::sample::{
    added, checked, corpus, edits, encode, fragment, keys, overlay, record, scanner, settings, slow,
    with_record,
};
use super::unflatten::unflatten;
use super::{Arrays, Flatten, Nested, Shape};
use crate::record::overlay::{Overlay, Parent};

fn nested(text: &str, overlay: &mut Overlay) -> String {
    encode(&Shape::Nested(Nested::default()), text, overlay)
}

fn flat(shape: &Flatten, text: &str, overlay: &mut Overlay) -> String {
    encode(&Shape::Flat(shape.clone()), text, overlay)
}

fn indexed() -> Flatten {
    Flatten { arrays: Arrays::Index, ..Flatten::default() }
}

fn without_duplicates(text: &str) {
    let mut keys = keys(text);
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "{text}");
}

#[test]
fn a_nested_record_is_written_as_aws_wrote_it() {
    let text = r#"{ "b":1.0E9, "a":"\u003d" , "z":{ "k" : [ ] } }"#;
    assert_eq!(nested(text, &mut Overlay::default()), text);
    assert_eq!(
        nested(r#"{"b":514.0,"a":"\u003d"}"#, &mut added()),
        r#"{"b":514.0,"a":"\u003d","trailship":{"account":{"name":"pay","tags":{"env":"prod"}},"signals":["a","b"]}}"#
    );
}

#[test]
fn an_empty_record_needs_no_comma() {
    assert_eq!(nested("{}", &mut Overlay::default()), "{}");
    assert_eq!(nested("{ }", &mut Overlay::default()), "{ }");
    let mut more = Overlay { added: vec![(Parent::Root, fragment(1, r#""n":1"#))], ..Overlay::default() };
    assert_eq!(nested("{}", &mut more), r#"{"trailship":{"n":1}}"#);
    assert_eq!(nested("{\n}", &mut more), r#"{"trailship":{"n":1}}"#);
    assert_eq!(flat(&indexed(), "{}", &mut more), r#"{"trailship.n":1}"#);
    assert_eq!(flat(&indexed(), "{ }", &mut Overlay::default()), "{}");
}

#[test]
fn a_record_that_has_our_key_keeps_it() {
    let mut more = Overlay { added: vec![(Parent::Root, fragment(1, r#""n":1"#))], ..Overlay::default() };
    assert_eq!(
        nested(r#"{"trailship":"theirs"}"#, &mut more),
        r#"{"trailship":"theirs","trailship__2":{"n":1}}"#
    );
    assert_eq!(
        nested(r#"{"trailship__2":0,"tr\u0061ilship":{"x":1}}"#, &mut more),
        r#"{"trailship__2":0,"tr\u0061ilship":{"x":1},"trailship__3":{"n":1}}"#
    );
    assert_eq!(
        flat(&indexed(), r#"{"trailship":{"n":0},"trailship.n__2":1}"#, &mut more),
        r#"{"trailship.n":0,"trailship.n__2":1,"trailship.n__3":1}"#
    );
}

#[test]
fn a_record_of_many_lines_becomes_one() {
    let text = "{\r\n  \"a b\" : \"c  d\",\n  \"e\": { },\n \"requestParameters\": {\n \"x\": [ 1,\n 2 ] } }";
    assert_eq!(
        nested(text, &mut Overlay::default()),
        r#"{"a b":"c  d","e":{},"requestParameters":{"x":[1,2]}}"#
    );
    assert_eq!(
        flat(&indexed(), text, &mut Overlay::default()),
        r#"{"a b":"c  d","e":{},"requestParameters":"{\"x\":[1,2]}"}"#
    );
    assert_eq!(nested("{\"a\":{\n}}", &mut Overlay::default()), r#"{"a":{}}"#);
}

#[test]
fn kept_values_are_json_text_and_null_stays_null() {
    let shape = indexed();
    let text = r#"{"requestParameters":{ "a":"b\"c","n":[1, {}]},"responseElements":null,"x":{"requestParameters":{"y":1}}}"#;
    assert_eq!(
        flat(&shape, text, &mut Overlay::default()),
        r#"{"requestParameters":"{ \"a\":\"b\\\"c\",\"n\":[1, {}]}","responseElements":null,"x.requestParameters.y":1}"#
    );
    let text = r#"{"requestParameters":{},"responseElements":[],"additionalEventData":"text","serviceEventDetails":[7]}"#;
    assert_eq!(
        flat(&shape, text, &mut Overlay::default()),
        r#"{"requestParameters":"{}","responseElements":"[]","additionalEventData":"text","serviceEventDetails":"[7]"}"#
    );
}

#[test]
fn arrays_are_written_as_asked() {
    let text = r#"{"a":[1,"x y",null],"b":[{"c":1},[2,[]]],"e":[]}"#;
    for (arrays, expected) in [
        (Arrays::Keep, text),
        (Arrays::Index, r#"{"a.0":1,"a.1":"x y","a.2":null,"b.0.c":1,"b.1.0":2,"b.1.1":[],"e":[]}"#),
        (Arrays::Join, r#"{"a":"1,x y,null","b":"[{\"c\":1},[2,[]]]","e":""}"#),
        (Arrays::Json, r#"{"a":"[1,\"x y\",null]","b":"[{\"c\":1},[2,[]]]","e":"[]"}"#),
    ] {
        assert_eq!(flat(&Flatten { arrays, ..Flatten::default() }, text, &mut Overlay::default()), expected);
    }
}

#[test]
fn a_collision_never_loses_a_value() {
    let shape = indexed();
    for (text, expected) in [
        (r#"{"a.b":1,"a":{"b":2}}"#, r#"{"a.b":1,"a.b__2":2}"#),
        (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":1,"a__2":2,"a__3":3}"#),
        (r#"{"a":1,"a":2,"a__2":3,"a":4}"#, r#"{"a":1,"a__2":2,"a__2__2":3,"a__3":4}"#),
        (r#"{"a":{"b":1},"a":{"b":2,"c":3}}"#, r#"{"a.b":1,"a.b__2":2,"a.c":3}"#),
        (r#"{"a":1,"\u0061":2}"#, r#"{"a":1,"\u0061__2":2}"#),
        (r#"{"a":[5],"a.0":6}"#, r#"{"a.0":5,"a.0__2":6}"#),
        (r#"{"a":{"":1,".":2},"":{"":3},".":4}"#, r#"{"a.":1,"a..":2,".":3,".__2":4}"#),
    ] {
        assert_eq!(flat(&shape, text, &mut Overlay::default()), expected);
    }
}

#[test]
fn beyond_the_limits_values_are_json_text() {
    let text = r#"{"a":{"b":{"c":1,"d":{}},"e":[[2]]},"f":{"g":1,"h":2,"i":3},"j":4}"#;
    for (shape, expected) in [
        (
            Flatten { max_depth: 2, ..indexed() },
            r#"{"a.b":"{\"c\":1,\"d\":{}}","a.e":"[[2]]","f.g":1,"f.h":2,"f.i":3,"j":4}"#,
        ),
        (
            Flatten { max_depth: 1, ..indexed() },
            r#"{"a":"{\"b\":{\"c\":1,\"d\":{}},\"e\":[[2]]}","f":"{\"g\":1,\"h\":2,\"i\":3}","j":4}"#,
        ),
        (
            Flatten { max_fields: 5, ..indexed() },
            r#"{"a.b.c":1,"a.b.d":{},"a.e.0.0":2,"f":"{\"g\":1,\"h\":2,\"i\":3}","j":4}"#,
        ),
        (
            Flatten { max_fields: 2, ..indexed() },
            r#"{"a":"{\"b\":{\"c\":1,\"d\":{}},\"e\":[[2]]}","f":"{\"g\":1,\"h\":2,\"i\":3}","j":4}"#,
        ),
        (
            Flatten { max_key: 4, ..indexed() },
            r#"{"a.b":"{\"c\":1,\"d\":{}}","a.e":"[[2]]","f.g":1,"f.h":2,"f.i":3,"j":4}"#,
        ),
    ] {
        assert_eq!(flat(&shape, text, &mut Overlay::default()), expected);
    }
}

#[test]
fn what_is_kept_as_json_text_is_one_field_however_large() {
    let list = vec![r#"{"a":1,"b":"x"}"#; 3_000].join(",");
    let text = format!(r#"{{"eventName":"e","responseElements":{{"list":[{list}]}},"z":[{list}]}}"#);
    let escaped = list.replace('"', "\\\"");
    let expected =
        format!(r#"{{"eventName":"e","responseElements":"{{\"list\":[{escaped}]}}","z":[{list}]}}"#);
    assert_eq!(flat(&Flatten::default(), &text, &mut Overlay::default()), expected);
    let expected = expected.replace(&format!("[{list}]"), &format!("\"[{escaped}]\""));
    assert_eq!(flat(&indexed(), &text, &mut Overlay::default()), expected);
}

#[test]
fn edits_are_honoured_in_both_shapes() {
    let text = r#"{"a":{"b":1},"responseElements":{"credentials":{"sessionToken":"secret","x":"y"}},"c":[{"d":2},3]}"#;
    let mut overlay = Overlay { replaced: vec![(1, br#""(gone)""#[..].into())], ..Overlay::default() };
    assert_eq!(nested(text, &mut overlay), text.replace("secret", "(gone)"));
    assert_eq!(
        flat(&Flatten::default(), text, &mut overlay),
        r#"{"a.b":1,"responseElements":"{\"credentials\":{\"sessionToken\":\"(gone)\",\"x\":\"y\"}}","c":[{"d":2},3]}"#
    );
    overlay.removed = vec![0, 2, 3];
    assert_eq!(
        nested(text, &mut overlay),
        r#"{"responseElements":{"credentials":{"sessionToken":"(gone)"}},"c":[3]}"#
    );
    assert_eq!(
        flat(&indexed(), text, &mut overlay),
        r#"{"responseElements":"{\"credentials\":{\"sessionToken\":\"(gone)\"}}","c.1":3}"#
    );
    overlay.removed = vec![0, 1, 2, 3, 4];
    assert_eq!(nested(text, &mut overlay), "{}");
    assert_eq!(flat(&indexed(), text, &mut overlay), "{}");
}

#[test]
fn lossless_keys_tell_their_path() {
    let shape = Flatten { lossless: true, keep_json: Vec::new(), ..indexed() };
    let text = r#"{"a.b":1,"a":{"0":2,"0":[3]},"a":4,"a\\":5,"":{"":6},"a\u002e":7,"x#2":8}"#;
    let out = flat(&shape, text, &mut Overlay::default());
    assert_eq!(
        out,
        r#"{"a\\.b":1,"a.\\0":2,"a.\\0\\#2.0":3,"a\\#2":4,"a\\\\\\":5,".":6,"a\\\u002e":7,"x#2":8}"#
            .replace(r#""a\\\\\\""#, r#""a\\\\""#)
    );
    assert_eq!(unflatten(&out, &shape), text);
}

/// Leaves as paths without positions and texts, for comparing records by what they hold.
fn leaves(text: &str) -> Vec<(String, String)> {
    with_record(&mut scanner(), text, &mut Overlay::default(), |record| {
        let paths = record.index.paths();
        let leaf = |leaf: &crate::record::Leaf| {
            let text = record.buffer[leaf.start as usize..leaf.end as usize].to_vec();
            let text = String::from_utf8(text).unwrap();
            let text =
                if text.starts_with(['{', '[']) { text.replace([' ', '\t', '\r', '\n'], "") } else { text };
            (paths.dotted(record.index.edge(leaf.edge).path), text)
        };
        record.index.leaves().iter().map(leaf).collect()
    })
}

proptest! {
    #[test]
    fn the_lossless_shape_gives_every_record_back(text in record(), arrays in prop::sample::select(vec![Arrays::Index, Arrays::Keep]), separator in prop::sample::select(vec![".", "__"])) {
        let shape = Flatten {
            lossless: true, keep_json: Vec::new(), arrays, separator: separator.into(),
            max_depth: 1_000, max_fields: usize::MAX, max_key: usize::MAX, ..Flatten::default()
        };
        let out = slow(&shape, &text, &mut Overlay::default());
        without_duplicates(&out);
        let compact: String = {
            let mut out = Vec::new();
            super::text::strip(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        let mut back = Vec::new();
        super::text::strip(unflatten(&out, &shape).as_bytes(), &mut back);
        prop_assert_eq!(String::from_utf8(back).unwrap(), compact);
    }

    #[test]
    fn flat_records_are_json_within_their_limits(text in record(), shape in settings(), edits in edits(), with_added in any::<bool>()) {
        let mut overlay = overlay(&text, &edits, with_added);
        let out = slow(&shape, &text, &mut overlay);
        without_duplicates(&out);
        let value = checked(&out);
        let own = serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let duplicates = keys(&text).len();
        let fields = keys(&out).iter().filter(|key| !with_added || !key.starts_with("trailship")).count();
        prop_assert!(fields <= shape.max_fields.max(duplicates), "{} of {:?}", fields, own);
        if shape.arrays != Arrays::Keep && edits.is_empty() {
            prop_assert!(value.as_object().unwrap().values().all(|value| match value {
                serde_json::Value::Array(list) => list.is_empty(),
                serde_json::Value::Object(map) => map.is_empty(),
                _ => true,
            }), "{}", out);
        }
    }

    #[test]
    fn the_fast_road_writes_what_the_slow_one_does(
        texts in prop::collection::vec(record(), 1..4), shape in settings(), edits in edits(), with_added in any::<bool>(),
    ) {
        let mut scanner = scanner();
        let mut encoder = super::Encoder::new(std::sync::Arc::new(Shape::Flat(shape.clone())));
        for _ in 0..4 {
            for text in &texts {
                let mut overlay = overlay(text, &edits, with_added);
                let expected = slow(&shape, text, &mut overlay);
                let mut out = Vec::new();
                with_record(&mut scanner, text, &mut overlay, |record| encoder.encode(record, &mut out));
                prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }

    #[test]
    fn nested_records_hold_what_they_held(text in record(), edits in edits(), with_added in any::<bool>()) {
        let mut overlay = overlay(&text, &edits, with_added);
        let mut expected = leaves(&text);
        for (position, new) in &overlay.replaced {
            expected[*position as usize].1 = String::from_utf8(new.to_vec()).unwrap();
        }
        for position in overlay.removed.iter().rev() {
            expected.remove(*position as usize);
        }
        let replaced_by_container = overlay.replaced.iter().any(|(_, new)| new.starts_with(b"{"));
        let out = nested(&text, &mut overlay);
        checked(&out);
        let mut held = leaves(&out);
        held.truncate(held.len() - if with_added { 4 } else { 0 });
        if !replaced_by_container {
            let got: Vec<_> = held.iter().filter(|(path, text)| !(path.is_empty() && text == "{}")).cloned().collect();
            let expected: Vec<_> = expected.iter().filter(|(path, text)| !(path.is_empty() && text == "{}")).cloned().collect();
            prop_assert_eq!(got, expected);
        }
        if overlay.removed.is_empty() && overlay.replaced.is_empty() && !with_added && !text.contains('\n') {
            prop_assert_eq!(out, text);
        }
    }
}

#[test]
fn real_records_come_back_from_the_flat_shape() {
    let shape = Flatten { max_depth: 1_000, max_fields: usize::MAX, max_key: usize::MAX, ..indexed() };
    let lossless = Flatten { lossless: true, keep_json: Vec::new(), ..shape.clone() };
    for text in corpus() {
        let mut compact = Vec::new();
        super::text::strip(text.as_bytes(), &mut compact);
        let compact = String::from_utf8(compact).unwrap();
        let out = slow(&lossless, &compact, &mut Overlay::default());
        checked(&out);
        without_duplicates(&out);
        assert_eq!(unflatten(&out, &lossless), compact);
        let out = nested(&text, &mut added());
        let mut value = checked(&out);
        value.as_object_mut().unwrap().shift_remove("trailship");
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(&text).unwrap());
    }
}

#[test]
fn generated_records_are_flattened_alike_by_both_roads() {
    use crate::generate::{Generator, Options, Profile};
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(rename = "Records")]
        records: Vec<Box<serde_json::value::RawValue>>,
    }
    let options =
        Options { bytes: 400_000, large: 0.01, fresh_keys: 1, kinds: false, ..Options::new(Profile::Mixed) };
    let shapes = [
        Flatten::default(),
        Flatten { keep_json: Vec::new(), ..indexed() },
        Flatten { keep_json: Vec::new(), arrays: Arrays::Json, max_depth: 3, ..Flatten::default() },
    ];
    for shape in shapes {
        let mut generator = Generator::new(&options).unwrap();
        let mut scanner = scanner();
        let mut encoder = super::Encoder::new(std::sync::Arc::new(Shape::Flat(shape.clone())));
        while let Some(object) = generator.next_object() {
            let file: File = serde_json::from_slice(object.body).unwrap();
            for record in file.records {
                let expected = slow(&shape, record.get(), &mut added());
                let mut out = Vec::new();
                with_record(&mut scanner, record.get(), &mut added(), |record| {
                    encoder.encode(record, &mut out)
                });
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}

#[test]
fn real_records_are_flattened_alike_by_both_roads() {
    use Arrays::{Index, Join, Json, Keep};
    let texts = corpus();
    for arrays in [Keep, Index, Join, Json] {
        for (max_depth, separator) in [(32, "."), (2, "_")] {
            let shape = Flatten { arrays, max_depth, separator: separator.into(), ..Flatten::default() };
            let mut scanner = scanner();
            let mut encoder = super::Encoder::new(std::sync::Arc::new(Shape::Flat(shape.clone())));
            for text in &texts {
                let expected = slow(&shape, text, &mut added());
                without_duplicates(&expected);
                let mut out = Vec::new();
                with_record(&mut scanner, text, &mut added(), |record| encoder.encode(record, &mut out));
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
