//! Leaves out copies: records whose id was seen in the last half hour, on whatever road they came.
//!
//! ```toml
//! [transforms.once]
//! type = "dedupe"
//! ```
//!
//! CloudWatch Logs for speed and S3 for completeness, side by side: what comes first is shipped. A copy that arrives while
//! the first is on its way shares the fate of the first: its own delivery is not settled before, and if the first fails, so
//! does the copy's delivery; it is lent again, and the copy may be the first then. Nothing is left out for a record that
//! was not delivered. For a minute the delivery that failed has the first claim: of what it brought some sinks may
//! have a part, and only for itself it is remembered which.
//!
//! The memory is three tables of half a window each: the oldest goes when the newest has lasted half a window, or is full
//! (then ids are forgotten early, and counted). An entry is 16 bytes: 96 bits of the id's hash (two ids of ten million
//! meet with a chance of 10⁻¹⁵) and the number of the *flight* it came with, which is a span of windows of a delivery. A
//! flight is open, or has failed, or is over; so nothing is moved when a delivery ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ack::{Ack, DeliveryId, Verdict};
use crate::clock::Timestamp;
use crate::config::{At, ByteSize, Duration, Problem};
use crate::pipeline::outcomes::DeliveryKey;
use crate::record::Record;
use crate::transform::{Context, Decision, Loan, Transform, Why};

/// Leaves out copies of records that were seen already.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformDedupe")]
pub struct Config {
    /// For how long an id is remembered, at least; a run that begins knows none. Time.
    #[serde(default = "window")]
    pub window: At<Duration>,
    /// Bytes of ids remembered, taken off the program's `memory`; 1 MiB holds about 40,000. Where more come in a window, the
    /// oldest are forgotten early, and counted: copies of them are shipped.
    #[serde(default = "memory")]
    pub memory: At<ByteSize>,
}

fn window() -> At<Duration> {
    Duration::minutes(30).into()
}

fn memory() -> At<ByteSize> {
    ByteSize::mib(32).into()
}

/// Tables that are locked one by one, so that threads seldom wait for each other. A power of two.
const SHARDS: usize = 16;
/// Tables of ids, each for half a window.
const GENERATIONS: usize = 3;
/// Bytes of one place in a table: the entry and the table's own mark.
const PLACE: usize = 17;
/// How long a delivery that failed has the first claim on its records, nanoseconds: longer than sources pause.
const CLAIM: i64 = 60_000_000_000;
/// Flights that failed and are remembered, at most; beyond, all ids are forgotten rather than one believed.
const MOST_FAILED: usize = 64 << 10;
/// Least memory: 1,024 places in each table.
const LEAST: u64 = (SHARDS * GENERATIONS * PLACE * 1024) as u64;

/// Leaves out copies.
pub struct Dedupe {
    window: i64,
    shown: String,
    memory: usize,
    /// Ids in one table, at most.
    most: usize,
    shards: Box<[Mutex<Shard>]>,
    flights: Mutex<Flights>,
    /// The latest time seen, nanoseconds: here time never goes back.
    latest: AtomicI64,
    forgotten: AtomicU64,
}

/// 96 bits of a record's id.
type Key = [u32; 3];

#[derive(Default)]
struct Shard {
    /// The newest first.
    generations: VecDeque<Generation>,
}

#[derive(Default)]
struct Generation {
    /// When the next was begun, nanoseconds; the newest has none.
    ended: Option<i64>,
    began: i64,
    ids: HashMap<Key, u32>,
}

#[derive(Default)]
struct Flights {
    /// The last number given; 0 is none.
    last: u32,
    open: HashMap<u32, Flight>,
    /// Numbers of the open flights of a delivery, with their spans.
    of: HashMap<DeliveryId, Vec<(u64, u32)>>,
    /// Flights that failed: when, and of which delivery.
    failed: HashMap<u32, (i64, DeliveryKey)>,
}

struct Flight {
    delivery: DeliveryId,
    key: DeliveryKey,
    /// A share of each part of a delivery that holds copies of its records.
    waiting: HashMap<(DeliveryId, u64), Ack>,
}

/// What an entry says of a record that comes now.
enum Known {
    /// It was delivered, or is on its way, or will soon be again.
    Copy,
    /// It failed, so whoever comes is the first.
    Failed,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Config {
    /// What is wrong with the settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.window.get() < std::time::Duration::from_secs(1) {
            let label = "write a second or more: \"30m\"";
            problems.push(Problem::error(self.window.span(), "`window` is too short", label));
        }
        if self.memory.get() < LEAST {
            let label = format!("write at least \"{}\"", ByteSize::bytes(LEAST));
            problems.push(Problem::error(self.memory.span(), "`memory` is too small for a table", label));
        }
        problems
    }
}

