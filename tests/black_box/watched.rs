//! `/metrics`, `/healthz` and `/readyz`, asked while it runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::here::{Here, Running, gz, log_file, record, wait};

/// Two sinks, one that takes a part, and a rule that thins.
const TWO: &str = r#"
telemetry.listen = "127.0.0.1:0"
[transforms.thin]
type = "filter"
drop = { eventName = ["Noise"] }
drop_protected = true
[sinks.archive]
type = "file"
path = "out/{account}.ndjson"
[sinks.some]
type = "file"
path = "some/{account}.ndjson"
match = { eventName = ["Chosen"] }
"#;

/// A directory with this configuration; what holds for the whole program stands before the source.
fn here(config: &str) -> Here {
    let here = Here::with(config);
    let (first, rest) = config.trim_start().split_once('\n').unwrap();
    let source = "[sources.trail]\ntype = \"files\"\npath = \"trail\"\nrescan = \"1s\"";
    let text = format!("data_dir = \"state\"\n{first}\n{source}\n{rest}");
    fs::write(here.at("trailship.toml"), text).unwrap();
    here
}

/// Where it answers.
fn address(running: &mut Running) -> String {
    running.until("it is served", |said| said.contains("telemetry is served"));
    let said = running.said();
    let line = said.lines().find(|line| line.contains("telemetry is served")).unwrap();
    serde_json::from_str::<Value>(line).unwrap()["address"].as_str().unwrap().to_owned()
}

