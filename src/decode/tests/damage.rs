//! Bad text: good records around a bad one are shipped, the bad one is handed to rejects.

use super::*;

fn three() -> Vec<String> {
    (1..=3).map(|id| record(id, "")).collect()
}

/// Decodes text whole and in small steps; both must agree. The records, and the damaged bytes.
#[track_caller]
fn split(text: &[u8]) -> (Vec<String>, Vec<String>) {
    let out = whole(text);
    for (limits, step) in [(Limits::default(), 7), (Limits { window: 700, ..Limits::default() }, 1)] {
        let other = run(limits, text, step);
        assert_eq!(out.records, other.records, "in windows of {}", limits.window);
        assert_eq!(out.damages, other.damages, "in windows of {}", limits.window);
    }
    let damages = out.damages.iter().map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned()).collect();
    (out.records, damages)
}

/// A log file, an array and lines of record 1, something bad, and record 3: both records come, and one damage.
#[track_caller]
fn around(bad: &[u8]) {
    let [first, _, third]: [String; 3] = three().try_into().unwrap();
    for (open, comma, close) in [
        (&b"{\"Records\":["[..], &b","[..], &b"]}"[..]),
        (b"{ \"x\": {}, \"Records\": [\n  ", b",\n  ", b"\n]}\n"),
        (b"[", b", ", b"]"),
    ] {
        let text = [open, first.as_bytes(), comma, bad, comma, third.as_bytes(), close].concat();
        let (records, damages) = split(&text);
        assert_eq!(records, [&*first, &*third], "{}", String::from_utf8_lossy(&text));
        assert_eq!(damages, [String::from_utf8_lossy(bad)]);
    }
    let line: Vec<u8> = bad.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
    let lines =
        [first.as_bytes(), b"\n", third.as_bytes(), b"\n", &line, b"\n", third.as_bytes(), b"\n"].concat();
    let (records, damages) = split(&lines);
    assert_eq!((records, damages.len()), (vec![first, third.clone(), third], 1));
}

