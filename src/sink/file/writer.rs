//! The thread that writes: appends in order, syncs in groups, finishes files.
//!
//! A payload's memory goes back when its bytes are in the part. It is answered when they are durable: after an fdatasync of
//! every part written to, and of the journal that says how long they are.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::disk::{Disk, explain, gone};
use super::journal::{Journal, Living};
use super::{OpenShare, name};
mod finish;

pub(super) use finish::give_final_name;

use crate::clock::{Clock, Timestamp};
use crate::failpoint;
use crate::sink::template::stays_below;
use crate::sink::{Held, SinkError};

/// Unsynced bytes at which a sync is due.
const SYNC_BYTES: u64 = 64 << 20;
/// Age of the oldest unsynced write at which a sync is due.
const SYNC_AGE: Duration = Duration::from_secs(1);
/// How long after a write nothing else has to come for "nothing else is waiting": half as long as the last sync took, within
/// these bounds. So a trickle of small payloads is not synced one by one, and no answer waits much longer for it.
const GRACE: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(50));
/// Age of the oldest unsynced write at which a sync is due although more keeps coming, but nothing is waiting just now.
const LULL: Duration = Duration::from_millis(100);
/// Parts at a time; beyond, the one written to longest ago is finished early. About 3 MB, and as much journal.
const MOST_PARTS: usize = 10_000;
/// How soon it is tried again to give a final name that could not be given.
const AGAIN: Duration = Duration::from_secs(1);

/// What the thread is asked for.
pub(super) enum Job {
    /// Append this.
    Write(Write),
    /// Nothing else is on its way: sync what waits for it.
    Hurry,
    /// Make everything final.
    Finish(oneshot::Sender<Result<(), SinkError>>),
    /// Look at the clock.
    #[cfg(test)]
    Wake(oneshot::Sender<()>),
}

/// Durable; or not and why, with what was taken where it was not written.
pub(super) type Answer = Result<(), (Option<Held>, SinkError)>;

/// One payload's bytes.
pub(super) struct Write {
    pub(super) partition: Arc<str>,
    pub(super) held: Held,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// When a part is finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    /// Bytes; a part is larger only where one payload is.
    pub(super) size: u64,
    /// Since its first payload.
    pub(super) age: Duration,
}

struct Part<F> {
    partition: Arc<str>,
    path: String,
    file: Option<F>,
    /// Bytes written. `durable <= length`.
    length: u64,
    /// Bytes the journal says.
    durable: u64,
    /// There may be more bytes in the file than `length`.
    ragged: bool,
    /// Its name is durable.
    named: bool,
    /// The last write or opening, counted.
    used: u64,
}

/// State of the thread.
pub(super) struct Writer<D: Disk> {
    disk: D,
    root: PathBuf,
    journal: Journal<D>,
    clock: Clock,
    rotation: Rotation,
    share: OpenShare,
    next: u64,
    parts: HashMap<u64, Part<D::File>>,
    /// The part that grows, of each partition.
    growing: HashMap<Arc<str>, u64>,
    /// When each part began, oldest first; finished ones stay until they come to the front.
    ages: VecDeque<(Timestamp, u64)>,
    /// Parts that grow no more and have no final name yet.
    full: Vec<u64>,
    open: Vec<u64>,
    dirty: Vec<u64>,
    waiting: Vec<oneshot::Sender<Answer>>,
    unsynced: u64,
    unsynced_since: Timestamp,
    written: Timestamp,
    uses: u64,
    grace: Duration,
    failing: bool,
}

