//! What is refused can be looked at and removed; what was changed or put there is told apart.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::here::{ARCHIVE, Here, record};

/// A directory where two lines of one file and one of another were refused at decode.
fn refused(more: &str) -> Here {
    let here = Here::with(more);
    let bad = r#"{"eventVersion":oops,"responseElements":{"credentials":{"sessionToken":"FQoGZXIvYXdzEP"}}}"#;
    here.put(
        "trail/a.ndjson",
        format!("{}\n{bad}\n{}\nno json \u{1b}[31m\n", record("1", ""), record("2", "")),
    );
    here.once().ended(3);
    here.put("trail/b.ndjson", format!("{}\n{{\"eventVersion\":\n{}\n", record("3", ""), record("4", "")));
    here.once().ended(3);
    here
}

/// The entries, as `ls --json` tells them.
pub(crate) fn listed(here: &Here, more: &[&str]) -> Vec<Value> {
    let ran = here.run(&[&["rejects", "ls", "--json"], more].concat());
    ran.ended(0);
    String::from_utf8(ran.out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The file of an entry.
pub(crate) fn file(here: &Here, entry: &Value) -> PathBuf {
    here.at(&format!("state/rejects/{:020}.reject", entry["id"].as_u64().unwrap()))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn entries_are_listed_shown_and_removed() {
    let here = refused(ARCHIVE);
    let entries = listed(&here, &[]);
    assert_eq!(entries.len(), 2, "{entries:?}");
    for (entry, object) in entries.iter().zip(["trail/a.ndjson", "trail/b.ndjson"]) {
        assert_eq!(
            (&entry["state"], &entry["pipeline"], &entry["stage"]),
            (&"whole".into(), &"main".into(), &"decode".into())
        );
        assert_eq!((&entry["object"], &entry["sink"]), (&object.into(), &Value::Null));
    }
    let table = here.run(&["rejects", "ls"]);
    assert!(text(&table.out).contains("2 entries, "), "{table:?}");
    for (filter, expected) in [
        (["--stage", "decode"], 2),
        (["--stage", "sink"], 0),
        (["--pipeline", "other"], 0),
        (["--sink", "archive"], 0),
        (["--since", "1h"], 2),
        (["--since", "2100-01-01"], 0),
        (["--reason", "NO SUCH REASON"], 0),
    ] {
        assert_eq!(listed(&here, &filter).len(), expected, "{filter:?}");
    }

    let first = entries[0]["id"].to_string();
    let shown = here.run(&["rejects", "show", &first]);
    let told = text(&shown.ended(0).out);
    assert!(told.contains("trail/a.ndjson") && told.contains("no json \\u{1b}[31m"), "{told}");
    assert!(told.contains("oops") && !told.contains("FQoGZXIvYXdzEP"), "{told}");

    here.run(&["rejects", "rm"]).ended(2);
    here.run(&["rejects", "rm", &first, "--stage", "decode"]).ended(2);
    here.run(&["rejects", "rm", "--all", "--stage", "sink"]).ended(0);
    here.run(&["rejects", "rm", &first, "17"]).ended(1);
    assert_eq!(listed(&here, &[]), entries[1..]);
    here.run(&["rejects", "show", &first]).ended(1);
    here.run(&["rejects", "rm", "--all", "--stage", "decode"]).ended(0);
    assert!(listed(&here, &[]).is_empty());
}

#[test]
fn what_is_forged_or_torn_is_told() {
    let here = refused(ARCHIVE);
    let entries = listed(&here, &[]);
    // An event that somebody would like to have in the archive.
    let evil = record("evil", "");
    let forged = format!(
        r#"{{"version":2,"entry":77,"pipeline":"main","stage":"sink","sink":"archive","object":"x","at":"2026-01-15T10:00:00Z","items":[{{"reason":"r","offset":0,"length":{},"record":0}}],"mac":"{}"}}"#,
        evil.len(),
        "0".repeat(64)
    );
    fs::write(here.at(&format!("state/rejects/{:020}.reject", 77)), format!("{forged}\n{evil}")).unwrap();
    let second = file(&here, &entries[1]);
    let whole = fs::read(&second).unwrap();
    fs::write(&second, &whole[..whole.len() - 2]).unwrap();
    let states: Vec<Value> = listed(&here, &[]).into_iter().map(|mut entry| entry["state"].take()).collect();
    assert_eq!(states, ["forged", "whole", "torn"]);
    let table = here.run(&["rejects", "ls"]);
    assert!(text(&table.out).contains("FORGED: r") && text(&table.out).contains("TORN: "), "{table:?}");
    let shown = here.run(&["rejects", "show", "77"]);
    assert!(text(&shown.ended(0).out).contains("forged: its keyed hash is not that of this data directory"));
    here.run(&["rejects", "rm", "77"]).ended(0);
    assert_eq!(listed(&here, &[]).len(), 2);
}

#[test]
fn entries_are_removed_beside_a_run() {
    let here = refused(ARCHIVE);
    let mut running = here.start(&["run"]);
    running.until("it follows", |_| here.at("state/lock").exists());
    here.rename_in("trail/c.ndjson", format!("{}\nnot this\n", record("5", "")));
    running
        .until("it was refused", |_| here.rejects().iter().any(|reject| reject.object.ends_with("c.ndjson")));
    here.run(&["rejects", "rm", "--all"]).ended(0);
    assert!(listed(&here, &[]).is_empty());
    running.stop().ended(0);
}
