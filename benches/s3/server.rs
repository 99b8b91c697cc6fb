//! The fake S3 in a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;

use crate::fake_s3::{FakeS3, Kind, Run};

/// The first minute of a day that begins a month after a leap day, counted from 1970.
pub(crate) const MIDNIGHT: i64 = 1_709_251_200 / 60;

/// Requests that were answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) list: u64,
    pub(crate) folders: u64,
}

/// A server that runs. Ends with its standard input.
pub(crate) struct Server {
    process: Child,
    ask: Option<ChildStdin>,
    answers: std::sync::Mutex<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    /// Starts one: which bucket it serves, how many milliseconds each answer waits, and where objects are read from.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.arg("serve").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (ask, mut answers) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Server { process, ask, answers: answers.into(), port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has answered so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut answers = self.answers.lock().unwrap();
        self.ask.as_ref().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
        Counts { list: numbers.next().unwrap(), folders: numbers.next().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ = self.process.wait();
    }
}

/// Serves until standard input ends; tells its counts for each line of it.
pub(crate) fn serve(arguments: &[&str]) {
    let latency = Duration::from_millis(arguments[1].parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let now = jiff::Timestamp::now().as_second() / 60;
    let tree = arguments.get(2).map(Path::new);
    let fake = runtime.block_on(async {
        match arguments[0] {
            "million" => {
                FakeS3::start(runs(50, 1, 20_000, MIDNIGHT - 5 * 20_000, 5), latency, |_| None).await
            }
            "hundred" => FakeS3::start(runs(50, 1, 2_000_000, now - 2_000_000, 1), latency, |_| None).await,
            "idle" => FakeS3::start(runs(50, 1, 10, now - 600, 5), latency, |_| None).await,
            "many" => {
                let mut all = runs(1000, 20, 24, now - 5 * 24, 5);
                let quiet = all.iter_mut().enumerate().filter(|(number, _)| number % 40 != 0);
                quiet.for_each(|(_, run)| run.first -= 600);
                FakeS3::start(all, latency, |_| None).await
            }
            "small" => {
                let bodies: Vec<Bytes> = objects(tree.unwrap()).into_iter().map(|(_, bytes)| bytes).collect();
                let make = move |_: &Run, number: u64| {
                    bodies[usize::try_from(number).unwrap() % bodies.len()].clone()
                };
                FakeS3::of(runs(20, 1, 5000, now - 10_000, 2), latency, |_| None, make).await
            }
            "tree" => {
                let fake = FakeS3::start(Vec::new(), latency, |_| None).await;
                objects(tree.unwrap()).into_iter().for_each(|(key, bytes)| fake.put(&key, bytes.into()));
                fake
            }
            other => unreachable!("there is no bucket `{other}`"),
        }
    });
    println!("{}", fake.address.port());
    for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
        println!("{} {}", fake.count(Kind::List), fake.count(Kind::Folders));
    }
}

/// So many accounts in so many regions, each with so many keys.
fn runs(accounts: u64, regions: u64, keys: u64, first: i64, every: i64) -> Vec<Run> {
    let of = |account: u64| {
        (0..regions).map(move |region| Run {
            prefix: format!("AWSLogs/{}/CloudTrail/eu-west-{region}/", 100_000_000_000 + account),
            first,
            every,
            keys,
        })
    };
    (0..accounts).flat_map(of).collect()
}

/// The log files of a tree: their keys and bytes.
fn objects(tree: &Path) -> Vec<(String, Bytes)> {
    let entries = walkdir::WalkDir::new(tree).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files
        .map(|file| {
            let key = file.path().strip_prefix(tree).unwrap().to_str().unwrap().to_owned();
            (key, fs::read(file.path()).unwrap().into())
        })
        .collect()
}
