//! Transforms decide, change and add, one record at a time.

pub mod account_tags;
pub mod dedupe;
pub mod environment;
pub mod filter;
pub mod flatten;
pub mod redact;
pub mod sample;
pub mod signals;
pub mod why;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap;

use crate::ack::{Ack, DeliveryId, Verdict};
use crate::clock::Timestamp;
use crate::config::{Match, Problem, TransformConfig};
use crate::encode::Encoder;
use crate::pattern::PatternError;
use crate::pattern::compile::{MatchScratch, PatternSet};
use crate::pattern::family::Family;
use crate::pipeline::dry::Watched;
use crate::record::overlay::Fragment;
use crate::record::{Record, Slots};

pub use why::Why;

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

impl Decision {
    /// Its name, as in the books.
    pub const fn name(&self) -> &'static str {
        match self {
            Decision::Keep => "kept",
            Decision::Filter => "filtered",
            Decision::Sample => "sampled",
            Decision::Duplicate => "duplicate",
            Decision::RollUp => "rolled_up",
            Decision::Reject(_) => "rejected",
        }
    }
}

/// The delivery in hand, for whatever remembers what became of records.
#[derive(Clone, Copy)]
pub struct Loan<'a> {
    /// The delivery's first share.
    pub ack: &'a Ack,
    /// The number of the window in hand.
    pub window: u32,
}

/// What a transform knows besides the record.
pub struct Context<'a> {
    /// The delivery the record belongs to.
    pub delivery: DeliveryId,
    /// The same, where it is a source's; `None`: the record comes out of rejects, or somebody only asks.
    pub loan: Option<Loan<'a>>,
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
    last: Option<(u64, Option<Rc<Fragment>>)>,
    fragments: HashMap<u64, Option<Rc<Fragment>>>,
    /// Of `dedupe`: the flight that a window of a delivery belongs to.
    flight: Option<(DeliveryId, u32, u32)>,
    /// What a dry run measures with; it learns from this thread's scanner alone.
    pub(crate) encoder: Option<Box<Encoder>>,
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
    ) -> Option<Rc<Fragment>> {
        if self.version != version || self.fragments.len() > MOST_FRAGMENTS {
            (self.version, self.last) = (version, None);
            self.fragments.clear();
        }
        if let Some((last, fragment)) = &self.last
            && *last == key
        {
            return fragment.clone();
        }
        let fragment = self.fragments.entry(key).or_insert_with(|| make().map(Rc::new)).clone();
        self.last = Some((key, fragment.clone()));
        fragment
    }
}

/// Changes, drops, adds or rejects records. No waiting, no I/O, no clock but the one it is given. Shared by threads.
pub trait Transform: Send + Sync {
    /// Decides about one record; may edit its overlay.
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision;

    /// Why [`apply`](Transform::apply) would decide as it does about this record; changes nothing. Both ask the same
    /// question inside. For people who ask: not on the hot path.
    fn explain(&self, record: &Record<'_>, context: &mut Context<'_>) -> Why;

    /// How the own shares of a span of a delivery that passed through here ended (`None`: of all that is left of it); see
    /// [`crate::ack::Settle::own_ended`]. For whatever remembers. No lock is held.
    fn settled(&self, delivery: DeliveryId, span: Option<u64>, verdict: Verdict, now: Timestamp) {
        let _ = (delivery, span, verdict, now);
    }

    /// Somebody asks (SIGHUP): reads tables again now. Blocks.
    fn reload(&self, now: Timestamp) {
        let _ = now;
    }

    /// Time passes (about once a second): reload tables, close windows of time, forget.
    fn tick(&self, now: Timestamp) {
        let _ = now;
    }
}

/// What transforms may use while they are built.
pub struct Building<'a> {
    /// Where paths are asked for.
    pub slots: &'a mut Slots,
    /// The shipped signal families, in the order of [`Record::families`].
    pub families: &'a [Family],
    /// Where relative paths of the configuration start.
    pub base: &'a Path,
    /// The accounts of the `account_tags` that came before in this chain.
    pub accounts: Option<Arc<account_tags::Accounts>>,
    /// Whether a `redact` was built: then its settings say what becomes of session tokens.
    pub redacts: bool,
}

/// One of the transforms there are. Adding one: its file, a variant here, an arm in each `match`; the same for its settings in
/// `TransformConfig`, and a row in the example of the manual.
pub enum AnyTransform {
    /// `account_tags`
    AccountTags(account_tags::AccountTags),
    /// `environment`
    Environment(environment::Environment),
    /// `signals`
    Signals(signals::Signals),
    /// `sample`
    Sample(sample::Sample),
    /// `filter`
    Filter(filter::Filter),
    /// `redact`
    Redact(redact::Redact),
    /// `dedupe`
    Dedupe(dedupe::Dedupe),
    /// Any of them, in a dry run.
    Watched(Box<Watched>),
}

