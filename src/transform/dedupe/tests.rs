//! What is a copy, what waits for what, and what is forgotten.

use std::sync::Arc;

use super::*;
use crate::ack::{Reached, Settle, Settled};
use crate::transform::Local;

const SECOND: i64 = 1_000_000_000;

fn dedupe(settings: &str) -> Arc<Dedupe> {
    Arc::new(Dedupe::build(&toml::from_str(settings).unwrap()).unwrap())
}

/// Passes ends on as the engine does.
struct Desk(Arc<Dedupe>, Mutex<Vec<(u64, Verdict)>>);

impl Settle for Desk {
    fn settle(&self, settled: Settled) {
        lock(&self.1).push((settled.id.0, settled.verdict));
    }

    fn own_ended(&self, id: DeliveryId, span: Option<u64>, worst: Verdict) {
        self.0.settled(id, span, worst, Timestamp(0));
    }
}

struct World {
    dedupe: Arc<Dedupe>,
    desk: Arc<Desk>,
    local: Local,
    next: u64,
    now: i64,
}

impl World {
    fn new(settings: &str) -> World {
        let dedupe = dedupe(settings);
        let desk = Arc::new(Desk(dedupe.clone(), Mutex::default()));
        World { dedupe, desk, local: Local::default(), next: 0, now: 0 }
    }

    /// Lends what is known under a key.
    fn lend(&mut self, key: u128) -> Ack {
        self.next += 1;
        Ack::new(DeliveryId(self.next), DeliveryKey(key), self.desk.clone())
    }

    fn is_copy(&mut self, ack: &Ack, window: u32, id: u128) -> bool {
        let loan = Loan { ack, window };
        let flight = self.dedupe.flight(&loan, &mut self.local);
        self.dedupe.is_copy(id, &loan, Timestamp(self.now), flight)
    }

    fn ended(&self) -> Vec<(u64, Verdict)> {
        std::mem::take(&mut lock(&self.desk.1))
    }
}

#[test]
fn a_copy_ends_after_the_first_and_as_the_first_does() {
    for verdict in [Verdict::Delivered, Verdict::Rejected, Verdict::Failed] {
        let mut world = World::new("");
        let (first, second) = (world.lend(1), world.lend(2));
        assert!(!world.is_copy(&first, 0, 7) && world.is_copy(&first, 0, 7));
        assert!(world.is_copy(&second, 0, 7) && world.is_copy(&second, 0, 7));
        assert!(!world.is_copy(&second, 0, 8));
        second.settle(Verdict::Delivered);
        assert_eq!(world.ended(), []);
        first.settle(verdict);
        let fate = if verdict == Verdict::Failed { verdict } else { Verdict::Delivered };
        let mut ended = world.ended();
        ended.sort_by_key(|end| end.0);
        assert_eq!(ended, [(1, verdict), (2, fate)]);
        // Whatever became of the first: what the second brought besides was delivered.
        let third = world.lend(3);
        assert!(world.is_copy(&third, 0, 8));
    }
}

#[test]
fn what_failed_is_claimed_by_its_own_delivery_and_after_a_while_by_whoever_comes() {
    let mut world = World::new("");
    let first = world.lend(1);
    assert!(!world.is_copy(&first, 0, 7) && !world.is_copy(&first, 0, 8));
    first.settle(Verdict::Failed);
    let copy = world.lend(2);
    assert!(world.is_copy(&copy, 0, 7));
    copy.settle(Verdict::Delivered);
    assert_eq!(world.ended(), [(1, Verdict::Failed), (2, Verdict::Failed)]);
    let again = world.lend(1);
    assert!(!world.is_copy(&again, 0, 7));
    again.settle(Verdict::Delivered);
    assert_eq!(world.ended(), [(3, Verdict::Delivered)]);
    // It did not bring the other one again.
    world.now = CLAIM;
    let late = world.lend(4);
    assert!(world.is_copy(&late, 0, 7) && !world.is_copy(&late, 0, 8));
    late.settle(Verdict::Delivered);
    assert_eq!(world.ended(), [(4, Verdict::Delivered)]);
    assert!(lock(&world.dedupe.flights).open.is_empty() && lock(&world.dedupe.flights).of.is_empty());
}

#[test]
fn two_deliveries_that_hold_copies_of_each_other_both_end() {
    let mut world = World::new("");
    let (one, two) = (world.lend(1), world.lend(2));
    assert!(!world.is_copy(&one, 0, 7) && !world.is_copy(&two, 0, 8));
    assert!(world.is_copy(&one, 0, 8) && world.is_copy(&two, 0, 7));
    one.settle(Verdict::Delivered);
    assert_eq!(world.ended(), []);
    two.settle(Verdict::Delivered);
    let mut ended = world.ended();
    ended.sort_by_key(|end| end.0);
    assert_eq!(ended, [(1, Verdict::Delivered), (2, Verdict::Delivered)]);
}

