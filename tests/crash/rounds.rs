//! `kill -9` at moments that chance picks.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::arrivals::{Site, below};

/// Rounds on one tree; then a new one, so that also first runs are killed.
const ON_ONE_TREE: u64 = 8;

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// A time before `end`.
pub(crate) fn between(chance: &mut Chance, end: Duration) -> Duration {
    Duration::from_micros(below(chance, u64::try_from(end.as_micros()).unwrap().max(1)))
}

/// Tells the round in which the test fails.
struct Told {
    round: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in round {}", self.round);
        }
    }
}

#[test]
fn nothing_is_lost_or_made_up_whenever_it_is_killed() {
    let rounds = number("TRAILSHIP_CRASH_ROUNDS").unwrap_or(100);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("TRAILSHIP_CRASH_SEED").unwrap_or(now.as_secs());
    eprintln!("{rounds} rounds, TRAILSHIP_CRASH_SEED={seed}");
    let began = Instant::now();
    let (mut copies, mut told, mut in_time) = (0, 0, 0);
    // How long a run takes that is not killed.
    let mut takes = Duration::from_millis(300);
    let mut site = Site::new();
    for round in 0..rounds {
        let _told = Told { round };
        if round > 0 && round % 100 == 0 {
            eprintln!("{round} rounds in {:.0?}", began.elapsed());
        }
        let mut chance = Chance::seed_from_u64(seed.wrapping_add(round));
        if round % ON_ONE_TREE == 0 {
            (copies, told) = (copies + site.oracle.copies.0, told + site.oracle.copies.1);
            site = Site::new();
        }
        let many = 1 + below(&mut chance, 30);
        site.arrive(&mut chance, many);
        let follows = below(&mut chance, 3) == 0;
        let started = Instant::now();
        let mut running = site.here.start(if follows { &["run"] } else { &["run", "--once"] });
        let moment = between(&mut chance, takes);
        let before = between(&mut chance, moment);
        std::thread::sleep(before);
        if below(&mut chance, 2) == 0 {
            site.complete();
        }
        let few = below(&mut chance, 4);
        site.arrive(&mut chance, few);
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        if !running.has_ended() {
            in_time += 1;
            running.signal(Signal::SIGKILL);
        }
        site.oracle.ran(&running.end());
        let last = round % ON_ONE_TREE == ON_ONE_TREE - 1 || round + 1 == rounds;
        if !last && chance.next_u64() % 2 == 0 {
            continue;
        }
        site.complete();
        let ends = Instant::now();
        let ran = site.here.once();
        // Not what one slow moment of the machine says.
        takes = (takes * 3 + ends.elapsed()) / 4;
        site.oracle.ran(&ran);
        site.oracle.check(&site.here, &ran);
    }
    (copies, told) = (copies + site.oracle.copies.0, told + site.oracle.copies.1);
    let took = began.elapsed();
    eprintln!(
        "{rounds} rounds in {took:.0?}: {in_time} killed before their end, {copies} copies of {told} told"
    );
    assert!(in_time * 2 > rounds, "most had ended before they were killed");
}

/// The names are strings of the program where the places are.
#[cfg(not(feature = "failpoints"))]
#[test]
fn the_program_as_shipped_has_no_failpoints() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_trailship")).unwrap();
    for name in ["FAILPOINTS", "state.before_commit", "file.before_sync"] {
        let found = memchr::memmem::find(&program, name.as_bytes());
        assert_eq!(found, None, "{name} is in the program");
    }
}
