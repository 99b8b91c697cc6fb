//! What can be seen of a running engine from outside: copied when somebody asks, never counted for its own sake.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::books::{SinkBooks, StepBooks};
use super::budget::Budget;
use super::feed::{Feed, Road};
use super::line::{Pipeline, Totals};
use super::meter::Metered;
use super::rejects::Rejects;
use crate::clock::{Clock, Timestamp};
use crate::config::Resolved;
use crate::sink::AnySink;
use crate::sink::deliver::figures::Figured;
use crate::sink::template::Counts;
use crate::source::figures::Figures;
use crate::source::{AnySource, Source as _};
use crate::state::Store;
use crate::telemetry::escaped;
use crate::transform::{AnyTransform, Transform as _};

/// How long the engine's tick, which comes every second, may be silent before the program counts as stuck.
const SILENT: Duration = Duration::from_secs(15);

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its parts are being put together.
    #[default]
    Starting,
    /// It ships.
    Running,
    /// It finishes what is in flight.
    Stopping,
}

/// Whether the engine lives. By the monotonic clock: that of the system may jump.
#[derive(Debug, Default)]
pub struct Pulse {
    phase: watch::Sender<Phase>,
    beat: Mutex<Option<Instant>>,
}

impl Pulse {
    /// The tick has come.
    pub fn beat(&self) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The run has come this far.
    pub fn enter(&self, phase: Phase) {
        self.beat();
        self.phase.send_replace(phase);
    }

