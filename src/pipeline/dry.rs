//! What a dry run counts: every event by name and account, and what each rule keeps and leaves out.
//!
//! Only in a dry run does a transform stand inside a [`Watched`]; records of other runs meet none of this.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::through::ends;
use crate::ack::{DeliveryId, Verdict};
use crate::clock::Timestamp;
use crate::encode::{Encoder, Shape};
use crate::record::Record;
use crate::transform::{AnyTransform, Context, Decision, Local, Transform, Why};

/// The name of events that have none: sums of data events.
pub const NAMELESS: &str = "(aggregated)";
/// The account of events that have none.
const NOWHERE: &str = "(no account)";
/// What stands for one name too many.
const OTHERS: &str = "(others)";
/// Names and accounts that are counted apart; events choose them.
const MOST: usize = 10_000;

/// Events (or files) and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many.
    pub events: u64,
    /// Bytes, as JSON without line breaks.
    pub bytes: u64,
}

impl Flow {
    /// Adds an event, or a file.
    pub fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes as u64;
    }

    /// Both together.
    pub const fn with(self, other: Flow) -> Flow {
        Flow { events: self.events + other.events, bytes: self.bytes + other.bytes }
    }
}

/// What happened to events of one name, or of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// As AWS wrote them.
    pub came_in: Flow,
    /// As they were shipped.
    pub went_out: Flow,
}

impl Change {
    /// The sum of many.
    pub fn sum<'c>(changes: impl IntoIterator<Item = &'c Change>) -> Change {
        changes.into_iter().fold(Change::default(), |sum, one| Change {
            came_in: sum.came_in.with(one.came_in),
            went_out: sum.went_out.with(one.went_out),
        })
    }
}

/// What one transform did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its name in the configuration.
    pub name: String,
    /// Its `type`.
    pub kind: &'static str,
    /// Records that came to it.
    pub seen: Flow,
    /// Those of them that it may not leave out.
    pub protected: Flow,
    /// Those that it left out, as AWS wrote them.
    pub left_out: Flow,
}

/// What happened in one pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By event name.
    pub names: BTreeMap<String, Change>,
    /// By account.
    pub accounts: BTreeMap<String, Change>,
    /// By transform, in their order.
    pub rules: Vec<Rule>,
    /// Bytes that the shipped events had when they came in.
    pub kept_bytes: u64,
}

/// What a dry run has counted so far, pipeline by pipeline. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Dry(Arc<Mutex<Vec<Counted>>>);

impl Dry {
    /// What was counted, in the order of the pipelines.
    pub fn counted(&self) -> Vec<Counted> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the transforms of the next pipeline under watch; what goes out is measured in this shape.
    pub(super) fn watch(
        &self,
        steps: Vec<(Arc<str>, AnyTransform)>,
        shape: &Arc<Shape>,
    ) -> Vec<(Arc<str>, AnyTransform)> {
        let mut all = self.lock();
        let pipeline = all.len();
        let rule = |(name, transform): &(Arc<str>, AnyTransform)| Rule {
            name: name.to_string(),
            kind: transform.kind(),
            ..Rule::default()
        };
        all.push(Counted { rules: steps.iter().map(rule).collect(), ..Counted::default() });
        let last = steps.len().saturating_sub(1);
        let watched = steps.into_iter().enumerate().map(|(step, (name, inner))| {
            let shape = (step == last).then(|| shape.clone());
            let watched = Watched { inner, dry: self.clone(), pipeline, step, shape };
            (name, AnyTransform::Watched(Box::new(watched)))
        });
        watched.collect()
    }
}

/// A transform of a dry run.
pub struct Watched {
    inner: AnyTransform,
    dry: Dry,
    pipeline: usize,
    step: usize,
    /// Of the last transform: what goes out is measured in this shape.
    shape: Option<Arc<Shape>>,
}

impl Watched {
    /// The type of the transform that is watched.
    pub const fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    /// Bytes that the transform may hold beside what is in flight.
    pub fn memory(&self) -> usize {
        self.inner.memory()
    }

    fn count(&self, record: &Record<'_>, out: bool, local: &mut Local) {
        let length = record.original().len();
        let written = self.shape.as_ref().filter(|_| !out).map(|shape| {
            let mut text = Vec::with_capacity(length + 512);
            let encoder = local.encoder.get_or_insert_with(|| Box::new(Encoder::new(shape.clone())));
            encoder.encode(record, &mut text);
            text.len()
        });
        let mut all = self.dry.lock();
        let Some(counted) = all.get_mut(self.pipeline) else { return };
        if let Some(rule) = counted.rules.get_mut(self.step) {
            rule.seen.add(length);
            if record.protection.any() {
                rule.protected.add(length);
            }
            if out {
                rule.left_out.add(length);
            }
        }
        if self.step > 0 && written.is_none() {
            return;
        }
        let name = record.identity.name.map(|name| String::from_utf8_lossy(name.of(record.buffer)));
        let account = record.identity.account.map(|account| account.to_string());
        let name = change(&mut counted.names, name.as_deref().unwrap_or(NAMELESS));
        let account = change(&mut counted.accounts, account.as_deref().unwrap_or(NOWHERE));
        for change in [name, account] {
            if self.step == 0 {
                change.came_in.add(length);
            }
            if let Some(written) = written {
                change.went_out.add(written);
            }
        }
        counted.kept_bytes += written.map_or(0, |_| length as u64);
    }
}

impl Transform for Watched {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        let decision = self.inner.apply(record, context);
        self.count(record, ends(&decision, record), context.local);
        decision
    }

    fn explain(&self, record: &Record<'_>, context: &mut Context<'_>) -> Why {
        self.inner.explain(record, context)
    }

    fn settled(&self, delivery: DeliveryId, span: Option<u64>, verdict: Verdict, now: Timestamp) {
        self.inner.settled(delivery, span, verdict, now);
    }

    fn tick(&self, now: Timestamp) {
        self.inner.tick(now);
    }
}

/// The entry of a name, made where it is missing and there is room.
pub fn change<'n>(names: &'n mut BTreeMap<String, Change>, name: &str) -> &'n mut Change {
    let name = if names.contains_key(name) || names.len() < MOST { name } else { OTHERS };
    if !names.contains_key(name) {
        names.insert(name.to_owned(), Change::default());
    }
    names.entry(name.to_owned()).or_default()
}
