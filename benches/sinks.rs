//! What sending costs: `cargo bench --bench sinks`.
//!
//! A server in a process of its own takes everything on loopback (plain HTTP/1.1) and looks at nothing but how many events
//! a bulk request has. Figures are CPU seconds of the sending process only.
//!
//! - **Encode and send**: the release binary ships large files of uncompressed records of about 2 kB, in requests of 5 MB, and
//!   once more with a sink that wants none of them; the difference is what writing, framing and sending cost. Beside it a
//!   bare hyper client that sends as many bytes, all made beforehand.
//! - **The main job** (accounts, environments, signals, sampling, flatten) into files, and into `http` as lines.
//!
//! `TRAILSHIP_BENCH_MB` is the size of the records (default 1024), `TRAILSHIP_BENCH_RUNS` the number of runs of which the
//! median is shown (default 5), `TRAILSHIP_BENCH_ONLY` the name of one sink.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark stops at what it did not expect, prints what it measures, and reads the wall clock"
)]

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use trailship::generate::{self, Options, Profile};

/// Bytes of a file of lines: so large that what a file costs does not count.
const PLAIN: usize = 64_000_000;
/// Bytes of a request.
const REQUEST: usize = 5_000_000;
/// What every kind of sink takes for a yes.
const YES: &str = r#"{"text":"Success","code":0,"took":1,"errors":false,"items":[],"acknowledged":true,"version":{"number":"3.0.0","distribution":"opensearch"}}"#;

/// A sink: its name, its settings with `{URL}`.
const SINKS: [(&str, &str); 3] = [
    ("http", "type = \"http\"\nurl = \"{URL}/in\""),
    ("splunk_hec", "type = \"splunk_hec\"\nurl = \"{URL}\"\ntoken = { env = \"TOKEN\" }"),
    ("opensearch", "type = \"opensearch\"\nurl = \"{URL}\""),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("server") => return server(),
        Some("bare") => return bare(&arguments[2], arguments[3].parse().unwrap()),
        _ => {}
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-sinks");
    fs::create_dir_all(&folder).unwrap();
    let bytes = number("TRAILSHIP_BENCH_MB").unwrap_or(1024) * 1_000_000;
    let runs = number("TRAILSHIP_BENCH_RUNS").unwrap_or(5);
    let only = std::env::var("TRAILSHIP_BENCH_ONLY").ok();
    let (packed, plain) = trees(&folder, bytes);
    println!("{:<58} {:>14}  {:<10}", "measure (CPU of the sending process only)", "seen", "bar");
    for (name, settings) in SINKS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        for compression in ["none", "gzip"] {
            let batch =
                format!("batch = {{ bytes = \"5 MB\", events = 1000000, compression = \"{compression}\" }}");
            let (mut ours, mut alone, mut sent, mut requests) = (Vec::new(), Vec::new(), 0, 0);
            for _ in 0..runs {
                let server = Server::start();
                let settings = format!("{}\n{batch}", settings.replace("{URL}", &server.url));
                let nothing =
                    run(&folder, &plain, "", &format!("{settings}\nmatch = {{ eventName = [\"nothing\"] }}"));
                let (before, _) = server.taken();
                assert!(before < 100_000, "{before} bytes");
                let all = run(&folder, &plain, "", &settings);
                (sent, requests) = server.taken();
                ours.push(all - nothing);
                if compression == "none" {
                    let mut command = Command::new(std::env::current_exe().unwrap());
                    let told = command.args(["bare", &server.url, &sent.to_string()]).output().unwrap();
                    alone.push(String::from_utf8(told.stdout).unwrap().trim().parse().unwrap());
                }
            }
            let megabytes = sent as f64 / 1e6;
            let ours = megabytes / median(&mut ours);
            let what = format!("{name}, encode and send, {compression}");
            println!("  {what}: {requests} requests, {megabytes:.0} MB as sent");
            row(&what, &format!("{ours:.0} MB/s"), "", true);
            if compression == "none" {
                let alone = megabytes / median(&mut alone);
                row("bare client, the same bytes", &format!("{alone:.0} MB/s"), "", true);
                let ratio = ours / alone;
                row(&format!("{name} / bare client"), &format!("{ratio:.2} x"), ">= 0.5 x", ratio >= 0.5);
            }
        }
    }
    if only.as_deref().is_none_or(|only| only == "http") {
        let (mut file, mut http) = (Vec::new(), Vec::new());
        let transforms = main_job(&packed);
        for _ in 0..runs {
            let path = folder.join("output/{date}.ndjson");
            file.push(run(
                &folder,
                &packed,
                &transforms,
                &format!("type = \"file\"\noldest = \"any\"\npath = {path:?}"),
            ));
            let server = Server::start();
            let settings = format!(
                "type = \"http\"\nurl = \"{}/in\"\nbatch = {{ bytes = \"5 MB\", events = 1000000 }}",
                server.url
            );
            http.push(run(&folder, &packed, &transforms, &settings));
            assert!(server.taken().0 > 0);
        }
        let (file, http) = (median(&mut file), median(&mut http));
        row("main job -> file", &format!("{:.0} MB/s", bytes as f64 / 1e6 / file), "", true);
        row("main job -> http, lines", &format!("{:.0} MB/s", bytes as f64 / 1e6 / http), "", true);
        row("main job, http / file", &format!("{:.2} x", file / http), ">= 0.7 x", file / http >= 0.7);
    }
}

