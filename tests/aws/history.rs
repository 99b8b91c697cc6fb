//! The source `event_history` against a fake of CloudTrail: moto has no LookupEvents.

use tokio::runtime::Runtime;

use crate::fake_history::{FakeHistory, Row, Ways};
use crate::fake_json::Answer;
use crate::here::{ARCHIVE, Here, record};
use crate::moto::REGION;
use crate::scene::{BLOCKED, PROMPT, reading};

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A fake, and a program that reads from it.
fn faked(row: Row, ways: Ways, more: &str, sink: &str) -> (Runtime, FakeHistory, Here) {
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeHistory::start(row, ways));
    let here = reading(&fake.endpoint(), &format!("type = \"event_history\"\n{more}"), sink);
    (runtime, fake, here)
}

const FAST: &str = "requests_per_second = 200";

#[test]
fn an_answer_that_is_none_of_the_service_passes_over_no_time() {
    let fault = |_: &str, number: u64| (number % 3 == 1).then(|| Answer::Is(serde_json::json!({})));
    let (_runtime, fake, here) = faked(
        Row::default(),
        Ways { fault, ..Ways::default() },
        &format!("{FAST}\nsince = \"1 d\""),
        ARCHIVE,
    );
    fake.put(REGION, now() - 7200, "behind", &record("behind", ""));
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ["behind"]);
    assert!(ran.said.contains("the answer holds no list of events"), "{}", ran.said);
}

#[test]
fn the_history_is_shipped_byte_for_byte_once_and_the_estimate_is_told() {
    let row = Row { first: now() - 4000, each: 1, events: 1000 };
    let (_runtime, fake, here) = faked(row, Ways::default(), FAST, ARCHIVE);
    // Odd, and all of it is kept: spaces, escapes, a number no float could hold.
    let odd = r#"{ "eventVersion" : "1.08","eventTime":"2026-01-15T10:00:00Z","eventID":"odd","awsRegion":"eu-west-1","recipientAccountId":"111122223333","requestParameters":{"a":"\u00e9\/é","n":12345678901234567890.10}}"#;
    fake.put(REGION, now() - 60 * 86_400, "odd", odd);
    fake.put(REGION, now() - 2000, "broken", "{\"eventVersion\":\"1.08\",");
    let ran = here.once();
    ran.ended(3);
    let lines = here.lines("out");
    assert_eq!(lines.len(), 1001);
    assert!(lines.iter().any(|line| line == odd), "byte for byte");
    assert_eq!(ran.told("LookupEvents gives at most 10000: caught up in about").len(), 1, "{}", ran.said);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1);
    assert_eq!(rejects[0].object, format!("history://unknown/{REGION}#broken"));
    // Nothing comes twice, what is late comes.
    fake.put(REGION, now() - 600, "late", &record("late", ""));
    here.once().ended(0);
    assert_eq!(here.lines("out").len(), 1002);
    let shown = String::from_utf8(here.run(&["state", "show", "main/trail"]).out).unwrap();
    assert!(shown.contains(REGION) && shown.contains("0 min"), "{shown}");
}

#[test]
fn it_is_told_that_it_can_never_catch_up() {
    let row = Row { first: now() - 90 * 86_400, each: 150, events: 150 * 90 * 86_400 };
    let (_runtime, fake, here) =
        faked(row, Ways::default(), "requests_per_second = 2\nsince = \"1 d\"", PROMPT);
    let mut running = here.start(&["run"]);
    running.until("it is told", |said| {
        said.contains("it can never catch up: about 1") && said.contains("gives at most 100: create a trail")
    });
    running.until("it ships all the same", |_| !here.ids("out").is_empty());
    running.stop();
    assert!(fake.quota(REGION).busiest(4) <= 10);
}

#[test]
fn regions_are_read_each_by_itself_and_one_that_is_refused_is_named() {
    let fault = |region: &str, _| {
        let denied = Answer::Refused(400, "AccessDeniedException", "User: u is not authorized");
        (region == "ap-south-1").then_some(denied)
    };
    let more = format!("{FAST}\nregions = [\"us-east-1\", \"ap-south-1\", \"eu-west-2\"]\nsince = \"1 d\"");
    let (_runtime, fake, here) = faked(Row::default(), Ways { fault, ..Ways::default() }, &more, PROMPT);
    for region in ["us-east-1", "eu-west-2"] {
        fake.put(region, now() - 600, region, &record(region, ""));
    }
    let mut running = here.start(&["run"]);
    running.until("what can be read is shipped", |said| {
        here.ids("out") == ["eu-west-2", "us-east-1"]
            && said.contains("the event history of ap-south-1 is refused")
            && said.contains("allow cloudtrail:LookupEvents")
    });
    running.stop();
    let shown = String::from_utf8(here.run(&["state", "ls"]).out).unwrap();
    assert!(["us-east-1", "ap-south-1", "eu-west-2"].iter().all(|region| shown.contains(region)), "{shown}");
}

#[test]
fn more_than_ninety_days_are_not_asked_for_and_it_is_said() {
    let (_runtime, fake, here) =
        faked(Row::default(), Ways::default(), &format!("{FAST}\nsince = \"120 d\""), ARCHIVE);
    fake.put(REGION, now() - 89 * 86_400, "old", &record("old", ""));
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ["old"], "{}", ran.said);
    assert!(!ran.said.contains("InvalidTimeRange"), "{}", ran.said);
    assert!(ran.said.contains("goes back 90 days"), "{}", ran.said);
}

#[test]
fn a_pipeline_that_is_stuck_is_not_fed_and_what_failed_is_shipped_later() {
    let row = Row { first: now() - 80_000, each: 1, events: 79_000 };
    let (_runtime, fake, here) = faked(row, Ways::default(), &format!("{FAST}\nsince = \"1 d\""), BLOCKED);
    here.set("memory = \"128 MiB\"");
    std::fs::write(here.at("blocked"), "not a folder").unwrap();
    let mut running = here.start(&["run"]);
    running.until("the sink was tried", |said| said.contains("Not a directory"));
    let mut before = usize::MAX;
    running.until("nothing more is asked for", |_| {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let now = fake.requests(REGION).len();
        std::mem::replace(&mut before, now) == now
    });
    assert!(before < 1400, "{before}");
    std::fs::remove_file(here.at("blocked")).unwrap();
    running.until("everything is shipped", |_| here.ids("blocked").len() >= 79_000);
    running.stop().ended(0);
    let mut ids = here.ids("blocked");
    ids.dedup();
    assert_eq!((ids.len(), here.rejects().len()), (79_000, 0));
}
