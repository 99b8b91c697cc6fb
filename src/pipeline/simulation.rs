//! The engine under scripted sources and sinks, at budgets down to the smallest: nothing may get stuck, whatever happens in
//! whatever order. Everything is drawn from a seed, so a seed that fails names the whole run.
//!
//! Real are the lanes, jobs, packers, the budget, feeds and runners. There are no threads: a worker is moved one step at a
//! time, and gives way now and then where it takes memory; whoever goes next is drawn. Time is tokio's paused clock.
//!
//! `TRAILSHIP_SEEDS=1000` runs more seeds than the suite does, `TRAILSHIP_SEEDS=17..18` runs one, and
//! `TRAILSHIP_WINDOW=8388608` runs them with everything as large as it really is.

mod actors;
mod copies;
mod isolation;
mod objects;
mod refused;
mod world;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::budget::AccountId;
use super::job;
use crate::encode::compress::Compression;
use crate::encode::frame::Frame;
use crate::encode::packer::Packing;
use crate::testing::contract::Chance;
use actors::Manners;
use objects::{Object, Objects};
use world::{Pace, Plan, World, smallest};

/// Windows in most runs: a thirty-second of the real ones, and most sizes with them.
const WINDOW: usize = 256 << 10;
/// Seeds in the suite.
const SEEDS: u64 = 200;
/// A step that takes so long is a loop without end.
const STUCK: Duration = Duration::from_secs(120);

struct Drawn {
    plans: Vec<Plan>,
    memory: usize,
    workers: usize,
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "{} bytes, {} workers", self.memory, self.workers)?;
        for plan in &self.plans {
            let names: Vec<&str> = plan.objects.iter().map(|object| object.name.as_str()).collect();
            writeln!(formatter, "{} -> {:?}", names.join(" "), plan.sinks)?;
        }
        Ok(())
    }
}

fn draw(objects: &Objects, chance: &mut Chance) -> Drawn {
    let pipelines = 1 + chance.below(4);
    let mut huge = u64::from(chance.below(6) == 0);
    let mut plans: Vec<Plan> = Vec::new();
    for _ in 0..pipelines {
        let mut lent: Vec<Arc<Object>> = Vec::new();
        for _ in 0..2 + chance.below(8) {
            let object = &objects.all[below(chance, objects.all.len())];
            let is_there = lent.iter().any(|known| known.name == object.name);
            if !is_there && (!object.huge || huge > 0) {
                huge -= u64::from(object.huge);
                lent.push(object.clone());
            }
        }
        let mut sinks: Vec<_> = (0..1 + chance.below(5) / 3)
            .map(|_| (packing(chance, objects.limits.window / 8), manners(chance)))
            .collect();
        if plans.iter().any(|plan| !plan.is_dead()) && chance.below(3) == 0 {
            sinks[0].1 = Manners { lives: Some(chance.below(6)), silent: chance.below(2) == 0, ..sinks[0].1 };
        }
        let later = Duration::from_millis(if chance.below(2) == 0 { 0 } else { chance.below(3000) });
        let slow = chance.below(3) == 0;
        let partitioned = chance.below(2) == 0;
        plans.push(Plan { objects: lent, slow, sinks, partitioned, later, once: false });
    }
    let least = smallest(&plans, &objects.limits);
    let memory = match chance.below(5) {
        0 | 1 => least,
        2 => least + below(chance, least / 8),
        3 => least + below(chance, least),
        _ => least + below(chance, 3 * least),
    };
    Drawn { plans, memory, workers: 1 + below(chance, 4) * (1 + below(chance, 2)) }
}

fn below(chance: &mut Chance, most: usize) -> usize {
    usize::try_from(chance.below(most as u64)).unwrap()
}

fn packing(chance: &mut Chance, max_bytes: usize) -> Packing {
    let lengths = chance.below(2) == 0;
    Packing {
        max_bytes,
        max_records: if lengths { 50 + u32::try_from(chance.below(1000)).unwrap() } else { u32::MAX },
        max_age: Duration::from_secs(1),
        when_idle: chance.below(2) == 0,
        compression: if chance.below(4) == 0 { Compression::Gzip } else { Compression::None },
        lengths,
        frame: if chance.below(3) == 0 { Frame::of(b"[", b",\n", b"]") } else { Frame::lines() },
    }
}

fn manners(chance: &mut Chance) -> Manners {
    let usual = Manners { early: chance.below(3) == 0, ..Manners::default() };
    let concurrency = 1 + below(chance, 4);
    match chance.below(5) {
        0 => usual,
        1 => Manners { delay: 30, concurrency, ..usual },
        2 => Manners { delay: 2000, concurrency, ..usual },
        3 => Manners { delay: 10, retries: 30, concurrency, ..usual },
        _ => Manners { delay: 10, retries: 10, loses: 5, refuses: 10, concurrency, ..usual },
    }
}

