//! What was refused is shipped again: to whom it was refused by, once, beside a run and alone, and through kills.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use trailship::clock::Timestamp;
use trailship::pipeline::rejects::key::Key;
use trailship::pipeline::rejects::{Item, Manifest, Rejects};

use crate::here::{ARCHIVE, Here, id, log_file, record, wait};
use crate::promises::{counts, unfinished};
use crate::rejects::listed;

const TWO: &str = "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson\"\n[sinks.other]\ntype = \"file\"\npath = \"other/{account}.ndjson\"\nshape = \"flat\"\n";

/// Puts entries into rejects as the program does: `records` that `sink` of the pipeline `main` has refused.
pub(crate) fn refuse(here: &Here, sink: &str, entries: &[Vec<String>]) {
    let data_dir = here.at("state");
    fs::create_dir_all(&data_dir).unwrap();
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o700)).unwrap();
    let key = Key::read_or_make(&data_dir).unwrap();
    let open =
        Rejects::open(&data_dir.join("rejects"), key, 1 << 30, Duration::from_secs(86_400), Timestamp(0));
    let rejects = open.unwrap();
    for records in entries {
        let item = |(number, text): (usize, &String)| Item {
            reason: "mapping conflict".into(),
            offset: 1000 * number as u64,
            length: text.len() as u64,
            record: Some(number as u64),
            continues: false,
            token_removed: false,
        };
        let manifest = Manifest {
            pipeline: "main".into(),
            stage: "sink".into(),
            sink: Some(sink.into()),
            object: "trail/AWSLogs/1.json.gz".into(),
            items: records.iter().enumerate().map(item).collect(),
            ..Manifest::default()
        };
        let bytes: Vec<&[u8]> = records.iter().map(|text| text.as_bytes()).collect();
        rejects.store(manifest, &bytes).unwrap();
    }
}

/// So many entries of so many records, and their ids.
fn many(here: &Here, entries: usize, records: usize) -> BTreeMap<String, u64> {
    let entry = |entry| (0..records).map(|number| record(&format!("{entry}-{number}"), "")).collect();
    let entries: Vec<Vec<String>> = (0..entries).map(entry).collect();
    refuse(here, "archive", &entries);
    counts(entries.iter().flatten().map(|line| id(line)).collect())
}

#[test]
fn what_one_sink_refused_goes_to_that_sink_only_and_only_once() {
    let here = Here::with(TWO);
    let pretty = record("1", "").replace(',', ",\n  ");
    refuse(&here, "other", &[vec![pretty, record("2", "")]]);
    let entry = listed(&here, &[])[0]["id"].to_string();
    let ran = here.run(&["replay", &entry]);
    ran.ended(0);
    assert!(ran.said.contains("1 entry shipped again, 2 records"), "{}", ran.said);
    assert_eq!((here.ids("other"), here.lines("out").len()), (vec!["1".to_owned(), "2".to_owned()], 0));
    assert!(listed(&here, &[]).is_empty());
    // Once more: it is not there.
    let ran = here.run(&["replay", &entry]);
    ran.ended(1);
    assert!(ran.said.contains("not shipped: it is not there"), "{}", ran.said);
    here.run(&["replay", "--all"]).ended(0);
    assert_eq!(here.ids("other").len(), 2);
}

