//! Sources lend deliveries.
//!
//! The order of operations is a MUST: a source lends, the pipeline reads, writes and settles, and only then does the
//! source forget (delete the message, move the cursor, commit the file). A delivery that was lent and never settled is
//! lent again by the next run.

pub mod carried;
pub mod cloudwatch_logs;
pub mod event_history;
pub mod figures;
pub mod files;
pub mod firehose;
pub mod kinesis;
pub mod layout;
pub mod piped;
pub mod pull;
pub mod s3;
pub mod shared;
pub mod sqs;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::ack::{DeliveryId, Reached, Settled, SettledPart};
use crate::clock::Clock;
use crate::config::SourceConfig;
use crate::decode::Limits;
use crate::pipeline::room::Room;
use crate::state::Store;
use figures::Figures;
use piped::{Pipe, Piped};

/// What is known of an object before it is read: from its address, never from its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The address a person can use: a path, `s3://bucket/key`, `-`.
    pub address: Arc<str>,
    /// The account in CloudTrail's key layout, 12 digits.
    pub account: Option<Arc<str>>,
    /// The region in the layout.
    pub region: Option<Arc<str>>,
    /// The kind directory: `CloudTrail`, `CloudTrail-Digest`, `CloudTrail-Insight`, …
    pub kind: Option<Arc<str>>,
    /// The publication day in the layout, `YYYY-MM-DD`.
    pub day: Option<Arc<str>>,
}

/// Asks whether an open file is the one that was lent; an answer is the reason it is not.
pub type Check = Arc<dyn Fn(&std::fs::File) -> Result<(), String> + Send + Sync>;

/// The bytes of an object, as stored (compressed or not).
pub enum Body {
    /// A local file, opened and read by a worker thread. `check` is asked before the first and after the last byte
    /// whether this is still the file that was lent; an answer is the reason it is not.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its size when it was lent, bytes.
        size: u64,
        /// Whether the open file is the one that was lent.
        check: Check,
    },
    /// All of it, in memory.
    Bytes(Bytes),
    /// Read piece by piece; may block, so whoever works on it has a thread of its own (standard input).
    Stream(Piped),
    /// Somewhere else: fetched before a worker begins.
    Remote(Arc<dyn Remote>),
}

/// An object that has to be fetched.
pub trait Remote: Send + Sync {
    /// Its size, bytes, where that was told with it.
    fn size(&self) -> Option<u64>;

    /// Asks for its size.
    fn ask_size(&self) -> BoxFuture<'_, Result<u64, FetchError>>;

    /// Asks for its bytes from an offset on.
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Box<dyn Pieces>, FetchError>>;
}

/// The bytes of an object, in pieces.
pub trait Pieces: Send {
    /// The next piece; `None`: there are no more.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, FetchError>>;
}

/// Why an object could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Ask again: the network, the service or the permissions to all of it. In words, with the address.
    #[error("{0}")]
    Retry(String),
    /// A reason of this object's own (gone, archived, replaced). In words.
    #[error("{0}")]
    Object(String),
    /// Nothing of the bucket can be read, and others need not wait until it can. In words.
    #[error("{0}")]
    Place(String),
}