#[test]
fn one_bad_record_costs_itself_alone() {
    let good = record(2, "");
    around(good.replace(r#""eventID":"#, r#""eventID""#).as_bytes());
    around(good.replace(r#"GetObject""#, "GetObject").as_bytes());
    around(good.replace(r#"{"type""#, r#""type""#).as_bytes());
    around(good.replace(r#""type""#, "type").as_bytes());
    around(good.replace("1.0E+2", "01").as_bytes());
    around(good.replace("1.0E+2", "NaN").as_bytes());
    around(good.replace("arn:b", "arn:\u{1}b").as_bytes());
    around(good.replace("arn:b", r"arn:\q").as_bytes());
    around(good.replace(r#""n":"#, r#""n","#).as_bytes());
    around(good.replace(r#""},"eventTime"#, r#"","eventTime"#).as_bytes());
    around(good.replace(r#""},"eventTime"#, r#""}},"eventTime"#).as_bytes());
    around(good.replace(r#"{"ARN":"arn:a"}"#, r#"{"ARN":"arn:a""#).as_bytes());
    around(&good.as_bytes()[..good.len() - 1]);
    around(&good.as_bytes()[..good.len() / 2]);
}

#[test]
fn text_that_is_not_utf8_is_damage() {
    let mut bad = record(2, "").into_bytes();
    let at = bad.iter().position(|byte| *byte == b'G').unwrap();
    bad[at] = 0xff;
    around(&bad);
    bad[at] = 0xc3;
    around(&bad);
}

#[test]
fn lone_surrogates_and_duplicate_keys_are_shipped_as_written() {
    let odd = record(2, r#","a":"\ud800x","a":"\udc00","eventID":"again""#);
    let (records, damages) = split(file(std::slice::from_ref(&odd)).as_bytes());
    assert_eq!((records, damages.len()), (vec![odd], 0));
}

#[test]
fn nesting_of_ten_thousand_is_damage() {
    let deep = format!(r#","deep":{}{}"#, "[".repeat(10_000), "]".repeat(10_000));
    around(record(2, &deep).as_bytes());
    let deep = format!(r#","deep":{}1{}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    around(record(2, &deep).as_bytes());
}

#[test]
fn an_inner_object_is_never_shipped() {
    // `resources` and an attacker's copy of a record stand behind the fault, inside the damaged record.
    let inner = r#","list":[{"ARN":"x"},{"ARN":"y"},{"eventVersion":"1","ARN":"z"}]"#;
    let bad = record(2, inner).replace(r#""type":"IAMUser""#, r#""type":IAMUser"#);
    around(bad.as_bytes());
    let text = record(3, "").replace('"', r#"\""#);
    around(
        record(2, &format!(r#","text":",{text},{text}""#))
            .replace(r#""type":"IAMUser""#, r#""type":IAMUser"#)
            .as_bytes(),
    );
}

#[test]
fn elements_that_are_no_objects_are_damage_each() {
    let [a, b, ..]: [String; 3] = three().try_into().unwrap();
    let text = format!(r#"{{"Records":[null,{a},1.5e3,"x, {{",{b},[{{}}],true]}}"#);
    let (records, damages) = split(text.as_bytes());
    assert_eq!(records, [a, b]);
    assert_eq!(damages, ["null", "1.5e3", r#""x, {""#, "[{}]", "true"]);
}

#[test]
fn what_is_neither_a_log_file_nor_a_record_is_damage() {
    for text in [
        r#"{"a":1}"#,
        "{}",
        r#"{"Records":null}"#,
        r#"{"Records":{}}"#,
        "hello",
        "<xml/>",
        "12",
        "\"text\"",
        "\0\0\0",
    ] {
        let out = whole(text.as_bytes());
        assert_eq!((out.records.len(), out.damages.len()), (0, 1), "{text}");
        assert_eq!(out.damages[0].0, text.as_bytes());
    }
    let out = whole(br#"{"a":1}"#);
    assert_eq!(out.damages[0].1, "no `Records` and not a CloudTrail record");
}

#[test]
fn a_log_file_that_ends_too_early_keeps_its_records_and_says_so_once() {
    let text = format!(r#"{{"x":[1],"Records":[{}],"y":{{"a":[]}}}}"#, three().join(","));
    let second = text.find(&three()[2]).unwrap();
    for cut in 1..text.len() {
        let (records, damages) = split(&text.as_bytes()[..cut]);
        assert!(three().starts_with(&records), "{cut}");
        assert_eq!(damages.len(), 1, "{cut}: {damages:?}");
        assert!(whole(&text.as_bytes()[..cut]).summary.incomplete, "{cut}");
        assert_eq!(records.len() >= 2, cut >= second - 1, "{cut}");
    }
}

#[test]
fn a_bracket_that_swallows_the_records_behind_it_does_not_lose_them() {
    let [a, b, c]: [String; 3] = three().try_into().unwrap();
    let bad = b.strip_suffix("]}").unwrap();
    let (records, damages) = split(format!(r#"{{"Records":[{a},{bad},{c}]}}"#).as_bytes());
    assert_eq!(records, [a, c]);
    assert_eq!(damages, [bad]);
}

#[test]
fn damage_before_the_records_does_not_lose_them() {
    let all = three();
    for front in [r#"{"x":tru,"Records":["#, r#"{"x":{"y":"#, "garbage \u{1}{\"Records\" : [ "] {
        let text = if front.ends_with('[') || front.ends_with("[ ") {
            format!("{front}{}]}}", all.join(","))
        } else {
            format!(r#"{front},"Records":[{}]}}"#, all.join(","))
        };
        let (records, damages) = split(text.as_bytes());
        assert_eq!((records, damages.len()), (all.clone(), 1), "{text}");
    }
    // The head of the file is gone.
    let text = format!("Name\":\"x\"}},{}]}}", all.join(","));
    assert_eq!(split(text.as_bytes()), (all, vec!["Name\":\"x\"}".to_owned()]));
}

#[test]
fn a_bad_line_is_one_damage_and_the_next_line_is_read() {
    let [a, b, c]: [String; 3] = three().try_into().unwrap();
    let text = format!("{a}\n{b}\nbad\n{{\"x\":1}}\n{}\r\n{c}\n{}", &b[..50], &a[..70]);
    let (records, damages) = split(text.as_bytes());
    assert_eq!(records, [a.clone(), b.clone(), c.clone()]);
    assert_eq!(damages, ["bad", r#"{"x":1}"#, &b[..50], &a[..70]]);
    // The first line is bad, and the second: nothing tells yet that these are lines.
    let (records, damages) = split(format!("{}\n{b}\n{c}\n", &a[..60]).as_bytes());
    assert_eq!((records, damages), (vec![b.clone(), c.clone()], vec![a[..60].to_owned()]));
    // It ends where a key should stand.
    for cut in a.match_indices(",\"").map(|(at, _)| at + 1) {
        let cut = &a[..cut];
        let (records, damages) = split(format!("{cut}\n{b}\n{c}\n").as_bytes());
        assert_eq!((records, damages.len()), (vec![b.clone(), c.clone()], 1), "{cut}");
    }
    // Something stands behind a record on its line.
    let (records, damages) = split(format!("{a}\n{b},\"x\":1}}\n{c}\n").as_bytes());
    assert_eq!((records, damages.len()), (vec![a.clone(), c.clone()], 1));
    // A log file on each line, one of them damaged.
    let [x, y] = [file(&[a.clone(), b.clone()]), file(std::slice::from_ref(&c))];
    let cut = &x[..x.len() - 30];
    let (records, damages) = split(format!("{y}\n{cut}\n{y}\n").as_bytes());
    assert_eq!(records, [c.clone(), a, c]);
    assert_eq!(damages.len(), 1);
}

#[test]
fn a_record_over_the_limit_is_streamed_out_and_the_next_are_shipped() {
    let huge = record(2, &format!(r#","x":"{}\"{{[""#, "y".repeat(40 << 10)));
    let [a, _, c]: [String; 3] = three().try_into().unwrap();
    let texts = [
        (format!(r#"{{"Records":[{a},{huge},{c}]}}"#), false),
        (format!("[{a},{huge},{c}]"), false),
        (format!("{a}\n{a}\n{huge}\n{c}\n"), true),
        (format!("{huge}{c}{a}"), false),
        (format!(r#"{{"Records":[{a},"{}",{c}]}}"#, "z".repeat(70 << 10)), false),
    ];
    for (text, _) in &texts {
        for (limits, step) in
            [(small(), 0), (small(), 100), (Limits { record: 16 << 10, ..Limits::default() }, 0)]
        {
            let out = run(limits, text.as_bytes(), step);
            assert!(out.records.contains(&a) && out.records.contains(&c));
            assert_eq!(out.damages.len(), 1, "{:?}", out.addresses);
            assert!(out.damages[0].0.len() > 40 << 10);
        }
        let out = run(small(), text.as_bytes(), 0);
        assert!(out.capacity <= (16 << 10) + SLACK, "{}", out.capacity);
    }
}

#[test]
fn a_string_of_a_hundred_megabytes_is_not_held() {
    struct Huge(Vec<u8>, u64, Vec<u8>);
    impl Read for Huge {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let mut head = self.0.as_slice();
            let read = head.read(out)?;
            self.0.drain(..read);
            if read > 0 {
                return Ok(read);
            }
            let length = out.len().min(usize::try_from(self.1).unwrap());
            out[..length].fill(b'a');
            self.1 -= length as u64;
            if length > 0 {
                return Ok(length);
            }
            let mut tail = self.2.as_slice();
            let read = tail.read(out)?;
            self.2.drain(..read);
            Ok(read)
        }
    }
    let [a, _, c]: [String; 3] = three().try_into().unwrap();
    let head = format!(r#"{{"Records":[{a},{{"eventVersion":"1","x":""#).into_bytes();
    let mut input = Huge(head, 100 << 20, format!(r#""}},{c}]}}"#).into_bytes());
    let out = drive(Limits::default(), Input::Read(&mut input));
    assert_eq!((out.records, out.damages.len()), (vec![a, c], 1));
    assert!(out.damages[0].0.len() > 100 << 20);
    assert!(out.capacity <= (16 << 20) + SLACK, "{}", out.capacity);
}
