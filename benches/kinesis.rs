//! What reading from Kinesis costs: `cargo bench --bench kinesis`.
//!
//! The release binary reads 20 shards of a fake stream on loopback (`tests/support/fake_kinesis.rs`), which is a process of
//! its own, holds to the service's limits, and gives each shard 2 MB a second: once as plain JSON records, once as gzip'd
//! messages of a subscription. CPU and memory are of our process only, from `/proc`; how far behind it is, is what it tells
//! of itself, looked at every half second.
//!
//! `TRAILSHIP_BENCH_SECONDS` is how long (default 60), `TRAILSHIP_BENCH_ONLY` a part of a case's name.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark stops at what it did not expect, prints what it measures, and reads the wall clock"
)]

#[allow(
    dead_code,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests need more of it"
)]
#[path = "../tests/support/fake_kinesis.rs"]
mod fake_kinesis;
mod subscription;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::fake_kinesis::{FakeKinesis, Rules, Source};

const SHARDS: usize = 20;
/// Bytes a second in each shard.
const RATE: usize = 2_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, kind] = arguments.as_slice()
        && serve == "serve"
    {
        return serve_stream(kind);
    }
    let only = std::env::var("TRAILSHIP_BENCH_ONLY").ok();
    println!("{:<58} {:>14}  {:<18}", "measure (our process only)", "seen", "bar");
    for kind in ["plain", "gzip"] {
        if only.as_ref().is_none_or(|only| kind.contains(only.as_str())) {
            bench(kind);
        }
    }
}

fn row(measure: &str, seen: &str, bar: &str, good: bool) {
    println!("{measure:<58} {seen:>14}  {bar:<18} {}", if good { "" } else { "MISSED" });
    let _ = std::io::stdout().flush();
}

fn bench(kind: &str) {
    let seconds: u64 = std::env::var("TRAILSHIP_BENCH_SECONDS").map_or(60, |text| text.parse().unwrap());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-kinesis");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut server = Server::start(kind);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = folder.join("kinesis.toml");
    let data = folder.join("data");
    let text = format!(
        "data_dir = {data:?}\ntelemetry.listen = \"127.0.0.1:{port}\"\n[sources.stream]\ntype = \"kinesis\"\nstream = \"trail\"\n\
         from = \"trim_horizon\"\naws.endpoint = \"http://{}\"\n[sinks.out]\ntype = \"stdout\"\n",
        server.address
    );
    fs::write(&config, text).unwrap();
    let program =
        std::env::var_os("TRAILSHIP_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_trailship").into());
    let mut child = Command::new(program)
        .args(["run", "--log-level", "warn", "-c"])
        .arg(&config)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env_remove("AWS_PROFILE")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // What was there before it began is caught up with.
    std::thread::sleep(Duration::from_secs(5));
    let (began, cpu, (bytes, _)) = (Instant::now(), cpu_of(&child), server.counts());
    let written = told(port, "trailship_sink_encoded_bytes_total{");
    let (mut most, mut lags) = (0.0_f64, Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(500));
        let lag = told(port, "trailship_source_lag_seconds{");
        most = most.max(lag);
        lags.push(lag);
    }
    let wall = began.elapsed().as_secs_f64();
    let used = (cpu_of(&child) - cpu) / wall;
    let (now, throttled) = server.counts();
    let rate = (now - bytes) as f64 / wall / 1e6;
    let written = (told(port, "trailship_sink_encoded_bytes_total{") - written) / wall / 1e6;
    let rejected = told(port, "trailship_records_rejected_total{");
    assert!(rejected == 0.0, "{rejected} records were rejected");
    let peak = status(&child, "VmHWM:") as f64 / 1024.0;
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    let wanted = (SHARDS * RATE) as f64 / 1e6;
    let title = |what: &str| format!("{what}, {SHARDS} shards, {kind}");
    row(
        &title("read in a second"),
        &format!("{rate:.1} MB"),
        &format!(">= {:.1} MB", wanted * 0.97),
        rate >= wanted * 0.97,
    );
    row(&title("CPU"), &format!("{used:.2} cores"), "< 0.5", used < 0.5);
    row(&title("lag at most"), &format!("{most:.1} s"), "< 5 s", most < 5.0);
    row(&title("resident at most"), &format!("{peak:.0} MiB"), "<= 320 MiB", peak <= 320.0);
    lags.sort_by(f64::total_cmp);
    let middle = lags[lags.len() / 2];
    println!(
        "  {written:.0} MB of records written in a second; lag in the middle {middle:.1} s, {throttled} times throttled"
    );
    server.child.kill().unwrap();
    server.child.wait().unwrap();
}

/// A value that the program tells of itself; the first of that name.
fn told(port: u16, name: &str) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// The fake, a process of its own.
struct Server {
    child: Child,
    address: String,
    ask: ChildStdin,
    tells: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(kind: &str) -> Server {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["serve", kind]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let (ask, mut tells) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut address = String::new();
        tells.read_line(&mut address).unwrap();
        Server { child, address: address.trim().to_owned(), ask, tells }
    }

    /// Bytes read so far, and how often reading was refused.
    fn counts(&mut self) -> (u64, u64) {
        self.ask.write_all(b"\n").unwrap();
        let mut line = String::new();
        self.tells.read_line(&mut line).unwrap();
        let (bytes, throttled) = line.trim().split_once(' ').unwrap();
        (bytes.parse().unwrap(), throttled.parse().unwrap())
    }
}

fn serve_stream(kind: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bodies = bodies(kind);
    let make = move |shard: u32, number: u64| {
        let at = (u64::from(shard) * 7 + number) % bodies.len() as u64;
        bodies[usize::try_from(at).unwrap()].clone()
    };
    let source = Source { rate: RATE, make: Box::new(make) };
    let fake = runtime.block_on(FakeKinesis::start(SHARDS, Rules::default(), Some(source)));
    println!("{}", fake.address);
    for _ in std::io::stdin().lines() {
        let counts = fake.counts();
        let (bytes, throttled) =
            (counts.bytes.load(Ordering::SeqCst), counts.throttled.load(Ordering::SeqCst));
        println!("{bytes} {throttled}");
        std::io::stdout().flush().unwrap();
    }
}

/// Records of a stream as base64, with their bytes: records of CloudTrail, one each, or messages of a subscription.
fn bodies(kind: &str) -> Vec<(Bytes, usize)> {
    let folder = tempfile::tempdir().unwrap();
    let mut options = trailship::generate::Options::new(trailship::generate::Profile::Mixed);
    (options.bytes, options.kinds) = (8_000_000, false);
    trailship::generate::write_tree(folder.path(), &options, |_| {}).unwrap();
    let mut records = Vec::new();
    for entry in walkdir::WalkDir::new(folder.path()).sort_by_file_name().into_iter().flatten() {
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|end| end == "gz") {
            let mut text = String::new();
            let file = fs::File::open(entry.path()).unwrap();
            flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
            let file: serde_json::Value = serde_json::from_str(&text).unwrap();
            let found = file["Records"].as_array().cloned().unwrap_or_default();
            records.extend(found.iter().map(ToString::to_string));
        }
    }
    let packed = |records: &[String]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(subscription::message(records).as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let data: Vec<Vec<u8>> = match kind {
        "plain" => records.into_iter().map(String::into_bytes).collect(),
        // A batch of a subscription: some hundred events.
        _ => records.chunks(200).map(packed).collect(),
    };
    data.into_iter().map(|data| (STANDARD.encode(&data).into(), data.len())).collect()
}

/// A line of a process's status, KiB.
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
