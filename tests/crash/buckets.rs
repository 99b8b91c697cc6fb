//! `kill -9` at moments that chance picks, while objects arrive in a bucket: found by listing it, and by messages on a queue.
//!
//! Objects arrive under old names and new ones, some twice under two names, some damaged, some told of twice; the server
//! breaks off some of its answers.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::arrivals::{TWO, below, event};
use crate::fake_s3::{Asked, FakeS3, Fault, Kind};
use crate::here::{Here, gz, log_file};
use crate::moto::{Moto, Queue, REGION, moto};
use crate::oracle::{MOST_RECORDS, Oracle};
use crate::rounds::{between, number};

/// Rounds on one bucket; then a new one, so that also first runs are killed.
const ON_ONE_BUCKET: u64 = 10;
/// What a run has to be killed within that follows the queue: leases of a killed one are over by then.
const FOLLOWS: Duration = Duration::from_millis(1500);

/// A bucket, perhaps a queue, what reads them, and what was put into them.
struct Site {
    _runtime: Runtime,
    fake: FakeS3,
    queue: Option<Queue>,
    here: Here,
    oracle: Oracle,
    objects: u64,
    whole: Vec<(Vec<u8>, Vec<String>)>,
}

/// Some answers break off, some are refused for the moment.
fn troubles(asked: &Asked<'_>) -> Option<Fault> {
    let chance = xxhash_rust::xxh3::xxh3_64(asked.head.as_bytes()) % 100;
    match (asked.kind, asked.before) {
        (Kind::Get, 0) if chance < 5 => Some(Fault::Truncated(60)),
        (Kind::Get, 0) if chance < 8 => Some(Fault::Reset(20)),
        (Kind::Get | Kind::List, _) if chance > 96 && asked.before.is_multiple_of(3) => Some(Fault::SlowDown),
        _ => None,
    }
}