fn row(measure: &str, seen: &str, bar: &str, good: bool) {
    println!("{measure:<58} {seen:>14}  {bar:<10} {}", if good { "" } else { "MISSED" });
    let _ = std::io::stdout().flush();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Deserialize)]
struct LogFile<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<&'a RawValue>,
}

/// A tree of objects as AWS stores them, and large files of the same records as lines; made when they are not there. An accounts
/// file stands beside the first.
fn trees(folder: &Path, bytes: u64) -> (PathBuf, PathBuf) {
    let mut options = Options::new(Profile::Mixed);
    options.kinds = false;
    options.bytes = bytes;
    let (packed, plain) = (folder.join("tree"), folder.join("plain"));
    let (made, stamp) = (format!("{options:?}"), folder.join("tree.options"));
    if fs::read_to_string(&stamp).is_ok_and(|text| text == made) {
        return (packed, plain);
    }
    for old in [&packed, &plain] {
        let _ = fs::remove_dir_all(old);
    }
    generate::write_tree(&packed, &options, |_| {}).unwrap();
    fs::write(packed.with_extension("csv"), generate::accounts_csv(&options)).unwrap();
    fs::create_dir_all(&plain).unwrap();
    let (mut lines, mut number) = (Vec::new(), 0);
    let mut write = |lines: &mut Vec<u8>| {
        fs::write(plain.join(format!("{number}.ndjson")), std::mem::take(lines)).unwrap();
        number += 1;
    };
    let files = walkdir::WalkDir::new(&packed).sort_by_file_name().into_iter().map(Result::unwrap);
    for file in files.filter(|entry| entry.file_type().is_file()) {
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(fs::File::open(file.path()).unwrap())
            .read_to_end(&mut text)
            .unwrap();
        let file: LogFile<'_> = serde_json::from_slice(&text).unwrap();
        for record in file.records {
            lines.extend_from_slice(record.get().as_bytes());
            lines.push(b'\n');
        }
        if lines.len() > PLAIN {
            write(&mut lines);
        }
    }
    write(&mut lines);
    fs::write(stamp, made).unwrap();
    (packed, plain)
}

/// The transforms of the main job.
fn main_job(tree: &Path) -> String {
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

/// Runs the program to its end; CPU seconds.
fn run(folder: &Path, tree: &Path, transforms: &str, sink: &str) -> f64 {
    let (data, output, config) = (folder.join("data"), folder.join("output"), folder.join("sinks.toml"));
    for old in [&data, &output] {
        let _ = fs::remove_dir_all(old);
    }
    let text = format!(
        "data_dir = {data:?}\nworkers = 1\n[sources.trail]\ntype = \"files\"\npath = {tree:?}\n{transforms}\n[sinks.out]\n{sink}\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trailship"));
    command.args(["run", "--once", "-c"]).arg(&config).env("TOKEN", "00000000-0000-0000-0000-000000000000");
    cost(command.stderr(Stdio::null()))
}

