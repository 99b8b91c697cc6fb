//! What the Firehose endpoint costs: `cargo bench --bench firehose`.
//!
//! The release binary takes requests of about 5 MB on loopback and does the main job on them; beside it a bare hyper server
//! takes the same requests, decodes base64 and inflates, and does nothing else. The client is this process; figures are
//! CPU seconds of the server's process only, from `/proc`. Two kinds of requests: subscription payloads of half a megabyte
//! of text each, gzip'd, as CloudWatch Logs sends them; and extracted messages, uncompressed.
//!
//! `TRAILSHIP_BENCH_MB` is the size of the events (default 256), `TRAILSHIP_BENCH_RUNS` the number of runs of which the
//! median is shown (default 3).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark stops at what it did not expect, prints what it measures, and reads the wall clock"
)]

mod subscription;

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use trailship::generate::{self, Options, Profile};

const KEY: &str = "0123456789abcdef";
/// Bytes of a request's records, as they are sent.
const REQUEST: usize = 5_000_000;
/// Text of one payload.
const PAYLOAD: usize = 500_000;
/// Requests on their way at the same time.
const AT_ONCE: usize = 6;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "bare") {
        return bare();
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-firehose");
    fs::create_dir_all(&folder).unwrap();
    let bytes = number("TRAILSHIP_BENCH_MB").unwrap_or(256) * 1_000_000;
    let runs = number("TRAILSHIP_BENCH_RUNS").unwrap_or(3);
    let tree = tree(&folder, bytes);
    println!("{:<58} {:>14}  {:<10}", "measure (CPU of the server only)", "seen", "bar");
    for (name, packed) in [("gzip'd subscription payloads", true), ("extracted messages", false)] {
        let (bodies, events) = bodies(&tree, packed);
        let (mut ours, mut bare, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..runs {
            let (cpu, kib) = ship(&folder, &tree, &bodies);
            ours.push(events as f64 / 1e6 / cpu);
            peak = peak.max(kib);
            bare.push(events as f64 / 1e6 / alone(&bodies));
        }
        let (ours, bare) = (median(&mut ours), median(&mut bare));
        let sent = bodies.iter().map(Vec::len).sum::<usize>() as f64 / 1e6;
        println!(
            "  {name}: {} requests, {sent:.0} MB as sent, {:.0} MB of events",
            bodies.len(),
            events as f64 / 1e6
        );
        row(&format!("main job, {name}, MB of events"), &format!("{ours:.0} MB/s"), ">= 150", ours >= 150.0);
        row(&format!("bare server, {name}, MB of events"), &format!("{bare:.0} MB/s"), "", true);
        let ratio = ours / bare;
        row(&format!("main job / bare server, {name}"), &format!("{ratio:.2} x"), ">= 0.5 x", ratio >= 0.5);
        let mib = peak as f64 / 1024.0;
        row("resident at most", &format!("{mib:.0} MiB"), "<= 320 MiB", mib <= 320.0);
    }
}

fn row(measure: &str, seen: &str, bar: &str, good: bool) {
    println!("{measure:<58} {seen:>14}  {bar:<10} {}", if good { "" } else { "MISSED" });
    let _ = std::io::stdout().flush();
}

/// A tree of objects, made when it is not there. An accounts file stands beside it.
fn tree(folder: &Path, bytes: u64) -> PathBuf {
    let mut options = Options::new(Profile::Mixed);
    options.kinds = false;
    options.bytes = bytes;
    let (tree, made, stamp) = (folder.join("tree"), format!("{options:?}"), folder.join("tree.options"));
    if fs::read_to_string(&stamp).is_ok_and(|text| text == made) {
        return tree;
    }
    let _ = fs::remove_dir_all(&tree);
    generate::write_tree(&tree, &options, |_| {}).unwrap();
    fs::write(tree.with_extension("csv"), generate::accounts_csv(&options)).unwrap();
    fs::write(stamp, made).unwrap();
    tree
}

#[derive(Deserialize)]
struct LogFile<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<&'a RawValue>,
}

