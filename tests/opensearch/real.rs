//! The binary against real nodes: crashes of both sides, users and roles, data streams, a server that fails in between.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fake_http::{Reply, Seen, Server};
use crate::fake_opensearch::chance;
use crate::here::{Here, log_file, record};
use crate::server::{OpenSearch, Version, opensearch};

fn sending(url: &str, more: &str) -> Here {
    Here::with(&format!("[sinks.search]\ntype = \"opensearch\"\nurl = \"{url}\"\n{more}"))
}

/// Writes a file of records with the ids `r{from}` …
fn records(here: &Here, name: &str, ids: std::ops::Range<usize>) {
    let more = ",\"eventName\":\"PutObject\",\"userIdentity\":{\"type\":\"IAMUser\",\"arn\":\"arn:aws:iam::111122223333:user/a\"},\"requestParameters\":{\"bucketName\":\"b\",\"key\":\"k\"},\"responseElements\":null,\"readOnly\":false";
    let texts: Vec<String> = ids.map(|id| record(&format!("r{id}"), more)).collect();
    here.put(&format!("trail/{name}.json"), log_file(&texts));
}

/// Each event is there, and none twice.
#[track_caller]
fn exactly(server: &OpenSearch, events: usize) {
    let documents = server.documents("cloudtrail-*", &["eventID"]);
    let ids: BTreeSet<&str> = documents.iter().filter_map(|hit| hit["_source"]["eventID"].as_str()).collect();
    assert_eq!((documents.len(), ids.len()), (events, events), "documents, and different events");
}

/// `TRAILSHIP_OPENSEARCH_EVENTS=1000000` asks for more events.
#[test]
fn each_event_is_there_once_whoever_is_killed() {
    let Some(mut server) = opensearch(Version::Three) else { return };
    let asked = std::env::var("TRAILSHIP_OPENSEARCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let events: usize = asked.unwrap_or(50_000);
    let rounds = 10;
    let here = sending(&server.url, "batch = { events = 500 }\nconnection = { timeout = \"5s\" }");
    let mut draw = chance(events as u64);
    let mut wait = |most| std::thread::sleep(Duration::from_millis(draw(most)));
    let mut between = 0;
    for round in 0..rounds {
        let part = events * round / rounds..events * (round + 1) / rounds;
        let (from, to) = (part.start, part.end);
        for start in part.step_by(5_000) {
            records(&here, &format!("{round}-{start}"), start..(start + 5_000).min(to));
        }
        let mut running = here.start(&["run"]);
        running.until("it sends", |_| server.count("cloudtrail-*") > 0 || from == 0);
        wait(if events > 100_000 { 8_000 } else { 1_000 });
        server.kill();
        wait(1_000);
        server.restart();
        wait(if events > 100_000 { 8_000 } else { 1_000 });
        let there = server.count("cloudtrail-*");
        between += usize::from(there > 0 && there < to as u64);
        // Dropped, it is killed.
        drop(running);
    }
    here.once().ended(0);
    exactly(&server, events);
    assert_eq!(here.rejects().len(), 0);
    assert!(between > 0, "no crash came while events were on their way");
    eprintln!(
        "{events} events, {rounds} crashes of each side, {between} of them in between: each is there once"
    );
}

/// What a node does with a bulk request that passes a faulty way: some events refused, some answers lost.
struct Way {
    server: OpenSearch,
    draw: Mutex<Box<dyn FnMut(u64) -> u64 + Send>>,
}

impl Way {
    fn pass(&self, seen: &Seen) -> Reply {
        if !seen.uri.contains("/_bulk") {
            let body = serde_json::from_str(&seen.body).ok();
            let (status, answer) = self.forward(&seen.method, &seen.uri, body);
            return Reply::Answer(status, vec![], answer.to_string());
        }
        let mut draw = self.draw.lock().unwrap();
        let mood = draw(100);
        if mood < 5 {
            return Reply::Hang;
        }
        if mood < 7 {
            return Reply::Leave;
        }
        let index = seen.uri.split('/').nth(1).unwrap();
        let (mut refused, mut body) = (Vec::new(), Vec::new());
        let lines: Vec<&str> = seen.body.lines().collect();
        for pair in lines.chunks(2) {
            refused.push(draw(100) < 30);
            if refused.last() == Some(&false) {
                let action: Value = serde_json::from_str(pair[0]).unwrap();
                let create = json!({ "create": { "_index": index, "_id": action["create"]["_id"] } });
                body.extend_from_slice(format!("{create}\n{}\n", pair[1]).as_bytes());
            }
        }
        drop(draw);
        let answer = if body.is_empty() { json!({ "items": [] }) } else { self.bulk(body) };
        let mut taken = answer["items"].as_array().cloned().unwrap_or_default().into_iter();
        let busy = json!({ "create": { "status": 429, "error": { "type": "es_rejected_execution_exception", "reason": "" } } });
        let items: Vec<Value> = refused
            .iter()
            .map(|refused| if *refused { busy.clone() } else { taken.next().unwrap() })
            .collect();
        match mood {
            7..10 => Reply::TakeAndLeave,
            _ => Reply::Answer(200, vec![], json!({ "errors": true, "items": items }).to_string()),
        }
    }

    /// A thread of its own: this one belongs to another runtime.
    fn forward(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.server.ask(method, path, body.as_ref())).join().unwrap()
        })
    }

    fn bulk(&self, body: Vec<u8>) -> Value {
        std::thread::scope(|scope| scope.spawn(|| self.server.bulk(body)).join().unwrap()).1
    }
}

