//! Whoever reads standard output leaves, or stays and reads nothing: the program ends as it should, and nothing is lost.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;

use crate::here::{ARCHIVE, Here, gz, id, log_file, record};

const SCREEN: &str = "[sinks.screen]\ntype = \"stdout\"\n";

/// One object of many times what a pipe holds; its ids, sorted.
fn bulky(here: &Here) -> Vec<String> {
    let ids: Vec<String> = (1000..3000).map(|number| number.to_string()).collect();
    let pad = format!(r#","pad":"{}""#, "abcdefgh".repeat(100));
    let records: Vec<String> = ids.iter().map(|id| record(id, &pad)).collect();
    here.put("trail/large.json.gz", gz(log_file(&records)));
    ids
}

/// The ids that the next run prints, sorted.
fn printed_by_the_next(here: &Here) -> Vec<String> {
    let ran = here.once();
    ran.ended(0);
    ran.books();
    let out = String::from_utf8(ran.out).unwrap();
    let mut ids: Vec<String> = out.lines().map(id).collect();
    ids.sort();
    ids
}

fn put(here: &Here, id: &str) {
    here.rename_in(&format!("trail/{id}.json.gz"), gz(log_file(&[record(id, "")])));
}

#[test]
fn a_reader_that_leaves_between_two_objects_has_what_was_settled() {
    let here = Here::with(SCREEN);
    put(&here, "1");
    let (reader, writer) = std::io::pipe().unwrap();
    let running = here.start_onto(&["run"], writer);
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(id(&line), "1");
    // Settled: the next run does not print it again.
    std::thread::sleep(Duration::from_secs(1));
    drop(reader);
    put(&here, "2");
    running.end().ended(0);
    assert_eq!(printed_by_the_next(&here), ["2"]);
}

#[test]
fn a_reader_that_leaves_in_the_middle_of_an_object_gets_all_of_it_the_next_time() {
    for once in [true, false] {
        let here = Here::with(SCREEN);
        let ids = bulky(&here);
        let (reader, writer) = std::io::pipe().unwrap();
        let running = here.start_onto(if once { &["run", "--once"] } else { &["run"] }, writer);
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(id(&lines.next().unwrap().unwrap()), "1000");
        drop(lines);
        running.end().ended(0);
        assert_eq!(printed_by_the_next(&here), ids);
    }
}

#[test]
fn a_terminal_that_is_closed_is_a_reader_that_left() {
    let here = Here::with(SCREEN);
    put(&here, "1");
    let terminal = terminal();
    let running = here.start_on_terminal(&["run"], &side(&terminal));
    shown(terminal, r#""eventID":"1""#);
    put(&here, "2");
    running.end().ended(0);
    let next = printed_by_the_next(&here);
    assert!(next.contains(&"2".to_owned()), "{next:?}");
}

#[test]
fn a_terminal_that_is_closed_does_not_stop_what_is_written_elsewhere() {
    let here = Here::with(ARCHIVE);
    put(&here, "1");
    let terminal = terminal();
    let mut running = here.start_on_terminal(&["run"], &side(&terminal));
    shown(terminal, "starting");
    // What it says now goes nowhere.
    here.rename_in("trail/bad.json", "no JSON at all");
    put(&here, "2");
    running.until("the second is written", |_| written(&here, "2"));
    running.stop().ended(0);
    assert_eq!(here.ids("out"), ["1", "2"]);
    assert_eq!(here.rejects().len(), 1);
}

/// A terminal, as its window holds it; no program inherits that side.
fn terminal() -> PtyMaster {
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    terminal
}

/// The side of a terminal that programs print to.
fn side(terminal: &PtyMaster) -> OwnedFd {
    let path = ptsname_r(terminal).unwrap();
    let flags = OFlag::O_NOCTTY.bits();
    File::options().read(true).write(true).custom_flags(flags).open(path).unwrap().into()
}

/// Reads a terminal until these words are on it, then closes it.
fn shown(mut terminal: PtyMaster, words: &str) {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(words) {
        let read = terminal.read(&mut piece).unwrap();
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
}

/// Whether an id stands anywhere below `out`, also in files that are not finished.
fn written(here: &Here, id: &str) -> bool {
    let files = walkdir::WalkDir::new(here.at("out")).into_iter().filter_map(Result::ok);
    let mut texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    texts.any(|text| text.contains(&format!(r#""eventID":"{id}""#)))
}

/// Starts it with a reader that reads one byte and then hangs.
fn hanging(here: &Here) -> (crate::here::Running, PipeReader) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let running = here.start_onto(&["run"], writer);
    reader.read_exact(&mut [0]).unwrap();
    (running, reader)
}

#[test]
fn a_stop_whose_deadline_passes_with_a_sink_hanging_gives_everything_back() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let here = Here::with(&format!("{SCREEN}{ARCHIVE}"));
        here.set("stop_deadline = \"1s\"");
        let ids = bulky(&here);
        let (running, _reader) = hanging(&here);
        let asked = SystemTime::now();
        running.signal(signal);
        let ran = running.end();
        ran.ended(code);
        assert!(asked.elapsed().unwrap() >= Duration::from_millis(900), "{}", ran.said);
        // The sink that did not hang may have it already, and gets it again: it is told.
        assert_eq!(printed_by_the_next(&here), ids);
        let mut archived = here.ids("out");
        archived.dedup();
        assert_eq!(archived, ids);
    }
}

#[test]
fn a_second_signal_does_not_wait_for_a_sink_that_hangs() {
    for (first, second, code) in
        [(Signal::SIGINT, Signal::SIGINT, 130), (Signal::SIGTERM, Signal::SIGINT, 143)]
    {
        let here = Here::with(SCREEN);
        let ids = bulky(&here);
        let (mut running, _reader) = hanging(&here);
        running.signal(first);
        running.until("it is told to stop", |said| said.contains("stopping"));
        assert!(!running.has_ended());
        let asked = SystemTime::now();
        running.signal(second);
        running.end().ended(code);
        // Long before `stop_deadline`, 30 s.
        assert!(asked.elapsed().unwrap() < Duration::from_secs(15));
        assert_eq!(printed_by_the_next(&here), ids);
    }
}

#[test]
fn a_tree_that_is_removed_and_comes_again_is_read_again() {
    let source = "type = \"files\"\npath = \"trail\"\nrescan = \"1s\"";
    let here = Here::with(ARCHIVE).reading(source, ARCHIVE);
    put(&here, "1");
    let mut running = here.start(&["run"]);
    running.until("the first is written", |_| written(&here, "1"));
    std::fs::remove_dir_all(here.at("trail")).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    put(&here, "2");
    running.until("the second is written", |_| written(&here, "2"));
    let ran = running.stop();
    ran.ended(0);
    assert_eq!((here.ids("out"), ran.books().delivered), (vec!["1".to_owned(), "2".to_owned()], 2));
}

#[test]
fn a_standard_output_that_was_closed_is_told() {
    for (redirection, told) in [(">&-", true), (">/dev/null", false), ("| cat", false)] {
        let here = Here::with(SCREEN);
        put(&here, "1");
        let command =
            format!("{} run --once -c trailship.toml {redirection}", env!("CARGO_BIN_EXE_trailship"));
        let ran = std::process::Command::new("sh")
            .args(["-c", &command])
            .current_dir(here.at("."))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(said.contains("standard output was closed"), told, "{redirection}: {said}");
    }
}
