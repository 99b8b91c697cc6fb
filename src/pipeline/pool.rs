//! The workers: CPU work runs window by window, start to end, on one thread of a pool sized to the cores.
//!
//! Each pipeline has a lane of its own, taken in turn, so that one pipeline's backlog does not hold up another. A job
//! that finds no memory is parked in its lane, which rests until memory comes back.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::budget::AccountId;
use super::hands::{Hands, Setup};
use super::job::{Job, Ran};
use super::line::Pipeline;
use crate::encode::compress::Compressor;
use crate::encode::packer::Due;
use crate::source::piped::Pipe;

/// How long a worker whose lanes all rest sleeps before it looks again, should a notice have been lost.
const REST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod steps;

#[derive(Default)]
struct Lane {
    fresh: VecDeque<Job>,
    parked: VecDeque<Job>,
    /// What is parked waits for memory.
    resting: bool,
    /// How often memory had come back when the job that was parked last was begun.
    epoch: u64,
}

/// How often memory came back: for anybody, and for each lane.
struct Epochs {
    all: AtomicU64,
    lanes: Vec<AtomicU64>,
}

impl Epochs {
    fn of(&self, lane: usize) -> u64 {
        self.lanes.get(lane).map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    next: usize,
    /// Jobs taken so far.
    taken: u32,
    busy: usize,
    stopping: bool,
    draining: bool,
    abandoned: bool,
}

/// After so many jobs of others a lane that rests is tried again, should a notice have been lost.
const LOOK_AGAIN: u32 = 32;

/// A job that a worker has taken from a lane.
pub(super) struct Begun {
    lane: usize,
    /// How often memory had come back by then.
    epoch: u64,
    pub(super) job: Job,
}

/// The pool. Shared by sources (which push), workers, and whoever frees memory.
pub struct Pool {
    pipelines: Vec<Arc<Pipeline>>,
    state: Mutex<State>,
    ready: Condvar,
    /// A job that was refused before memory came back for its lane the last time is tried again at once.
    freed: Epochs,
    setup: Setup,
    /// The streams that are being read.
    streams: Mutex<Vec<Pipe>>,
}

impl Pool {
    /// A pool with a lane for each pipeline, in order; no workers yet.
    pub fn new(pipelines: Vec<Arc<Pipeline>>, setup: Setup) -> Arc<Pool> {
        let lanes = pipelines.iter().map(|_| Lane::default()).collect();
        let state = Mutex::new(State { lanes, ..State::default() });
        let lanes = pipelines.iter().map(|_| AtomicU64::new(0)).collect();
        let (freed, streams) = (Epochs { all: AtomicU64::new(0), lanes }, Mutex::default());
        Arc::new(Pool { pipelines, state, ready: Condvar::new(), freed, setup, streams })
    }

    /// Works on a job whose bytes may be long in coming, on a thread of its own.
    ///
    /// # Errors
    /// No thread could be started; the delivery fails.
    pub fn push_stream(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let stream = job.piped();
        self.push_alone(job)?;
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).extend(stream);
        Ok(())
    }

    /// Works on a job whose bytes come piece by piece, on a thread of its own.
    ///
    /// # Errors
    /// No thread could be started; the delivery fails.
    pub fn push_alone(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let pool = self.clone();
        std::thread::Builder::new().name("stream-worker".into()).spawn(move || pool.work_alone(job))?;
        Ok(())
    }

    fn work_alone(&self, job: Job) {
        let mut hands = Hands::new(self.setup.clone());
        let mut job = Some(job);
        while let Some(begun) = job.take() {
            let epoch = self.freed.all.load(Ordering::Acquire);
            job = self.run(begun, &mut hands);
            let mut state = self.lock();
            if state.abandoned {
                break;
            }
            if job.is_some() && self.freed.all.load(Ordering::Acquire) == epoch {
                state = self.ready.wait_timeout(state, REST).unwrap_or_else(PoisonError::into_inner).0;
            }
            drop(state);
        }
        drop(job);
        // Workers that are idle send what this thread has packed.
        self.ready.notify_all();
    }

