//! Puts a world together, as the engine does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Pace, START, Worker, World};
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Surroundings};
use crate::decode::Limits;
use crate::encode::packer::{Packer, Packing};
use crate::pattern::family;
use crate::pipeline::budget::{AccountId, Budget, Reserve, Whim};
use crate::pipeline::feed::Feed;
use crate::pipeline::hands::{Hands, Setup};
use crate::pipeline::line::{Pipeline, SinkLine, Step};
use crate::pipeline::outcomes::Outcomes;
use crate::pipeline::parts::{Parts, reserve_of};
use crate::pipeline::pool::Pool;
use crate::pipeline::rejects::{Rejects, key::Key};
use crate::pipeline::runner::{self, Line};
use crate::pipeline::simulation::actors::{Lender, Manners, Taker};
use crate::pipeline::simulation::objects::Object;
use crate::record::Slots;
use crate::record::scan::ScanLimits;
use crate::sink::AnySink;
use crate::testing::contract::Chance;

/// What one pipeline is made of.
pub(in crate::pipeline::simulation) struct Plan {
    pub(in crate::pipeline::simulation) objects: Vec<Arc<Object>>,
    /// Whether its source takes its time.
    pub(in crate::pipeline::simulation) slow: bool,
    pub(in crate::pipeline::simulation) sinks: Vec<(Packing, Manners)>,
    /// Paths by account, or one place.
    pub(in crate::pipeline::simulation) partitioned: bool,
    /// It begins this much later than the others.
    pub(in crate::pipeline::simulation) later: Duration,
    /// Whether copies are left out.
    pub(in crate::pipeline::simulation) once: bool,
}

impl Plan {
    /// Whether one of its sinks dies.
    pub(in crate::pipeline::simulation) fn is_dead(&self) -> bool {
        self.sinks.iter().any(|(_, manners)| manners.lives.is_some())
    }
}

/// The least memory that a configuration with these pipelines may have, bytes.
pub(in crate::pipeline::simulation) fn smallest(plans: &[Plan], limits: &Limits) -> usize {
    plans.iter().map(|plan| reserve(plan, limits).total()).sum()
}

fn reserve(plan: &Plan, limits: &Limits) -> Reserve {
    reserve_of(limits, plan.sinks.iter().map(|(packing, _)| packing))
}

/// A configuration with this many sinks, of which the simulation uses everything but sources and sinks.
fn text(sinks: usize, partitioned: bool, once: bool) -> String {
    let path = if partitioned { "out/{account}.ndjson" } else { "out/all.ndjson" };
    let sink = |number| format!("[sinks.s{number}]\ntype = \"file\"\npath = \"{number}/{path}\"\n");
    let sinks: String = (0..sinks).map(sink).collect();
    let once = if once { "[transforms.once]\ntype = \"dedupe\"\n" } else { "" };
    format!("[sources.none]\ntype = \"files\"\npath = \"/nonexistent/trail\"\n{once}{sinks}")
}