/// Runs a command to its end; CPU seconds.
fn cost(command: &mut Command) -> f64 {
    let before = spent(UsageWho::RUSAGE_CHILDREN);
    assert!(command.status().unwrap().success(), "{command:?}");
    spent(UsageWho::RUSAGE_CHILDREN) - before
}

/// A server that takes everything.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg("server").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { child, url: format!("http://{}", line.trim()) }
    }

    /// Bytes and requests so far.
    fn taken(&self) -> (u64, u64) {
        let mut stream = std::net::TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        stream.write_all(b"GET /taken HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (bytes, requests) = answer.rsplit("\r\n").next().unwrap().split_once(' ').unwrap();
        (bytes.parse().unwrap(), requests.parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until it is killed.
fn server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let taken = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let taken = taken.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let taken = taken.clone();
                    async move {
                        let answer = if request.uri().path() == "/taken" {
                            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
                            format!("{} {}", of(&taken.0), of(&taken.1))
                        } else {
                            let bulk = request.uri().path().ends_with("/_bulk");
                            let packed = request.headers().contains_key("content-encoding");
                            let (mut body, mut lines) = (request.into_body(), Lines::default());
                            while let Some(Ok(frame)) = body.frame().await {
                                let data = frame.into_data().unwrap_or_default();
                                taken.0.fetch_add(data.len() as u64, Ordering::Relaxed);
                                if bulk {
                                    lines.add(&data, packed);
                                }
                            }
                            taken.1.fetch_add(1, Ordering::Relaxed);
                            if bulk { lines.answer() } else { YES.to_owned() }
                        };
                        let response = Response::builder().header("content-type", "application/json");
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(answer))).unwrap())
                    }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

/// A bulk request has to be answered event by event: two lines each.
#[derive(Default)]
struct Lines {
    counted: usize,
    packed: Option<flate2::write::GzDecoder<Vec<u8>>>,
}

impl Lines {
    fn add(&mut self, data: &[u8], packed: bool) {
        if !packed {
            self.counted += memchr::memchr_iter(b'\n', data).count();
            return;
        }
        let decoder = self.packed.get_or_insert_with(|| flate2::write::GzDecoder::new(Vec::new()));
        decoder.write_all(data).unwrap();
        self.counted += memchr::memchr_iter(b'\n', decoder.get_ref()).count();
        decoder.get_mut().clear();
    }

    fn answer(mut self) -> String {
        if let Some(mut decoder) = self.packed.take() {
            decoder.try_finish().unwrap();
            self.counted += memchr::memchr_iter(b'\n', decoder.get_ref()).count();
        }
        let items = vec![r#"{"create":{"status":201}}"#; self.counted / 2];
        format!("{{\"errors\":false,\"items\":[{}]}}", items.join(","))
    }
}

/// Sends so many bytes in requests of the usual size, none of them twice; prints the CPU seconds of sending.
fn bare(url: &str, bytes: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bodies: Vec<Bytes> = (0..usize::try_from(bytes).unwrap().div_ceil(REQUEST))
        .map(|_| Bytes::from(br#"{"eventVersion":"1.08"}"#.repeat(REQUEST / 23)))
        .collect();
    let before = spent(UsageWho::RUSAGE_SELF);
    runtime.block_on(async {
        let address = url.trim_start_matches("http://");
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for body in bodies {
            let request = Request::post("/in").header("host", address).body(Full::new(body)).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert!(answer.status().is_success());
            let _ = answer.into_body().collect().await.unwrap();
            sender.ready().await.unwrap();
        }
    });
    println!("{}", spent(UsageWho::RUSAGE_SELF) - before);
}

/// CPU seconds so far, of this process or of those it has waited for.
fn spent(who: UsageWho) -> f64 {
    let usage = getrusage(who).unwrap();
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}
