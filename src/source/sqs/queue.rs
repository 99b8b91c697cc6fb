//! The queue itself: what it is, messages received, leases extended, messages deleted or given back.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageSystemAttributeName, QueueAttributeName,
};
use tokio::sync::{Semaphore, mpsc};

use super::lease::{How, Number, Over, Part};
use super::message::{self, Meaning, Told};
use super::{Config, Shared, lock};
use crate::aws::{Kind, Refusal};
use crate::source::SourceError;
use crate::source::layout::Layout;

/// Requests for messages that wait at the same time.
pub(super) const RECEIVERS: usize = 4;
/// Messages that are ours, at most.
const MOST: usize = 512;
/// Messages in a request.
const BATCH: i32 = 10;
/// How long a request waits for a message, seconds.
const WAIT: i32 = 20;
/// The longest time a message that is not understood stays hidden, seconds.
const LONGEST: i32 = 3600;
/// Between two looks at the leases.
const LOOK: Duration = Duration::from_millis(500);

/// Why a message stays on the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Why {
    /// It is not understood.
    Unknown,
    /// What it names is not to be read.
    Other,
    /// What it names may not be read.
    Refused,
}

/// A part of a message, to be lent.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) message: Number,
    pub(super) part: Part,
    pub(super) failures: u32,
}

/// A queue.
pub(super) struct Queue {
    client: Client,
    pub(super) url: String,
    name: String,
    who: String,
    /// The account that owns it.
    pub(super) account: Option<String>,
    buckets: Vec<String>,
    lease: Duration,
    /// How often a message comes before the queue takes it away; 0: for ever.
    most_receives: u32,
    room: Semaphore,
    /// Reasons to leave a message that were told.
    told: Mutex<HashSet<Why>>,
    pub(super) left: AtomicU64,
    /// Objects told of that are no log files by their keys.
    pub(super) others: AtomicU64,
    /// Held from when a message is taken off the list of ours until the queue knows: whoever closes waits for it.
    pub(super) ending: tokio::sync::Mutex<()>,
}

impl Queue {
    /// Finds the queue's region, account and rules.
    pub(super) async fn find(config: &Config, name: &str) -> Result<Queue, SourceError> {
        let url = config.queue_url.value().clone();
        let loaded = config.aws.load(region_of(&url).filter(|_| config.aws.region.is_none())).await;
        let client = config.aws.sqs(&loaded);
        let asked = client
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(QueueAttributeName::QueueArn)
            .attribute_names(QueueAttributeName::RedrivePolicy);
        let who = config.aws.who();
        let output = asked.send().await.map_err(|error| {
            let refusal = Refusal::of(&error);
            let text = refusal.advice(&format!("queue {url}"), &who, "sqs:GetQueueAttributes");
            if refusal.kind == Kind::NoPlace { SourceError::Stop(text) } else { SourceError::Retry(text) }
        })?;
        let attribute =
            |name: QueueAttributeName| output.attributes().and_then(|all| all.get(&name)).cloned();
        let arn = attribute(QueueAttributeName::QueueArn).unwrap_or_default();
        let redrive = attribute(QueueAttributeName::RedrivePolicy).unwrap_or_default();
        let redrive: serde_json::Value = serde_json::from_str(&redrive).unwrap_or_default();
        let most = &redrive["maxReceiveCount"];
        let most_receives = most.as_u64().or_else(|| most.as_str()?.parse().ok()).unwrap_or_default();
        Ok(Queue {
            client,
            account: arn.split(':').nth(4).filter(|account| account.len() == 12).map(str::to_owned),
            url,
            name: name.to_owned(),
            who,
            buckets: config.buckets.iter().map(|bucket| bucket.value().clone()).collect(),
            lease: config.lease.get(),
            most_receives: u32::try_from(most_receives).unwrap_or(u32::MAX),
            room: Semaphore::new(MOST),
            told: Mutex::default(),
            left: AtomicU64::new(0),
            others: AtomicU64::new(0),
            ending: tokio::sync::Mutex::default(),
        })
    }

