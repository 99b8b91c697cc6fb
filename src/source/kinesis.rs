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

mod balance;
mod begin;
mod cut;
mod desk;
#[doc(hidden)]
pub mod fuzz;
mod keep;
mod kpl;
mod mark;
mod oversee;
mod pace;
mod reader;
mod share;
mod shards;
mod stream;
mod table;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore, mpsc};

pub use self::begin::Begin;
use self::desk::{Counts, Desk, Piece, Which};
use self::keep::{Begun, Keep, Known, Ledger};
pub use self::mark::Checkpoint;
use self::oversee::Overseer;
use self::reader::Means;
use self::share::Sharer;
use self::stream::{Stream, name_of};
use self::table::Table;
use super::figures::Figures;
use super::files::Limits;
use super::{Body, Build, BuildError, Delivery, Origin, Source, SourceError, new_id};
use crate::ack::Settled;
use crate::aws::Aws;
use crate::config::At;
use crate::pipeline::room::Room;

/// The first part of the names of the state's spaces.
pub const SPACES: &str = "kinesis/";
/// The shortest and the longest time that a lease may last.
pub(crate) const LASTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(600);
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
    /// Several processes share the stream, each reads some of its shards; how far shards are settled is then kept in a table.
    /// Default: all shards are ours, and it is kept in the state. Where this is taken out again, the stream is read again since the
    /// first run began: what was shipped meanwhile is known to the table alone.
    #[serde(default)]
    pub leases: Option<Leases>,
    /// How AWS is reached.
    #[serde(default)]
    pub aws: Aws,
    /// How much one record may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

/// Leases of shards, in a DynamoDB table.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Leases")]
pub struct Leases {
    /// The table's name. It is made where it is missing; its partition key is `shard`, a string. When it was deleted, or is
    /// another one, that is told as an error, and the stream is read again since the first run began. Required.
    pub table: At<String>,
    /// How long a lease lasts; it is renewed at a third of that. What a process that was killed had is read by others after
    /// this time. Time.
    #[serde(default = "lasts")]
    pub duration: At<crate::config::Duration>,
}

fn lasts() -> At<crate::config::Duration> {
    crate::config::Duration::seconds(30).into()
}

impl Config {
    /// What it would do, in words.
    pub(crate) fn plan(&self) -> String {
        let which = match &self.leases {
            None => "all shards".to_owned(),
            Some(leases) => format!("its part of the shards, by leases in table {}", leases.table.value()),
        };
        format!("{which}, from {} where there is no checkpoint yet", self.from.value())
    }
}

fn from() -> At<Begin> {
    Begin::Latest.into()
}

/// The source.
pub struct Kinesis {
    config: Config,
    once: bool,
    pipeline: String,
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
        let keep = match &config.leases {
            None => Keep::State(ledger),
            Some(_) => Keep::Leases(OnceLock::new(), ledger),
        };
        Ok(Kinesis {
            config: config.clone(),
            once: build.once,
            pipeline: build.pipeline.to_owned(),
            room: build.room.clone(),
            desk: Arc::new(Desk::new(build.name, &build.clock, keep)),
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
                let task = match self.desk.keep {
                    Keep::State(_) => tokio::spawn(Overseer { means, known: self.known.clone() }.run()),
                    Keep::Leases(..) => tokio::spawn(Sharer::new(means, begun).run()),
                };
                Ok(Open { stream, found: tokio::sync::Mutex::new(found), task })
            })
            .await
    }

    /// Says from where it is read, and keeps that before anything is: a run that is broken off begins there again.
    async fn begin(&self, stream: &Stream) -> Result<Begun, SourceError> {
        let hours = stream.retention.as_secs() / 3600;
        let from = self.config.from.value();
        let begun =
            Begun { stream: stream.name.clone(), from: from.time(self.desk.clock.now()), table: None };
        let ledger = match &self.desk.keep {
            Keep::State(ledger) => ledger,
            Keep::Leases(table, ledger) => return self.lease(stream, table, ledger, begun).await,
        };
        if let Some(Begun { table: Some(kept), .. }) = &self.begun {
            // What other processes have shipped meanwhile stands there, and not here.
            let begun = Begun { table: None, ..self.begun.clone().unwrap_or(begun) };
            ledger.begin(&begun).await.map_err(SourceError::Stop)?;
            tracing::warn!(source = self.desk.name, stream = %stream.arn, from = begun.shown(), "how far the stream was shipped is known to table {} alone, which is used no more: reading it again from there on", kept.name);
            return Ok(begun);
        }
        if let Some(begun) = &self.begun {
            let shards = self.known.len();
            tracing::info!(source = self.desk.name, stream = %stream.arn, shards, kept_hours = hours, "going on where the run before was");
            return Ok(begun.clone());
        }
        ledger.begin(&begun).await.map_err(SourceError::Stop)?;
        tracing::info!(source = self.desk.name, stream = %stream.arn, from = %from, kept_hours = hours, "no checkpoints yet: reading from there on");
        Ok(begun)
    }

    /// Finds the table of leases, and in it from where the stream is read.
    async fn lease(
        &self,
        stream: &Stream,
        place: &OnceLock<Table>,
        ledger: &Ledger,
        begun: Begun,
    ) -> Result<Begun, SourceError> {
        let Some(leases) = &self.config.leases else { return Ok(begun) };
        let names = (self.pipeline.as_str(), self.desk.name.as_str());
        let name = leases.table.value();
        let table = Table::new(&self.config.aws, &stream.loaded, name, leases.duration.get(), names);
        table.find().await?;
        let known = self.begun.as_ref();
        let joined = table.join(known.unwrap_or(&begun), known.is_some()).await;
        let joined = joined.map_err(SourceError::Retry)?;
        let begun = joined.begun;
        if begun.stream != stream.name {
            return Err(SourceError::Stop(format!(
                "table {name} tells how far stream `{}` was shipped under the name {}/{}, not stream `{}`: give this source another name",
                begun.stream, names.0, names.1, stream.name
            )));
        }
        if joined.lost {
            self.desk.tell_lost(&begun, known);
        }
        ledger.begin(&begun).await.map_err(SourceError::Stop)?;
        tracing::info!(source = self.desk.name, stream = %stream.arn, table = name, me = table.me, from = begun.shown(), "sharing the stream by leases");
        let _ = place.set(table);
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
            if let Err(error) = self.desk.keep(Which::GivenBack).await {
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

#[cfg(test)]
mod tests;
