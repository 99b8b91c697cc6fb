//! The engine: builds everything a configuration names, runs it, and stops it in order.

mod tick;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::budget::{AccountId, Budget};
use super::dry::Dry;
use super::feed::Feed;
use super::hands::{Hands, Setup};
use super::line::{Pipeline, SinkLine, Step, Totals};
use super::meter::Meter;
use super::outcomes::Outcomes;
use super::parts::{Parts, budget_of};
use super::pool::Pool;
use super::rejects::{Rejects, key::Key};
use super::replay::{Lane, Replays};
use super::room::Room;
use super::runner::{self, Line};
use super::watched::{Phase, Pulse, Watched};
use crate::clock::Clock;
use crate::config::{Problems, Resolved};
use crate::encode::packer::{Packer, Sent};
use crate::pattern::family::{self};
use crate::record::Slots;
use crate::record::scan::ScanLimits;
use crate::sink::AnySink;
use crate::source::piped::Pipe;
use crate::source::shared::Branch;
use crate::source::{AnySource, Source as _};
use crate::state::Store;

/// How long a source may take at the end to give back what it holds.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How the engine is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ship what existed at start, and end.
    pub once: bool,
    /// Read no source: ship rejects again, and end.
    pub replay: bool,
    /// Counts what would happen: no state, no rejects and no output is written.
    pub dry: Option<Dry>,
    /// The clock.
    pub clock: Clock,
}

impl Options {
    /// A run that goes on until it is stopped.
    pub const fn new(clock: Clock) -> Options {
        Options { once: false, replay: false, dry: None, clock }
    }
}

/// How far a stop has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It runs.
    #[default]
    No,
    /// In order: what is in flight is finished, within the deadline.
    Drain,
    /// At once: what is in flight is given back.
    Now,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, found only when everything was put together.
    #[error("the configuration has problems")]
    Config(Problems),
    /// Something outside the configuration.
    #[error("{0}")]
    Start(String),
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Report {
    /// Totals of each pipeline, by name.
    pub pipelines: Vec<(String, Totals)>,
    /// Objects that could not be shipped yet (`--once`).
    pub unsettled: Vec<String>,
    /// Whether everything in flight was finished.
    pub drained: bool,
    /// What made a source or sink give up.
    pub errors: Vec<String>,
    /// Whether the reader of standard output has left.
    pub closed: bool,
}

impl Report {
    /// Records in rejects, all pipelines and sinks.
    pub fn rejected(&self) -> u64 {
        let of = |totals: &Totals| {
            totals.books.rejected + totals.books.sinks.iter().map(|page| page.rejected).sum::<u64>()
        };
        self.pipelines.iter().map(|(_, totals)| of(totals)).sum()
    }
}

type SinkRun = (Arc<AnySink>, Line, UnboundedReceiver<Sent>);

/// Everything a configuration names, ready to run.
pub struct Engine {
    pipelines: Vec<Arc<Pipeline>>,
    pool: Arc<Pool>,
    setup: Setup,
    workers: usize,
    feeds: Vec<Arc<Feed<AnySource>>>,
    replays: Arc<Replays>,
    /// One for each pipeline, of what comes out of rejects.
    again: Vec<Arc<Feed<Lane>>>,
    replay_only: bool,
    /// It ends when the sources have no more.
    ends: bool,
    sinks: Vec<SinkRun>,
    closed: watch::Sender<bool>,
    clock: Clock,
    deadline: Duration,
    budget: Budget,
    rejects: Arc<Rejects>,
    pulse: Arc<Pulse>,
    /// Held also so that nobody else uses the data directory.
    store: Arc<Store>,
}

