//! What is around the program goes wrong: places that are full, read-only or gone, files that break, a second process.

use std::fs;
use std::process::Command;

use crate::here::{ARCHIVE, Here, gz, log_file, record};

/// A file system of its own in a folder of a test; unmounted at the end.
pub(crate) struct Mounted(std::path::PathBuf);

impl Mounted {
    /// `None`, and a word about it, where this process may not mount. In CI it must.
    pub(crate) fn at(here: &Here, folder: &str, options: &str) -> Option<Mounted> {
        let at = here.at(folder);
        fs::create_dir_all(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Mounted(at));
        }
        let required =
            std::env::var_os("CI").is_some_and(|ci| ci == "true") && nix::unistd::geteuid().is_root();
        assert!(!required, "mounting is not permitted here, and CI tests full disks as root");
        eprintln!("skipped: mounting is not permitted here");
        None
    }

    pub(crate) fn again(&self, options: &str) {
        let options = format!("remount,{options}");
        let mount = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(mount.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Log files of records that do not compress; their ids, sorted.
fn bulky(here: &Here, files: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for file in 10..10 + files {
        let all: Vec<String> = (100..140).map(|number| format!("{file}-{number}")).collect();
        let records: Vec<String> =
            all.iter().map(|id| record(id, &format!(r#","pad":"{}""#, "abcdefgh".repeat(100)))).collect();
        here.put(&format!("trail/{file}.json.gz"), gz(log_file(&records)));
        ids.extend(all);
    }
    ids
}

#[test]
fn a_full_disk_is_waited_for() {
    let here = Here::with(ARCHIVE);
    let ids = bulky(&here, 10);
    let Some(disk) = Mounted::at(&here, "out", "size=128k") else { return };
    let mut running = here.start(&["run", "--once"]);
    running.until("it is told that the disk is full", |said| said.contains("No space left"));
    assert!(here.files("out").is_empty());
    disk.again("size=64m");
    let ran = running.end();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids);
    let books = ran.books();
    assert_eq!((books.read, books.delivered), (400, 400));
    assert!(here.rejects().is_empty());
}

#[test]
fn a_read_only_disk_is_waited_for() {
    let here = Here::with(ARCHIVE);
    let ids = bulky(&here, 2);
    let Some(disk) = Mounted::at(&here, "out", "size=64m,ro") else { return };
    let mut running = here.start(&["run"]);
    running.until("it is told that nothing can be written", |said| said.contains("Read-only file system"));
    disk.again("size=64m,rw");
    running.until("it goes on", |said| said.contains("takes records again"));
    let ran = running.stop();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids);
    assert_eq!(ran.books().delivered, 80);
}

#[test]
fn a_stop_before_a_full_disk_has_room_again_gives_everything_back() {
    let here = Here::with(ARCHIVE);
    let text = fs::read_to_string(here.at("trailship.toml")).unwrap();
    fs::write(here.at("trailship.toml"), format!("stop_deadline = \"1s\"\n{text}")).unwrap();
    let ids = bulky(&here, 10);
    let Some(disk) = Mounted::at(&here, "out", "size=128k") else { return };
    let mut running = here.start(&["run"]);
    running.until("it is told that the disk is full", |said| said.contains("No space left"));
    running.stop().ended(143);
    disk.again("size=64m");
    let ran = here.once();
    ran.ended(0);
    ran.books();
    let mut got = here.ids("out");
    got.dedup();
    assert_eq!(got, ids);
}

#[test]
fn an_output_folder_that_is_removed_is_made_again() {
    let here = Here::with(ARCHIVE);
    let mut running = here.start(&["run"]);
    let put = |id: &str| here.rename_in(&format!("trail/{id}.json.gz"), gz(log_file(&[record(id, "")])));
    let grows = |least: u64| {
        let entries = walkdir::WalkDir::new(here.at("out")).into_iter().filter_map(Result::ok);
        entries
            .filter(|entry| entry.file_type().is_file())
            .any(|part| part.metadata().is_ok_and(|facts| facts.len() >= least))
    };
    put("1");
    running.until("the first is written", |_| grows(100));
    fs::remove_dir_all(here.at("out")).unwrap();
    put("2");
    running.until("the second is written", |_| grows(100));
    let ran = running.stop();
    ran.ended(0);
    assert!(here.ids("out").contains(&"2".to_owned()), "{}", ran.said);
    assert!(ran.said.contains("removed"), "{}", ran.said);
    ran.books();
    // What was not yet durable when the folder went was not acknowledged: it comes again.
    match here.once().books().read {
        0 => {}
        again => assert!(again == 1 && here.ids("out").contains(&"1".to_owned()), "{again}"),
    }
}

#[test]
fn rejects_that_are_full_stop_the_loss() {
    let here = Here::with(ARCHIVE);
    let text = fs::read_to_string(here.at("trailship.toml")).unwrap();
    fs::write(here.at("trailship.toml"), format!("{text}[rejects]\nmax_size = \"1 kB\"\n")).unwrap();
    let bad = format!(r#"{{"eventVersion":"1.08","x":"{}",oops}}"#, "x".repeat(2000));
    here.put("trail/a.json", log_file(&[&record("1", ""), &bad, &record("3", "")]));
    let ran = here.once();
    ran.ended(1);
    assert!(ran.said.contains("rejects.max_size"), "{}", ran.said);
    assert!(here.rejects().is_empty());
    // With room for it, it is delivered and rejected.
    fs::write(here.at("trailship.toml"), text).unwrap();
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.rejects().len(), 1);
    // Once by each run: within one, what a sink has is not sent to it again.
    assert_eq!(here.ids("out"), ["1", "1", "3", "3"]);
}

#[test]
fn an_accounts_file_that_breaks_leaves_what_was_known() {
    let here = Here::with(&format!(
        "[transforms.accounts]\ntype = \"account_tags\"\nfile = \"accounts.csv\"\nreload = \"1s\"\n{ARCHIVE}"
    ));
    fs::write(here.at("accounts.csv"), "account_id,name\n111122223333,acme-prod\n").unwrap();
    let put = |id: &str| here.rename_in(&format!("trail/{id}.json.gz"), gz(log_file(&[record(id, "")])));
    put("1");
    let mut running = here.start(&["run"]);
    running.until("it runs", |_| here.at("out").exists());
    here.rename_in("accounts.csv", "no,such\ncolumns,x\n");
    running.until("it is told", |said| said.contains("the accounts known before stay"));
    put("2");
    here.rename_in("accounts.csv", "account_id,name\n111122223333,acme-new\n");
    running.until("it is read again", |said| said.contains("accounts reloaded"));
    put("3");
    let written = |id: &str| {
        let entries = walkdir::WalkDir::new(here.at("out")).into_iter().filter_map(Result::ok);
        let mut texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        texts.any(|text| text.contains(&format!(r#""eventID":"{id}""#)))
    };
    running.until("the last is written", |_| written("3") && written("2"));
    let ran = running.stop();
    ran.ended(0);
    let lines = here.lines("out");
    let name = |id: &str| {
        let line = lines.iter().find(|line| crate::here::id(line) == id).unwrap();
        serde_json::from_str::<serde_json::Value>(line).unwrap()["trailship"]["account"]["name"].clone()
    };
    assert_eq!(name("1"), "acme-prod");
    assert_ne!(name("2"), serde_json::Value::Null);
    assert_eq!(name("3"), "acme-new");
    assert_eq!(ran.books().delivered, 3);
}

#[test]
fn a_broken_accounts_file_at_start_is_a_wrong_configuration() {
    let here = Here::with(&format!(
        "[transforms.accounts]\ntype = \"account_tags\"\nfile = \"accounts.csv\"\n{ARCHIVE}"
    ));
    fs::write(here.at("accounts.csv"), "no,such\ncolumns,x\n").unwrap();
    here.put("trail/a.json", log_file(&[record("1", "")]));
    assert!(here.once().ended(64).said.contains("accounts.csv"));
    assert!(!here.at("out").exists());
}

#[test]
fn a_second_process_on_a_data_directory_ends_at_once() {
    let here = Here::with(ARCHIVE);
    here.put("trail/a.json", log_file(&[record("1", "")]));
    let mut running = here.start(&["run"]);
    running.until("it runs", |_| here.at("out").exists());
    let second = here.once();
    second.ended(1);
    assert!(second.said.contains(&format!("process {}", running.id())), "{}", second.said);
    let ran = running.stop();
    ran.ended(0);
    assert_eq!((here.ids("out"), ran.books().delivered), (vec!["1".to_owned()], 1));
    assert_eq!(here.once().ended(0).books().read, 0);
}

#[test]
fn a_tree_that_is_not_there_is_no_good_end() {
    let here = Here::with(ARCHIVE);
    fs::remove_dir(here.at("trail")).unwrap();
    assert!(here.once().ended(1).said.contains("trail"));
}
