//! The command line as a person meets it: the binary is run, and what it says and the exit code are compared with what is
//! written down in `tests/cli/`.
//!
//! `TRAILSHIP_BLESS=1 cargo test --test cli` writes the answers anew; read the difference before you keep it.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "cli/cat.rs"]
mod cat;
#[path = "cli/dry.rs"]
mod dry;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/test.rs"]
mod test;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The program, in a directory of its own and with nothing of the machine's settings.
fn trailship(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trailship"));
    command.current_dir(directory).env_clear();
    command.env("COLUMNS", "100").env("HOME", directory).env("TMPDIR", directory);
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    trailship(directory).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Compares with a file of `tests/cli/`; what differs from machine to machine has been replaced.
fn golden(name: &str, directory: &Path, told: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name);
    let told = told.replace(directory.to_str().unwrap(), "[HERE]");
    if std::env::var_os("TRAILSHIP_BLESS").is_some() {
        fs::write(&path, told).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(told == expected, "{name} differs; told:\n{told}\nwritten down:\n{expected}");
}

/// Generates a small tree below `trail`.
fn tree(directory: &Path, more: &[&str]) {
    let mut arguments = vec!["generate", "--accounts", "3", "--regions", "2"];
    if !more.contains(&"--bytes") {
        arguments.extend(["--bytes", "300 kB"]);
    }
    arguments.extend(more);
    let output = run(directory, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// The names of the commands below one, from its help.
fn commands(help: &str) -> Vec<&str> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What stands deeper is the end of a description.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[test]
fn every_help_is_as_written_down_and_has_an_example() {
    let here = tempfile::tempdir().unwrap();
    let mut left = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = left.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = run(here.path(), &arguments);
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        assert!(help.contains("Example"), "{command:?}");
        let name = if command.is_empty() { "help".to_owned() } else { format!("help-{}", command.join("-")) };
        golden(&format!("{name}.txt"), here.path(), &help);
        left.extend(commands(&help).into_iter().map(|name| {
            let mut below = command.clone();
            below.push(name.to_owned());
            below
        }));
        seen += 1;
    }
    assert!(seen > 10, "{seen} commands");
}

#[test]
fn the_version_names_the_commit() {
    let here = tempfile::tempdir().unwrap();
    let output = run(here.path(), &["--version"]);
    let version = text(&output.stdout);
    assert!(version.starts_with(concat!("trailship ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    assert!(version.ends_with(")\n"), "{version}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let here = tempfile::tempdir().unwrap();
    let wrong: [&[&str]; 5] =
        [&[], &["chek"], &["cat"], &["cat", "-", "--match", r#"{"a": 1}"#], &["generate", "--bytes", "64"]];
    let mut told = String::new();
    for arguments in wrong {
        let output = run(here.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        told.push_str(&format!("$ trailship {}\n{}\n", arguments.join(" "), text(&output.stderr)));
    }
    golden("usage.txt", here.path(), &told);
}

/// A configuration with something of everything.
const ORDER: &str = r#"
[protect]
also = { eventName = ["GetObject"] }
except = ["insights", "login_failure", { errorCode = ["NoSuchKey"] }]

[sources.trail]
type = "files"
path = "trail"

[transforms.accounts]
type = "account_tags"
file = "accounts.csv"

[transforms.thin]
type = "sample"
match = { eventCategory = ["Data"], readOnly = [true] }
keep_one_in = 50

[transforms.columns]
type = "flatten"

[sinks.archive]
type = "file"
path = "out/{date}.ndjson.zst"
shape = "nested"

[sinks.search]
type = "stdout"
match = { eventCategory = ["Management"] }
"#;

#[test]
fn check_prints_the_order_and_writes_nothing() {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("trailship.toml"), ORDER).unwrap();
    fs::write(here.path().join("accounts.csv"), "account_id,name\n").unwrap();
    for command in ["check", "validate"] {
        let output = run(here.path(), &[command]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        golden("check.txt", here.path(), &text(&output.stdout));
    }
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 2);
}

#[test]
fn check_tells_what_listing_a_bucket_costs() {
    let here = tempfile::tempdir().unwrap();
    let mut told = String::new();
    for more in ["", "max_list_per_hour = 100", "every = \"5 min\"", "until = \"2026-01-31\""] {
        let config =
            format!("[sources.trail]\ntype = \"s3\"\nbucket = \"trail\"\nsince = \"2026-01-01\"\n{more}\n");
        fs::write(here.path().join("trailship.toml"), config).unwrap();
        let output = run(here.path(), &["check"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lines = text(&output.stdout);
        told += lines.lines().find(|line| line.contains(" source ")).unwrap();
        told.push('\n');
    }
    golden("check-costs.txt", here.path(), &told);
}

#[test]
fn bad_configuration_ends_with_64() {
    let here = tempfile::tempdir().unwrap();
    fs::write(
        here.path().join("two.toml"),
        "[sources.trail]\ntype = \"files\"\npath = \"trail\"\n\n[transforms.thin]\ntype = \"sample\"\nkeep_one_inn = 10\n",
    )
    .unwrap();
    let mut told = String::new();
    let wrong: [&[&str]; 3] = [&["check", "-c", "two.toml"], &["check", "-c", "none.toml"], &["check"]];
    for arguments in wrong {
        let output = run(here.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty());
        told.push_str(&format!("$ trailship {}\n{}\n", arguments.join(" "), text(&output.stderr)));
    }
    golden("configuration.txt", here.path(), &told);
}

#[test]
fn generate_says_what_it_wrote_and_the_same_again_is_the_same() {
    let here = tempfile::tempdir().unwrap();
    let arguments = ["generate", "--bytes", "300 kB", "--accounts", "3", "--damaged", "10%"];
    let first = run(here.path(), &arguments);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let second = run(here.path(), &arguments);
    assert_eq!(text(&first.stdout), text(&second.stdout));
    for what in ["tree", "files", "records", "json", "stored", "damaged"] {
        assert!(text(&first.stdout).lines().any(|line| line.starts_with(what)), "{what}");
    }
    assert!(here.path().join("accounts.csv").exists());
}

fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

/// A configuration that ships `trail` to a file.
fn configure(directory: &Path, more: &str) {
    let text = format!(
        "data_dir = \"state\"\n[sources.trail]\ntype = \"files\"\npath = \"trail\"\n{more}\n[sinks.archive]\ntype = \"file\"\npath = \"out/{{account}}.ndjson\"\n"
    );
    fs::write(directory.join("trailship.toml"), text).unwrap();
}

#[test]
fn run_once_ships_everything_and_says_so() {
    let here = tempfile::tempdir().unwrap();
    tree(here.path(), &[]);
    configure(here.path(), "");
    let output = run(here.path(), &["run", "--once"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let closing = text(&output.stderr).lines().last().unwrap().to_owned();
    let closing: serde_json::Value = serde_json::from_str(&closing).unwrap();
    let records = text(&run(here.path(), &["cat", "trail"]).stdout).lines().count();
    assert_eq!(closing["delivered"], records);
    assert_eq!(text(&run(here.path(), &["cat", "out"]).stdout).lines().count(), records);
}

#[test]
fn run_without_a_sink_writes_to_standard_output_until_its_reader_leaves() {
    let here = tempfile::tempdir().unwrap();
    tree(here.path(), &["--bytes", "3 MB"]);
    fs::write(
        here.path().join("trailship.toml"),
        "data_dir = \"state\"\n[sources.trail]\ntype = \"files\"\npath = \"trail\"\n",
    )
    .unwrap();
    let mut child = trailship(here.path())
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(first.is_object());
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said(&mut child));
}

#[test]
fn demo_needs_nothing_and_shows_what_happened() {
    let here = tempfile::tempdir().unwrap();
    let output = run(here.path(), &["demo", "--bytes", "3 MB"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    for wanted in [
        "GetObject",
        "Sampling",
        "Signals",
        "access_denied",
        "payments-prod",
        "estimate",
        "https://",
        "Where it is",
    ] {
        assert!(told.contains(wanted), "{wanted} is missing:\n{told}");
    }
    let figures = told.lines().filter(|line| line.contains("/GB") || line.contains("/M "));
    assert!(figures.clone().count() >= 4 && figures.clone().all(|line| line.ends_with("estimate")), "{told}");
    let wide =
        told.lines().find(|line| line.chars().count() > 80 && !line.contains(here.path().to_str().unwrap()));
    assert_eq!(wide, None);

    let home = told.lines().find_map(|line| line.strip_prefix("config   ")).unwrap();
    let home = Path::new(home).parent().unwrap();
    assert!(home.starts_with(here.path()), "{home:?}");
    let shipped = run(here.path(), &["cat", home.join("out").to_str().unwrap()]);
    let shipped = text(&shipped.stdout).lines().count().to_string();
    let all = told.lines().find(|line| line.starts_with("all ")).unwrap().replace(',', "");
    assert!(all.split_whitespace().any(|word| word == shipped), "{shipped} in {all}");
    assert_eq!(
        run(here.path(), &["check", "-c", home.join("trailship.toml").to_str().unwrap()]).status.code(),
        Some(0)
    );
}

#[test]
fn demo_leaves_a_directory_with_something_in_it_alone() {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("mine"), "").unwrap();
    assert_eq!(run(here.path(), &["demo", "--keep", "."]).status.code(), Some(2));
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
}

#[test]
fn a_following_run_stops_in_order_and_goes_on_where_it_stopped() {
    let here = tempfile::tempdir().unwrap();
    tree(here.path(), &[]);
    configure(here.path(), "");
    let records = text(&run(here.path(), &["cat", "trail"]).stdout).lines().count();
    let mut child = trailship(here.path())
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The state lists a file once it was shipped.
    while known(here.path()) < files(&here.path().join("trail")) {
        assert!(child.try_wait().unwrap().is_none(), "{}", said(&mut child));
        std::thread::yield_now();
    }
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said(&mut child));
    assert_eq!(text(&run(here.path(), &["cat", "out"]).stdout).lines().count(), records);

    let again = run(here.path(), &["run", "--once"]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(text(&run(here.path(), &["cat", "out"]).stdout).lines().count(), records);
}

/// How many files the state says were shipped.
fn known(directory: &Path) -> usize {
    let output = run(directory, &["state", "ls"]);
    let listed = text(&output.stdout);
    let row = listed.lines().find(|line| line.starts_with("main "));
    row.and_then(|row| row.split_whitespace().nth(2)).map_or(0, |files| files.parse().unwrap())
}

fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn state_of_a_directory_that_is_not_there_is_told() {
    let here = tempfile::tempdir().unwrap();
    let output = run(here.path(), &["state", "ls", "--data-dir", "none"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: there is no none: nothing has run with it\n");
    assert!(!here.path().join("none").exists());
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let here = tempfile::tempdir().unwrap();
        // One object, and more of it than a pipe takes: when something came out, the rest is on its way. A tree may come
        // to its first object only, and be done with that.
        let record = |id| {
            format!("{{\"eventVersion\":\"1.08\",\"eventID\":\"{id}\",\"more\":\"{}\"}}", "x".repeat(500))
        };
        let records: Vec<String> = (0..2000).map(record).collect();
        fs::create_dir(here.path().join("trail")).unwrap();
        let log_file = format!("{{\"Records\":[{}]}}", records.join(","));
        fs::write(here.path().join("trail/a.json"), log_file).unwrap();
        fs::write(
            here.path().join("trailship.toml"),
            "data_dir = \"state\"\n[sources.trail]\ntype = \"files\"\npath = \"trail\"\n",
        )
        .unwrap();
        let mut child = trailship(here.path())
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Its reader stays and does not read on: what is in flight cannot be written.
        let mut first = [0];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        send(signal, &child);
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(told.any(|line| line.unwrap().contains("a second signal ends at once")));
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
    }
}

#[test]
fn run_once_ends_with_3_where_something_was_rejected_and_with_1_where_something_is_left() {
    let here = tempfile::tempdir().unwrap();
    let trail = here.path().join("trail");
    fs::create_dir(&trail).unwrap();
    let line = |id: u32| format!("{{\"eventVersion\":\"1.08\",\"eventID\":\"{id}\"}}\n");
    fs::write(trail.join("a.ndjson"), format!("{}{{\"eventVersion\":oops}}\n{}", line(1), line(2))).unwrap();
    configure(here.path(), "");
    let output = run(here.path(), &["run", "--once"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(text(&run(here.path(), &["cat", "out"]).stdout), format!("{}{}", line(1), line(2)));

    fs::write(trail.join("b.json"), "{\"Records\":[{\"eventVersion\":\"1.08\"}").unwrap();
    let output = run(here.path(), &["run", "--once"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("it may still be growing"), "{}", text(&output.stderr));
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let here = tempfile::tempdir().unwrap();
    let help = text(&run(here.path(), &["--help"]).stdout);
    let names: Vec<String> = commands(&help).into_iter().map(str::to_owned).collect();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(here.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let told = text(&output.stdout);
        for name in &names {
            assert!(told.contains(name), "{shell}: {name}");
        }
    }
    let main = text(&run(here.path(), &["man"]).stdout);
    assert!(
        main.starts_with(".ie") && main.contains(".TH trailship 1") && main.contains("Exit codes"),
        "{main}"
    );
    assert_eq!(run(here.path(), &["man", "--out", "pages"]).status.code(), Some(0));
    for name in names {
        let page = fs::read_to_string(here.path().join(format!("pages/trailship-{name}.1"))).unwrap();
        assert!(page.contains("Example"), "{name}");
    }
    assert!(here.path().join("pages/trailship-rejects-show.1").exists());
}

#[test]
fn mistakes_with_rejects_and_state_are_told() {
    let here = tempfile::tempdir().unwrap();
    configure(here.path(), "");
    fs::create_dir(here.path().join("trail")).unwrap();
    let mut told = String::new();
    let mut tell = |arguments: &[&str], code: i32| {
        let output = run(here.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        told.push_str(&format!("$ trailship {}\n{}\n", arguments.join(" "), text(&output.stderr)));
    };
    tell(&["rejects", "ls"], 1);
    run(here.path(), &["run", "--once"]);
    tell(&["rejects", "show", "17"], 1);
    tell(&["rejects", "rm"], 2);
    tell(&["rejects", "rm", "17"], 1);
    tell(&["rejects", "rm", "17", "--sink", "archive"], 2);
    tell(&["rejects", "ls", "--since", "yesterday"], 2);
    tell(&["replay"], 2);
    tell(&["replay", "17"], 1);
    tell(&["replay", "--all"], 0);
    tell(&["state", "show", "main"], 2);
    tell(&["state", "rm", "main/trail"], 1);
    fs::write(here.path().join("state/rejects.key"), "short").unwrap();
    tell(&["rejects", "ls"], 1);
    golden("rejects.txt", here.path(), &told);
}
