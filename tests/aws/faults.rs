//! The source `s3` against a server that misbehaves, and against more keys than a real one could hold.

use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;

use crate::fake_s3::{Asked, FakeS3, Fault, Kind, Run};
use crate::here::{ARCHIVE, Here, log_file, record};
use crate::moto::{REGION, moto};
use crate::scene::{BLOCKED, STDOUT, key, object, reading};
use crate::sigv4;

const ROOT: &str = "AWSLogs/";
const ONE: &str = "111111111111";

/// A fake with one object of 400 kB, as it is; the ids in it, and a program that reads it.
fn one(
    choose: impl Fn(&Asked<'_>) -> Option<Fault> + Send + Sync + 'static,
) -> (Runtime, FakeS3, Here, Vec<String>) {
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, choose));
    let ids: Vec<String> = (0..400).map(|number| format!("{number:04}")).collect();
    let pad = format!(r#","pad":"{}""#, "x".repeat(1000));
    let text = log_file(&ids.iter().map(|id| record(id, &pad)).collect::<Vec<_>>());
    fake.put(&key(ROOT, ONE, "eu-west-1", 10, "a"), text.into_bytes());
    let here = reading(&fake.endpoint(), "type = \"s3\"\nbucket = \"trail\"", ARCHIVE);
    (runtime, fake, here, ids)
}

#[test]
fn bodies_that_break_off_are_fetched_on_from_there() {
    let (_runtime, fake, here, ids) = one(|asked| match (asked.kind, asked.before) {
        (Kind::Get, 0) => Some(Fault::Truncated(100_000)),
        (Kind::GetFrom, 0) => Some(Fault::Reset(50_000)),
        (Kind::GetFrom, 1) => Some(Fault::Truncated(1)),
        _ => None,
    });
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids, "{}", ran.said);
    assert_eq!((fake.count(Kind::Get), fake.count(Kind::GetFrom)), (1, 3), "{}", ran.said);
}

#[test]
fn what_is_told_to_slow_down_or_breaks_is_asked_for_again() {
    // Three are the SDK's own tries.
    let (_runtime, fake, here, ids) = one(|asked| match asked.before {
        0 | 2 => Some(Fault::SlowDown),
        1 | 3 => Some(Fault::Internal),
        _ => None,
    });
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids, "{}", ran.said);
    assert_eq!((fake.count(Kind::Get), here.rejects().len()), (5, 0), "{}", ran.said);
    assert!(ran.said.contains("asked too often (SlowDown"), "{}", ran.said);
}

#[test]
fn a_body_that_stalls_is_given_up_and_fetched_on() {
    let (_runtime, _fake, here, ids) =
        one(|asked| (asked.kind == Kind::Get && asked.before == 0).then_some(Fault::Stalled(200_000)));
    let began = SystemTime::now();
    let ran = here.once();
    ran.ended(0);
    assert_eq!(here.ids("out"), ids, "{}", ran.said);
    assert!(began.elapsed().unwrap() < Duration::from_secs(60), "{}", ran.said);
}

#[test]
fn credentials_that_are_refused_are_told() {
    let (_runtime, _fake, here, _) = one(|_| Some(Fault::Refused("InvalidAccessKeyId")));
    let mut running = here.start(&["run"]);
    running.until("it is told", |said| said.contains("are not valid (InvalidAccessKeyId"));
    running.stop();
}

/// The source's own promise is 3 s; the machine of a test may be busy with others.
#[test]
fn the_first_record_of_a_hundred_million_keys_comes_soon() {
    let runtime = Runtime::new().unwrap();
    let minute = jiff::Timestamp::now().as_second() / 60;
    let keys = 2_000_000;
    let runs = (0..50).map(|number| Run {
        prefix: format!("{ROOT}{:012}/CloudTrail/eu-west-1/", 100_000_000_000_u64 + number),
        first: minute - 2_000_000,
        every: 1,
        keys,
    });
    let fake = runtime.block_on(FakeS3::start(runs.collect(), Duration::from_millis(20), |_| None));
    let here = reading(&fake.endpoint(), "type = \"s3\"\nbucket = \"trail\"", STDOUT);
    let began = SystemTime::now();
    let mut running = here.start_unread(&["run"]);
    assert_eq!(running.first_byte(), b'{');
    let waited = began.elapsed().unwrap();
    eprintln!(
        "first of {} keys after {waited:?}, {} folders and {} pages listed",
        keys * 50,
        fake.count(Kind::Folders),
        fake.count(Kind::List)
    );
    assert!(waited < Duration::from_secs(20), "{}", running.said());
}

#[test]
fn every_request_is_signed_as_aws_asks_for_it() {
    let runtime = Runtime::new().unwrap();
    for (secret, works) in [("test", true), ("another", false)] {
        let signed = move |asked: &Asked<'_>| sigv4::check(asked.head, secret).err().map(Fault::Refused);
        let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, signed));
        // Names that are written differently in a path, in a query and in a signature.
        for root in ["AWSLogs/", "a b+c%20=\u{e9}&~*'(!)/AWSLogs/", "//x/AWSLogs/"] {
            fake.put(&key(root, ONE, "eu-west-1", 10, "a"), object(&[root]));
        }
        let source = "type = \"s3\"\nbucket = \"trail\"\nrequester_pays = true\nowner = \"123456789012\"";
        let here = reading(&fake.endpoint(), source, ARCHIVE);
        if works {
            let ran = here.once();
            ran.ended(0);
            assert_eq!(here.ids("out").len(), 3, "{}", ran.said);
        } else {
            let mut running = here.start(&["run"]);
            running.until("it is told", |said| said.contains("are not valid (SignatureDoesNotMatch"));
            running.stop();
        }
    }
}

