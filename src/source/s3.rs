//! Finds and reads CloudTrail's objects in an S3 bucket, by listing it.
//!
//! ```toml
//! [sources.trail]
//! type = "s3"
//! bucket = "acme-org-trail"
//! ```
//!
//! Everything else is found: the bucket's region, where `AWSLogs/` stands, organisations, accounts, kinds and regions. Each
//! account × kind × region is a partition with a cursor of its own (`s3/partition.rs`), polled with one LIST request however
//! many objects the bucket holds. One task lists (`s3/poll.rs`); objects are fetched by the pipeline (`s3/object.rs`).

mod cost;
mod discover;
mod keys;
mod ledger;
pub(crate) mod object;
mod partition;
mod poll;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OnceCell, mpsc};

use self::keys::Minute;
use self::ledger::{Ledger, Waiting};
use self::object::{Bucket, Object};
use self::partition::Partition;
use self::poll::Poller;
use super::figures::Figures;
use super::files::Limits;
use super::layout::Origins;
use super::{Body, Build, BuildError, Delivery, MOST_FAILURES, Source, SourceError, new_id};
use crate::ack::{DeliveryId, Note, Settled, Verdict};
use crate::aws::Aws;
use crate::clock::{Clock, Timestamp};
use crate::config::{At, Since};

pub use self::partition::{Cursor, named_at};

/// The first part of the names of the state's spaces.
pub const SPACES: &str = "s3/";
/// Objects found and not lent, at most; listing waits when there are more.
const FOUND: usize = 4096;
/// How soon an object that failed is lent again, at first; doubles with each failure.
const AGAIN: Duration = Duration::from_secs(1);
/// At most.
const AGAIN_MOST: Duration = Duration::from_secs(300);

/// Lists a bucket and reads CloudTrail's objects in it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceS3")]
pub struct Config {
    /// The bucket's name. Required.
    pub bucket: At<String>,
    /// Where to look in the bucket: anything above `AWSLogs/`, or a folder below it. Default: everywhere.
    #[serde(default)]
    pub prefix: Option<At<String>>,
    /// From when on objects are shipped the first time, by the time in their names: a duration before now, a day, a time, or
    /// `beginning`. Later runs go on where the last one was.
    #[serde(default = "since")]
    pub since: At<Since>,
    /// Until when, by the time in their names. Then the source ends, and its cursors stand apart from those of a source
    /// without `until`. Default: it goes on.
    #[serde(default)]
    pub until: Option<At<Since>>,
    /// How often what is busy is listed; what is quiet, down to 15 times less, and new accounts and regions are looked for 10
    /// times less. Each time is one request for each account, region and kind.
    #[serde(default = "every")]
    pub every: At<crate::config::Duration>,
    /// Which accounts.
    #[serde(default)]
    pub accounts: Names,
    /// Which regions.
    #[serde(default)]
    pub regions: Names,
    /// Which kinds: `CloudTrail`, `CloudTrail-Insight`, `CloudTrail-NetworkActivity`, `CloudTrail-Aggregated`.
    #[serde(default)]
    pub kinds: Names,
    /// LIST requests in an hour, at most. A count. Default: as many as are needed.
    #[serde(default)]
    pub max_list_per_hour: Option<NonZeroU32>,
    /// Whether requests are paid for by us, where the bucket asks for that.
    #[serde(default)]
    pub requester_pays: bool,
    /// The account that must own the bucket, 12 digits. Default: any.
    #[serde(default)]
    pub owner: Option<At<String>>,
    /// How AWS is reached.
    #[serde(default)]
    pub aws: Aws,
    /// How much one object may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

/// A choice of names: those included (all, where none is), but those excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Names")]
pub struct Names {
    /// Only these. Default: all.
    pub include: Vec<At<String>>,
    /// Not these.
    pub exclude: Vec<At<String>>,
}

impl Names {
    fn takes(&self, name: &str) -> bool {
        let is_in = |names: &[At<String>]| names.iter().any(|known| known.value() == name);
        (self.include.is_empty() || is_in(&self.include)) && !is_in(&self.exclude)
    }
}

/// Which partitions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    accounts: Names,
    regions: Names,
    kinds: Names,
}

