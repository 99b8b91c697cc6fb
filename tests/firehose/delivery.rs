//! Everything that is delivered arrives once, whatever happens to connections and sinks.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::SeedableRng as _;

use crate::client::{Batch, Client, Delivered};
use crate::here::{Here, id};
use crate::rounds::number;
use crate::scene::{ACCESS_KEY, PROMPT, batch, start_onto, started, waiting};

/// A sink that fails as long as there is a file where its folder should be.
const BLOCKED: &str =
    "[sinks.archive]\ntype = \"file\"\npath = \"blocked/{account}.ndjson\"\nrotate_age = \"1s\"\n";
/// Requests that are on their way at the same time.
const AT_ONCE: usize = 64;

/// Delivers everything, many at a time; what it took.
fn deliver(client: &Client, batches: Vec<Batch>, seed: u64, half: impl Fn() + Sync) -> Vec<Delivered> {
    let total = batches.len();
    let left = Mutex::new(VecDeque::from(batches));
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE as u64 {
            let (left, all, half) = (&left, &all, &half);
            scope.spawn(move || {
                let mut chance = Chance::seed_from_u64(seed.wrapping_add(worker));
                let mut line = None;
                loop {
                    let next = {
                        let mut left = left.lock().unwrap();
                        let next = left.pop_front();
                        if next.is_some() && left.len() == total / 2 {
                            half();
                        }
                        next
                    };
                    let Some(batch) = next else { return };
                    let delivered = client.deliver(&mut line, &batch, &mut chance, Duration::from_secs(300));
                    all.lock()
                        .unwrap()
                        .push(delivered.unwrap_or_else(|| panic!("{} was never taken", batch.id)));
                }
            });
        }
    });
    all.into_inner().unwrap()
}

#[test]
fn nothing_is_lost_or_doubled_though_connections_are_killed_and_the_sink_stalls() {
    let requests = number("TRAILSHIP_FIREHOSE_REQUESTS").unwrap_or(500);
    let seed = number("TRAILSHIP_CRASH_SEED").unwrap_or(7);
    eprintln!("{requests} requests, TRAILSHIP_CRASH_SEED={seed}");
    // A hundredth of Firehose's times, but for what one slow moment of the machine must not undo.
    let here =
        waiting("answer_within = \"1700ms\"\nremember = \"5 min\"", "[sinks.out]\ntype = \"stdout\"\n");
    let (from, to) = std::io::pipe().unwrap();
    let (running, address) = start_onto(&here, to);
    let mut client = Client::new(address, ACCESS_KEY);
    // One in a hundred; of few requests more, so that some are.
    (client.kills, client.scale) = (if requests < 5000 { 40 } else { 10 }, 0.01);
    let mut ids = Vec::new();
    let mut batches = Vec::new();
    for request in 0..requests {
        let (batch, in_it) =
            batch(&format!("{request:05}"), request, 1 + usize::try_from(request % 9).unwrap());
        ids.extend(in_it);
        batches.push(batch);
    }
    // In the middle the reader of standard output pauses for longer than a request lives.
    let (stall, stalled) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(from).lines() {
            lines.push(line.unwrap());
            if stalled.try_recv().is_ok() {
                std::thread::sleep(Duration::from_secs(4));
            }
        }
        lines
    });
    let began = Instant::now();
    let delivered = deliver(&client, batches, seed, || stall.send(()).unwrap());
    let took = began.elapsed();
    let killed: u32 = delivered.iter().map(|one| one.killed).sum();
    let late: usize = delivered.iter().map(|one| one.refused.len()).sum();
    let tries: u32 = delivered.iter().map(|one| one.tries).sum();
    eprintln!(
        "{requests} requests in {took:.0?}: {tries} tries, {killed} connections killed, {late} answers 503"
    );
    let ran = running.stop();
    ran.ended(0);
    ran.books();
    let mut got: Vec<String> = reading.join().unwrap().iter().map(|line| id(line)).collect();
    got.sort();
    ids.sort();
    assert!(got == ids, "{} of {} ids: {}", got.len(), ids.len(), difference(&got, &ids));
    assert!(killed > 0 && late > 0, "{killed} killed, {late} refused: nothing was tested");
    assert!(delivered.iter().all(|one| one.refused.iter().all(|status| *status == 503)));
    assert!(here.rejects().is_empty());
}

