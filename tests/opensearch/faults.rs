//! A cluster that refuses, hangs and goes away, and what it asks for.

use std::collections::BTreeMap;
use std::sync::Mutex;

use nix::sys::signal::Signal;
use serde_json::json;
use sha2::Digest as _;

use crate::fake_http::{Reply, Server};
use crate::fake_opensearch::{Fake, Mood, chance};
use crate::here::{Here, log_file, record};
use crate::sigv4;

/// A program that sends what is in `trail` to this cluster; `more` are settings of the sink.
fn sending(url: &str, more: &str) -> Here {
    Here::with(&format!("[sinks.search]\ntype = \"opensearch\"\nurl = \"{url}\"\n{more}"))
}

/// Writes a file of records with the ids `r0`, `r1` …; sorted.
fn records(here: &Here, count: usize) -> Vec<String> {
    let mut ids: Vec<String> = (0..count).map(|number| format!("r{number}")).collect();
    let texts: Vec<String> = ids.iter().map(|id| record(id, ",\"requestParameters\":{\"a\":1}")).collect();
    here.put("trail/a.json", log_file(&texts));
    ids.sort_unstable();
    ids
}

#[test]
fn every_event_arrives_once_at_a_cluster_that_refuses_hangs_and_leaves() {
    // Most of the time is spent waiting.
    std::thread::scope(|scope| {
        for first in 1..=5 {
            scope.spawn(move || (first..=20).step_by(5).for_each(once_at_a_moody_cluster));
        }
    });
}

fn once_at_a_moody_cluster(seed: u64) {
    let (moods, refusals) = (Mutex::new(chance(seed)), Mutex::new(chance(seed + 1_000)));
    let times: Mutex<BTreeMap<String, u32>> = Mutex::default();
    let fake = Fake::moody(
        move |number| match (moods.lock().unwrap())(100) {
            _ if number > 300 => Mood::Answers,
            0..5 => Mood::Hangs,
            5..8 => Mood::Leaves,
            8..10 => Mood::TakesAndLeaves,
            10..12 => Mood::Refuses(503),
            12..14 => Mood::Refuses(429),
            _ => Mood::Answers,
        },
        move |document| {
            let mut times = times.lock().unwrap();
            let times = times.entry(document["eventID"].to_string()).or_default();
            *times += 1;
            let refused = (refusals.lock().unwrap())(100) < 30 && *times < 20;
            refused.then_some((429, "es_rejected_execution_exception"))
        },
    );
    let here = sending(&fake.url(), "batch = { events = 20 }\nconnection = { timeout = \"300ms\" }");
    let expected = records(&here, 500);
    let ran = here.once();
    ran.ended(0);
    assert_eq!(fake.events(), expected, "seed {seed}: each once");
    assert_eq!(ran.books().delivered, 500);
    assert_eq!(here.rejects().len(), 0);
}

#[test]
fn only_what_was_refused_for_now_is_sent_again() {
    let first = Mutex::new(true);
    let fake = Fake::moody(
        |_| Mood::Answers,
        move |document| {
            let mut first = first.lock().unwrap();
            let refused = *first && document["eventID"] == "r7";
            *first &= document["eventID"] != "r7";
            refused.then_some((429, "es_rejected_execution_exception"))
        },
    );
    let here = sending(&fake.url(), "");
    let expected = records(&here, 30);
    here.once().ended(0);
    assert_eq!(fake.events(), expected);
    let counts: Vec<usize> = fake.bulks().iter().map(|seen| seen.body.lines().count() / 2).collect();
    assert_eq!(counts, [30, 1]);
}

#[test]
fn what_is_refused_for_good_goes_to_rejects_with_its_reason() {
    let fake = Fake::moody(
        |_| Mood::Answers,
        |document| (document["eventID"] == "r3").then_some((400, "mapper_parsing_exception")),
    );
    let here = sending(&fake.url(), "");
    let expected = records(&here, 10);
    here.once().ended(3);
    assert_eq!(fake.events(), expected.into_iter().filter(|id| id != "r3").collect::<Vec<_>>());
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1);
    assert!(
        rejects[0].reason.contains("mapper_parsing_exception: as the test says"),
        "{}",
        rejects[0].reason
    );
}

