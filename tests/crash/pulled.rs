//! `kill -9` at moments that chance picks, while events appear in a log group, or in the event history: old ones, new ones
//! and late ones, with a server that throttles, breaks off, and answers with empty pages.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use tokio::runtime::Runtime;

use crate::arrivals::{TWO, below, event};
use crate::fake_history::{self, FakeHistory};
use crate::fake_json::Answer;
use crate::fake_logs::{FakeLogs, GROUP, Row, Ways};
use crate::here::Here;
use crate::moto::REGION;
use crate::oracle::Oracle;
use crate::rounds::{between, number};

/// Rounds on one place; then a new one, so that also first runs are killed.
const ON_ONE_PLACE: u64 = 10;
const FOLLOWS: Duration = Duration::from_millis(1500);

/// Where events appear.
enum Fake {
    Logs(FakeLogs),
    History(FakeHistory),
}

impl Fake {
    /// An event appears, that happened at this time (milliseconds).
    fn put(&self, at: i64, id: &str, text: &str) {
        match self {
            Fake::Logs(fake) => fake.put(at, "s", text),
            Fake::History(fake) => fake.put(REGION, at / 1000, id, text),
        }
    }
}

/// A log group or a history, what reads it, and what was put into it.
struct Site {
    _runtime: Runtime,
    fake: Fake,
    here: Here,
    oracle: Oracle,
    events: u64,
}

/// Some requests are throttled, some break off.
fn troubles(number: u64) -> Option<Answer> {
    match number % 53 {
        7 => Some(Answer::Refused(400, "ThrottlingException", "Rate exceeded")),
        13 => Some(Answer::Dies),
        19 => Some(Answer::Refused(503, "ServiceUnavailableException", "later")),
        _ => None,
    }
}

impl Site {
    fn logs() -> Site {
        let runtime = Runtime::new().unwrap();
        let ways = Ways { page: 25, empty: 5, repeats: true, fault: troubles, ..Ways::default() };
        let fake = runtime.block_on(FakeLogs::start(Row::default(), ways));
        let source = format!("type = \"cloudwatch_logs\"\nlog_group = \"{GROUP}\"");
        let endpoint = fake.endpoint();
        Site::of(runtime, Fake::Logs(fake), &source, &endpoint)
    }

    fn history() -> Site {
        let runtime = Runtime::new().unwrap();
        let fault = |_: &str, number| troubles(number);
        let ways = fake_history::Ways { empty: 5, grows: false, fault, ..fake_history::Ways::default() };
        let fake = runtime.block_on(FakeHistory::start(fake_history::Row::default(), ways));
        let endpoint = fake.endpoint();
        let source = "type = \"event_history\"\nsince = \"1 d\"\ndelay = \"2s\"";
        Site::of(runtime, Fake::History(fake), source, &endpoint)
    }

    fn of(runtime: Runtime, fake: Fake, source: &str, endpoint: &str) -> Site {
        let source =
            format!("{source}\nevery = \"1s\"\nrequests_per_second = 100\naws.endpoint = \"{endpoint}\"");
        let here = Here::with("").reading(&source, TWO).knowing([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", REGION),
        ]);
        Site { _runtime: runtime, fake, here, oracle: Oracle::default(), events: 0 }
    }

    /// Some events appear, of any moment of the last ten minutes: later than that none may be.
    fn arrive(&mut self, chance: &mut Chance, events: u64) {
        for _ in 0..events {
            self.events += 1;
            let ago = i64::try_from(below(chance, 600_000)).unwrap();
            let at = jiff::Timestamp::now().as_millisecond() - ago;
            if below(chance, 12) == 0 {
                let mark = format!("bad-{}-", self.events);
                let text = event(&mark, 0, 10).replace(r#""eventVersion":"#, r#""eventVersion""#);
                self.fake.put(at, &mark, &text);
                self.oracle.damage(mark);
                continue;
            }
            let id = format!("{}-", self.events);
            self.fake.put(at, &id, &event(&id, below(chance, 3), below(chance, 300)));
            self.oracle.put([id]);
        }
    }

    /// Ships everything there is, and compares.
    fn settle(&mut self) {
        let ran = self.here.once();
        // What was on its way when it was killed is known to nobody: it is read again.
        self.oracle.forgives();
        self.oracle.ran(&ran);
        self.oracle.check(&self.here, &ran);
    }
}

#[test]
fn nothing_of_a_log_group_is_lost_whenever_it_is_killed() {
    rounds("logs", Site::logs);
}

#[test]
fn nothing_of_the_event_history_is_lost_whenever_it_is_killed() {
    rounds("history", Site::history);
}

fn rounds(name: &str, site: fn() -> Site) {
    let rounds = number("TRAILSHIP_CRASH_BUCKET_ROUNDS").unwrap_or(20);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("TRAILSHIP_CRASH_SEED").unwrap_or(now.as_secs());
    eprintln!("{name}: {rounds} rounds, TRAILSHIP_CRASH_SEED={seed}");
    let (began, mut in_time, mut copies) = (Instant::now(), 0, 0);
    let mut takes = Duration::from_millis(800);
    let mut at = site();
    for round in 0..rounds {
        let mut chance = Chance::seed_from_u64(seed.wrapping_add(round));
        if round > 0 && round % ON_ONE_PLACE == 0 {
            copies += at.oracle.copies.0;
            at = site();
        }
        let many = 1 + below(&mut chance, 60);
        at.arrive(&mut chance, many);
        let follows = below(&mut chance, 2) == 0;
        let started = Instant::now();
        let mut running = at.here.start(if follows { &["run"] } else { &["run", "--once"] });
        let moment = between(&mut chance, if follows { FOLLOWS } else { takes });
        let before = between(&mut chance, moment);
        std::thread::sleep(before);
        let few = below(&mut chance, 10);
        at.arrive(&mut chance, few);
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        if running.has_ended() {
            takes = takes * 3 / 4;
        } else {
            in_time += 1;
            running.signal(Signal::SIGKILL);
        }
        at.oracle.ran(&running.end());
        let last = round % ON_ONE_PLACE == ON_ONE_PLACE - 1 || round + 1 == rounds;
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
