//! The task that lists a bucket: finds partitions, polls each at its own pace, writes down what is news and hands it on.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::discover::{self, Folder};
use super::keys::{self, Minute};
use super::ledger::Waiting;
use super::object::Bucket;
use super::partition::{Listed, Partition, Request};
use super::{Choice, Found, Shared, lock};
use crate::clock::Clock;

/// Listings and discoveries at once.
const AT_ONCE: usize = 16;
/// Busy partitions are polled so many times between two discoveries of new ones.
const POLLS: i64 = 10;
/// First pause after a refused listing; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: i64 = 1;
/// Seconds.
const LONGEST_PAUSE: i64 = 300;
/// Refusals in a row after which a run that ends gives up.
const MOST_REFUSALS: u32 = 6;
/// Dollars for 1,000 LIST requests (S3 standard, us-east-1; estimate).
const LIST_PRICE: f64 = 0.005;

/// Lists one bucket.
pub(super) struct Poller {
    pub(super) bucket: Arc<Bucket>,
    pub(super) shared: Arc<Shared>,
    pub(super) choice: Choice,
    pub(super) prefix: String,
    pub(super) floor: Minute,
    pub(super) until: Option<Minute>,
    pub(super) clock: Clock,
    pub(super) once: bool,
    /// Seconds between two polls of a busy partition.
    pub(super) every: i64,
    pub(super) most: Option<NonZeroU32>,
    pub(super) to: mpsc::Sender<Found>,
}

/// What one request brought.
enum Answer {
    Page { prefix: String, listed: Vec<Listed>, more: bool },
    Refused { prefix: String, message: String },
    Folders { folder: Folder, path: String, names: Result<Vec<String>, String> },
}

/// The state of the task.
#[derive(Default)]
struct Round {
    /// Folders to look into.
    folders: VecDeque<(Folder, String)>,
    looking: usize,
    listing: BTreeSet<String>,
    discover_at: i64,
    discovered: bool,
    pause: i64,
    /// No LIST before this, in milliseconds: the limit of an hour.
    next_list: i64,
    /// No folder is looked into before this, in seconds.
    look_at: i64,
    /// Refusals since the last answer.
    refused: u32,
}