    /// Says what was found.
    pub(super) fn tell(&self) {
        let buckets = match (self.buckets.is_empty(), &self.account) {
            (false, _) => self.buckets.join(", "),
            (true, Some(account)) => format!("those of account {account}, CloudTrail's keys only"),
            (true, None) => "none: the queue does not say whose it is, so list them in `buckets`".to_owned(),
        };
        let taken_away = if self.most_receives == 0 {
            "never".to_owned()
        } else {
            format!("after {} times", self.most_receives)
        };
        tracing::info!(source = self.name, queue = %self.url, buckets, taken_away, "receiving messages");
    }

    fn seconds(&self) -> i32 {
        i32::try_from(self.lease.as_secs()).unwrap_or(i32::MAX)
    }

    /// Whether an object may be read: a message may name any.
    fn allows(&self, told: &Told) -> bool {
        if self.buckets.is_empty() {
            return self.account.is_some() && Layout::read(told.key.as_bytes()).is_some();
        }
        self.buckets.contains(&told.bucket)
    }

    /// Deletes messages, gives them back, or leaves them.
    pub(super) async fn end(&self, over: Vec<Over>) {
        self.room.add_permits(over.len());
        let (mut delete, mut back) = (Vec::new(), Vec::new());
        for Over { receipt, how } in over {
            match how {
                How::Delete => delete.push(receipt),
                How::Back => back.push(receipt),
                How::Leave(times) => drop(self.hide(vec![receipt], hidden_for(times)).await),
            }
        }
        self.delete(delete).await;
        // What is not given back comes again when its lease ends.
        self.hide(back, 0).await;
    }

