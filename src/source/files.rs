//! Reads CloudTrail objects and lines from directories, globs, single files and standard input.
//!
//! ```toml
//! [sources.trail]
//! type = "files"
//! path = "./trail"
//! ```
//!
//! A file is an object, not a tail: it is lent whole, and known afterwards by device, inode, size, time of writing and a
//! digest of its ends, so that a renamed file is the same and a changed one is new (`files/mark.rs`). New files are found
//! by notices of the operating system and by searching everything now and then (`files/watch.rs`, `files/search.rs`).
//! What becomes of a file that was seen is decided in one place (`files/desk.rs`); what outlives the run is written in
//! groups (`files/ledger.rs`).

mod crash;
mod desk;
mod known;
mod ledger;
mod lending;
mod look;
mod mark;
mod search;
mod stdin;
mod watch;

use std::collections::VecDeque;
use std::fs::File;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use self::desk::{Desk, Found, How, Lent, Rules};
use self::ledger::Ledger;
use self::look::Task;
use self::search::Root;
use self::stdin::Stdin;
use self::watch::{Change, Notices, Watch};
use super::layout::Origins;
use super::{Body, Build, BuildError, Delivery, Source, SourceError, new_id};
use crate::ack::{DeliveryId, Settled, SettledPart};
use crate::clock::{Clock, Timestamp};
use crate::config::{At, ByteSize, Duration, OneOrMany};

/// Files found and not lent; a search waits when there are more.
const FOUND: usize = 1024;
/// How long a source that ends waits for files that are still growing.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// The first part of the names of the state's spaces: `files/PIPELINE/SOURCE` holds the files that were shipped,
/// `files/PIPELINE/SOURCE/lent` the groups on loan.
pub const SPACES: &str = "files/";

/// What the state keeps of a file that was shipped, for showing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Bytes, as stored.
    pub size: u64,
    /// When its content was last written.
    pub modified: Timestamp,
}

impl Shipped {
    /// Reads a value of the state; `None` where the file was not shipped to its end, or of a kind this program does not
    /// know.
    pub fn read(value: &[u8]) -> Option<Shipped> {
        let (known::Entry { facts, .. }, None) = known::Entry::from_bytes(value)? else { return None };
        Some(Shipped { size: facts.size, modified: Timestamp(facts.modified) })
    }
}

/// How many files a group on loan is made of.
pub const fn lent_files(value: &[u8]) -> usize {
    value.len() / ledger::NOTED
}

/// Reads CloudTrail from directories, globs, files and standard input.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceFiles")]
pub struct Config {
    /// What to read: a directory (with everything below it), a glob, a file, or `-` for standard input. One or a list.
    /// Required.
    pub path: OneOrMany<At<String>>,
    /// Whether to go on watching for new and growing files after what is there was read. Always off for `-` and with
    /// `run --once`.
    #[serde(default = "yes")]
    pub follow: bool,
    /// How long a compressed or `Records` file that ends too early may stay unchanged before it goes to rejects. Time.
    #[serde(default = "incomplete_after")]
    pub incomplete_after: Duration,
    /// How long a last line without a line feed may stay unchanged before it is taken as complete. Time.
    #[serde(default = "line_incomplete_after")]
    pub line_incomplete_after: Duration,
    /// How often everything is looked through again, should a notice of the operating system have been lost. Time.
    #[serde(default = "rescan")]
    pub rescan: Duration,
    /// How much one object may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

/// How much one object may be or hold before it goes to rejects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "SourceLimits")]
pub struct Limits {
    /// Decompressed bytes of one object.
    pub object: At<ByteSize>,
    /// Decompressed bytes for each compressed byte, after the first MiB. A count.
    pub ratio: NonZeroU64,
    /// Depth of nested objects and arrays. A count.
    pub depth: NonZeroU32,
    /// Records in one object. A count.
    pub records: NonZeroU64,
    /// Bytes of one record.
    pub record: At<ByteSize>,
    /// Envelopes inside each other (a notification in a message in a body). A count.
    pub envelopes: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        const RATIO: NonZeroU64 = NonZeroU64::new(1_000).unwrap();
        const DEPTH: NonZeroU32 = NonZeroU32::new(128).unwrap();
        const RECORDS: NonZeroU64 = NonZeroU64::new(4_000_000).unwrap();
        const ENVELOPES: NonZeroU32 = NonZeroU32::new(4).unwrap();
        Self {
            object: ByteSize::gib(2).into(),
            ratio: RATIO,
            depth: DEPTH,
            records: RECORDS,
            record: ByteSize::mib(16).into(),
            envelopes: ENVELOPES,
        }
    }
}

