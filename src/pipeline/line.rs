//! One pipeline as the workers see it: the chain every record goes through, and the sinks at its end.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::books::Books;
use super::budget::{AccountId, Budget};
use super::meter::Meter;
use super::outcomes::Outcomes;
use super::protector::Protector;
use super::rejects::Rejects;
use crate::clock::Clock;
use crate::decode::Limits;
use crate::encode::packer::Packer;
use crate::pattern::compile::PatternSet;
use crate::record::SlotId;
use crate::record::identity::IdentitySlots;
use crate::sink::template::Partitions;
use crate::transform::AnyTransform;

/// A transform and its name.
pub struct Step {
    /// As configured; also the stage of its rejects.
    pub name: Arc<str>,
    /// Its number in the program: which of a worker's locals is its own.
    pub global: usize,
    /// What it does.
    pub transform: AnyTransform,
}

/// A sink's end of the pipeline.
pub struct SinkLine {
    /// As configured.
    pub name: Arc<str>,
    /// Its number in the program: which of a worker's caches is its own.
    pub global: usize,
    /// Which of the routes' patterns must match; `None`: everything does.
    pub route: Option<u32>,
    /// Its paths; `None`: one place.
    pub partitions: Option<Arc<Partitions>>,
    /// Which of the program's shapes it is written in.
    pub shape: usize,
    /// Joins its records.
    pub packer: Packer,
    /// What its runner counts.
    pub meter: Arc<Meter>,
}

/// What is built once and shared by all workers.
pub struct Pipeline {
    /// As configured.
    pub name: Arc<str>,
    /// Its lane in the pool.
    pub number: usize,
    /// Its account in the budget.
    pub account: AccountId,
    /// The budget.
    pub budget: Budget,
    /// The top-level key of what is added (`trailship`).
    pub field: Arc<str>,
    /// What records are.
    pub identity: IdentitySlots,
    /// Where a live credential may stand: `responseElements.credentials.sessionToken`.
    pub token: SlotId,
    /// What may not be thinned.
    pub protector: Protector,
    /// The chain.
    pub steps: Vec<Step>,
    /// The `match` of those sinks that have one.
    pub routes: PatternSet,
    /// The sinks.
    pub sinks: Vec<SinkLine>,
    /// What sinks have answered about deliveries that have not ended well yet.
    pub outcomes: Arc<Outcomes>,
    /// Where refused bytes go.
    pub rejects: Arc<Rejects>,
    /// What an object may be.
    pub limits: Limits,
    /// Whether nothing old is to be expected: a source tells of what has just happened.
    pub live: bool,
    /// Whether every event says where it comes from.
    pub origin: bool,
    /// The clock.
    pub clock: Clock,
    /// What happened to all records of settled deliveries since the start.
    pub totals: Mutex<Totals>,
    /// The partition of sinks that have one place.
    pub nowhere: Arc<str>,
    /// The program stops: what can be given back in part is given back at the end of its window.
    pub stopping: AtomicBool,
}

/// Sums over settled deliveries.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Records.
    pub books: Books,
    /// Records of deliveries that failed and were given back, as far as they had come: they are lent again.
    pub given_back: Books,
    /// Deliveries that ended well (delivered or rejected).
    pub deliveries: u64,
    /// Deliveries that failed and were given back.
    pub failed: u64,
    /// Bytes read, as stored.
    pub stored_bytes: u64,
    /// Bytes read, decompressed.
    pub bytes: u64,
    /// Objects with more than one gzip member where CloudTrail writes one.
    pub later_members: u64,
    /// Digests and control messages.
    pub left_out: u64,
}

impl Pipeline {
    /// Changes the totals.
    pub fn count(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The totals so far.
    pub fn totals(&self) -> Totals {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what else was counted, where there is anything: at the end of a run.
    pub fn tell(&self) {
        let of = |step: &Step| match &step.transform {
            AnyTransform::AccountTags(accounts) => accounts.unknown(),
            _ => 0,
        };
        let unknown_accounts: u64 = self.steps.iter().map(of).sum();
        let paths = self
            .sinks
            .iter()
            .filter_map(|line| line.partitions.as_ref())
            .map(|partitions| partitions.counts());
        let odd_paths: u64 = paths.map(|counts| counts.invalid + counts.overflow + counts.out_of_range).sum();
        let (excepted, forgotten) = (self.protector.excepted(), self.outcomes.forgotten());
        let later_members = self.totals().later_members;
        if unknown_accounts + odd_paths + excepted + forgotten + later_members > 0 {
            tracing::info!(
                pipeline = %self.name,
                unknown_accounts,
                odd_paths,
                excepted,
                later_members,
                forgotten_outcomes = forgotten,
                "also counted"
            );
        }
    }
}