    async fn delete(&self, receipts: Vec<String>) {
        for group in receipts.chunks(10) {
            let entries = group.iter().zip(0..).filter_map(|(receipt, id): (_, u32)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(id.to_string())
                    .receipt_handle(receipt)
                    .build()
                    .ok()
            });
            let request = self.client.delete_message_batch().queue_url(&self.url);
            let sent = request.set_entries(Some(entries.collect())).send().await;
            match sent {
                Ok(output) => {
                    for failed in output.failed() {
                        self.problem(&format!(
                            "deleting a message: {}",
                            failed.message().unwrap_or(failed.code())
                        ));
                    }
                }
                Err(error) => {
                    let advice =
                        Refusal::of(&error).advice("deleting messages", &self.who, "sqs:DeleteMessage");
                    self.problem(&advice);
                }
            }
        }
    }

    /// Sets for how long messages are hidden from others. Returns the receipts for which it has to be tried again.
    async fn hide(&self, receipts: Vec<String>, seconds: i32) -> Vec<String> {
        let mut again = Vec::new();
        for group in receipts.chunks(10) {
            let entries = group.iter().zip(0..).filter_map(|(receipt, id): (_, u32)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id.to_string());
                entry.receipt_handle(receipt).visibility_timeout(seconds).build().ok()
            });
            let request = self.client.change_message_visibility_batch().queue_url(&self.url);
            match request.set_entries(Some(entries.collect())).send().await {
                Ok(output) => {
                    for failed in output.failed() {
                        let why = failed.message().unwrap_or(failed.code());
                        // Ours is the fault where the receipt counts no more: somebody else has the message, or it is gone.
                        if failed.sender_fault() {
                            self.problem(&format!(
                                "the lease of a message was lost, it may be shipped twice: {why}"
                            ));
                        } else {
                            self.problem(&format!("extending a lease: {why}"));
                            let number = failed.id().parse::<usize>().ok();
                            again.extend(number.and_then(|number| group.get(number)).cloned());
                        }
                    }
                }
                Err(error) => {
                    let permission = "sqs:ChangeMessageVisibility";
                    self.problem(&Refusal::of(&error).advice("extending leases", &self.who, permission));
                    again.extend_from_slice(group);
                }
            }
        }
        again
    }

    fn problem(&self, message: &str) {
        tracing::warn!(source = self.name, "{message}");
    }

    /// What a message brings; those that are done with at once are deleted or hidden.
    async fn take(&self, shared: &Shared, message: Message) -> Vec<Found> {
        let Some(receipt) = message.receipt_handle else { return Vec::new() };
        let received: u32 = message
            .attributes
            .as_ref()
            .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount))
            .and_then(|count| count.parse().ok())
            .unwrap_or(1);
        let meaning = message::read(message.body.as_deref().unwrap_or_default());
        let parts: Vec<Part> = match meaning {
            Meaning::Objects(told) => {
                if let Some(other) = told.iter().find(|told| !self.allows(told)) {
                    let Told { bucket, key, .. } = other;
                    let what = match self.buckets.is_empty() {
                        true => format!("a message has no key of CloudTrail's: s3://{bucket}/{key}"),
                        false => format!("a message names bucket `{bucket}`, which is not among `buckets`"),
                    };
                    self.leave(
                        Why::Other,
                        &format!("{what}: list the bucket in `buckets` if it should be read"),
                    );
                    return self.hidden(receipt, received).await;
                }
                // What is no log file (a digest, a placeholder, another service's) is settled without being read.
                let (logs, others): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| is_log(&told.key));
                self.others.fetch_add(others.len() as u64, Ordering::Relaxed);
                logs.into_iter().map(Part::Object).collect()
            }
            Meaning::Event(text) => vec![Part::Event(text)],
            Meaning::Nothing(what) => {
                tracing::debug!(source = self.name, what, "a message asks for nothing");
                Vec::new()
            }
            Meaning::Unknown(why) => {
                self.leave(Why::Unknown, &format!("a message is not understood: {why}"));
                return self.hidden(receipt, received).await;
            }
        };
        if parts.is_empty() {
            self.delete(vec![receipt]).await;
            self.room.add_permits(1);
            return Vec::new();
        }
        let times = (received, self.most_receives);
        let id = message.message_id.as_deref().unwrap_or(&receipt).to_owned();
        let taken = lock(&shared.leases).take(&id, receipt, parts.len(), self.lease, times);
        let Some(number) = taken else {
            self.room.add_permits(1);
            return Vec::new();
        };
        parts.into_iter().map(|part| Found { message: number, part, failures: 0 }).collect()
    }

    /// A message stays on the queue; the first of a sort is told.
    pub(super) fn leave(&self, why: Why, message: &str) {
        self.left.fetch_add(1, Ordering::Relaxed);
        if lock(&self.told).insert(why) {
            self.problem(&format!("{message}; it stays on the queue, as others of its sort do"));
        }
    }

    /// A message that stays on the queue is hidden for longer each time it comes.
    async fn hidden(&self, receipt: String, received: u32) -> Vec<Found> {
        self.hide(vec![receipt], hidden_for(received)).await;
        self.room.add_permits(1);
        Vec::new()
    }
}

/// For how long a message is hidden that stays on the queue, seconds.
fn hidden_for(times: u32) -> i32 {
    30_i32.saturating_mul(1 << times.min(8)).min(LONGEST)
}

/// Whether an object may be a log file, by its key: in a bucket that is listed in `buckets` it may be called anything.
fn is_log(key: &str) -> bool {
    let layout = Layout::read(key.as_bytes());
    let kind = layout.as_ref().map_or("CloudTrail", |layout| layout.kind);
    !matches!(kind, "CloudTrail-Digest" | "CloudTrail-Lake")
        && !key.ends_with('/')
        && !is_of_another_service(key)
}

/// Whether a key stands where another service writes: `AWSLogs/[o-id/]<account>/Config/…`.
fn is_of_another_service(key: &str) -> bool {
    let mut parts = key.split('/').skip_while(|part| *part != "AWSLogs").skip(1).peekable();
    parts.next_if(|part| part.starts_with("o-"));
    let is_account = |part: &str| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.next().is_some_and(is_account) && {
        let service = parts.next();
        parts.next().is_some() && service.is_some_and(|service| !service.starts_with("CloudTrail"))
    }
}