const fn yes() -> bool {
    true
}

const fn incomplete_after() -> Duration {
    Duration::minutes(10)
}

const fn line_incomplete_after() -> Duration {
    Duration::seconds(10)
}

const fn rescan() -> Duration {
    Duration::seconds(60)
}

/// The source.
pub struct Files {
    shared: Arc<Shared>,
    run: tokio::sync::Mutex<Run>,
    /// A loan has ended.
    returned: Notify,
    rescan: std::time::Duration,
    watching: bool,
}

/// What the task and the searching thread share.
struct Shared {
    roots: Vec<Root>,
    clock: Clock,
    desk: Mutex<Desk>,
    ledger: Ledger,
    watch: Option<Watch>,
    /// What the last search of everything could not read.
    trouble: Mutex<look::Trouble>,
    /// What was stated and could not be read by the first search.
    unreadable: Mutex<Option<String>>,
    /// It was told that there are too few watches.
    unwatched: AtomicBool,
    stdin: Mutex<Stdin>,
    stop: AtomicBool,
    commits: AtomicBool,
    /// There is no reason to wait for more to be found.
    gathered: Notify,
}

/// What the task that asks for deliveries has in hand.
struct Run {
    messages: mpsc::Receiver<Message>,
    searcher: mpsc::Sender<Message>,
    found: VecDeque<Found>,
    tasks: VecDeque<Task>,
    searching: bool,
    searched_once: bool,
    rescan_at: Option<Timestamp>,
    /// Until when to wait for growing files, once all else is done.
    last_wait: Option<Timestamp>,
    /// How long the next group of files may take to come together.
    gather: std::time::Duration,
    notices: Option<Notices>,
    origins: Origins,
}

