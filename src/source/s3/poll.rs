//! The task that lists a bucket: finds partitions, polls each at its own pace, writes down what is news and hands it on.

use std::collections::btree_map::Entry;
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::cost::lists_a_month;
use super::discover::{self, Folder};
use super::keys::{self, Minute};
use super::ledger::Waiting;
use super::object::Bucket;
use super::partition::{Listed, Partition, Request};
use super::{Choice, Found, Shared, lock};
use crate::clock::Clock;
use crate::source::figures::LIST_PRICE;
use crate::state::Op;

/// Listings and discoveries at once.
const AT_ONCE: usize = 16;
/// Busy partitions are polled so many times between two discoveries of new ones.
const POLLS: i64 = 10;
/// Where there is a limit, every such request may look for new partitions.
const LOOKS: u64 = 4;
/// First pause after a refused listing; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: i64 = 1;
/// Seconds.
const LONGEST_PAUSE: i64 = 300;
/// Refusals in a row after which a run that ends gives up.
const MOST_REFUSALS: u32 = 6;

/// Lists one bucket.
pub(super) struct Poller {
    pub(super) bucket: Arc<Bucket>,
    pub(super) shared: Arc<Shared>,
    pub(super) choice: Choice,
    pub(super) prefix: String,
    pub(super) floor: Minute,
    pub(super) is_begun: bool,
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
    Page {
        prefix: String,
        listed: Vec<Listed>,
        more: bool,
    },
    Refused {
        prefix: String,
        message: String,
    },
    /// `pages`: the requests it took.
    Folders {
        folder: Folder,
        path: String,
        names: Result<Vec<String>, String>,
        pages: u32,
    },
}

