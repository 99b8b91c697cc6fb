//! What reading from S3 costs: `cargo bench --bench s3`.
//!
//! The release binary reads from a fake S3 on loopback (`tests/support/fake_s3.rs`), which is a process of its own and makes
//! its objects when they are asked for. Figures are of our process only: CPU and memory from `/proc`, requests as the server
//! counted them. `poll` uses the source as a library, because the clock has to stand at midnight.
//!
//! `TRAILSHIP_BENCH_MB` is the size of the tree that is compared with files (default 512), `TRAILSHIP_BENCH_RUNS` the number
//! of runs of which the median is shown (default 3), `TRAILSHIP_BENCH_ONLY` a part of a case's name.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark stops at what it did not expect, prints what it measures, and reads the wall clock"
)]

#[allow(dead_code, clippy::panic, reason = "tests need more of it")]
#[path = "../tests/support/fake_s3.rs"]
mod fake_s3;
#[path = "s3/server.rs"]
mod server;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use trailship::clock::{Clock, Timestamp};
use trailship::generate::{self, Options, Profile};
use trailship::pipeline::room::Room;
use trailship::source::piped::Pipe;
use trailship::source::{Build, Source as _, s3};
use trailship::state::Store;

use self::server::{Counts, MIDNIGHT, Server};

/// Another build of it, where one is asked for (`TRAILSHIP_TEST_PROGRAM`).
fn program() -> std::ffi::OsString {
    std::env::var_os("TRAILSHIP_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_trailship").into())
}
const MIB: f64 = 1024.0 * 1024.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", rest @ ..] => return server::serve(rest),
        ["poll", endpoint] => return poll(endpoint),
        _ => {}
    }
    let bench = Bench::new();
    println!("{:<58} {:>14}  {:<18}", "measure (our process only)", "seen", "bar");
    bench.polls();
    bench.first_record();
    bench.against_files();
    bench.small_objects();
    bench.many_partitions();
    bench.idle();
}

struct Bench {
    folder: PathBuf,
    bytes: u64,
    runs: usize,
    only: Option<String>,
}

/// What one run cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu: f64,
    wall: f64,
    peak_kib: u64,
}

fn row(measure: &str, seen: &str, bar: &str, good: bool) {
    println!("{measure:<58} {seen:>14}  {bar:<18} {}", if good { "" } else { "MISSED" });
    let _ = std::io::stdout().flush();
}

impl Bench {
    fn new() -> Bench {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-s3");
        fs::create_dir_all(&folder).unwrap();
        Bench {
            folder,
            bytes: number("TRAILSHIP_BENCH_MB").unwrap_or(512) * 1_000_000,
            runs: usize::try_from(number("TRAILSHIP_BENCH_RUNS").unwrap_or(3)).unwrap(),
            only: std::env::var("TRAILSHIP_BENCH_ONLY").ok(),
        }
    }