    /// Streams end here: what was read of them is finished.
    pub fn end_streams(&self) {
        for stream in std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner)) {
            stream.end();
        }
    }

    /// Adds work to a pipeline's lane.
    pub fn push(&self, lane: usize, jobs: impl IntoIterator<Item = Job>) {
        let mut state = self.lock();
        if state.stopping {
            // The jobs are dropped after the lock is gone: their deliveries fail and are lent again by the next run.
            drop(state);
            return;
        }
        if let Some(lane) = state.lanes.get_mut(lane) {
            lane.fresh.extend(jobs);
        }
        drop(state);
        self.ready.notify_all();
    }

    /// Memory came back for a pipeline. Called wherever a permit is dropped, so it must not lock.
    pub fn freed(&self, account: AccountId) {
        for (pipeline, epoch) in self.pipelines.iter().zip(&self.freed.lanes) {
            if pipeline.account == account {
                epoch.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.freed.all.fetch_add(1, Ordering::AcqRel);
        self.ready.notify_all();
    }

    /// Sends every open chunk that is old enough, or all of them. Called now and then.
    pub fn send_due(&self, compressor: &mut Compressor, due: impl Fn(&Pipeline, usize) -> Option<Due>) {
        for pipeline in &self.pipelines {
            for (number, line) in pipeline.sinks.iter().enumerate() {
                if let Some(due) = due(pipeline, number) {
                    for chunk in line.packer.due(due) {
                        line.packer.send(chunk, compressor);
                    }
                }
            }
        }
    }

    /// Gives up buffers that wait to be filled again.
    pub fn clear_spare(&self) {
        for line in self.pipelines.iter().flat_map(|pipeline| &pipeline.sinks) {
            line.packer.clear_spare();
        }
    }

    /// No new work: jobs that were not begun are given back; workers end when what was begun is done.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        let fresh: Vec<_> = state.lanes.iter_mut().flat_map(|lane| std::mem::take(&mut lane.fresh)).collect();
        drop(state);
        drop(fresh);
        self.ready.notify_all();
    }

    /// No more work will come: what is packed is sent as soon as no work is waiting.
    pub fn drain(&self) {
        self.lock().draining = true;
        self.ready.notify_all();
    }

    /// Gives up what is parked, too: the deadline of a stop has passed.
    pub fn abandon(&self) {
        let mut state = self.lock();
        (state.stopping, state.abandoned) = (true, true);
        let parked: Vec<_> =
            state.lanes.iter_mut().flat_map(|lane| std::mem::take(&mut lane.parked)).collect();
        drop(state);
        drop(parked);
        self.ready.notify_all();
    }

    /// How many times work was taken up.
    pub fn worked(&self) -> u32 {
        self.lock().taken
    }

    /// Whether nothing is waiting and nobody is working.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.busy == 0 && state.lanes.iter().all(|lane| lane.fresh.is_empty() && lane.parked.is_empty())
    }

    /// A worker's life. Returns when the pool was stopped and everything begun is done.
    pub fn work(&self, mut hands: Hands) {
        loop {
            let mut state = self.lock();
            if let Some(begun) = self.take(&mut state) {
                drop(state);
                self.carry_on(begun, &mut hands);
                continue;
            }
            let epoch = self.freed.all.load(Ordering::Acquire);
            let before = (state.stopping, state.draining);
            drop(state);
            self.idle(&mut hands, before.1);
            state = self.lock();
            if before != (state.stopping, state.draining) || state.lanes.iter().any(Lane::runnable) {
                continue;
            }
            if state.lanes.iter().any(|lane| lane.resting) {
                if self.freed.all.load(Ordering::Acquire) == epoch {
                    state = self.ready.wait_timeout(state, REST).unwrap_or_else(PoisonError::into_inner).0;
                }
                wake(&mut state);
            } else if state.stopping && state.lanes.iter().all(|lane| lane.parked.is_empty()) {
                return;
            } else {
                drop(self.ready.wait(state));
            }
        }
    }

    /// Takes the next job.
    fn take(&self, state: &mut State) -> Option<Begun> {
        state.taken = state.taken.wrapping_add(1);
        for (number, lane) in state.lanes.iter_mut().enumerate() {
            lane.resting &= self.freed.of(number) == lane.epoch && !state.taken.is_multiple_of(LOOK_AGAIN);
        }
        let (lane, job) = pick(state)?;
        state.busy += 1;
        Some(Begun { lane, epoch: self.freed.of(lane), job })
    }

    /// Works on a job until it is done or finds no memory; then it is parked in its lane, which rests until there is some.
    fn carry_on(&self, Begun { lane, epoch, job }: Begun, hands: &mut Hands) {
        let left = self.run(job, hands);
        self.put_by(lane, epoch, left);
    }

    /// The worker has no hand on the job any more.
    fn put_by(&self, number: usize, epoch: u64, left: Option<Job>) {
        let mut state = self.lock();
        state.busy -= 1;
        let Some(job) = left else { return };
        if state.abandoned {
            // It is dropped after the lock is gone.
            drop(state);
        } else if let Some(lane) = state.lanes.get_mut(number) {
            // Behind the others: what one of them holds may be what this one waits for.
            lane.parked.push_back(job);
            (lane.resting, lane.epoch) = (self.freed.of(number) == epoch, epoch);
        }
    }

    /// There is nothing to work on: gives buffers back, and sends what sinks like to have at once.
    fn idle(&self, hands: &mut Hands, draining: bool) {
        hands.rest();
        self.send_due(&mut hands.compressor, |pipeline, sink| {
            (draining || pipeline.sinks[sink].packer.packing().when_idle).then_some(Due::All)
        });
        if draining {
            let lines = self.pipelines.iter().flat_map(|pipeline| &pipeline.sinks);
            lines.for_each(|line| line.packer.hurry());
        }
    }

    /// Runs a job until it is done (`None`) or finds no memory. A panic in it fails its delivery, and the worker lives.
    fn run(&self, job: Job, hands: &mut Hands) -> Option<Job> {
        let address = job.address();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run(hands)));
        match ran {
            Ok(Ran::Done) => None,
            Ok(Ran::NoMemory(job)) => Some(self.refused(*job, hands)),
            Err(_) => {
                tracing::error!(object = %address, "a bug: the worker panicked in this object; its delivery failed and is lent again");
                hands.start_over();
                None
            }
        }
    }

    /// A job found no memory: makes what room can be made at once.
    fn refused(&self, job: Job, hands: &mut Hands) -> Job {
        // Whoever waits for memory cuts the age of what is being packed short, the oldest first. No other pipeline holds
        // what this one waits for.
        let own = |pipeline: &Pipeline| pipeline.account == job.account();
        self.send_due(&mut hands.compressor, |pipeline, _| own(pipeline).then_some(Due::Oldest));
        let lines =
            self.pipelines.iter().filter(|pipeline| own(pipeline)).flat_map(|pipeline| &pipeline.sinks);
        lines.for_each(|line| line.packer.clear_spare());
        // What this worker kept for its next job may be what the others wait for.
        hands.rest();
        job
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn runnable(&self) -> bool {
        !self.resting && (!self.fresh.is_empty() || !self.parked.is_empty())
    }
}

/// What rests is tried again.
fn wake(state: &mut State) {
    state.lanes.iter_mut().for_each(|lane| lane.resting = false);
}

/// The next job: lanes in turn, what is parked before what is fresh.
fn pick(state: &mut State) -> Option<(usize, Job)> {
    let lanes = state.lanes.len();
    for step in 0..lanes {
        let number = (state.next + step) % lanes;
        let lane = &mut state.lanes[number];
        if lane.runnable()
            && let Some(job) = lane.parked.pop_front().or_else(|| lane.fresh.pop_front())
        {
            state.next = number + 1;
            return Some((number, job));
        }
    }
    None
}
