//! How many requests may be on their way: found out, not configured.
//!
//! The limit follows the server as TCP Vegas follows a path. How long an answer takes when nothing queues is known from
//! the fastest answers of the last minute; what an answer takes longer than that, it spent in a queue on the other side.
//! While the queue is short the limit grows by one with each round of answers (at first it doubles), while it is long
//! the limit shrinks by one; a refusal for load cuts it by a third, an answer that never came by half, once a round.
//! Every so often half of the requests are held back for a moment: only so can it be seen how fast the server is
//! without us.
//!
//! Large requests take longer than small ones, so the fastest answers are kept by size.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Fewer requests than this in the server's queue: one more may be on its way.
const SHORT: f64 = 3.0;
/// More than this: one fewer.
const LONG: f64 = 6.0;
/// How long the fastest answers are believed: this long at least, at most twice.
const WINDOW: Duration = Duration::from_secs(30);
/// How often requests are held back to see how fast the server is.
const PROBE_EVERY: Duration = Duration::from_secs(20);
/// Sizes are told apart by their power of four.
const SIZES: usize = 16;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer that took as long as the work takes.
    Answered,
    /// Refused because there is too much to do.
    Overloaded,
    /// Without an answer.
    Lost,
    /// With an answer that says nothing about the load (wrong credentials).
    Apart,
}

/// The limit of one sink.
#[derive(Debug)]
pub struct Limit {
    state: Mutex<State>,
    freed: Notify,
    most: usize,
    adaptive: bool,
}

#[derive(Debug)]
struct State {
    limit: f64,
    in_flight: usize,
    /// It doubles with each round until the first queue or refusal.
    doubling: bool,
    /// How long an answer takes now.
    usual: Duration,
    fastest: [Fastest; SIZES],
    /// No cut before this: what is on its way was sent before the last one.
    next_cut: Option<Instant>,
    probing: Option<Instant>,
    next_probe: Option<Instant>,
    /// The server wants nothing before.
    hold: Option<Instant>,
}

/// The fastest answer of this window and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Fastest {
    since: Option<Instant>,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Fastest {
    fn note(&mut self, took: Duration, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        if now - since >= WINDOW {
            self.before = if now - since < 2 * WINDOW { self.now } else { None };
            (self.since, self.now) = (Some(now), None);
        }
        let fastest = self.now.map_or(took, |known| known.min(took));
        self.now = Some(fastest);
        self.before.map_or(fastest, |before| before.min(fastest))
    }
}

impl Limit {
    /// A limit that finds itself, from one up to `most`.
    pub fn adaptive(most: usize) -> Limit {
        Limit::new(1.0, most, true)
    }

    /// A limit that stays.
    pub fn fixed(most: usize) -> Limit {
        Limit::new(most.max(1) as f64, most, false)
    }

    fn new(limit: f64, most: usize, adaptive: bool) -> Limit {
        let state = State {
            limit,
            in_flight: 0,
            doubling: true,
            usual: Duration::ZERO,
            fastest: Default::default(),
            next_cut: None,
            probing: None,
            next_probe: None,
            hold: None,
        };
        Limit { state: Mutex::new(state), freed: Notify::new(), most: most.max(1), adaptive }
    }

    /// Requests that may be on their way now.
    pub fn current(&self) -> usize {
        self.lock().allows()
    }

    /// Waits until another request may be sent. `bytes`: its size.
    pub async fn enter(&self, bytes: usize) -> Slot<'_> {
        loop {
            // Registered before looking: what is freed in between is not missed.
            let freed = self.freed.notified();
            let hold = {
                let mut state = self.lock();
                let now = Instant::now();
                state.probe(now);
                state.hold = state.hold.filter(|until| *until > now);
                if state.hold.is_none() && state.in_flight < state.allows() {
                    state.in_flight += 1;
                    let full = state.in_flight >= state.allows();
                    let size = (bytes.max(1).ilog2() / 2) as usize;
                    let began = Instant::now();
                    return Slot { limit: self, began, size: size.min(SIZES - 1), full, open: true };
                }
                state.hold
            };
            match hold {
                Some(until) => tokio::time::sleep_until(until).await,
                None => freed.await,
            }
        }
    }

    /// Nothing more is sent for this long: the server has said so.
    pub fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        state.hold = Some(state.hold.map_or(until, |hold| hold.max(until)));
    }

    fn leave(&self, slot: &Slot<'_>, ended: Ended) {
        let mut state = self.lock();
        let on_its_way = state.in_flight;
        state.in_flight -= 1;
        if self.adaptive {
            state.learn(slot, on_its_way, ended, self.most);
        }
        let free = state.allows().saturating_sub(state.in_flight);
        drop(state);
        for _ in 0..free.min(self.most) {
            self.freed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn allows(&self) -> usize {
        let limit = if self.probing.is_some() { self.limit / 2.0 } else { self.limit };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the most")]
        let whole = limit as usize;
        whole.max(1)
    }

    /// Begins and ends the times in which requests are held back.
    fn probe(&mut self, now: Instant) {
        if self.probing.is_some_and(|until| now >= until) {
            self.probing = None;
        }
        let next = *self.next_probe.get_or_insert(now + PROBE_EVERY);
        if now >= next {
            self.next_probe = Some(now + PROBE_EVERY);
            // One round to let the queue run dry, one to see.
            self.probing = (!self.doubling && self.limit >= 2.0).then(|| now + self.usual * 2);
        }
    }

    fn learn(&mut self, slot: &Slot<'_>, on_its_way: usize, ended: Ended, most: usize) {
        let now = Instant::now();
        match ended {
            Ended::Apart => {}
            Ended::Overloaded | Ended::Lost => {
                if self.next_cut.is_none_or(|next| now >= next) {
                    let keeps = if ended == Ended::Lost { 0.5 } else { 0.7 };
                    self.limit = (self.limit.min(on_its_way as f64) * keeps).max(1.0);
                    self.next_cut = Some(now + self.usual);
                }
                self.doubling = false;
            }
            Ended::Answered => {
                let took = now - slot.began;
                self.usual = if self.usual.is_zero() { took } else { (self.usual * 7 + took) / 8 };
                let fastest = self.fastest[slot.size].note(took, now);
                if self.probing.is_some() {
                    return;
                }
                let queued = on_its_way as f64 * (1.0 - fastest.as_secs_f64() / took.as_secs_f64().max(1e-9));
                if queued > LONG {
                    self.doubling = false;
                    self.limit = (self.limit - 1.0 / self.limit).max(1.0);
                } else if queued < SHORT && slot.full {
                    let step = if self.doubling { 1.0 } else { 1.0 / self.limit };
                    self.limit = (self.limit + step).min(most as f64);
                } else if queued >= SHORT {
                    self.doubling = false;
                }
            }
        }
    }
}

/// Leave to send one request. Dropped without a word, it counts as nothing learned.
#[derive(Debug)]
pub struct Slot<'a> {
    limit: &'a Limit,
    began: Instant,
    size: usize,
    /// Whether it was the last that could be sent: only then does an answer say that there could be more.
    full: bool,
    open: bool,
}

impl Slot<'_> {
    /// The request has ended.
    pub fn ended(mut self, ended: Ended) {
        self.open = false;
        self.limit.leave(&self, ended);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.open {
            self.limit.leave(self, Ended::Apart);
        }
    }
}

#[cfg(test)]
mod tests;