type Outcome = Result<(), String>;

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        disk: D,
        root: PathBuf,
        journal: Journal<D>,
        next: u64,
        clock: Clock,
        rotation: Rotation,
        share: OpenShare,
    ) -> Writer<D> {
        Writer {
            disk,
            root,
            journal,
            clock,
            rotation,
            share,
            next,
            parts: HashMap::new(),
            growing: HashMap::new(),
            ages: VecDeque::new(),
            full: Vec::new(),
            open: Vec::new(),
            dirty: Vec::new(),
            waiting: Vec::new(),
            unsynced: 0,
            unsynced_since: Timestamp::default(),
            written: Timestamp::default(),
            uses: 0,
            grace: GRACE.0,
            failing: false,
        }
    }

    /// Works until every sender is gone; what was written by then is synced, and its parts are left as they are.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match self.patience() {
                Some(time) => jobs.recv_timeout(time),
                None => jobs.recv().map_err(RecvTimeoutError::from),
            };
            match job {
                Ok(Job::Write(write)) => self.write(write),
                Ok(Job::Hurry) if self.waiting.is_empty() => continue,
                Ok(Job::Hurry) => self.sync(),
                Ok(Job::Finish(answer)) => {
                    let outcome = self.finish();
                    let _ = answer.send(outcome.map_err(|message| SinkError::Retry { message, after: None }));
                    continue;
                }
                #[cfg(test)]
                Ok(Job::Wake(answer)) => {
                    self.rotate();
                    let _ = answer.send(());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
            let late = self.clock.now().since(self.unsynced_since) >= SYNC_AGE;
            if self.unsynced >= SYNC_BYTES || !self.waiting.is_empty() && late {
                self.sync();
            }
            self.rotate();
        }
    }

    /// How long to wait for the next job before there is something to do; `None`: for ever.
    fn patience(&self) -> Option<Duration> {
        if !self.waiting.is_empty() {
            let now = self.clock.now();
            let quiet = self.grace.saturating_sub(now.since(self.written));
            return Some(quiet.min(LULL.saturating_sub(now.since(self.unsynced_since))));
        }
        if !self.full.is_empty() {
            return Some(AGAIN);
        }
        let (began, _) = self.ages.front()?;
        let left = began.after(self.rotation.age).since(self.clock.now());
        // The clock may be set: look now and then.
        Some(left.clamp(Duration::from_millis(1), Duration::from_secs(60)))
    }

    fn write(&mut self, write: Write) {
        let Write { partition, held, answer } = write;
        match self.append(&partition, &held.bytes) {
            Ok(()) => {
                held.release();
                self.written = self.clock.now();
                if self.waiting.is_empty() {
                    self.unsynced_since = self.written;
                }
                self.waiting.push(answer);
            }
            Err(error) => {
                let _ = answer.send(Err((Some(held), error)));
            }
        }
    }

    fn append(&mut self, partition: &Arc<str>, body: &[u8]) -> Result<(), SinkError> {
        if !stays_below(partition) {
            return Err(SinkError::Reject {
                message: format!("`{}` is not a path below the root", partition.escape_debug()),
            });
        }
        let retry = |message| SinkError::Retry { message, after: None };
        if body.is_empty() {
            return Ok(());
        }
        self.mend_journal().map_err(retry)?;
        let size = length_of(body);
        let grown = self.growing.get(partition).copied().filter(|sequence| {
            let part = self.parts.get(sequence);
            part.is_some_and(|part| {
                part.length == 0 || part.length.saturating_add(size) <= self.rotation.size
            })
        });
        let sequence = match grown {
            Some(sequence) => sequence,
            None => self.begin(partition).map_err(retry)?,
        };
        self.open(sequence).map_err(retry)?;
        // Room may have been made by a sync, and that may have failed: nothing is written while the journal may tell of
        // lengths that have been cut off since.
        self.mend_journal().map_err(retry)?;
        let Some(part) = self.parts.get_mut(&sequence) else {
            return Err(retry("the part is gone".to_owned()));
        };
        let Some(file) = part.file.as_mut() else { return Err(retry("the part is closed".to_owned())) };
        if let Err(error) = self.disk.write(file, part.length, body) {
            part.ragged = self.disk.cut(file, part.length).is_err();
            return Err(retry(explain("writing", &self.root.join(&*part.partition), &error)));
        }
        if part.length == part.durable {
            self.dirty.push(sequence);
        }
        part.length = part.length.saturating_add(size);
        self.unsynced = self.unsynced.saturating_add(size);
        Ok(())
    }

    /// Begins a new part for this partition; the one before it is full.
    fn begin(&mut self, partition: &Arc<str>) -> Result<u64, String> {
        if self.parts.len() >= MOST_PARTS {
            let oldest =
                self.growing.values().copied().min_by_key(|of| self.parts.get(of).map(|part| part.used));
            oldest.into_iter().for_each(|sequence| self.fill(sequence));
            self.sync();
        }
        let sequence = self.next;
        let path = name::part(partition, sequence, self.journal.id());
        self.journal.begin(sequence, partition);
        self.journal.write().map_err(|error| format!("writing the journal of parts: {error}"))?;
        self.make_room();
        failpoint::here!("file.begun");
        let mut made = self.disk.create(&path);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            // Ours by its name, and not in the journal: the machine stopped before anything of it was acknowledged.
            made = self.disk.remove(&path).and_then(|()| self.disk.create(&path));
        }
        let at = self.root.join(&**partition);
        let file = made.map_err(|error| explain("beginning a file for", &at, &error))?;
        self.next += 1;
        if let Some(before) = self.growing.get(partition).copied() {
            self.fill(before);
        }
        self.uses += 1;
        let part = Part {
            partition: partition.clone(),
            path,
            file: Some(file),
            length: 0,
            durable: 0,
            ragged: false,
            named: false,
            used: self.uses,
        };
        self.parts.insert(sequence, part);
        self.open.push(sequence);
        self.growing.insert(partition.clone(), sequence);
        self.ages.push_back((self.clock.now(), sequence));
        Ok(sequence)
    }

    /// The part grows no more.
    fn fill(&mut self, sequence: u64) {
        let Some(part) = self.parts.get(&sequence) else { return };
        if self.growing.get(&part.partition) == Some(&sequence) {
            self.growing.remove(&part.partition);
        }
        if !self.full.contains(&sequence) {
            self.full.push(sequence);
        }
    }

    /// Opens a part that is closed, and sees that it is as long as it should be.
    fn open(&mut self, sequence: u64) -> Outcome {
        self.uses += 1;
        let uses = self.uses;
        let closed = self.parts.get_mut(&sequence).is_some_and(|part| {
            part.used = uses;
            part.file.is_none()
        });
        if closed {
            self.make_room();
        }
        let Some(part) = self.parts.get_mut(&sequence) else { return Err("the part is gone".to_owned()) };
        let path = self.root.join(&part.path);
        let opened = match part.file.take() {
            Some(file) => Ok((file, part.length)),
            None => self.disk.open(&part.path).and_then(|mut file| {
                let length = self.disk.length(&mut file)?;
                Ok((file, length))
            }),
        };
        let (mut file, length) = match opened {
            Ok((file, length)) if length >= part.length => (file, length),
            Err(error) if !gone(&error) => {
                self.open.retain(|other| *other != sequence);
                return Err(explain("opening", &path, &error));
            }
            _ => {
                let message =
                    format!("{} was removed or cut by somebody else: a new file is begun", path.display());
                tracing::error!(path = %path.display(), bytes = part.durable, "{message}");
                self.forget(sequence);
                return Err(message);
            }
        };
        let cut =
            if length > part.length || part.ragged { self.disk.cut(&mut file, part.length) } else { Ok(()) };
        part.ragged = cut.is_err();
        part.file = Some(file);
        if closed {
            self.open.push(sequence);
        }
        cut.map_err(|error| explain("cutting back", &path, &error))
    }

    /// Closes the parts used longest ago until one more may be opened.
    fn make_room(&mut self) {
        while self.open.len() >= self.share.most() {
            let used = |sequence: &u64| self.parts.get(sequence).map_or(0, |part| part.used);
            let Some(oldest) = self.open.iter().copied().min_by_key(used) else { return };
            if self.dirty.contains(&oldest) {
                self.sync();
            }
            self.close(oldest);
        }
    }

    fn close(&mut self, sequence: u64) {
        self.open.retain(|other| *other != sequence);
        if let Some(part) = self.parts.get_mut(&sequence) {
            part.file = None;
        }
    }

    fn forget(&mut self, sequence: u64) {
        self.open.retain(|other| *other != sequence);
        self.full.retain(|other| *other != sequence);
        self.dirty.retain(|other| *other != sequence);
        if let Some(part) = self.parts.remove(&sequence) {
            if self.growing.get(&part.partition) == Some(&sequence) {
                self.growing.remove(&part.partition);
            }
            self.journal.finish(sequence);
        }
    }

    fn mend_journal(&mut self) -> Outcome {
        if !self.journal.broken() && !self.journal.large() {
            return Ok(());
        }
        let living = self.parts.iter().map(|(sequence, part)| Living {
            sequence: *sequence,
            partition: &part.partition,
            length: part.durable,
        });
        let copied = self.journal.copy(self.next, living);
        copied.map_err(|error| format!("writing the journal of parts: {error}"))
    }

    /// Makes everything written durable and answers for it; then gives full parts their final names.
    fn sync(&mut self) {
        let before = self.clock.now();
        let outcome = self.sync_dirty();
        self.grace = (self.clock.now().since(before) / 2).clamp(GRACE.0, GRACE.1);
        if let Err(message) = &outcome {
            tracing::warn!(payloads = self.waiting.len(), "{message}");
            self.cut_back();
        }
        self.dirty.clear();
        self.unsynced = 0;
        let answer = outcome.map_err(|message| SinkError::Lost { message });
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(answer.clone().map_err(|lost| (None, lost)));
        }
        failpoint::here!("file.answered");
        self.finish_full();
    }

    fn sync_dirty(&mut self) -> Outcome {
        if self.dirty.is_empty() {
            return Ok(());
        }
        for sequence in &self.dirty {
            let Some(part) = self.parts.get_mut(sequence) else { continue };
            let path = self.root.join(&part.path);
            let Some(file) = part.file.as_mut() else { return Err(format!("{} is closed", path.display())) };
            let failed = |error| explain("syncing", &path, &error);
            if !self.disk.is_at(&part.path, file).map_err(failed)? {
                return Err(format!("{} was removed while it was written to", path.display()));
            }
            failpoint::here!("file.before_sync");
            self.disk.sync(file).map_err(failed)?;
            failpoint::here!("file.synced");
            if !part.named {
                self.disk.sync_parent(&part.path).map_err(failed)?;
                part.named = true;
            }
            self.journal.durable(*sequence, part.length);
        }
        self.journal.commit().map_err(|error| format!("writing the journal of parts: {error}"))?;
        failpoint::here!("file.committed");
        for sequence in &self.dirty {
            if let Some(part) = self.parts.get_mut(sequence) {
                part.durable = part.length;
            }
        }
        Ok(())
    }

    /// After a failed sync nothing since the last one can be relied on: every part is as long as the journal says.
    fn cut_back(&mut self) {
        // Lines of this group may or may not be in the file.
        self.journal.spoil();
        for sequence in std::mem::take(&mut self.dirty) {
            let Some(part) = self.parts.get_mut(&sequence) else { continue };
            part.length = part.durable;
            let there = match part.file.as_mut() {
                Some(file) => {
                    part.ragged = self.disk.cut(file, part.durable).is_err();
                    self.disk.is_at(&part.path, file).unwrap_or(true)
                }
                None => true,
            };
            if there {
                // What is opened anew tells of errors anew.
                self.close(sequence);
            } else {
                self.forget(sequence);
            }
        }
    }
}

fn length_of(body: &[u8]) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}