    /// How far the run has come.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The same, for whoever waits for it.
    pub fn follow(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Whether the tick was heard lately.
    pub fn is_alive(&self) -> bool {
        let beat = *self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        beat.is_none_or(|beat| beat.elapsed() < SILENT)
    }
}

/// The parts of an engine that somebody may look at while it runs.
pub struct Watched {
    pub(super) pipelines: Vec<Arc<Pipeline>>,
    pub(super) feeds: Vec<Arc<Feed<AnySource>>>,
    pub(super) sinks: Vec<(Arc<str>, Arc<AnySink>)>,
    pub(super) budget: Budget,
    pub(super) store: Arc<Store>,
    pub(super) rejects: Arc<Rejects>,
    pub(super) clock: Clock,
    pub(super) pulse: Arc<Pulse>,
    pub(super) began: Timestamp,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The moment.
    pub now: Timestamp,
    /// When the engine was built.
    pub began: Timestamp,
    /// Whether it runs and nothing keeps it from shipping.
    pub ready: bool,
    /// The budget, bytes.
    pub memory: usize,
    /// Bytes in rejects.
    pub rejects: u64,
    /// Bytes that rejects may take.
    pub most_rejects: u64,
    /// The pipelines, in the order of the configuration.
    pub pipelines: Vec<PipelineShot>,
}

/// A pipeline at one moment.
#[derive(Clone, Debug, Default)]
pub struct PipelineShot {
    /// As configured.
    pub name: Arc<str>,
    /// Sums over settled deliveries.
    pub totals: Totals,
    /// Bytes held.
    pub held: usize,
    /// Deliveries on loan.
    pub on_loan: usize,
    /// How long the oldest delivery has been waiting to be settled.
    pub oldest: Option<Duration>,
    /// Records that an exception left unprotected.
    pub excepted: u64,
    /// Answers of sinks that were forgotten early.
    pub forgotten: u64,
    /// The sources.
    pub sources: Vec<SourceShot>,
    /// The transforms.
    pub steps: Vec<StepShot>,
    /// The sinks.
    pub sinks: Vec<SinkShot>,
}

/// A source at one moment.
#[derive(Clone, Debug, Default)]
pub struct SourceShot {
    /// As configured.
    pub name: Arc<str>,
    /// What it counts.
    pub figures: Figures,
    /// How soon records come by it; `None`: none has come.
    pub road: Option<Road>,
}

/// A transform at one moment.
#[derive(Clone, Debug, Default)]
pub struct StepShot {
    /// As configured.
    pub name: Arc<str>,
    /// What it did.
    pub books: StepBooks,
    /// Records of accounts that its table does not know, where it has one.
    pub unknown_accounts: Option<u64>,
    /// Of `dedupe`: ids remembered, and ids forgotten before their time.
    pub ids: Option<(u64, u64)>,
}

/// A sink at one moment.
#[derive(Clone, Debug, Default)]
pub struct SinkShot {
    /// As configured.
    pub name: Arc<str>,
    /// What became of the records offered to it.
    pub books: SinkBooks,
    /// Records that it did not take and whose delivery was given back.
    pub failed: u64,
    /// What was counted for each payload.
    pub meter: Metered,
    /// What the delivery layer counted, where the sink stands on it and something was sent.
    pub delivery: Option<Figured>,
    /// What was replaced in its paths, where it has some.
    pub paths: Option<Counts>,
}

impl Watched {
    /// Whether the engine's tick is alive, and how far the run has come.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// What keeps it from shipping now, a line each; none: it is ready.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.pulse.phase() {
            Phase::Starting => reasons.push("starting".to_owned()),
            Phase::Running => {}
            Phase::Stopping => reasons.push("stopping".to_owned()),
        }
        if !self.pulse.is_alive() {
            reasons.push(format!("the engine has not been heard of for {} s", SILENT.as_secs()));
        }
        let since = |since: Timestamp| format!(" (since {since})");
        for feed in &self.feeds {
            if let Some((from, what)) = feed.trouble() {
                let from = from.map(since).unwrap_or_default();
                let (name, pipeline) = (feed.name(), &feed.pipeline().name);
                reasons
                    .push(format!("source `{name}` of pipeline `{pipeline}` cannot be read: {what}{from}"));
            }
        }
        for pipeline in &self.pipelines {
            for sink in &pipeline.sinks {
                if let Some((from, what)) = sink.meter.trouble.told() {
                    let (name, pipeline, from) = (&sink.name, &pipeline.name, since(from));
                    reasons.push(format!("sink `{name}` of pipeline `{pipeline}` is {what}{from}"));
                }
            }
        }
        if let Some((from, what)) = self.rejects.trouble.told() {
            reasons.push(format!("rejects cannot be stored: {what}{}", since(from)));
        }
        if let Some((from, what)) = self.store.trouble() {
            reasons.push(format!("the state cannot be committed: {what}{}", since(from)));
        }
        reasons.iter().map(|reason| escaped(reason).into_owned()).collect()
    }

    /// Reads tables again, and secrets from the configuration that runs, where it could be read again. Blocks.
    pub fn reload(&self, again: Option<&Resolved>) {
        let now = self.clock.now();
        for step in self.pipelines.iter().flat_map(|pipeline| &pipeline.steps) {
            step.transform.reload(now);
            let configured = again.into_iter().flat_map(|again| &again.transforms);
            for component in configured.filter(|component| **component.name.value() == *step.name) {
                step.transform.renew(component.name.value(), &component.config);
            }
        }
        for (name, sink) in &self.sinks {
            let configured = again.into_iter().flat_map(|again| &again.sinks);
            configured
                .filter(|component| **component.name.value() == **name)
                .for_each(|component| sink.renew(&component.config));
        }
        for feed in &self.feeds {
            let configured = again.into_iter().flat_map(|again| &again.sources);
            configured
                .filter(|component| **component.name.value() == *feed.name())
                .for_each(|component| feed.source().renew(&component.config));
        }
    }

    /// How far ranges of time were listed, and how long they are, where there are some.
    pub fn way(&self) -> Option<(u64, u64)> {
        let ways = self.feeds.iter().filter_map(|feed| feed.source().figures().way);
        ways.reduce(|sum, way| (sum.0 + way.0, sum.1 + way.1))
    }

    /// Copies everything. Cost: one short lock for each pipeline, source and sink.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        Snapshot {
            now,
            began: self.began,
            ready: self.reasons().is_empty(),
            memory: self.budget.total(),
            rejects: self.rejects.size(),
            most_rejects: self.rejects.max_size(),
            pipelines: self.pipelines.iter().map(|pipeline| self.shot(pipeline, now)).collect(),
        }
    }

    fn shot(&self, pipeline: &Arc<Pipeline>, now: Timestamp) -> PipelineShot {
        let feeds = || self.feeds.iter().filter(|feed| feed.pipeline().number == pipeline.number);
        let totals = pipeline.totals();
        let steps = pipeline.steps.iter().enumerate().map(|(number, step)| StepShot {
            name: step.name.clone(),
            books: totals.books.steps.get(number).copied().unwrap_or_default(),
            ids: match &step.transform {
                AnyTransform::Dedupe(dedupe) => Some((dedupe.remembered(), dedupe.forgotten())),
                _ => None,
            },
            unknown_accounts: match &step.transform {
                AnyTransform::AccountTags(accounts) => Some(accounts.unknown()),
                _ => None,
            },
        });
        let sinks = pipeline.sinks.iter().enumerate().map(|(number, sink)| SinkShot {
            name: sink.name.clone(),
            books: totals.books.sinks.get(number).copied().unwrap_or_default(),
            failed: totals.given_back.sinks.get(number).map_or(0, |page| page.failed),
            meter: sink.meter.read(),
            delivery: sink.meter.delivery.read(),
            paths: sink.partitions.as_ref().map(|partitions| partitions.counts()),
        });
        PipelineShot {
            name: pipeline.name.clone(),
            held: self.budget.held(pipeline.account),
            on_loan: feeds().map(|feed| feed.on_loan()).sum(),
            oldest: feeds().filter_map(|feed| feed.oldest()).min().map(|oldest| now.since(oldest)),
            excepted: pipeline.protector.excepted(),
            forgotten: pipeline.outcomes.forgotten(),
            sources: feeds()
                .map(|feed| SourceShot {
                    name: feed.name().into(),
                    figures: feed.source().figures(),
                    road: feed.road(),
                })
                .collect(),
            steps: steps.collect(),
            sinks: sinks.collect(),
            totals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_is_silent_for_long_is_not_alive() {
        let pulse = Pulse::default();
        assert!(pulse.is_alive() && pulse.phase() == Phase::Starting);
        pulse.enter(Phase::Running);
        tokio::time::advance(SILENT - Duration::from_secs(1)).await;
        assert!(pulse.is_alive() && pulse.phase() == Phase::Running);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!pulse.is_alive());
        pulse.beat();
        assert!(pulse.is_alive());
    }
}
