//! `explain`: what a person reads, what a program reads, and what is said of input that holds no event.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{golden, run, text, trailship, tree};

/// Something of every transform, and two sinks: one takes everything, one a part.
const CONFIGURATION: &str = r#"
data_dir = "state"

[protect]
also = { userAgent = ["aws-cli/1.0"] }
except = ["secrets_read", { errorCode = ["NoSuchKey"] }]

[sources.trail]
type = "files"
path = "trail"

[transforms.accounts]
type = "account_tags"
file = "accounts.csv"
tags = ["owner"]

[transforms.environment]
type = "environment"
default = "unknown"
[[transforms.environment.rules]]
set = "prod"
match = { tags = { env = ["prod"] } }
[[transforms.environment.rules]]
set = "sandbox"
match = { name = [{ wildcard = "*sandbox*" }] }

[transforms.signals]
type = "signals"

[transforms.quiet]
type = "filter"
drop = [{ eventName = ["Decrypt"] }, { eventName = ["ListBuckets"] }]

[transforms.thin]
type = "sample"
match = { eventCategory = ["Data"], readOnly = [true] }
keep_one_in = 50

[transforms.private]
type = "redact"
remove = ["requestParameters.key"]
hash = ["sourceIPAddress"]

[transforms.flat]
type = "flatten"

[sinks.archive]
type = "file"
path = "out/{environment}/{account}/{date}.ndjson"
shape = "nested"

[sinks.security]
type = "file"
path = "signals/{date}.ndjson"
match = { trailship = { signals = [{ exists = true }] } }
"#;

const ACCOUNTS: &str =
    "account_id,name,env,owner\n111122223333,payments,prod,pay-team\n444455556666,my-sandbox,dev,me\n";

/// A record with these members in front of the usual ones.
fn record(members: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.11",{members},"userIdentity":{{"type":"IAMUser","accountId":"444455556666","arn":"arn:aws:iam::444455556666:user/kim"}},"eventTime":"2026-01-15T10:00:00Z","awsRegion":"eu-west-1","sourceIPAddress":"198.51.100.7","recipientAccountId":"111122223333"}}"#
    )
}

fn read(id: u32, members: &str) -> String {
    record(&format!(
        r#""eventID":"00000000-0000-4000-8000-{id:012}","eventSource":"s3.amazonaws.com","eventName":"GetObject","eventCategory":"Data","readOnly":true,"requestParameters":{{"bucketName":"b","key":"k"}}{members}"#
    ))
}

fn prepare(directory: &Path) {
    fs::write(directory.join("trailship.toml"), CONFIGURATION).unwrap();
    fs::write(directory.join("accounts.csv"), ACCOUNTS).unwrap();
}

