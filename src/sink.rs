//! Sinks write payloads. Retry, concurrency, metrics and acknowledgement belong to the runner (`pipeline/runner.rs`).

pub mod deliver;
pub mod file;
pub mod http;
pub mod splunk_hec;
pub mod opensearch;
pub mod refusals;
pub mod stdout;
pub mod template;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::ack::Ack;
use crate::clock::Clock;
use crate::config::{At, SinkConfig};
use crate::encode::Shape;
use crate::encode::compress::Compression;
use crate::encode::frame::Frame;
use crate::encode::packer::{Packing, Spare};
use crate::pipeline::budget::Permit;
use crate::sink::opensearch::mapping::Flavour;
use crate::sink::refusals::Refusals;
use crate::sink::template::Partitions;

/// A part of one window's records in one payload.
#[derive(Debug)]
pub struct Share {
    /// The share in the delivery's fate.
    pub ack: Ack,
    /// Where its first record stands in the payload, from 0.
    pub first: u32,
    /// How many records.
    pub records: u32,
    /// Which window of the delivery, from 0: with the delivery's identity the key under which the outcome is remembered.
    pub window: u32,
    /// Of that window's records for this sink and partition: which one comes first here, from 0.
    pub ordinal: u32,
}

/// Encoded records of many deliveries, ready to be written: one call to a sink.
#[derive(Debug)]
pub struct Payload {
    /// Where within the sink: a file's path below its root, an index, a token. Empty where the sink has only one place.
    pub partition: Arc<str>,
    /// The encoded (and, where the sink wants it, compressed) bytes. NDJSON: each record ends with a newline.
    pub body: Vec<u8>,
    /// Length of each record in the uncompressed text, newline included: a sink that refuses single records finds them by it.
    /// Empty for sinks that never do.
    pub lengths: Vec<u32>,
    /// How many records.
    pub records: u32,
    /// Size before compression, bytes.
    pub raw_bytes: u64,
    /// Whose records these are, in order.
    pub shares: Vec<Share>,
    /// The memory it holds. A sink that is done with `body` but not yet with the answer drops both early:
    /// see [`Payload::release`].
    pub permit: Option<Permit>,
    /// Where the body goes when it is no longer needed, to be filled again.
    pub spare: Option<Arc<Spare>>,
    /// What earlier tries have brought, where a sink takes payloads in part.
    pub progress: deliver::parts::Progress,
}

/// A payload's bytes and the memory they hold, for whoever writes them elsewhere.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Vec<u8>,
    permit: Option<Permit>,
    spare: Option<Arc<Spare>>,
}

impl Held {
    /// Gives the memory back: the bytes are where they need to be.
    pub fn release(self) {
        if let (Some(spare), Some(permit)) = (self.spare, self.permit) {
            spare.give(self.bytes, permit);
        }
    }
}

impl Payload {
    /// Takes the bytes out, to be released or given back before the answer.
    pub fn take(&mut self) -> Held {
        let bytes = std::mem::take(&mut self.body);
        Held { bytes, permit: self.permit.take(), spare: self.spare.clone() }
    }

    /// Puts back what was taken, so that it can be tried again.
    pub fn put_back(&mut self, held: Held) {
        (self.body, self.permit) = (held.bytes, held.permit);
    }

    /// How many records have not been answered for yet: those that the body holds.
    pub fn records_left(&self) -> u32 {
        let left = self.progress.left.as_ref();
        left.map_or(self.records, |left| u32::try_from(left.len()).unwrap_or(u32::MAX))
    }

    /// The position in the payload of a record that is left, by its place among those.
    fn position(&self, at: u32) -> u32 {
        let left = self.progress.left.as_ref();
        left.map_or(at, |left| left.get(at as usize).copied().unwrap_or(u32::MAX))
    }

    /// A record that is left will never be taken.
    fn refuse(&mut self, at: u32, reason: String) {
        let position = self.position(at);
        self.progress.refused.refuse(position, &reason);
    }

