//! What is remembered, shown and changed by hand.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::here::{ARCHIVE, Here, log_file, record};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_source_is_shown_renamed_and_forgotten() {
    let here = Here::with(ARCHIVE);
    for id in ["1", "2"] {
        here.put(&format!("trail/{id}.json"), log_file(&[record(id, "")]));
    }
    here.once().ended(0);
    let shown = here.run(&["state", "show", "main/trail"]);
    assert!(text(&shown.ended(0).out).contains("files     2 shipped, "), "{shown:?}");
    let entries = here.run(&["state", "show", "main/trail", "--entries"]);
    assert_eq!(text(&entries.ended(0).out).lines().filter(|line| line.contains("\"inode\":")).count(), 2);
    let none = here.run(&["state", "show", "main/other"]);
    assert!(none.ended(1).said.contains("nothing is remembered of main/other"));
    here.run(&["state", "show", "main"]).ended(2);

    // The source gets another name, and nothing is shipped again.
    let config = fs::read_to_string(here.at("trailship.toml")).unwrap();
    fs::write(here.at("trailship.toml"), config.replace("[sources.trail]", "[sources.org]")).unwrap();
    let renamed = here.run(&["state", "rename", "main/trail", "main/org"]);
    assert_eq!(text(&renamed.ended(0).out), "main/trail is main/org now (2 entries)\n");
    assert_eq!(here.once().ended(0).books().read, 0);
    let listed = here.run(&["state", "ls"]);
    assert!(
        text(&listed.out).contains("main             org ") && !text(&listed.out).contains(" trail "),
        "{listed:?}"
    );
    here.run(&["state", "rename", "main/trail", "main/new"]).ended(1);
    let taken = here.run(&["state", "rename", "main/org", "main/org"]);
    assert!(taken.ended(1).said.contains("its name already"));

    here.run(&["state", "rm", "main/org"]).ended(0);
    assert_eq!(here.once().ended(0).books().read, 2);
}

#[test]
fn beside_a_run_the_state_is_shown_and_not_changed() {
    let here = Here::with(ARCHIVE);
    here.put("trail/1.json", log_file(&[record("1", "")]));
    here.once().ended(0);
    let mut running = here.start(&["run"]);
    running.until("it runs", |said| said.contains("starting") && here.at("state/control.sock").exists());
    let shown = here.run(&["state", "show", "main/trail"]);
    assert!(text(&shown.ended(0).out).contains("files     1 shipped, "), "{shown:?}");
    for arguments in [&["state", "rm", "main/trail"][..], &["state", "rename", "main/trail", "main/org"]] {
        let refused = here.run(arguments);
        let process = format!("in use by process {}", running.id());
        assert!(refused.ended(1).said.contains(&process), "{}", refused.said);
    }
    running.stop().ended(0);
    assert_eq!(here.once().ended(0).books().read, 0);
}

#[test]
fn beside_a_run_that_works_the_state_can_be_read_at_any_moment() {
    let here = Here::with(ARCHIVE);
    let running = here.start(&["run"]);
    let (mut put, mut shown) = (0, 0);
    let begins = SystemTime::now();
    while put < 400 || shown < 100 {
        for _ in 0..20 {
            put += 1;
            let id = put.to_string();
            here.rename_in(&format!("trail/{id}.json"), log_file(&[record(&id, "")]));
        }
        if !here.at("state").exists() {
            continue;
        }
        let listed = here.run(&["state", "ls"]);
        let row = text(&listed.ended(0).out).lines().find(|line| line.contains(" trail ")).map(str::to_owned);
        let files = row.as_deref().and_then(|row| row.split_whitespace().nth(2)).unwrap_or("0");
        let now: u64 = files.replace(',', "").parse().unwrap();
        assert!(now >= shown, "{shown} files were shipped, and now {now}");
        shown = now;
        if shown > 0 {
            here.run(&["state", "show", "main/trail", "--entries"]).ended(0);
        }
        assert!(begins.elapsed().unwrap() < Duration::from_secs(60), "{put} put, {shown} shown");
    }
    running.stop().ended(0);
    here.once().ended(0);
    assert_eq!(here.ids("out").len(), put);
}

/// A state that was not closed is repaired by whoever opens it next; who only reads it takes the lock for that.
#[test]
fn an_end_in_order_leaves_a_state_that_need_not_be_repaired() {
    let here = Here::with(ARCHIVE);
    for round in 0..8 {
        here.put(&format!("trail/{round}.json"), log_file(&[record(&round.to_string(), "")]));
        if round % 2 == 0 {
            here.once().ended(0);
        } else {
            let mut running = here.start(&["run"]);
            running
                .until("it runs", |said| said.contains("starting") && here.at("state/control.sock").exists());
            running.stop().ended(0);
        }
        let lock = fs::read(here.at("state/lock")).unwrap();
        here.run(&["state", "ls"]).ended(0);
        assert_eq!(fs::read(here.at("state/lock")).unwrap(), lock, "repaired after round {round}");
    }
}