impl Dedupe {
    /// Builds it; memory is taken as ids come.
    ///
    /// # Errors
    /// The window or the memory is too small.
    pub fn build(config: &Config) -> Result<Dedupe, Vec<Problem>> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let memory = config.memory.as_usize();
        // A table doubles, so it is kept to the largest power of two that fits, and that to seven eighths.
        let places = 1_usize << (memory / (SHARDS * GENERATIONS * PLACE)).ilog2();
        Ok(Dedupe {
            window: i64::try_from(config.window.get().as_nanos()).unwrap_or(i64::MAX),
            shown: config.window.value().to_string(),
            memory,
            most: places / 8 * 7,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            flights: Mutex::default(),
            latest: AtomicI64::new(i64::MIN),
            forgotten: AtomicU64::new(0),
        })
    }

    /// Bytes it may hold, outside of what is in flight.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Ids that were forgotten before their time.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Ids remembered now.
    pub fn remembered(&self) -> u64 {
        let count =
            |shard: &Mutex<Shard>| lock(shard).generations.iter().map(|one| one.ids.len()).sum::<usize>();
        self.shards.iter().map(count).sum::<usize>() as u64
    }

    /// The number of the flight that the window in hand belongs to.
    fn flight(&self, loan: &Loan<'_>, context: &mut super::Local) -> u32 {
        let id = loan.ack.id();
        if let Some((known, window, flight)) = context.flight
            && (known, window) == (id, loan.window)
        {
            return flight;
        }
        // From now on the span does not end before the window does.
        let span = loan.ack.span();
        let flight = lock(&self.flights).begin(loan.ack, span);
        context.flight = Some((id, loan.window, flight));
        flight
    }

    /// Whether a record is a copy; if it is of one on its way, its delivery waits for that one from now on.
    fn is_copy(&self, key: u128, loan: &Loan<'_>, now: Timestamp, flight: u32) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "96 bits and four others are meant")]
        let (key, shard) = ([key as u32, (key >> 32) as u32, (key >> 64) as u32], (key >> 96) as usize);
        let mut shard = lock(&self.shards[shard % SHARDS]);
        let now = self.moment(now);
        self.turn(&mut shard, now);
        for generation in &mut shard.generations {
            let Some(known) = generation.ids.get_mut(&key) else { continue };
            return match lock(&self.flights).known(*known, flight, loan, now) {
                Known::Copy => true,
                Known::Failed => {
                    *known = flight;
                    false
                }
            };
        }
        if let Some(newest) = shard.generations.front_mut() {
            newest.ids.insert(key, flight);
        }
        false
    }

    /// The time, but never before what it was.
    fn moment(&self, now: Timestamp) -> i64 {
        self.latest.fetch_max(now.0, Ordering::Relaxed).max(now.0)
    }

    /// Begins a new table when the newest is old or full, and drops the oldest.
    fn turn(&self, shard: &mut Shard, now: i64) {
        if let Some(newest) = shard.generations.front_mut() {
            if newest.ids.len() < self.most && now - newest.began < self.window / 2 {
                return;
            }
            newest.ended = Some(now);
        }
        let old = if shard.generations.len() == GENERATIONS { shard.generations.pop_back() } else { None };
        if let Some(old) = &old
            && old.ended.is_some_and(|ended| now - ended < self.window)
        {
            self.forgotten.fetch_add(old.ids.len() as u64, Ordering::Relaxed);
        }
        // Its memory is used again.
        let mut ids = old.map(|old| old.ids).unwrap_or_default();
        ids.clear();
        shard.generations.push_front(Generation { ended: None, began: now, ids });
    }

    /// Forgets everything: what failed cannot be told from what was delivered any more.
    fn forget_all(&self) {
        let before: Vec<u32> = lock(&self.flights).failed.keys().copied().collect();
        tracing::warn!(
            failed = before.len(),
            "too many deliveries failed: all ids are forgotten, and copies of what came before are shipped"
        );
        for shard in &self.shards {
            let mut shard = lock(shard);
            for generation in &mut shard.generations {
                self.forgotten.fetch_add(generation.ids.len() as u64, Ordering::Relaxed);
                generation.ids.clear();
            }
        }
        // Only now: until here a table may have known them.
        let mut flights = lock(&self.flights);
        before.iter().for_each(|flight| _ = flights.failed.remove(flight));
    }
}