/// The region in a queue's URL: `https://sqs.eu-west-1.amazonaws.com/…`, `https://eu-west-1.queue.amazonaws.com/…`.
pub(crate) fn region_of(url: &str) -> Option<&str> {
    let host = url.split("://").nth(1)?.split('/').next()?;
    let mut parts = host.split('.');
    match (parts.next()?, parts.next()?) {
        ("sqs" | "sqs-fips", region) if host.contains("amazonaws") => Some(region),
        (region, "queue") if host.contains("amazonaws") => Some(region),
        _ => None,
    }
}

/// Receives messages as long as somebody wants them; with `once`, until the queue is empty.
pub(super) async fn receive(queue: Arc<Queue>, shared: Arc<Shared>, to: mpsc::Sender<Found>, once: bool) {
    let mut pause = Duration::from_millis(200);
    loop {
        let Ok(room) = queue.room.acquire_many(BATCH.unsigned_abs()).await else { return };
        let asked = queue
            .client
            .receive_message()
            .queue_url(&queue.url)
            .max_number_of_messages(BATCH)
            .wait_time_seconds(if once { 1 } else { WAIT })
            .visibility_timeout(queue.seconds())
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let sent = tokio::select! {
            sent = asked.send() => sent,
            () = to.closed() => return,
        };
        let messages = match sent {
            Ok(output) => output.messages.unwrap_or_default(),
            Err(error) => {
                drop(room);
                let advice =
                    Refusal::of(&error).advice("receiving messages", &queue.who, "sqs:ReceiveMessage");
                queue.problem(&format!("{advice}: trying again"));
                *lock(&shared.trouble) = Some(advice);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(60));
                continue;
            }
        };
        pause = Duration::from_millis(200);
        lock(&shared.trouble).take();
        // Each message holds its place until it ends.
        room.forget();
        queue.room.add_permits(usize::try_from(BATCH).unwrap_or(0).saturating_sub(messages.len()));
        if once && messages.is_empty() && lock(&shared.leases).len() == 0 {
            return;
        }
        for message in messages {
            for found in queue.take(&shared, message).await {
                if to.send(found).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Extends leases.
pub(super) async fn keep(queue: Arc<Queue>, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK.min(queue.lease / 4)).await;
        let due = lock(&shared.leases).due(queue.lease);
        if !due.is_empty() {
            let again = queue.hide(due, queue.seconds()).await;
            lock(&shared.leases).not_extended(&again);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_log_by_its_key_is_not_read() {
        for (key, expected) in [
            ("AWSLogs/123456789012/CloudTrail/eu-west-1/2024/02/29/x.json.gz", true),
            ("a/AWSLogs/o-abc/123456789012/CloudTrail-Insight/eu-west-1/2024/02/29/x.json.gz", true),
            ("copied/anything.json.gz", true),
            ("AWSLogs/readme.txt", true),
            ("AWSLogs/123456789012/", false),
            ("AWSLogs/123456789012/CloudTrail-Digest/eu-west-1/2024/02/29/x.json.gz", false),
            ("AWSLogs/123456789012/Config/eu-west-1/2024/2/9/ConfigHistory/x.json.gz", false),
            ("o-abc/AWSLogs/o-abc/123456789012/vpcflowlogs/eu-west-1/2024/02/29/x.log.gz", false),
        ] {
            assert_eq!(is_log(key), expected, "{key}");
        }
    }

    #[test]
    fn a_queues_region_stands_in_its_url() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/trail", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/trail", Some("cn-north-1")),
            ("https://eu-west-1.queue.amazonaws.com/123456789012/trail", Some("eu-west-1")),
            ("http://127.0.0.1:5555/123456789012/trail", None),
            ("trail", None),
        ] {
            assert_eq!(region_of(url), region, "{url}");
        }
    }
}
