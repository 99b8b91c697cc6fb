//! The table as scrapers and readers meet it: golden, checked by `promtool` where there is one, and in README.md.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::pipeline::books::{Books, SinkBooks, StepBooks};
use crate::pipeline::feed::Road;
use crate::pipeline::line::Totals;
use crate::pipeline::meter::Metered;
use crate::sink::deliver::figures::Figured;
use crate::sink::template::Counts;
use crate::source::figures::{Figures, Requests, ShardLag};

/// Two pipelines, one that has done everything there is to do and one that has done nothing.
fn all() -> Snapshot {
    let books = Books {
        read: 100,
        added: 1,
        filtered: 40,
        sampled: 30,
        duplicate: 4,
        rolled_up: 3,
        rejected: 2,
        offered: 22,
        unrouted: 1,
        newest: Some(1_768_435_000),
        ..Books::default()
    };
    let totals = Totals {
        books,
        given_back: Books { read: 7, ..Books::default() },
        deliveries: 9,
        failed: 1,
        stored_bytes: 20_000,
        bytes: 300_000,
        left_out: 5,
        ..Totals::default()
    };
    let step = StepBooks { filtered: 35, sampled: 30, duplicate: 4, rolled_up: 3, rejected: 1 };
    let busy = PipelineShot {
        name: "siem".into(),
        totals,
        held: 4096,
        on_loan: 2,
        oldest: Some(Duration::from_millis(1500)),
        excepted: 6,
        forgotten: 8,
        sources: vec![SourceShot {
            name: "trail".into(),
            road: Some(Road { newest: 1_768_471_100, delay: 312 }),
            figures: Figures {
                partitions: Some(50),
                lists: Some(1234),
                lists_a_month: Some(2_160_000.0),
                others: Some(12),
                late: Some(13),
                lateness: Some(5400),
                held: Some(14),
                left: Some(15),
                requests: Some(16),
                behind: Some(18),
                seen_again: Some(19),
                late_events: Some(20),
                ids_forgotten: Some(21),
                endpoint: Some(Requests {
                    outcomes: [16, 17, 18, 19, 20, 21, 22, 23, 24, 25],
                    bytes: 26,
                    connections: 27,
                    turned_away: 28,
                    forgotten: 29,
                }),
                way: None,
                shards: Some(2),
                shard_lags: vec![
                    ShardLag { shard: "shardId-000000000000".into(), seconds: 0.25 },
                    ShardLag { shard: "shardId-000000000001".into(), seconds: 2.5 },
                ],
                stream_records: Some(16),
                trimmed: Some(17),
                throttled: Some(18),
            },
        }],
        steps: vec![StepShot {
            name: "accounts".into(),
            books: step,
            unknown_accounts: Some(11),
            ids: Some((12, 13)),
        }],
        sinks: vec![SinkShot {
            name: "search".into(),
            books: SinkBooks { not_matched: 2, delivered: 19, rejected: 1, failed: 0 },
            failed: 3,
            meter: Metered {
                payloads: 5,
                raw_bytes: 5000,
                sent_bytes: 500,
                retries: 4,
                retrying: 1,
                paused: 1,
            },
            delivery: Some(Figured {
                requests: 9,
                request_bytes: 700,
                request_time: Duration::from_millis(1500),
                waited: Duration::from_millis(250),
                retried_records: 6,
                possible_duplicates: 7,
                unconfirmed: 9,
                limit: 8,
                refusals: vec![("429", 2), ("timeout", 1)],
                changes: vec![("wrapped", 4), ("too_long", 1)],
            }),
            paths: Some(Counts { invalid: 1, overflow: 2, out_of_range: 3 }),
        }],
    };
    let idle = PipelineShot {
        name: "archive".into(),
        steps: vec![StepShot { name: "thin".into(), ..StepShot::default() }],
        sinks: vec![SinkShot { name: "stdout".into(), ..SinkShot::default() }],
        ..PipelineShot::default()
    };
    Snapshot {
        now: Timestamp(1_768_435_200_250_000_000),
        began: Timestamp::from_seconds(1_768_430_000),
        ready: false,
        memory: 256 << 20,
        rejects: 1024,
        most_rejects: 1 << 30,
        pipelines: vec![busy, idle],
    }
}

/// Compares with a file of the crate, or writes it when told to.
fn fresh(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("TRAILSHIP_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} is stale: TRAILSHIP_BLESS=1 cargo test --lib telemetry:: writes it anew");
}

#[test]
fn what_a_scrape_gets_is_as_written_down() {
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
    let text = exposition(&all()).unwrap().replace(version, "version=\"[VERSION]\"");
    fresh("tests/telemetry/metrics.txt", &text);
}

#[test]
fn promtool_finds_nothing_to_say() {
    let run = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
    let Ok(mut run) = run else {
        eprintln!("SKIPPED: no promtool (Debian's package `prometheus` has it)");
        return;
    };
    run.stdin.take().unwrap().write_all(exposition(&all()).unwrap().as_bytes()).unwrap();
    let ended = run.wait_with_output().unwrap();
    assert!(ended.status.success());
}

#[test]
fn names_follow_the_conventions_and_stand_once() {
    let mut names = HashSet::new();
    for row in TABLE {
        assert!(names.insert(row.name), "{} stands twice", row.name);
        assert!(row.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", row.name);
        assert!(row.name.starts_with("trailship_") || row.name.starts_with("process_"), "{}", row.name);
        assert!(row.help.ends_with('.') && !row.help.contains(['\n', '|']), "{}", row.name);
    }
}

#[test]
fn a_name_is_no_line_of_its_own() {
    let mut all = all();
    all.pipelines[0].name = "a\"b\\c\n# HELP x".into();
    let text = exposition(&all).unwrap();
    let line = "trailship_records_read_total{pipeline=\"a\\\"b\\\\c\\n# HELP x\"} 100";
    assert!(text.lines().any(|at| at == line), "{text}");
}

#[test]
fn readme_lists_every_metric() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (begin, end) = ("<!-- metrics: TRAILSHIP_BLESS=1 cargo test --lib telemetry:: -->\n", "<!-- end -->");
    let (before, rest) = readme.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let mut table = String::from("| metric | labels | says |\n| --- | --- | --- |\n");
    for row in TABLE {
        writeln!(table, "| `{}` | {} | {} |", row.name, row.labels().join(", "), row.help).unwrap();
    }
    fresh("README.md", &format!("{before}{begin}{table}{end}{after}"));
}
