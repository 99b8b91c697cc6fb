//! As a service: SIGHUP, and what systemd is told.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::here::{Here, record, wait};

const TAGGED: &str = r#"
[transforms.accounts]
type = "account_tags"
file = "accounts.csv"
reload = "1 h"
[transforms.private]
type = "redact"
hash = ["sourceIPAddress"]
key = { file = "key" }
[sinks.archive]
type = "file"
path = "out/{account}.ndjson"
"#;

/// The lines shipped so far, of files that are still open, too.
fn shipped(here: &Here) -> Vec<String> {
    let files = walkdir::WalkDir::new(here.at("out")).into_iter().filter_map(Result::ok);
    let texts = files.filter(|file| file.file_type().is_file()).map(|file| fs::read_to_string(file.path()));
    texts.map_while(Result::ok).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn sighup_reads_tables_and_secrets_and_looks_at_the_configuration() {
    let here = Here::with(TAGGED);
    here.put("accounts.csv", "id,name\n111122223333,before\n");
    here.put("key", "one");
    let mut running = here.start(&["run"]);
    let from = r#","sourceIPAddress":"192.0.2.1""#;
    here.rename_in("trail/1.json", record("1", from));
    running.until("it is shipped", |_| shipped(&here).len() == 1);

    here.put("accounts.csv", "id,name\n111122223333,after\n");
    here.put("key", "two");
    running.signal(Signal::SIGHUP);
    running.until("the configuration is as it was", |said| said.contains("the configuration is as it was"));
    running.until("tables and secrets are read", |said| {
        said.contains("accounts reloaded") && said.contains("the key has changed")
    });
    assert!(!running.said().contains("\"two\""));
    here.rename_in("trail/2.json", record("2", from));
    running.until("it is shipped", |_| shipped(&here).len() == 2);
    let (before, after) = (shipped(&here)[0].clone(), shipped(&here)[1].clone());
    assert!(before.contains(r#""name":"before""#) && after.contains(r#""name":"after""#), "{before} {after}");
    let hash = |line: &str| line.split("\"sourceIPAddress\":").nth(1).unwrap()[..34].to_owned();
    assert_ne!(hash(&before), hash(&after));

    let text = fs::read_to_string(here.at("trailship.toml")).unwrap();
    fs::write(here.at("trailship.toml"), format!("# a remark\n{text}")).unwrap();
    running.signal(Signal::SIGHUP);
    running.until("the change is seen", |said| said.contains("it takes effect at restart"));
    // The same mistake twice is said twice.
    for times in [1, 2] {
        fs::write(here.at("trailship.toml"), text.replace("path = \"trail\"", "pfad = \"trail\"")).unwrap();
        running.signal(Signal::SIGHUP);
        running.until("the mistake is said", |said| said.matches("unknown key `pfad`").count() == times);
    }
    let said = running.said();
    let place = r#""file":"./trailship.toml","line":4,"column":1"#;
    assert!(said.contains(place) && said.contains("the one that runs stays"), "{said}");
    fs::remove_file(here.at("key")).unwrap();
    running.signal(Signal::SIGHUP);
    running.until("the secret is missed", |said| {
        said.contains("file `key` cannot be read") && said.contains("those known before stay")
    });
    running.stop().ended(0);
}

#[test]
fn a_terminal_that_is_gone_is_a_stop() {
    let here = Here::with("[sinks.archive]\ntype = \"file\"\npath = \"out/a.ndjson\"\n");
    here.put("trail/1.json", record("1", ""));
    let terminal = nix::pty::openpty(None, None).unwrap();
    // Nobody else may keep it.
    rustix::io::fcntl_setfd(&terminal.master, rustix::io::FdFlags::CLOEXEC).unwrap();
    let running = here.start_on(&["run"], terminal.slave);
    assert_eq!(wait(|| shipped(&here).len() == 1), None, "{}", running.said());
    drop(terminal.master);
    running.signal(Signal::SIGHUP);
    let ran = running.end();
    ran.ended(0);
    assert_eq!(here.ids("out"), ["1"]);
}

#[test]
fn systemd_is_told_how_it_is() {
    let here = Here::with("[sinks.archive]\ntype = \"file\"\npath = \"out/a.ndjson\"\n");
    let socket = UnixDatagram::bind(here.at("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Everything that was told up to these words, a line each.
    let told = |until: &str| {
        let (mut lines, began) = (Vec::new(), SystemTime::now());
        while !lines.iter().any(|line: &String| line.starts_with(until)) {
            let mut bytes = [0; 4096];
            let length = socket.recv(&mut bytes).unwrap();
            lines.extend(String::from_utf8(bytes[..length].to_vec()).unwrap().lines().map(str::to_owned));
            assert!(began.elapsed().unwrap() < Duration::from_secs(60), "no {until} in {lines:?}");
        }
        lines
    };
    let at = here.at("notify");
    let surroundings = [("NOTIFY_SOCKET", at.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let running = here.start_with(&["run"], &surroundings);
    assert_eq!(told("READY=1"), ["READY=1"]);
    assert!(told("STATUS=").contains(&"STATUS=0 records read, 0 deliveries waiting".to_owned()));
    told("WATCHDOG=1");
    here.rename_in("trail/1.json", record("1", ""));
    told("STATUS=1 records read, 0");
    running.signal(Signal::SIGHUP);
    let reloading = told("READY=1");
    let at = reloading.iter().position(|line| line == "RELOADING=1").unwrap();
    assert!(reloading[at + 1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    running.signal(Signal::SIGTERM);
    told("STOPPING=1");
    running.end().ended(0);
    assert_eq!(here.ids("out"), ["1"]);
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/dist/trailship.service")).unwrap();
    let here = Here::with("");
    here.put("trailship.service", unit.replace("/usr/bin/trailship", env!("CARGO_BIN_EXE_trailship")));
    let verify = Command::new("systemd-analyze").arg("verify").arg(here.at("trailship.service")).output();
    let Ok(verified) = verify else {
        eprintln!("SKIPPED: no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("trailship.service")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}
