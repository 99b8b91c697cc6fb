//! `cat`: what it prints, and of what.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::{golden, run, said, text, trailship, tree};

#[test]
fn cat_gives_what_was_generated() {
    let here = tempfile::tempdir().unwrap();
    tree(here.path(), &[]);
    let output = run(here.path(), &["cat", "trail"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty());
    let mut ids = std::collections::HashSet::new();
    for line in text(&output.stdout).lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = record["eventID"].as_str().or_else(|| record["eventId"].as_str());
        ids.insert(id.map(str::to_owned).unwrap_or_else(|| line.to_owned()));
        assert!(!line.contains("trailship"));
    }
    assert_eq!(ids.len(), text(&output.stdout).lines().count());

    let matched = run(here.path(), &["cat", "trail", "--match", r#"{"readOnly": [true]}"#, "--limit", "5"]);
    assert_eq!(text(&matched.stdout).lines().count(), 5);
    assert!(text(&matched.stdout).lines().all(|line| line.contains("\"readOnly\":true")));
}

#[test]
fn cat_removes_session_tokens() {
    let here = tempfile::tempdir().unwrap();
    let record =
        r#"{"eventVersion":"1.08","responseElements":{"credentials":{"sessionToken":"FQoGZXIvYXdzE"}}}"#;
    fs::write(here.path().join("one.json"), record).unwrap();
    let output = run(here.path(), &["cat", "one.json"]);
    assert_eq!(text(&output.stdout), format!("{}\n", record.replace("FQoGZXIvYXdzE", "REDACTED")));
}

#[test]
fn cat_tells_damage_with_its_address_and_ends_with_3() {
    let here = tempfile::tempdir().unwrap();
    let line = |id: u32| format!("{{\"eventVersion\":\"1.08\",\"eventID\":\"{id}\"}}\n");
    fs::write(here.path().join("a.ndjson"), format!("{}{{\"eventVersion\":oops}}\n{}", line(1), line(2)))
        .unwrap();
    let output = run(here.path(), &["cat", "a.ndjson"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), format!("{}{}", line(1), line(2)));
    golden("cat-damage.txt", here.path(), &text(&output.stderr));
    let output = run(here.path(), &["cat", "none.ndjson", "a.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), format!("{}{}", line(1), line(2)));
}

#[test]
fn generate_feeds_cat_and_a_reader_that_leaves_is_no_failure() {
    let here = tempfile::tempdir().unwrap();
    let mut generate = trailship(here.path())
        .args(["generate", "--bytes", "3 MB", "--out", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut cat = trailship(here.path())
        .args(["cat", "-"])
        .stdin(Stdio::from(generate.stdout.take().unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(cat.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with('{'));
    drop(lines);
    for child in [&mut cat, &mut generate] {
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(said(child), "");
    }
}

#[test]
fn cat_chooses_by_event_time_and_prints_chosen_fields() {
    let here = tempfile::tempdir().unwrap();
    let line = |id: u32, time: &str| {
        format!(
            r#"{{"eventVersion":"1.08","eventID":"{id}","eventTime":"{time}","userIdentity":{{"arn":"a{id}","type":"Root"}}}}"#
        )
    };
    let old = line(1, "2026-01-15T10:00:00Z");
    let new = line(2, "2026-01-16T10:00:00Z");
    let none = r#"{"eventVersion":"1.08","eventID":"3"}"#;
    fs::write(here.path().join("a.ndjson"), format!("{old}\n{new}\n{none}\n")).unwrap();
    let since = run(here.path(), &["cat", "a.ndjson", "--since", "2026-01-16"]);
    assert_eq!(text(&since.stdout), format!("{new}\n{none}\n"));
    let ago = run(
        here.path(),
        &["cat", "a.ndjson", "--since", "1000 weeks", "--fields", "userIdentity.arn,eventID"],
    );
    assert_eq!(
        text(&ago.stdout),
        "{\"userIdentity\":{\"arn\":\"a1\"},\"eventID\":\"1\"}\n{\"userIdentity\":{\"arn\":\"a2\"},\"eventID\":\"2\"}\n{\"eventID\":\"3\"}\n"
    );
    for wrong in [["--since", "then"], ["--fields", "a..b"]] {
        let output = run(here.path(), &[&["cat", "a.ndjson"][..], &wrong].concat());
        assert_eq!(output.status.code(), Some(2));
    }
}
