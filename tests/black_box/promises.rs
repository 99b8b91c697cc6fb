//! What was delivered is delivered once; what was not comes again, and nothing is lost, whatever happens on the way.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use trailship::generate::{self, Options, Profile};

use crate::here::{ARCHIVE, Here, Ran, gz, log_file, record, wait};

pub(crate) const COMPRESSED: &str =
    "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}/{date}.ndjson.gz\"\n";

/// Twenty files of three records; their ids, sorted.
fn twenty(here: &Here) -> Vec<String> {
    let mut ids = Vec::new();
    for file in 10..30 {
        let three = [1, 2, 3].map(|number| format!("{file}-{number}"));
        let records = three.each_ref().map(|id| record(id, ""));
        here.put(&format!("trail/day/{file}.json.gz"), gz(log_file(&records)));
        ids.extend(three);
    }
    ids
}

#[test]
fn a_second_run_ships_nothing_again() {
    let here = Here::with(COMPRESSED);
    let ids = twenty(&here);
    let first = here.once();
    first.ended(0);
    assert_eq!((here.ids("out"), first.books().delivered), (ids.clone(), 60));
    let second = here.once();
    second.ended(0);
    assert_eq!((here.ids("out"), second.books().read), (ids, 0));
}

#[test]
fn a_renamed_file_is_known_and_a_changed_one_is_new() {
    let here = Here::with(ARCHIVE);
    twenty(&here);
    here.once().ended(0);
    fs::create_dir_all(here.at("trail/other")).unwrap();
    fs::rename(here.at("trail/day/10.json.gz"), here.at("trail/other/renamed.json")).unwrap();
    let ran = here.once();
    ran.ended(0);
    assert_eq!(ran.books().read, 0);

    here.put("trail/day/11.json.gz", gz(log_file(&[record("11-4", "")])));
    let ran = here.once();
    ran.ended(0);
    assert_eq!((ran.books().read, ran.told("changed after it was shipped").len()), (1, 1), "{}", ran.said);
    assert_eq!(here.ids("out").iter().filter(|id| *id == "11-4").count(), 1);
    assert_eq!(here.ids("out").len(), 61);
}