impl Body {
    /// Bytes as stored, where that is known; else 0.
    pub fn size(&self) -> u64 {
        match self {
            Body::File { size, .. } => *size,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Stream(_) => 0,
            Body::Remote(remote) => remote.size().unwrap_or_default(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::File { path, size, .. } => write!(formatter, "File({}, {size} bytes)", path.display()),
            Body::Bytes(bytes) => write!(formatter, "Bytes({})", bytes.len()),
            Body::Stream(_) => formatter.write_str("Stream"),
            Body::Remote(remote) => write!(formatter, "Remote({:?} bytes)", remote.size()),
        }
    }
}

/// One object on loan.
#[derive(Debug)]
pub struct Delivery {
    /// Its number; the source chose it, unique within its run.
    pub id: DeliveryId,
    /// What this delivery is, across redeliveries and restarts: outcomes are remembered under it. Empty: not remembered.
    pub identity: Arc<str>,
    /// Where it is from.
    pub origin: Origin,
    /// Its bytes.
    pub body: Body,
    /// How often it was lent before and failed for a reason of its own. At [`MOST_FAILURES`] it goes to rejects.
    pub failures: u32,
    /// Whether an object that ends too early may still be growing: then it is settled `Failed` with
    /// [`crate::ack::Note::Incomplete`] instead of going to rejects.
    pub growing: bool,
    /// Where it was before, if it comes out of rejects.
    pub again: Option<Arc<Again>>,
    /// Where to begin, for a source that takes parts of a loan ([`Source::settle_part`]): what stands before was settled by
    /// an earlier loan. `None`: the object is read from its beginning and settled as a whole, whatever its format.
    pub from: Option<Reached>,
}

/// What is shipped again was a part of an object, and perhaps one sink is all that wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// The only sink it goes to; `None`: all of the pipeline's.
    pub sink: Option<Arc<str>>,
    /// Where its first byte stood in the object.
    pub offset: u64,
    /// Number and offset in the object of each record, where they are known.
    pub records: Vec<(u64, u64)>,
}

/// How often an object may fail for a reason of its own before it goes to rejects. Restarts and sinks never count.
pub const MOST_FAILURES: u32 = 3;

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Try again later; the source has said so in the log.
    #[error("{0}")]
    Retry(String),
    /// The source cannot work at all: the pipeline stops with this message.
    #[error("{0}")]
    Stop(String),
}

/// Lends out deliveries. `next` is called from one task; `settle` and `extend` may run while it waits.
pub trait Source: Send + Sync {
    /// Waits for deliveries, at least one and at most `most`. `None`: there will be no more (`--once`, stdin's end).
    ///
    /// Cancel: safe; a delivery is either returned or still the source's.
    fn next(&self, most: usize) -> impl Future<Output = Result<Option<Vec<Delivery>>, SourceError>> + Send;

    /// Ends loans, in groups: forget, or lend again later. Must commit what it forgets before it returns.
    ///
    /// Cancel: what was not committed is lent again by the next run.
    fn settle(&self, settled: Vec<Settled>) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Ends parts of loans, in groups; at most one for each delivery, and each farther than the one before. Line formats are
    /// settled window by window: everything before [`SettledPart::reached`] is delivered, in rejects, or left out, and the
    /// loan goes on from there. Only told of deliveries that were lent with [`Delivery::from`], which may be more than one at
    /// a time; never after their [`Source::settle`].
    ///
    /// Must commit before it returns where the next loan begins. When the delivery is lent again, by this run or the next,
    /// and is the same object still, `from` is the place that was told last: never beyond it, and before it only where it
    /// could not be committed. A source that cannot read from the middle lends with `from: None` and is never asked; one
    /// that cannot lend again at all (standard input) may lend from the beginning and forget what it is told, as this does.
    ///
    /// # Errors
    /// It cannot be committed: the pipeline stops, and the next run ships again what follows the part before.
    ///
    /// Cancel: what was not committed is lent again by the next run.
    fn settle_part(&self, parts: Vec<SettledPart>) -> impl Future<Output = Result<(), SourceError>> + Send {
        let _ = parts;
        async { Ok(()) }
    }

    /// The program stops, and nothing more will be lent; what is on loan is still settled.
    fn stopping(&self) {}

    /// Its secrets were read again: those of these settings, which are the same otherwise, hold from now on.
    fn renew(&self, config: &SourceConfig) {
        let _ = config;
    }