#[test]
fn a_part_of_a_long_delivery_sets_free_what_waits_for_it() {
    let mut world = World::new("");
    let (long, short) = (world.lend(1), world.lend(2));
    let end = |offset| Some(Reached { offset, ..Reached::default() });
    assert!(!world.is_copy(&long, 0, 7));
    long.end_window(end(10), false);
    assert!(!world.is_copy(&long, 1, 8));
    assert!(world.is_copy(&short, 0, 7));
    short.settle(Verdict::Delivered);
    assert_eq!(world.ended(), [(2, Verdict::Delivered)]);
    let other = world.lend(3);
    assert!(world.is_copy(&other, 0, 8));
    other.settle(Verdict::Delivered);
    assert_eq!(world.ended(), []);
    long.end_window(end(20), false);
    assert_eq!(world.ended(), [(3, Verdict::Delivered)]);
    long.settle(Verdict::Delivered);
}

#[test]
fn an_id_is_remembered_for_the_window_and_not_for_two() {
    let mut world = World::new("window = \"10m\"");
    let first = world.lend(1);
    let second = world.lend(2);
    for id in 0..1000 {
        world.now = i64::try_from(id).unwrap() * SECOND;
        assert!(!world.is_copy(&first, 0, id));
    }
    first.settle(Verdict::Delivered);
    world.now = 1010 * SECOND;
    assert!((411..1000).all(|id| world.is_copy(&second, 0, id)));
    world.now = 2000 * SECOND;
    world.dedupe.tick(Timestamp(world.now));
    world.now = 2300 * SECOND;
    world.dedupe.tick(Timestamp(world.now));
    world.now = 2600 * SECOND;
    assert!((0..1000).all(|id| !world.is_copy(&second, 0, id)));
    assert_eq!(world.dedupe.forgotten(), 0);
    second.settle(Verdict::Delivered);
}

#[test]
fn what_was_failed_is_never_believed_whatever_the_clock_does() {
    let mut world = World::new("window = \"10m\"");
    world.now = 10_000 * SECOND;
    let first = world.lend(1);
    assert!(!world.is_copy(&first, 0, 7));
    world.now = 9_000 * SECOND;
    assert!(!world.is_copy(&first, 0, 8));
    first.settle(Verdict::Failed);
    for now in [9_500, 20_000, 20_001, 30_000] {
        world.dedupe.tick(Timestamp(now * SECOND));
    }
    world.now = 30_001 * SECOND;
    let second = world.lend(2);
    assert!(!world.is_copy(&second, 0, 7) && !world.is_copy(&second, 0, 8));
    second.settle(Verdict::Delivered);
}

#[test]
fn ids_that_are_too_many_are_forgotten_early_and_counted_and_memory_is_bounded() {
    let mut world = World::new("memory = \"1 MiB\"");
    let first = world.lend(1);
    for id in 0..100_000_u128 {
        // As XXH3 spreads them.
        assert!(!world.is_copy(&first, 0, xxhash_rust::xxh3::xxh3_128(&id.to_le_bytes())));
    }
    let (remembered, forgotten) = (world.dedupe.remembered(), world.dedupe.forgotten());
    assert_eq!(remembered + forgotten, 100_000);
    let places: usize = world
        .dedupe
        .shards
        .iter()
        .map(|shard| lock(shard).generations.iter().map(|one| one.ids.capacity() / 7 * 8).sum::<usize>())
        .sum();
    assert!(places * PLACE <= 1 << 20 && remembered > 25_000, "{places} places, {remembered} ids");
    first.settle(Verdict::Delivered);
}

#[test]
fn too_many_failures_forget_everything_rather_than_believe_one() {
    let mut world = World::new("");
    for number in 0..MOST_FAILED as u128 + 2 {
        let ack = world.lend(number + 1);
        assert!(!world.is_copy(&ack, 0, number));
        ack.settle(Verdict::Failed);
    }
    assert!(world.dedupe.forgotten() > MOST_FAILED as u64);
    let after = world.lend(1 << 64);
    assert!((0..MOST_FAILED as u128).all(|id| !world.is_copy(&after, 0, id)));
    after.settle(Verdict::Delivered);
}

#[test]
fn settings_that_can_remember_nothing_are_told() {
    let problems = |settings: &str| {
        let config: Config = toml::from_str(settings).unwrap();
        config.problems().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(problems("window = \"10ms\"\nmemory = \"1 KiB\"").len(), 2);
    assert!(problems("").is_empty());
}
