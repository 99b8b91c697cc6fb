//! Pipelines with everything but threads and real time: the real lanes, jobs, packers, budget, feeds and runners; workers
//! that are moved one step at a time, and scripted sources and sinks.

mod build;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::actors::{Lender, Taker};
use crate::clock::{Clock, Timestamp};
use crate::encode::compress::Compressor;
use crate::encode::packer::Due;
use crate::pipeline::budget::{AccountId, Budget};
use crate::pipeline::feed::Feed;
use crate::pipeline::hands::Hands;
use crate::pipeline::line::Pipeline;
use crate::pipeline::pool::{Begun, Pool};
use crate::testing::contract::Chance;

pub(super) use build::{Plan, smallest};

/// When everything begins.
const START: i64 = 1_800_000_000;
/// After so much virtual time without any progress it is stuck; sinks are tried again within 30 s.
const STUCK: Duration = Duration::from_secs(600);
/// Virtual time that passes in one step, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The same where time is measured: nobody may be kept waiting by the steps of time itself.
const SHORT_PAUSE: Duration = Duration::from_millis(2);

/// A worker: what its thread would have.
struct Worker {
    hands: Hands,
    /// A job that gave way.
    held: Option<Begun>,
    /// Busy until then.
    until: tokio::time::Instant,
}

/// How workers spend their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nothing takes time, and who goes next is drawn.
    Drawn,
    /// A window takes as long as it is large, this many bytes a millisecond.
    Bytes(u64),
}

pub(super) struct World {
    pub(super) pipelines: Vec<Arc<Pipeline>>,
    pub(super) sources: Vec<Arc<Lender>>,
    pub(super) takers: Vec<Vec<Arc<Taker>>>,
    pub(super) budget: Budget,
    pub(super) pool: Arc<Pool>,
    feeds: Vec<Arc<Feed<Lender>>>,
    workers: Vec<Worker>,
    tasks: JoinSet<()>,
    clock: Clock,
    began: tokio::time::Instant,
    chance: Chance,
    pace: Pace,
    gave_way: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl World {
    /// Lets everything go on until `done`, or until nothing has happened for a long time.
    ///
    /// # Errors
    /// What was left, in words.
    pub(super) async fn until(&mut self, mut done: impl FnMut(&World) -> bool) -> Result<(), String> {
        let (mut quiet, mut marks) = (Duration::ZERO, self.marks());
        loop {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            self.tell_the_time();
            if done(self) {
                return Ok(());
            }
            let moved = self.step();
            let now = self.marks();
            if now != marks {
                (quiet, marks) = (Duration::ZERO, now);
            }
            if !moved {
                // To the next thing that happens, or one sleep of a worker.
                let pause = match self.pace {
                    Pace::Drawn => Duration::from_millis(20).max(quiet / 8).min(LONGEST_PAUSE),
                    Pace::Bytes(_) => SHORT_PAUSE,
                };
                let pause = self.next_free().map_or(pause, |free| free.min(pause));
                tokio::time::sleep(pause).await;
                self.send_old();
                quiet += pause;
                if quiet > STUCK {
                    return Err(self.what_is_left());
                }
            }
        }
    }

    /// Moves one worker; whether there was something to do.
    fn step(&mut self) -> bool {
        let now = tokio::time::Instant::now();
        let free: Vec<usize> = (0..self.workers.len()).filter(|&at| self.workers[at].until <= now).collect();
        if free.is_empty() {
            return false;
        }
        let drawn = usize::try_from(self.chance.below(free.len() as u64)).unwrap();
        let worker = &mut self.workers[free[drawn]];
        let Some(begun) = worker.held.take().or_else(|| self.pool.begin()) else {
            self.pool.nothing_to_do(&mut worker.hands);
            return self.workers.iter().any(|worker| worker.held.is_some() && worker.until <= now);
        };
        self.gave_way.store(false, Ordering::SeqCst);
        let gave_way = self.gave_way.clone();
        worker.held = self.pool.step(begun, &mut worker.hands, || gave_way.load(Ordering::SeqCst));
        if let (Some(begun), Pace::Bytes(speed)) = (&worker.held, self.pace) {
            let micros = begun.job.window_bytes() as u64 * 1000 / speed;
            worker.until = now + Duration::from_micros(micros.max(1));
        }
        true
    }

    fn next_free(&self) -> Option<Duration> {
        let now = tokio::time::Instant::now();
        let busy = self.workers.iter().map(|worker| worker.until).filter(|until| *until > now);
        busy.min().map(|until| until - now)
    }

    fn tell_the_time(&self) {
        let now = Timestamp::from_seconds(START).after(self.began.elapsed());
        self.clock.advance(now.since(self.clock.now()).max(Duration::from_nanos(1)));
    }

    /// What the engine does every second, as often as there is nothing else to do.
    fn send_old(&self) {
        self.tell_the_time();
        let now = self.clock.now();
        self.pool.send_due(&mut Compressor::default(), |pipeline, sink| {
            let packer = &pipeline.sinks[sink].packer;
            let age = i64::try_from(packer.packing().max_age.as_nanos()).unwrap();
            Some(Due::OpenedBefore(Timestamp(now.0 - age)))
        });
        if self.pool.is_idle() {
            self.pool.clear_spare();
        }
    }

    /// Numbers that change when something was achieved.
    fn marks(&self) -> Vec<u64> {
        let mut marks: Vec<u64> = self.sources.iter().map(|source| source.settled() as u64).collect();
        marks.extend(self.takers.iter().flatten().map(|taker| taker.got(|got| got.bytes)));
        marks
    }

    fn what_is_left(&self) -> String {
        let mut text = format!("{} of {} bytes in flight", self.budget.in_flight(), self.budget.total());
        for (number, source) in self.sources.iter().enumerate() {
            let held = self.budget.held(AccountId(number));
            text.push_str(&format!("\n  p{number} holds {held}, open: {}", source.open().join(" ")));
        }
        format!("{text}\n  {:?}", self.budget)
    }

    /// The rest of an orderly end: nothing more comes, what is packed goes, buffers are given back.
    pub(super) async fn drain(&mut self) {
        self.feeds.iter().for_each(|feed| feed.hurry());
        self.pool.drain();
        self.rest();
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.rest();
    }

    /// The end of a stop that did not drain: everything is given back.
    pub(super) async fn give_up(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.held = None);
        self.pool.stop();
        self.pool.abandon();
        self.tasks.shutdown().await;
        self.rest();
        for line in self.pipelines.iter().flat_map(|pipeline| &pipeline.sinks) {
            drop(line.packer.due(Due::All));
        }
    }

    fn rest(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.hands.rest());
        self.pool.clear_spare();
    }
}
