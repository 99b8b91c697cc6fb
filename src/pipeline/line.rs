//! One pipeline as the workers see it: the chain every record goes through, and the sinks at its end.

use std::sync::{Arc, Mutex, PoisonError};

use super::books::Books;
use super::budget::{AccountId, Budget};
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
    /// Whether every event says where it comes from.
    pub origin: bool,
    /// The clock.
    pub clock: Clock,
    /// What happened to all records of settled deliveries since the start.
    pub totals: Mutex<Totals>,
    /// The partition of sinks that have one place.
    pub nowhere: Arc<str>,
}

/// Sums over settled deliveries.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Records.
    pub books: Books,
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
    /// Records nothing protected that an exception took out of protection.
    pub excepted: u64,
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
}
