//! Several processes share a stream, by leases in moto's DynamoDB.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::here::{Here, Running, record, wait};
use crate::kinesis::{Stream, names};
use crate::moto::{Moto, moto};
use crate::scene::{PROMPT, reading};

/// Processes with a data directory each, and the same names.
fn sharing(moto: &Moto, stream: &str, processes: usize) -> Vec<Here> {
    (0..processes).map(|_| at(moto, stream, "trim_horizon", &format!("leases-{stream}"))).collect()
}

/// A process that begins there, with a table of that name.
fn at(moto: &Moto, stream: &str, from: &str, table: &str) -> Here {
    let source = format!(
        "type = \"kinesis\"\nstream = \"{stream}\"\nfrom = \"{from}\"\nleases = {{ table = \"{table}\", duration = \"3s\" }}"
    );
    reading(&moto.endpoint(), &source, PROMPT)
}

/// What is said when the table was found.
const SHARING: &str = "sharing the stream by leases";
/// What is said when the table has not the checkpoints that are known.
const LOST: &str = "the table of leases does not hold how far this source had shipped";

fn delete_table(moto: &Moto, table: &str) {
    moto.json("dynamodb", "DynamoDB_20120810.DeleteTable", &json!({ "TableName": table }));
}

/// The table's rows of shards.
fn rows(moto: &Moto, stream: &str) -> Vec<Value> {
    let all = json!({ "TableName": format!("leases-{stream}"), "ConsistentRead": true });
    let got = moto.json("dynamodb", "DynamoDB_20120810.Scan", &all);
    let items = got["Items"].as_array().cloned().unwrap_or_default();
    items.into_iter().filter(|item| item["shard"]["S"].as_str().unwrap().contains("/shardId-")).collect()
}

/// How many shards each owner has.
fn owners(moto: &Moto, stream: &str) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    for row in rows(moto, stream) {
        *owners.entry(row["owner"]["S"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    owners
}

/// What all have shipped, sorted, copies kept.
fn shipped<'a>(all: impl IntoIterator<Item = &'a Here>) -> Vec<String> {
    let mut ids: Vec<String> = all.into_iter().flat_map(|here| here.ids("out")).collect();
    ids.sort();
    ids
}

/// The same, copies left out.
fn once_each<'a>(all: impl IntoIterator<Item = &'a Here>) -> Vec<String> {
    let mut ids = shipped(all);
    ids.dedup();
    ids
}

/// Whether the table holds for each shard how far it is shipped.
fn kept(moto: &Moto, stream: &str) -> bool {
    let rows = rows(moto, stream);
    !rows.is_empty() && rows.iter().all(|row| row["sequence"]["S"].is_string())
}

fn put(stream: &Stream, ids: &[String]) {
    stream.put(&ids.iter().map(|id| record(id, "").into_bytes()).collect::<Vec<_>>());
}

/// Looks at the table until told to stop: a checkpoint that goes back, or a shard that is open again, is a panic.
fn watch(moto: &'static Moto, stream: &'static str, ends: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut last: BTreeMap<String, (u128, u64)> = BTreeMap::new();
        let mut seen = 0;
        while !ends.load(Ordering::SeqCst) {
            for row in rows(moto, stream) {
                let number = |name: &str| row[name]["N"].as_str().map_or(0, |text| text.parse().unwrap());
                let sequence = row["sequence"]["S"].as_str().map_or(0, |text| text.parse().unwrap());
                let shard = row["shard"]["S"].as_str().unwrap().to_owned();
                let now = (sequence, number("counter"));
                let before = last.insert(shard.clone(), now).unwrap_or_default();
                assert!(now.0 >= before.0 && now.1 >= before.1, "{shard} went back: {before:?} {now:?}");
                seen += u64::from(now != before);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        seen
    })
}

