//! A pipeline whose sink is dead for ever leaves the others what they need: at twice the smallest budget at least nine
//! tenths of what they reach while it has nothing to do. Measured in virtual time, in which a window takes as long as it is
//! large; the figures are the same in every run.

use std::sync::Arc;
use std::time::Duration;

use super::actors::Manners;
use super::objects::{Object, Objects};
use super::world::{Pace, Plan, World, smallest};
use super::{WINDOW, in_virtual_time};
use crate::encode::compress::Compression;
use crate::encode::frame::Frame;
use crate::encode::packer::Packing;
use crate::testing::contract::Chance;

/// When the second pipeline begins; the first has taken what it can get by then.
const LATER: Duration = Duration::from_secs(15);
/// Bytes a millisecond that a worker goes through.
const SPEED: u64 = 16 << 10;

/// How the first pipeline's sink is.
#[derive(Clone, Copy, Debug)]
enum First {
    /// It has nothing to do.
    Idle,
    /// Its sink is busy for ever.
    Busy,
    /// Its sink never answers: it has borrowed everything before that is noticed.
    Silent,
}

fn packing() -> Packing {
    Packing {
        max_bytes: WINDOW / 8,
        max_records: u32::MAX,
        max_age: Duration::from_secs(1),
        when_idle: true,
        compression: Compression::None,
        lengths: false,
        frame: Frame::lines(),
    }
}

/// How long the second pipeline takes for `times` of each of these objects.
fn takes(objects: &Objects, names: &[&str], times: usize, workers: usize, first: First) -> Duration {
    let named = |name: &&str| objects.all.iter().find(|object| object.name == *name).unwrap();
    let copy = |number: usize, of: &Arc<Object>| {
        let name = format!("{}-{number}", of.name);
        Arc::new(Object { name, path: of.path.clone(), size: of.size, ids: Vec::new(), huge: of.huge })
    };
    let lent = (0..times).flat_map(|number| names.iter().map(named).map(move |of| copy(number, of)));
    let (lives, silent) = (Some(0), matches!(first, First::Silent));
    let stuck = match first {
        First::Idle => Vec::new(),
        First::Busy | First::Silent => objects.all.clone(),
    };
    let plan = |objects, manners, later| Plan {
        objects,
        slow: false,
        sinks: vec![(packing(), manners)],
        partitioned: true,
        later,
        once: false,
    };
    let plans = vec![
        plan(stuck, Manners { lives, silent, concurrency: 1, ..Manners::default() }, Duration::ZERO),
        plan(lent.collect(), Manners { concurrency: 2, ..Manners::default() }, LATER),
    ];
    let memory = 2 * smallest(&plans, &objects.limits);
    let number = plans[1].objects.len();
    let pace = Pace::Bytes(SPEED);
    in_virtual_time(Box::pin(async move {
        let mut world = World::new(plans, memory, workers, objects.limits, pace, Chance::new(7));
        world.until(move |world| world.sources[1].settled() == number).await.unwrap();
        let took = world.sources[1].since_first();
        let held = world.budget.held(crate::pipeline::budget::AccountId(0));
        eprintln!("  {first:?}: {took:?}; the first pipeline holds {held} of {memory} bytes");
        world.give_up().await;
        took
    }))
}

#[test]
fn a_dead_sink_leaves_another_pipeline_its_throughput() {
    let objects = Objects::with_window(WINDOW);
    let usual: &[(&[&str], usize)] =
        &[(&["one", "few", "some", "log-4", "liar-8-3"], 24), (&["log-9", "lines"], 12), (&["log-25"], 16)];
    let mut least = f64::MAX;
    for (names, times) in usual {
        for workers in [1, 2, 4, 8] {
            eprintln!("{names:?}, {workers} workers");
            let alone = takes(&objects, names, *times, workers, First::Idle);
            for first in [First::Busy, First::Silent] {
                let beside = takes(&objects, names, *times, workers, first);
                let ratio = alone.as_secs_f64() / beside.as_secs_f64();
                eprintln!("  {ratio:.3} of its throughput alone");
                least = least.min(ratio);
            }
        }
    }
    assert!(least >= 0.9, "{least:.3} of its throughput alone");
}
