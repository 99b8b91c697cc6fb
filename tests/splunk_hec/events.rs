//! What arrives.

use serde_json::{Value, json};

use crate::hec::{Hec, Manners, TOKEN};
use crate::here::{Here, Ran, log_file, record};

/// A directory whose program ships to these collectors; `more` are settings of the sink.
pub(crate) fn to(collectors: &[&Hec], more: &str) -> Here {
    let urls: Vec<String> = collectors.iter().map(|hec| format!("{:?}", hec.url())).collect();
    let sink = format!(
        "[sinks.splunk]\ntype = \"splunk_hec\"\nurl = [{}]\ntoken = {{ env = \"HEC_TOKEN\" }}\n{more}\n",
        urls.join(", ")
    );
    Here::with(&sink).knowing([("HEC_TOKEN", TOKEN)])
}

/// It is done, something was rejected by the sink, and nothing was lost.
#[track_caller]
pub(crate) fn balanced(ran: &Ran) {
    ran.ended(3);
    assert!(!ran.said.contains("do not balance") && !ran.said.contains("panicked"), "{}", ran.said);
    let done = ran.told("done").into_iter().find(|line| line["message"] == "done").unwrap();
    let number = |name: &str| done[name].as_u64().unwrap();
    assert_eq!(number("read"), number("delivered") + number("rejected"), "{done}");
}

/// Puts so many records into a file, and returns their ids, sorted.
pub(crate) fn put(here: &Here, name: &str, count: usize) -> Vec<String> {
    let mut ids: Vec<String> = (0..count).map(|number| format!("{name}-{number:05}")).collect();
    let records: Vec<String> = ids.iter().map(|id| record(id, "")).collect();
    here.put(&format!("trail/{name}.json"), log_file(&records));
    ids.sort();
    ids
}

#[test]
fn an_event_is_the_record_as_aws_wrote_it_with_its_time_and_indexed_fields() {
    let hec = Hec::start(Manners::default());
    let here = to(
        &[&hec],
        "index = \"security\"\nsource = \"org \\\"trail\\\"\"\nhost = \"aws\"\n\
         [transforms.environment]\ntype = \"environment\"\n[[transforms.environment.rules]]\nset = \"prod\"\n\
         match = { id = [\"111122223333\"] }\n[transforms.signals]\ntype = \"signals\"",
    );
    let root = r#"{"eventVersion":"1.08","userIdentity":{"type":"Root","accountId":"111122223333"},"eventTime":"2026-01-15T10:00:00Z","eventSource":"iam.amazonaws.com","eventName":"CreateUser","awsRegion":"us-east-1","n":1.0E9,"eventID":"a","eventType":"AwsApiCall","recipientAccountId":"111122223333"}"#;
    here.put("trail/a.json", log_file(&[root]));
    here.once().ended(0);
    let [event] = &hec.indexed()[..] else { panic!("{:?}", hec.indexed()) };
    let start = r#"{"time":1768471200,"host":"aws","source":"org \"trail\"","sourcetype":"aws:cloudtrail","index":"security","event":"#;
    let record = event.strip_prefix(start).unwrap_or_else(|| panic!("{event}"));
    assert!(record.starts_with(root.strip_suffix('}').unwrap()), "{event}");
    let event: Value = serde_json::from_str(event).unwrap();
    let signals = &event["event"]["trailship"]["signals"];
    assert!(signals.as_array().unwrap().contains(&json!("root_use")), "{event}");
    let fields = json!({ "account": "111122223333", "environment": "prod", "signals": signals });
    assert_eq!(event["fields"], fields);
    let [asked] = &hec.asked()[..] else { panic!() };
    assert_eq!(asked.headers["authorization"], format!("Splunk {TOKEN}"));
    assert_eq!(asked.headers["content-encoding"], "gzip");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert!(uuid::Uuid::parse_str(asked.channel.as_ref().unwrap()).is_ok());
}

#[test]
fn without_further_settings_the_token_decides_about_the_rest() {
    let hec = Hec::start(Manners::default());
    let here = to(&[&hec], "batch = { compression = \"none\" }\nfields = []");
    let plain = r#"{"eventID":"a","eventName":"x"}"#;
    here.put("trail/a.json", log_file(&[plain]));
    let ran = here.once();
    ran.ended(0);
    assert_eq!(hec.indexed(), [format!(r#"{{"sourcetype":"aws:cloudtrail","event":{plain}}}"#)]);
    assert!(!hec.asked()[0].headers.contains_key("content-encoding"));
    assert_eq!(ran.told("received, not indexed").len(), 1, "{}", ran.said);
    assert!(!ran.said.contains(TOKEN));
}

#[test]
fn what_is_too_large_goes_in_halves_and_alone_to_rejects() {
    let hec = Hec::start(Manners { longest: 6_000, ..Manners::default() });
    let here = to(&[&hec], "");
    let ids: Vec<String> = (0..60).map(|number| format!("{number:02}")).collect();
    let pad =
        |id: &String| if id == "31" { format!(r#","pad":"{}""#, "x".repeat(8_000)) } else { String::new() };
    let records: Vec<String> = ids.iter().map(|id| record(id, &pad(id))).collect();
    here.put("trail/a.json", log_file(&records));
    let ran = here.once();
    balanced(&ran);
    assert_eq!(hec.ids(), ids.iter().filter(|id| *id != "31").cloned().collect::<Vec<_>>());
    let [reject] = &here.rejects()[..] else { panic!("{:?}", here.rejects()) };
    assert!(reject.reason.contains("413"), "{}", reject.reason);
    assert_eq!(reject.bytes, records[31].as_bytes());
}

#[test]
fn a_token_that_was_read_again_serves_at_once() {
    let hec = Hec::start(Manners::default());
    let here = to(&[&hec], "");
    let text = std::fs::read_to_string(here.at("trailship.toml")).unwrap();
    let text = text.replace("{ env = \"HEC_TOKEN\" }", "{ file = \"token\" }");
    std::fs::write(here.at("trailship.toml"), text).unwrap();
    std::fs::write(here.at("token"), "an-old-token\n").unwrap();
    let ids = put(&here, "a", 10);
    let mut running = here.start(&["run", "--once"]);
    running.until("it was refused", |said| said.contains("look at `token`"));
    std::fs::write(here.at("token"), format!("{TOKEN}\n")).unwrap();
    running.signal(nix::sys::signal::Signal::SIGHUP);
    let ran = running.end();
    ran.ended(0).books();
    assert_eq!(hec.ids(), ids);
    assert!(!ran.said.contains(TOKEN) && !ran.said.contains("an-old-token"), "{}", ran.said);
}
