//! Feeds one source's deliveries to the workers, and tells the source in groups how they ended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::books::Books;
use super::fetch::Fetcher;
use super::job::Job;
use super::line::Pipeline;
use super::loans::Loans;
use super::pool::Pool;
use crate::ack::{Ack, DeliveryId, Note, Settle, Settled, SettledPart, Verdict};
use crate::clock::Timestamp;
use crate::source::{Source, SourceError};
use crate::telemetry::trouble::Trouble;
use crate::transform::Transform as _;

/// Deliveries on loan from one source, at most. They hold no memory before a worker begins them; this only bounds the
/// list. Enough that workers have small files to read while those before are made durable, settled, and the next noted.
const MOST_ON_LOAN: usize = 4096;
/// How long ends of loans are gathered before the source commits them together, since it did so last.
const GATHER: Duration = Duration::from_millis(50);
/// How long they are gathered at least: one answer of a sink ends many.
const SHORTLY: Duration = Duration::from_millis(2);
/// First pause after a source's error; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after a source's errors.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Told by the workers and sinks how loans end; passes it to the settling task.
struct Desk {
    pipeline: Arc<Pipeline>,
    to: UnboundedSender<End>,
    road: Mutex<Option<Road>>,
}

/// How soon records come by one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Road {
    /// Event time of the newest record settled, seconds since 1970.
    pub newest: i64,
    /// How old the newest record of the delivery that was settled last was then, seconds.
    pub delay: i64,
}

/// The end of a loan, or of a part of it.
enum End {
    Part(SettledPart),
    All(Settled),
}

impl Settle for Desk {
    fn settle(&self, settled: Settled) {
        let pipeline = &self.pipeline;
        let failed = settled.verdict == Verdict::Failed;
        if !failed {
            pipeline.outcomes.forget(settled.key);
        }
        if failed {
            let books = self.dated(&settled.books);
            pipeline.count(|totals| {
                totals.failed += 1;
                totals.given_back.add(&books);
            });
        } else {
            self.enter(&settled.books, 1);
        }
        // The task is gone only when the program ends: then the loan simply was never ended.
        let _ = self.to.send(End::All(settled));
    }

    fn own_ended(&self, id: DeliveryId, span: Option<u64>, worst: Verdict) {
        for step in &self.pipeline.steps {
            step.transform.settled(id, span, worst, self.pipeline.clock.now());
        }
    }

    fn settle_part(&self, part: SettledPart) {
        self.pipeline.outcomes.forget_windows(part.key, part.reached.windows);
        self.enter(&part.books, 0);
        let _ = self.to.send(End::Part(part));
    }
}

impl Desk {
    /// An event that claims a time to come must not hide for long how old the newest is.
    fn dated(&self, books: &Books) -> Books {
        let mut books = books.clone();
        books.newest = books.newest.map(|newest| newest.min(self.pipeline.clock.now().seconds()));
        books
    }

    /// Adds what is settled to the totals.
    fn enter(&self, books: &Books, deliveries: u64) {
        let mut first_unrouted = false;
        let books = self.dated(books);
        if let Some(newest) = books.newest {
            let mut road = self.road.lock().unwrap_or_else(PoisonError::into_inner);
            let before = road.map_or(newest, |road| road.newest);
            let delay = self.pipeline.clock.now().seconds() - newest;
            *road = Some(Road { newest: newest.max(before), delay });
        }
        self.pipeline.count(|totals| {
            totals.deliveries += deliveries;
            first_unrouted = totals.books.unrouted == 0 && books.unrouted > 0;
            totals.books.add(&books);
        });
        if first_unrouted {
            tracing::warn!(
                pipeline = %self.pipeline.name,
                "a record matches no sink and goes nowhere: a sink without `match` would take it; they are counted as unrouted"
            );
        }
    }
}