impl Poller {
    pub(super) async fn run(self) {
        let mut round = Round { pause: FIRST_PAUSE, ..Round::default() };
        let mut requests = FuturesUnordered::new();
        loop {
            let now = self.clock.now().seconds();
            if now >= round.discover_at {
                round.discover_at = if self.once { i64::MAX } else { now + self.every * POLLS };
                round.folders.extend(discover::start(&self.prefix));
            }
            while requests.len() < AT_ONCE && self.may_list(&mut round) {
                if let Some(request) = self.due(&round, now) {
                    round.listing.insert(request.prefix.clone());
                    requests.push(self.list(request).boxed());
                } else if now >= round.look_at
                    && let Some((folder, path)) = round.folders.pop_front()
                {
                    round.looking += 1;
                    if round.discovered {
                        // What was found is polled; looking for more takes its time.
                        round.look_at = now + 1;
                    }
                    requests.push(self.look(folder, path).boxed());
                } else {
                    break;
                }
                self.spend(&mut round);
            }
            if !round.discovered && round.looking == 0 && round.folders.is_empty() {
                round.discovered = true;
                self.tell_estimate();
            }
            if self.once && requests.is_empty() && round.discovered && self.is_over() {
                return;
            }
            if self.once && round.refused >= MOST_REFUSALS {
                lock(&self.shared.desk).given_up = true;
                return;
            }
            let wait = self.wait(&round, now);
            tokio::select! {
                Some(answer) = requests.next(), if !requests.is_empty() => {
                    if !self.take(&mut round, answer).await {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
                () = self.to.closed() => return,
            }
        }
    }

    /// Whether the limit of an hour leaves room for a LIST.
    fn may_list(&self, round: &mut Round) -> bool {
        self.most.is_none() || self.clock.now().0 / 1_000_000 >= round.next_list
    }

    fn spend(&self, round: &mut Round) {
        self.shared.lists.fetch_add(1, Ordering::Relaxed);
        if let Some(most) = self.most {
            let now = self.clock.now().0 / 1_000_000;
            round.next_list = round.next_list.max(now) + 3_600_000 / i64::from(most.get());
        }
    }

    /// A partition whose time has come, and what to ask for.
    fn due(&self, round: &Round, now: i64) -> Option<Request> {
        let mut desk = lock(&self.shared.desk);
        let minute = Minute::of(self.clock.now());
        let mut full = None;
        let request =
            desk.partitions.values_mut().filter(|partition| partition.due <= now).find_map(|partition| {
                if round.listing.contains(&partition.prefix) {
                    return None;
                }
                let request = partition.request(minute);
                if request.is_none() {
                    full = Some(partition.prefix.clone());
                    partition.due = now + 1;
                }
                request
            });
        if let Some(prefix) = full {
            desk.trouble = Some(format!("{prefix} is not listed: too many of its objects are not settled"));
        } else if desk.trouble.as_ref().is_some_and(|trouble| trouble.ends_with("not settled")) {
            desk.trouble = None;
        }
        request
    }

    /// Whether every partition was listed to its end.
    fn is_over(&self) -> bool {
        let desk = lock(&self.shared.desk);
        desk.partitions.values().all(|partition| partition.due == i64::MAX)
    }

    fn wait(&self, round: &Round, now: i64) -> Duration {
        let desk = lock(&self.shared.desk);
        let listing = |partition: &&Partition| !round.listing.contains(&partition.prefix);
        let due = desk.partitions.values().filter(listing).map(|partition| partition.due).min();
        let look = if round.folders.is_empty() { i64::MAX } else { round.look_at };
        let next = due.unwrap_or(i64::MAX).min(round.discover_at).min(look).clamp(now, now + 3600);
        let limited = if self.most.is_some() { round.next_list - self.clock.now().0 / 1_000_000 } else { 0 };
        let millis = ((next - now) * 1000).max(limited).max(if next <= now { 50 } else { 0 });
        Duration::from_millis(u64::try_from(millis).unwrap_or(1000))
    }

    async fn list(&self, request: Request) -> Answer {
        let bucket = &*self.bucket;
        let asked = bucket.client.list_objects_v2().bucket(&bucket.name);
        let asked = asked
            .prefix(&request.prefix)
            .start_after(&request.start_after)
            .set_request_payer(bucket.payer.clone())
            .set_expected_bucket_owner(bucket.owner.clone());
        match asked.send().await {
            Ok(page) => {
                let listed = page.contents().iter().filter_map(|object| {
                    Some(Listed {
                        key: object.key()?.to_owned(),
                        size: u64::try_from(object.size().unwrap_or_default()).unwrap_or_default(),
                        tag: object.e_tag().unwrap_or_default().to_owned(),
                    })
                });
                Answer::Page {
                    prefix: request.prefix,
                    listed: listed.collect(),
                    more: page.is_truncated().unwrap_or_default(),
                }
            }
            Err(error) => self.refused(request.prefix, &error),
        }
    }

    fn refused(
        &self,
        prefix: String,
        error: &SdkError<
            aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Error,
            aws_sdk_s3::config::http::HttpResponse,
        >,
    ) -> Answer {
        let message = discover::refused(&self.bucket, &prefix, error);
        Answer::Refused { prefix, message }
    }

    async fn look(&self, folder: Folder, path: String) -> Answer {
        let names = match folder {
            Folder::Partition => Ok(Vec::new()),
            _ => discover::folders(&self.bucket, &path).await,
        };
        Answer::Folders { folder, path, names }
    }

    /// Takes an answer. `false`: nobody wants more, or the state cannot be written.
    async fn take(&self, round: &mut Round, answer: Answer) -> bool {
        let now = self.clock.now().seconds();
        match answer {
            Answer::Folders { folder, path, names } => {
                round.looking -= 1;
                if names.is_ok() {
                    self.answered(round);
                }
                match names {
                    Ok(_) if folder == Folder::Partition => self.enter(path),
                    Ok(names) => {
                        for (folder, path) in discover::below(&folder, &path, &names, &self.choice) {
                            match folder {
                                Folder::Partition => self.enter(path),
                                _ => round.folders.push_back((folder, path)),
                            }
                        }
                    }
                    Err(message) => {
                        round.look_at = now + self.trouble(round, message);
                        round.folders.push_back((folder, path));
                    }
                }
                true
            }
            Answer::Refused { prefix, message } => {
                let pause = self.trouble(round, message);
                round.listing.remove(&prefix);
                if let Some(partition) = lock(&self.shared.desk).partitions.get_mut(&prefix) {
                    partition.due = now + pause;
                }
                true
            }
            Answer::Page { prefix, listed, more } => {
                round.listing.remove(&prefix);
                self.answered(round);
                self.page(&prefix, listed, more).await
            }
        }
    }

    /// Enters a page: what is news is written down, then handed on.
    async fn page(&self, prefix: &str, mut listed: Vec<Listed>, more: bool) -> bool {
        let (now, minute) = (self.clock.now().seconds(), Minute::of(self.clock.now()));
        let mut more = more;
        if let Some(until) = self.until {
            let before = listed.len();
            listed.retain(|object| match keys::object(&object.key) {
                keys::Object::Log(minute) => minute < until,
                keys::Object::Other => true,
            });
            more &= listed.len() == before;
        }
        let (ops, news) = {
            let mut desk = lock(&self.shared.desk);
            let Some(partition) = desk.partitions.get_mut(prefix) else { return true };
            let news = partition.take(listed, more, minute);
            let rest = partition.rest(minute, self.every);
            partition.due = if self.once && !partition.is_listing() { i64::MAX } else { now + rest };
            let changed = !news.objects.is_empty() || !news.forgotten.is_empty();
            (if changed { self.shared.ledger.news(partition, &news) } else { Vec::new() }, news)
        };
        self.shared.others.fetch_add(news.others, Ordering::Relaxed);
        self.shared.late.fetch_add(news.late, Ordering::Relaxed);
        if !ops.is_empty()
            && let Err(message) = self.shared.ledger.commit(ops).await
        {
            tracing::error!("{message}: nothing more is listed");
            let mut desk = lock(&self.shared.desk);
            (desk.trouble, desk.given_up) = (Some(message), true);
            return false;
        }
        for Listed { key, size, tag } in news.objects {
            let object = Waiting { size, tag, failures: 0 };
            if self.to.send(Found { key, object }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// A partition was found.
    fn enter(&self, prefix: String) {
        let mut desk = lock(&self.shared.desk);
        desk.partitions.entry(prefix.clone()).or_insert_with(|| Partition::new(prefix, self.floor));
    }

    /// The bucket has answered.
    fn answered(&self, round: &mut Round) {
        round.pause = FIRST_PAUSE;
        if std::mem::take(&mut round.refused) > 0 {
            lock(&self.shared.desk).trouble = None;
            tracing::info!(bucket = %self.bucket.name, "the bucket can be listed again");
        }
    }

    /// Says that something was refused; returns how many seconds to wait.
    fn trouble(&self, round: &mut Round, message: String) -> i64 {
        tracing::warn!(bucket = %self.bucket.name, "{message}: trying again");
        lock(&self.shared.desk).trouble = Some(message);
        round.refused += 1;
        let pause = round.pause;
        round.pause = (round.pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Says what listing costs, once it is known what there is.
    fn tell_estimate(&self) {
        if self.once {
            return;
        }
        let partitions = lock(&self.shared.desk).partitions.len();
        if partitions == 0 {
            tracing::warn!(bucket = %self.bucket.name, prefix = %self.prefix, "no CloudTrail objects were found: looked for `AWSLogs/` at and below the prefix");
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let most = (partitions as f64) * 30.0 * 86_400.0 / self.every as f64;
        tracing::info!(
            bucket = %self.bucket.name,
            partitions,
            "estimate: at most {:.0} LIST requests a month if every partition is busy (${:.2}), a fifteenth of it for quiet ones",
            most,
            most / 1000.0 * LIST_PRICE
        );
    }
}