    /// Gives back what is still ours, where others could have it: nothing more will be lent or settled.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What of it cannot be read now, in words.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// What it counts. Cost: one short lock.
    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// What is left at the end of `--once` that could not be shipped yet (still growing): warned about, exit 1.
    fn unsettled(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a source is built with, besides its own settings.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// The pipeline it lends to; progress is kept for each pipeline.
    pub pipeline: &'a str,
    /// Its name in the configuration.
    pub name: &'a str,
    /// Where progress is kept.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Clock,
    /// Ship what is there now and end (`--once`).
    pub once: bool,
    /// Standard input: read once, and lent to every pipeline that names it.
    pub stdin: Pipe,
    /// Memory for bytes that it holds before they are lent: taken first, and kept with them ([`Body::Bytes`]).
    pub room: Room,
}

/// Why a source cannot be built, in words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub String);

/// A source of any type.
pub enum AnySource {
    /// `files`
    Files(Box<files::Files>),
    /// `kinesis`
    Kinesis(Box<kinesis::Kinesis>),
    /// `s3`
    S3(Box<s3::S3>),
    /// `sqs`
    Sqs(Box<sqs::Sqs>),
    /// `firehose`
    Firehose(Box<firehose::Firehose>),
    /// `cloudwatch_logs`
    CloudwatchLogs(Box<cloudwatch_logs::CloudwatchLogs>),
    /// `event_history`
    EventHistory(Box<event_history::EventHistory>),
    /// Any of them that several pipelines name and that can be read only once.
    Shared(shared::Branch),
}

impl AnySource {
    /// Builds the source that the settings describe.
    ///
    /// # Errors
    /// Its progress cannot be read, or the settings cannot work.
    pub fn build(config: &SourceConfig, build: &Build<'_>) -> Result<AnySource, BuildError> {
        match config {
            SourceConfig::Files(config) => {
                files::Files::build(config, build).map(Box::new).map(AnySource::Files)
            }
            SourceConfig::Kinesis(config) => {
                kinesis::Kinesis::build(config, build).map(Box::new).map(AnySource::Kinesis)
            }
            SourceConfig::S3(config) => s3::S3::build(config, build).map(Box::new).map(AnySource::S3),
            SourceConfig::Sqs(config) => sqs::Sqs::build(config, build).map(Box::new).map(AnySource::Sqs),
            SourceConfig::Firehose(config) => {
                firehose::Firehose::build(config, build).map(Box::new).map(AnySource::Firehose)
            }
            SourceConfig::CloudwatchLogs(config) => {
                let built = cloudwatch_logs::CloudwatchLogs::build(config, build);
                built.map(Box::new).map(AnySource::CloudwatchLogs)
            }
            SourceConfig::EventHistory(config) => {
                let built = event_history::EventHistory::build(config, build);
                built.map(Box::new).map(AnySource::EventHistory)
            }
        }
    }
}

impl Source for AnySource {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        match self {
            AnySource::Files(files) => files.next(most).await,
            AnySource::Kinesis(kinesis) => kinesis.next(most).await,
            AnySource::S3(s3) => s3.next(most).await,
            AnySource::Sqs(sqs) => sqs.next(most).await,
            AnySource::Firehose(firehose) => firehose.next(most).await,
            AnySource::CloudwatchLogs(logs) => logs.next(most).await,
            AnySource::EventHistory(history) => history.next(most).await,
            AnySource::Shared(branch) => branch.next(most).await,
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        match self {
            AnySource::Files(files) => files.settle(settled).await,
            AnySource::Kinesis(kinesis) => kinesis.settle(settled).await,
            AnySource::S3(s3) => s3.settle(settled).await,
            AnySource::Sqs(sqs) => sqs.settle(settled).await,
            AnySource::Firehose(firehose) => firehose.settle(settled).await,
            AnySource::CloudwatchLogs(logs) => logs.settle(settled).await,
            AnySource::EventHistory(history) => history.settle(settled).await,
            AnySource::Shared(branch) => branch.settle(settled).await,
        }
    }

    async fn settle_part(&self, parts: Vec<SettledPart>) -> Result<(), SourceError> {
        match self {
            AnySource::Files(files) => files.settle_part(parts).await,
            AnySource::Kinesis(kinesis) => kinesis.settle_part(parts).await,
            AnySource::S3(s3) => s3.settle_part(parts).await,
            AnySource::Sqs(sqs) => sqs.settle_part(parts).await,
            AnySource::Firehose(firehose) => firehose.settle_part(parts).await,
            AnySource::CloudwatchLogs(logs) => logs.settle_part(parts).await,
            AnySource::EventHistory(history) => history.settle_part(parts).await,
            AnySource::Shared(branch) => branch.settle_part(parts).await,
        }
    }

