//! What `cloudwatch_logs` and `event_history` share: an API that gives the events of a range of time, page by page.
//!
//! Time is read in windows, oldest first, and the last of it again and again: what appears late is found by looking back, and
//! what was seen before is told by its id. A place to read from is a lane (a log group; a region), with a cursor of its own:
//! the time up to which everything is settled (`pull/lane.rs`), kept in the state with the ids seen since shortly before it
//! (`pull/ledger.rs`). One task for each lane asks (`pull/read.rs`); what a page brings is packed into a few deliveries
//! (`pull/pack.rs`), whose bytes stay here until they are settled: an API like these is not asked twice for one failure.

#[cfg(test)]
#[allow(dead_code, reason = "shared with tests/aws.rs")]
#[path = "../../tests/support/fake_json.rs"]
pub(in crate::source) mod fake_json;
mod lane;
mod ledger;
mod pack;
mod read;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, OnceCell, mpsc};

use self::lane::Lane;
use self::ledger::{Kept, Ledger};
use super::figures::Figures;
use super::{Body, Build, BuildError, Delivery, MOST_FAILURES, Origin, SourceError, new_id};
use crate::ack::{DeliveryId, Note, Settled, Verdict};
use crate::aws::Kind;
use crate::clock::{Clock, Timestamp};
use crate::config::Since;
use crate::pipeline::room::Room;
use crate::state::Op;

pub use self::lane::Cursor;
pub(super) use self::lane::Rules;
pub(super) use self::read::Pace;

/// Deliveries found and not lent, at most.
const FOUND: usize = 64;
/// How soon a delivery that failed is lent again, at first; doubles with each failure that is its own.
const AGAIN: Duration = Duration::from_secs(1);
/// At most.
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// Milliseconds of time that may be settled without a word in the state, where nothing was found in it.
const UNTOLD: i64 = 60_000;

/// An event, as the API gives it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Its id, for its address.
    pub(super) id: String,
    /// What else stands in its address: the log stream; or nothing.
    pub(super) stream: String,
    /// Its time, milliseconds since 1970.
    pub(super) time: i64,
    /// Its text: the record.
    pub(super) text: String,
}

/// A page of events.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    /// The events; may be none.
    pub(super) events: Vec<Event>,
    /// How to ask for the next page; `None`: there is none.
    pub(super) token: Option<String>,
}

/// The API has refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// What it means.
    pub(super) kind: Kind,
    /// In words, with what to do.
    pub(super) text: String,
    /// The token counts no more: the window is read from its beginning.
    pub(super) is_token: bool,
}

/// A range of time, milliseconds since 1970; the end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Somewhere to ask.
pub(super) trait Ask: Send + Sync {
    /// Asks for a page of the events in a range of time.
    fn page<'a>(&'a self, range: Range, token: Option<&'a str>) -> BoxFuture<'a, Result<Page, Refused>>;

    /// The address of events, from the first to the last of them.
    fn address(&self, first: &Event, last: &Event) -> String;

    /// What is to be said before a range of time is read.
    fn begin<'a>(&'a self, range: Range, pace: &'a Pace) -> BoxFuture<'a, ()> {
        let _ = (range, pace);
        Box::pin(async {})
    }
}

/// What is read of a lane, and how.
pub(super) struct Place {
    /// Its name in the state.
    pub(super) name: String,
    /// Whom to ask.
    pub(super) ask: Arc<dyn Ask>,
    /// How often.
    pub(super) pace: Arc<Pace>,
}

/// The source's common part.
pub(super) struct Pull {
    name: String,
    rules: Rules,
    /// What the runs before left, by lane.
    kept: Mutex<BTreeMap<String, Kept>>,
    since: i64,
    /// What the cursors are of.
    of: String,
    /// Bytes of memory that a page takes.
    page: usize,
    clock: Clock,
    room: Room,
    ledger: Arc<Ledger>,
    open: OnceCell<Open>,
}

