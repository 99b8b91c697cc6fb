//! The source `cloudwatch_logs`: against moto, and against a fake of our own where a server has to misbehave.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::fake_json::Answer;
use crate::fake_logs::{FakeLogs, GROUP, Row, Ways};
use crate::here::{ARCHIVE, Here, record};
use crate::moto::{ACCOUNT, Moto, REGION, moto};
use crate::scene::{BLOCKED, PROMPT, reading};

/// Milliseconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn ask(moto: &Moto, operation: &str, body: &Value) -> Value {
    moto.json("logs", &format!("Logs_20140328.{operation}"), body)
}

/// A log group with two streams, and a program that reads it.
fn world(moto: &'static Moto, group: &str, more: &str, sink: &str) -> Here {
    ask(moto, "CreateLogGroup", &json!({ "logGroupName": group }));
    for stream in ["one", "two"] {
        ask(moto, "CreateLogStream", &json!({ "logGroupName": group, "logStreamName": stream }));
    }
    reading(&moto.endpoint(), &format!("type = \"cloudwatch_logs\"\nlog_group = \"{group}\"\n{more}"), sink)
}

fn put(moto: &Moto, group: &str, stream: &str, events: &[(i64, String)]) {
    let mut events = events.to_vec();
    events.sort();
    let events: Vec<_> =
        events.iter().map(|(at, text)| json!({ "timestamp": at, "message": text })).collect();
    ask(
        moto,
        "PutLogEvents",
        &json!({ "logGroupName": group, "logStreamName": stream, "logEvents": events }),
    );
}

#[test]
fn an_answer_that_is_none_of_the_service_passes_over_no_time() {
    let runtime = Runtime::new().unwrap();
    let fault = |number: u64| (number < 4).then(|| Answer::Is(json!({})));
    let fake = runtime.block_on(FakeLogs::start(Row::default(), Ways { fault, ..Ways::default() }));
    fake.put(now() - 1_800_000, "one", &record("behind", ""));
    let source = format!("type = \"cloudwatch_logs\"\nlog_group = \"{GROUP}\"");
    let here = reading(&fake.endpoint(), &source, ARCHIVE);
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ["behind"]);
    assert!(ran.said.contains("the answer holds no list of events"), "{}", ran.said);
}

#[test]
fn a_log_group_is_shipped_once_late_events_too_and_what_is_no_record_goes_to_rejects() {
    let Some(moto) = moto() else { return };
    let here = world(moto, "trail/one", "", ARCHIVE);
    let at = |minutes: i64| now() - minutes * 60_000;
    put(
        moto,
        "trail/one",
        "one",
        &[
            (at(40), record("a", "")),
            (at(30), "{\"eventVersion\":\"1.08\",\"eventID\":[{".to_owned()),
            (at(20), record("b", "").replace(',', ",\n")),
        ],
    );
    put(
        moto,
        "trail/one",
        "two",
        &[(at(35), record("c", "")), (at(3), record("d", "")), (at(90), record("old", ""))],
    );
    here.once().ended(3);
    assert_eq!(here.ids("out"), ["a", "b", "c", "d"]);
    let lines = here.lines("out");
    assert!(lines.contains(&record("a", "")), "byte for byte: {lines:?}");
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1, "{rejects:?}");
    assert!(rejects[0].object.starts_with("logs://trail/one/one#"), "{rejects:?}");

    // Nothing comes twice; what is late comes, also if it is before what was shipped.
    put(moto, "trail/one", "two", &[(at(10), record("late", ""))]);
    here.once().ended(0);
    assert_eq!(here.ids("out"), ["a", "b", "c", "d", "late"]);
    here.once().ended(0);
    assert_eq!(here.ids("out").len(), 5);
    let shown = String::from_utf8(here.run(&["state", "ls"]).out).unwrap();
    assert!(shown.contains("settled until") && shown.contains("trail/one"), "{shown}");
    let shown = String::from_utf8(here.run(&["state", "show", "main/trail"]).out).unwrap();
    assert!(shown.contains("0 min") && shown.contains("trail/one"), "{shown}");
}

#[test]
fn a_log_group_is_followed_and_streams_are_chosen() {
    let Some(moto) = moto() else { return };
    let here = world(moto, "trail/two", "streams = [\"two\"]\nevery = \"1s\"", PROMPT);
    put(moto, "trail/two", "one", &[(now() - 60_000, record("other", ""))]);
    put(moto, "trail/two", "two", &[(now() - 60_000, record("first", ""))]);
    let mut running = here.start(&["run"]);
    running.until("what was there is shipped", |_| here.ids("out") == ["first"]);
    put(moto, "trail/two", "two", &[(now(), record("second", ""))]);
    running.until("what is new is shipped", |_| here.ids("out") == ["first", "second"]);
    running.stop().ended(0);
}