    fn stopping(&self) {
        match self {
            AnySource::Files(files) => files.stopping(),
            AnySource::Kinesis(kinesis) => kinesis.stopping(),
            AnySource::S3(s3) => s3.stopping(),
            AnySource::Sqs(sqs) => sqs.stopping(),
            AnySource::Firehose(firehose) => firehose.stopping(),
            AnySource::CloudwatchLogs(logs) => logs.stopping(),
            AnySource::EventHistory(history) => history.stopping(),
            AnySource::Shared(branch) => branch.stopping(),
        }
    }

    fn renew(&self, config: &SourceConfig) {
        match self {
            AnySource::Firehose(firehose) => firehose.renew(config),
            AnySource::Shared(branch) => branch.renew(config),
            _ => {}
        }
    }

    async fn close(&self) {
        match self {
            AnySource::Files(files) => files.close().await,
            AnySource::Kinesis(kinesis) => kinesis.close().await,
            AnySource::S3(s3) => s3.close().await,
            AnySource::Sqs(sqs) => sqs.close().await,
            AnySource::Firehose(firehose) => firehose.close().await,
            AnySource::CloudwatchLogs(logs) => logs.close().await,
            AnySource::EventHistory(history) => history.close().await,
            AnySource::Shared(branch) => branch.close().await,
        }
    }

    fn trouble(&self) -> Option<String> {
        match self {
            AnySource::Files(files) => files.trouble(),
            AnySource::Kinesis(kinesis) => kinesis.trouble(),
            AnySource::S3(s3) => s3.trouble(),
            AnySource::Sqs(sqs) => sqs.trouble(),
            AnySource::Firehose(firehose) => firehose.trouble(),
            AnySource::CloudwatchLogs(logs) => logs.trouble(),
            AnySource::EventHistory(history) => history.trouble(),
            AnySource::Shared(branch) => branch.trouble(),
        }
    }

    fn figures(&self) -> Figures {
        match self {
            AnySource::Files(files) => files.figures(),
            AnySource::Kinesis(kinesis) => kinesis.figures(),
            AnySource::S3(s3) => s3.figures(),
            AnySource::Sqs(sqs) => sqs.figures(),
            AnySource::Firehose(firehose) => firehose.figures(),
            AnySource::CloudwatchLogs(logs) => logs.figures(),
            AnySource::EventHistory(history) => history.figures(),
            AnySource::Shared(branch) => branch.figures(),
        }
    }

    fn unsettled(&self) -> Vec<String> {
        match self {
            AnySource::Files(files) => files.unsettled(),
            AnySource::Kinesis(kinesis) => kinesis.unsettled(),
            AnySource::S3(s3) => s3.unsettled(),
            AnySource::Sqs(sqs) => sqs.unsettled(),
            AnySource::Firehose(firehose) => firehose.unsettled(),
            AnySource::CloudwatchLogs(logs) => logs.unsettled(),
            AnySource::EventHistory(history) => history.unsettled(),
            AnySource::Shared(branch) => branch.unsettled(),
        }
    }
}

impl SourceConfig {
    /// How much one object may be or hold, as configured.
    pub fn object_limits(&self) -> &files::Limits {
        match self {
            SourceConfig::Files(config) => &config.limits,
            SourceConfig::Kinesis(config) => &config.limits,
            SourceConfig::S3(config) => &config.limits,
            SourceConfig::Sqs(config) => &config.limits,
            SourceConfig::Firehose(config) => &config.limits,
            SourceConfig::CloudwatchLogs(config) => &config.limits,
            SourceConfig::EventHistory(config) => &config.limits,
        }
    }

    /// Returns how much one object may be or hold.
    pub fn limits(&self) -> Limits {
        let limits = self.object_limits();
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Limits {
            object: limits.object.get(),
            ratio: limits.ratio.get(),
            depth: count(limits.depth.get()),
            records: limits.records.get(),
            record: limits.record.as_usize(),
            envelopes: count(limits.envelopes.get()),
            ..Limits::default()
        }
    }
}

/// A number for a delivery, not used before in this process.
pub(crate) fn new_id() -> DeliveryId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    DeliveryId(NEXT.fetch_add(1, Ordering::Relaxed))
}
