//! What is written: untouched bytes, shapes, routes, thinning, and nothing that must not leave.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trailship::generate::{self, Options, Profile};

use crate::here::{ARCHIVE, Here, gz, id, log_file, record};

#[test]
fn what_is_added_stands_behind_the_bytes_aws_wrote() {
    let odd =
        record("2", r#", "unknown" : {"z":1,"a":[ 1.688560107857E9 , 9007199254740993]},"b":"\u00e9\/"  "#);
    let here = Here::with(&format!(
        "origin = true\n[transforms.accounts]\ntype = \"account_tags\"\nfile = \"accounts.csv\"\n{ARCHIVE}"
    ));
    // A setting of the whole program stands above the first table.
    let text = std::fs::read_to_string(here.at("trailship.toml")).unwrap().replace("origin = true\n", "");
    std::fs::write(here.at("trailship.toml"), format!("origin = true\n{text}")).unwrap();
    std::fs::write(here.at("accounts.csv"), "account_id,name\n111122223333,acme-prod\n").unwrap();
    let all = [record("1", ""), odd];
    here.put("trail/a.json.gz", gz(log_file(&all)));
    let ran = here.once();
    ran.ended(0);
    let lines = here.lines("out");
    for (number, (line, written)) in lines.iter().zip(&all).enumerate() {
        let added = line.strip_prefix(written.strip_suffix('}').unwrap()).unwrap();
        assert!(added.starts_with(r#","trailship":{"#), "{line}");
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["trailship"]["account"]["name"], "acme-prod");
        assert_eq!(event["trailship"]["origin"]["record"], number);
    }
    assert_eq!(ran.books().delivered, 2);
}

#[test]
fn records_on_many_lines_are_written_on_one() {
    let pretty = serde_json::json!({"Records": [
        {"eventVersion": "1.08", "eventID": "1", "recipientAccountId": "111122223333", "a": {"b": [1, {"c": "d\n"}]}},
        {"eventVersion": "1.08", "eventID": "2", "recipientAccountId": "111122223333", "e": []},
    ]});
    let text = serde_json::to_string_pretty(&pretty).unwrap();
    for text in [text.clone(), text.replace('\n', "\r\n"), text.replace("  ", "\t")] {
        let here = Here::with(ARCHIVE);
        here.put("trail/pretty.json", text);
        let ran = here.once();
        ran.ended(0);
        let lines: Vec<Value> =
            here.lines("out").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(Some(&lines), pretty["Records"].as_array());
        assert_eq!(ran.books().delivered, 2);
    }
}

#[test]
fn keys_written_with_escapes_are_the_same_keys() {
    let plain = record("1", "");
    let escaped = plain
        .replace("recipientAccountId", r"recipient\u0041ccountId")
        .replace("awsRegion", r"aws\u0052egion")
        .replace("eventID", r"event\u0049D")
        .replace(r#""1""#, r#""2""#);
    let here = Here::with(
        "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.{region}.ndjson\"\nmatch = { eventID = [\"2\"] }\n",
    );
    here.put("trail/a.json", log_file(&[&plain, &escaped]));
    let ran = here.once();
    ran.ended(0);
    let files = here.files("out");
    assert_eq!(files.into_values().collect::<Vec<_>>(), [[escaped]]);
    assert_eq!(here.files("out").into_keys().collect::<Vec<_>>(), ["111122223333.us-east-1.000001.ndjson"]);
    assert_eq!((ran.books().offered, ran.books().delivered, ran.books().unrouted), (2, 1, 1));
}

#[test]
fn an_account_that_is_a_path_leads_nowhere() {
    let evil = |id: &str, text: &str| {
        format!(
            r#"{{"eventVersion":"1.08","eventID":"{id}","eventTime":"2026-01-15T10:00:00Z","recipientAccountId":"{text}","accountId":"{text}","awsRegion":"{text}","userIdentity":{{"accountId":"{text}"}}}}"#
        )
    };
    let all: Vec<String> =
        ["../../etc", "/etc/passwd", "..", ".", r"..\u002f..\u002fetc", "a/b", r"a\u0000b", " "]
            .iter()
            .zip(1..)
            .map(|(text, id)| evil(&id.to_string(), text))
            .collect();
    let here = Here::with(
        "[sinks.archive]\ntype = \"file\"\npath = \"deep/er/out/{account}/{region}/{date}.ndjson\"\n",
    );
    here.put("trail/AWSLogs/../evil.json", log_file(&all));
    let ran = here.once();
    ran.ended(0);
    let files = here.files("deep/er/out");
    let mut lines: Vec<String> = files.values().flatten().cloned().collect();
    lines.sort();
    assert_eq!(lines, all);
    for path in files.keys() {
        assert!(
            path.starts_with("_unknown/_invalid/2026-01-15.") || path.starts_with("_invalid/_invalid/"),
            "{path}"
        );
    }
    let beside: BTreeSet<String> = walkdir::WalkDir::new(here.at("deep"))
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file() && !entry.path().starts_with(here.at("deep/er/out")))
        .map(|entry| entry.path().display().to_string())
        .collect();
    assert!(beside.is_empty(), "{beside:?}");
    assert_eq!(ran.books().delivered, 8);
}

#[test]
fn two_sinks_both_get_everything_each_in_its_shape() {
    let here = Here::with(
        "[sinks.nested]\ntype = \"file\"\npath = \"nested/{account}.ndjson.gz\"\n[sinks.flat]\ntype = \"file\"\npath = \"flat/{date}.ndjson\"\nshape = \"flat\"\n",
    );
    let all: Vec<String> = (10..40)
        .map(|id| {
            record(
                &id.to_string(),
                r#","userIdentity":{"type":"IAMUser","sessionContext":{"a":{"b":9007199254740993}}}"#,
            )
        })
        .collect();
    for (number, records) in all.chunks(7).enumerate() {
        here.put(&format!("trail/{number}.json.gz"), gz(log_file(records)));
    }
    let ran = here.once();
    ran.ended(0);
    let mut nested = here.lines("nested");
    nested.sort();
    assert_eq!(nested, all);
    assert_eq!(here.ids("flat"), here.ids("nested"));
    for line in here.lines("flat") {
        let event: BTreeMap<String, Value> = serde_json::from_str(&line).unwrap();
        assert!(event.values().all(|value| !value.is_object()), "{line}");
        assert_eq!(event["userIdentity.type"], "IAMUser");
        assert!(line.contains(r#""userIdentity.sessionContext.a.b":9007199254740993"#), "{line}");
    }
    assert_eq!((ran.books().offered, ran.books().delivered), (30, 60));
}

#[test]
fn sinks_with_a_match_get_their_own_and_what_nobody_takes_is_told_once() {
    let here = Here::with(
        "[sinks.reads]\ntype = \"file\"\npath = \"reads/a.ndjson\"\nmatch = { readOnly = [true] }\n[sinks.writes]\ntype = \"file\"\npath = \"writes/a.ndjson\"\nmatch = { readOnly = [false] }\n",
    );
    let all: Vec<String> = (10..40)
        .map(|id| {
            let more = [r#","readOnly":true"#, r#","readOnly":false"#, ""][id % 3];
            record(&id.to_string(), more)
        })
        .collect();
    for (number, records) in all.chunks(3).enumerate() {
        here.put(&format!("trail/{number}.json"), log_file(records));
    }
    let ran = here.once();
    ran.ended(0);
    let with =
        |text: &str| all.iter().filter(|line| line.contains(text)).map(|line| id(line)).collect::<Vec<_>>();
    assert_eq!(here.ids("reads"), with(r#""readOnly":true"#));
    assert_eq!(here.ids("writes"), with(r#""readOnly":false"#));
    let books = ran.books();
    assert_eq!((books.offered, books.delivered, books.unrouted), (30, 20, 10));
    let told = ran.told("matches no sink");
    assert_eq!(told.len(), 1, "{}", ran.said);
    assert_eq!(told[0]["level"], "warn");
}

#[test]
fn session_tokens_leave_in_no_way() {
    let secret = "FQoGZXIvYXdzEJr1234567890secret";
    let token =
        |inside: &str| format!(r#","responseElements":{{"credentials":{{"accessKeyId":"ASIA",{inside}}}}}"#);
    let all = [
        record("1", &token(&format!(r#""sessionToken":"{secret}""#))),
        record("2", &token(&format!(r#""session\u0054oken" : "{secret}""#))),
        record("3", &token(&format!(r#""sessionToken":"{secret}","sessionToken":"{secret}""#))),
        record("4", &token(&format!(r#""sessionToken":["{secret}","{secret}"]"#))),
        record(
            "5",
            &format!(
                "{0}{0}",
                token(&format!(r#""sessionToken":"{secret}""#))
                    .replace("responseElements", r"response\u0045lements")
            ),
        ),
        record("6", r#","responseElements":{"credentials":{"sessionToken":null}}"#),
    ];
    let here = Here::with(
        "[sinks.nested]\ntype = \"file\"\npath = \"nested/a.ndjson\"\n[sinks.flat]\ntype = \"file\"\npath = \"flat/a.ndjson\"\nshape = \"flat\"\n[sinks.screen]\ntype = \"stdout\"\n",
    );
    here.put("trail/a.json", log_file(&all));
    here.put("trail/b.ndjson", format!("{}\n", all.join("\n")));
    let ran = here.run(&["run", "--once", "--log-level", "trace"]);
    ran.ended(0);
    assert_eq!(ran.books().delivered, 36);
    assert!(!ran.said.contains(secret));
    assert!(!String::from_utf8_lossy(&ran.out).contains(secret), "{}", String::from_utf8_lossy(&ran.out));
    assert_eq!(String::from_utf8_lossy(&ran.out).lines().count(), 12);
    for entry in walkdir::WalkDir::new(here.at("")).into_iter().filter_map(Result::ok) {
        if entry.file_type().is_file() && !entry.path().starts_with(here.at("trail")) {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{}", entry.path().display());
        }
    }
    assert!(here.lines("nested").iter().all(|line| line.contains("ASIA") || id(line) == "6"));
}

/// What must never be thinned, told by other means than the program's own.
fn is_protected(event: &Value) -> bool {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let is_management = event["eventCategory"].as_str().is_none_or(|category| category == "Management");
    event.get("errorCode").is_some_and(|code| !code.is_null())
        || event.get("errorMessage").is_some_and(|message| !message.is_null())
        || matches!(text("eventSource"), "signin.amazonaws.com" | "sts.amazonaws.com")
        || event["userIdentity"]["type"] == "Root"
        || text("eventCategory") == "Insight"
        || is_management && event["readOnly"] != true
}

#[test]
fn one_in_n_stands_for_all_and_what_matters_is_never_left_out() {
    const N: u64 = 10;
    let mut options = Options::new(Profile::Mixed);
    (options.bytes, options.accounts, options.regions, options.large) = (3_000_000, 4, 2, 0.0);
    let thinned = || {
        let here = Here::with(&format!("[transforms.thin]\ntype = \"sample\"\nkeep_one_in = {N}\n{ARCHIVE}"));
        let summary = generate::write_tree(&here.at("trail"), &options, |_| {}).unwrap();
        let ran = here.once();
        ran.ended(0);
        let books = ran.books();
        assert_eq!(books.read, books.left_out + summary.records);
        assert_eq!(books.left_out, summary.digests);
        (here.lines("out"), here.ids("out"), books, here, summary)
    };
    let (lines, ids, books, here, summary) = thinned();
    let kept: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rates: Vec<u64> =
        kept.iter().filter_map(|event| event["trailship"]["sample"]["rate"].as_u64()).collect();
    assert!(rates.iter().all(|rate| *rate == N));

    // Those with a rate stand for all that may be left out, within three standard deviations.
    let thinnable = (rates.len() as u64 + books.sampled) as f64;
    let estimate = rates.iter().sum::<u64>() as f64;
    let deviation = (thinnable * (N - 1) as f64).sqrt();
    assert!(thinnable > 500.0, "{thinnable} records could be left out: too few to tell");
    assert!((estimate - thinnable).abs() <= 3.0 * deviation, "{estimate} for {thinnable}");

    // Nothing protected is missing, nor does it say that it stands for others.
    let unsampled: BTreeSet<String> = lines
        .iter()
        .zip(&kept)
        .filter(|(_, event)| event["trailship"]["sample"].is_null())
        .map(|(line, _)| id(line))
        .collect();
    let mut protected = 0;
    for line in String::from_utf8(here.run(&["cat", "trail"]).out).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if is_protected(&event) {
            protected += 1;
            assert!(unsampled.contains(&id(line)), "{line}");
        }
    }
    assert!(protected > 100);
    assert!(!summary.rare.is_empty());
    for (name, number) in &summary.rare {
        let whole = kept
            .iter()
            .filter(|event| event["eventName"] == *name && event["trailship"]["sample"].is_null())
            .count() as u64;
        assert!(whole >= *number, "{name}: {whole} of {number}");
    }

    // A redelivery has the same fate.
    assert_eq!(thinned().1, ids);
}
