//! How it is stopped: in order, at once, and in the middle of everything.

use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::here::{Here, gz, log_file, record, wait};
use crate::promises::{COMPRESSED, counts, hundreds, unfinished};
use crate::surroundings::Mounted;

#[test]
fn a_stop_in_the_middle_gives_back_the_rest_and_nothing_comes_twice() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let here = Here::with(COMPRESSED);
        let put = hundreds(&here, 3_000_000);
        let mut running = here.start(&["run", "--once"]);
        let waited = wait(|| running.has_ended() || unfinished(&here) > 0);
        assert!(waited.is_none() && !running.has_ended(), "not caught in the middle: {}", running.said());
        running.signal(signal);
        let stopped = running.end();
        stopped.ended(0);
        assert_eq!(unfinished(&here), 0);
        let rest = here.once();
        rest.ended(0);
        assert!(rest.told("after a crash").is_empty(), "{}", rest.said);
        let total: u64 = put.values().sum();
        assert_eq!(stopped.books().delivered + rest.books().delivered, total);
        assert!(counts(here.ids("out")) == put);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let here = Here::with("[sinks.archive]\ntype = \"file\"\npath = \"out/a.ndjson\"\n");
    here.put("trail/a.json", log_file(&[record("1", "")]));
    let Some(disk) = Mounted::at(&here, "out", "size=64m,ro") else { return };
    let mut running = here.start(&["run"]);
    running.until("it is stuck", |said| said.contains("Read-only file system"));
    running.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!running.has_ended());
    let asked = SystemTime::now();
    let ran = running.stop();
    ran.ended(143);
    // Long before `stop_deadline`, 30 s.
    assert!(asked.elapsed().unwrap() < Duration::from_secs(15));
    disk.again("size=64m,rw");
    assert_eq!(here.once().ended(0).books().delivered, 1);
    assert_eq!(here.ids("out"), ["1"]);
}

#[test]
fn a_file_is_finished_at_its_age_while_the_program_runs() {
    let here = Here::with(
        "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson.gz\"\nrotate_age = \"1s\"\n",
    );
    let mut running = here.start(&["run"]);
    for id in ["1", "2"] {
        here.rename_in(&format!("trail/{id}.json.gz"), gz(log_file(&[record(id, "")])));
        running.until("the file has its name", |_| here.ids("out").contains(&id.to_owned()));
    }
    let ran = running.stop();
    ran.ended(0);
    assert_eq!((here.ids("out"), here.files("out").len()), (vec!["1".to_owned(), "2".to_owned()], 2));
    assert_eq!(ran.books().delivered, 2);
}

#[test]
fn a_data_directory_that_is_full_loses_nothing() {
    // From not enough to begin with to just enough for a while.
    for size in ["512k", "1036k", "1072k"] {
        let here = Here::with(COMPRESSED);
        let put = hundreds(&here, 3_000_000);
        here.put("trail/bad.json", "x".repeat(200_000));
        let Some(disk) = Mounted::at(&here, "state", &format!("size={size},mode=0700")) else { return };
        let full = here.once();
        assert!(matches!(full.code, Some(1 | 3)), "{size}: {full:?}");
        assert!(!full.said.contains("panicked"), "{size}: {}", full.said);
        assert!(full.code == Some(3) || full.said.contains("No space left"), "{size}: {}", full.said);
        disk.again("size=64m");
        let ran = here.once();
        ran.books();
        assert!(full.code == Some(3) || ran.code == Some(3), "{size}: {ran:?}");
        let got = counts(here.ids("out"));
        assert_eq!(got.keys().collect::<Vec<_>>(), put.keys().collect::<Vec<_>>(), "{size}");
        assert_eq!(here.rejects().len(), 1);
    }
}