    fn wanted(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|only| case.contains(only.as_str()))
    }

    /// LIST requests of one poll of a million objects, at 23:59 and at 00:01.
    fn polls(&self) {
        if !self.wanted("polls") {
            return;
        }
        let server = Server::start(&["million", "0"]);
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["poll", &server.endpoint()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = known(child).spawn().unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut before = Counts::default();
        for (at, objects) in [("23:59", 600), ("00:01", 0)] {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            assert_eq!(line.trim(), objects.to_string(), "objects lent at {at}");
            let now = server.counts();
            let lists = now.list - before.list;
            let measure = format!("LISTs of a poll, 50 partitions of 1,000,000 keys, {at}");
            row(&measure, &lists.to_string(), "exactly 50", lists == 50);
            before = now;
            to.write_all(b"\n").unwrap();
        }
        child.wait().unwrap();
    }

    /// From the start of the program to the first byte it ships.
    fn first_record(&self) {
        if !self.wanted("first record") {
            return;
        }
        let mut times = Vec::new();
        for _ in 0..self.runs {
            let server = Server::start(&["hundred", "20"]);
            let config = self.config(&server, "", "[sinks.out]\ntype = \"stdout\"\n");
            let began = Instant::now();
            let mut child = run(&config, &[]).stdout(Stdio::piped()).spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            times.push(began.elapsed().as_secs_f64());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let time = median(&mut times);
        row(
            "first record of 100,000,000 keys, 20 ms a request",
            &format!("{time:.2} s"),
            "<= 3 s",
            time <= 3.0,
        );
    }

    /// The main job on the same objects from a folder and from S3.
    fn against_files(&self) {
        if !self.wanted("files") {
            return;
        }
        let tree = self.tree("mixed", |options| {
            options.bytes = self.bytes;
            options.file_bytes = Some(1_500_000);
        });
        let server = Server::start(&["tree", "0", tree.to_str().unwrap()]);
        let from_files = format!("type = \"files\"\npath = {tree:?}\n");
        let (mut files, mut objects, mut peak, mut lines) = (Vec::new(), Vec::new(), 0, None);
        for turn in 0..=self.runs {
            let cost = self.job(&job(&tree), None, &from_files);
            let counted = self.lines();
            assert_eq!(*lines.get_or_insert(counted), counted);
            let remote = self.job(&job(&tree), Some(&server), "since = \"beginning\"\n");
            assert_eq!(Some(self.lines()), lines, "the output differs");
            if turn > 0 {
                files.push(cost.cpu);
                objects.push(remote.cpu);
                peak = peak.max(remote.peak_kib);
            }
        }
        let ratio = median(&mut files) / median(&mut objects);
        let speed = |costs: &mut [f64]| self.bytes as f64 / 1e6 / median(costs);
        println!(
            "  main job, MB for each CPU second: {:.0} from files, {:.0} from S3",
            speed(&mut files),
            speed(&mut objects)
        );
        row("CPU of the main job from files / from S3", &format!("{ratio:.2} x"), ">= 0.8 x", ratio >= 0.8);
        self.memory("resident at most, main job from S3", peak, 256 + 64);
    }

    /// A hundred thousand objects of five records.
    fn small_objects(&self) {
        if !self.wanted("small") {
            return;
        }
        let tree = self.tree("five", |options| {
            options.bytes = 2_000_000;
            options.file_bytes = None;
            options.records_per_file = Some(5);
        });
        let keys = 100_000.0;
        let server = Server::start(&["small", "0", tree.to_str().unwrap()]);
        let (mut cpu, mut peak) = (Vec::new(), 0);
        for _ in 0..self.runs {
            let cost = self.job(&job(&tree), Some(&server), "since = \"beginning\"\n");
            cpu.push(cost.cpu * 1000.0 / keys);
            peak = peak.max(cost.peak_kib);
        }
        let cpu = median(&mut cpu);
        row("CPU of an object of 5 records", &format!("{cpu:.3} ms"), "<= 0.45 ms", cpu <= 0.45);
        let server = Server::start(&["small", "20", tree.to_str().unwrap()]);
        let mut speeds = Vec::new();
        for _ in 0..self.runs {
            let cost = self.job(&job(&tree), Some(&server), "since = \"beginning\"\n");
            speeds.push(keys / cost.wall);
            peak = peak.max(cost.peak_kib);
        }
        let speed = median(&mut speeds);
        row("objects a second, 20 ms a request", &format!("{speed:.0}"), ">= 2000", speed >= 2000.0);
        self.memory("resident at most, small objects", peak, 256 + 64);
    }

    /// A thousand accounts in twenty regions, few of them busy.
    fn many_partitions(&self) {
        if !self.wanted("partitions") {
            return;
        }
        let (every, idle, busy) = (6, 19_500_u64, 500_u64);
        let server = Server::start(&["many", "20"]);
        let more = format!("every = \"{every}s\"\n");
        let config = self.config(&server, &more, "[sinks.out]\ntype = \"stdout\"\n");
        let began = Instant::now();
        let mut child = run(&config, &[]).stdout(Stdio::null()).spawn().unwrap();
        while server.counts().list < idle + busy {
            assert!(began.elapsed() < Duration::from_secs(600), "only {:?}", server.counts());
            std::thread::sleep(Duration::from_millis(100));
        }
        let found = began.elapsed();
        let folders = server.counts().folders;
        println!(
            "  20,000 partitions found and listed once after {:.0} s, {folders} folders looked into",
            found.as_secs_f64()
        );
        // What is quiet is polled less and less; then it is in step.
        std::thread::sleep(Duration::from_secs(every * 32));
        let (before, cpu) = (server.counts(), cpu_of(&child));
        let window = every * 15;
        std::thread::sleep(Duration::from_secs(window));
        let (after, cpu) = (server.counts(), cpu_of(&child) - cpu);
        let lists = (after.list - before.list) as f64 / 15.0;
        let most = (busy + idle / 15) as f64;
        row(
            "LISTs a poll, 20,000 partitions, 500 of them busy",
            &format!("{lists:.0}"),
            &format!("<= {most:.0}"),
            lists <= most * 1.02,
        );
        println!("  {:.2} ms CPU a LIST", cpu * 1000.0 / (after.list - before.list) as f64);
        let discovery = (after.folders - before.folders) as f64 / window as f64;
        row("looks for new partitions in a second", &format!("{discovery:.2}"), "<= 1", discovery <= 1.05);
        let peak = status(&child, "VmHWM:");
        stop(&mut child);
        let state = size_of(&self.folder.join("data")) as f64 / MIB;
        row("state of 20,000 partitions", &format!("{state:.0} MiB"), "< 190 MiB", state < 190.0);
        self.memory("resident at most, 20,000 partitions", peak, 256 + 128);
    }

    /// Fifty partitions where nothing happens.
    fn idle(&self) {
        if !self.wanted("idle") {
            return;
        }
        let server = Server::start(&["idle", "0"]);
        let config = self.config(&server, "", "[sinks.out]\ntype = \"stdout\"\n");
        let mut child = run(&config, &[]).stdout(Stdio::null()).spawn().unwrap();
        // The first listings, and those that follow sooner than later ones; in the window is one of each partition.
        std::thread::sleep(Duration::from_secs(90));
        let (before, cpu) = (server.counts(), cpu_of(&child));
        std::thread::sleep(Duration::from_secs(60));
        let (used, resident) = ((cpu_of(&child) - cpu) * 1000.0, status(&child, "VmRSS:"));
        println!("  {} LISTs in the 60 s", server.counts().list - before.list);
        stop(&mut child);
        row("CPU of 60 s, 50 idle partitions", &format!("{used:.0} ms"), "<= 60 ms", used <= 60.0);
        self.memory("resident, 50 idle partitions", resident, 40);
    }

    fn memory(&self, measure: &str, kib: u64, bar: u64) {
        let mib = kib as f64 / 1024.0;
        row(measure, &format!("{mib:.1} MiB"), &format!("<= {bar} MiB"), mib <= bar as f64);
    }

    /// A tree of objects, made when it is not there. An accounts file stands beside it.
    fn tree(&self, name: &str, change: impl FnOnce(&mut Options)) -> PathBuf {
        let mut options = Options::new(Profile::Mixed);
        options.kinds = false;
        change(&mut options);
        let (tree, made) = (self.folder.join(name), format!("{options:?}"));
        let stamp = self.folder.join(format!("{name}.options"));
        if fs::read_to_string(&stamp).is_ok_and(|text| text == made) {
            return tree;
        }
        let _ = fs::remove_dir_all(&tree);
        generate::write_tree(&tree, &options, |_| {}).unwrap();
        fs::write(tree.with_extension("csv"), generate::accounts_csv(&options)).unwrap();
        fs::write(stamp, made).unwrap();
        tree
    }

    /// A configuration that reads from a server, in a new folder.
    fn config(&self, server: &Server, source: &str, rest: &str) -> PathBuf {
        let endpoint = server.endpoint();
        let source = format!(
            "type = \"s3\"\nbucket = \"trail\"\n{source}aws.endpoint = \"{endpoint}\"\naws.path_style = true\n"
        );
        self.write(&source, rest)
    }

    fn write(&self, source: &str, rest: &str) -> PathBuf {
        let (data, output) = (self.folder.join("data"), self.folder.join("output"));
        for old in [&data, &output] {
            let _ = fs::remove_dir_all(old);
        }
        let config = self.folder.join("s3.toml");
        let text = format!("data_dir = {data:?}\nworkers = 1\n[sources.trail]\n{source}\n{rest}");
        fs::write(&config, text).unwrap();
        config
    }

    /// Runs the main job to its end.
    fn job(&self, steps: &str, server: Option<&Server>, source: &str) -> Cost {
        let path = self.folder.join("output").join("{date}.ndjson");
        let rest = format!("{steps}[sinks.out]\ntype = \"file\"\npath = {path:?}\n");
        let config = match server {
            Some(server) => self.config(server, source, &rest),
            None => self.write(source, &rest),
        };
        let (before, began) = (children_cpu(), Instant::now());
        let mut child = run(&config, &["--once"]).spawn().unwrap();
        let mut peak_kib = 0;
        let ended = loop {
            peak_kib = peak_kib.max(status(&child, "VmHWM:"));
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(25));
        };
        assert!(ended.success(), "{ended}");
        Cost { cpu: children_cpu() - before, wall: began.elapsed().as_secs_f64(), peak_kib }
    }

    /// Lines of the last job's output.
    fn lines(&self) -> usize {
        let files = walkdir::WalkDir::new(self.folder.join("output")).into_iter().flatten();
        let files = files.filter(|entry| entry.file_type().is_file());
        files.map(|file| memchr::memchr_iter(b'\n', &fs::read(file.path()).unwrap()).count()).sum()
    }
}