impl Site {
    fn new(queue: Option<(&'static Moto, Queue)>) -> Site {
        let runtime = Runtime::new().unwrap();
        let fake = runtime.block_on(FakeS3::start(Vec::new(), Duration::from_millis(5), troubles));
        let source = match &queue {
            None => "type = \"s3\"\nbucket = \"trail\"\nevery = \"1s\"".to_owned(),
            Some((_, queue)) => format!("type = \"sqs\"\nqueue_url = \"{}\"\nlease = \"2s\"", queue.url),
        };
        let sqs = queue.as_ref().map_or_else(String::new, |(moto, _)| moto.endpoint());
        let here = Here::with("").reading(&format!("{source}\naws.path_style = true"), TWO).knowing([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_S3", &fake.endpoint()),
            ("AWS_ENDPOINT_URL_SQS", &sqs),
        ]);
        let queue = queue.map(|(_, queue)| queue);
        Site {
            _runtime: runtime,
            fake,
            queue,
            here,
            oracle: Oracle::default(),
            objects: 0,
            whole: Vec::new(),
        }
    }

    /// Some objects arrive, under names of any minute of the last three quarters of an hour.
    fn arrive(&mut self, chance: &mut Chance, objects: u64) {
        for _ in 0..objects {
            self.objects += 1;
            let (account, minutes) = (below(chance, 3), below(chance, 45));
            let at =
                jiff::Timestamp::now() - jiff::SignedDuration::from_mins(i64::try_from(minutes).unwrap());
            let (day, minute, account) =
                (at.strftime("%Y/%m/%d"), at.strftime("%Y%m%dT%H%M"), format!("11112222333{account}"));
            let key = format!(
                "AWSLogs/{account}/CloudTrail/{REGION}/{day}/{account}_CloudTrail_{REGION}_{minute}Z_{:08x}{:08}.json.gz",
                below(chance, 1 << 32),
                self.objects
            );
            let (bytes, ids) = self.object(chance, &account);
            self.fake.put(&key, bytes);
            self.oracle.put(ids);
            if let Some(queue) = &self.queue {
                let body = json!({ "s3Bucket": "trail", "s3ObjectKey": [key] }).to_string();
                queue.send(&body);
                if below(chance, 10) == 0 {
                    queue.send(&body);
                }
            }
        }
    }

    /// The bytes of the next object, and the ids in it.
    fn object(&mut self, chance: &mut Chance, account: &str) -> (Vec<u8>, Vec<String>) {
        let kind = below(chance, 10);
        if kind == 0 && !self.whole.is_empty() {
            let number = below(chance, self.whole.len() as u64);
            return self.whole[usize::try_from(number).unwrap()].clone();
        }
        let records = 1 + below(chance, MOST_RECORDS);
        let mut ids: Vec<String> = (0..records).map(|record| format!("{}-{record}", self.objects)).collect();
        let account = u64::from(account.as_bytes()[11] - b'0');
        let mut texts: Vec<String> = ids.iter().map(|id| event(id, account, below(chance, 300))).collect();
        if kind == 1 {
            let mark = format!("bad-{}-", self.objects);
            let bad = usize::try_from(below(chance, records)).unwrap();
            ids.remove(bad);
            texts[bad] = event(&mark, 0, 10).replace(r#""eventVersion":"#, r#""eventVersion""#);
            self.oracle.damage(mark);
            return (gz(log_file(&texts)), ids);
        }
        let object = (gz(log_file(&texts)), ids);
        self.whole.push(object.clone());
        object
    }

    /// Ships everything there is, and compares.
    fn settle(&mut self) {
        let ran = match &self.queue {
            None => self.here.once(),
            Some(queue) => {
                // Messages of a killed run are hidden until its leases end.
                let mut running = self.here.start(&["run"]);
                running.until("the queue is empty", |said| {
                    said.contains("receiving messages") && queue.count() == (0, 0)
                });
                self.oracle.forgives();
                running.stop()
            }
        };
        self.oracle.ran(&ran);
        self.oracle.check(&self.here, &ran);
    }
}

fn rounds(name: &str, site: impl Fn(u64) -> Site) {
    let rounds = number("TRAILSHIP_CRASH_BUCKET_ROUNDS").unwrap_or(20);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("TRAILSHIP_CRASH_SEED").unwrap_or(now.as_secs());
    eprintln!("{name}: {rounds} rounds, TRAILSHIP_CRASH_SEED={seed}");
    let (began, mut in_time, mut copies) = (Instant::now(), 0, 0);
    let mut takes = Duration::from_millis(800);
    let mut at = site(0);
    for round in 0..rounds {
        let mut chance = Chance::seed_from_u64(seed.wrapping_add(round));
        if round > 0 && round % ON_ONE_BUCKET == 0 {
            copies += at.oracle.copies.0;
            at = site(round);
        }
        let many = 1 + below(&mut chance, 20);
        at.arrive(&mut chance, many);
        let follows = at.queue.is_some() || below(&mut chance, 2) == 0;
        let started = Instant::now();
        let mut running = at.here.start(if follows { &["run"] } else { &["run", "--once"] });
        let moment = between(&mut chance, if follows { FOLLOWS } else { takes });
        let before = between(&mut chance, moment);
        std::thread::sleep(before);
        let few = below(&mut chance, 4);
        at.arrive(&mut chance, few);
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        if running.has_ended() {
            takes = takes * 3 / 4;
        } else {
            in_time += 1;
            running.signal(Signal::SIGKILL);
        }
        at.oracle.ran(&running.end());
        let last = round % ON_ONE_BUCKET == ON_ONE_BUCKET - 1 || round + 1 == rounds;
        if last || chance.next_u64() % 3 == 0 {
            let ends = Instant::now();
            at.settle();
            takes = (takes * 3 + ends.elapsed()) / 4;
        }
    }
    copies += at.oracle.copies.0;
    let took = began.elapsed();
    eprintln!("{name}: {rounds} rounds in {took:.0?}: {in_time} killed before their end, {copies} copies");
    assert!(in_time * 2 > rounds, "most had ended before they were killed");
}

#[test]
fn nothing_of_a_bucket_is_lost_whenever_it_is_killed() {
    rounds("s3", |_| Site::new(None));
}

#[test]
fn nothing_told_by_a_queue_is_lost_whenever_it_is_killed() {
    let Some(moto) = moto() else { return };
    rounds("sqs", |round| Site::new(Some((moto, moto.queue(&format!("crash-{round}"), &json!({}))))));
}