    /// The answer when nothing is left.
    fn ended(&mut self) -> Result<(), SinkError> {
        let refused = std::mem::take(&mut self.progress.refused);
        if refused.is_empty() { Ok(()) } else { Err(SinkError::Partial { refused: *refused }) }
    }

    /// Gives the memory back before the answer is known: the bytes are where they need to be, but not yet safe.
    pub fn release(&mut self) {
        self.take().release();
        self.lengths = Vec::new();
    }
}

/// Why a payload was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// Try the same payload again. The payload still holds its body.
    #[error("{message}")]
    Retry {
        /// What happened, and what to do.
        message: String,
        /// Not before this much time has passed, where the other side said so.
        after: Option<Duration>,
    },
    /// Nothing is wrong with the payload: the other side does not let us in, or not there. Try it again later; the
    /// payload still holds its body.
    #[error("{message}")]
    Paused {
        /// What the other side said, and what to do.
        message: String,
        /// Not before this much time has passed.
        after: Duration,
    },
    /// These bytes can never be taken: the records go to rejects. The payload still holds its body.
    #[error("{message}")]
    Reject {
        /// What the other side said.
        message: String,
    },
    /// Some records were refused, by position in the payload; the others are taken.
    #[error("{} records refused", refused.len())]
    Partial {
        /// Which, and why.
        refused: Refusals,
    },
    /// The bytes were taken and then lost (a failed fdatasync after the memory was given back): every share fails,
    /// and its delivery is lent again.
    #[error("{message}")]
    Lost {
        /// What happened.
        message: String,
    },
    /// Nobody will ever read this again (stdout's reader left): stop in order, exit 0.
    #[error("the reader has left")]
    Closed,
}

/// Writes payloads.
pub trait Sink: Send + Sync {
    /// Writes one payload. `Ok` means the other side has it durably. May be called again with the same payload after
    /// [`SinkError::Retry`]; up to [`Sink::concurrency`] calls run at the same time, started in order.
    ///
    /// Cancel: what was not answered is unknown; its shares fail.
    fn write(&self, payload: &mut Payload) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// How many writes may be in flight.
    fn concurrency(&self) -> usize {
        1
    }

    /// Waits until [`Sink::concurrency`] has grown, where it does while writes are in flight.
    fn freed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Waits until a pause ([`SinkError::Paused`]) is over: after this long, or when there is reason to try at once.
    fn paused(&self, after: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(after)
    }

    /// How long an answer may take before it is said aloud that there is none.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Nothing else is on its way: what was written is answered without waiting for more.
    fn hurry(&self) {}

    /// Nothing more will come for now (a drained stop, the end of `--once`): make what was written final.
    fn finish(&self) -> impl Future<Output = Result<(), SinkError>> + Send {
        async { Ok(()) }
    }
}

/// What a sink needs besides its settings.
pub struct Build<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// The data directory.
    pub data_dir: &'a Path,
    /// The clock.
    pub clock: Clock,
    /// The process's open files.
    pub open_files: &'a Arc<file::OpenFiles>,
    /// What its records are written in.
    pub shape: &'a Arc<Shape>,
    /// What it counts beside what its runner does.
    pub figures: &'a Arc<deliver::Figures>,
}

/// One of the sinks there are. Adding one: its file, a variant here, an arm in each `match`.
pub enum AnySink {
    /// `file`
    File(file::FileSink),
    /// `http`
    Http(Box<deliver::Deliver<http::Http>>),
    /// `splunk_hec`
    SplunkHec(Box<deliver::Deliver<splunk_hec::Collector>>),
    /// `opensearch`, `elasticsearch`
    Search(Box<deliver::Deliver<opensearch::OpenSearch>>, Option<Arc<Partitions>>),
    /// `stdout`
    Stdout(stdout::StdoutSink),
    /// Any of them, in a dry run: takes everything and writes nothing.
    Nowhere(Option<Arc<Partitions>>),
}

