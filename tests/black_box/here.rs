//! A directory of its own for each test, with the program, a tree, a configuration, and what came of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;

/// How long something may take that should take a moment: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// One sink to `out/`, the rest as it is by default.
pub(crate) const ARCHIVE: &str = "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson\"\n";

/// The directory of one test.
pub(crate) struct Here {
    folder: TempDir,
    sinks: u64,
    variables: Vec<(&'static str, String)>,
}

impl Here {
    /// A directory with a configuration that reads `trail`; `more` follows it.
    pub(crate) fn with(more: &str) -> Here {
        let here = Here { folder: tempfile::tempdir().unwrap(), sinks: 0, variables: Vec::new() };
        here.reading("type = \"files\"\npath = \"trail\"", more)
    }

    /// The same, with another source.
    pub(crate) fn reading(mut self, source: &str, more: &str) -> Here {
        fs::create_dir_all(self.at("trail")).unwrap();
        self.sinks = more.matches("[sinks.").count().max(1).try_into().unwrap();
        let text = format!("data_dir = \"state\"\n[sources.trail]\n{source}\n{more}");
        fs::write(self.at("trailship.toml"), text).unwrap();
        self
    }

    /// With these variables in the program's environment, besides `HOME`.
    #[allow(dead_code, reason = "tests/aws.rs needs it")]
    pub(crate) fn knowing<const N: usize>(mut self, variables: [(&'static str, &str); N]) -> Here {
        self.variables.extend(variables.map(|(name, value)| (name, value.to_owned())));
        self
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file that nobody has written to for an hour.
    pub(crate) fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, bytes).unwrap();
        self.age(path);
    }

    /// Makes a file look as if nobody had written to it for an hour.
    pub(crate) fn age(&self, path: &str) {
        let file = File::options().write(true).open(self.at(path)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    /// Writes a file elsewhere and renames it to its place, as a careful writer does.
    pub(crate) fn rename_in(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let (hidden, at) = (self.at("not-yet"), self.at(path));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&hidden, bytes).unwrap();
        fs::rename(hidden, at).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Another build of it, where one is asked for: the one that is shipped.
        let program = std::env::var_os("TRAILSHIP_TEST_PROGRAM");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_trailship").into());
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path()).args(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        Ran::of(&output, self.sinks)
    }

    /// `run --once`.
    pub(crate) fn once(&self) -> Ran {
        self.run(&["run", "--once"])
    }

    /// `run --once` with something on standard input.
    pub(crate) fn once_fed(&self, input: &[u8]) -> Ran {
        let mut child = self.command(&["run", "--once"]);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let (mut to, input) = (child.stdin.take().unwrap(), input.to_vec());
        let feeding = std::thread::spawn(move || to.write_all(&input));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap().unwrap();
        Ran::of(&output, self.sinks)
    }

    /// Starts the program and lets it run.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    /// Starts the program with something in its environment.
    pub(crate) fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        self.spawn(command, Stdio::null(), Stdio::null()).0
    }

    /// Starts the program with this as its standard input.
    pub(crate) fn start_on(&self, arguments: &[&str], input: impl Into<Stdio>) -> Running {
        self.spawn(self.command(arguments), input.into(), Stdio::null()).0
    }

    /// Starts the program and returns its standard input.
    pub(crate) fn start_fed(&self, arguments: &[&str]) -> (Running, ChildStdin) {
        let (running, input) = self.spawn(self.command(arguments), Stdio::piped(), Stdio::null());
        (running, input.unwrap())
    }

    /// Starts the program with a standard output that nobody reads until [`Running::read_on`].
    #[allow(dead_code, reason = "tests/aws.rs needs it")]
    pub(crate) fn start_unread(&self, arguments: &[&str]) -> Running {
        self.spawn(self.command(arguments), Stdio::null(), Stdio::piped()).0
    }

    /// Starts the program with this as its standard output.
    pub(crate) fn start_onto(&self, arguments: &[&str], out: impl Into<Stdio>) -> Running {
        self.spawn(self.command(arguments), Stdio::null(), out.into()).0
    }

    fn spawn(&self, mut command: Command, input: Stdio, out: Stdio) -> (Running, Option<ChildStdin>) {
        let command = command.stdin(input).stdout(out).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let said = Arc::new(Mutex::new(String::new()));
        let (from, to) = (child.stderr.take().unwrap(), said.clone());
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                to.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        (Running { child, said, reading: Some(reading), out: None, sinks: self.sinks }, input)
    }

    /// Starts the program on a terminal: what it prints and what it says go there.
    pub(crate) fn start_on_terminal(&self, arguments: &[&str], terminal: &OwnedFd) -> Running {
        let side = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = self.command(arguments);
        let child = command.stdin(Stdio::null()).stdout(side()).stderr(side()).spawn().unwrap();
        Running { child, said: Arc::default(), reading: None, out: None, sinks: self.sinks }
    }

    /// Puts settings before all others in the configuration.
    pub(crate) fn set(&self, settings: &str) {
        let at = self.at("trailship.toml");
        let text = fs::read_to_string(&at).unwrap();
        fs::write(at, format!("{settings}\n{text}")).unwrap();
    }

    /// The lines of all final files below a folder, as they stand there.
    pub(crate) fn lines(&self, folder: &str) -> Vec<String> {
        self.files(folder).into_values().flatten().collect()
    }

    /// The final files below a folder by their path, with their lines.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<String>> {
        let root = self.at(folder);
        let mut files = BTreeMap::new();
        for entry in walkdir::WalkDir::new(&root).into_iter().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type().is_file() || name.starts_with('.') {
                continue;
            }
            let stored = fs::read(entry.path()).unwrap();
            let text = if name.ends_with(".gz") { unpacked(&stored) } else { stored };
            let text = String::from_utf8(text).unwrap();
            assert!(text.ends_with('\n'), "{name} does not end with a line feed");
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for line in &lines {
                assert!(members(line).is_some(), "no JSON object in {name}: {line}");
            }
            let path = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            files.insert(path, lines);
        }
        files
    }

