//! How the input is cut, packed and windowed changes nothing.

use proptest::prelude::*;

use super::*;

/// A JSON value as text, with blanks, escapes and odd spellings.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-0".to_owned()),
        Just("1.50E-7".to_owned()),
        Just(r#""},{""#.to_owned()),
        Just(r#""\"}]},{\"eventVersion\":\"1\"""#.to_owned()),
        Just(r#""\u0041\\\ud83d\ude00é\ud800""#.to_owned()),
        "[a-z{}\\[\\],: ]{0,12}".prop_map(|text| format!("\"{text}\"")),
        (0usize..3000).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), blank())
                .prop_map(|(items, blank)| format!("[{blank}{}]", items.join(&format!("{blank},")))),
            (prop::collection::vec(("[a-z]{1,4}", inner), 0..4), blank()).prop_map(|(items, blank)| {
                let members: Vec<String> =
                    items.iter().map(|(key, text)| format!("\"{key}\"{blank}:{text}")).collect();
                format!("{{{}{blank}}}", members.join(","))
            }),
        ]
    })
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\t \r")]
}

/// A record with free members.
fn records() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec((value(), value(), blank()), 0..12).prop_map(|values| {
        let number = |at: usize| u32::try_from(at).unwrap();
        let one = |(at, (a, b, blank)): (usize, &(String, String, &str))| {
            record(number(at), &format!(r#"{blank},"requestParameters":{blank}{a}{blank},"Records":{b}"#))
        };
        values.iter().enumerate().map(one).collect()
    })
}

#[derive(Clone, Debug)]
struct Case {
    records: Vec<String>,
    text: String,
}

/// Records in one of the shapes, with things beside them.
fn case() -> impl Strategy<Value = Case> {
    (records(), value(), blank(), 0..8).prop_map(|(records, extra, blank, shape)| {
        let comma = format!("{blank},{blank}");
        let text = match shape {
            0 => format!(r#"{blank}{{"Records"{blank}:{blank}[{blank}{}{blank}]{blank}}}"#, records.join(&comma)),
            1 => {
                let (first, second) = records.split_at(records.len() / 2);
                let (first, second) = (first.join(&comma), second.join(&comma));
                format!(r#"{{"x":{extra}{comma}"Record\u0073":[{first}],"y":{extra},"Records":[{second}],"z":{extra}}}"#)
            }
            2 => format!("[{blank}{}{blank}]", records.join(&comma)),
            3 => records.iter().map(|text| format!("{text}{blank}\n")).collect(),
            4 => records
                .iter()
                .map(|text| format!(r#"{{"x":{extra},"detail":{text},"detail-type":"AWS API Call via CloudTrail"}}"#) + "\n")
                .collect(),
            5 => {
                let messages: Vec<String> = records
                    .iter()
                    .map(|text| format!(r#"{{"id":{extra},"message":{}}}"#, serde_json::to_string(text).unwrap()))
                    .collect();
                format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{}]}}"#, messages.join(&comma))
            }
            6 => {
                // As the service writes them.
                let event = |(number, text): (usize, &String)| {
                    let text = serde_json::to_string(text).unwrap();
                    format!(r#"{{"id":"{number:056}","timestamp":1432826855000,"message":{text}}}"#)
                };
                let events: Vec<String> = records.iter().enumerate().map(event).collect();
                format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{}]}}"#, events.join(","))
            }
            _ => records.iter().map(|text| file(std::slice::from_ref(text)) + "\r\n").collect(),
        };
        Case { records, text }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_cut_gives_the_same_records(case in case(), packing in 0u8..5, cut in 0usize..20_000, step in 1usize..5000, window in 1usize..9000) {
        let stored = pack(case.text.as_bytes(), packing, cut);
        let limits = Limits { window, record: 64 << 10, ..Limits::default() };
        for out in [whole(&stored), run(limits, &stored, 0), run(limits, &stored, step), run(limits, &stored, 1)] {
            prop_assert_eq!(&out.records, &case.records);
            prop_assert_eq!(&out.damages, &vec![]);
            prop_assert!(!out.summary.incomplete);
            prop_assert!(out.windows < 30 + 4 * case.text.len() / window, "{} windows", out.windows);
        }
    }

    #[test]
    fn live_input_gives_the_same_records(case in case(), step in 1usize..3000) {
        let mut scanner = Scanner::new(Arc::default(), ScanLimits::default());
        let (mut tools, mut buffer) = (Tools::default(), Buffer::default());
        let mut decode = Decode::new(Limits::default()).live();
        let mut reader = Steps(case.text.as_bytes(), step);
        let mut input = Input::Read(&mut reader);
        let mut records = Vec::new();
        'object: loop {
            decode.fill(&mut tools, &mut input, &mut buffer).unwrap();
            loop {
                match decode.next(&mut scanner, &mut buffer) {
                    Item::Record { span, .. } => records.push(String::from_utf8(span.of(&buffer).to_vec()).unwrap()),
                    Item::WindowEnd => break,
                    Item::End => break 'object,
                    item => prop_assert!(false, "{item:?}"),
                }
            }
        }
        prop_assert_eq!(records, case.records);
    }

    #[test]
    fn a_damaged_byte_costs_little_and_nothing_false_is_shipped(case in case(), at in 0usize..100_000, byte: u8, window in 500usize..9000) {
        let mut bytes = case.text.into_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let at = at % bytes.len();
        let changed = bytes[at] != byte;
        bytes[at] = byte;
        let limits = Limits { window, record: 64 << 10, ..Limits::default() };
        for out in [whole(&bytes), run(limits, &bytes, 1)] {
            let known = out.records.iter().filter(|record| case.records.contains(record)).count();
            // One record may have been changed into another valid one.
            prop_assert!(out.records.len() - known <= usize::from(changed), "{:?}", out.records);
        }
    }

    #[test]
    fn bytes_of_any_kind_come_to_an_end(data: Vec<u8>, packing in 0u8..5, cut in 0usize..100) {
        fuzz::decode(&[&[0, 1, 1], &pack(&data, packing, cut)[..]].concat());
    }

    #[test]
    fn json_like_bytes_of_any_kind_come_to_an_end(data in r#"([{}\[\],:"\\\n 0-9a]|"Records"|"eventVersion"|"eventID"|"message"|\{"|\},\{){0,60}"#) {
        fuzz::decode(format!("\0\x03\x02{data}").as_bytes());
        fuzz::decode(
            format!("\0\x05\x07{{\"Records\":[{},{data},{}]}}", record(1, ""), record(2, "")).as_bytes(),
        );
    }
}
