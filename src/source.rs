//! Sources lend deliveries.
//!
//! The order of operations is a MUST: a source lends, the pipeline reads, writes and settles, and only then does the
//! source forget (delete the message, move the cursor, commit the file). A delivery that was lent and never settled is
//! lent again by the next run.

pub mod files;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ack::{DeliveryId, Settled};
use crate::clock::Timestamp;

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
        check: Arc<dyn Fn(&std::fs::File) -> Result<(), String> + Send + Sync>,
    },
    /// All of it, in memory.
    Bytes(Bytes),
    /// Read piece by piece; may block, so it gets a thread of its own (stdin, objects too large to hold).
    Stream(Box<dyn std::io::Read + Send>),
}

impl Body {
    /// Bytes as stored, where that is known; else 0.
    pub fn size(&self) -> u64 {
        match self {
            Body::File { size, .. } => *size,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Stream(_) => 0,
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::File { path, size, .. } => write!(formatter, "File({}, {size} bytes)", path.display()),
            Body::Bytes(bytes) => write!(formatter, "Bytes({})", bytes.len()),
            Body::Stream(_) => formatter.write_str("Stream"),
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
    /// Given back when this passes.
    pub deadline: Option<Timestamp>,
    /// Whether an object that ends too early may still be growing: then it is settled `Failed` with
    /// [`crate::ack::Note::Incomplete`] instead of going to rejects.
    pub growing: bool,
}

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

    /// Keeps a delivery ours for `by` more. Nothing to do where nothing expires.
    fn extend(&self, id: DeliveryId, by: Duration) -> impl Future<Output = Result<(), SourceError>> + Send {
        let _ = (id, by);
        async { Ok(()) }
    }

    /// What is left at the end of `--once` that could not be shipped yet (still growing): warned about, exit 1.
    fn unsettled(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Build.
pub struct Build<'a> {
    /// p
    pub pipeline: &'a str,
    /// n
    pub name: &'a str,
    /// s
    pub store: Arc<crate::state::Store>,
    /// c
    pub clock: crate::clock::Clock,
    /// o
    pub once: bool,
}
/// A stand-in until the `files` source lands, which replaces this whole part (Build, AnySource, limits) with its own.
pub struct AnySource {
    files: std::sync::Mutex<std::collections::VecDeque<PathBuf>>,
    next: std::sync::atomic::AtomicU64,
    out: std::sync::atomic::AtomicU64,
    note: tokio::sync::Notify,
}
impl AnySource {
    /// b
    pub fn build(config: &crate::config::SourceConfig, _build: &Build<'_>) -> Result<AnySource, String> {
        let crate::config::SourceConfig::Files(config) = config;
        let mut files = Vec::new();
        for path in config.path.iter() {
            for entry in walkdir::WalkDir::new(path.value()).sort_by_file_name() {
                let entry = entry.map_err(|e| e.to_string())?;
                if entry.file_type().is_file() {
                    files.push(entry.into_path());
                }
            }
        }
        Ok(AnySource {
            files: std::sync::Mutex::new(files.into()),
            next: Default::default(),
            out: Default::default(),
            note: tokio::sync::Notify::new(),
        })
    }
}
impl Source for AnySource {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        loop {
            let lent: Vec<_> = {
                let mut files = self.files.lock().unwrap_or_else(|e| e.into_inner());
                let n = most.min(files.len());
                files.drain(..n).collect()
            };
            if lent.is_empty() {
                if self.out.load(std::sync::atomic::Ordering::SeqCst) == 0 {
                    return Ok(None);
                }
                self.note.notified().await;
                continue;
            }
            self.out.fetch_add(lent.len() as u64, std::sync::atomic::Ordering::SeqCst);
            return Ok(Some(
                lent.into_iter()
                    .map(|path| {
                        let size = std::fs::metadata(&path).map_or(0, |m| m.len());
                        Delivery {
                            id: DeliveryId(self.next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
                            identity: path.display().to_string().into(),
                            origin: Origin {
                                address: path.display().to_string().into(),
                                ..Origin::default()
                            },
                            body: Body::File { path, size, check: Arc::new(|_| Ok(())) },
                            deadline: None,
                            growing: false,
                        }
                    })
                    .collect(),
            ));
        }
    }
    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        self.out.fetch_sub(settled.len() as u64, std::sync::atomic::Ordering::SeqCst);
        self.note.notify_one();
        Ok(())
    }
}
impl crate::config::SourceConfig {
    /// l
    pub fn limits(&self) -> crate::decode::Limits {
        crate::decode::Limits::default()
    }
}