/// How often each id came out.
pub(crate) fn counts(ids: Vec<String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// Some hundred generated files; the ids in them.
pub(crate) fn hundreds(here: &Here, bytes: u64) -> BTreeMap<String, u64> {
    let mut options = Options::new(Profile::Mixed);
    (options.bytes, options.accounts, options.regions) = (bytes, 6, 3);
    (options.large, options.kinds) = (0.0, false);
    let mut ids = Vec::new();
    generate::write_tree(&here.at("trail"), &options, |at| {
        ids.extend(at.object.facts.ids.iter().map(|id| generate::event_id(*id)));
    })
    .unwrap();
    assert!(ids.len() > 1000);
    counts(ids)
}

/// Records that the program says were shipped again after a crash.
fn shipped_again(ran: &Ran) -> u64 {
    ran.told("shipped again after a crash").iter().map(|line| line["records"].as_u64().unwrap()).sum()
}

/// Bytes in files that have not got their final name yet.
pub(crate) fn unfinished(here: &Here) -> u64 {
    let entries = walkdir::WalkDir::new(here.at("out")).into_iter().filter_map(Result::ok);
    let parts = entries.filter(|entry| entry.file_name().as_encoded_bytes().ends_with(b".part"));
    parts.map(|part| part.metadata().map_or(0, |facts| facts.len())).sum()
}

#[test]
fn after_a_kill_in_the_middle_every_record_arrives_and_the_log_tells_of_copies() {
    // What the files hold in the end, about; killed when so much of it is there.
    for least in [1, 100_000, 250_000] {
        let here = Here::with(
            "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}/{date}.ndjson.gz\"\n[sinks.other]\ntype = \"file\"\npath = \"other/{account}.ndjson.gz\"\nshape = \"flat\"\n",
        );
        let put = hundreds(&here, 6_000_000);
        let mut running = here.start(&["run", "--once"]);
        let waited = wait(|| running.has_ended() || unfinished(&here) >= least);
        let middle = waited.is_none() && !running.has_ended();
        assert!(middle, "it was not caught in the middle: {}", running.said());
        running.signal(Signal::SIGKILL);
        assert_eq!(running.end().code, None);
        let ran = here.once();
        ran.ended(0);
        ran.books();
        for sink in ["out", "other"] {
            let got = counts(here.ids(sink));
            assert_eq!(got.keys().collect::<Vec<_>>(), put.keys().collect::<Vec<_>>());
            let copies: u64 = got.iter().map(|(id, count)| count.saturating_sub(put[id])).sum();
            assert!(copies <= shipped_again(&ran), "{copies} copies in {sink}; said: {}", ran.said);
            eprintln!("{least}: {copies} copies of {} told", shipped_again(&ran));
        }
        assert_eq!(unfinished(&here), 0);
        let again = here.once();
        again.ended(0);
        assert_eq!((again.books().read, shipped_again(&again)), (0, 0));
    }
}

#[test]
fn standard_input_is_read_whatever_it_holds() {
    let all = ["1", "2", "3"].map(|id| record(id, r#","n":1.50"#));
    let lines = format!("{}\n", all.join("\n"));
    for (input, code, rejected) in [
        (lines.clone().into_bytes(), 0, 0),
        (lines.trim_end().into(), 0, 0),
        (log_file(&all).into_bytes(), 0, 0),
        (gz(log_file(&all)), 0, 0),
        (format!("{}\nhello\n{}\n{}", all[0], all[1], all[2]).into_bytes(), 3, 1),
    ] {
        let here = Here::with("").reading("type = \"files\"\npath = \"-\"", ARCHIVE);
        let ran = here.once_fed(&input);
        ran.ended(code);
        assert_eq!(here.lines("out"), all);
        assert_eq!((ran.books().read, ran.books().rejected), (3 + rejected, rejected));
        let objects: Vec<String> = here.rejects().into_iter().map(|reject| reject.object).collect();
        assert_eq!(objects, vec!["-"; rejected.try_into().unwrap()]);
    }
    let here = Here::with("").reading("type = \"files\"\npath = \"-\"", ARCHIVE);
    let ran = here.once_fed(b"");
    ran.ended(0);
    assert_eq!(ran.books().read, 0);
}

#[test]
fn a_file_that_may_still_be_growing_is_left_and_one_that_does_not_grow_is_rejected() {
    let here = Here::with(ARCHIVE);
    let [a, b] = ["1", "2"].map(|id| record(id, ""));
    let stored = gz(log_file(&[&a, &b]));
    here.put("trail/whole.json.gz", gz(log_file(&[record("3", "")])));
    fs::write(here.at("trail/young.json.gz"), &stored[..stored.len() - 8]).unwrap();
    // What is whole in it is not shipped now and once more when the rest is there.
    let plain = log_file(&[&record("4", ""), &record("5", "")]);
    fs::write(here.at("trail/plain.json"), &plain[..plain.len() - 20]).unwrap();
    let ran = here.once();
    ran.ended(1);
    for young in ["trail/young.json.gz", "trail/plain.json"] {
        let said = format!("not shipped yet, it may still be growing: {young}");
        assert!(ran.said.contains(&said), "{}", ran.said);
    }
    assert_eq!((here.ids("out"), here.rejects().len(), ran.books().read), (vec!["3".to_owned()], 0, 1));

    here.age("trail/young.json.gz");
    here.age("trail/plain.json");
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.ids("out"), ["1", "2", "3", "4"]);
    assert_eq!((here.rejects().len(), ran.books().read, ran.books().rejected), (2, 5, 2));
}

#[test]
fn following_ships_what_comes_and_a_stop_drains() {
    let here = Here::with(ARCHIVE);
    let mut ids = twenty(&here);
    let mut running = here.start(&["run"]);
    running.until("the first files are shipped", |_| parts_ids(&here, "out").len() == 60);
    for file in 40..60 {
        let id = format!("{file}-1");
        here.rename_in(&format!("trail/{}/{file}.json.gz", file / 10), gz(log_file(&[record(&id, "")])));
        ids.push(id);
    }
    running.until("the new files are shipped", |_| parts_ids(&here, "out").len() == 80);
    let ran = running.stop();
    ran.ended(0);
    assert_eq!((here.ids("out"), unfinished(&here)), (ids, 0));
    assert_eq!(ran.books().delivered, 80);
    assert_eq!(here.once().ended(0).books().read, 0);
}

#[test]
fn files_that_change_and_go_while_they_are_read_lose_and_break_nothing() {
    // No search of everything comes to help out.
    let source = "type = \"files\"\npath = \"trail\"\nrescan = \"10 min\"";
    let here = Here::with("").reading(source, ARCHIVE);
    let many = |file: u32, version: u32| {
        let records: Vec<String> =
            (0..40).map(|number| record(&format!("{file}-{version}-{number}"), "")).collect();
        gz(log_file(&records))
    };
    let mut running = here.start(&["run"]);
    for version in 0..8 {
        for file in 10..16 {
            here.rename_in(&format!("trail/{file}.json.gz"), many(file, version));
        }
        here.rename_in("trail/gone.json.gz", many(99, version));
        std::thread::sleep(Duration::from_millis(30));
        fs::remove_file(here.at("trail/gone.json.gz")).unwrap();
        // Cut while it may be being read, and written anew in its place.
        fs::write(here.at("trail/10.json.gz"), b"").unwrap();
        fs::write(here.at("trail/10.json.gz"), many(10, version)).unwrap();
    }
    let last = |id: &String| id.contains("-7-") && !id.starts_with("99");
    let mut seen = Vec::new();
    running.until("everything that stayed is shipped", |_| {
        seen = parts_ids(&here, "out");
        seen.iter().filter(|id| last(id)).collect::<std::collections::BTreeSet<_>>().len() == 6 * 40
    });
    let ran = running.stop();
    ran.ended(0);
    ran.books();
    assert_eq!(here.rejects().len(), 0, "{:?}", here.rejects());
    let ids = here.ids("out");
    assert_eq!(ids.len() as u64, ran.books().delivered);
    assert!(seen.len() <= ids.len());
}

/// The ids of whole lines in files that grow.
pub(crate) fn parts_ids(here: &Here, folder: &str) -> Vec<String> {
    let entries = walkdir::WalkDir::new(here.at(folder)).into_iter().filter_map(Result::ok);
    let parts = entries.filter(|entry| entry.file_name().as_encoded_bytes().ends_with(b".part"));
    let texts = parts.filter_map(|part| fs::read_to_string(part.path()).ok());
    let ids = |text: String| -> Vec<String> {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(crate::here::id).collect()
    };
    texts.flat_map(ids).collect()
}
