//! The source `s3` against moto.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::here::{ARCHIVE, id};
use crate::moto::moto;
use crate::scene::{PROMPT, key, object, reading};

const ONE: &str = "111111111111";
const TWO: &str = "222222222222";
const ROOT: &str = "AWSLogs/";

#[test]
fn every_layout_below_a_prefix_is_shipped_and_only_once() {
    let Some(moto) = moto() else { return };
    moto.bucket("layouts");
    let source = "type = \"s3\"\nbucket = \"layouts\"\nprefix = \"landing\"\nsince = \"beginning\"";
    let here = reading(&moto.endpoint(), source, ARCHIVE);
    let tree = ["generate", "--out", "tree", "--bytes", "400 kB", "--accounts", "2", "--regions", "2"];
    let [account, organisation]: [&[&str]; 2] = [
        &["--prefix", "landing/zone", "--seed", "3"],
        &["--prefix", "landing", "--seed", "4", "--organization", "o-abcdefghij"],
    ];
    for more in [account, organisation] {
        here.run(&[&tree, more].concat()).ended(0);
    }
    let root = here.at("tree");
    for entry in walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            let key = entry.path().strip_prefix(&root).unwrap().to_str().unwrap();
            moto.put("layouts", key, &std::fs::read(entry.path()).unwrap());
        }
    }
    moto.put("layouts", "landing/readme.txt", b"hello");
    moto.put("layouts", &format!("landing/{ROOT}{ONE}/vpcflowlogs/eu-west-1/2026/01/15/x.log.gz"), b"no");
    moto.put("layouts", &key(ROOT, ONE, "eu-west-1", 9, "other"), &object(&["not-below-the-prefix"]));

    let cat = here.run(&["cat", "tree"]);
    let mut expected: Vec<String> = String::from_utf8(cat.out).unwrap().lines().map(id).collect();
    expected.sort();
    let ran = here.once();
    ran.ended(0);
    assert!(expected.len() > 100 && here.ids("out") == expected, "{}", ran.said);

    let late = key(&format!("landing/{ROOT}"), ONE, "eu-west-1", 9, "late");
    moto.put("layouts", &late, &object(&["late"]));
    let again = here.once();
    again.ended(0);
    assert_eq!((again.books().read, here.ids("out").len()), (1, expected.len() + 1));
}

#[test]
fn new_accounts_regions_and_late_files_come_without_a_restart() {
    let Some(moto) = moto() else { return };
    moto.bucket("following");
    let here = reading(&moto.endpoint(), "type = \"s3\"\nbucket = \"following\"\nevery = \"1s\"", PROMPT);
    moto.put("following", &key(ROOT, ONE, "eu-west-1", 10, "a"), &object(&["first"]));
    let mut running = here.start(&["run"]);
    let mut expected = vec!["first".to_owned()];
    for (name, at) in [
        ("", String::new()),
        ("newer", key(ROOT, ONE, "eu-west-1", 1, "b")),
        ("late", key(ROOT, ONE, "eu-west-1", 50, "c")),
        ("same-minute-smaller", key(ROOT, ONE, "eu-west-1", 10, "0")),
        ("new-region", key(ROOT, ONE, "us-east-1", 2, "d")),
        ("new-account", key("AWSLogs/o-abcdefghij/", TWO, "eu-west-1", 2, "e")),
    ] {
        if !name.is_empty() {
            moto.put("following", &at, &object(&[name]));
            expected.push(name.to_owned());
            expected.sort();
        }
        running.until(name, |_| here.ids("out") == expected);
    }
    running.stop().ended(0);
    let again = here.once();
    assert_eq!(again.ended(0).books().read, 0);
}