struct Open {
    shared: Arc<Shared>,
    found: tokio::sync::Mutex<mpsc::Receiver<Parcel>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What reading, lending and settling share.
struct Shared {
    name: String,
    clock: Clock,
    room: Room,
    page: usize,
    ledger: Arc<Ledger>,
    /// Held from when a cursor is computed until it is written.
    turn: tokio::sync::Mutex<()>,
    lanes: Vec<OfLane>,
    desk: Mutex<Desk>,
    /// A loan has ended.
    returned: Notify,
    throttled: AtomicU64,
}

struct OfLane {
    place: Place,
    lane: Mutex<Lane>,
    /// Something of it was settled.
    settled: Notify,
    trouble: Mutex<Option<String>>,
    /// It was given up, because of that.
    given_up: Mutex<Option<String>>,
}

#[derive(Default)]
struct Desk {
    lent: HashMap<DeliveryId, Parcel>,
    /// What failed, and when it is lent again.
    again: Vec<(tokio::time::Instant, Parcel)>,
}

/// Events that are lent together.
#[derive(Clone, Debug)]
struct Parcel {
    lane: usize,
    flight: u64,
    bytes: Bytes,
    address: Arc<str>,
    identity: Arc<str>,
    failures: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a source is set up, besides the rules of its lanes.
pub(super) struct Settings<'a> {
    /// The first part of its spaces in the state: `logs/`.
    pub(super) spaces: &'a str,
    /// What the cursors are of; of another thing they say nothing. Empty: of anything.
    pub(super) of: &'a str,
    pub(super) since: Since,
    pub(super) until: Option<Since>,
    /// Bytes of memory that a page takes.
    pub(super) page: usize,
}

impl Pull {
    /// Reads where the runs before left it.
    ///
    /// # Errors
    /// The state cannot be read, or is of something else.
    pub(super) fn build(
        settings: &Settings<'_>,
        mut rules: Rules,
        build: &Build<'_>,
    ) -> Result<Pull, BuildError> {
        let millis = |at: Timestamp| at.0.div_euclid(1_000_000);
        let now = build.clock.now();
        let mut since = millis(settings.since.time(now));
        if let Some(oldest) = rules.oldest {
            since = since.max(millis(now) - oldest + lane::MARGIN);
        }
        let until = settings.until.map(|until| millis(until.time(now)));
        // The API may count in larger units.
        let whole = |time: i64| time.div_euclid(rules.unit) * rules.unit;
        let (since, until) = (whole(since), until.map(whole));
        if until.is_some_and(|until| until <= since) {
            return Err(BuildError("`until` is not after `since`".to_owned()));
        }
        rules.once = build.once;
        rules.end =
            if build.once { Some(until.map_or(millis(now), |until| until.min(millis(now)))) } else { until };
        let range = settings.until.map(|until| format!("{}..{until}", settings.since));
        let ledger = Ledger::new(build, settings.spaces, range.as_deref());
        let kept = ledger.load().map_err(|error| BuildError(error.to_string()))?;
        if let Some(other) = kept.values().map(|kept| &kept.cursor.of).find(|of| *of != settings.of) {
            return Err(BuildError(format!(
                "it was `{other}` until now, and the state tells how far that was shipped: give this source another name, or forget \
                 it with `trailship state rm {}/{}`",
                build.pipeline, build.name
            )));
        }
        if kept.is_empty() && !build.pipeline.is_empty() {
            let since = Timestamp(since.saturating_mul(1_000_000));
            tracing::info!(source = build.name, %since, "no cursor yet: shipping what happened from then on");
        }
        Ok(Pull {
            name: build.name.to_owned(),
            rules,
            kept: Mutex::new(kept),
            since,
            of: settings.of.to_owned(),
            page: settings.page,
            clock: build.clock.clone(),
            room: build.room.clone(),
            ledger: Arc::new(ledger),
            open: OnceCell::new(),
        })
    }