enum Message {
    Found(Found),
    /// A search has ended; `everything`: it was one of everything.
    Ended {
        everything: bool,
    },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    /// Builds the source and reads what earlier runs have shipped.
    ///
    /// # Errors
    /// A glob does not parse, or the state cannot be read.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<Files, BuildError> {
        let stated = config.path.iter().map(|path| path.value().as_str());
        let roots = stated.clone().filter(|path| *path != "-").map(|path| {
            Root::new(path).map_err(|error| BuildError(format!("source {}: {path}: {error}", build.name)))
        });
        let roots = roots.collect::<Result<Vec<_>, _>>()?;
        let reads_stdin = stated.clone().any(|path| path == "-");
        let stdin = if reads_stdin { Stdin::Unread(build.stdin.reader()) } else { Stdin::Done };
        let ends = build.once || !config.follow || roots.is_empty();
        let ledger = Ledger::new(build);
        let found = ledger.load().map_err(|error| BuildError(format!("source {}: {error}", build.name)))?;
        if !found.crash.open.is_empty() {
            let files = found.crash.open.len();
            tracing::warn!(
                pipeline = build.pipeline,
                source = build.name,
                files,
                "the last run ended before these files were settled: what was not settled of them is shipped again"
            );
        }
        let rules = Rules {
            incomplete_after: config.incomplete_after.get(),
            line_incomplete_after: config.line_incomplete_after.get(),
            ends,
            pipeline: build.pipeline.to_owned(),
            source: build.name.to_owned(),
        };
        let watch = (!ends).then(Watch::new).transpose().unwrap_or_else(|error| {
            tracing::warn!(source = build.name, %error, "no notices of changed files: everything is searched every `rescan`");
            None
        });
        let (searcher, messages) = mpsc::channel(FOUND);
        let tasks = if roots.is_empty() { VecDeque::new() } else { VecDeque::from([Task::Everything]) };
        let shared = Shared {
            roots,
            clock: build.clock.clone(),
            desk: Mutex::new(Desk::new(rules, found.known, found.crash)),
            ledger,
            watch,
            trouble: Mutex::default(),
            unreadable: Mutex::default(),
            unwatched: AtomicBool::new(false),
            stdin: Mutex::new(stdin),
            stop: AtomicBool::new(false),
            commits: AtomicBool::new(false),
            gathered: Notify::new(),
        };
        let run = Run {
            messages,
            searcher,
            found: VecDeque::new(),
            tasks,
            searching: false,
            searched_once: false,
            rescan_at: None,
            last_wait: None,
            gather: std::time::Duration::ZERO,
            notices: None,
            origins: Origins::default(),
        };
        Ok(Files {
            shared: Arc::new(shared),
            run: tokio::sync::Mutex::new(run),
            returned: Notify::new(),
            rescan: config.rescan.get(),
            watching: !ends,
        })
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Makes deliveries of files that were found.
    fn lend(&self, run: &mut Run, most: usize) -> Vec<Delivery> {
        let found: Vec<(u64, Found)> =
            run.found.drain(..most.min(run.found.len())).map(|found| (new_id().0, found)).collect();
        let ids: Vec<u64> = found.iter().map(|(id, _)| *id).collect();
        let lent = lock(&self.shared.desk).lend(found, &self.shared.ledger);
        let delivery = |(id, lent): (u64, Lent)| {
            let Lent { path, identity, mark, growing, from } = lent;
            let shown: Arc<str> = path.to_string_lossy().into();
            let origin = run.origins.of(path.as_os_str().as_bytes(), shown);
            let size = mark.facts.size;
            let check = Arc::new(move |file: &File| mark.check(file));
            let body = Body::File { path, size, check };
            let (id, from) = (DeliveryId(id), Some(from));
            Delivery { id, identity, origin, body, failures: 0, growing, again: None, from }
        };
        ids.into_iter().zip(lent).map(delivery).collect()
    }

    /// Commits what is pending.
    async fn commit(&self) -> Result<(), SourceError> {
        let shared = self.shared.clone();
        let committed = tokio::task::spawn_blocking(move || shared.ledger.commit()).await;
        let committed = committed.map_err(|error| SourceError::Stop(error.to_string()))?;
        committed.map_err(|error| SourceError::Stop(error.to_string()))
    }

    /// Takes a message of the searching thread.
    fn take(&self, run: &mut Run, message: Message) {
        match message {
            Message::Found(found) => run.found.push_back(found),
            Message::Ended { everything } => {
                run.searching = false;
                if everything {
                    run.searched_once = true;
                    run.rescan_at = Some(self.now().after(self.rescan));
                }
            }
        }
    }

    /// Starts the next search, if one is wanted and none is on.
    fn search(&self, run: &mut Run) {
        let now = self.now();
        let (due, told) = {
            let mut desk = lock(&self.shared.desk);
            (desk.due(now), desk.told())
        };
        for (files, how) in [(due, How::Due), (told, How::Told)] {
            if !files.is_empty() {
                run.tasks.push_front(Task::Files(files, how));
            }
        }
        // The second condition: the clock was set back.
        if self.watching && run.rescan_at.is_some_and(|at| at <= now || at.since(now) > self.rescan) {
            run.rescan_at = None;
            run.tasks.push_back(Task::Everything);
        }
        if run.searching {
            return;
        }
        if let Some(task) = run.tasks.pop_front() {
            run.searching = true;
            let how = if run.searched_once { How::Again } else { How::First };
            let (shared, searcher) = (self.shared.clone(), run.searcher.clone());
            tokio::task::spawn_blocking(move || shared.search(task, how, &searcher));
        }
    }

