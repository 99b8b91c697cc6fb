//! What listing costs, and what else a source tells of itself.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use super::keys::Minute;
use super::{Config, Desk, S3, Shared, lock, partition};
use crate::source::figures::Figures;

/// LIST requests a month if every partition goes on to be polled as it is now, `every` seconds where it is busy.
pub(super) fn lists_a_month(desk: &Desk, every: i64, most: Option<NonZeroU32>) -> f64 {
    let polls = desk.partitions.values().map(|partition| MONTH / (every * partition.quiet()) as f64).sum();
    most.map_or(polls, |most| f64::min(polls, f64::from(most.get()) * MONTH / 3600.0))
}

/// Seconds.
const MONTH: f64 = 30.0 * 86_400.0;

impl Config {
    /// LIST requests a month for a partition that is busy, and for one that is quiet.
    pub fn lists_a_month(&self) -> (f64, f64) {
        let busy = MONTH / self.every.get().as_secs_f64();
        (busy, busy / partition::SLOWEST as f64)
    }
}

/// What is counted of a bucket.
pub(super) fn figures(source: &S3) -> Figures {
    let count = |count: &AtomicU64| Some(count.load(Ordering::Relaxed));
    let Shared { lists, others, late, .. } = &*source.shared;
    let desk = lock(&source.shared.desk);
    let partitions = desk.partitions.len() as u64;
    let lateness = desk.partitions.values().map(|partition| partition.cursor.late).max();
    let until = source.config.until.as_ref().map(|until| Minute::of(until.time(source.clock.now())));
    let way = until.map(|until| {
        let ways = desk.partitions.values().filter_map(|partition| partition.way(until));
        ways.fold((0, 0), |sum, way| (sum.0 + way.0, sum.1 + way.1))
    });
    Figures {
        partitions: Some(partitions),
        lists: count(lists),
        lists_a_month: (!source.once)
            .then(|| lists_a_month(&desk, source.every, source.config.max_list_per_hour)),
        others: count(others),
        late: count(late),
        lateness: lateness.map(|minutes| u64::try_from(minutes * 60).unwrap_or_default()),
        way: way.filter(|(_, all)| *all > 0),
        ..Figures::default()
    }
}