    /// Begins to read, where that has not begun; `places` says from where.
    async fn open(
        &self,
        places: impl AsyncFnOnce() -> Result<Vec<Place>, SourceError>,
    ) -> Result<&Open, SourceError> {
        self.open
            .get_or_try_init(async || {
                let places = places().await?;
                // Whoever waits for this may give up: then it is begun again.
                let mut kept = lock(&self.kept).clone();
                let most = lane::MOST_SEEN / places.len().max(1);
                let lanes = places.into_iter().map(|place| {
                    let first = Kept {
                        cursor: Cursor { of: self.of.clone(), floor: self.since, done: self.since },
                        seen: Vec::new(),
                    };
                    let kept = kept.remove(&place.name).unwrap_or(first);
                    OfLane {
                        lane: Mutex::new(Lane::new(self.rules.clone(), kept, most)),
                        place,
                        settled: Notify::new(),
                        trouble: Mutex::default(),
                        given_up: Mutex::default(),
                    }
                });
                let shared = Arc::new(Shared {
                    name: self.name.clone(),
                    clock: self.clock.clone(),
                    room: self.room.clone(),
                    page: self.page,
                    ledger: self.ledger.clone(),
                    turn: tokio::sync::Mutex::default(),
                    lanes: lanes.collect(),
                    desk: Mutex::default(),
                    returned: Notify::new(),
                    throttled: AtomicU64::new(0),
                });
                // What appears while nobody looks is not lost either.
                let begun = (0..shared.lanes.len()).collect::<Vec<_>>();
                shared.write(&begun, Vec::new()).await?;
                let (to, found) = mpsc::channel(FOUND);
                let tasks = (0..shared.lanes.len())
                    .map(|lane| tokio::spawn(read::run(shared.clone(), lane, to.clone())));
                let tasks = tasks.collect();
                lock(&self.kept).clear();
                Ok(Open { shared, found: tokio::sync::Mutex::new(found), tasks })
            })
            .await
    }

    /// As [`super::Source::next`]; `places` says from where to read, the first time.
    pub(super) async fn next(
        &self,
        most: usize,
        places: impl AsyncFnOnce() -> Result<Vec<Place>, SourceError>,
    ) -> Result<Option<Vec<Delivery>>, SourceError> {
        let open = self.open(places).await?;
        let shared = &open.shared;
        let mut found = open.found.lock().await;
        loop {
            let (mut due, again) = shared.due(most);
            if due.is_empty() {
                let wait = again.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(3600));
                let mut parcels = Vec::new();
                let ended = tokio::select! {
                    count = found.recv_many(&mut parcels, most) => count == 0,
                    () = tokio::time::sleep_until(wait) => false,
                    // Something may be due sooner than was known.
                    () = shared.returned.notified() => false,
                };
                due = parcels;
                if ended {
                    if shared.is_idle() {
                        return shared.end(self.rules.end.is_some());
                    }
                    tokio::select! {
                        () = tokio::time::sleep_until(wait) => {}
                        () = shared.returned.notified() => {}
                    }
                }
            }
            if !due.is_empty() {
                return Ok(Some(due.into_iter().map(|parcel| shared.lend(parcel)).collect()));
            }
        }
    }

    /// As [`super::Source::settle`].
    pub(super) async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        let Some(open) = self.open.get() else { return Ok(()) };
        open.shared.settle(settled).await
    }

    /// As [`super::Source::trouble`].
    pub(super) fn trouble(&self) -> Option<String> {
        let lanes = self.open.get().map_or(&[][..], |open| &open.shared.lanes);
        let told: Vec<String> = lanes.iter().filter_map(|lane| lock(&lane.trouble).clone()).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// As [`super::Source::figures`].
    pub(super) fn figures(&self) -> Figures {
        let Some(Open { shared, .. }) = self.open.get() else { return Figures::default() };
        let now = self.clock.now().0 / 1_000_000;
        let (mut twice, mut late, mut forgotten, mut behind, mut way) = (0, 0, 0, 0, (0, 0));
        for of in &shared.lanes {
            let lane = lock(&of.lane);
            twice += lane.twice;
            late += lane.late;
            forgotten += lane.forgotten();
            behind = behind.max(now - lane.done());
            let (done, all) = lane.way();
            way = (way.0 + done, way.1 + all);
        }
        Figures {
            requests: Some(shared.lanes.iter().map(|of| of.place.pace.asked.load(Ordering::Relaxed)).sum()),
            throttled: Some(shared.throttled.load(Ordering::Relaxed)),
            behind: Some(u64::try_from(behind / 1000).unwrap_or_default()),
            seen_again: Some(twice),
            late_events: Some(late),
            ids_forgotten: Some(forgotten),
            way: self.rules.end.map(|_| way),
            ..Figures::default()
        }
    }
}

