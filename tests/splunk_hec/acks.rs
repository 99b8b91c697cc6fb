//! Indexer acknowledgment.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::Value;

use crate::events::{put, to};
use crate::hec::{Acks, Hec, Manners};
use crate::here::Running;

fn acknowledging(after: Duration, lost: u64) -> Manners {
    Manners { acks: Some(Acks { after, lost }), ..Manners::default() }
}

/// What a running program counts of its sink under this name.
fn counted(running: &mut Running, name: &str) -> u64 {
    let mut address = String::new();
    running.until("telemetry is served", |said| {
        let line = said.lines().find(|line| line.contains("telemetry is served"));
        let line = line.map(|line| serde_json::from_str::<Value>(line).unwrap());
        line.inspect(|line| address = line["address"].as_str().unwrap().to_owned()).is_some()
    });
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find(|line| line.starts_with(&format!("{name}{{")));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn what_is_received_is_delivered_when_it_is_indexed() {
    let hec = Hec::start(acknowledging(Duration::from_secs(2), 0));
    let here = to(&[&hec], "ack_poll = \"500ms\"");
    let ids = put(&here, "a", 50);
    let ran = here.once();
    ran.ended(0).books();
    // All of it is there when the program says so, and nothing was sent twice.
    assert_eq!((hec.ids(), hec.asked().len()), (ids, 1));
    assert_eq!(ran.told("when Splunk has indexed them").len(), 1, "{}", ran.said);
    let polls = hec.polls();
    assert!(polls.len() > 1 && polls.iter().all(|(_, asked)| *asked == [0]), "{polls:?}");
    let apart = polls.windows(2).map(|two| two[1].0 - two[0].0).min().unwrap();
    assert!(apart >= Duration::from_millis(450), "{apart:?}");
}

#[test]
fn what_is_not_acknowledged_is_sent_again_and_counted() {
    let hec = Hec::start(acknowledging(Duration::ZERO, 100));
    let here = to(&[&hec], "ack_poll = \"200ms\"\nack_timeout = \"1s\"");
    here.set("telemetry.listen = \"127.0.0.1:0\"");
    let ids = put(&here, "a", 30);
    let mut running = here.start(&["run", "--once"]);
    let waits = || counted(&mut running, "trailship_sink_unconfirmed_records") == 30;
    assert!(crate::here::wait(waits).is_none());
    running.until("it is not acknowledged", |said| said.contains("events were not acknowledged within 1s"));
    assert_eq!(hec.ids(), [""; 0]);
    let duplicates = counted(&mut running, "trailship_sink_possible_duplicates_total");
    assert!(duplicates >= 30 && duplicates.is_multiple_of(30), "{duplicates}");
    hec.behave(|manners| manners.acks = Some(Acks { after: Duration::ZERO, lost: 0 }));
    running.end().ended(0).books();
    assert_eq!(hec.ids(), ids);
}

#[test]
fn many_requests_wait_at_the_same_time_and_keep_no_other_from_being_sent() {
    let hec = Hec::start(acknowledging(Duration::from_secs(3), 0));
    let more = "ack_poll = \"500ms\"\nbatch = { events = 5 }\nconnection = { concurrency = 1 }";
    let here = to(&[&hec], more);
    let ids = put(&here, "a", 200);
    here.once().ended(0).books();
    assert_eq!((hec.ids(), hec.asked().len()), (ids, 40));
    let most = hec.polls().iter().map(|(_, asked)| asked.len()).max();
    assert!(most > Some(20), "{most:?} waited at the same time");
}

#[test]
fn numbers_that_begin_anew_confirm_nothing_that_was_lost() {
    let hec = Hec::start(acknowledging(Duration::from_secs(3600), 0));
    let here = to(&[&hec], "ack_poll = \"200ms\"");
    let mut ids = put(&here, "a", 20);
    let mut running = here.start(&["run"]);
    running.until("it is asked for", |_| !hec.polls().is_empty());
    // What was received is gone, and the next request is number 0 again: on the same channel.
    hec.restart();
    hec.behave(|manners| manners.acks = Some(Acks { after: Duration::ZERO, lost: 0 }));
    ids.extend(put(&here, "b", 20));
    running.until("all is there", |_| {
        let mut arrived = hec.ids();
        arrived.dedup();
        arrived == ids
    });
    running.until("it is said", |said| said.contains("acknowledgement numbers for a second time"));
    running.stop().ended(0);
    let channels: std::collections::BTreeSet<_> =
        hec.asked().into_iter().map(|asked| asked.channel.unwrap()).collect();
    assert_eq!(channels.len(), 2);
}

/// What is said of a number is about another request, whose own answer has not come yet.
#[test]
fn what_is_indexed_under_a_number_of_a_restarted_server_confirms_nothing_older() {
    let hec = Hec::start(acknowledging(Duration::from_secs(3600), 0));
    let here = to(&[&hec], "ack_poll = \"200ms\"");
    let mut ids = put(&here, "a", 20);
    let mut running = here.start(&["run"]);
    running.until("it is asked for", |_| !hec.polls().is_empty());
    // What was received is gone; the next request is number 0 again, and is not answered for a while.
    hec.restart();
    hec.behave(|manners| manners.acks = Some(Acks { after: Duration::ZERO, lost: 0 }));
    hec.hold(true);
    ids.extend(put(&here, "b", 20));
    running.until("the other request is there", |_| hec.asked().len() == 2);
    let before = hec.polls().len();
    running.until("number 0 is asked for", |_| hec.polls().len() > before);
    hec.hold(false);
    running.until("all is there", |_| {
        let mut arrived = hec.ids();
        arrived.dedup();
        arrived == ids
    });
    running.until("it is said", |said| said.contains("acknowledgement numbers for a second time"));
    running.stop().ended(0);
}

#[test]
fn a_cookie_brings_requests_to_the_node_that_knows_them() {
    let hec = Hec::start(Manners { nodes: 3, ..acknowledging(Duration::from_secs(1), 0) });
    let here = to(&[&hec], "ack_poll = \"300ms\"\nbatch = { events = 10 }\nconnection = { concurrency = 1 }");
    let ids = put(&here, "a", 60);
    here.once().ended(0).books();
    assert_eq!(hec.ids(), ids);
    let asked = hec.asked();
    assert!(asked.iter().skip(1).all(|asked| asked.headers["cookie"].starts_with("node=")), "{asked:?}");
}

#[test]
fn whoever_does_not_say_what_is_indexed_is_asked_again() {
    let hec = Hec::start(acknowledging(Duration::ZERO, 0));
    for (status, body) in [(503, "<html>"), (200, "<html>"), (400, r#"{"text":"ACK is disabled","code":14}"#)]
    {
        hec.order_poll(status, body);
    }
    let here = to(&[&hec], "ack_poll = \"200ms\"");
    let ids = put(&here, "a", 10);
    let ran = here.once();
    ran.ended(0).books();
    assert_eq!((hec.ids(), hec.asked().len(), hec.polls().len()), (ids, 1, 4));
    assert_eq!(ran.told("Splunk does not say which events are indexed").len(), 3, "{}", ran.said);
}

#[test]
fn with_acknowledgement_off_it_is_not_waited_for() {
    let hec = Hec::start(acknowledging(Duration::from_secs(3600), 0));
    let here = to(&[&hec], "acknowledgement = \"off\"");
    put(&here, "a", 10);
    let ran = here.once();
    ran.ended(0).books();
    assert!(hec.polls().is_empty());
    assert_eq!(ran.told("received, not indexed").len(), 1);
    assert_eq!(ran.told("keeps what nobody asks for").len(), 1);
}

/// Bodies that wait count in `memory`.
#[test]
fn what_waits_for_acknowledgement_stays_within_the_memory() {
    const MEMORY: u64 = 48 << 20;
    let hec = Hec::start(acknowledging(Duration::from_secs(2), 0));
    let here = to(&[&hec], "ack_poll = \"500ms\"\nbatch = { compression = \"none\" }");
    here.set("memory = \"48 MiB\"");
    let pad = format!(r#","pad":"{}""#, "x".repeat(1_800));
    let mut ids = Vec::new();
    for file in 0..8 {
        let names: Vec<String> = (0..5_000).map(|number| format!("{file}-{number:05}")).collect();
        let records: Vec<String> = names.iter().map(|id| crate::here::record(id, &pad)).collect();
        here.put(&format!("trail/{file}.json"), crate::here::log_file(&records));
        ids.extend(names);
    }
    let running = here.start(&["run", "--once"]);
    let mut most = 0;
    // Looked at while it runs: afterwards nobody knows.
    let over = crate::here::wait(|| {
        most = running.most_memory().unwrap_or(most);
        hec.indexed().len() == ids.len()
    });
    assert!(over.is_none(), "{}", running.said());
    running.end().ended(0).books();
    assert_eq!(hec.ids(), ids);
    assert!(most > 0 && most < MEMORY + (64 << 20), "{} MiB", most >> 20);
    let waited = hec.polls().iter().map(|(_, asked)| asked.len()).max();
    assert!(waited > Some(4), "{waited:?} waited at the same time");
}