impl Engine {
    /// Builds a resolved configuration. Opens the data directory, the sinks (which finish what a crash left) and the
    /// sources. Blocks.
    ///
    /// # Errors
    /// Problems of the configuration that only show now, or what cannot be opened.
    pub fn build(resolved: &Resolved, options: &Options) -> Result<Engine, StartError> {
        let start = |error: &dyn std::fmt::Display| StartError::Start(error.to_string());
        let clock = options.clock.clone();
        let families = family::shipped().map_err(|error| start(&error))?;
        let mut slots = Slots::default();
        let parts = Parts::build(resolved, &families, &mut slots)?;
        let budget = budget_of(resolved, &parts)?;
        let dry = options.dry.as_ref();
        let open = if dry.is_some() { Store::copy } else { Store::open };
        let store = Arc::new(open(&resolved.data_dir, &clock).map_err(|error| start(&error))?);
        let rejects = match dry {
            Some(_) => Arc::new(Rejects::nowhere()),
            None => open_rejects(resolved, &clock).map_err(|error| start(&error))?,
        };
        let closed = watch::Sender::new(false);
        let open_files = Arc::default();
        let (limits, shapes) = (ScanLimits::default(), parts.shapes);
        let setup = Setup { slots: Arc::default(), limits, shapes, sinks: 0, steps: 0 };
        let mut engine = Engine {
            pipelines: Vec::new(),
            pool: Pool::new(Vec::new(), setup.clone()),
            setup,
            workers: workers(resolved),
            feeds: Vec::new(),
            replays: Arc::new(Replays::new(rejects.clone(), &[])),
            again: Vec::new(),
            replay_only: options.replay,
            ends: options.once || options.replay,
            sinks: Vec::new(),
            closed,
            clock: clock.clone(),
            deadline: resolved.globals.stop_deadline.get(),
            budget: budget.clone(),
            rejects: rejects.clone(),
            pulse: Arc::default(),
            store: store.clone(),
        };
        let mut sources = Vec::new();
        for (number, part) in parts.pipelines.into_iter().enumerate() {
            let configured = &resolved.pipelines[number];
            let name: Arc<str> = configured.name.value().as_str().into();
            let account = AccountId(number);
            let outcomes = Arc::new(Outcomes::default());
            let mut sinks = Vec::new();
            for (position, sink) in part.sinks.into_iter().enumerate() {
                let component = &resolved.sinks[configured.sinks[position].sink];
                let meter: Arc<Meter> = Arc::default();
                let build = crate::sink::Build {
                    name: component.name.value(),
                    data_dir: &resolved.data_dir,
                    clock: clock.clone(),
                    open_files: &open_files,
                    figures: &meter.delivery,
                    shape: &engine.setup.shapes[sink.shape],
                };
                let built = match dry {
                    Some(_) => AnySink::nowhere(build.name, &component.config),
                    None => AnySink::build(&component.config, &build).map_err(|error| start(&error))?,
                };
                let built = Arc::new(built);
                let (to, from) = unbounded_channel();
                let line = Line {
                    name: component.name.value().as_str().into(),
                    pipeline: name.clone(),
                    number: position,
                    account,
                    budget: budget.clone(),
                    outcomes: outcomes.clone(),
                    meter,
                    clock: clock.clone(),
                    closed: engine.closed.clone(),
                };
                sinks.push(SinkLine {
                    name: line.name.clone(),
                    global: engine.setup.sinks,
                    route: sink.route,
                    partitions: built.partitions(),
                    shape: sink.shape,
                    packer: Packer::new(sink.packing, budget.clone(), account, to),
                    meter: line.meter.clone(),
                });
                engine.setup.sinks += 1;
                engine.sinks.push((built, line, from));
            }
            let shape = sinks.first().and_then(|sink: &SinkLine| engine.setup.shapes.get(sink.shape));
            let steps = match dry.zip(shape) {
                Some((dry, shape)) => dry.watch(part.steps, shape),
                None => part.steps,
            };
            let steps = steps.into_iter().map(|(name, transform)| {
                engine.setup.steps += 1;
                Step { name, global: engine.setup.steps - 1, transform }
            });
            let pipeline = Arc::new(Pipeline {
                number,
                account,
                budget: budget.clone(),
                field: resolved.globals.field.value().as_str().into(),
                identity: part.identity,
                token: part.token,
                protector: part.protector,
                steps: steps.collect(),
                routes: part.routes,
                sinks,
                outcomes,
                rejects: rejects.clone(),
                limits: part.limits,
                live: configured.sources.iter().all(|at| resolved.sources[*at].config.is_live()),
                origin: resolved.globals.origin,
                clock: clock.clone(),
                totals: std::sync::Mutex::default(),
                nowhere: "".into(),
                stopping: AtomicBool::new(false),
                name,
            });
            for &source in &configured.sources {
                sources.push((pipeline.clone(), source));
            }
            engine.pipelines.push(pipeline);
        }
        engine.setup.slots = Arc::new(slots);
        engine.setup.limits.depth =
            engine.pipelines.iter().map(|pipeline| pipeline.limits.depth).max().unwrap_or(128);
        engine.pool = Pool::new(engine.pipelines.clone(), engine.setup.clone());
        let pool = Arc::downgrade(&engine.pool);
        budget.on_freed(move |account| {
            if let Some(pool) = pool.upgrade() {
                pool.freed(account);
            }
        });
        engine.replays = Arc::new(Replays::new(rejects, &engine.pipelines));
        let again = |(pipeline, lane): &(Arc<Pipeline>, Arc<Lane>)| {
            Feed::new("rejects".into(), lane.clone(), pipeline.clone(), engine.pool.clone())
        };
        engine.again = engine.replays.lanes().iter().map(again).collect();
        let stdin = Pipe::new(Box::new(std::io::stdin()));
        for (number, component) in resolved.sources.iter().enumerate().filter(|_| !options.replay) {
            let users: Vec<&Arc<Pipeline>> = sources
                .iter()
                .filter(|(_, source)| *source == number)
                .map(|(pipeline, _)| pipeline)
                .collect();
            let build = |pipeline: &Pipeline| {
                let build = crate::source::Build {
                    pipeline: &pipeline.name,
                    name: component.name.value(),
                    store: store.clone(),
                    clock: clock.clone(),
                    once: options.once,
                    stdin: stdin.clone(),
                    room: Room::new(&budget, pipeline.account),
                };
                AnySource::build(&component.config, &build).map_err(|error| start(&error))
            };
            let name: Arc<str> = component.name.value().as_str().into();
            let built: Vec<AnySource> = match users.first() {
                Some(first) if users.len() > 1 && component.config.is_shared() => {
                    let branches = Branch::new(Arc::new(build(first)?), users.len());
                    branches.into_iter().map(AnySource::Shared).collect()
                }
                _ => users.iter().map(|pipeline| build(pipeline)).collect::<Result<_, _>>()?,
            };
            for (source, pipeline) in built.into_iter().zip(users) {
                let (source, pool) = (Arc::new(source), engine.pool.clone());
                engine.feeds.push(Feed::new(name.clone(), source, pipeline.clone(), pool));
            }
        }
        Ok(engine)
    }