#[test]
fn each_event_is_there_once_after_refusals_hangs_and_lost_answers() {
    let Some(server) = opensearch(Version::Three) else { return };
    let way = std::sync::Arc::new(Way { server, draw: Mutex::new(Box::new(chance(1))) });
    for seed in 1..=20 {
        *way.draw.lock().unwrap() = Box::new(chance(seed));
        let passes = way.clone();
        let faulty = Server::start(move |_, seen| passes.pass(seen));
        let here = sending(&faulty.url(""), "batch = { events = 50 }\nconnection = { timeout = \"2s\" }");
        records(&here, "a", 0..300);
        here.once().ended(0);
        exactly(&way.server, 300);
        assert_eq!(here.rejects().len(), 0, "seed {seed}");
        way.server.ask("DELETE", "/cloudtrail-2026.01.15", None);
    }
}

#[test]
fn users_roles_and_certificates_are_those_of_the_security_plugin() {
    let Some(server) = opensearch(Version::TwoSecured) else { return };
    let grant = |cluster: &[&str]| {
        let role = json!({
            "cluster_permissions": cluster,
            "index_permissions": [{
                "index_patterns": ["cloudtrail-*"],
                "allowed_actions": [
                    "indices:data/write/index", "indices:data/write/bulk*", "indices:admin/create",
                    "indices:admin/mapping/put",
                ],
            }],
        });
        let (status, answer) = server.ask("PUT", "/_plugins/_security/api/roles/ship", Some(&role));
        assert!(status < 300, "{answer}");
    };
    grant(&["indices:data/write/bulk"]);
    let user = json!({ "password": "a-long-Passw0rd-for-tests!" });
    let (status, answer) = server.ask("PUT", "/_plugins/_security/api/internalusers/ship", Some(&user));
    assert!(status < 300, "{answer}");
    let mapping = json!({ "users": ["ship"] });
    let (status, answer) = server.ask("PUT", "/_plugins/_security/api/rolesmapping/ship", Some(&mapping));
    assert!(status < 300, "{answer}");

    let more = format!(
        "auth = {{ type = \"basic\", user = \"ship\", password = {{ file = \"password\" }} }}\nconnection = {{ ca_file = {:?} }}",
        server.certificate()
    );
    let here = sending(&server.url, &more);
    here.put("password", "wrong");
    records(&here, "a", 0..500);
    let mut running = here.start(&["run"]);
    running.until("it says that the password is wrong", |said| said.contains("401 Unauthorized"));
    here.put("password", "a-long-Passw0rd-for-tests!");
    running.signal(Signal::SIGHUP);
    running.until("it says what it may not do", |said| {
        said.contains("indices:admin/index_template") && said.contains("manage_template = false")
    });
    grant(&[
        "indices:data/write/bulk",
        "indices:admin/index_template/get",
        "indices:admin/index_template/put",
    ]);
    running.signal(Signal::SIGHUP);
    running.until("it goes on", |said| said.contains("the sink takes records again"));
    let ran = running.stop();
    exactly(&server, 500);
    assert!(!ran.said.contains("Passw0rd"), "{}", ran.said);

    // Elsewhere it may not write, and says so.
    let elsewhere =
        sending(&server.url, &format!("{more}\nindex = \"other-{{date}}\"\nmanage_template = false"));
    elsewhere.put("password", "a-long-Passw0rd-for-tests!");
    records(&elsewhere, "a", 0..5);
    let mut running = elsewhere.start(&["run"]);
    running.until("it says so", |said| said.contains("security_exception"));
    running.stop();
    assert_eq!(elsewhere.rejects().len(), 0);

    // Without its certificate the server is nobody.
    let unknown = sending(&server.url, "");
    records(&unknown, "a", 0..5);
    let mut running = unknown.start(&["run"]);
    running.until("it says so", |said| said.contains("certificate"));
}

#[test]
fn a_data_stream_takes_an_event_again_after_a_rollover() {
    let Some(server) = opensearch(Version::Two) else { return };
    let send = || {
        let here = sending(&server.url, "data_stream = \"logs-cloudtrail-default\"");
        records(&here, "a", 0..200);
        here.once().ended(0);
    };
    send();
    send();
    assert_eq!(server.count("logs-cloudtrail-default"), 200);
    let (status, answer) = server.ask("POST", "/logs-cloudtrail-default/_rollover", None);
    assert_eq!(status, 200, "{answer}");
    send();
    assert_eq!(server.count("logs-cloudtrail-default"), 400, "at least once, as the documentation says");
}