fn difference(got: &[String], expected: &[String]) -> String {
    let count = |of: &[String], id: &String| of.iter().filter(|other| *other == id).count();
    let odd = got.iter().chain(expected).filter(|id| count(got, id) != count(expected, id)).take(20);
    odd.map(|id| format!("{id}: {} times instead of {}", count(got, id), count(expected, id)))
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn every_sort_of_content_is_shipped_and_counted() {
    let here = waiting(
        "source_arns = [\"arn:aws:firehose:eu-west-1:123456789012:deliverystream/trail\"]",
        &format!("{PROMPT}[telemetry]\nlisten = \"127.0.0.1:0\"\n"),
    );
    let (mut running, client) = started(&here);
    let mut expected = Vec::new();
    for sort in 0..7 {
        let (batch, ids) = batch(&format!("sort-{sort}"), sort, 5);
        expected.extend(ids);
        assert_eq!(client.send(&batch).unwrap().status, 200, "{}", running.said());
        // The same once more is answered, and not shipped.
        assert_eq!(client.send(&batch).unwrap().status, 200);
    }
    let empty = Batch::new::<&str>("empty", &[]);
    assert_eq!(client.send(&empty).unwrap().status, 200);
    let mut port = None;
    running.until("it tells its metrics", |said| {
        let line = said.lines().find(|line| line.contains("/metrics"));
        port = line.and_then(|line| {
            let digits = line.split("127.0.0.1:").nth(1)?;
            digits.split(|digit: char| !digit.is_ascii_digit()).next()?.parse::<u16>().ok()
        });
        port.is_some()
    });
    let mut metrics = std::net::TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap();
    std::io::Write::write_all(&mut metrics, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut metrics, &mut text).unwrap();
    for (outcome, count) in [("delivered", 8), ("remembered", 7), ("late", 0)] {
        let line = format!(
            "trailship_source_endpoint_requests_total{{pipeline=\"main\",source=\"trail\",outcome=\"{outcome}\"}} {count}\n"
        );
        assert!(text.contains(&line), "no {line} in {text}");
    }
    let ran = running.stop();
    ran.ended(0);
    expected.sort();
    assert_eq!(here.ids("out"), expected, "{}", ran.said);
    assert_eq!(ran.books().left_out, 1, "the probe of a subscription: {}", ran.said);
}

#[test]
fn two_pipelines_have_everything_before_it_is_answered() {
    let sinks = format!(
        "{PROMPT}{}[pipelines.one]\nsources = [\"trail\"]\nsinks = [\"archive\"]\n[pipelines.two]\nsources = [\"trail\"]\nsinks = [\"second\"]\n",
        BLOCKED.replace("archive", "second")
    );
    let here = waiting("answer_within = \"1s\"", &sinks);
    fs::write(here.at("blocked"), "").unwrap();
    let (running, mut client) = started(&here);
    let (batch, ids) = batch("both", 0, 4);
    assert_eq!(client.send(&batch).unwrap().status, 503);
    fs::remove_file(here.at("blocked")).unwrap();
    client.scale = 0.1;
    let mut chance = Chance::seed_from_u64(1);
    client.deliver(&mut None, &batch, &mut chance, Duration::from_secs(60)).unwrap();
    running.stop().ended(0);
    assert_eq!((here.ids("out"), here.ids("blocked")), (ids.clone(), ids));
}

#[test]
fn a_stop_finishes_what_it_can_answers_the_rest_503_and_the_next_run_takes_it() {
    let here = waiting("", PROMPT);
    let (running, client) = started(&here);
    let mut all = Vec::new();
    let (mut done, mut told) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let mut sent = Vec::new();
        for request in 0..20 {
            let (batch, ids) = batch(&format!("stop-{request}"), request, 3);
            all.push((batch.clone(), ids));
            let client = &client;
            sent.push(scope.spawn(move || client.send(&batch)));
        }
        std::thread::sleep(Duration::from_millis(300));
        let ran = running.stop();
        ran.ended(0);
        for (answer, (batch, ids)) in sent.into_iter().map(|sent| sent.join().unwrap()).zip(&all) {
            match answer {
                Some(answer) if answer.status == 200 => done.extend(ids.clone()),
                Some(answer) => {
                    assert!(answer.status == 503 && answer.said(&batch.id).is_some(), "{answer:?}");
                    told.push(batch.clone());
                }
                // It came after the program had ended.
                None => told.push(batch.clone()),
            }
        }
    });
    let has = |here: &Here, ids: &[String]| {
        let got = here.ids("out");
        ids.iter().all(|id| got.contains(id))
    };
    assert!(!done.is_empty() && has(&here, &done), "answered 200 and not there");
    let (running, client) = started(&here);
    for batch in &told {
        assert_eq!(client.send(batch).unwrap().status, 200);
    }
    running.stop().ended(0);
    assert!(all.iter().all(|(_, ids)| has(&here, ids)));
}

