//! Reads CloudTrail's objects as messages on a queue tell of them.
//!
//! ```toml
//! [sources.news]
//! type = "sqs"
//! queue_url = "https://sqs.eu-west-1.amazonaws.com/123456789012/trail"
//! ```
//!
//! What a message means is read in `sqs/message.rs`. A message is ours as long as its objects are on their way: its lease
//! is extended, and it is deleted when every object in it is settled (`sqs/lease.rs`). Any number of processes may share
//! one queue. Nothing is kept in the state.

mod lease;
mod message;
mod queue;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OnceCell, mpsc};

use self::lease::{Leases, Part};
pub(crate) use self::queue::region_of;
use self::queue::{Found, Queue, Why};
use super::figures::Figures;
use super::files::Limits;
use super::layout::Origins;
use super::s3::object::{Bucket, Object};
use super::{Body, Build, BuildError, Delivery, Origin, Source, SourceError, new_id};
use crate::ack::{DeliveryId, Note, Settled, Verdict};
use crate::aws::Aws;
use crate::config::At;

/// Objects found and not lent, at most.
const FOUND: usize = 64;
/// How soon an object that could not be had is lent again.
const AGAIN: Duration = Duration::from_secs(2);

/// Reads objects that messages on a queue tell of.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceSqs")]
pub struct Config {
    /// The queue's URL. Required.
    pub queue_url: At<String>,
    /// The buckets that are read; a message may name any. Default: those that the queue's own account owns, and only keys in
    /// CloudTrail's layout.
    #[serde(default)]
    pub buckets: Vec<At<String>>,
    /// How long a message is ours before the lease is extended, which happens at half of it. Time.
    #[serde(default = "lease")]
    pub lease: crate::config::Duration,
    /// Whether requests to the buckets are paid for by us, where they ask for that.
    #[serde(default)]
    pub requester_pays: bool,
    /// How AWS is reached.
    #[serde(default)]
    pub aws: Aws,
    /// How much one object may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

const fn lease() -> crate::config::Duration {
    crate::config::Duration::minutes(5)
}

/// The source.
pub struct Sqs {
    config: Config,
    once: bool,
    name: String,
    open: OnceCell<Open>,
    shared: Arc<Shared>,
    origins: tokio::sync::Mutex<Origins>,
    buckets: tokio::sync::Mutex<HashMap<String, Arc<Bucket>>>,
    /// A loan has ended.
    returned: Notify,
}

struct Open {
    queue: Arc<Queue>,
    found: tokio::sync::Mutex<mpsc::Receiver<Found>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What receiving, lending and settling share.
#[derive(Default)]
struct Shared {
    leases: Mutex<Leases>,
    lent: Mutex<HashMap<DeliveryId, Found>>,
    trouble: Mutex<Option<String>>,
    again: Mutex<Vec<(tokio::time::Instant, Found)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sqs {
    /// Looks at the settings. AWS is asked when the first deliveries are.
    ///
    /// # Errors
    /// The lease is too short or too long for a queue.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<Sqs, BuildError> {
        let lease = config.lease.get();
        if lease < Duration::from_secs(2) || lease > Duration::from_hours(11) {
            return Err(BuildError("`lease` has to be from 2 s to 11 h".to_owned()));
        }
        Ok(Sqs {
            config: config.clone(),
            once: build.once,
            name: build.name.to_owned(),
            open: OnceCell::new(),
            shared: Arc::default(),
            origins: tokio::sync::Mutex::default(),
            buckets: tokio::sync::Mutex::default(),
            returned: Notify::new(),
        })
    }

    async fn open(&self) -> Result<&Open, SourceError> {
        self.open
            .get_or_try_init(async || {
                let queue = Arc::new(Queue::find(&self.config, &self.name).await?);
                queue.tell();
                let (to, found) = mpsc::channel(FOUND);
                let mut tasks = Vec::new();
                for _ in 0..queue::RECEIVERS {
                    let (queue, shared, to) = (queue.clone(), self.shared.clone(), to.clone());
                    tasks.push(tokio::spawn(queue::receive(queue, shared, to, self.once)));
                }
                tasks.push(tokio::spawn(queue::keep(queue.clone(), self.shared.clone())));
                Ok(Open { queue, found: tokio::sync::Mutex::new(found), tasks })
            })
            .await
    }

    /// `Err`: it is to be lent later, or not at all.
    async fn lend(&self, queue: &Queue, found: Found) -> Result<Delivery, Option<Found>> {
        let id = new_id();
        let (origin, body, identity) = match &found.part {
            Part::Event(text) => {
                let address: Arc<str> = format!("{}#{}", queue.url, found.message).into();
                let origin = Origin { address: address.clone(), ..Origin::default() };
                (origin, Body::Bytes(text.clone().into_bytes().into()), address)
            }
            Part::Object(told) => {
                let bucket = match self.bucket(queue, &told.bucket).await {
                    Ok(bucket) => bucket,
                    // Anybody may have named it.
                    Err(SourceError::Stop(error)) if self.config.buckets.is_empty() => {
                        queue.leave(Why::Refused, &error);
                        let over = lock(&self.shared.leases).leave(found.message);
                        queue.end(over.into_iter().collect()).await;
                        return Err(None);
                    }
                    Err(error) => {
                        tracing::warn!(source = self.name, "{error}: trying again");
                        *lock(&self.shared.trouble) = Some(error.to_string());
                        return Err(Some(found));
                    }
                };
                let address: Arc<str> = bucket.address(&told.key).into();
                let mark = told.sequencer.as_ref().or(told.tag.as_ref()).map_or("", String::as_str);
                let identity = format!("{address}#{mark}").into();
                let origin = self.origins.lock().await.of(told.key.as_bytes(), address);
                let mut object = Object::new(bucket, told.key.clone());
                object.other_key.clone_from(&told.other_key);
                object.gives_way = self.config.buckets.is_empty();
                // One that could not be had may not be what was told any more: it is asked what it is.
                if found.failures == 0 {
                    object.size = told.size;
                    object.tag = told.tag.as_ref().map(|tag| format!("\"{}\"", tag.trim_matches('"')));
                }
                (origin, Body::Remote(Arc::new(object)), identity)
            }
        };
        let failures = found.failures;
        lock(&self.shared.lent).insert(id, found);
        Ok(Delivery { id, identity, origin, body, failures, growing: false, again: None, from: None })
    }