/// The bodies of all requests, but for their ids; and bytes of the events in them.
fn bodies(tree: &Path, packed: bool) -> (Vec<Vec<u8>>, u64) {
    let (mut records, mut events) = (Vec::<String>::new(), 0);
    let (mut payloads, mut all, mut payload, mut request) = (Vec::<String>::new(), Vec::new(), 0, 0);
    let seal = |records: &mut Vec<String>, payloads: &mut Vec<String>| {
        let text = match packed {
            false => records.join("\n") + "\n",
            true => subscription::message(records),
        };
        records.clear();
        let bytes = if packed { gzip(text.as_bytes()) } else { text.into_bytes() };
        payloads.push(STANDARD.encode(bytes));
        payloads.last().map_or(0, String::len)
    };
    let files = walkdir::WalkDir::new(tree).sort_by_file_name().into_iter().map(Result::unwrap);
    for file in files.filter(|entry| entry.file_type().is_file()) {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(fs::File::open(file.path()).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        let file: LogFile<'_> = serde_json::from_str(&text).unwrap();
        for record in file.records {
            (events, payload) = (events + record.get().len() as u64, payload + record.get().len());
            records.push(record.get().to_owned());
            if payload >= PAYLOAD {
                request += seal(&mut records, &mut payloads);
                payload = 0;
            }
            if request >= REQUEST {
                all.push(body(&std::mem::take(&mut payloads)));
                request = 0;
            }
        }
    }
    if !records.is_empty() {
        seal(&mut records, &mut payloads);
    }
    if !payloads.is_empty() {
        all.push(body(&payloads));
    }
    (all, events)
}

/// A body whose id is 36 characters, to be written over.
fn body(payloads: &[String]) -> Vec<u8> {
    let records: Vec<_> = payloads.iter().map(|data| json!({ "data": data })).collect();
    json!({ "requestId": "x".repeat(36), "timestamp": 1, "records": records }).to_string().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut to = vec![0; packer.gzip_compress_bound(bytes.len())];
    let length = packer.gzip_compress(bytes, &mut to).unwrap();
    to.truncate(length);
    to
}

/// Sends everything; every answer has to be 200.
fn send(address: SocketAddr, bodies: &[Vec<u8>]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(body) = bodies.get(number) else { return };
                    let id = format!("{number:036}");
                    let (start, end) = (br#"{"requestId":""#.len(), br#"{"requestId":""#.len() + 36);
                    let head = format!(
                        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Firehose-Protocol-Version: 1.0\r\nX-Amz-Firehose-Request-Id: {id}\r\nX-Amz-Firehose-Access-Key: {KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    for part in [head.as_bytes(), &body[..start], id.as_bytes(), &body[end..]] {
                        stream.write_all(part).unwrap();
                    }
                    let mut answer = vec![0; 4096];
                    let length = stream.read(&mut answer).unwrap();
                    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
                }
            });
        }
    });
}

/// The main job: CPU seconds, and the most memory, KiB.
fn ship(folder: &Path, tree: &Path, bodies: &[Vec<u8>]) -> (f64, u64) {
    let (data, output) = (folder.join("data"), folder.join("output"));
    for old in [&data, &output] {
        let _ = fs::remove_dir_all(old);
    }
    let (config, path, accounts) =
        (folder.join("firehose.toml"), output.join("{date}.ndjson"), tree.with_extension("csv"));
    let text = format!(
        r#"
data_dir = {data:?}
workers = 1
[sources.stream]
type = "firehose"
listen = "127.0.0.1:0"
access_key = {{ env = "KEY" }}
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
[sinks.out]
type = "file"
path = {path:?}
oldest = "any"
"#
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trailship"));
    command.args(["run", "-c"]).arg(&config).env("KEY", KEY).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = said.by_ref().map(Result::unwrap).find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).ok()?;
        let is_it = line["message"].as_str()?.contains("waiting for Firehose");
        is_it.then(|| line["address"].as_str().unwrap().parse().unwrap())
    });
    let reading = std::thread::spawn(move || said.map_while(Result::ok).last());
    send(address.unwrap(), bodies);
    let cost = (cpu_of(&child), status(&child, "VmHWM:"));
    stop(&mut child);
    reading.join().unwrap();
    cost
}

/// The bare server: CPU seconds.
fn alone(bodies: &[Vec<u8>]) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.arg("bare").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    send(line.trim().parse().unwrap(), bodies);
    let cpu = cpu_of(&child);
    stop(&mut child);
    cpu
}

#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    records: Vec<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    data: &'a str,
}

/// Serves until it is killed.
fn bare() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| async {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let read = tokio::task::spawn_blocking(move || decode(&body)).await.unwrap();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{{\"read\":{read}}}")))))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

/// Bytes after base64 and gzip.
fn decode(body: &[u8]) -> usize {
    let sent: Sent<'_> = serde_json::from_slice(body).unwrap();
    let (mut inflater, mut stored, mut text) = (libdeflater::Decompressor::new(), Vec::new(), Vec::new());
    let mut read = 0;
    for Data { data } in sent.records {
        stored.clear();
        STANDARD.decode_vec(data, &mut stored).unwrap();
        if !stored.starts_with(&[0x1f, 0x8b]) {
            read += stored.len();
            continue;
        }
        let size = u32::from_le_bytes(stored[stored.len() - 4..].try_into().unwrap()) as usize;
        if text.len() < size {
            text.resize(size, 0);
        }
        read += inflater.gzip_decompress(&stored, &mut text[..size]).unwrap();
    }
    read
}

/// CPU seconds of a running process, threads that have ended included.
fn cpu_of(child: &Child) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// A line of a process's status, KiB; 0 when it is gone.
fn status(child: &Child, line: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let found = text.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn stop(child: &mut Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
