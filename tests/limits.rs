//! Every limit of DESIGN §6 is crossed by a test. The table says which; what stands without a module is below, and the
//! program as shipped crosses it.
//!
//! | limit | default | crossed in |
//! |---|---|---|
//! | text in a path: characters, `.`, `..`, nothing, 64 bytes | `_invalid` | [`text_of_events_in_a_path_is_harmless_or_invalid`]; `sink::template::tests::nasty_values_become_invalid`; fuzz target `template` |
//! | an account is 12 digits | `_unknown` | [`an_account_is_twelve_digits`]; `black_box::output::an_account_that_is_a_path_leads_nowhere` |
//! | the file sink stays below its root, links included | refused | `black_box::output::an_account_that_is_a_path_leads_nowhere`; `sink::file::tests` (links in place of folders and parts); fuzz target `template` |
//! | distinct values of one name | 10,000, then `_overflow` | [`after_ten_thousand_values_the_rest_overflow`] (ignored, makes as many files); `sink::template::tests::values_beyond_ten_thousand_overflow` |
//! | event time, newest: a day ahead | `out-of-range` | [`times_that_cannot_be_right_go_to_a_place_of_their_own`] |
//! | event time, oldest: 2006; 400 days for live sources; `oldest` | `out-of-range` | the same; `sink::template::tests::times_out_of_range_have_a_place_of_their_own` |
//! | all of these are counted | `odd_paths` | each of the above |
//! | text from outside is escaped before a log line | | [`names_and_text_from_outside_are_escaped_where_they_are_shown`]; `telemetry::tests::values_cannot_forge_lines_nor_reach_the_terminal` |
//! | and before a terminal | | the same; `sink::stdout::tests::a_terminal_is_shown_nothing_that_could_change_it`; `config::tests::control_characters_of_the_file_do_not_reach_the_terminal` |
//! | session tokens | removed | `black_box::output::session_tokens_leave_in_no_way`; `cli::cat_removes_session_tokens` |
//! | session tokens, in rejects too | removed where the record parses, masked when damage is shown | [`a_session_token_in_rejects_is_not_shown`]; `pipeline::refused::tests::no_session_token_of_a_record_stays` |
//! | keeping session tokens is said at start | | [`keeping_session_tokens_is_said_at_start`] |
//! | modes of `data_dir`, state, rejects, part files | 0700, 0600 | [`what_is_written_is_private_whatever_the_umask`]; `state::tests::the_data_dir_is_private_and_must_not_be_open_to_others` |
//! | a data directory others can write to | refused | [`a_data_directory_that_others_can_write_to_is_refused`] |
//! | decompressed bytes per object | 2 GiB | lowered, as 2 GiB take longer than a test may: `black_box::damage::a_bomb_is_stopped_by_size_and_by_ratio` |
//! | ratio, after the first MiB | 1,000 | [`a_bomb_is_stopped_at_a_thousand_for_one`] |
//! | depth | 128 | [`nesting_is_read_to_a_depth_of_a_hundred_and_twenty_eight`] |
//! | records per object | 4,000,000 | lowered: [`the_records_of_an_object_are_counted`] |
//! | bytes of a record | 16 MiB | [`a_record_of_sixteen_mebibytes_is_shipped_and_a_larger_one_is_not`]; `black_box::damage::a_string_of_a_hundred_megabytes_goes_to_rejects_in_bounded_memory` |
//! | nested envelopes | 4 | [`a_record_in_four_envelopes_is_shipped_and_in_five_is_not`] |
//! | line formats and standard input: the record limit only | | [`lines_have_no_limit_but_the_record`] |
//! | HTTP clients | | with the first sink that has one |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "event times stand before and after the real now")]
#![allow(dead_code, reason = "the helpers are those of another test program")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

#[path = "black_box/here.rs"]
mod here;

use here::{ARCHIVE, Here, Ran, gz, id, log_file, record};

/// Replaced values of paths, as the run tells them at its end.
#[track_caller]
fn odd_paths(ran: &Ran) -> u64 {
    ran.told("also counted").iter().filter_map(|line| line["odd_paths"].as_u64()).sum()
}

/// A record with this id and region.
fn of_region(number: usize, region: &str) -> String {
    record(&number.to_string(), "").replace("us-east-1", region)
}

/// A file sink to this path.
fn to(path: &str) -> String {
    format!("[sinks.archive]\ntype = \"file\"\npath = \"{path}\"\n")
}

/// The folders below `out`.
fn names(here: &Here) -> BTreeSet<String> {
    here.files("out").into_keys().map(|path| path.split('/').next().unwrap().to_owned()).collect()
}

