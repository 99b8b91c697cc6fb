//! Writes NDJSON to files whose paths may be made of what the record is: plain, gzip or zstd, rotated by size and age.
//!
//! While it grows, a file is hidden (a **part**, `.2026-01-15.000042.5f3a9c01.part`, beside its final place); it gets its
//! final name only when it is whole: at rotation, at the end of `--once`, at a drained stop, and at start for what a crash
//! left. The final name carries a sequence before the extension, `2026-01-15.000042.ndjson.gz`, that grows over the whole
//! sink and is never used twice, also when files have been taken away. No existing file is ever overwritten.
//!
//! Payloads are appended in the order they come; one that has to be tried again (a full disk, a folder that cannot be
//! written to) comes when it comes again. Files are 0600 and folders 0700 whatever the umask, final ones too. No link is
//! followed below the root: one that stands in the way is told and tried again.
//!
//! ```toml
//! [sinks.archive]
//! type = "file"
//! path = "out/{account}/{date}.ndjson.gz"
//! rotate_size = "256 MiB"
//! rotate_age = "15 min"
//! ```

mod direct;
mod disk;
mod journal;
mod name;
mod recover;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::{At, ByteSize, Duration, Match, ValueError};
use crate::sink::template::{Oldest, Partitions, Template};
use crate::sink::{Payload, Sink, SinkError};

use disk::{Disk, Root};
use journal::Journal;
use writer::{Job, Rotation, Write, Writer};

/// Payloads that may be on their way to one file sink: enough that a sync never waits for the next window.
const IN_FLIGHT: usize = 1024;

/// Writes NDJSON to files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkFile")]
pub struct Config {
    /// Where to write, with names in braces: `{date}`, `{hour}`, `{year}`, `{month}`, `{day}` (of the event, UTC),
    /// `{account}`, `{region}`, `{environment}`, `{kind}`, `{sink}`. Nothing is written above the part before the first
    /// of them. Required.
    pub path: At<Template>,
    /// How files are compressed. Default: what the path ends with (`.gz`, `.zst`), else not at all; the ending is added
    /// where it is missing.
    #[serde(default)]
    pub compression: Option<At<Compression>>,
    /// Size at which a file is finished and the next begun, in bytes as written. Default: `512 MiB`.
    #[serde(default)]
    pub rotate_size: Option<At<ByteSize>>,
    /// Age at which a file is finished, counted from its first record's arrival. Time. Default: `1 h`.
    #[serde(default)]
    pub rotate_age: Option<At<Duration>>,
    /// The oldest event time that is believed: what is older, or more than a day ahead, goes to `out-of-range` instead
    /// of a date. A duration before now, or `any`. Default: `400 d` for live sources, `any` for what is read again.
    #[serde(default)]
    pub oldest: Option<At<Oldest>>,
    /// How records are written: `nested` as AWS wrote them, `flat` with one level of keys, or the name of a shape.
    /// Default: the pipeline's shape, else `nested`.
    #[serde(default)]
    pub shape: Option<At<String>>,
    /// Which records are written here, as an event pattern over the nested record. Default: all.
    #[serde(default)]
    pub r#match: Option<Match>,
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FileCompression")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As gzip, one member for each write.
    Gzip,
    /// As Zstandard, one frame for each write.
    Zstd,
}

impl Compression {
    /// The ending of its files' names.
    const fn ending(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some(".gz"),
            Compression::Zstd => Some(".zst"),
        }
    }
}

impl Config {
    /// How files are compressed, and the path with the ending that goes with it.
    ///
    /// Errors: the path ends as another compression's.
    pub fn resolve(&self) -> Result<(Compression, Template), ValueError> {
        let path = self.path.value();
        let all = [Compression::Gzip, Compression::Zstd];
        let named = all.into_iter().find(|known| known.ending().is_some_and(|ending| path.ends_with(ending)));
        let wanted = self.compression.as_ref().map(|wanted| *wanted.value());
        match (wanted, named) {
            (Some(wanted), Some(named)) if wanted != named => {
                let ending = named.ending().unwrap_or_default();
                let hint = format!("leave `compression` out, or take `{ending}` off the path");
                Err(ValueError::new(
                    format!("the path ends with `{ending}` and the compression is another"),
                    hint,
                ))
            }
            (None, None) => Ok((Compression::None, path.clone())),
            (_, Some(named)) => Ok((named, path.clone())),
            (Some(wanted), None) => Ok((
                wanted,
                match wanted.ending() {
                    Some(ending) => path.clone().with_ending(ending),
                    None => path.clone(),
                },
            )),
        }
    }
}

/// How many files the process may have open for its file sinks: shared by them in equal parts.
#[derive(Debug)]
pub struct OpenFiles {
    most: usize,
    sinks: AtomicUsize,
}

impl OpenFiles {
    /// A number of files, journals included.
    pub const fn new(most: usize) -> OpenFiles {
        OpenFiles { most, sinks: AtomicUsize::new(0) }
    }
}

impl Default for OpenFiles {
    /// 256 files.
    fn default() -> OpenFiles {
        OpenFiles::new(256)
    }
}

/// One sink's part of the open files.
struct OpenShare(Arc<OpenFiles>);

impl OpenShare {
    fn new(files: Arc<OpenFiles>) -> OpenShare {
        files.sinks.fetch_add(1, Ordering::Relaxed);
        OpenShare(files)
    }

