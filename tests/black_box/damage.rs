//! Objects that are not as they should be: what is good in them is shipped, what is not is in rejects.

use std::time::Duration;

use crate::here::{ARCHIVE, Here, gz, log_file, record, wait};

/// Two sinks, so that every odd record is also written flat.
const BOTH: &str = r#"
[sinks.nested]
type = "file"
path = "out/{account}.ndjson"
[sinks.flat]
type = "file"
path = "flat/{account}.ndjson"
shape = "flat"
"#;

fn three() -> [String; 3] {
    ["1", "2", "3"].map(|id| record(id, r#","eventName":"GetObject""#))
}

/// An object, and what becomes of it.
struct Case {
    name: &'static str,
    stored: Vec<u8>,
    /// The object's text, where it is not what is stored.
    text: Vec<u8>,
    /// The records that come out, as they were written.
    shipped: Vec<String>,
    /// What is refused: its offset, its bytes, and a word of the reason.
    refused: Vec<(usize, Vec<u8>, &'static str)>,
}

/// The text is stored as it is.
fn plain(name: &'static str, text: impl Into<Vec<u8>>, shipped: &[String]) -> Case {
    let text = text.into();
    Case { name, stored: text.clone(), text, shipped: shipped.to_vec(), refused: Vec::new() }
}

/// A log file of three records, the second of which is bad.
fn middle(name: &'static str, bad: &[u8], why: &'static str) -> Case {
    let [a, _, c] = three();
    let front = format!(r#"{{"Records":[{a},"#);
    let text = [front.as_bytes(), bad, format!(",{c}]}}").as_bytes()].concat();
    let mut case = plain(name, text, &[a, c]);
    case.refused = vec![(front.len(), bad.to_vec(), why)];
    case.stored = gz(&case.text);
    case
}

/// A log file of three records, the second of which is odd, and right.
fn odd(name: &'static str, more: &str) -> Case {
    let [a, _, c] = three();
    let all = [a, record("2", more), c];
    plain(name, log_file(&all), &all)
}

impl Case {
    fn stored(mut self, stored: Vec<u8>) -> Case {
        self.stored = stored;
        self
    }

    fn refused(mut self, offset: usize, bytes: impl Into<Vec<u8>>, why: &'static str) -> Case {
        self.refused.push((offset, bytes.into(), why));
        self
    }

    fn check(&self) {
        let Case { name, stored, text, shipped, refused } = self;
        let here = Here::with(BOTH);
        here.put(&format!("trail/{name}"), stored);
        let ran = here.once();
        assert_eq!(ran.code, Some(if refused.is_empty() { 0 } else { 3 }), "{name}: {}", ran.said);
        assert_eq!(here.lines("out"), *shipped, "{name}");
        assert_eq!(here.ids("flat"), here.ids("out"), "{name}");
        let rejects = here.rejects();
        assert_eq!(rejects.len(), refused.len(), "{name}: {rejects:?}");
        for (reject, (offset, bytes, why)) in rejects.iter().zip(refused) {
            assert_eq!(reject.object, format!("trail/{name}"), "{name}");
            assert_eq!((reject.offset, &reject.bytes), (*offset, bytes), "{name}: {reject:?}");
            assert!(reject.reason.contains(why), "{name}: {reject:?}");
            assert!(reject.stands_in(text) || reject.stands_in(stored), "{name}: {reject:?}");
        }
        let books = ran.books();
        let (good, bad) = (shipped.len() as u64, refused.len() as u64);
        assert_eq!((books.read, books.rejected, books.delivered), (good + bad, bad, 2 * good), "{name}");
        // And it is not looked at again.
        let again = here.once();
        assert_eq!((again.code, again.books().read), (Some(0), 0), "{name}: {}", again.said);
    }
}

#[test]
fn what_is_odd_and_right_is_shipped_as_it_was_written() {
    let all = three();
    let text = log_file(&all);
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let lines = format!("{}\n", all.join("\n"));
    for case in [
        plain("gzip-named-plain.json", &*text, &all).stored(gz(&text)),
        plain("plain-named-gzip.json.gz", &*text, &all),
        plain("zstd-named-text.txt", &*text, &all).stored(zstd),
        plain("no-extension", &*text, &all).stored(gz(&text)),
        plain("empty.json.gz", "", &[]),
        plain("empty-member.json.gz", "", &[]).stored(gz("")),
        plain("no-records.json", r#"{"Records":[]}"#, &[]),
        plain("byte-order-mark.json", format!("\u{feff}{text}"), &all),
        plain("array.json", format!("[{}]", all.join(",\n")), &all),
        plain("lines.ndjson", &*lines, &all),
        plain("lines-without-the-last-feed.ndjson", lines.trim_end(), &all),
        plain("lines-of-windows.ndjson", lines.replace('\n', "\r\n"), &all),
        odd("lone-surrogates.json", r#","a":"\ud800x","b":{"c":"\udc00"}"#),
        odd("duplicate-keys.json", r#","a":1,"a":{"b":2},"c":{"d":1,"d":2}"#),
        odd("dots-in-keys.json", r#","a.b":1,"a":{"b":2,"c.d":{"e.f":3}},".":4,"..":5"#),
        odd("empty-keys.json", r#","":1,"a":{"":{"":2}}"#),
        odd("large-numbers.json", r#","a":9007199254740993,"b":1.688560107857E9,"c":-0.0,"d":1e400"#),
        odd("escapes.json", r#","a\"\\\/\b\u0000":"\"\\\/\b\f\n\r\t\u0000\u2028é😀\uD83D\uDE00""#),
        odd("our-own-key.json", r#","trailship":{"account":{"name":"not yours"}}"#),
        odd("empty-values.json", r#","a":{},"b":[],"c":"","d":null,"e":[{},[],null]"#),
        odd("depth-of-100.json", &format!(r#","a":{}1{}"#, r#"{"a":["#.repeat(49), "]}".repeat(49))),
    ] {
        case.check();
    }
}

#[test]
fn good_records_around_a_bad_one_are_shipped() {
    let [_, good, _] = three();
    let bad = |from: &str, to: &str| good.replace(from, to).into_bytes();
    let mut no_text = good.clone().into_bytes();
    let at = good.find("GetObject").unwrap();
    no_text[at] = 0xff;
    let deep = |open: &str, close: &str| {
        record("2", &format!(r#","deep":{}1{}"#, open.repeat(10_000), close.repeat(10_000))).into_bytes()
    };
    for case in [
        middle("no-value.json.gz", &bad("\"GetObject\"", ""), ""),
        middle("no-quote.json.gz", &bad("GetObject\"", "GetObject"), ""),
        middle("no-colon.json.gz", &bad("\"eventName\":", "\"eventName\""), ""),
        middle("no-brace.json.gz", &good.as_bytes()[..good.len() - 1], ""),
        middle("a-word.json.gz", &bad("\"GetObject\"", "undefined"), ""),
        middle("a-line-feed-in-a-string.json.gz", &bad("GetObject", "Get\nObject"), ""),
        middle("no-text.json.gz", &no_text, ""),
        middle("overlong.json.gz", &[&no_text[..at], b"\xc0\xaf", &no_text[at + 1..]].concat(), ""),
        middle("deep-arrays.json.gz", &deep("[", "]"), ""),
        middle("deep-objects.json.gz", &deep(r#"{"a":"#, "}"), ""),
        middle("null.json.gz", b"null", "no object"),
        middle("number.json.gz", b"17", "no object"),
    ] {
        case.check();
    }
}

#[test]
fn what_is_no_log_file_is_in_rejects_as_a_whole() {
    for text in [r#"{"a":1}"#, r#"{"Records":{}}"#, "<?xml version=\"1.0\"?><Error/>", "hello", "\0\0\0\0\0"]
    {
        plain("whole.json", text, &[]).refused(0, text, "").check();
    }
    let [a, b, c] = three();
    let lines = format!("{a}\n{}\n{c}\n", &b[..b.len() / 2]);
    let case = plain("lines.ndjson", &*lines, &[a.clone(), c.clone()]);
    case.refused(a.len() + 1, &b[..b.len() / 2], "").check();
    let lines = format!("{a}\nhello\n{c}\n");
    plain("words.ndjson", &*lines, &[a.clone(), c]).refused(a.len() + 1, "hello", "").check();
}

#[test]
fn bytes_behind_the_last_member_are_in_rejects_with_their_place_in_the_stored_object() {
    let all = three();
    let stored = gz(log_file(&all));
    for garbage in [&b"these bytes are no gzip member"[..], &[0; 512]] {
        let case = plain("garbage.json.gz", log_file(&all), &all).stored([&stored[..], garbage].concat());
        case.refused(stored.len(), garbage, "behind the end").check();
    }
}

#[test]
fn a_gzip_that_ends_too_early_gives_what_is_whole_in_it() {
    let all: Vec<String> = (0u64..60)
        .map(|id| record(&format!("{id:02}"), &format!(r#","n":{}"#, id.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
        .collect();
    let text = log_file(&all);
    let stored = gz(&text);
    for (length, least) in [(stored.len() * 2 / 3, 10), (stored.len() - 1, 60), (12, 0)] {
        let here = Here::with(ARCHIVE);
        here.put("trail/cut.json.gz", &stored[..length]);
        let ran = here.once();
        ran.ended(3);
        let lines = here.lines("out");
        assert!(lines.len() >= least && all.starts_with(&lines), "{length}: {} records", lines.len());
        let rejects = here.rejects();
        assert_eq!(rejects.len(), 1, "{rejects:?}");
        assert!(rejects[0].reason.contains("ends"), "{rejects:?}");
        assert!(rejects[0].stands_in(text.as_bytes()), "{rejects:?}");
        // What was shipped and what is in rejects is all there was before the cut.
        let shipped = log_file(&lines).len() - 2;
        assert!(lines.len() == 60 || lines.is_empty() || rejects[0].offset == shipped + 1, "{rejects:?}");
        let books = ran.books();
        assert_eq!((books.read, books.rejected), (lines.len() as u64 + 1, 1));
    }
}

#[test]
fn a_second_member_is_shipped_and_marked() {
    let [a, b, c] = three();
    let here = Here::with(ARCHIVE);
    let stored = [gz(log_file(&[&a, &b])), gz(log_file(&[&c]))].concat();
    here.put("trail/two.json.gz", stored);
    let ran = here.once();
    ran.ended(0);
    let lines = here.lines("out");
    assert_eq!(lines[..2], [a, b]);
    let origin = &serde_json::from_str::<serde_json::Value>(&lines[2]).unwrap()["trailship"]["origin"];
    assert_eq!(origin["later_gzip_member"], true);
    assert_eq!((&origin["object"], &origin["record"]), (&"trail/two.json.gz".into(), &2.into()));
    assert!(lines[2].starts_with(c.strip_suffix('}').unwrap()));
    assert_eq!(ran.books().delivered, 3);
}

#[test]
fn an_object_in_a_tree_full_of_bad_ones_is_not_lost() {
    let here = Here::with(ARCHIVE);
    let all = three();
    here.put("trail/a/empty.json.gz", "");
    std::fs::create_dir_all(here.at("trail/a/folder/")).unwrap();
    here.put("trail/b/bad.json.gz", b"\x1f\x8b\x08 and no more of it");
    here.put("trail/c/good.json.gz", gz(log_file(&all)));
    here.put("trail/d/none.json", "{}");
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.lines("out"), all);
    let objects: Vec<String> = here.rejects().into_iter().map(|reject| reject.object).collect();
    assert_eq!(objects, ["trail/b/bad.json.gz", "trail/d/none.json"]);
    assert_eq!((ran.books().read, ran.books().rejected), (5, 2));
}

/// Gzip of `head`, so many megabytes of one letter, and `tail`.
fn swollen(head: &str, letter: u8, megabytes: usize, tail: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(head.as_bytes()).unwrap();
    let block = vec![letter; 1 << 20];
    (0..megabytes).for_each(|_| encoder.write_all(&block).unwrap());
    encoder.write_all(tail.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_bomb_is_stopped_by_size_and_by_ratio() {
    let [a, _, c] = three();
    let stored = swollen(&format!(r#"{{"Records":[{a}"#), b' ', 24, &format!(",{c}]}}"));
    for (limit, why) in
        [("object = \"16 MiB\"\nratio = 100000", "16777216 bytes"), ("ratio = 50", "over 50 for one")]
    {
        let source = format!("type = \"files\"\npath = \"trail\"\n[sources.trail.limits]\n{limit}");
        let here = Here::with("").reading(&source, ARCHIVE);
        here.put("trail/bomb.json.gz", &stored);
        here.put("trail/next.json.gz", gz(log_file(&[&c])));
        let ran = here.once();
        ran.ended(3);
        assert_eq!(here.ids("out"), ["1", "3"]);
        let rejects = here.rejects();
        assert_eq!(rejects.len(), 1, "{rejects:?}");
        assert!(rejects[0].reason.contains(why), "{rejects:?}");
        assert_eq!(rejects[0].object, "trail/bomb.json.gz");
        assert_eq!((ran.books().read, ran.books().rejected), (3, 1));
    }
}

#[test]
fn a_string_of_a_hundred_megabytes_goes_to_rejects_in_bounded_memory() {
    let [a, _, c] = three();
    let here = Here::with(&format!("{ARCHIVE}\n"));
    let text = std::fs::read_to_string(here.at("trailship.toml")).unwrap();
    std::fs::write(here.at("trailship.toml"), format!("memory = \"64 MiB\"\nworkers = 2\n{text}")).unwrap();
    let head = format!(r#"{{"Records":[{a},{{"eventVersion":"1.08","eventID":"2","x":""#);
    here.put("trail/huge.json.gz", swollen(&head, b'x', 100, &format!(r#""}},{c}]}}"#)));
    let mut running = here.start(&["run", "--once"]);
    let mut most = 0;
    let waited = wait(|| {
        std::thread::sleep(Duration::from_millis(1));
        most = running.most_memory().unwrap_or(0).max(most);
        running.has_ended()
    });
    assert_eq!(waited, None, "{}", running.said());
    let ran = running.end();
    ran.ended(3);
    assert!(most > 0 && most < (64 + 64) << 20, "{most} bytes resident");
    assert_eq!(here.lines("out"), [a.clone(), c]);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1);
    assert_eq!(rejects[0].offset, format!(r#"{{"Records":[{a},"#).len());
    assert!(rejects[0].bytes.starts_with(br#"{"eventVersion":"1.08","eventID":"2""#));
    assert!(rejects[0].bytes.len() > 100 << 20 && rejects[0].bytes.ends_with(br#"xx"}"#));
    assert_eq!((ran.books().read, ran.books().rejected, ran.books().delivered), (3, 1, 2));
}