/// The name of a range of time in the state; `None`: the source goes on for ever.
pub fn range(config: &Config) -> Option<String> {
    config.until.as_ref().map(|until| format!("{}..{}", config.since.value(), until.value()))
}

impl Config {
    /// Whether only what is new is read: neither a range of time nor more of the past than event times are believed.
    pub(crate) fn is_live(&self) -> bool {
        let young = |age: Duration| age <= Duration::from_secs(400 * 86_400);
        self.until.is_none() && matches!(self.since.value(), Since::Ago(age) if young(age.get()))
    }
}

fn since() -> At<Since> {
    Since::Ago(crate::config::Duration::minutes(60)).into()
}

fn every() -> At<crate::config::Duration> {
    crate::config::Duration::seconds(60).into()
}

/// The source.
pub struct S3 {
    config: Config,
    shared: Arc<Shared>,
    clock: Clock,
    once: bool,
    /// Seconds between two polls of a busy partition.
    every: i64,
    /// From when on partitions are ours of which nothing is known, and whether the state has it.
    floor: Minute,
    is_begun: bool,
    /// The bucket and what is found in it, once the first deliveries are asked for.
    open: OnceCell<Open>,
    run: tokio::sync::Mutex<Run>,
    /// A loan has ended.
    returned: Notify,
}

struct Open {
    bucket: Arc<Bucket>,
    found: tokio::sync::Mutex<mpsc::Receiver<Found>>,
    task: tokio::task::JoinHandle<()>,
}

/// What the task that asks for deliveries has in hand.
#[derive(Default)]
struct Run {
    origins: Origins,
    ended: bool,
}

/// An object to lend.
#[derive(Clone, Debug)]
struct Found {
    key: String,
    object: Waiting,
}

/// What listing and lending share.
struct Shared {
    ledger: Ledger,
    desk: Mutex<Desk>,
    /// Counted for the log and the metrics.
    lists: AtomicU64,
    others: AtomicU64,
    late: AtomicU64,
}

#[derive(Default)]
struct Desk {
    partitions: BTreeMap<String, Partition>,
    lent: HashMap<DeliveryId, Found>,
    /// Objects of the runs before, to be lent first.
    left: VecDeque<Found>,
    /// Objects that failed, and when they are lent again.
    again: Vec<(Timestamp, Found)>,
    trouble: Option<String>,
    /// Listing has ended before its end, because of that.
    given_up: bool,
}