    /// The event ids in all final files below a folder, sorted, copies kept.
    pub(crate) fn ids(&self, folder: &str) -> Vec<String> {
        let mut ids: Vec<String> = self.lines(folder).iter().map(|line| id(line)).collect();
        ids.sort();
        ids
    }

    /// What is in rejects, in the order it came there.
    pub(crate) fn rejects(&self) -> Vec<Reject> {
        let Ok(entries) = fs::read_dir(self.at("state/rejects")) else { return Vec::new() };
        // A hidden one is still being written.
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| !path.file_name().unwrap().as_encoded_bytes().starts_with(b"."));
        paths.sort();
        let mut rejects: Vec<Reject> = Vec::new();
        let mut continues = false;
        for path in paths {
            let text = fs::read(&path).unwrap();
            let (head, mut rest) = text.split_at(text.iter().position(|byte| *byte == b'\n').unwrap() + 1);
            let head: Value = serde_json::from_slice(head).unwrap();
            for item in head["items"].as_array().unwrap() {
                let (bytes, after) = rest.split_at(item["length"].as_u64().unwrap().try_into().unwrap());
                rest = after;
                if continues {
                    rejects.last_mut().unwrap().bytes.extend_from_slice(bytes);
                } else {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    rejects.push(Reject {
                        object: text(&head["object"]),
                        reason: text(&item["reason"]),
                        offset: item["offset"].as_u64().unwrap().try_into().unwrap(),
                        bytes: bytes.to_vec(),
                    });
                }
                continues = item["continues"] == true;
            }
            assert!(rest.is_empty(), "{} is longer than its manifest says", path.display());
        }
        assert!(!continues);
        rejects
    }
}

/// One refused piece, put together again where it was stored in parts.
#[derive(Debug)]
pub(crate) struct Reject {
    pub(crate) object: String,
    pub(crate) reason: String,
    pub(crate) offset: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Reject {
    /// Whether its bytes stand where it says, in the object as stored or in its text.
    pub(crate) fn stands_in(&self, text: &[u8]) -> bool {
        text.get(self.offset..self.offset + self.bytes.len()) == Some(&self.bytes)
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) said: String,
    sinks: u64,
}

impl Ran {
    fn of(output: &Output, sinks: u64) -> Ran {
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        Ran { code: output.status.code(), out: output.stdout.clone(), said, sinks }
    }

    /// The log lines with this message in them.
    pub(crate) fn told(&self, words: &str) -> Vec<Value> {
        let lines = self.said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"].as_str().is_some_and(|message| message.contains(words))).collect()
    }