/// The steps of the main job: accounts, environment, signals, sampling, flat events.
fn job(tree: &Path) -> String {
    let accounts = tree.with_extension("csv");
    format!(
        r#"
[transforms.accounts]
type = "account_tags"
file = {accounts:?}
tags = ["env", "owner"]
[transforms.environment]
type = "environment"
default = "unknown"
[[transforms.environment.rules]]
set = "prod"
match = {{ tags = {{ env = ["prod", "production"] }} }}
[[transforms.environment.rules]]
set = "sandbox"
match = {{ name = [{{ wildcard = "*sandbox*" }}] }}
[transforms.signals]
type = "signals"
[transforms.data]
type = "sample"
match = {{ eventCategory = ["Data"] }}
keep_one_in = 50
[transforms.reads]
type = "sample"
match = {{ eventCategory = ["Management"], readOnly = [true] }}
keep_one_in = 5
[transforms.flat]
type = "flatten"
"#
    )
}

/// With credentials, and nothing else of AWS.
fn known(command: &mut Command) -> &mut Command {
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env_remove("AWS_PROFILE")
}

fn run(config: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(program());
    let level = std::env::var("TRAILSHIP_BENCH_LOG").unwrap_or_else(|_| "error".to_owned());
    command.args(["run", "--log-level", &level, "-c"]).arg(config).args(more);
    known(&mut command);
    command
}