    /// How many parts the sink may have open now, at least 1. One file is its journal.
    fn most(&self) -> usize {
        (self.0.most / self.0.sinks.load(Ordering::Relaxed).max(1)).saturating_sub(1).max(1)
    }
}

impl Drop for OpenShare {
    fn drop(&mut self) {
        self.0.sinks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a file sink needs besides its settings.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// The sink's name in the configuration.
    pub name: &'a str,
    /// The data directory; the journal of parts is `sinks/<name>/journal` in it.
    pub data_dir: &'a Path,
    /// The time.
    pub clock: Clock,
    /// The process's open files.
    pub open_files: Arc<OpenFiles>,
}

/// Why a file sink cannot start.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BuildError {
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] ValueError),
    /// What a crash left cannot be finished, or the journal cannot be read or written: in words.
    #[error("{0}")]
    Start(String),
}

/// Writes payloads to files, through one thread.
#[derive(Debug)]
pub struct FileSink {
    jobs: Sender<Job>,
    partitions: Arc<Partitions>,
    compression: Compression,
    thread: std::thread::JoinHandle<()>,
}

impl FileSink {
    /// Finishes what a crash left, and starts the thread. Blocks for as long as that takes; makes no file in the output.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<FileSink, BuildError> {
        FileSink::start(config, build, Root::new)
    }

    fn start<D: Disk>(
        config: &Config,
        build: &Build<'_>,
        at: impl Fn(&Path) -> D,
    ) -> Result<FileSink, BuildError> {
        let (compression, template) = config.resolve()?;
        let root = absolute(template.root())?;
        let shown = text_of(&root)?;
        let path = format!("sinks/{}/journal", folder_name(build.name));
        let journal_path = build.data_dir.join(&path);
        let in_words = |error| disk::explain("opening", &journal_path, &error);
        let journal = Journal::open(at(build.data_dir), path, shown).map_err(in_words);
        let (mut journal, mut said) = journal.map_err(BuildError::Start)?;
        if said.id != 0 {
            let mut disk = at(Path::new(&said.root));
            recover::finish_left(&mut disk, &mut said).map_err(BuildError::Start)?;
        }
        let next = said.next.max(1);
        journal.copy(next, std::iter::empty()).map_err(in_words).map_err(BuildError::Start)?;
        let size = config.rotate_size.as_ref().map_or(512 << 20, |size| size.value().get());
        let age =
            config.rotate_age.as_ref().map_or(std::time::Duration::from_hours(1), |age| age.value().get());
        let share = OpenShare::new(build.open_files.clone());
        let clock = build.clock.clone();
        let disk = at(&root);
        let writer = Writer::new(disk, root, journal, next, clock, Rotation { size, age }, share);
        let (jobs, receiver) = channel();
        let thread = std::thread::Builder::new().name(format!("sink-{}", build.name));
        let thread = thread.spawn(move || writer.run(&receiver));
        let thread = thread.map_err(|error| BuildError::Start(format!("starting a thread: {error}")))?;
        let partitions = Partitions::new(template, build.name)
            .believing(config.oldest.as_ref().map(|oldest| *oldest.value()));
        let partitions = Arc::new(partitions);
        Ok(FileSink { jobs, partitions, compression, thread })
    }

    /// Says which file a record goes to: what [`Payload::partition`] must be.
    pub fn partitions(&self) -> &Arc<Partitions> {
        &self.partitions
    }

    /// How payloads must be compressed before they come here: one gzip member or zstd frame each.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Ends the thread without making anything final, as a crash would, but for what is being written now.
    pub fn abandon(self) {
        let FileSink { jobs, thread, .. } = self;
        drop(jobs);
        let _ = thread.join();
    }
}

/// A thread that is gone took the payload with it.
fn lost() -> SinkError {
    SinkError::Lost { message: "the thread that writes files has ended".to_owned() }
}

impl Sink for FileSink {
    async fn write(&self, payload: &mut Payload) -> Result<(), SinkError> {
        let (answer, answered) = oneshot::channel();
        let write = Write { partition: payload.partition.clone(), held: payload.take(), answer };
        self.jobs.send(Job::Write(write)).map_err(|_| lost())?;
        match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((held, error))) => {
                held.into_iter().for_each(|held| payload.put_back(held));
                Err(error)
            }
            Err(_) => Err(lost()),
        }
    }

    fn concurrency(&self) -> usize {
        IN_FLIGHT
    }

    fn hurry(&self) {
        // Where the thread is gone, nobody waits for it.
        let _ = self.jobs.send(Job::Hurry);
    }

    async fn finish(&self) -> Result<(), SinkError> {
        let (answer, finished) = oneshot::channel();
        self.jobs.send(Job::Finish(answer)).map_err(|_| lost())?;
        finished.await.unwrap_or_else(|_| Err(lost()))
    }
}

fn absolute(root: &str) -> Result<PathBuf, BuildError> {
    std::path::absolute(root)
        .map_err(|error| BuildError::Start(format!("finding the folder {root}: {error}")))
}

fn text_of(root: &Path) -> Result<&str, BuildError> {
    let text = root.to_str().filter(|text| !text.contains('\n'));
    text.ok_or_else(|| BuildError::Start(format!("the folder {} is not plain text", root.display())))
}

/// A sink's name as the name of a folder; different for different names.
fn folder_name(name: &str) -> String {
    let mut folder = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            folder.push(char::from(byte));
        } else {
            folder.push_str(&format!("%{byte:02x}"));
        }
    }
    folder
}

#[cfg(test)]
mod tests;