    /// The closing line's books, which must balance.
    #[track_caller]
    pub(crate) fn books(&self) -> Books {
        assert!(!self.said.contains("do not balance"), "{}", self.said);
        assert!(!self.said.contains("panicked"), "{}", self.said);
        let done = self.told("done").into_iter().find(|line| line["message"] == "done");
        let done = done.unwrap_or_else(|| panic!("no closing line: {}", self.said));
        let number = |name: &str| done[name].as_u64().unwrap_or_else(|| panic!("no {name} in {done}"));
        let books = Books {
            read: number("read"),
            left_out: number("left_out"),
            filtered: number("filtered"),
            sampled: number("sampled"),
            duplicate: number("duplicate"),
            rejected: number("rejected"),
            offered: number("offered"),
            delivered: number("delivered"),
            unrouted: number("unrouted"),
        };
        // None of the sinks here refuses records: what is rejected is rejected before them.
        let gone = books.left_out
            + books.filtered
            + books.sampled
            + books.duplicate
            + number("rolled_up")
            + books.rejected;
        assert_eq!(books.read + number("added"), gone + books.offered, "{done}");
        let answered = number("not_matched") + books.delivered + number("failed");
        assert_eq!(self.sinks * books.offered, answered, "{done}");
        books
    }

    #[track_caller]
    pub(crate) fn ended(&self, code: i32) -> &Ran {
        assert_eq!(self.code, Some(code), "{}", self.said);
        self
    }
}

/// Where every record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) read: u64,
    pub(crate) left_out: u64,
    pub(crate) filtered: u64,
    pub(crate) sampled: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) offered: u64,
    pub(crate) delivered: u64,
    pub(crate) unrouted: u64,
}

/// A program that runs. Killed when it goes out of scope.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
    out: Option<JoinHandle<Vec<u8>>>,
    sinks: u64,
}

impl Running {
    /// Waits for the first byte of its standard output, and takes it.
    #[allow(dead_code, reason = "tests/aws.rs needs it")]
    pub(crate) fn first_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Begins to read its standard output.
    #[allow(dead_code, reason = "tests/aws.rs needs it")]
    pub(crate) fn read_on(&mut self) {
        let mut from = self.child.stdout.take().unwrap();
        self.out = Some(std::thread::spawn(move || {
            let mut out = Vec::new();
            from.read_to_end(&mut out).unwrap();
            out
        }));
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it is so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&str) -> bool) {
        // Asked once more only where it has ended: what was so need not stay so.
        let mut is_now = false;
        let waited = wait(|| {
            is_now = is_so(&self.said());
            is_now || self.has_ended()
        });
        if let Some(waited) = waited {
            panic!("not after {waited:?}: {what}; said: {}", self.said());
        }
        assert!(is_now || is_so(&self.said()), "ended before {what}; said: {}", self.said());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// The most memory it has had resident so far, bytes.
    pub(crate) fn most_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ran {
        if let Some(waited) = wait(|| self.has_ended()) {
            panic!("not ended after {waited:?}; said: {}", self.said());
        }
        let code = self.child.wait().unwrap().code();
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        let out = self.out.take().map_or_else(Vec::new, |out| out.join().unwrap());
        Ran { code, out, said: self.said(), sinks: self.sinks }
    }

    /// SIGTERM, and its end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ran {
        self.signal(Signal::SIGTERM);
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until it is so. Returns how long it waited in vain.
pub(crate) fn wait(mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    let began = SystemTime::now();
    while !is_so() {
        let waited = began.elapsed().unwrap_or_default();
        if waited > PATIENCE {
            return Some(waited);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// A record with this id; `more` follows its members, with a comma before it.
pub(crate) fn record(id: &str, more: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","eventTime":"2026-01-15T10:00:00Z","awsRegion":"us-east-1","eventID":"{id}","recipientAccountId":"111122223333"{more}}}"#
    )
}

/// A log file of these records.
pub(crate) fn log_file<T: AsRef<str>>(records: &[T]) -> String {
    let records: Vec<&str> = records.iter().map(AsRef::as_ref).collect();
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

pub(crate) fn gz(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn unpacked(stored: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut text).unwrap();
    text
}

/// The members of a JSON object, of those of one name the last; `None` where it is no object. Values need not be
/// readable: lone surrogates are JSON.
pub(crate) fn members(line: &str) -> Option<BTreeMap<String, Box<RawValue>>> {
    serde_json::from_str(line).ok()
}

/// The event's id; a record without one is its own.
pub(crate) fn id(line: &str) -> String {
    let members = members(line).unwrap();
    let id = ["eventID", "eventId"].iter().find_map(|name| members.get(*name));
    id.and_then(|id| serde_json::from_str(id.get()).ok()).unwrap_or_else(|| line.to_owned())
}
