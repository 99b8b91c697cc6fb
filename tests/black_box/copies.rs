//! `dedupe`: what comes twice goes out once.

use crate::here::{ARCHIVE, Here, gz, log_file, record};

const ONCE: &str = "[transforms.once]\ntype = \"dedupe\"\n";

#[test]
fn copies_in_other_files_and_formats_go_out_once() {
    let here = Here::with(&format!("{ONCE}{ARCHIVE}"));
    let ids: Vec<String> = (0..500).map(|number| format!("id-{number:03}")).collect();
    let records: Vec<String> = ids.iter().map(|id| record(id, "")).collect();
    here.put("trail/a.json.gz", gz(log_file(&records)));
    let half: String = records.iter().step_by(2).map(|record| format!("{record}\n")).collect();
    here.put("trail/b.ndjson", half);
    let turned: Vec<&String> = records.iter().rev().collect();
    here.put("trail/c.json.gz", gz(log_file(&turned)));
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids);
    let books = ran.books();
    assert_eq!((books.read, books.duplicate, books.offered), (1250, 750, 500), "{}", ran.said);
}

#[test]
fn records_without_an_id_are_no_copies() {
    let here = Here::with(&format!("{ONCE}{ARCHIVE}"));
    let nameless = record("x", "").replace("\"eventID\":\"x\",", "");
    assert!(!nameless.contains("eventID"));
    here.put("trail/a.json", log_file(&[&nameless, &nameless]));
    here.once().ended(0);
    assert_eq!(here.lines("out").len(), 2);
}