impl Desk {
    fn partition_of(&mut self, key: &str) -> Option<&mut Partition> {
        let before =
            self.partitions.range_mut::<str, _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.map(|(_, partition)| partition).filter(|partition| key.starts_with(&partition.prefix))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl S3 {
    /// Reads where the runs before left it. AWS is asked when the first deliveries are.
    ///
    /// # Errors
    /// The state cannot be read, or the range of time is empty.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<S3, BuildError> {
        let now = build.clock.now();
        let (from, to) = (
            Minute::of(config.since.time(now)),
            config.until.as_ref().map(|until| Minute::of(until.time(now))),
        );
        if to.is_some_and(|to| to <= from) {
            return Err(BuildError("`until` is not after `since`".to_owned()));
        }
        let every = i64::try_from(config.every.get().as_secs()).unwrap_or(i64::MAX);
        if !(1..=86_400).contains(&every) {
            return Err(BuildError("`every` has to be from 1 s to 1 d".to_owned()));
        }
        let ledger = Ledger::new(build, config.bucket.value(), range(config).as_deref());
        let (mut partitions, waiting) = ledger.load().map_err(|error| BuildError(error.to_string()))?;
        let is_other = |bucket: &&String| !bucket.is_empty() && *bucket != config.bucket.value();
        let buckets = partitions.values().map(|partition| &partition.cursor.bucket);
        if let Some(other) = buckets.into_iter().find(is_other) {
            // Its cursors say nothing of another one, and would be lost.
            return Err(BuildError(format!(
                "it was bucket `{other}` until now, and the state tells how far that was shipped: give this source another name, or \
                 forget it with `trailship state rm {}/{}`",
                build.pipeline, build.name
            )));
        }
        // What appears while nobody looks is not lost either.
        let begun = partitions.remove("").map(|all| Minute(all.cursor.floor));
        let mut desk = Desk { partitions, ..Desk::default() };
        for (key, object) in waiting {
            if let Some(partition) = desk.partition_of(&key) {
                partition.waiting += 1;
            }
            desk.left.push_back(Found { key, object });
        }
        let left = desk.left.len();
        let told = !build.pipeline.is_empty(); // a command that only reads has no pipeline
        if desk.partitions.is_empty() && begun.is_none() && told {
            tracing::info!(source = build.name, bucket = %config.bucket.value(), since = %from.shown(), "no cursors yet: shipping what is named from then on");
        } else if left > 0 {
            tracing::info!(
                source = build.name,
                objects = left,
                "not settled by the run before: shipped again"
            );
        }
        Ok(S3 {
            config: config.clone(),
            shared: Arc::new(Shared {
                ledger,
                desk: Mutex::new(desk),
                lists: AtomicU64::new(0),
                others: AtomicU64::new(0),
                late: AtomicU64::new(0),
            }),
            clock: build.clock.clone(),
            once: build.once || config.until.is_some(),
            every,
            floor: begun.unwrap_or(from),
            is_begun: begun.is_some(),
            open: OnceCell::new(),
            run: tokio::sync::Mutex::default(),
            returned: Notify::new(),
        })
    }

    /// Finds the bucket and starts listing.
    async fn open(&self) -> Result<&Open, SourceError> {
        self.open
            .get_or_try_init(async || {
                let config = &self.config;
                let owner = config.owner.as_ref().map(|owner| owner.value().clone());
                let found =
                    Bucket::find(config.bucket.value(), &config.aws, owner, config.requester_pays).await?;
                Ok(self.begin(Arc::new(found)))
            })
            .await
    }

    /// Starts listing.
    fn begin(&self, bucket: Arc<Bucket>) -> Open {
        let (config, now) = (&self.config, self.clock.now());
        let (to, found) = mpsc::channel(FOUND);
        let poller = Poller {
            bucket: bucket.clone(),
            shared: self.shared.clone(),
            choice: Choice {
                accounts: config.accounts.clone(),
                regions: config.regions.clone(),
                kinds: config.kinds.clone(),
            },
            prefix: config.prefix.as_ref().map(|at| at.value().clone()).unwrap_or_default(),
            floor: self.floor,
            is_begun: self.is_begun,
            until: config.until.as_ref().map(|until| Minute::of(until.time(now))),
            clock: self.clock.clone(),
            once: self.once,
            every: self.every,
            most: config.max_list_per_hour,
            to,
        };
        let task = tokio::spawn(poller.run());
        Open { bucket, found: tokio::sync::Mutex::new(found), task }
    }

    fn lend(&self, bucket: &Arc<Bucket>, origins: &mut Origins, found: Found) -> Delivery {
        let id = new_id();
        let address: Arc<str> = bucket.address(&found.key).into();
        let Waiting { size, ref tag, failures } = found.object;
        let identity = format!("{address}#{tag}").into();
        let origin = origins.of(found.key.as_bytes(), address);
        let mut object = Object::new(bucket.clone(), found.key.clone());
        // One that could not be had may not be what was listed any more: it is asked what it is.
        if failures == 0 {
            object.size = Some(size);
            object.tag = Some(tag.clone()).filter(|tag| !tag.is_empty());
        }
        lock(&self.shared.desk).lent.insert(id, found);
        Delivery {
            id,
            identity,
            origin,
            body: Body::Remote(Arc::new(object)),
            failures,
            growing: false,
            again: None,
            from: None,
        }
    }

    /// What is due to be lent again, or was left by the run before.
    fn due(&self, most: usize) -> (Vec<Found>, Option<Duration>) {
        let now = self.clock.now();
        let mut desk = lock(&self.shared.desk);
        let mut due: Vec<Found> = Vec::new();
        while due.len() < most
            && let Some(left) = desk.left.pop_front()
        {
            due.push(left);
        }
        let room = most - due.len();
        let mut taken = 0;
        due.extend(
            desk.again
                .extract_if(.., |(at, _)| {
                    let takes = *at <= now && taken < room;
                    taken += usize::from(takes);
                    takes
                })
                .map(|(_, found)| found),
        );
        let next = desk.again.iter().map(|(at, _)| at.since(now).max(Duration::from_millis(10))).min();
        (due, next)
    }
}

impl Source for S3 {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        let open = self.open().await?;
        let mut run = self.run.lock().await;
        let mut found = open.found.lock().await;
        loop {
            let (mut due, again) = self.due(most);
            if due.is_empty() && !run.ended {
                let wait = again.unwrap_or(Duration::from_secs(3600));
                let mut objects = Vec::new();
                tokio::select! {
                    count = found.recv_many(&mut objects, most) => {
                        run.ended = count == 0;
                        due = objects;
                    }
                    () = tokio::time::sleep(wait) => {}
                    // Something may be due sooner than was known.
                    () = self.returned.notified() => {}
                }
            } else if due.is_empty() {
                let idle = {
                    let desk = lock(&self.shared.desk);
                    desk.lent.is_empty() && desk.again.is_empty() && desk.left.is_empty()
                };
                if idle {
                    let desk = lock(&self.shared.desk);
                    return match &desk.trouble {
                        Some(trouble) if desk.given_up => Err(SourceError::Stop(trouble.clone())),
                        // A run that goes on must not end as if all were done.
                        _ if !self.once => Err(SourceError::Stop("listing the bucket has ended".to_owned())),
                        _ => Ok(None),
                    };
                }
                tokio::select! {
                    () = self.returned.notified() => {}
                    () = tokio::time::sleep(again.unwrap_or(Duration::from_secs(1))) => {}
                }
            }
            if !due.is_empty() {
                let lent = due.into_iter().map(|found| self.lend(&open.bucket, &mut run.origins, found));
                return Ok(Some(lent.collect()));
            }
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        let now = self.clock.now();
        let mut ops = Vec::new();
        {
            let mut desk = lock(&self.shared.desk);
            for settled in settled {
                let Some(mut found) = desk.lent.remove(&settled.id) else { continue };
                if settled.verdict != Verdict::Failed {
                    ops.push(self.shared.ledger.settled(&found.key));
                    if let Some(partition) = desk.partition_of(&found.key) {
                        partition.waiting = partition.waiting.saturating_sub(1);
                    }
                    continue;
                }
                if let Note::Object(reason) = &settled.note {
                    found.object.failures += 1;
                    tracing::warn!(failures = found.object.failures, most = MOST_FAILURES, "{reason}");
                    ops.push(self.shared.ledger.waits(&found.key, &found.object));
                }
                let pause = AGAIN.saturating_mul(1 << found.object.failures.min(10)).min(AGAIN_MOST);
                desk.again.push((now.after(pause), found));
            }
        }
        if !ops.is_empty() {
            self.shared.ledger.commit(ops).await.map_err(SourceError::Stop)?;
        }
        self.returned.notify_one();
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.shared.desk).trouble.clone()
    }

    fn figures(&self) -> Figures {
        cost::figures(self)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(open) = self.open.get() {
            open.task.abort();
        }
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { lists, others, late, .. } = &*self.shared;
        tracing::debug!(
            bucket = %self.config.bucket.value(),
            lists = counted(lists),
            other_objects = counted(others),
            late_objects = counted(late),
            "the bucket was listed"
        );
    }
}

#[cfg(test)]
mod tests;