    /// Whether there will be no more deliveries.
    fn is_at_end(&self, run: &mut Run) -> bool {
        if self.watching || run.searching || !run.tasks.is_empty() || lock(&self.shared.stdin).is_open() {
            return false;
        }
        let mut desk = lock(&self.shared.desk);
        if !desk.is_idle() {
            return false;
        }
        if !desk.is_done() {
            let now = self.now();
            if now >= *run.last_wait.get_or_insert(now.after(LAST_WAIT)) {
                desk.leave_growing();
            }
        }
        desk.is_done()
    }

    /// How long to wait at most for something to happen.
    fn patience(&self, run: &Run) -> std::time::Duration {
        let due = lock(&self.shared.desk).next_due();
        let rescan = run.rescan_at.filter(|_| self.watching && !run.searching);
        let next = [due, rescan, run.last_wait].into_iter().flatten().min();
        let wait = next.map_or(std::time::Duration::from_secs(3600), |at| at.since(self.now()));
        wait.max(std::time::Duration::from_millis(1))
    }
}

impl Run {
    /// Makes tasks of notices.
    fn changed(&mut self, changes: Vec<Change>) {
        let (mut files, mut names) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::File(path) => files.push((path, None)),
                Change::Name(path) => names.push(path),
                Change::Folder(path) => self.tasks.push_back(Task::Folder(path)),
                Change::Everything => self.tasks.push_back(Task::Everything),
            }
        }
        if !files.is_empty() {
            self.tasks.push_back(Task::Files(files, How::Told));
        }
        if !names.is_empty() {
            self.tasks.push_back(Task::Names(names));
        }
    }
}

impl Source for Files {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        let mut run = self.run.lock().await;
        let run = &mut *run;
        if let (Some(watch), None) = (&self.shared.watch, &run.notices) {
            run.notices = Notices::of(watch).ok();
        }
        loop {
            if let Some(stdin) = lock(&self.shared.stdin).lend() {
                return Ok(Some(vec![stdin]));
            }
            self.take_found(run, most);
            if !run.found.is_empty() {
                self.gather(run, most).await;
                return Ok(Some(lending::noted(&self.shared, self.lend(run, most)).await));
            }
            self.search(run);
            if self.is_at_end(run) {
                // A source that will not look again must not end well without what it was asked for.
                return match lock(&self.shared.unreadable).take() {
                    Some(unreadable) => Err(SourceError::Stop(unreadable)),
                    None => Ok(None),
                };
            }
            let patience = self.patience(run);
            // While a search is on the system keeps the notices.
            let notices = run.notices.as_ref().zip(self.shared.watch.as_ref()).filter(|_| !run.searching);
            let notices = async {
                match notices {
                    Some((notices, watch)) => notices.next(watch).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(message) = run.messages.recv() => self.take(run, message),
                changes = notices => run.changed(changes),
                () = self.returned.notified() => {}
                () = tokio::time::sleep(patience) => {}
            }
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        {
            let now = self.now();
            let mut desk = lock(&self.shared.desk);
            for settled in &settled {
                if lock(&self.shared.stdin).settled(settled) {
                    desk.left.push("-".to_owned());
                }
                desk.settled(settled, now, &self.shared.ledger);
            }
        }
        self.commit().await?;
        self.returned.notify_one();
        Ok(())
    }

    async fn settle_part(&self, parts: Vec<SettledPart>) -> Result<(), SourceError> {
        {
            let mut desk = lock(&self.shared.desk);
            parts.iter().for_each(|part| desk.settled_part(part, &self.shared.ledger));
        }
        if self.shared.ledger.is_pending() { self.commit().await } else { Ok(()) }
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.shared.trouble).hidden()
    }

    fn unsettled(&self) -> Vec<String> {
        lock(&self.shared.desk).left.clone()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