#[test]
fn what_is_not_about_events_pauses_and_rejects_nothing() {
    for r#type in ["cluster_block_exception", "index_not_found_exception", "validation_exception"] {
        let full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let says = full.clone();
        let fake = Fake::moody(
            |_| Mood::Answers,
            move |_| says.load(std::sync::atomic::Ordering::Relaxed).then_some((403, r#type)),
        );
        let here = sending(&fake.url(), "");
        let expected = records(&here, 5);
        let mut running = here.start(&["run"]);
        running.until("it says so", |said| said.contains(r#type));
        full.store(false, std::sync::atomic::Ordering::Relaxed);
        running.signal(Signal::SIGHUP);
        running.until("it goes on", |said| said.contains("the sink takes records again"));
        running.stop();
        assert_eq!((fake.events(), here.rejects().len()), (expected, 0));
    }
}

#[test]
fn a_second_run_finds_its_events_there_already() {
    let fake = Fake::start();
    for run in 0..2 {
        let here = sending(&fake.url(), "");
        let expected = records(&here, 50);
        here.once().ended(0);
        assert_eq!(fake.events(), expected);
        assert_eq!(fake.held.lock().unwrap().again, run * 50);
    }
    assert_eq!(fake.indexes().into_iter().collect::<Vec<_>>(), ["cloudtrail-2026.01.15"]);
}

#[test]
fn the_template_and_the_policy_are_there_before_the_first_event_and_made_once() {
    let fake = Fake::start();
    for _ in 0..2 {
        let here = sending(
            &fake.url(),
            "lifecycle = { delete_after = \"90 d\" }\nindex_settings = { number_of_shards = \"2\" }",
        );
        records(&here, 5);
        here.once().ended(0);
    }
    let asked: Vec<String> =
        fake.server.seen().iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect();
    let (policy, template) =
        ("/_plugins/_ism/policies/trailship-search", "/_index_template/trailship-search");
    let bulk = "POST /cloudtrail-2026.01.15/_bulk?filter_path=errors%2Citems.%2A.status%2Citems.%2A.error";
    let [known, kept] = [format!("GET {policy}"), format!("GET {template}")];
    assert_eq!(
        asked,
        [&known, &format!("PUT {policy}"), &kept, &format!("PUT {template}"), bulk, &known, &kept, bulk]
            .map(String::from)
    );
    let held = fake.held.lock().unwrap();
    let made = &held.templates["trailship-search"];
    assert_eq!(made["index_patterns"], json!(["cloudtrail-*"]));
    assert_eq!(made["template"]["settings"], json!({ "number_of_shards": "2" }));
    assert_eq!(made["template"]["mappings"]["properties"]["requestParameters"]["type"], "flat_object");
}

#[test]
fn the_template_follows_the_shape_and_the_server() {
    let fake = Fake::start();
    let flat = "shape = \"flat\"\nfields = { \"trailship.account.tags.team\" = \"keyword\" }";
    let here = sending(&fake.url(), flat);
    records(&here, 5);
    here.once().ended(0);
    let held = fake.held.lock().unwrap();
    let properties = &held.templates["trailship-search"]["template"]["mappings"]["properties"];
    assert_eq!(properties["requestParameters"]["type"], "text");
    assert_eq!(
        properties["trailship"]["properties"]["account"]["properties"]["tags"]["properties"]["team"]["type"],
        "keyword"
    );
    assert_eq!(held.documents.values().next().unwrap()["requestParameters"], "{\"a\":1}");
    drop(held);

    let fake = Fake::start();
    let here = Here::with(&format!(
        "[sinks.search]\ntype = \"elasticsearch\"\nurl = \"{}\"\nlifecycle = {{ delete_after = \"9 d\" }}",
        fake.url()
    ));
    records(&here, 5);
    here.once().ended(0);
    let held = fake.held.lock().unwrap();
    let properties = &held.templates["trailship-search"]["template"]["mappings"]["properties"];
    assert_eq!(properties["requestParameters"]["type"], "flattened");
    assert!(held.policies.contains_key("/_ilm/policy/trailship-search"));
}

#[test]
fn a_template_of_somebody_else_is_left_alone() {
    let fake = Fake::start();
    let theirs = json!({ "index_patterns": ["cloudtrail-*"], "template": {} });
    fake.held.lock().unwrap().templates.insert("trailship-search".to_owned(), theirs.clone());
    let here = sending(&fake.url(), "");
    let expected = records(&here, 5);
    let mut running = here.start(&["run"]);
    running.until("it says so", |said| said.contains("was not made by trailship"));
    assert_eq!(fake.bulks().len(), 0);
    fake.held.lock().unwrap().templates.clear();
    running.signal(Signal::SIGHUP);
    running.until("it goes on", |said| said.contains("the sink takes records again"));
    running.stop();
    assert_eq!(fake.events(), expected);

    // Or it is not asked for at all.
    let fake = Fake::start();
    fake.held.lock().unwrap().templates.insert("trailship-search".to_owned(), theirs.clone());
    let here = sending(&fake.url(), "manage_template = false");
    records(&here, 5);
    here.once().ended(0);
    assert_eq!(fake.held.lock().unwrap().templates["trailship-search"], theirs);
    assert_eq!(fake.server.seen().len(), 1);
}

#[test]
fn a_template_that_may_not_be_installed_pauses_and_says_what_to_do() {
    let server = Server::start(|_, seen| match seen.method.as_str() {
        "GET" => Reply::status(404),
        _ => Reply::Answer(403, vec![], "no permissions for [indices:admin/index_template/put]".into()),
    });
    let here = sending(&server.url(""), "");
    records(&here, 5);
    let mut running = here.start(&["run"]);
    running.until("it says what to do", |said| {
        said.contains("indices:admin/index_template/put") && said.contains("manage_template = false")
    });
    running.stop();
    assert!(server.seen().iter().all(|seen| !seen.uri.contains("_bulk")));
    assert_eq!(here.rejects().len(), 0);
}

#[test]
fn a_node_that_lets_nobody_in_or_is_gone_keeps_the_template_from_nothing() {
    let locked = Server::start(|_, _| Reply::Answer(401, vec![], "who are you".into()));
    let gone = Server::start(|_, _| Reply::Take).url("");
    for other in [locked.url(""), gone] {
        let fake = Fake::start();
        let urls = format!("{other}\", \"{}", fake.url());
        let here = Here::with(&format!("[sinks.search]\ntype = \"opensearch\"\nurl = [\"{urls}\"]"));
        let expected = records(&here, 20);
        let ran = here.once();
        ran.ended(0);
        assert_eq!((fake.events(), fake.held.lock().unwrap().templates.len()), (expected, 1));
        assert!(!ran.said.contains("nothing is acknowledged"), "{}", ran.said);
    }
    assert_eq!(locked.seen().len(), 1);
}

#[test]
fn a_data_stream_s_events_have_their_time_and_no_place_of_their_own() {
    let fake = Fake::start();
    let here = sending(&fake.url(), "data_stream = \"logs-cloudtrail-default\"\nids = false");
    let expected = records(&here, 5);
    let ran = here.once();
    ran.ended(0);
    assert_eq!(fake.events(), expected);
    let held = fake.held.lock().unwrap();
    let (stream, document) = &held.nameless[0];
    assert_eq!(
        (stream.as_str(), &document["@timestamp"]),
        ("logs-cloudtrail-default", &json!("2026-01-15T10:00:00Z"))
    );
    assert_eq!(held.templates["trailship-search"]["data_stream"], json!({}));
    let told = here.run(&["check"]);
    assert!(told.said.contains("is there twice"), "{}", told.said);
}

#[test]
fn nodes_that_do_not_answer_are_left_out() {
    let [one, other] = [Fake::start(), Fake::start()];
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let urls = format!("[\"{}\", \"{gone}\", \"{}\"]", one.url(), other.url());
    let sink = format!(
        "[sinks.search]\ntype = \"opensearch\"\nurl = {urls}\nmanage_template = false\nbatch = {{ events = 5 }}"
    );
    let here = Here::with(&sink);
    let expected = records(&here, 200);
    here.once().ended(0);
    let mut all = one.events();
    all.extend(other.events());
    all.sort_unstable();
    assert_eq!(all, expected);
    assert!(!one.events().is_empty() && !other.events().is_empty());
}

#[test]
fn requests_to_what_aws_runs_are_signed() {
    for service in ["es", "aoss"] {
        let fake = Fake::start();
        let more = format!(
            "auth = {{ type = \"aws\", service = \"{service}\", aws = {{ region = \"eu-west-1\" }} }}\nbatch = {{ compression = \"none\" }}"
        );
        let here = sending(&fake.url(), &more)
            .knowing([("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "a secret")]);
        let expected = records(&here, 20);
        here.once().ended(0);
        assert_eq!(fake.events(), expected);
        let seen = fake.server.seen();
        assert!(seen.len() >= 3, "the template was asked for, too");
        for seen in seen {
            let mut head = format!("{} {} HTTP/1.1\r\n", seen.method, seen.uri);
            for (name, value) in &seen.headers {
                head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
            }
            assert_eq!(sigv4::check(&head, "a secret"), Ok(()), "{head}");
            let scope = format!("/eu-west-1/{service}/aws4_request");
            assert!(seen.header("authorization").unwrap().contains(&scope), "{head}");
            let body = sha2::Sha256::digest(seen.body.as_bytes());
            let digest: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(seen.header("x-amz-content-sha256"), Some(digest.as_str()), "of {}", seen.uri);
        }
    }
}

#[test]
fn what_serverless_says_to_ids_pauses() {
    let server = Server::start(|_, seen| {
        let items: Vec<_> = seen.body.lines().step_by(2).map(|_| {
            json!({ "create": { "status": 400, "error": { "type": "illegal_argument_exception", "reason": "Document ID is not supported in create/index operation request" } } })
        }).collect();
        Reply::Answer(200, vec![], json!({ "errors": true, "items": items }).to_string())
    });
    let here = sending(&server.url(""), "manage_template = false");
    records(&here, 5);
    let mut running = here.start(&["run"]);
    running.until("it says what to do", |said| said.contains("set ids = false"));
    running.stop();
    assert_eq!(here.rejects().len(), 0);
}