/// Explains an event that is written to a file, and gives what was printed.
fn explained(directory: &Path, event: &str, more: &[&str]) -> String {
    fs::write(directory.join("event.json"), event).unwrap();
    let mut arguments = vec!["explain", "event.json"];
    arguments.extend(more);
    let output = run(directory, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn every_step_says_what_it_decides_and_why() {
    let here = tempfile::tempdir().unwrap();
    prepare(here.path());
    let policy = r#""eventID":"00000000-0000-4000-8000-00000000abcd","eventSource":"s3.amazonaws.com","eventName":"PutBucketPolicy","eventCategory":"Management","readOnly":false,"requestParameters":{"bucketName":"b","bucketPolicy":{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}]}}"#;
    let mut told = String::new();
    for (what, event) in [
        ("a read that is thinned", read(1, "")),
        ("a read that stands for others", read(19, "")),
        ("a read that fails", read(3, r#","errorCode":"AccessDenied""#)),
        ("an error that is excepted", read(4, r#","errorCode":"NoSuchKey""#)),
        ("a bucket opened to everyone", record(policy)),
        ("a read that is dropped", read(5, "").replace("GetObject", "ListBuckets")),
        ("terminals are safe", read(6, r#","userAgent":"aws-cli/1.0","errorCode":"\u001b[2J\u202e""#)),
    ] {
        told.push_str(&format!("# {what}\n{}\n", explained(here.path(), &event, &[])));
    }
    assert!(!told.contains('\u{1b}'));
    golden("explain.txt", here.path(), &told);
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 3, "nothing is written");
}

#[test]
fn programs_read_the_same_as_json() {
    let here = tempfile::tempdir().unwrap();
    prepare(here.path());
    let told = explained(here.path(), &read(19, ""), &["--json"]);
    let value: serde_json::Value = serde_json::from_str(&told).unwrap();
    let archive = &value["pipelines"][0]["sinks"][0];
    let length = archive["text"].as_str().unwrap().len() as u64 + 1;
    assert_eq!(archive["bytes"].as_u64(), Some(length));
    golden("explain.json", here.path(), &told);
}

/// What is explained is what a run writes, byte for byte.
#[test]
fn a_run_writes_what_was_explained() {
    let here = tempfile::tempdir().unwrap();
    prepare(here.path());
    fs::create_dir(here.path().join("trail")).unwrap();
    let events: Vec<String> =
        (0..30).chain([147, 197]).map(|id| read(id, "")).chain([read(500, r#","errorCode":"x""#)]).collect();
    fs::write(here.path().join("trail/a.ndjson"), events.join("\n") + "\n").unwrap();
    let output = run(here.path(), &["run", "--once"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shipped =
        fs::read_to_string(here.path().join("out/prod/111122223333/2026-01-15.000001.ndjson")).unwrap();
    let mut explained = Vec::new();
    for id in (0..30).chain([147, 197, 500]) {
        let id = format!("00000000-0000-4000-8000-{id:012}");
        let output = run(here.path(), &["explain", "trail", "--id", &id, "--json"]);
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let sink = &value["pipelines"][0]["sinks"][0];
        if sink["receives"] == true {
            assert_eq!(sink["place"], "out/prod/111122223333/2026-01-15.ndjson");
            explained.push(sink["text"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(explained.len(), 4);
    assert_eq!(shipped.lines().collect::<Vec<_>>(), explained);
}

#[test]
fn without_a_configuration_the_default_chain_is_said() {
    let here = tempfile::tempdir().unwrap();
    golden("explain-default.txt", here.path(), &explained(here.path(), &read(1, ""), &[]));
}

#[test]
fn input_that_holds_no_single_event_is_told_what_to_do() {
    let here = tempfile::tempdir().unwrap();
    let files = [
        ("empty.json", String::new()),
        ("blank.json", "\n \n".to_owned()),
        ("text.json", "hello".to_owned()),
        ("cut.json", read(1, "")[..200].to_owned()),
        ("other.json", r#"{"a": 1}"#.to_owned()),
        ("digest.json", r#"{"awsAccountId":"111122223333","digestStartTime":"2026-01-15T10:00:00Z","digestEndTime":"2026-01-15T11:00:00Z","digestS3Bucket":"b","digestS3Object":"o","logFiles":[]}"#.to_owned()),
        ("many.json", format!(r#"{{"Records":[{},{},{},{}]}}"#, read(1, ""), read(2, ""), read(3, ""), read(4, ""))),
    ];
    for (name, content) in &files {
        fs::write(here.path().join(name), content).unwrap();
    }
    fs::create_dir(here.path().join("folder")).unwrap();
    let mut told = String::new();
    let mut cases: Vec<Vec<&str>> = files.iter().map(|(name, _)| vec![*name]).collect();
    cases.push(vec!["many.json", "--id", "no-such-id"]);
    cases.push(vec!["none.json"]);
    cases.push(vec!["folder"]);
    cases.push(vec!["folder", "--id", "x"]);
    cases.push(vec!["many.json", "-c", "none.toml"]);
    for arguments in cases {
        let mut all = vec!["explain"];
        all.extend(arguments);
        let output = run(here.path(), &all);
        assert!(output.stdout.is_empty());
        let code = output.status.code().unwrap();
        told.push_str(&format!("$ trailship {}\n{}[{code}]\n\n", all.join(" "), text(&output.stderr)));
    }
    golden("explain-errors.txt", here.path(), &told);
}

#[test]
fn an_event_is_read_from_standard_input_and_found_by_its_record_id() {
    let here = tempfile::tempdir().unwrap();
    let mut child = trailship(here.path())
        .args(["explain", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(read(1, "").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["event"]["object"], "-");
    let id = value["recognised"]["record_id"].as_str().unwrap();
    fs::write(here.path().join("two.ndjson"), format!("{}\n{}\n", read(2, ""), read(1, ""))).unwrap();
    let output = run(here.path(), &["explain", "two.ndjson", "--id", id, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["event"]["record"], &found["recognised"]["record_id"]), (&1.into(), &id.into()));
}

/// The bar is 100 ms with the binary as shipped; this one is not optimised, and other tests run beside it.
#[test]
#[allow(clippy::disallowed_methods, reason = "another process is measured")]
fn one_object_is_answered_at_once() {
    let here = tempfile::tempdir().unwrap();
    prepare(here.path());
    tree(here.path(), &["--bytes", "300 kB"]);
    prepare(here.path());
    let ids = text(&run(here.path(), &["cat", "trail", "--limit", "40"]).stdout);
    let last: serde_json::Value = serde_json::from_str(ids.lines().last().unwrap()).unwrap();
    let id = last["eventID"].as_str().unwrap();
    let fastest = (0..5).map(|_| {
        let began = Instant::now();
        let output = run(here.path(), &["explain", "trail", "--id", id]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        began.elapsed()
    });
    assert!(fastest.min().unwrap() < Duration::from_millis(500));
}