#[test]
fn what_was_refused_at_decode_goes_everywhere_with_its_place() {
    let tight = "[sources.trail]\ntype = \"files\"\npath = \"trail\"\nlimits = { record = \"1 MiB\" }\n";
    let here = Here::with(TWO);
    let config = fs::read_to_string(here.at("trailship.toml")).unwrap();
    let config = format!("origin = true\n{config}");
    let loose = "[sources.trail]\ntype = \"files\"\npath = \"trail\"\n";
    assert!(config.contains(loose));
    fs::write(here.at("trailship.toml"), config.replace(loose, tight)).unwrap();
    // Longer than a window, and so in more than one entry.
    let large = record("large", &format!(r#","requestParameters":{{"x":"{}"}}"#, "y z".repeat(6_500_000)));
    here.put("trail/a.json", log_file(&[record("1", ""), large.clone(), record("2", "")]));
    here.once().ended(3);
    assert_eq!(here.ids("out"), ["1", "2"]);
    let entries = listed(&here, &[]);
    assert!(entries.len() > 1, "{entries:?}");
    // Nothing has changed: it is refused again, and nothing is lost.
    here.run(&["replay", "--all"]).ended(3);
    assert_eq!(here.rejects().len(), 1);
    assert!(here.rejects()[0].bytes == large.as_bytes());

    let wide = tight.replace("1 MiB", "32 MiB");
    fs::write(here.at("trailship.toml"), config.replace(loose, &wide)).unwrap();
    let one = listed(&here, &[])[1]["id"].to_string();
    let ran = here.run(&["replay", &one]);
    ran.ended(0);
    assert!(listed(&here, &[]).is_empty(), "{}", ran.said);
    for folder in ["out", "other"] {
        assert_eq!(here.ids(folder), ["1", "2", "large"]);
    }
    let line = here.lines("out").into_iter().find(|line| id(line) == "large").unwrap();
    assert!(line.contains(r#""object":"trail/a.json""#), "{}", &line[line.len() - 200..]);
}

#[test]
fn nobody_injects_events_by_way_of_rejects() {
    let here = Here::with(ARCHIVE);
    many(&here, 1, 1);
    let entries = fs::read_dir(here.at("state/rejects")).unwrap();
    let path = entries.map(|entry| entry.unwrap().path()).next().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("0-0", "9-9")).unwrap();
    let ran = here.run(&["replay", "--all"]);
    ran.ended(1);
    assert!(ran.said.contains("forged: ") && ran.said.contains("it is never shipped"), "{}", ran.said);
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let ran = here.run(&["replay", "--all"]);
    ran.ended(1);
    assert!(ran.said.contains("torn: "), "{}", ran.said);
    assert!(here.lines("out").is_empty());
    fs::write(&path, whole).unwrap();
    here.run(&["replay", "--all"]).ended(0);
    assert_eq!(here.ids("out"), ["0-0"]);
}

#[test]
fn an_entry_of_a_sink_that_is_gone_is_kept() {
    let here = Here::with(ARCHIVE);
    refuse(&here, "gone", &[vec![record("1", "")]]);
    let ran = here.run(&["replay", "--all"]);
    ran.ended(1);
    assert!(ran.said.contains("pipeline `main` has no sink `gone`"), "{}", ran.said);
    assert_eq!(listed(&here, &[])[0]["state"], "whole");
}

#[test]
fn transforms_decide_again_as_they_did() {
    let thin = format!("[transforms.thin]\ntype = \"sample\"\nkeep_one_in = 4\n{ARCHIVE}");
    let data = r#","eventCategory":"Data","managementEvent":false,"readOnly":true,"eventName":"GetObject","eventSource":"s3.amazonaws.com","userIdentity":{"type":"AssumedRole"}"#;
    let records: Vec<String> = (0..200).map(|number| record(&format!("event-{number}"), data)).collect();
    let here = Here::with(&thin);
    here.put("trail/a.json", log_file(&records));
    here.once().ended(0);
    let kept = here.ids("out");
    assert!((20..100).contains(&kept.len()), "{}", kept.len());
    let again = Here::with(&thin);
    refuse(&again, "archive", &[records]);
    again.run(&["replay", "--all"]).ended(0);
    assert_eq!(again.ids("out"), kept);
}

#[test]
fn a_running_run_ships_again_and_two_at_once_ship_nothing_twice() {
    let here = Here::with(ARCHIVE);
    let put = many(&here, 60, 5);
    let mut running = here.start(&["run"]);
    running.until("it can be asked", |_| here.at("state/control.sock").exists());
    let mode = fs::metadata(here.at("state/control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (one, other) = std::thread::scope(|scope| {
        let ask = || here.run(&["replay", "--all"]);
        let (one, other) = (scope.spawn(ask), scope.spawn(ask));
        (one.join().unwrap(), other.join().unwrap())
    });
    for ran in [&one, &other] {
        assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.said);
    }
    assert!(listed(&here, &[]).is_empty());
    let ran = running.stop();
    ran.ended(0);
    assert_eq!(ran.books().delivered, 300);
    assert!(counts(here.ids("out")) == put, "{} {}", one.said, other.said);
    assert!(!here.at("state/control.sock").exists());
}

#[test]
fn a_run_that_ships_other_things_and_one_that_was_killed() {
    let here = Here::with(ARCHIVE);
    let mut put = many(&here, 3, 2);
    let mut running = here.start(&["run"]);
    running.until("it can be asked", |_| here.at("state/control.sock").exists());
    running.signal(Signal::SIGKILL);
    running.end();
    // What a killed run leaves does not answer.
    assert!(here.at("state/control.sock").exists());
    let first = listed(&here, &[])[0]["id"].to_string();
    here.run(&["replay", &first]).ended(0);

    let mut running = here.start(&["run"]);
    here.rename_in("trail/new.ndjson", record("new", "") + "\n");
    // It takes the place of what is there.
    running.until("it answers", |_| UnixStream::connect(here.at("state/control.sock")).is_ok());
    here.run(&["replay", "--all"]).ended(0);
    put.insert("new".to_owned(), 1);
    running.until("the other is shipped", |_| unfinished(&here) > 0);
    running.stop().ended(0);
    let mut got = counts(here.ids("out"));
    if !got.contains_key("new") {
        here.once().ended(0);
        got = counts(here.ids("out"));
    }
    assert_eq!(got, put);
}

#[test]
fn after_a_kill_in_the_middle_nothing_is_lost_and_copies_are_of_what_was_claimed() {
    for least in [1, 20_000] {
        let here = Here::with(ARCHIVE);
        let put = many(&here, 400, 20);
        let mut running = here.start(&["replay", "--all"]);
        let waited = wait(|| running.has_ended() || unfinished(&here) >= least);
        assert!(waited.is_none() && !running.has_ended(), "not caught in the middle: {}", running.said());
        running.signal(Signal::SIGKILL);
        running.end();
        let left: BTreeSet<String> = listed(&here, &[]).iter().map(|entry| entry["id"].to_string()).collect();
        assert!(!left.is_empty());
        let ran = here.run(&["replay", "--all"]);
        ran.ended(0);
        assert!(listed(&here, &[]).is_empty());
        assert_eq!(fs::read_dir(here.at("state/rejects")).unwrap().count(), 0);
        let got = counts(here.ids("out"));
        assert_eq!(got.keys().collect::<Vec<_>>(), put.keys().collect::<Vec<_>>());
        let copies = got.values().filter(|count| **count > 1).count();
        // At most 8 entries are on their way at a time.
        assert!(copies <= 8 * 20 && got.values().all(|count| *count <= 2), "{copies} copies");
    }
}

#[test]
fn a_stop_in_the_middle_gives_back_the_rest_and_nothing_comes_twice() {
    for beside in [false, true] {
        let here = Here::with(ARCHIVE);
        let put = many(&here, 300, 20);
        let mut running = here.start(if beside { &["run"] } else { &["replay", "--all"] });
        if beside {
            running.until("it answers", |_| UnixStream::connect(here.at("state/control.sock")).is_ok());
        }
        let asking = beside.then(|| here.start(&["replay", "--all"]));
        let waited = wait(|| running.has_ended() || unfinished(&here) > 0);
        assert!(waited.is_none() && !running.has_ended(), "not caught in the middle: {}", running.said());
        // Whoever asked is told that the rest is kept.
        let stopped = running.stop();
        stopped.ended(i32::from(!beside));
        if let Some(asking) = asking {
            asking.end().ended(1);
        }
        let left = listed(&here, &[]);
        assert!(!left.is_empty() && left.iter().all(|entry| entry["state"] == "whole"));
        here.run(&["replay", "--all"]).ended(0);
        assert!(counts(here.ids("out")) == put);
    }
}

#[test]
fn a_data_directory_with_a_long_path_can_be_asked() {
    let here = Here::with(ARCHIVE);
    let long = format!("{}/state", "deep".repeat(40));
    let config = fs::read_to_string(here.at("trailship.toml")).unwrap();
    fs::write(
        here.at("trailship.toml"),
        config.replace("\"state\"", &format!("\"{}\"", here.at(&long).display())),
    )
    .unwrap();
    let mut running = here.start(&["run"]);
    running.until("it can be asked", |_| here.at(&long).join("control.sock").exists());
    let ran = here.run(&["replay", "7"]);
    assert!(ran.said.contains("7: not shipped: it is not there"), "{}", ran.said);
    let stopped = running.stop();
    assert!(!stopped.said.contains("must wait"), "{}", stopped.said);
}