/// Polls 50 partitions at 23:59, and at 00:01 after a line on standard input; tells how many objects were lent at each.
fn poll(endpoint: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clock = Clock::manual(Timestamp::from_seconds((MIDNIGHT - 1) * 60));
    let text =
        format!("bucket = \"trail\"\nevery = \"1s\"\naws.endpoint = \"{endpoint}\"\naws.path_style = true");
    let config: s3::Config = toml::from_str(&text).unwrap();
    let store = Arc::new(Store::in_memory(&clock).unwrap());
    let (now, stdin) = (clock.clone(), Pipe::empty());
    let build = Build {
        pipeline: "main",
        name: "trail",
        store,
        clock: now,
        once: false,
        stdin,
        room: Room::apart(64 << 20),
    };
    let source = s3::S3::build(&config, &build).unwrap();
    runtime.block_on(async {
        for _ in 0..2 {
            let mut lent = 0;
            // Everything was listed when nothing has come for a while; the clock stands, so nothing is polled twice.
            while let Ok(next) = tokio::time::timeout(Duration::from_secs(5), source.next(1000)).await {
                lent += next.unwrap().unwrap().len();
            }
            println!("{lent}");
            tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
                .await
                .unwrap()
                .unwrap();
            clock.advance(Duration::from_secs(120));
        }
    });
}

fn children_cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// A line of a process's status, KiB; 0 when it is gone.
fn status(child: &Child, line: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let found = text.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPU seconds of a running process, all threads, from the scheduler's own count.
fn cpu_of(child: &Child) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let nanos = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0)
    };
    tasks.flatten().map(nanos).sum::<f64>() / 1e9
}

fn stop(child: &mut Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
}

fn size_of(folder: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|at| at.len()).sum()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
