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
use foldhash::HashMap;

use crate::ack::{DeliveryId, Verdict};
use crate::clock::Timestamp;
use crate::pattern::compile::MatchScratch;
use crate::record::Record;
use crate::record::overlay::Fragment;

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
    /// The top-level key of what is added (`trailship`), for patterns that look at it.
    pub field: &'a str,
    /// Records to add, each one JSON object; they take a share of the same delivery and pass through the transforms that follow.
    pub added: &'a mut Vec<Bytes>,
    /// Memory for matching patterns.
    pub matching: &'a mut MatchScratch,
    /// What this transform keeps on this thread.
    pub local: &'a mut Local,
}

/// What one transform keeps on one worker thread: its own copies of text that many records get, so that threads do not
/// fight over one reference count. Bounded; forgotten when the transform's version changes (a table was reloaded).
#[derive(Debug, Default)]
pub struct Local {
    version: u64,
    last: Option<(u64, Option<Arc<Fragment>>)>,
    fragments: HashMap<u64, Option<Arc<Fragment>>>,
}

/// Fragments a transform keeps on one thread, at most.
const MOST_FRAGMENTS: usize = 4096;

impl Local {
    /// The fragment of a key, made once for each thread and version; `None` is remembered, too.
    pub fn fragment(
        &mut self,
        version: u64,
        key: u64,
        make: impl FnOnce() -> Option<Fragment>,
    ) -> Option<Arc<Fragment>> {
        if self.version != version || self.fragments.len() > MOST_FRAGMENTS {
            (self.version, self.last) = (version, None);
            self.fragments.clear();
        }
        if let Some((last, fragment)) = &self.last
            && *last == key
        {
            return fragment.clone();
        }
        let fragment = self.fragments.entry(key).or_insert_with(|| make().map(Arc::new)).clone();
        self.last = Some((key, fragment.clone()));
        fragment
    }
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

/// One of the transforms there are. Adding one: its file, a variant here, an arm in each `match`.
pub enum AnyTransform {}

impl Transform for AnyTransform {
    fn apply(&self, _record: &mut Record<'_>, _context: &mut Context<'_>) -> Decision {
        match *self {}
    }

    fn settled(&self, _delivery: DeliveryId, _verdict: Verdict) {
        match *self {}
    }

    fn tick(&self, _now: Timestamp) {
        match *self {}
    }
}
