//! `kill -9` at moments that chance picks, while records arrive in a stream that is resharded meanwhile, reads too fast for
//! some, and fails now and then.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::SeedableRng as _;
use tokio::runtime::Runtime;

use crate::arrivals::below;
use crate::fake_kinesis::{FakeKinesis, Rules};
use crate::here::{Here, gz, record};
use crate::moto::REGION;
use crate::rounds::{between, number};

/// Rounds on one stream; then a new one, so that also first runs are killed.
const ON_ONE_STREAM: u64 = 10;
/// How long a run that follows may go on.
const FOLLOWS: Duration = Duration::from_millis(1500);

/// A stream, what reads it, and what was put into it.
struct Site {
    _runtime: Runtime,
    fake: FakeKinesis,
    here: Here,
    ids: BTreeSet<String>,
    open: Vec<usize>,
}

impl Site {
    fn new() -> Site {
        let runtime = Runtime::new().unwrap();
        let rules = Rules { fails_every: 23, expires_every: 4, ..Rules::default() };
        let fake = runtime.block_on(FakeKinesis::start(3, rules, None));
        let source = "type = \"kinesis\"\nstream = \"trail\"\nfrom = \"trim_horizon\"";
        let sink = "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson\"\nrotate_age = \"1s\"\n";
        let here = Here::with("").reading(source, sink).knowing([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_KINESIS", &fake.endpoint()),
        ]);
        Site { _runtime: runtime, fake, here, ids: BTreeSet::new(), open: vec![0, 1, 2] }
    }

    /// Some records arrive, of every shape; sometimes a shard is split, or two are merged.
    fn arrive(&mut self, chance: &mut Chance, records: u64) {
        for _ in 0..records {
            let mut id = || {
                let id = format!("id-{:06}", self.ids.len());
                self.ids.insert(id.clone());
                record(&id, "").into_bytes()
            };
            let data = match below(chance, 4) {
                0 => id(),
                1 => [id(), id(), id()].join(&b'\n'),
                2 => gz([id(), id()].join(&b'\n')),
                _ => {
                    let parts: Vec<Vec<u8>> =
                        (0..5).map(|part| if part % 2 == 0 { id() } else { gz(id()) }).collect();
                    crate::fake_kinesis::aggregated(&parts)
                }
            };
            let shard = usize::try_from(below(chance, self.open.len() as u64)).unwrap();
            self.fake.put(self.open[shard], &data, Duration::ZERO);
        }
        let parents = 1 + usize::try_from(below(chance, 2)).unwrap();
        if below(chance, 3) == 0 && self.open.len() > parents {
            let closed: Vec<usize> = self.open.drain(..parents).collect();
            self.open.extend(self.fake.reshard(&closed, 3 - parents));
        }
    }

    fn missing(&self) -> Vec<String> {
        let came: BTreeSet<String> = self.here.ids("out").into_iter().collect();
        assert!(came.is_subset(&self.ids), "what was never put there has come");
        self.ids.difference(&came).cloned().collect()
    }
}

#[test]
fn nothing_of_a_stream_is_lost_whenever_it_is_killed() {
    let rounds = number("TRAILSHIP_CRASH_BUCKET_ROUNDS").unwrap_or(20);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("TRAILSHIP_CRASH_SEED").unwrap_or(now.as_secs());
    eprintln!("kinesis: {rounds} rounds, TRAILSHIP_CRASH_SEED={seed}");
    let (began, mut in_time, mut put, mut copies) = (Instant::now(), 0, 0, 0);
    // About how long a run takes that ends by itself.
    let mut takes = Duration::from_millis(1500);
    let mut at = Site::new();
    for round in 0..rounds {
        let mut chance = Chance::seed_from_u64(seed.wrapping_add(round));
        if round > 0 && round % ON_ONE_STREAM == 0 {
            put += at.ids.len();
            at = Site::new();
        }
        let many = 1 + below(&mut chance, 30);
        at.arrive(&mut chance, many);
        let started = Instant::now();
        let follows = below(&mut chance, 2) == 0;
        let mut running = at.here.start(if follows { &["run"] } else { &["run", "--once"] });
        let moment = between(&mut chance, if follows { FOLLOWS } else { takes });
        std::thread::sleep(between(&mut chance, moment));
        let few = below(&mut chance, 8);
        at.arrive(&mut chance, few);
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        if running.has_ended() {
            takes = takes * 3 / 4;
        } else {
            in_time += 1;
            takes = if follows { takes } else { takes * 5 / 4 };
            running.signal(Signal::SIGKILL);
        }
        running.end();
        if round % ON_ONE_STREAM == ON_ONE_STREAM - 1 || round + 1 == rounds || below(&mut chance, 4) == 0 {
            let ran = at.here.once();
            ran.ended(0);
            let missing = at.missing();
            assert!(missing.is_empty(), "in round {round}: {missing:?}; said {}", ran.said);
            copies += at.here.ids("out").len() - at.ids.len();
        }
    }
    put += at.ids.len();
    let took = began.elapsed();
    eprintln!(
        "kinesis: {rounds} rounds in {took:.0?}: {in_time} killed before their end, {put} records, {copies} copies"
    );
    assert!(in_time * 2 > rounds, "most had ended before they were killed");
}