    /// The pipelines, for whoever shows progress.
    pub fn pipelines(&self) -> &[Arc<Pipeline>] {
        &self.pipelines
    }

    /// Where to ask for rejects to be shipped again, while it runs.
    pub fn replays(&self) -> &Arc<Replays> {
        &self.replays
    }

    /// What can be seen of it while it runs.
    pub fn watched(&self) -> Watched {
        Watched {
            pipelines: self.pipelines.clone(),
            feeds: self.feeds.clone(),
            sinks: self.sinks.iter().map(|(sink, line, _)| (line.name.clone(), sink.clone())).collect(),
            budget: self.budget.clone(),
            store: self.store.clone(),
            rejects: self.rejects.clone(),
            clock: self.clock.clone(),
            pulse: self.pulse.clone(),
            began: self.clock.now(),
        }
    }

    /// Runs until every source has ended, or `stop` says so, or standard output's reader has left.
    pub async fn run(self, mut stop: watch::Receiver<Stop>) -> Report {
        let mut report = Report::default();
        let mut threads = Vec::new();
        for number in 0..self.workers {
            let (pool, setup) = (self.pool.clone(), self.setup.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            match thread.spawn(move || pool.work(Hands::new(setup))) {
                Ok(thread) => threads.push(thread),
                Err(error) => report.errors.push(format!("starting a worker: {error}")),
            }
        }
        let mut runners = JoinSet::new();
        for (sink, line, sent) in self.sinks {
            runners.spawn(runner::run(sink, line, sent));
        }
        let (pool, pulse) = (self.pool.clone(), self.pulse.clone());
        let ticker = tick::tick(self.pipelines.clone(), pool, self.clock.clone(), pulse, self.ends);
        let ticker = tokio::spawn(ticker);
        let ended = watch::Sender::new(false);
        let mut lending = JoinSet::new();
        let mut settling = JoinSet::new();
        for feed in &self.feeds {
            let (lend, settle, until) = (feed.clone(), feed.clone(), ended.subscribe());
            lending.spawn(async move { lend.lend(until).await });
            settling.spawn(async move { settle.settle().await });
        }
        let mut replaying = JoinSet::new();
        for feed in &self.again {
            let (lend, settle, until) = (feed.clone(), feed.clone(), ended.subscribe());
            // Replays keep only a program alive that is there for nothing else.
            let lending = if self.replay_only { &mut lending } else { &mut replaying };
            lending.spawn(async move { lend.lend(until).await });
            settling.spawn(async move { settle.settle().await });
        }
        self.pulse.enter(Phase::Running);
        let mut closed = self.closed.subscribe();
        while !lending.is_empty() {
            tokio::select! {
                Some(lent) = lending.join_next() => {
                    if let Err(message) = lent.unwrap_or_else(|error| Err(error.to_string())) {
                        report.errors.push(message);
                        ended.send_replace(true);
                    }
                }
                Some(Ok(Err(message))) = settling.join_next(), if !settling.is_empty() => {
                    report.errors.push(message);
                    ended.send_replace(true);
                }
                _ = stop.wait_for(|stop| *stop != Stop::No), if !*ended.borrow() => {
                    ended.send_replace(true);
                }
                _ = closed.wait_for(|closed| *closed), if !*ended.borrow() => {
                    ended.send_replace(true);
                }
            }
        }
        self.pulse.enter(Phase::Stopping);
        ended.send_replace(true);
        while replaying.join_next().await.is_some() {}
        self.replays.stop();
        self.pool.end_streams();
        report.closed = *self.closed.borrow();
        let asked = *stop.borrow() != Stop::No;
        for pipeline in self.pipelines.iter().filter(|_| asked || report.closed) {
            pipeline.stopping.store(true, Ordering::Relaxed);
        }
        let drain = async {
            self.feeds.iter().for_each(|feed| feed.hurry());
            self.again.iter().for_each(|feed| feed.hurry());
            self.pool.drain();
            let on_loan = || {
                let again = self.again.iter().map(|feed| feed.on_loan()).sum::<usize>();
                again + self.feeds.iter().map(|feed| feed.on_loan()).sum::<usize>()
            };
            while on_loan() > 0 && report.errors.is_empty() {
                match settling.join_next().await {
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(message))) => report.errors.push(message),
                    Some(Err(error)) => report.errors.push(error.to_string()),
                    None => break,
                }
            }
            let mut finished = Vec::new();
            for line in self.pipelines.iter().flat_map(|pipeline| &pipeline.sinks) {
                let (answer, answered) = oneshot::channel();
                line.packer.finish(answer);
                finished.push((line.name.clone(), answered));
            }
            for (name, answered) in finished {
                if let Ok(Err(message)) = answered.await {
                    report.errors.push(format!("finishing sink `{name}`: {message}"));
                }
            }
        };
        // Standard output's reader will never answer: nothing to drain for.
        let deadline = if report.closed { Duration::from_millis(500) } else { self.deadline };
        let drained = tokio::select! {
            () = drain => true,
            _ = stop.wait_for(|stop| *stop == Stop::Now) => false,
            () = tokio::time::sleep(deadline), if asked || *self.closed.borrow() => false,
        };
        report.drained = drained;
        self.replays.end(drained).await;
        self.pool.abandon();
        ticker.abort();
        runners.abort_all();
        for feed in &self.feeds {
            let _ = tokio::time::timeout(LAST_WORDS, feed.source().close()).await;
        }
        if drained {
            // Those that were begun are done; a stream's thread may still wait for input nobody needs.
            for thread in threads {
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
        }
        self.pipelines.iter().for_each(|pipeline| pipeline.tell());
        report.unsettled = self.feeds.iter().flat_map(|feed| feed.source().unsettled()).collect();
        report.pipelines =
            self.pipelines.iter().map(|pipeline| (pipeline.name.to_string(), pipeline.totals())).collect();
        // A transaction that has begun still ends well, unless the disk is stuck.
        let closed = tokio::task::spawn_blocking(move || self.store.close());
        let _ = tokio::time::timeout(LAST_WORDS, closed).await;
        report
    }
}

fn workers(resolved: &Resolved) -> usize {
    resolved.globals.workers.map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        std::num::NonZeroUsize::get,
    )
}

fn open_rejects(resolved: &Resolved, clock: &Clock) -> std::io::Result<Arc<Rejects>> {
    let settings = &resolved.globals.rejects;
    let folder = resolved.data_dir.join("rejects");
    let key = Key::read_or_make(&resolved.data_dir)?;
    Rejects::open(&folder, key, settings.max_size.get(), settings.max_age.get(), clock.now()).map(Arc::new)
}
