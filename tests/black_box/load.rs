//! Much at once, and little room for it: large objects and records, many files, two pipelines on one tree.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::here::{ARCHIVE, Here, gz, id, log_file, record};
use crate::surroundings::Mounted;

/// Letters and digits that hardly compress, always the same.
fn noise(length: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text.truncate(length);
    text
}

#[test]
fn an_object_of_many_windows_is_read_in_steps_and_its_damage_has_its_place() {
    // Above 4 MiB as stored, so that it is not read at once; a bad record in the middle of it, and its end cut off.
    let all: Vec<String> =
        (1000..3400).map(|id| record(&id.to_string(), &format!(r#","x":"{}""#, noise(4500, id)))).collect();
    let bad = all[1200].replace(r#""eventVersion":"#, r#""eventVersion""#);
    let mut records = all.clone();
    records[1200].clone_from(&bad);
    let text = log_file(&records);
    let stored = gz(&text);
    assert!(stored.len() > 5 << 20);
    let here = Here::with(ARCHIVE);
    here.put("trail/large.json.gz", &stored[..stored.len() - (300 << 10)]);
    let ran = here.once();
    ran.ended(3);
    let lines = here.lines("out");
    assert!((2100..2400).contains(&lines.len()), "{}", lines.len());
    records.remove(1200);
    assert!(lines == records[..lines.len()]);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 2);
    assert_eq!((rejects[0].offset, &*rejects[0].bytes), (text.find(&bad).unwrap(), bad.as_bytes()));
    assert!(
        rejects[1].stands_in(text.as_bytes()) && rejects[1].reason.contains("ends"),
        "{}",
        rejects[1].reason
    );
    assert_eq!(rejects[1].offset, text.find(&records[lines.len()]).unwrap());
    assert_eq!((ran.books().read, ran.books().rejected), (lines.len() as u64 + 2, 2));
}

#[test]
fn the_largest_records_pass_through_the_least_memory_to_two_sinks() {
    let here = Here::with(
        "[sinks.one]\ntype = \"file\"\npath = \"one/{account}.ndjson.gz\"\n[sinks.two]\ntype = \"file\"\npath = \"two/{account}.ndjson\"\nshape = \"flat\"\n",
    );
    let text = fs::read_to_string(here.at("trailship.toml")).unwrap();
    fs::write(here.at("trailship.toml"), format!("memory = \"64 MiB\"\nworkers = 4\n{text}")).unwrap();
    // Repeated farther apart than gzip looks: no bomb.
    let large = noise(64 << 10, 1).repeat(15 << 4);
    for number in 1..=3 {
        let records = [
            record(&format!("{number}-1"), ""),
            record(&format!("{number}-2"), &format!(r#","x":"{large}""#)),
            record(&format!("{number}-3"), ""),
        ];
        here.put(&format!("trail/{number}.json.gz"), gz(log_file(&records)));
    }
    let ran = here.start(&["run", "--once"]).end();
    ran.ended(0);
    assert_eq!(here.ids("one"), ["1-1", "1-2", "1-3", "2-1", "2-2", "2-3", "3-1", "3-2", "3-3"]);
    assert_eq!(here.ids("two"), here.ids("one"));
    assert_eq!((ran.books().read, ran.books().delivered), (9, 18));
}

#[test]
fn files_of_two_runs_stand_side_by_side() {
    for ending in ["", ".gz"] {
        let here = Here::with(&format!(
            "[sinks.archive]\ntype = \"file\"\npath = \"out/{{date}}.ndjson{ending}\"\n"
        ));
        let mut ids = Vec::new();
        for round in 1..=2 {
            for file in 10..30 {
                let all: Vec<String> = (10..20).map(|number| format!("{round}-{file}-{number}")).collect();
                let records = all.iter().map(|id| record(id, &format!(r#","x":"{}""#, noise(700, file))));
                here.put(
                    &format!("trail/{round}/{file}.json.gz"),
                    gz(log_file(&records.collect::<Vec<_>>())),
                );
                ids.extend(all);
            }
            let ran = here.once();
            ran.ended(0);
            assert_eq!(ran.books().delivered, 200);
            assert_eq!(here.ids("out"), ids, "{ending}");
        }
        assert!(here.files("out").len() > 1, "{:?}", here.files("out").keys());
    }
}

#[test]
fn names_of_any_bytes_are_read() {
    let here = Here::with(ARCHIVE);
    let names: [&[u8]; 6] = [
        b"\xff\xfe.json",
        "ümläut ☃.json".as_bytes(),
        b"a b\nc\t.json",
        b"\x1b[31mred.json",
        b"-",
        b"%00{account}*",
    ];
    for (name, id) in names.iter().zip(1..) {
        here.put("trail/x", log_file(&[record(&id.to_string(), "")]));
        fs::rename(here.at("trail/x"), here.at("trail").join(OsStr::from_bytes(name))).unwrap();
    }
    here.put("trail/x", b"bad");
    fs::rename(here.at("trail/x"), here.at("trail").join(OsStr::from_bytes(b"\x1b]0;bad\x07\xff"))).unwrap();
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.ids("out"), ["1", "2", "3", "4", "5", "6"]);
    assert!(!ran.said.contains('\x1b') && !ran.said.contains('\x07'), "{:?}", ran.said);
    assert_eq!((here.rejects().len(), ran.books().rejected), (1, 1));
}

#[test]
fn a_pipeline_that_is_stuck_does_not_hold_up_another() {
    let here = Here::with(
        "[sinks.stuck]\ntype = \"file\"\npath = \"out/a.ndjson\"\n[sinks.free]\ntype = \"file\"\npath = \"free/a.ndjson\"\n[pipelines.stuck]\nsinks = [\"stuck\"]\n[pipelines.free]\nsinks = [\"free\"]\n",
    );
    let Some(disk) = Mounted::at(&here, "out", "size=64k") else { return };
    let mut ids = Vec::new();
    for file in 10..30 {
        let all: Vec<String> = (100..130).map(|number| format!("{file}-{number}")).collect();
        let records = all.iter().map(|id| record(id, &format!(r#","x":"{}""#, noise(900, file))));
        here.put(&format!("trail/{file}.json.gz"), gz(log_file(&records.collect::<Vec<_>>())));
        ids.extend(all);
    }
    let mut running = here.start(&["run", "--once"]);
    running.until("one is stuck and the other is done", |said| {
        let written = crate::promises::parts_ids(&here, "free").len();
        said.contains("No space left") && written.max(here.ids("free").len()) == ids.len()
    });
    assert!(!running.has_ended());
    disk.again("size=64m");
    let ran = running.end();
    ran.ended(0);
    assert_eq!(here.ids("free"), ids);
    assert_eq!(
        here.lines("out").iter().map(|line| id(line)).collect::<std::collections::BTreeSet<_>>().len(),
        600
    );
    assert_eq!(ran.told("done").len(), 2, "{}", ran.said);
}