#[test]
fn a_range_of_time_accounts_and_regions_can_be_chosen() {
    let Some(moto) = moto() else { return };
    moto.bucket("chosen");
    for (minutes, name) in [(300, "old"), (200, "middle"), (30, "new")] {
        for (account, region) in [(ONE, "eu-west-1"), (ONE, "us-east-1"), (TWO, "eu-west-1")] {
            let ids = format!("{name}-{}-{region}", &account[..1]);
            moto.put("chosen", &key(ROOT, account, region, minutes, "x"), &object(&[&ids]));
        }
    }
    let one = "accounts.exclude = [\"222222222222\"]\nregions.include = [\"eu-west-1\"]";
    for (settings, expected) in [
        (one.to_owned(), vec!["new-1-eu-west-1"]),
        (format!("since = \"4h\"\nuntil = \"2h\"\n{one}"), vec!["middle-1-eu-west-1"]),
        (
            "since = \"beginning\"\nregions.exclude = [\"eu-west-1\"]".to_owned(),
            vec!["middle-1-us-east-1", "new-1-us-east-1", "old-1-us-east-1"],
        ),
        (
            format!("since = \"beginning\"\nprefix = \"AWSLogs/{TWO}\""),
            vec!["middle-2-eu-west-1", "new-2-eu-west-1", "old-2-eu-west-1"],
        ),
    ] {
        let source = format!("type = \"s3\"\nbucket = \"chosen\"\n{settings}");
        let here = reading(&moto.endpoint(), &source, ARCHIVE);
        let ran = here.once();
        ran.ended(0);
        assert_eq!(here.ids("out"), expected, "{settings}: {}", ran.said);
    }
}

#[test]
fn a_wrong_bucket_and_missing_credentials_are_told() {
    let Some(moto) = moto() else { return };
    let source = "type = \"s3\"\nbucket = \"nowhere\"";
    let ran = reading(&moto.endpoint(), source, ARCHIVE).once();
    ran.ended(1);
    assert!(ran.said.contains("there is no bucket `nowhere`"), "{}", ran.said);
    let here = reading(&moto.endpoint(), source, ARCHIVE).knowing([("AWS_ACCESS_KEY_ID", "")]);
    let mut running = here.start(&["run"]);
    running.until("it is told", |said| said.contains("s3://nowhere: no credentials found"));
    running.stop();
}

#[test]
fn an_archived_object_goes_to_rejects_and_those_around_it_are_shipped() {
    let Some(moto) = moto() else { return };
    moto.bucket("archived");
    let here = reading(&moto.endpoint(), "type = \"s3\"\nbucket = \"archived\"", ARCHIVE);
    let cold = key(ROOT, ONE, "eu-west-1", 20, "b");
    moto.put("archived", &key(ROOT, ONE, "eu-west-1", 30, "a"), &object(&["before"]));
    moto.put_with("archived", &cold, &[("x-amz-storage-class", "GLACIER")], &object(&["cold"]));
    moto.put("archived", &key(ROOT, ONE, "eu-west-1", 10, "c"), &object(&["after"]));
    let ran = here.once();
    ran.ended(3);
    assert_eq!(here.ids("out"), ["after", "before"]);
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 1, "{rejects:?}");
    assert_eq!(rejects[0].object, format!("s3://archived/{cold}"));
    assert!(rejects[0].reason.contains("archived"), "{}", rejects[0].reason);
    assert_eq!(ran.told("is archived").len(), 2, "lent three times, the third goes to rejects: {}", ran.said);
    // There is nothing in the entry to ship, so it stays.
    let replayed = here.run(&["replay", "--all"]);
    replayed.ended(1);
    assert!(replayed.said.contains("it holds no bytes"), "{}", replayed.said);
    assert_eq!(here.rejects().len(), 1);
    assert_eq!(here.once().ended(0).books().read, 0);
}

#[test]
fn killed_in_the_middle_nothing_is_lost() {
    let Some(moto) = moto() else { return };
    moto.bucket("killed");
    let here = reading(&moto.endpoint(), "type = \"s3\"\nbucket = \"killed\"", PROMPT);
    let mut expected = Vec::new();
    for number in 0..60 {
        let ids = [1, 2, 3].map(|part| format!("{number:02}-{part}"));
        let at = key(ROOT, ONE, "eu-west-1", 5 + number % 40, &format!("{number:02}"));
        moto.put("killed", &at, &object(&ids.each_ref().map(String::as_str)));
        expected.extend(ids);
    }
    expected.sort();
    for pause in [150, 500, 1200] {
        let running = here.start(&["run"]);
        std::thread::sleep(Duration::from_millis(pause));
        running.signal(Signal::SIGKILL);
        running.end();
    }
    let ran = here.once();
    ran.ended(0);
    let mut ids = here.ids("out");
    ids.dedup();
    assert_eq!(ids, expected, "{}", ran.said);
}