impl World {
    /// Must be called inside a runtime whose time stands still.
    pub(in crate::pipeline::simulation) fn new(
        plans: Vec<Plan>,
        memory: usize,
        workers: usize,
        limits: Limits,
        pace: Pace,
        mut chance: Chance,
    ) -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_seconds(START));
        let reserves: Vec<Reserve> = plans.iter().map(|plan| reserve(plan, &limits)).collect();
        let budget =
            Budget::new(memory, &reserves).unwrap_or_else(|missing| panic!("{missing} bytes missing"));
        let key = Key::read_or_make(folder.path()).unwrap();
        let (most, age) = (1 << 40, Duration::from_secs(1 << 30));
        let rejects = Rejects::open(&folder.path().join("rejects"), key, most, age, clock.now()).unwrap();
        let rejects = Arc::new(rejects);
        let families = family::shipped().unwrap();
        let mut slots = Slots::default();
        let mut setup = Setup {
            slots: Arc::default(),
            limits: ScanLimits::default(),
            shapes: Vec::new(),
            sinks: 0,
            steps: 0,
        };
        let mut tasks = JoinSet::new();
        let (mut pipelines, mut takers, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        for (number, plan) in plans.into_iter().enumerate() {
            let name: Arc<str> = format!("p{number}").into();
            let account = AccountId(number);
            let around = Surroundings {
                variable: &|_| None,
                file: &|path| std::fs::read_to_string(path),
                data_dir: &|| Some("/nonexistent/data".into()),
                now: &|| crate::clock::Timestamp::from_seconds(1_780_272_000),
                canonical: &std::path::Path::to_path_buf,
            };
            let text = text(plan.sinks.len(), plan.partitioned, plan.once);
            let resolved = config::read_str("simulation", &text, &around);
            let resolved = resolved.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
            let parts = Parts::build(&resolved, &families, &mut slots).unwrap();
            let shapes = setup.shapes.len();
            setup.shapes.extend(parts.shapes);
            let part = parts.pipelines.into_iter().next().unwrap();
            let outcomes = Arc::new(Outcomes::default());
            let (mut sinks, mut of_pipeline) = (Vec::new(), Vec::new());
            for (position, (packing, manners)) in plan.sinks.into_iter().enumerate() {
                let taker = Arc::new(Taker::new(manners, Chance::new(chance.below(1 << 40))));
                let (to, from) = unbounded_channel();
                let line = Line {
                    name: format!("s{position}").into(),
                    pipeline: name.clone(),
                    number: position,
                    account,
                    budget: budget.clone(),
                    outcomes: outcomes.clone(),
                    meter: Arc::default(),
                    clock: clock.clone(),
                    closed: watch::Sender::new(false),
                };
                let places = AnySink::places(&line.name, &resolved.sinks[position].config).map(Arc::new);
                sinks.push(SinkLine {
                    name: line.name.clone(),
                    global: setup.sinks,
                    route: None,
                    partitions: places,
                    shape: shapes + part.sinks[position].shape,
                    packer: Packer::new(packing, budget.clone(), account, to),
                    meter: line.meter.clone(),
                });
                setup.sinks += 1;
                tasks.spawn(runner::run(taker.clone(), line, from));
                of_pipeline.push(taker);
            }
            let steps = part.steps.into_iter().map(|(name, transform)| {
                setup.steps += 1;
                Step { name, global: setup.steps - 1, transform }
            });
            pipelines.push(Arc::new(Pipeline {
                number,
                account,
                budget: budget.clone(),
                field: "trailship".into(),
                identity: part.identity,
                token: part.token,
                protector: part.protector,
                steps: steps.collect(),
                routes: part.routes,
                sinks,
                outcomes,
                rejects: rejects.clone(),
                limits,
                origin: false,
                live: false,
                clock: clock.clone(),
                totals: std::sync::Mutex::default(),
                nowhere: "".into(),
                stopping: AtomicBool::new(false),
                name,
            }));
            takers.push(of_pipeline);
            let lender = Arc::new(Lender::new(plan.objects, plan.slow, Chance::new(chance.below(1 << 40))));
            sources.push((lender, plan.later));
        }
        setup.slots = Arc::new(slots);
        let pool = Pool::new(pipelines.clone(), setup.clone());
        let waker = Arc::downgrade(&pool);
        budget.on_freed(move |account| {
            if let Some(pool) = waker.upgrade() {
                pool.freed(account);
            }
        });
        let gave_way = Arc::new(AtomicBool::new(false));
        budget.follow(whim(pace, gave_way.clone(), Chance::new(chance.below(1 << 40))));
        let mut feeds = Vec::new();
        for ((lender, later), pipeline) in sources.iter().zip(&pipelines) {
            let feed = Feed::new("scripted".into(), lender.clone(), pipeline.clone(), pool.clone());
            let (lending, settling, later) = (feed.clone(), feed.clone(), *later);
            tasks.spawn(async move {
                tokio::time::sleep(later).await;
                let never = watch::Sender::new(false);
                lending.lend(never.subscribe()).await.unwrap();
            });
            tasks.spawn(async move { settling.settle().await.unwrap() });
            feeds.push(feed);
        }
        let began = tokio::time::Instant::now();
        let worker = |_| Worker { hands: Hands::new(setup.clone()), held: None, until: began };
        let workers = (0..workers).map(worker).collect();
        let sources = sources.into_iter().map(|(lender, _)| lender).collect();
        World {
            pipelines,
            sources,
            takers,
            budget,
            pool,
            feeds,
            workers,
            tasks,
            clock,
            began,
            chance,
            pace,
            gave_way,
            _folder: folder,
        }
    }
}

/// When a job gives way: by the draw, now and then wherever it takes memory; by pace, when it has filled a window and
/// would be at work on it.
fn whim(pace: Pace, gave_way: Arc<AtomicBool>, mut chance: Chance) -> Whim {
    Whim(Box::new(move |kind| {
        let yes = match pace {
            Pace::Drawn => chance.below(4) == 0,
            Pace::Bytes(_) => kind.is_none(),
        };
        if yes {
            gave_way.store(true, Ordering::SeqCst);
        }
        yes
    }))
}