/// The ends of loans, and before them the farthest part of each loan that goes on.
fn sorted(group: Vec<End>) -> (Vec<SettledPart>, Vec<Settled>) {
    let (mut parts, mut ends) = (Vec::<SettledPart>::new(), Vec::new());
    for end in group {
        match end {
            End::All(end) => ends.push(end),
            End::Part(part) => match parts.iter_mut().find(|farther| farther.id == part.id) {
                Some(farther) => {
                    farther.books.add(&part.books);
                    farther.reached = part.reached;
                }
                None => parts.push(part),
            },
        }
    }
    (parts, ends)
}

/// One source's loans.
pub struct Feed<S> {
    name: Arc<str>,
    source: Arc<S>,
    pipeline: Arc<Pipeline>,
    pool: Arc<Pool>,
    fetcher: Arc<Fetcher>,
    on_loan: AtomicUsize,
    returned: Notify,
    desk: Arc<Desk>,
    settled: Mutex<Option<UnboundedReceiver<End>>>,
    hurry: watch::Sender<bool>,
    loans: Mutex<Loans>,
    /// Why the source cannot lend now.
    trouble: Trouble,
}

impl<S: Source + 'static> Feed<S> {
    /// A feed from `source` into `pipeline`'s lane.
    pub fn new(name: Arc<str>, source: Arc<S>, pipeline: Arc<Pipeline>, pool: Arc<Pool>) -> Arc<Feed<S>> {
        let (to, from) = unbounded_channel();
        let desk = Arc::new(Desk { pipeline: pipeline.clone(), to, road: Mutex::default() });
        Arc::new(Feed {
            name,
            source,
            fetcher: Fetcher::new(pipeline.clone(), pool.clone()),
            pipeline,
            pool,
            on_loan: AtomicUsize::new(0),
            returned: Notify::new(),
            desk,
            settled: Mutex::new(Some(from)),
            hurry: watch::Sender::new(false),
            loans: Mutex::default(),
            trouble: Trouble::default(),
        })
    }

    /// Lends until the source has no more (`Ok`), or `stop` says so.
    ///
    /// # Errors
    /// The source cannot work at all, in its words.
    pub async fn lend(&self, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        let mut pause = FIRST_PAUSE;
        loop {
            let room = MOST_ON_LOAN.saturating_sub(self.on_loan.load(Ordering::Acquire));
            if room == 0 {
                tokio::select! {
                    biased;
                    () = self.returned.notified() => {}
                    () = said(&mut stop) => return Ok(()),
                }
                continue;
            }
            let lent = tokio::select! {
                biased;
                () = said(&mut stop) => return Ok(()),
                lent = self.source.next(room) => lent,
            };
            match lent {
                Ok(Some(deliveries)) => {
                    pause = FIRST_PAUSE;
                    self.trouble.over();
                    self.on_loan.fetch_add(deliveries.len(), Ordering::AcqRel);
                    let jobs: Vec<Job> = deliveries
                        .into_iter()
                        .map(|delivery| {
                            let key = super::outcomes::DeliveryKey::of(&delivery.identity);
                            self.loans().begin(delivery.id, key, self.pipeline.clock.now());
                            let ack = Ack::new(delivery.id, key, self.desk.clone());
                            Job::new(self.pipeline.clone(), delivery, ack)
                        })
                        .collect();
                    let (streams, mut jobs): (Vec<Job>, Vec<Job>) =
                        jobs.into_iter().partition(|job| job.piped().is_some());
                    for job in jobs.extract_if(.., |job| job.remote().is_some()) {
                        if let Some(remote) = job.remote() {
                            self.fetcher.push(job, remote);
                        }
                    }
                    self.pool.push(self.pipeline.number, jobs);
                    for stream in streams {
                        self.pool
                            .push_stream(stream)
                            .map_err(|error| format!("starting a thread: {error}"))?;
                    }
                }
                Ok(None) => return Ok(()),
                Err(SourceError::Retry(message)) => {
                    tracing::warn!(pipeline = %self.pipeline.name, source = %self.name, error = %message, "the source is trying again");
                    self.trouble.is(self.pipeline.clock.now(), message);
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(pause) => {}
                        () = said(&mut stop) => return Ok(()),
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(SourceError::Stop(message)) => return Err(message),
            }
        }
    }

    /// Tells the source how its loans ended, in groups, until [`Feed::hurry`] was called and none is left.
    ///
    /// # Errors
    /// The source cannot forget what was settled: it will be lent again by the next run.
    pub async fn settle(&self) -> Result<(), String> {
        let taken = self.settled.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut settled) = taken else { return Ok(()) };
        let mut hurry = self.hurry.subscribe();
        let mut committed: Option<Instant> = None;
        loop {
            let mut group = Vec::new();
            tokio::select! {
                biased;
                _ = settled.recv_many(&mut group, MOST_ON_LOAN) => {}
                () = said(&mut hurry) => {
                    if self.on_loan.load(Ordering::Acquire) == 0 {
                        return Ok(());
                    }
                    settled.recv_many(&mut group, MOST_ON_LOAN).await;
                }
            }
            let due = committed.map_or_else(Instant::now, |then| then + GATHER);
            let mut wait = SHORTLY;
            loop {
                // Whoever is told to hurry waits for nothing.
                tokio::select! {
                    biased;
                    () = said(&mut hurry) => {}
                    () = tokio::time::sleep(wait) => {}
                }
                while let Ok(more) = settled.try_recv() {
                    group.push(more);
                }
                let ended = group.iter().filter(|end| matches!(end, End::All(_))).count();
                wait = due.saturating_duration_since(Instant::now());
                // Where everything on loan has ended there is nothing to wait for, either.
                if *hurry.borrow() || wait.is_zero() || ended == self.on_loan.load(Ordering::Acquire) {
                    break;
                }
            }
            let (parts, ends) = sorted(group);
            let count = ends.len();
            for failed in ends.iter().filter(|settled| settled.verdict == Verdict::Failed) {
                if let Note::Why(why) = &failed.note {
                    tracing::warn!(pipeline = %self.pipeline.name, delivery = failed.id.0, "{why}: the delivery is lent again");
                }
            }
            let ended: Vec<_> =
                ends.iter().map(|ended| (ended.id, ended.verdict == Verdict::Failed)).collect();
            let advanced: Vec<_> = parts.iter().map(|part| part.id).collect();
            let told = async {
                if !parts.is_empty() {
                    self.source.settle_part(parts).await?;
                }
                if !ends.is_empty() {
                    self.source.settle(ends).await?;
                }
                Ok(())
            };
            match told.await {
                Ok(()) => {}
                Err(SourceError::Retry(message) | SourceError::Stop(message)) => return Err(message),
            }
            let now = self.pipeline.clock.now();
            advanced.iter().for_each(|id| self.loans().part(*id, now));
            ended.iter().for_each(|(id, failed)| self.loans().end(*id, *failed, now));
            committed = Some(Instant::now());
            self.on_loan.fetch_sub(count, Ordering::AcqRel);
            self.returned.notify_one();
        }
    }

    /// Loans that have not ended.
    pub fn on_loan(&self) -> usize {
        self.on_loan.load(Ordering::Acquire)
    }

    /// When the oldest delivery that is not settled was lent first.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.loans().oldest(self.pipeline.clock.now())
    }

    /// How soon records come by it; `None`: none has come.
    pub fn road(&self) -> Option<Road> {
        *self.desk.road.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the source cannot be read now, and since when where that is known.
    pub fn trouble(&self) -> Option<(Option<Timestamp>, String)> {
        let lending = self.trouble.told().map(|(since, what)| (Some(since), what));
        lending.or_else(|| self.source.trouble().map(|what| (None, what)))
    }

    fn loans(&self) -> MutexGuard<'_, Loans> {
        self.loans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There will be no more loans: commit at once, and end when the last has ended.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
        self.source.stopping();
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom it feeds.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }
}

/// Waits until a flag is up.
async fn said(flag: &mut watch::Receiver<bool>) {
    // The sender lives as long as whoever waits.
    let _ = flag.wait_for(|flag| *flag).await;
}