impl Shared {
    /// What is to be lent again now, and when there is more.
    fn due(&self, most: usize) -> (Vec<Parcel>, Option<tokio::time::Instant>) {
        let now = tokio::time::Instant::now();
        let mut desk = lock(&self.desk);
        let mut taken = 0;
        let due = desk.again.extract_if(.., |(at, _)| {
            let takes = *at <= now && taken < most;
            taken += usize::from(takes);
            takes
        });
        let due: Vec<Parcel> = due.map(|(_, parcel)| parcel).collect();
        (due, desk.again.iter().map(|(at, _)| *at).min())
    }

    fn is_idle(&self) -> bool {
        let desk = lock(&self.desk);
        desk.lent.is_empty() && desk.again.is_empty()
    }

    /// All lanes have ended, and everything is settled.
    fn end(&self, ends: bool) -> Result<Option<Vec<Delivery>>, SourceError> {
        let given_up: Vec<String> =
            self.lanes.iter().filter_map(|lane| lock(&lane.given_up).clone()).collect();
        match given_up.is_empty() {
            false => Err(SourceError::Stop(given_up.join("; "))),
            // A run that goes on must not end as if all were done.
            true if !ends => Err(SourceError::Stop("reading has ended".to_owned())),
            true => Ok(None),
        }
    }

    fn lend(&self, parcel: Parcel) -> Delivery {
        let id = new_id();
        let delivery = Delivery {
            id,
            identity: parcel.identity.clone(),
            origin: Origin { address: parcel.address.clone(), ..Origin::default() },
            body: Body::Bytes(parcel.bytes.clone()),
            failures: parcel.failures,
            growing: false,
            again: None,
            from: None,
        };
        lock(&self.desk).lent.insert(id, parcel);
        delivery
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        let turn = self.turn.lock().await;
        let (mut ops, mut touched) = (Vec::new(), Vec::new());
        {
            let mut desk = lock(&self.desk);
            for settled in settled {
                let Some(mut parcel) = desk.lent.remove(&settled.id) else { continue };
                if settled.verdict == Verdict::Failed {
                    if let Note::Object(reason) = &settled.note {
                        parcel.failures += 1;
                        tracing::warn!(
                            source = self.name,
                            failures = parcel.failures,
                            most = MOST_FAILURES,
                            "{reason}"
                        );
                    }
                    let pause = AGAIN.saturating_mul(1 << parcel.failures.min(10)).min(AGAIN_MOST);
                    desk.again.push((tokio::time::Instant::now() + pause, parcel));
                    continue;
                }
                let Some(of) = self.lanes.get(parcel.lane) else { continue };
                if let Some(seen) = lock(&of.lane).settled(parcel.flight) {
                    ops.push(self.ledger.seen(&of.place.name, &seen));
                }
                touched.push(parcel.lane);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        if !ops.is_empty() {
            self.write_in_turn(&touched, ops).await?;
        }
        drop(turn);
        self.returned.notify_one();
        touched.iter().filter_map(|lane| self.lanes.get(*lane)).for_each(|lane| lane.settled.notify_one());
        Ok(())
    }

    /// Writes down how far lanes are, and what else has changed.
    async fn write(&self, lanes: &[usize], ops: Vec<Op>) -> Result<(), SourceError> {
        let _turn = self.turn.lock().await;
        self.write_in_turn(lanes, ops).await
    }

    async fn write_in_turn(&self, lanes: &[usize], mut ops: Vec<Op>) -> Result<(), SourceError> {
        for of in lanes.iter().filter_map(|lane| self.lanes.get(*lane)) {
            let mut lane = lock(&of.lane);
            let forgotten = lane.write();
            ops.extend(forgotten.into_iter().map(|known| self.ledger.forgets(&of.place.name, known)));
            ops.push(self.ledger.cursor(&of.place.name, lane.cursor()));
        }
        self.ledger.commit(ops).await.map_err(SourceError::Stop)
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        if let Some(open) = self.open.get() {
            open.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }
}