#[test]
fn three_processes_share_a_stream_and_nothing_is_lost_whoever_is_killed() {
    let Some(moto) = moto() else { return };
    let stream = Stream::new(moto, "shared", 6);
    let all = sharing(moto, "shared", 3);
    let mut running: Vec<Option<Running>> = all.iter().map(|here| Some(here.start(&["run"]))).collect();
    for one in running.iter_mut().flatten() {
        one.until("it has found the table", |said| said.contains(SHARING));
    }
    let even = |readers: usize| {
        let owners = owners(moto, "shared");
        owners.len() == readers && owners.values().all(|count| *count == 6 / readers)
    };
    assert_eq!(wait(|| rows(moto, "shared").len() == 6 && even(3)), None, "{:?}", owners(moto, "shared"));
    let ends = Arc::new(AtomicBool::new(false));
    let watching = watch(moto, "shared", ends.clone());
    let mut expected = Vec::new();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    for round in 0_u32..6 {
        let ids = names(&format!("round-{round}"), 120);
        let (first, second) = ids.split_at(60);
        put(&stream, first);
        expected.extend(ids.clone());
        let chance = xxhash_rust::xxh3::xxh3_64(format!("{seed} {round}").as_bytes());
        let killed = usize::try_from(chance % 3).unwrap();
        std::thread::sleep(Duration::from_millis(chance / 3 % 1500));
        if let Some(one) = running[killed].take() {
            one.signal(Signal::SIGKILL);
            one.end();
        }
        put(&stream, second);
        std::thread::sleep(Duration::from_millis(chance / 7 % 1500));
        running[killed] = Some(all[killed].start(&["run"]));
    }
    expected.sort();
    assert_eq!(wait(|| once_each(&all) == expected), None, "{} of {}", shipped(&all).len(), expected.len());
    assert_eq!(wait(|| even(3)), None, "{:?}", owners(moto, "shared"));
    // Those that leave in order give their shards back, and who is left has all of them.
    for one in running.drain(1..).flatten() {
        one.stop().ended(0);
    }
    assert_eq!(wait(|| even(1)), None, "{:?}", owners(moto, "shared"));
    ends.store(true, Ordering::SeqCst);
    let changes = watching.join().unwrap();
    assert!(changes > 20, "{changes}");
    running.remove(0).unwrap().stop().ended(0);
    assert_eq!(owners(moto, "shared").keys().collect::<Vec<_>>(), [""]);
    // One that ships what is there finds nothing more.
    assert_eq!(all[2].once().ended(0).books().read, 0);
}

#[test]
fn who_was_away_for_longer_than_its_lease_reads_nothing_more_of_it() {
    let Some(moto) = moto() else { return };
    let stream = Stream::new(moto, "away", 2);
    let all = sharing(moto, "away", 2);
    let mut first = all[0].start(&["run"]);
    put(&stream, &names("before", 40));
    first.until("it has shipped what was there", |_| shipped(&all).len() == 40);
    first.until("that is in the table", |_| kept(moto, "away"));
    let me = owners(moto, "away").into_keys().next().unwrap();
    first.signal(Signal::SIGSTOP);
    let mut second = all[1].start(&["run"]);
    second.until("it has both shards", |_| {
        let owners = owners(moto, "away");
        owners.len() == 1 && !owners.contains_key(&me)
    });
    put(&stream, &names("after", 40));
    first.signal(Signal::SIGCONT);
    second.until("all are there", |_| once_each(&all).len() == 80);
    first.until("it knows", |said| said.contains("another process reads this shard now"));
    // It takes one back by and by.
    first.until("they are balanced", |_| owners(moto, "away").len() == 2);
    let more = names("more", 40);
    put(&stream, &more);
    first.until("all are there", |_| once_each(&all).len() == 120);
    first.stop().ended(0);
    second.stop().ended(0);
    let mut expected = [names("after", 40), names("before", 40), more].concat();
    expected.sort();
    let mut once = shipped(&all);
    let copies = once.len();
    once.dedup();
    assert_eq!(once, expected);
    // What the shard that was taken over had not written down yet may come twice, no more.
    assert!(copies <= 160, "{copies}");
}

/// One process has shipped 20 records since it was started, and has ended; the table is not there any more, and 20 more have come.
fn without_its_table(moto: &'static Moto, name: &'static str) -> (Stream, Here, Vec<String>) {
    let stream = Stream::new(moto, name, 2);
    let here = at(moto, name, "latest", &format!("leases-{name}"));
    let mut running = here.start(&["run"]);
    running.until("it has found the table", |said| said.contains(SHARING));
    running.until("it reads", |_| {
        owners(moto, name).keys().all(|owner| !owner.is_empty()) && rows(moto, name).len() == 2
    });
    put(&stream, &names("before", 20));
    running.until("it has shipped what came", |_| here.ids("out").len() == 20);
    running.stop().ended(0);
    delete_table(moto, &format!("leases-{name}"));
    put(&stream, &names("after", 20));
    let mut expected = [names("before", 20), names("after", 20)].concat();
    expected.sort();
    (stream, here, expected)
}

#[test]
fn a_run_after_its_table_was_deleted_tells_it_and_reads_again_since_it_began() {
    let Some(moto) = moto() else { return };
    let (_stream, here, expected) = without_its_table(moto, "deleted");
    // Who knows nothing of the table that was there begins where it is configured.
    let other = at(moto, "deleted", "latest", "leases-other");
    let ran = other.once();
    assert!(!ran.ended(0).said.contains(LOST) && ran.books().read == 0, "{}", ran.said);
    let ran = here.once();
    assert!(ran.ended(0).said.contains(LOST), "{}", ran.said);
    assert_eq!(once_each([&here]), expected);
    // Then it goes on as ever.
    let ran = here.once();
    assert!(!ran.ended(0).said.contains(LOST) && ran.books().read == 0, "{}", ran.said);
}