/// The state of the task.
#[derive(Default)]
struct Round {
    /// Partitions that are not being listed, by when they are due, in seconds. One that was listed to its end by a run that
    /// ends is in it no more.
    agenda: BTreeSet<(i64, String)>,
    /// Partitions of which too much is on its way.
    full: BTreeSet<String>,
    /// Folders to look into.
    folders: VecDeque<(Folder, String)>,
    looking: usize,
    /// Requests so far, of either sort.
    turn: u64,
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

impl Round {
    /// Whether new partitions are being looked for.
    fn is_looking(&self) -> bool {
        self.looking > 0 || !self.folders.is_empty()
    }
}

impl Poller {
    pub(super) async fn run(self) {
        let mut round = Round { pause: FIRST_PAUSE, ..Round::default() };
        {
            let desk = lock(&self.shared.desk);
            // Known from runs before, which may have been told to look at more.
            let chosen = |prefix: &&String| discover::is_chosen(&self.prefix, prefix, &self.choice);
            round.agenda.extend(desk.partitions.keys().filter(chosen).map(|prefix| (0, prefix.clone())));
        }
        if !self.is_begun && !self.remember(vec![self.shared.ledger.begins(self.floor)]).await {
            return;
        }
        let mut requests = FuturesUnordered::new();
        loop {
            let now = self.clock.now().seconds();
            // A look at many accounts may take longer than the time between two.
            if now >= round.discover_at && !round.is_looking() {
                round.discover_at = if self.once { i64::MAX } else { now + self.every * POLLS };
                round.folders.extend(discover::start(&self.prefix));
            }
            while requests.len() < AT_ONCE && self.may_list(&round) {
                // What was found is polled first; where requests are few, it leaves some for what is new.
                let looks = self.most.is_some() && now >= round.look_at && round.turn.is_multiple_of(LOOKS);
                let due = if looks && !round.folders.is_empty() { None } else { self.due(&mut round, now) };
                round.turn += 1;
                if let Some(request) = due {
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
                self.spend(&mut round, 1);
            }
            if !round.discovered && !round.is_looking() {
                round.discovered = true;
                self.tell_estimate();
            }
            if self.once && requests.is_empty() && round.discovered && round.agenda.is_empty() {
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
    fn may_list(&self, round: &Round) -> bool {
        self.most.is_none() || self.clock.now().0 / 1_000_000 >= round.next_list
    }

    fn spend(&self, round: &mut Round, requests: u32) {
        self.shared.lists.fetch_add(requests.into(), Ordering::Relaxed);
        if let Some(most) = self.most {
            let now = self.clock.now().0 / 1_000_000;
            let each = i64::from(3_600_000_u32.div_ceil(most.get()));
            round.next_list = round.next_list.max(now) + each * i64::from(requests);
        }
    }

    /// A partition whose time has come, and what to ask for.
    fn due(&self, round: &mut Round, now: i64) -> Option<Request> {
        let minute = Minute::of(self.clock.now());
        let mut desk = lock(&self.shared.desk);
        while round.agenda.first().is_some_and(|(due, _)| *due <= now) {
            let (_, prefix) = round.agenda.pop_first()?;
            let request = desk.partitions.get_mut(&prefix).and_then(|partition| partition.request(minute));
            let was_full = round.full.remove(&prefix);
            if request.is_none() {
                desk.trouble =
                    Some(format!("{prefix} is not listed: too many of its objects are not settled"));
                round.agenda.insert((now + 1, prefix.clone()));
                round.full.insert(prefix);
                continue;
            }
            if was_full && round.full.is_empty() {
                desk.trouble = None;
            }
            return request;
        }
        None
    }

    fn wait(&self, round: &Round, now: i64) -> Duration {
        let due = round.agenda.first().map_or(i64::MAX, |(due, _)| *due);
        let look = match round.folders.is_empty() {
            true if round.looking > 0 => i64::MAX,
            true => round.discover_at,
            false => round.look_at,
        };
        let next = due.min(look).clamp(now, now + 3600);
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
        let mut pages = 0;
        let names = match folder {
            Folder::Partition => Ok(Vec::new()),
            _ => discover::folders(&self.bucket, &path, &mut pages).await,
        };
        Answer::Folders { folder, path, names, pages }
    }

    /// Takes an answer. `false`: nobody wants more, or the state cannot be written.
    async fn take(&self, round: &mut Round, answer: Answer) -> bool {
        let now = self.clock.now().seconds();
        match answer {
            Answer::Folders { folder, path, names, pages } => {
                round.looking -= 1;
                self.spend(round, pages.saturating_sub(1));
                if names.is_ok() {
                    self.answered(round);
                }
                match names {
                    Ok(_) if folder == Folder::Partition => self.enter(round, path),
                    Ok(names) => {
                        for (folder, path) in discover::below(&folder, &path, &names, &self.choice) {
                            match folder {
                                Folder::Partition => self.enter(round, path),
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
                round.agenda.insert((now + pause, prefix));
                true
            }
            Answer::Page { prefix, listed, more } => {
                self.answered(round);
                self.page(round, prefix, listed, more).await
            }
        }
    }

    /// Enters a page: what is news is written down, then handed on.
    async fn page(&self, round: &mut Round, prefix: String, mut listed: Vec<Listed>, more: bool) -> bool {
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
            let Some(partition) = desk.partitions.get_mut(&prefix) else { return true };
            let news = partition.take(listed, more, minute);
            let rest = partition.rest(minute, self.every);
            if !self.once || partition.is_listing() {
                round.agenda.insert((now + rest, prefix));
            } else {
                partition.is_over = true;
            }
            let changed = !news.objects.is_empty() || !news.forgotten.is_empty();
            (if changed { self.shared.ledger.news(partition, &news) } else { Vec::new() }, news)
        };
        self.shared.others.fetch_add(news.others, Ordering::Relaxed);
        self.shared.late.fetch_add(news.late, Ordering::Relaxed);
        if !ops.is_empty() && !self.remember(ops).await {
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

    /// Writes to the state. `false`: it cannot be written, so listing ends.
    async fn remember(&self, ops: Vec<Op>) -> bool {
        let Err(message) = self.shared.ledger.commit(ops).await else { return true };
        tracing::error!("{message}: nothing more is listed");
        let mut desk = lock(&self.shared.desk);
        (desk.trouble, desk.given_up) = (Some(message), true);
        false
    }

    /// A partition was found.
    fn enter(&self, round: &mut Round, prefix: String) {
        if let Entry::Vacant(entry) = lock(&self.shared.desk).partitions.entry(prefix.clone()) {
            entry.insert(Partition::new(prefix.clone(), self.floor));
            round.agenda.insert((0, prefix));
        }
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
        let (partitions, month) = {
            let desk = lock(&self.shared.desk);
            (desk.partitions.len(), lists_a_month(&desk, self.every, self.most))
        };
        if partitions == 0 {
            tracing::warn!(bucket = %self.bucket.name, prefix = %self.prefix, "no CloudTrail objects were found: looked for `AWSLogs/` at and below the prefix");
            return;
        }
        tracing::info!(
            bucket = %self.bucket.name,
            partitions,
            "estimate: at most {month:.0} LIST requests a month if every partition is busy (${:.2}), a fifteenth of it for quiet ones",
            month * LIST_PRICE
        );
    }
}