#[test]
fn text_of_events_in_a_path_is_harmless_or_invalid() {
    let here = Here::with(&to("out/{region}/a.ndjson"));
    let (most, more) = ("x".repeat(64), "x".repeat(65));
    let fine = ["eu-west-1", "A.b_c-9", "...", &most];
    let odd = [".", "..", "../x", "a/b", "a b", "a:b", "é", r"a\u0000", r"\u002e\u002e", r"a\\b", &more];
    let records: Vec<String> =
        fine.iter().chain(&odd).enumerate().map(|(number, region)| of_region(number, region)).collect();
    here.put("trail/a.json", log_file(&records));
    let ran = here.once();
    ran.ended(0);
    let expected: BTreeSet<String> =
        fine.iter().chain(&["_invalid"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(names(&here), expected);
    assert_eq!(here.ids("out").len(), records.len());
    assert_eq!(odd_paths(&ran), odd.len() as u64);
}

#[test]
fn an_account_is_twelve_digits() {
    let here = Here::with(&to("out/{account}/a.ndjson"));
    let accounts = ["000000000001", "11112222333", "1111222233334", "11112222333a", "+11122223333", "..", ""];
    let of =
        |(number, account): (usize, &&str)| record(&number.to_string(), "").replace("111122223333", account);
    here.put("trail/a.json", log_file(&accounts.iter().enumerate().map(of).collect::<Vec<_>>()));
    here.once().ended(0);
    assert_eq!(names(&here), BTreeSet::from(["000000000001".to_owned(), "_unknown".to_owned()]));
    assert_eq!(here.ids("out").len(), accounts.len());
}

#[test]
#[ignore = "makes ten thousand files"]
fn after_ten_thousand_values_the_rest_overflow() {
    let here = Here::with(&to("out/{region}/a.ndjson"));
    let records: Vec<String> = (0..10_003).map(|number| of_region(number, &format!("r-{number}"))).collect();
    here.put("trail/a.json", log_file(&records));
    let ran = here.once();
    ran.ended(0);
    let names = names(&here);
    assert_eq!(names.len(), 10_001);
    assert!(names.contains("_overflow") && names.contains("r-9999") && !names.contains("r-10000"));
    assert_eq!((ran.books().delivered, odd_paths(&ran)), (10_003, 3));
}

/// RFC 3339, so many days from now.
fn days(from_now: i64) -> String {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * from_now);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[test]
fn times_that_cannot_be_right_go_to_a_place_of_their_own() {
    let times = [
        days(0),
        days(2),
        days(-399),
        days(-401),
        "2005-12-31T23:59:59Z".to_owned(),
        "9999-12-31T23:59:59Z".to_owned(),
    ];
    let of = |(number, time): (usize, &String)| {
        record(&number.to_string(), "").replace("2026-01-15T10:00:00Z", time)
    };
    let records: Vec<String> = times.iter().enumerate().map(of).collect();
    // What is read again has no bound before 2006; a sink may have its own.
    for (oldest, odd) in [
        ("", &["1", "4", "5"][..]),
        ("oldest = \"400 d\"\n", &["1", "3", "4", "5"]),
        ("oldest = \"any\"\n", &["1", "4", "5"]),
    ] {
        let here = Here::with(&format!("{}{oldest}", to("out/{year}/{date}.ndjson")));
        here.put("trail/a.json", log_file(&records));
        let ran = here.once();
        ran.ended(0);
        let files = here.files("out");
        let aside = files.iter().filter(|(path, _)| path.starts_with("out-of-range/out-of-range."));
        let mut ids: Vec<String> = aside.flat_map(|(_, lines)| lines).map(|line| id(line)).collect();
        ids.sort();
        assert_eq!(ids, odd, "{oldest}: {files:?}");
        assert_eq!((ran.books().delivered, odd_paths(&ran)), (6, odd.len() as u64));
    }
}

#[test]
fn names_and_text_from_outside_are_escaped_where_they_are_shown() {
    let escape = "\u{1b}[31m\u{9b}2J\u{7}\r";
    let odd = ['\u{1b}', '\u{9b}', '\u{7}', '\r'];
    for format in ["text", "json"] {
        let here = Here::with(ARCHIVE);
        here.put(&format!("trail/{escape}.json"), format!(r#"{{"Records":[{{"userAgent":"{escape}"}}]}}"#));
        let ran = here.run(&["run", "--once", "--log-format", format, "--log-level", "trace"]);
        ran.ended(3);
        assert!(ran.said.contains("[31m"), "the name is shown: {}", ran.said);
        assert!(!ran.said.contains(odd), "{:?}", ran.said);

        let entry = fs::read_dir(here.at("state/rejects")).unwrap().next().unwrap().unwrap();
        let name = entry.file_name().into_string().unwrap();
        let number = name.split('.').next().unwrap().trim_start_matches('0');
        for arguments in [&["rejects", "ls"][..], &["rejects", "show", number]] {
            let ran = here.run(arguments);
            ran.ended(0);
            let out = String::from_utf8_lossy(&ran.out).into_owned();
            assert!(!out.contains(odd), "{out:?}");
            assert!(arguments[1] == "ls" || out.contains("[31m"), "the text is shown: {out}");
        }
    }
}

#[test]
fn a_session_token_in_rejects_is_not_shown() {
    let secret = "FQoGZXIvYXdzEJr1234567890secret";
    let token = format!(r#","responseElements":{{"credentials":{{"sessionToken":"{secret}"}}}}"#);
    let here = Here::with(ARCHIVE);
    // Damage is kept as it is, for whoever mends it, and masked when it is shown.
    let deep = format!(r#"{token},"x":{}1{}"#, "[".repeat(200), "]".repeat(200));
    here.put("trail/a.json", log_file(&[record("1", &token), record("2", &deep)]));
    here.once().ended(3);
    assert_eq!(here.ids("out"), ["1"]);
    assert!(!here.lines("out")[0].contains(secret));
    let entry = fs::read_dir(here.at("state/rejects")).unwrap().next().unwrap().unwrap();
    let name = entry.file_name().into_string().unwrap();
    let number = name.split('.').next().unwrap().trim_start_matches('0');
    for arguments in [&["rejects", "ls"][..], &["rejects", "show", number]] {
        let ran = here.run(arguments);
        ran.ended(0);
        assert!(!String::from_utf8_lossy(&ran.out).contains(secret));
    }
}

#[test]
fn keeping_session_tokens_is_said_at_start() {
    let secret = "FQoGZXIvYXdzEJr1234567890secret";
    let keep = "[transforms.keep]\ntype = \"redact\"\ndefault = false\nremove = [\"x\"]\n";
    for (more, is_kept) in [("", false), (keep, true)] {
        let here = Here::with(&format!("{more}{ARCHIVE}"));
        here.put(
            "trail/a.json",
            log_file(&[record(
                "1",
                &format!(r#","responseElements":{{"credentials":{{"sessionToken":"{secret}"}}}}"#),
            )]),
        );
        let ran = here.once();
        ran.ended(0);
        assert_eq!(here.lines("out")[0].contains(secret), is_kept);
        assert_eq!(ran.said.contains("session token"), is_kept, "{}", ran.said);
    }
}

#[test]
fn what_is_written_is_private_whatever_the_umask() {
    let here = Here::with(ARCHIVE);
    here.put("trail/a.json", log_file(&[record("1", ""), "{]".to_owned(), record("2", "")]));
    let program = env!("CARGO_BIN_EXE_trailship");
    let shell = std::process::Command::new("sh")
        .args(["-c", &format!("umask 0000; exec {program} run --once")])
        .current_dir(here.at(""))
        .env_clear()
        .env("HOME", here.at(""))
        .output()
        .unwrap();
    assert_eq!(shell.status.code(), Some(3), "{}", String::from_utf8_lossy(&shell.stderr));
    let mut seen = 0;
    for entry in
        walkdir::WalkDir::new(here.at("state")).into_iter().chain(walkdir::WalkDir::new(here.at("out")))
    {
        let entry = entry.unwrap();
        let facts = entry.metadata().unwrap();
        let mode = facts.mode() & 0o777;
        let wanted = if facts.is_dir() { 0o700 } else { 0o600 };
        // What is finished is for its readers; their umask says who they are.
        if entry.path().starts_with(here.at("state")) || facts.is_file() {
            assert_eq!(mode, wanted, "{} has {mode:o}", entry.path().display());
        }
        seen += usize::from(facts.is_file());
    }
    assert!(seen >= 4, "state, a key, an entry of rejects, a file: {seen}");
}

#[test]
fn a_data_directory_that_others_can_write_to_is_refused() {
    for (mode, code) in [(0o777, 1), (0o770, 1), (0o702, 1), (0o755, 0), (0o700, 0)] {
        let here = Here::with(ARCHIVE);
        here.put("trail/a.json", log_file(&[record("1", "")]));
        fs::create_dir(here.at("state")).unwrap();
        fs::set_permissions(here.at("state"), fs::Permissions::from_mode(mode)).unwrap();
        let ran = here.once();
        ran.ended(code);
        assert_eq!(here.lines("out").len(), usize::from(code == 0), "{mode:o}");
        assert_eq!(ran.said.contains("written to by others"), code == 1, "{}", ran.said);
    }
}

#[test]
fn a_bomb_is_stopped_at_a_thousand_for_one() {
    let here = Here::with(ARCHIVE);
    let text = format!(r#"{{"Records":[{}{},{}]}}"#, record("1", ""), " ".repeat(8 << 20), record("2", ""));
    let bomb = zstd::encode_all(text.replace("\"1\"", "\"3\"").as_bytes(), 19).unwrap();
    assert!(text.len() > 1_000 * bomb.len());
    here.put("trail/bomb.json.zst", &bomb);
    here.put("trail/plain.json", &text);
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.ids("out"), ["1", "2", "3"]);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1);
    assert!(rejects[0].reason.contains("over 1000 for one"), "{}", rejects[0].reason);
    assert_eq!(rejects[0].object, "trail/bomb.json.zst");
}

#[test]
fn nesting_is_read_to_a_depth_of_a_hundred_and_twenty_eight() {
    let here = Here::with(ARCHIVE);
    let deep =
        |id: &str, lists: usize| record(id, &format!(r#","x":{}1{}"#, "[".repeat(lists), "]".repeat(lists)));
    here.put("trail/a.json", log_file(&[deep("1", 127), deep("2", 128), deep("3", 1)]));
    here.once().ended(3);
    assert_eq!(here.ids("out"), ["1", "3"]);
    assert_eq!(here.rejects().len(), 1);
}

#[test]
fn the_records_of_an_object_are_counted() {
    let limits = "type = \"files\"\npath = \"trail\"\n[sources.trail.limits]\nrecords = 1000";
    let here = Here::with("").reading(limits, ARCHIVE);
    let records: Vec<String> = (0..1_003).map(|number| record(&number.to_string(), "")).collect();
    here.put("trail/a.json", log_file(&records));
    here.put("trail/b.json", log_file(&records[..1_000]).replace("\"eventID\":\"", "\"eventID\":\"b"));
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.ids("out").len(), 2_000);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1);
    assert!(rejects[0].reason.contains("more than 1000 records"), "{}", rejects[0].reason);
    assert!(rejects[0].bytes.starts_with(records[1_000].as_bytes()), "the rest is kept");
}

#[test]
fn a_record_of_sixteen_mebibytes_is_shipped_and_a_larger_one_is_not() {
    let here = Here::with(ARCHIVE);
    let empty = record("1", r#","x":"""#).len();
    let of = |id: &str, length: usize| record(id, &format!(r#","x":"{}""#, "x".repeat(length - empty)));
    let (fits, over) = (of("1", 16 << 20), of("2", (16 << 20) + 1));
    assert_eq!((fits.len(), over.len()), (16 << 20, (16 << 20) + 1));
    here.put("trail/a.json", log_file(&[&fits, &over, &record("3", "")]));
    here.once().ended(3);
    assert_eq!(here.ids("out"), ["1", "3"]);
    let rejects = here.rejects();
    assert_eq!((rejects.len(), rejects[0].bytes.len()), (1, over.len()));
    assert!(rejects[0].reason.contains("over the limit of 16777216 bytes"), "{}", rejects[0].reason);
}

#[test]
fn a_record_in_four_envelopes_is_shipped_and_in_five_is_not() {
    let here = Here::with(ARCHIVE);
    let within = |record: String| serde_json::json!({ "message": record }).to_string();
    let four = (0..4).fold(record("4", ""), |text, _| within(text));
    let five = (0..5).fold(record("5", ""), |text, _| within(text));
    here.put("trail/a.json", format!("{four}\n{five}\n{}\n", record("0", "")));
    here.once().ended(3);
    assert_eq!(here.ids("out"), ["0", "4"]);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1);
    assert!(rejects[0].reason.contains("envelopes"), "{}", rejects[0].reason);
}

#[test]
fn lines_have_no_limit_but_the_record() {
    let limits = "type = \"files\"\npath = \"trail\"\n[sources.trail.limits]\nrecords = 3\nobject = \"64 KiB\"\nratio = 2\nrecord = \"16 KiB\"";
    let here = Here::with("").reading(limits, ARCHIVE);
    let more = format!(r#","x":"{}""#, "x".repeat(4_000));
    let mut lines: Vec<String> = (0..1_000).map(|number| record(&format!("{number:04}"), &more)).collect();
    let large = record("large", &format!(r#","x":"{}""#, "x".repeat(17_000)));
    lines.insert(500, large.clone());
    here.put("trail/a.ndjson.gz", gz(lines.join("\n") + "\n"));
    here.once().ended(3);
    assert_eq!(here.ids("out").len(), 1_000);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1);
    assert!(rejects[0].reason.contains("over the limit of 16384 bytes"), "{}", rejects[0].reason);
    assert_eq!(rejects[0].bytes, large.as_bytes());
}