/// Runs what was drawn: everything that has no dead sink ends, once, and all memory comes back.
async fn run(drawn: Drawn, objects: &Objects, mut chance: Chance) -> Result<(), String> {
    let dead: Vec<bool> = drawn.plans.iter().map(Plan::is_dead).collect();
    let lent: Vec<Vec<Arc<Object>>> = drawn.plans.iter().map(|plan| plan.objects.clone()).collect();
    let chance = Chance::new(chance.below(1 << 40));
    let mut world = World::new(drawn.plans, drawn.memory, drawn.workers, objects.limits, Pace::Drawn, chance);
    let (of, is_dead) = (lent.clone(), dead.clone());
    world
        .until(move |world| {
            let ended = |at: usize| is_dead[at] || world.sources[at].settled() == of[at].len();
            (0..of.len()).all(ended)
        })
        .await?;
    if !dead.contains(&true) {
        world.drain().await;
    }
    for (at, objects) in lent.iter().enumerate() {
        let pipeline = &world.pipelines[at];
        let totals = pipeline.totals();
        totals.books.balance().map_err(|difference| format!("books of p{at}: {difference}"))?;
        for (sink, taker) in world.takers[at].iter().enumerate() {
            let (came, twice) = taker.got(|got| {
                let count = |id: &str| {
                    let of = |of: &std::collections::HashMap<String, u32>| of.get(id).copied().unwrap_or(0);
                    of(&got.records) + of(&got.refused)
                };
                let ids = || objects.iter().flat_map(|object| &object.ids);
                let twice: Vec<_> = ids().filter(|id| count(id) > 1).cloned().collect();
                (ids().filter(|id| count(id) == 0).cloned().collect::<Vec<_>>(), twice)
            });
            if !twice.is_empty() {
                return Err(format!(
                    "p{at}: sink {sink} got records twice: {:?}",
                    &twice[..twice.len().min(5)]
                ));
            }
            if dead[at] {
                continue;
            }
            if !came.is_empty() {
                return Err(format!("p{at}: sink {sink} misses {:?}", &came[..came.len().min(5)]));
            }
            let page = totals.books.sinks.get(sink).copied().unwrap_or_default();
            let refused = taker.got(|got| got.refused.len()) as u64;
            let known = objects.iter().map(|object| object.ids.len()).sum::<usize>() as u64;
            if (page.rejected, page.delivered) != (refused, known - refused) {
                return Err(format!(
                    "p{at}: sink {sink} refused {refused} of {known}, the books say {page:?}"
                ));
            }
        }
        let held = world.budget.held(AccountId(at));
        if held > 0 && !dead.contains(&true) {
            return Err(format!("p{at}: {held} bytes were not given back"));
        }
    }
    world.give_up().await;
    match world.budget.in_flight() {
        0 => Ok(()),
        bytes => Err(format!("{bytes} bytes were not given back by the end")),
    }
}

/// A runtime whose time passes only when nothing else can happen.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

fn seed(seed: u64, objects: &Objects) {
    let mut chance = Chance::new(seed + 1);
    let drawn = draw(objects, &mut chance);
    let told = format!("{drawn:?}");
    if let Err(why) = in_virtual_time(Box::pin(run(drawn, objects, chance))) {
        panic!("seed {seed}: {why}\n{told}");
    }
}

fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("TRAILSHIP_SEEDS") else { return 0..SEEDS };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..asked.parse().unwrap(),
    }
}

/// Not a seed: it is over.
const OVER: u64 = u64::MAX;

/// Ends the test program when one seed goes on for ever.
fn watch(running: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut last = OVER;
        loop {
            std::thread::sleep(STUCK);
            let now = running.load(Ordering::SeqCst);
            if now == OVER {
                return;
            }
            if now == last {
                eprintln!("seed {now} does not end");
                std::process::abort();
            }
            last = now;
        }
    });
}

/// Runs all seeds, watched.
fn all_seeds(run: impl Fn(u64)) {
    let running = Arc::new(AtomicU64::new(0));
    watch(running.clone());
    let seeds = seeds();
    eprintln!("seeds {seeds:?}");
    for number in seeds {
        running.store(number, Ordering::SeqCst);
        run(number);
    }
    running.store(OVER, Ordering::SeqCst);
}

#[test]
fn nothing_gets_stuck_whatever_happens_in_whatever_order() {
    let window = std::env::var("TRAILSHIP_WINDOW").map_or(WINDOW, |bytes| bytes.parse().unwrap());
    let objects = Objects::with_window(window);
    all_seeds(|number| seed(number, &objects));
}
