//! What requests look like: lines, arrays, templates, compression, and the examples of the documentation.

use serde_json::Value;

use crate::fake_http::{Reply, Server};
use crate::here::{Here, id, log_file, record};

/// A directory whose records go to this server, `more` being the sink's further settings.
pub(crate) fn sending(server: &Server, more: &str) -> Here {
    let sink = format!("[sinks.lake]\ntype = \"http\"\nurl = \"{}\"\n{more}", server.url("/in?source=trail"));
    Here::with(&sink)
}

/// Writes a file of records with the ids `r0`, `r1` …
pub(crate) fn records(here: &Here, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|number| format!("r{number}")).collect();
    let records: Vec<String> = ids.iter().map(|id| record(id, "")).collect();
    here.put("trail/a.json", log_file(&records));
    ids
}

/// The ids in NDJSON bodies, sorted.
pub(crate) fn ids(bodies: &[String]) -> Vec<String> {
    let mut ids: Vec<String> = bodies.iter().flat_map(|body| body.lines()).map(id).collect();
    ids.sort();
    ids
}

pub(crate) fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[test]
fn events_are_sent_as_lines_in_requests_that_are_not_too_large() {
    let server = Server::start(|_, _| Reply::Take);
    let here = sending(&server, "batch = { bytes = \"1 kB\" }\nheaders = { X-Tenant = \"security\" }");
    let expected = records(&here, 50);
    here.once().ended(0);
    assert_eq!(ids(&server.taken()), sorted(expected));
    let seen = server.seen();
    assert!(seen.len() > 5, "{}", seen.len());
    for request in &seen {
        assert_eq!((&*request.method, &*request.uri), ("POST", "/in?source=trail"));
        assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(request.header("x-tenant"), Some("security"));
        assert_eq!(request.header("content-length"), Some(&*request.body.len().to_string()));
        assert!(request.body.len() <= 1000 && request.body.ends_with('\n'), "{}", request.body.len());
    }
}

#[test]
fn events_are_sent_as_an_array_compressed() {
    for compression in ["gzip", "zstd"] {
        let server = Server::start(|_, _| Reply::Take);
        let more = format!(
            "format = \"json_array\"\nmethod = \"PUT\"\nbatch = {{ events = 20, compression = \"{compression}\" }}"
        );
        let here = sending(&server, &more);
        let expected = records(&here, 50);
        here.once().ended(0);
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        let mut found = Vec::new();
        for request in &seen {
            assert_eq!(request.method, "PUT");
            assert_eq!(request.header("content-encoding"), Some(compression));
            assert_eq!(request.header("content-type"), Some("application/json"));
            let array: Vec<Value> = serde_json::from_str(&request.body).unwrap();
            found.extend(array.iter().map(|event| event["eventID"].as_str().unwrap().to_owned()));
        }
        assert_eq!(sorted(found), sorted(expected));
    }
}

#[test]
fn one_event_goes_in_each_request_and_a_template_stands_around_it() {
    let server = Server::start(|_, _| Reply::Take);
    let template = r#"{"host":"{{account}}/{{region}}","ts":{{time_ms}},"at":"{{time}}","id":"{{id}}","kind":"{{kind}}","name":"{{event_name}}","raw":"{{record_text}}","event":{{record}}}"#;
    let here = sending(&server, &format!("format = \"json\"\ntemplate = '{template}'"));
    let more = r#","eventName":"Put\"Object","eventCategory":"Data""#;
    here.put("trail/a.json", log_file(&[record("a\\u0041", more), record("b", "")]));
    here.once().ended(0);
    let mut events: Vec<Value> =
        server.taken().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    events.sort_by_key(|event| event["event"]["eventID"].as_str().unwrap().to_owned());
    assert_eq!(events.len(), 2);
    let event = &events[0];
    assert_eq!(event["host"], "111122223333/us-east-1");
    assert_eq!(
        (&event["ts"], &event["at"]),
        (&Value::from(1_768_471_200_000_u64), &"2026-01-15T10:00:00Z".into())
    );
    assert_eq!((&event["kind"], &event["name"]), (&"data".into(), &"Put\"Object".into()));
    assert_eq!(event["id"].as_str().unwrap().len(), 32);
    assert_eq!(event["event"]["eventID"], "aA");
    let raw: Value = serde_json::from_str(event["raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw, event["event"]);
}

#[test]
fn an_envelope_stands_around_all_events_of_a_request_also_when_some_are_sent_again() {
    // The whole is too large; its halves are not.
    let server = Server::start(|number, _| if number == 0 { Reply::status(413) } else { Reply::Take });
    let here = sending(&server, "format = \"json_array\"\nenvelope = '{\"Records\":[{{events}}]}'");
    let expected = records(&here, 9);
    here.once().ended(0);
    let mut found = Vec::new();
    for body in server.taken() {
        let whole: Value = serde_json::from_str(&body).unwrap();
        let records = whole["Records"].as_array().unwrap();
        found.extend(records.iter().map(|event| event["eventID"].as_str().unwrap().to_owned()));
    }
    assert_eq!((server.seen().len(), sorted(found)), (3, sorted(expected)));
}

/// The example configurations of the documentation for services that have no sink of their own.
#[test]
fn the_examples_of_the_documentation_send_what_the_services_take() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let example = |name: &str| {
        let start =
            readme.find(&format!("[sinks.{name}]")).unwrap_or_else(|| panic!("no example for {name}"));
        readme[start..].split("```").next().unwrap().to_owned()
    };
    // Datadog: an array of at most 1,000 objects, the key in a header, 202.
    let server = Server::start(|_, seen| {
        let array: Result<Vec<Value>, _> = serde_json::from_str(&seen.body);
        let fits = array.is_ok_and(|array| {
            array.len() <= 1000
                && array.iter().all(|event| event["ddsource"] == "cloudtrail" && event["message"].is_object())
        });
        match (seen.header("dd-api-key"), fits) {
            (Some("key"), true) => Reply::status(202),
            (Some("key"), false) => Reply::status(400),
            _ => Reply::status(403),
        }
    });
    let text = example("datadog")
        .replace("https://http-intake.logs.datadoghq.com/api/v2/logs", &server.url("/api/v2/logs"));
    let here = Here::with(&text).knowing([("DD_API_KEY", "key")]);
    let expected = records(&here, 1500);
    here.once().ended(0);
    let found = server
        .taken()
        .iter()
        .flat_map(|body| serde_json::from_str::<Vec<Value>>(body).unwrap())
        .map(|event| event["message"]["eventID"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sorted(found), sorted(expected));
    assert!(server.seen().iter().all(|seen| seen.header("content-encoding") == Some("gzip")));
    // Elastic Agent's HTTP endpoint: an array of objects, basic authorisation.
    let server = Server::start(|_, seen| match seen.header("authorization") {
        Some("Basic dHJhaWxzaGlwOnB3") if serde_json::from_str::<Vec<Value>>(&seen.body).is_ok() => {
            Reply::Take
        }
        _ => Reply::status(401),
    });
    let text = example("elastic")
        .replace("https://elastic-agent.example.com:8443/cloudtrail", &server.url("/cloudtrail"));
    let here = Here::with(&text).knowing([("ELASTIC_PASSWORD", "pw")]);
    let expected = records(&here, 10);
    here.once().ended(0);
    let found = server
        .taken()
        .iter()
        .flat_map(|body| serde_json::from_str::<Vec<Value>>(body).unwrap())
        .map(|event| event["eventID"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sorted(found), sorted(expected));
}