#[test]
fn a_table_that_others_have_made_anew_without_knowing_is_read_again_by_who_knows() {
    let Some(moto) = moto() else { return };
    let (stream, here, mut expected) = without_its_table(moto, "anew");
    let newcomers: Vec<Here> = (0..2).map(|_| at(moto, "anew", "latest", "leases-anew")).collect();
    let mut running: Vec<Running> = newcomers.iter().map(|here| here.start(&["run"])).collect();
    running[0].until("it has found the table", |said| said.contains(SHARING));
    let shared = || rows(moto, "anew").iter().filter(|row| row["owner"]["S"].is_string()).count() == 2;
    running[0].until("they read", |_| shared());
    put(&stream, &names("late", 20));
    running[0].until("they ship", |_| once_each(&newcomers).len() == 20);
    expected.extend(names("late", 20));
    expected.sort();
    let all = [&here, &newcomers[0], &newcomers[1]];
    let mut first = here.start(&["run"]);
    first.until("it knows", |said| said.contains(LOST));
    first.until("nothing is missing", |_| once_each(all) == expected);
    // What was shipped before the table went may be all of it: who has a shard now reads it again.
    first.until("that is in the table", |_| kept(moto, "anew"));
    running.into_iter().for_each(|one| _ = one.stop().ended(0));
    first.stop().ended(0);
    for one in all {
        let ran = one.once();
        assert!(!ran.ended(0).said.contains(LOST) && ran.books().read == 0, "{}", ran.said);
    }
}

#[test]
fn several_that_know_of_a_deleted_table_make_it_anew_once() {
    let Some(moto) = moto() else { return };
    let stream = Stream::new(moto, "several", 4);
    let all: Vec<Here> = (0..3).map(|_| at(moto, "several", "latest", "leases-several")).collect();
    let mut running: Vec<Running> = all.iter().map(|here| here.start(&["run"])).collect();
    let owning = |stream| owners(moto, stream).keys().filter(|owner| !owner.is_empty()).count();
    running[0].until("it has found the table", |said| said.contains(SHARING));
    running[0].until("all read", |_| owning("several") == 3);
    put(&stream, &names("before", 40));
    running[0].until("it is shipped", |_| once_each(&all).len() == 40);
    // While they run.
    delete_table(moto, "leases-several");
    put(&stream, &names("after", 40));
    let mut expected = [names("before", 40), names("after", 40)].concat();
    expected.sort();
    running[0].until("nothing is missing", |_| once_each(&all) == expected);
    running[0].until("all read again", |_| owning("several") == 3 && kept(moto, "several"));
    let said: String = running.into_iter().map(|one| one.stop().ended(0).said.clone()).collect();
    assert!(said.contains(LOST), "{said}");
    for here in &all {
        let ran = here.once();
        assert!(!ran.ended(0).said.contains(LOST) && ran.books().read == 0, "{}", ran.said);
    }
}

#[test]
fn checkpoints_that_were_put_back_are_gone_on_from() {
    let Some(moto) = moto() else { return };
    let stream = Stream::new(moto, "restored", 2);
    let table = |name: &str| at(moto, "restored", "trim_horizon", name);
    let here = table("leases-restored");
    put(&stream, &names("before", 20));
    assert_eq!(here.once().ended(0).books().read, 20);
    let all = json!({ "TableName": "leases-restored", "ConsistentRead": true });
    let kept = moto.json("dynamodb", "DynamoDB_20120810.Scan", &all);
    delete_table(moto, "leases-restored");
    assert_eq!(here.once().ended(0).books().read, 20, "in a new table");
    put(&stream, &names("after", 20));
    delete_table(moto, "leases-restored");
    moto.json(
        "dynamodb",
        "DynamoDB_20120810.CreateTable",
        &json!({ "TableName": "leases-restored", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": "shard", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "shard", "KeyType": "HASH" }] }),
    );
    for item in kept["Items"].as_array().unwrap() {
        let put = json!({ "TableName": "leases-restored", "Item": item });
        moto.json("dynamodb", "DynamoDB_20120810.PutItem", &put);
    }
    let ran = here.once();
    assert!(!ran.ended(0).said.contains(LOST), "{}", ran.said);
    assert_eq!(ran.books().read, 20);
}