    async fn bucket(&self, queue: &Queue, name: &str) -> Result<Arc<Bucket>, SourceError> {
        let mut buckets = self.buckets.lock().await;
        if let Some(bucket) = buckets.get(name) {
            return Ok(bucket.clone());
        }
        let owner = if self.config.buckets.is_empty() { queue.account.clone() } else { None };
        let aws = self.config.aws.elsewhere();
        let bucket = Bucket::find(name, &aws, owner, self.config.requester_pays).await?;
        let bucket = Arc::new(bucket);
        buckets.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }

    /// What is to be lent again now, and how soon there is more.
    fn due(&self, most: usize) -> (Vec<Found>, Option<tokio::time::Instant>) {
        let now = tokio::time::Instant::now();
        let mut again = lock(&self.shared.again);
        let mut taken = 0;
        let due = again.extract_if(.., |(at, _)| {
            let takes = *at <= now && taken < most;
            taken += usize::from(takes);
            takes
        });
        let due: Vec<Found> = due.map(|(_, found)| found).collect();
        (due, again.iter().map(|(at, _)| *at).min())
    }
}

impl Source for Sqs {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        let open = self.open().await?;
        let mut found = open.found.lock().await;
        loop {
            let (mut due, again) = self.due(most);
            if due.is_empty() {
                let wait = again.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(3600));
                let mut objects = Vec::new();
                let ended = tokio::select! {
                    count = found.recv_many(&mut objects, most) => count == 0,
                    () = tokio::time::sleep_until(wait) => false,
                    // Something may be due sooner than was known.
                    () = self.returned.notified() => false,
                };
                due = objects;
                if ended && again.is_none() {
                    if lock(&self.shared.lent).is_empty() {
                        return Ok(None);
                    }
                    self.returned.notified().await;
                } else if ended {
                    tokio::time::sleep_until(wait).await;
                }
            }
            let mut lent = Vec::new();
            for found in due {
                match self.lend(&open.queue, found).await {
                    Ok(delivery) => lent.push(delivery),
                    Err(Some(found)) => {
                        lock(&self.shared.again).push((tokio::time::Instant::now() + AGAIN * 5, found));
                    }
                    Err(None) => {}
                }
            }
            if !lent.is_empty() {
                return Ok(Some(lent));
            }
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        let Some(open) = self.open.get() else { return Ok(()) };
        let ending = open.queue.ending.lock().await;
        let mut over = Vec::new();
        for settled in settled {
            let Some(mut found) = lock(&self.shared.lent).remove(&settled.id) else { continue };
            let mut leases = lock(&self.shared.leases);
            match (settled.verdict, settled.note) {
                (Verdict::Failed, Note::Object(reason)) => {
                    // Before the queue takes the message away by itself, the object goes to rejects.
                    found.failures = if leases.is_last(found.message) {
                        super::MOST_FAILURES - 1
                    } else {
                        found.failures + 1
                    };
                    tracing::warn!(source = self.name, failures = found.failures, "{reason}");
                    lock(&self.shared.again).push((tokio::time::Instant::now() + AGAIN, found));
                }
                // Anybody may have named that bucket. Where the queue would take the message away it stays ours.
                (Verdict::Failed, Note::Place(reason)) if !leases.is_last(found.message) => {
                    open.queue.leave(Why::Refused, &reason);
                    over.extend(leases.leave(found.message));
                }
                // Not the object's fault: the message stays ours, so that the queue does not count it. A stop gives it back.
                (Verdict::Failed, _) => {
                    lock(&self.shared.again).push((tokio::time::Instant::now() + AGAIN, found));
                }
                _ => over.extend(leases.settled(found.message)),
            }
        }
        self.returned.notify_one();
        // What cannot be deleted now comes again after its lease, and is deleted then; its outcomes are remembered.
        if !over.is_empty() {
            open.queue.end(over).await;
        }
        drop(ending);
        Ok(())
    }

    async fn close(&self) {
        if let Some(open) = self.open.get() {
            open.tasks.iter().for_each(tokio::task::JoinHandle::abort);
            let _ending = open.queue.ending.lock().await;
            let held = lock(&self.shared.leases).all();
            open.queue.end(held).await;
        }
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.shared.trouble).clone()
    }

    fn figures(&self) -> Figures {
        let count = |of: fn(&Queue) -> &AtomicU64| {
            self.open.get().map_or(0, |open| of(&open.queue).load(Ordering::Relaxed))
        };
        let held = lock(&self.shared.leases).len() as u64;
        Figures {
            held: Some(held),
            left: Some(count(|queue| &queue.left)),
            others: Some(count(|queue| &queue.others)),
            ..Figures::default()
        }
    }
}

impl Drop for Sqs {
    fn drop(&mut self) {
        if let Some(open) = self.open.get() {
            open.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }
}
