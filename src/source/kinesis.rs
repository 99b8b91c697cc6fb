//! Reads CloudTrail's records from a Kinesis data stream, as a subscription of its log group puts them there.
//!
//! ```toml
//! [sources.stream]
//! type = "kinesis"
//! stream = "trail"
//! ```
//!
//! All shards are read (`kinesis/reader.rs`, a task each, no faster than the stream allows), a shard that came of a split
//! or a merge after those it came of (`kinesis/shards.rs`). What a record holds is told by its content: gzip, JSON,
//! base64 of these, or an aggregated record of the Kinesis Producer Library (`kinesis/kpl.rs`, `kinesis/cut.rs`). How far
//! a shard is settled is kept (`kinesis/mark.rs`, `kinesis/keep.rs`), and the next run goes on from there.

mod begin;
mod cut;
mod desk;
mod keep;
mod kpl;
mod mark;
mod oversee;
mod pace;
mod reader;
mod shards;
mod stream;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore, mpsc};

pub use self::begin::Begin;
use self::desk::{Counts, Desk, Piece};
use self::keep::{Begun, Keep, Known, Ledger};
pub use self::mark::Checkpoint;
use self::oversee::Overseer;
use self::reader::Means;
use self::stream::{Stream, name_of};
use super::figures::Figures;
use super::files::Limits;
use super::{Body, Build, BuildError, Delivery, Origin, Source, SourceError, new_id};
use crate::ack::Settled;
use crate::aws::Aws;
use crate::config::At;
use crate::pipeline::room::Room;

/// The first part of the names of the state's spaces.
pub const SPACES: &str = "kinesis/";
/// Pieces read and not lent, at most; reading waits when there are more.
const FOUND: usize = 256;
/// Requests for records at a time, at most.
const AT_ONCE: usize = 16;

/// Reads a Kinesis data stream.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceKinesis")]
pub struct Config {
    /// The stream's name, or its ARN where it is another account's. Required.
    pub stream: At<String>,
    /// Where reading begins the first time: `latest`, `trim_horizon` (the oldest the stream has), or what came since a time.
    /// Later runs go on where the last one was.
    #[serde(default = "from")]
    pub from: At<Begin>,
    /// How AWS is reached.
    #[serde(default)]
    pub aws: Aws,
    /// How much one record may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

impl Config {
    /// What it would do, in words.
    pub(crate) fn plan(&self) -> String {
        format!("all shards, from {} where there is no checkpoint yet", self.from.value())
    }
}

fn from() -> At<Begin> {
    Begin::Latest.into()
}

/// The source.
pub struct Kinesis {
    config: Config,
    once: bool,
    room: Room,
    desk: Arc<Desk>,
    begun: Option<Begun>,
    known: Known,
    open: OnceCell<Open>,
}

struct Open {
    stream: Arc<Stream>,
    found: tokio::sync::Mutex<mpsc::Receiver<Piece>>,
    task: tokio::task::JoinHandle<()>,
}

impl Kinesis {
    /// Reads where the runs before left it. AWS is asked when the first deliveries are.
    ///
    /// # Errors
    /// The state cannot be read, or it tells of another stream.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<Kinesis, BuildError> {
        let ledger = Ledger::new(build);
        let (begun, known) = ledger.load().map_err(|error| BuildError(error.to_string()))?;
        let name = name_of(config.stream.value());
        if let Some(other) = begun.as_ref().filter(|begun| begun.stream != name) {
            // Its checkpoints say nothing of another one, and would be lost.
            return Err(BuildError(format!(
                "it was stream `{}` until now, and the state tells how far that was shipped: give this source another name, or forget it \
                 with `trailship state rm {}/{}`",
                other.stream, build.pipeline, build.name
            )));
        }
        Ok(Kinesis {
            config: config.clone(),
            once: build.once,
            room: build.room.clone(),
            desk: Arc::new(Desk::new(build.name, &build.clock, Keep::State(ledger))),
            begun,
            known,
            open: OnceCell::new(),
        })
    }

    async fn open(&self) -> Result<&Open, SourceError> {
        self.open
            .get_or_try_init(async || {
                let stream = Arc::new(Stream::find(&self.config).await?);
                let begun = self.begin(&stream).await?;
                let (to, found) = mpsc::channel(FOUND);
                let means = Means {
                    stream: stream.clone(),
                    desk: self.desk.clone(),
                    room: self.room.clone(),
                    to,
                    at_once: Arc::new(Semaphore::new(AT_ONCE)),
                    begin: begun.from,
                    once: self.once.then(|| self.desk.now()),
                };
                let task = tokio::spawn(Overseer { means, known: self.known.clone() }.run());
                Ok(Open { stream, found: tokio::sync::Mutex::new(found), task })
            })
            .await
    }

    /// Says from where it is read, and keeps that before anything is: a run that is broken off begins there again.
    async fn begin(&self, stream: &Stream) -> Result<Begun, SourceError> {
        let Keep::State(ledger) = &self.desk.keep;
        let hours = stream.retention.as_secs() / 3600;
        if let Some(begun) = &self.begun {
            let shards = self.known.len();
            tracing::info!(source = self.desk.name, stream = %stream.arn, shards, kept_hours = hours, "going on where the run before was");
            return Ok(begun.clone());
        }
        let from = self.config.from.value();
        let begun = Begun { stream: stream.name.clone(), from: from.time(self.desk.clock.now()) };
        ledger.begin(&begun).await.map_err(SourceError::Stop)?;
        tracing::info!(source = self.desk.name, stream = %stream.arn, from = %from, kept_hours = hours, "no checkpoints yet: reading from there on");
        Ok(begun)
    }

    fn lend(&self, stream: &Stream, piece: Piece) -> Option<Delivery> {
        let id = new_id();
        if !self.desk.lend(id, &piece) {
            return None;
        }
        let Piece { shard, span, bytes, .. } = piece;
        let at = span.shown();
        Some(Delivery {
            id,
            identity: format!("{}/{shard}/{at}", stream.arn).into(),
            origin: Origin {
                address: format!("kinesis://{}/{shard}/{at}", stream.name).into(),
                ..Origin::default()
            },
            body: Body::Bytes(bytes),
            deadline: None,
            failures: span.failures,
            growing: false,
            again: None,
            from: None,
        })
    }
}

impl Source for Kinesis {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        let open = self.open().await?;
        let mut found = open.found.lock().await;
        loop {
            let mut pieces = Vec::new();
            if found.recv_many(&mut pieces, most).await == 0 {
                if self.once {
                    return Ok(None);
                }
                // A run that goes on must not end as if all were done.
                return Err(SourceError::Stop("reading the stream has ended".to_owned()));
            }
            let lent: Vec<Delivery> =
                pieces.into_iter().filter_map(|piece| self.lend(&open.stream, piece)).collect();
            if !lent.is_empty() {
                return Ok(Some(lent));
            }
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        self.desk.settle(settled).await
    }

    async fn close(&self) {
        if let Some(open) = self.open.get() {
            open.task.abort();
            self.desk.stop();
            if let Err(error) = self.desk.keep(true).await {
                tracing::warn!(source = self.desk.name, "{error}");
            }
        }
    }

    fn trouble(&self) -> Option<String> {
        self.desk.troubles()
    }

    fn figures(&self) -> Figures {
        self.desk.figures()
    }
}

impl Drop for Kinesis {
    fn drop(&mut self) {
        if let Some(open) = self.open.get() {
            open.task.abort();
            self.desk.stop();
        }
    }
}
