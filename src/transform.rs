//! Transforms decide, change and add, one record at a time.

pub mod account_tags;
pub mod environment;
pub mod filter;
pub mod flatten;
pub mod redact;
pub mod sample;
pub mod signals;

use std::sync::Arc;

use bytes::Bytes;

use crate::ack::{DeliveryId, Verdict};
use crate::clock::Timestamp;
use crate::pattern::compile::MatchScratch;
use crate::record::Record;

/// What a transform decided about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Keep,
    /// Left out on purpose.
    Filter,
    /// Left out, and the kept ones stand for it.
    Sample,
    /// Left out: a copy of one that is or was on its way.
    Duplicate,
    /// Left out: a summary stands for it.
    RollUp,
    /// Cannot go on; to rejects, with the reason.
    Reject(Arc<str>),
}

/// What a transform knows besides the record.
pub struct Context<'a> {
    /// The delivery the record belongs to.
    pub delivery: DeliveryId,
    /// The time, once per window.
    pub now: Timestamp,
    /// Records to add, each one JSON object; they take a share of the same delivery and pass through the transforms that follow.
    pub added: &'a mut Vec<Bytes>,
    /// Memory for matching patterns.
    pub matching: &'a mut MatchScratch,
}

/// Changes, drops, adds or rejects records. No waiting, no I/O, no clock but the one it is given. Shared by threads.
pub trait Transform: Send + Sync {
    /// Decides about one record; may edit its overlay.
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision;

    /// How a delivery that passed through here ended. For whatever remembers.
    fn settled(&self, delivery: DeliveryId, verdict: Verdict) {
        let _ = (delivery, verdict);
    }

    /// Time passes (about once a second): reload tables, close windows of time, forget.
    fn tick(&self, now: Timestamp) {
        let _ = now;
    }
}