#[test]
fn a_range_of_time_is_shipped_and_then_it_ends() {
    let Some(moto) = moto() else { return };
    let range = "since = \"2 h\"\nuntil = \"1 h\"\nrequests_per_second = 50";
    let here = world(moto, "trail/three", range, ARCHIVE);
    let events: Vec<_> = (0..20)
        .map(|number| (now() - (30 + number * 5) * 60_000, record(&format!("{number:02}"), "")))
        .collect();
    for event in events.iter().rev() {
        put(moto, "trail/three", "one", std::slice::from_ref(event));
    }
    here.run(&["run"]).ended(0);
    let expected: Vec<String> = (7..18).map(|number| format!("{number:02}")).collect();
    let got = here.ids("out");
    // The borders move with the time that the test takes.
    assert!(
        got.len() >= 10 && got.iter().all(|id| expected.contains(id) || id == "06" || id == "18"),
        "{got:?}"
    );
}

#[test]
fn a_group_that_is_not_there_is_told() {
    let Some(moto) = moto() else { return };
    let ran =
        reading(&moto.endpoint(), "type = \"cloudwatch_logs\"\nlog_group = \"nowhere\"", ARCHIVE).once();
    ran.ended(1);
    assert!(ran.said.contains("log group nowhere in eu-west-1: there is no such place"), "{}", ran.said);
}

/// A fake, and a program that reads from it.
fn faked(row: Row, ways: Ways, more: &str, sink: &str) -> (Runtime, FakeLogs, Here) {
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeLogs::start(row, ways));
    let source = format!("type = \"cloudwatch_logs\"\nlog_group = \"{GROUP}\"\n{more}");
    let here = reading(&fake.endpoint(), &source, sink);
    (runtime, fake, here)
}

#[test]
fn who_may_not_read_it_is_told_what_is_missing() {
    let denied = |_| {
        Some(Answer::Refused(400, "AccessDeniedException", "User: arn:aws:iam::1:user/u is not authorized"))
    };
    let (_runtime, _fake, here) =
        faked(Row::default(), Ways { fault: denied, ..Ways::default() }, "", ARCHIVE);
    let mut running = here.start(&["run"]);
    running.until("it is told", |said| said.contains("allow logs:FilterLogEvents"));
    running.stop();
}

#[test]
fn a_group_of_another_account_is_asked_for_by_its_arn_in_its_region() {
    let (_runtime, fake, here) = faked(Row::default(), Ways::default(), "", ARCHIVE);
    fake.put(now() - 1000, "s", &record("one", ""));
    let text = std::fs::read_to_string(here.at("trailship.toml")).unwrap();
    let arn = format!("arn:aws:logs:ap-south-1:{ACCOUNT}:log-group:{GROUP}:*");
    std::fs::write(here.at("trailship.toml"), text.replace(&format!("\"{GROUP}\""), &format!("\"{arn}\"")))
        .unwrap();
    here.once().ended(0);
    assert_eq!(here.ids("out"), ["one"]);
    let asked = &fake.requests()[0];
    assert_eq!(asked["logGroupIdentifier"], arn.trim_end_matches(":*"));
    assert_ne!("ap-south-1", REGION);
    assert_eq!(fake.regions(), ["ap-south-1"]);
}

#[test]
fn streams_are_chosen_by_how_their_names_begin() {
    let (_runtime, fake, here) =
        faked(Row::default(), Ways::default(), "stream_prefix = \"1_CloudTrail\"", ARCHIVE);
    for stream in ["1_CloudTrail_eu-west-1", "2_CloudTrail_eu-west-1", "1_CloudTrail_us-east-1"] {
        fake.put(now() - 1000, stream, &record(stream, ""));
    }
    here.once().ended(0);
    assert_eq!(here.ids("out"), ["1_CloudTrail_eu-west-1", "1_CloudTrail_us-east-1"]);
}

#[test]
fn a_server_that_hangs_or_dies_is_asked_again() {
    let fault = |number| match number {
        0 => Some(Answer::Hangs),
        1 => Some(Answer::Dies),
        2 => Some(Answer::Page(502, "<html>bad gateway</html>")),
        _ => None,
    };
    let ways = Ways { fault, page: 100, ..Ways::default() };
    let row = Row { first: now() - 1_800_000, step: 2000, events: 500 };
    let (_runtime, _fake, here) = faked(row, ways, "requests_per_second = 50", ARCHIVE);
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out").len(), 500);
    assert!(ran.said.contains("trying again"), "{}", ran.said);
}

#[test]
fn a_pipeline_that_is_stuck_keeps_its_memory_and_what_failed_is_shipped_later() {
    let row = Row { first: now() - 3_000_000, step: 20, events: 150_000 };
    let (_runtime, fake, here) = faked(row, Ways::default(), "requests_per_second = 50", BLOCKED);
    here.set("memory = \"128 MiB\"");
    std::fs::write(here.at("blocked"), "not a folder").unwrap();
    let mut running = here.start(&["run"]);
    running.until("the sink was tried", |said| said.contains("Not a directory"));
    std::thread::sleep(Duration::from_secs(3));
    let requests = fake.quota().requests();
    assert!(requests < 20, "{requests}");
    let most = running.most_memory().unwrap();
    assert!(most < (128 + 64) << 20, "{most}");
    std::fs::remove_file(here.at("blocked")).unwrap();
    running.until("everything is shipped", |_| here.ids("blocked").len() >= 150_000);
    running.stop().ended(0);
    let mut ids = here.ids("blocked");
    ids.dedup();
    assert_eq!((ids.len(), here.rejects().len()), (150_000, 0));
}
