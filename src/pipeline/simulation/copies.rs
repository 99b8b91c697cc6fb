//! `dedupe` in the simulated engine: objects full of copies, on their way at the same time, with sinks that retry, refuse
//! and lose.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::objects::{Object, Objects};
use super::world::{Pace, Plan, World, smallest};
use super::{WINDOW, all_seeds, below, in_virtual_time, manners, packing};
use crate::pipeline::budget::AccountId;
use crate::testing::contract::Chance;

/// One pipeline that reads some of the objects.
fn draw(objects: &Objects, chance: &mut Chance) -> (Plan, usize, usize) {
    let lent: Vec<Arc<Object>> = objects.all.iter().filter(|_| chance.below(3) > 0).cloned().collect();
    let sinks =
        (0..1 + chance.below(2)).map(|_| (packing(chance, objects.limits.window / 8), manners(chance)));
    let (sinks, slow, partitioned) = (sinks.collect(), chance.below(3) == 0, chance.below(2) == 0);
    let plan = Plan { objects: lent, slow, sinks, partitioned, later: Default::default(), once: true };
    let least = smallest(std::slice::from_ref(&plan), &objects.limits);
    (plan, least + below(chance, 3 * least), 1 + below(chance, 4))
}

/// Every record reaches every sink, once.
async fn run(number: u64, objects: &Objects) -> Result<(), String> {
    let mut chance = Chance::new(number + 1);
    let (plan, memory, workers) = draw(objects, &mut chance);
    let lent = plan.objects.clone();
    let all: BTreeSet<Arc<str>> = lent.iter().flat_map(|object| object.ids.clone()).collect();
    let mut world = World::new(vec![plan], memory, workers, objects.limits, Pace::Drawn, chance);
    let count = lent.len();
    world.until(move |world| world.sources[0].settled() == count).await?;
    world.drain().await;
    let totals = world.pipelines[0].totals();
    totals.books.balance()?;
    let read: usize = lent.iter().map(|object| object.ids.len()).sum();
    if totals.books.read != read as u64 {
        return Err(format!("{read} records, {} read", totals.books.read));
    }
    // What a delivery brought before it failed by what it waited for is a copy of its own the next time.
    if totals.books.offered > all.len() as u64 {
        return Err(format!("{} different records, {} offered", all.len(), totals.books.offered));
    }
    for (sink, taker) in world.takers[0].iter().enumerate() {
        let (missing, twice) = taker.got(|got| {
            let times = |id: &str| {
                got.records.get(id).copied().unwrap_or(0) + got.refused.get(id).copied().unwrap_or(0)
            };
            let missing = all.iter().filter(|id| times(id) == 0).count();
            (missing, all.iter().filter(|id| times(id) > 1).count())
        });
        if missing > 0 || twice > 0 {
            return Err(format!("sink {sink} misses {missing} of {}, and has {twice} twice", all.len()));
        }
    }
    let held = world.budget.held(AccountId(0));
    world.give_up().await;
    if held > 0 { Err(format!("{held} bytes were not given back")) } else { Ok(()) }
}

#[test]
fn every_record_arrives_and_no_copy_of_it() {
    let objects = Objects::with_copies(WINDOW);
    all_seeds(|number| {
        if let Err(why) = in_virtual_time(Box::pin(run(number, &objects))) {
            panic!("seed {number}: {why}");
        }
    });
}