impl AnyTransform {
    /// Builds a transform; `None` for a shape, which changes only what is written.
    ///
    /// # Errors
    /// What is wrong with its settings, with places in the configuration.
    pub fn build(
        name: &str,
        config: &TransformConfig,
        building: &mut Building<'_>,
    ) -> Result<Option<AnyTransform>, Vec<Problem>> {
        Ok(Some(match config {
            TransformConfig::AccountTags(config) => {
                Self::AccountTags(account_tags::AccountTags::build(config, building)?)
            }
            TransformConfig::Environment(config) => {
                Self::Environment(environment::Environment::build(config, building)?)
            }
            TransformConfig::Signals(config) => Self::Signals(signals::Signals::build(config, building)?),
            TransformConfig::Sample(config) => Self::Sample(sample::Sample::build(name, config, building)?),
            TransformConfig::Filter(config) => Self::Filter(filter::Filter::build(config, building)?),
            TransformConfig::Redact(config) => Self::Redact(redact::Redact::build(config, building)),
            TransformConfig::Dedupe(config) => Self::Dedupe(dedupe::Dedupe::build(config)?),
            TransformConfig::Flatten(_) => return Ok(None),
        }))
    }

    /// Takes the secrets of its settings, which are otherwise those it was built with (SIGHUP).
    pub fn renew(&self, name: &str, config: &TransformConfig) {
        if let (Self::Redact(transform), TransformConfig::Redact(config)) = (self, config) {
            transform.renew(name, config);
        }
    }

    /// Bytes it may hold beside what is in flight.
    pub fn memory(&self) -> usize {
        match self {
            Self::Dedupe(transform) => transform.memory(),
            Self::Watched(transform) => transform.memory(),
            _ => 0,
        }
    }

    /// Its `type` in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AccountTags(_) => "account_tags",
            Self::Environment(_) => "environment",
            Self::Signals(_) => "signals",
            Self::Sample(_) => "sample",
            Self::Filter(_) => "filter",
            Self::Redact(_) => "redact",
            Self::Dedupe(_) => "dedupe",
            Self::Watched(watched) => watched.kind(),
        }
    }
}

impl Transform for AnyTransform {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        match self {
            Self::AccountTags(transform) => transform.apply(record, context),
            Self::Environment(transform) => transform.apply(record, context),
            Self::Signals(transform) => transform.apply(record, context),
            Self::Sample(transform) => transform.apply(record, context),
            Self::Filter(transform) => transform.apply(record, context),
            Self::Redact(transform) => transform.apply(record, context),
            Self::Dedupe(transform) => transform.apply(record, context),
            Self::Watched(transform) => transform.apply(record, context),
        }
    }

    fn explain(&self, record: &Record<'_>, context: &mut Context<'_>) -> Why {
        match self {
            Self::AccountTags(transform) => transform.explain(record, context),
            Self::Environment(transform) => transform.explain(record, context),
            Self::Signals(transform) => transform.explain(record, context),
            Self::Sample(transform) => transform.explain(record, context),
            Self::Filter(transform) => transform.explain(record, context),
            Self::Redact(transform) => transform.explain(record, context),
            Self::Dedupe(transform) => transform.explain(record, context),
            Self::Watched(transform) => transform.explain(record, context),
        }
    }

    fn settled(&self, delivery: DeliveryId, span: Option<u64>, verdict: Verdict, now: Timestamp) {
        match self {
            Self::AccountTags(transform) => transform.settled(delivery, span, verdict, now),
            Self::Environment(transform) => transform.settled(delivery, span, verdict, now),
            Self::Signals(transform) => transform.settled(delivery, span, verdict, now),
            Self::Sample(transform) => transform.settled(delivery, span, verdict, now),
            Self::Filter(transform) => transform.settled(delivery, span, verdict, now),
            Self::Redact(transform) => transform.settled(delivery, span, verdict, now),
            Self::Dedupe(transform) => transform.settled(delivery, span, verdict, now),
            Self::Watched(transform) => transform.settled(delivery, span, verdict, now),
        }
    }

    fn reload(&self, now: Timestamp) {
        match self {
            Self::AccountTags(transform) => transform.reload(now),
            Self::Environment(transform) => transform.reload(now),
            Self::Signals(transform) => transform.reload(now),
            Self::Sample(transform) => transform.reload(now),
            Self::Filter(transform) => transform.reload(now),
            Self::Redact(transform) => transform.reload(now),
            Self::Dedupe(transform) => transform.reload(now),
            Self::Watched(transform) => transform.reload(now),
        }
    }

    fn tick(&self, now: Timestamp) {
        match self {
            Self::AccountTags(transform) => transform.tick(now),
            Self::Environment(transform) => transform.tick(now),
            Self::Signals(transform) => transform.tick(now),
            Self::Sample(transform) => transform.tick(now),
            Self::Filter(transform) => transform.tick(now),
            Self::Redact(transform) => transform.tick(now),
            Self::Dedupe(transform) => transform.tick(now),
            Self::Watched(transform) => transform.tick(now),
        }
    }
}

/// What is wrong with a pattern, as problems. The configuration was checked before; this says it again rather than
/// trust that.
pub(crate) fn problems(pattern: &Match, errors: &[PatternError]) -> Vec<Problem> {
    let said = |error: &PatternError| {
        Problem::error(pattern.span(), error.message.clone(), error.hint.clone().unwrap_or_default())
    };
    errors.iter().map(said).collect()
}

/// Compiles the patterns of a transform; one set, in their order.
pub(crate) fn compile<'m>(
    patterns: impl IntoIterator<Item = &'m Match>,
    slots: &mut Slots,
) -> Result<PatternSet, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut compiled = Vec::new();
    for pattern in patterns {
        match pattern.compile() {
            Ok(pattern) => compiled.push(pattern),
            Err(errors) => problems.extend(self::problems(pattern, &errors)),
        }
    }
    if problems.is_empty() {
        Ok(PatternSet::compile(&compiled.iter().collect::<Vec<_>>(), slots))
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests;