#[test]
fn an_access_key_is_changed_without_a_restart() {
    let source = "type = \"firehose\"\nlisten = \"127.0.0.1:0\"\naccess_key = [{ file = \"old\" }, { file = \"new\" }]";
    let here = Here::with("").reading(source, PROMPT);
    here.put("old", "sesam-1");
    here.put("new", "sesam-2");
    let (mut running, mut client) = started(&here);
    let mut status = |key: &str| {
        client.key = key.to_owned();
        client.send(&batch(key, 1, 1).0).unwrap().status
    };
    assert_eq!([status("sesam-1"), status("sesam-2"), status("sesam-3")], [200, 200, 401]);
    here.put("old", "sesam-3");
    running.signal(nix::sys::signal::Signal::SIGHUP);
    running.until("the keys were read again", |said| said.contains("the access keys have changed"));
    assert_eq!([status("sesam-1"), status("sesam-2"), status("sesam-3")], [401, 200, 200]);
    let ran = running.stop();
    ran.ended(0);
    assert!(!ran.said.contains("sesam"), "{}", ran.said);
}

#[test]
fn what_is_over_a_limit_is_in_rejects_as_it_came_and_ships_when_the_limit_is_raised() {
    // Five events of thirty in each payload; or the first of them, when half a kilobyte of text is too much.
    for (limit, raised) in [("records = 5", "records = 500"), ("object = \"600 B\"", "object = \"1 MiB\"")] {
        let here = waiting(&format!("limits = {{ {limit} }}"), PROMPT);
        let (running, client) = started(&here);
        let (batch, ids) = batch("over", 0, 60);
        assert_eq!(client.send(&batch).unwrap().status, 200);
        let books = running.stop().ended(0).books();
        assert!(books.rejected >= 2 && here.ids("out").len() < 20, "{limit}: {books:?}");
        let whole = here.rejects().into_iter().filter(|reject| reject.bytes.starts_with(&[0x1f, 0x8b]));
        let whole: Vec<_> = whole.map(|reject| reject.reason).collect();
        assert_eq!(whole, ["all of it, as it came: its rest was not read"; 2], "{limit}");
        // As long as the limit holds, nothing of it goes away.
        let again = here.run(&["replay", "--all"]);
        assert_eq!(
            here.rejects().iter().filter(|reject| reject.bytes.starts_with(&[0x1f, 0x8b])).count(),
            2,
            "{}",
            again.said
        );
        let text = fs::read_to_string(here.at("trailship.toml")).unwrap();
        fs::write(here.at("trailship.toml"), text.replace(limit, raised)).unwrap();
        here.run(&["replay", "--all"]);
        let mut got = here.ids("out");
        got.sort();
        got.dedup();
        let mut expected = ids;
        expected.sort();
        assert_eq!(got, expected, "{limit}");
        assert!(here.rejects().iter().all(|reject| !reject.bytes.starts_with(&[0x1f, 0x8b])), "{limit}");
    }
}