impl AnySink {
    /// Builds a sink; finishes what a crash left. Blocks.
    ///
    /// # Errors
    /// Why it cannot start, in words.
    pub fn build(config: &SinkConfig, build: &Build<'_>) -> Result<AnySink, String> {
        let failed = |error: &dyn std::fmt::Display| format!("starting sink `{}`: {error}", build.name);
        match config {
            SinkConfig::File(config) => {
                let (name, data_dir, clock) = (build.name, build.data_dir, build.clock.clone());
                let build = file::Build { name, data_dir, clock, open_files: build.open_files.clone() };
                file::FileSink::build(config, &build).map(AnySink::File).map_err(|error| failed(&error))
            }
            SinkConfig::Http(config) => {
                config.build(build).map(|sink| AnySink::Http(Box::new(sink))).map_err(|error| failed(&error))
            }
            SinkConfig::SplunkHec(config) => config
                .build(build)
                .map(|sink| AnySink::SplunkHec(Box::new(sink)))
                .map_err(|error| failed(&error)),
            SinkConfig::Elasticsearch(config) => {
                search(config, Flavour::Elasticsearch, build).map_err(|error| failed(&error))
            }
            SinkConfig::Opensearch(config) => {
                search(config, Flavour::Opensearch, build).map_err(|error| failed(&error))
            }
            SinkConfig::Stdout(_) => {
                stdout::StdoutSink::build().map(AnySink::Stdout).map_err(|error| failed(&error))
            }
        }
    }

    /// A sink that is asked for what this one is, and writes nothing.
    pub fn nowhere(name: &str, config: &SinkConfig) -> AnySink {
        AnySink::Nowhere(AnySink::places(name, config).map(Arc::new))
    }

    /// What its payloads must be.
    pub fn packing(config: &SinkConfig) -> Packing {
        let compression = match config {
            SinkConfig::Http(config) => return config.packing(),
            SinkConfig::SplunkHec(config) => return config.packing(),
            SinkConfig::Elasticsearch(config) | SinkConfig::Opensearch(config) => return config.packing(),
            SinkConfig::File(config) => match config.resolve().map(|(compression, _)| compression) {
                Ok(file::Compression::Gzip) => Compression::Gzip,
                Ok(file::Compression::Zstd) => Compression::Zstd,
                Ok(file::Compression::None) | Err(_) => Compression::None,
            },
            SinkConfig::Stdout(_) => Compression::None,
        };
        Packing {
            max_bytes: 1 << 20,
            max_records: u32::MAX,
            max_age: Duration::from_secs(1),
            when_idle: true,
            compression,
            lengths: false,
            frame: Frame::lines(),
        }
    }

    /// Where within it records would go, without opening anything; `None`: it has one place.
    pub fn places(name: &str, config: &SinkConfig) -> Option<Partitions> {
        match config {
            SinkConfig::File(config) => {
                let (_, template) = config.resolve().ok()?;
                let oldest = config.oldest.as_ref().map(|oldest| *oldest.value());
                Some(Partitions::new(template, name).believing(oldest))
            }
            SinkConfig::Elasticsearch(config) | SinkConfig::Opensearch(config) => config.places(name),
            SinkConfig::Http(_) | SinkConfig::SplunkHec(_) | SinkConfig::Stdout(_) => None,
        }
    }

    /// Takes secrets from settings that were read again.
    pub fn renew(&self, config: &SinkConfig) {
        match (self, config) {
            (AnySink::Http(sink), SinkConfig::Http(config)) => {
                sink.renew(config.auth.as_ref().map(At::value));
            }
            (AnySink::SplunkHec(sink), SinkConfig::SplunkHec(config)) => {
                sink.renew(Some(&config.auth()));
            }
            (
                AnySink::Search(sink, _),
                SinkConfig::Elasticsearch(config) | SinkConfig::Opensearch(config),
            ) => {
                sink.renew(config.auth.as_ref().map(At::value));
            }
            _ => {}
        }
    }