/// Asks; returns the status and the whole answer.
fn ask(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Whoever asks for too much is sent away before all of it was heard.
    let _ = write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Every sample of a scrape by its name and labels.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(address: &str) -> Scrape {
        let (status, answer) = ask(address, "GET", "/metrics");
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        let lines = body(&answer).lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        Scrape(lines.map(sample).collect())
    }

    #[track_caller]
    fn get(&self, name: &str) -> f64 {
        let value = self.0.get(&format!("trailship_{name}"));
        *value.unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    fn main(&self, name: &str) -> f64 {
        self.get(&format!("{name}{{pipeline=\"main\"}}"))
    }

    fn sink(&self, sink: &str, name: &str) -> f64 {
        self.get(&format!("sink_{name}{{pipeline=\"main\",sink=\"{sink}\"}}"))
    }

    /// Both equations of the books.
    #[track_caller]
    fn balances(&self) {
        let of = |name: &str| self.main(&format!("records_{name}_total"));
        let gone = ["filtered", "sampled", "duplicate", "rolled_up", "rejected"].map(of).iter().sum::<f64>();
        assert_eq!(of("read") + of("added"), gone + of("offered"), "{:?}", self.0);
        for sink in ["archive", "some"] {
            let of = |name: &str| self.sink(sink, &format!("records_{name}_total"));
            let answered = of("not_matched") + of("delivered") + of("rejected");
            assert_eq!(self.main("records_offered_total"), answered, "{:?}", self.0);
        }
    }
}

/// Three records: one for both sinks, one for one, one for none.
fn three(file: u32) -> Vec<u8> {
    let named = |name: &str| record(&format!("{file}-{name}"), &format!(r#","eventName":"{name}""#));
    gz(log_file(&["Chosen", "Other", "Noise"].map(named)))
}

#[test]
fn the_books_of_a_scrape_balance_at_every_moment() {
    let here = here(TWO);
    let mut running = here.start(&["run"]);
    let address = address(&mut running);
    for file in 0..40 {
        here.rename_in(&format!("trail/{file}.json.gz"), three(file));
        if file % 4 == 0 {
            Scrape::of(&address).balances();
        }
    }
    let in_flight = wait(|| Scrape::of(&address).main("records_read_total") == 120.0);
    assert_eq!(in_flight, None, "{:?}", Scrape::of(&address).0);
    let scrape = Scrape::of(&address);
    scrape.balances();
    assert_eq!(scrape.main("records_filtered_total"), 40.0);
    let thin = "transform_records_filtered_total{pipeline=\"main\",transform=\"thin\"}";
    assert_eq!(scrape.get(thin), 40.0);
    assert_eq!(scrape.sink("archive", "records_delivered_total"), 80.0);
    assert_eq!(scrape.sink("some", "records_delivered_total"), 40.0);
    assert_eq!(scrape.main("deliveries_settled_total"), 40.0);
    assert!(scrape.sink("archive", "sent_bytes_total") > 0.0);
    assert!(scrape.main("read_bytes_total") > scrape.main("read_stored_bytes_total"));
    // 2026-01-15T10:00:00Z, or now where the clock stands before that.
    assert!(scrape.main("newest_event_timestamp_seconds") <= 1_768_471_200.0);
    assert!(scrape.main("lag_seconds") >= 0.0);
    let of_road = |name: &str| scrape.get(&format!("source_{name}{{pipeline=\"main\",source=\"trail\"}}"));
    let (newest, delay) = (of_road("newest_event_timestamp_seconds"), of_road("delay_seconds"));
    assert!(newest <= 1_768_471_200.0 && delay >= 0.0);
    assert_eq!(wait(|| Scrape::of(&address).main("delivery_oldest_age_seconds") == 0.0), None);
    assert_eq!((ask(&address, "GET", "/healthz").0, ask(&address, "GET", "/readyz").0), (200, 200));
    assert_eq!((scrape.get("ready"), running.stop().ended(0).books().delivered), (1.0, 120));
}

#[test]
fn a_sink_that_cannot_write_is_a_reason_until_it_can() {
    let here = here(TWO);
    here.put("out", "a file where its directory should be");
    let mut running = here.start(&["run"]);
    let address = address(&mut running);
    here.rename_in("trail/1.json.gz", three(1));
    // Until the pipeline runs the reason is that it is starting.
    let reason = || body(&ask(&address, "GET", "/readyz").1).to_owned();
    let retrying = "sink `archive` of pipeline `main` is retrying: ";
    assert_eq!(wait(|| reason().starts_with(retrying)), None, "{} {}", reason(), running.said());
    let (code, answer) = ask(&address, "GET", "/readyz");
    let reason = body(&answer);
    assert_eq!(code, 503, "{reason}");
    assert!(reason.contains("(since 20") && reason.ends_with("Z)\n"), "{reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
    let scrape = Scrape::of(&address);
    scrape.balances();
    assert_eq!((scrape.get("ready"), scrape.sink("archive", "payloads_retrying")), (0.0, 1.0));
    assert!(scrape.sink("archive", "retries_total") > 0.0);
    assert_eq!(scrape.main("records_read_total"), 0.0, "nothing is settled");
    assert_eq!(scrape.main("deliveries_on_loan"), 1.0);
    assert!(scrape.main("memory_in_flight_bytes") > 0.0);
    assert_eq!(wait(|| Scrape::of(&address).main("delivery_oldest_age_seconds") > 0.0), None);
    assert_eq!(ask(&address, "GET", "/healthz").0, 200, "it lives");

    fs::remove_file(here.at("out")).unwrap();
    assert_eq!(wait(|| ask(&address, "GET", "/readyz").0 == 200), None, "{}", running.said());
    assert_eq!(wait(|| Scrape::of(&address).main("records_read_total") == 3.0), None);
    let scrape = Scrape::of(&address);
    scrape.balances();
    assert_eq!((scrape.get("ready"), scrape.sink("archive", "payloads_retrying")), (1.0, 0.0));
    assert_eq!(running.stop().ended(0).books().delivered, 3);
}

#[test]
fn a_sink_whose_credentials_are_refused_is_paused_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let sink = format!("\n[sinks.siem]\ntype = \"http\"\nurl = \"{url}\"\n");
    let here = here(&format!("{TWO}{sink}"));
    here.set("stop_deadline = \"1s\"");
    let mut running = here.start(&["run"]);
    let address = address(&mut running);
    here.rename_in("trail/1.json.gz", three(1));
    let reason = || body(&ask(&address, "GET", "/readyz").1).to_owned();
    let paused = "sink `siem` of pipeline `main` is paused: credentials refused (401)";
    assert_eq!(wait(|| reason().contains(paused)), None, "{} {}", reason(), running.said());
    assert_eq!(ask(&address, "GET", "/readyz").0, 503);
    let scrape = Scrape::of(&address);
    scrape.balances();
    assert_eq!((scrape.get("ready"), scrape.sink("siem", "payloads_paused")), (0.0, 1.0));
    assert_eq!(scrape.sink("archive", "payloads_paused"), 0.0);
    assert_eq!(ask(&address, "GET", "/healthz").0, 200, "it lives");
    running.stop();
}

#[test]
fn full_rejects_and_an_unreadable_source_are_reasons() {
    let here = here(&TWO.replace("\n[transforms", "\n[rejects]\nmax_size = \"1 KiB\"\n[transforms"));
    let mut running = here.start(&["run"]);
    let address = address(&mut running);
    here.rename_in("trail/bad.json", "x".repeat(5000));
    let reason = |words: &str| body(&ask(&address, "GET", "/readyz").1).contains(words);
    assert_eq!(wait(|| reason("rejects cannot be stored: rejects in ")), None, "{}", running.said());
    assert!(Scrape::of(&address).main("deliveries_failed_total") > 0.0);
    assert!(Scrape::of(&address).main("delivery_oldest_age_seconds") >= 0.0);
    fs::remove_dir_all(here.at("trail")).unwrap();
    let waited = wait(|| reason("source `trail` of pipeline `main` cannot be read: "));
    assert_eq!(waited, None, "{}", ask(&address, "GET", "/readyz").1);
    running.stop();
}

#[test]
fn nothing_else_is_answered_and_nobody_is_kept_waiting() {
    let here = here(TWO);
    let mut running = here.start(&["run"]);
    let address = address(&mut running);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let (status, answer) = ask(&address, "HEAD", "/metrics");
    assert_eq!((status, body(&answer)), (200, ""));
    for path in ["/", "/metrics/", "/../healthz", "/metrics2"] {
        assert_eq!(ask(&address, "GET", path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (status, answer) = ask(&address, method, "/metrics");
        assert_eq!(status, 405, "{method}");
        assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    }
    assert_eq!(ask(&address, "GET", &format!("/{}", "a".repeat(100_000))).0 / 100, 4);
    // Whoever says nothing is sent away; those who wait behind them are answered.
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    here.rename_in("trail/1.json.gz", three(1));
    assert_eq!(ask(&address, "GET", "/healthz").0, 200);
    assert_eq!(wait(|| Scrape::of(&address).main("records_read_total") == 3.0), None);
    drop(silent);
    running.stop().ended(0);
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let here = here(&TWO.replace("127.0.0.1:0", &address));
    let ran = here.run(&["run"]);
    ran.ended(1);
    assert!(ran.said.contains(&format!("listening on `telemetry.listen` {address}: ")), "{}", ran.said);
}
