//! `run --dry-run`: tells what a run would do, and does none of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{golden, run, text};

const CONFIGURATION: &str = r#"
data_dir = "state"
[sources.trail]
type = "files"
path = "trail"
[transforms.signals]
type = "signals"
[transforms.quiet]
type = "filter"
drop = { eventName = ["Decrypt"] }
[transforms.thin]
type = "sample"
match = { eventCategory = ["Data"], readOnly = [true] }
keep_one_in = 10
[transforms.flat]
type = "flatten"
[sinks.archive]
type = "file"
path = "out/{account}.ndjson"
[sinks.security]
type = "file"
path = "security/{account}.ndjson"
match = { trailship = { signals = [{ exists = true }] } }
"#;

/// Events of two accounts; some may be thinned, some are dropped, some are protected.
fn trail(directory: &Path) {
    let mut lines = String::new();
    for id in 0..400 {
        let (name, category, rest) = match id % 10 {
            0..6 => ("GetObject", "Data", r#""readOnly":true"#),
            6 => ("Decrypt", "Management", r#""readOnly":true"#),
            7 => ("PutObject", "Data", r#""readOnly":false"#),
            8 => ("GetObject", "Data", r#""readOnly":true,"errorCode":"AccessDenied""#),
            _ => ("CreateUser", "Management", r#""readOnly":false"#),
        };
        let account = if id % 3 == 0 { "111122223333" } else { "444455556666" };
        lines.push_str(&format!(
            "{{\"eventVersion\":\"1.11\",\"eventID\":\"{id:08}\",\"eventSource\":\"x.amazonaws.com\",\"eventName\":\"{name}\",\"eventCategory\":\"{category}\",{rest},\"recipientAccountId\":\"{account}\"}}\n"
        ));
    }
    fs::create_dir(directory.join("trail")).unwrap();
    fs::write(directory.join("trail/a.ndjson"), lines).unwrap();
    fs::write(directory.join("trailship.toml"), CONFIGURATION).unwrap();
}

/// Every file below, with what it holds.
fn everything(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.insert(path.display().to_string(), Vec::new());
                left.push(path);
            } else {
                all.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

#[test]
fn a_dry_run_tells_what_a_run_would_do_and_writes_nothing() {
    let here = tempfile::tempdir().unwrap();
    trail(here.path());
    let before = everything(here.path());
    let output = run(here.path(), &["run", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert_eq!(everything(here.path()), before);
    golden("dry-run.txt", here.path(), &told);

    // The same again: nothing was settled. Then a run does what was told.
    assert_eq!(text(&run(here.path(), &["run", "--dry-run"]).stdout), told);
    let output = run(here.path(), &["run", "--once"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (mut events, mut bytes) = (0, 0);
    for (path, content) in everything(&here.path().join("out")) {
        let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for line in lines {
            events += 1;
            bytes += line.len();
        }
        assert!(path.ends_with(".ndjson"));
    }
    let all = told.lines().find(|line| line.starts_with("all ")).unwrap();
    let columns: Vec<&str> = all.split_whitespace().collect();
    assert_eq!((columns[1], columns[4]), ("400", events.to_string().as_str()), "{all}");
    assert_eq!(columns[5], format!("{}.{}", bytes / 1000, bytes % 1000 / 100), "{all}");

    // What was shipped is not told again.
    let state = everything(here.path());
    let output = run(here.path(), &["run", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("there is nothing to read that was not shipped before"));
    assert_eq!(everything(here.path()), state);
}

#[test]
fn what_would_be_rejected_is_counted_and_not_stored() {
    let here = tempfile::tempdir().unwrap();
    trail(here.path());
    fs::write(here.path().join("trail/b.json"), "{\"Records\":[{\"eventVersion\":oops}]}").unwrap();
    let output = run(here.path(), &["run", "--dry-run"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("1 would be rejected"), "{}", text(&output.stdout));
    assert!(!here.path().join("state").exists());
}

#[test]
fn every_figure_in_dollars_says_that_it_is_an_estimate() {
    let told = include_str!("dry-run.txt");
    let table = told.split("In dollars").nth(1).unwrap();
    assert!(table.lines().next().unwrap().contains("every figure is an estimate"));
    let rows = table.lines().skip(2).take_while(|line| !line.is_empty());
    assert!(rows.clone().count() > 5 && rows.clone().all(|line| line.ends_with("estimate")), "{table}");
}