    /// Where within it records go; `None`: it has one place.
    pub fn partitions(&self) -> Option<Arc<Partitions>> {
        match self {
            AnySink::File(sink) => Some(sink.partitions().clone()),
            AnySink::Search(_, partitions) => partitions.clone(),
            AnySink::Http(_) | AnySink::SplunkHec(_) | AnySink::Stdout(_) => None,
            AnySink::Nowhere(partitions) => partitions.clone(),
        }
    }
}

fn search(config: &opensearch::Config, flavour: Flavour, build: &Build<'_>) -> Result<AnySink, String> {
    let sink = config.build(flavour, build)?;
    Ok(AnySink::Search(Box::new(sink), config.places(build.name).map(Arc::new)))
}

impl Sink for AnySink {
    async fn write(&self, payload: &mut Payload) -> Result<(), SinkError> {
        match self {
            AnySink::File(sink) => sink.write(payload).await,
            AnySink::Http(sink) => sink.write(payload).await,
            AnySink::SplunkHec(sink) => sink.write(payload).await,
            AnySink::Search(sink, _) => sink.write(payload).await,
            AnySink::Stdout(sink) => sink.write(payload).await,
            AnySink::Nowhere(_) => {
                payload.release();
                Ok(())
            }
        }
    }

    fn concurrency(&self) -> usize {
        match self {
            AnySink::File(sink) => sink.concurrency(),
            AnySink::Http(sink) => sink.concurrency(),
            AnySink::SplunkHec(sink) => sink.concurrency(),
            AnySink::Search(sink, _) => sink.concurrency(),
            AnySink::Stdout(sink) => sink.concurrency(),
            AnySink::Nowhere(_) => 1,
        }
    }

    async fn freed(&self) {
        match self {
            AnySink::File(sink) => sink.freed().await,
            AnySink::Http(sink) => sink.freed().await,
            AnySink::SplunkHec(sink) => sink.freed().await,
            AnySink::Search(sink, _) => sink.freed().await,
            AnySink::Stdout(sink) => sink.freed().await,
            AnySink::Nowhere(_) => std::future::pending().await,
        }
    }

    async fn paused(&self, after: Duration) {
        match self {
            AnySink::Http(sink) => sink.paused(after).await,
            AnySink::SplunkHec(sink) => sink.paused(after).await,
            AnySink::Search(sink, _) => sink.paused(after).await,
            AnySink::File(_) | AnySink::Stdout(_) | AnySink::Nowhere(_) => tokio::time::sleep(after).await,
        }
    }

    fn patience(&self) -> Duration {
        match self {
            AnySink::File(sink) => sink.patience(),
            AnySink::Http(sink) => sink.patience(),
            AnySink::SplunkHec(sink) => sink.patience(),
            AnySink::Search(sink, _) => sink.patience(),
            AnySink::Stdout(sink) => sink.patience(),
            AnySink::Nowhere(_) => Duration::MAX,
        }
    }

    fn hurry(&self) {
        match self {
            AnySink::File(sink) => sink.hurry(),
            AnySink::Http(sink) => sink.hurry(),
            AnySink::SplunkHec(sink) => sink.hurry(),
            AnySink::Search(sink, _) => sink.hurry(),
            AnySink::Stdout(sink) => sink.hurry(),
            AnySink::Nowhere(_) => {}
        }
    }

    async fn finish(&self) -> Result<(), SinkError> {
        match self {
            AnySink::File(sink) => sink.finish().await,
            AnySink::Http(sink) => sink.finish().await,
            AnySink::SplunkHec(sink) => sink.finish().await,
            AnySink::Search(sink, _) => sink.finish().await,
            AnySink::Stdout(sink) => sink.finish().await,
            AnySink::Nowhere(_) => Ok(()),
        }
    }
}