#[test]
fn a_sink_that_fails_counts_against_no_object() {
    let (_runtime, fake, _, mut ids) = one(|_| None);
    let here = reading(&fake.endpoint(), "type = \"s3\"\nbucket = \"trail\"", BLOCKED);
    std::fs::write(here.at("blocked"), "not a folder").unwrap();
    let mut running = here.start(&["run"]);
    let began = SystemTime::now();
    running.until("the sink was tried for a while", |said| {
        said.contains("Not a directory") && began.elapsed().unwrap() > Duration::from_secs(4)
    });
    assert_eq!(fake.count(Kind::Get), 1, "{}", running.said());
    // Also where it is lent again by another run.
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.end();
    std::fs::remove_file(here.at("blocked")).unwrap();
    let mut running = here.start(&["run"]);
    running.until("it is shipped", |_| here.ids("blocked").len() >= ids.len());
    running.stop().ended(0);
    ids.sort();
    assert_eq!((here.ids("blocked"), here.rejects().len()), (ids, 0));
}

#[test]
fn a_role_that_may_not_be_assumed_is_named() {
    let runtime = Runtime::new().unwrap();
    let refused =
        |asked: &Asked<'_>| asked.head.starts_with("POST").then_some(Fault::Refused("AccessDenied"));
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, refused));
    let role = "arn:aws:iam::123456789012:role/trailship";
    let source =
        format!("type = \"s3\"\nbucket = \"trail\"\naws.role_arn = \"{role}\"\naws.external_id = \"acme\"");
    let here = reading(&fake.endpoint(), &source, ARCHIVE);
    let mut running = here.start(&["run"]);
    running.until("it is told", |said| said.contains(&format!("{role} may not be assumed")));
    let ran = running.stop();
    assert!(ran.said.contains("allow sts:AssumeRole"), "{}", ran.said);
}

#[test]
fn a_profile_wins_over_the_environment_and_a_wrong_one_is_told() {
    let runtime = Runtime::new().unwrap();
    let others = |asked: &Asked<'_>| {
        let by = asked.header("authorization").unwrap_or_default();
        (!by.contains("Credential=OFPROFILE/")).then_some(Fault::Refused("AccessDenied"))
    };
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, others));
    fake.put(&key("AWSLogs/", "111111111111", REGION, 5, "x"), object(&["one"]));
    let profiles = "[profile audit]\naws_access_key_id = OFPROFILE\naws_secret_access_key = secret\n";
    for (name, is_there) in [("audit", true), ("audti", false)] {
        let source = format!("type = \"s3\"\nbucket = \"trail\"\naws.profile = \"{name}\"");
        let here = reading(&fake.endpoint(), &source, ARCHIVE);
        let file = here.at("aws-config");
        std::fs::write(&file, profiles).unwrap();
        let here = here.knowing([("AWS_CONFIG_FILE", file.to_str().unwrap())]);
        if is_there {
            here.once().ended(0);
            assert_eq!(here.ids("out"), ["one"]);
        } else {
            let mut running = here.start(&["run"]);
            running.until("it is told", |said| said.contains("profile `audti`: no credentials"));
            running.stop();
        }
    }
}

#[test]
fn a_role_is_assumed_where_roles_are_whatever_the_buckets_endpoint_is() {
    let Some(moto) = moto() else { return };
    let runtime = Runtime::new().unwrap();
    let others = |asked: &Asked<'_>| {
        asked.header("x-amz-security-token").is_none().then_some(Fault::Refused("AccessDenied"))
    };
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, others));
    fake.put(&key("AWSLogs/", "111111111111", REGION, 5, "x"), object(&["one"]));
    let source =
        "type = \"s3\"\nbucket = \"trail\"\naws.role_arn = \"arn:aws:iam::123456789012:role/trailship\"";
    let here = reading(&fake.endpoint(), source, ARCHIVE);
    let ran = here.knowing([("AWS_ENDPOINT_URL_STS", &moto.endpoint())]);
    ran.once().ended(0);
    assert_eq!(ran.ids("out"), ["one"]);
}

#[test]
fn what_s3_said_of_an_object_is_in_its_reject() {
    let refused = |asked: &Asked<'_>| asked.head.contains("refused.json").then_some(Fault::Refused("Secret"));
    let runtime = Runtime::new().unwrap();
    let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::ZERO, refused));
    fake.put(&key("AWSLogs/", "111111111111", REGION, 6, "a"), object(&["one"]));
    fake.put(&key("AWSLogs/", "111111111111", REGION, 5, "refused"), object(&["two"]));
    let here = reading(&fake.endpoint(), "type = \"s3\"\nbucket = \"trail\"", ARCHIVE);
    here.once().ended(3);
    let rejects = here.rejects();
    assert_eq!((here.ids("out"), rejects.len()), (vec!["one".to_owned()], 1));
    assert!(rejects[0].reason.contains("Secret"), "{}", rejects[0].reason);
}

#[test]
fn a_data_dir_in_memory_is_warned_about() {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    if !mounts.contains(" /dev/shm tmpfs") {
        eprintln!("skipped: /dev/shm is no tmpfs");
        return;
    }
    let (_runtime, _fake, here, _) = one(|_| None);
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let text = std::fs::read_to_string(here.at("trailship.toml")).unwrap();
    let text = text.replace("data_dir = \"state\"", &format!("data_dir = {:?}", folder.path().join("state")));
    std::fs::write(here.at("trailship.toml"), text).unwrap();
    let mut running = here.start(&["run"]);
    running.until("it is told", |said| said.contains("which lives in memory: what was shipped is forgotten"));
    running.stop();
}