impl Flights {
    /// The open flight of a span; a new one where there is none.
    fn begin(&mut self, ack: &Ack, span: u64) -> u32 {
        let (delivery, key) = (ack.id(), ack.key());
        let of = self.of.entry(delivery).or_default();
        if let Some((_, flight)) = of.iter().find(|(known, _)| *known == span) {
            return *flight;
        }
        // After four thousand million flights numbers come again; those in use do not.
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.open.contains_key(&self.last) && !self.failed.contains_key(&self.last) {
                break;
            }
        }
        of.push((span, self.last));
        self.open.insert(self.last, Flight { delivery, key, waiting: HashMap::default() });
        self.last
    }

    /// What a flight has come to, for a copy in a window of `mine`.
    fn known(&mut self, flight: u32, mine: u32, loan: &Loan<'_>, now: i64) -> Known {
        if flight == mine {
            return Known::Copy;
        }
        if let Some((failed, key)) = self.failed.get(&flight) {
            if *key == loan.ack.key() || *key == DeliveryKey::default() || now - failed >= CLAIM {
                return Known::Failed;
            }
            loan.ack.wait().settle(Verdict::Failed);
            return Known::Copy;
        }
        let (id, span) = (loan.ack.id(), loan.ack.span());
        if let Some(open) = self.open.get_mut(&flight)
            // One delivery fails as a whole, or from a window on.
            && open.delivery != id
        {
            open.waiting.entry((id, span)).or_insert_with(|| loan.ack.wait());
        }
        Known::Copy
    }

    /// The own shares of a span (`None`: of all of a delivery) have ended. Returns who waited for it.
    fn end(&mut self, id: DeliveryId, span: Option<u64>, failed: Option<i64>) -> Vec<Ack> {
        let Some(of) = self.of.get_mut(&id) else { return Vec::new() };
        let ended: Vec<u32> = of
            .extract_if(.., |(known, _)| span.is_none_or(|span| span == *known))
            .map(|(_, flight)| flight)
            .collect();
        if of.is_empty() {
            self.of.remove(&id);
        }
        let mut waiting = Vec::new();
        for flight in ended {
            let Some(open) = self.open.remove(&flight) else { continue };
            if let Some(now) = failed {
                self.failed.insert(flight, (now, open.key));
            }
            waiting.extend(open.waiting.into_values());
        }
        waiting
    }
}

impl Transform for Dedupe {
    fn apply(&self, record: &mut Record<'_>, context: &mut Context<'_>) -> Decision {
        let Some(loan) = &context.loan else { return Decision::Keep };
        // What has no id cannot be told from another that looks the same.
        if record.identity.derived {
            return Decision::Keep;
        }
        let flight = self.flight(loan, context.local);
        match self.is_copy(record.identity.id.0, loan, context.now, flight) {
            true => Decision::Duplicate,
            false => Decision::Keep,
        }
    }

    fn explain(&self, record: &Record<'_>, _: &mut Context<'_>) -> Why {
        if record.identity.derived {
            return Why::because("it has no id, so nothing is a copy of it").fact("rule", "no_id");
        }
        Why::because(format!(
            "left out if a record with this id ({}) was delivered, or is on its way, within {}",
            record.identity.id, self.shown
        ))
        .fact("rule", "first")
        .fact("window", &*self.shown)
    }

    fn settled(&self, delivery: DeliveryId, span: Option<u64>, verdict: Verdict, now: Timestamp) {
        let failed = (verdict == Verdict::Failed).then(|| self.moment(now));
        let mut flights = lock(&self.flights);
        let waiting = flights.end(delivery, span, failed);
        let too_many = flights.failed.len() > MOST_FAILED;
        drop(flights);
        if too_many {
            self.forget_all();
        }
        let verdict = if failed.is_some() { Verdict::Failed } else { Verdict::Delivered };
        waiting.into_iter().for_each(|ack| ack.settle(verdict));
    }

    fn tick(&self, now: Timestamp) {
        let now = self.moment(now);
        let mut oldest = now;
        for shard in &self.shards {
            let mut shard = lock(shard);
            if !shard.generations.is_empty() {
                self.turn(&mut shard, now);
            }
            oldest = shard.generations.back().map_or(oldest, |generation| generation.began.min(oldest));
        }
        // Who came with it came before it failed, so no table that is left knows it.
        lock(&self.flights).failed.retain(|_, (failed, _)| *failed >= oldest);
    }
}

#[cfg(test)]
mod tests;
