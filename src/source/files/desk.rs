//! Decides about each file that is seen: leave it, lend it, or look at it again later.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::crash::Crash;
use super::known::{Entry, Known};
use super::ledger::Ledger;
use super::mark::{Facts, Inode, Mark};
use crate::ack::{DeliveryId, Note, Reached, Settled, SettledPart, Verdict};
use crate::clock::Timestamp;

/// First pause before a failed file is lent again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a failed file is lent again before a source that ends leaves it.
const MOST_TRIES: u32 = 3;
/// How often a source that ends looks whether a growing file has grown.
const GLANCE: Duration = Duration::from_secs(1);

/// How a file came to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By the first search.
    First,
    /// By a search of everything, again.
    Again,
    /// By a notice.
    Told,
    /// Because its time had come.
    Due,
}

/// A file, seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub inode: Inode,
    pub facts: Facts,
    pub how: How,
    pub now: Timestamp,
}

/// A file to be lent.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub inode: Inode,
    pub facts: Facts,
    identity: Arc<str>,
    /// When it was seen first with these facts.
    seen: Timestamp,
    tries: u32,
    growing: bool,
    /// Up to where it was shipped.
    reached: Option<Reached>,
}

/// What is to be done with a file.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing.
    Leave,
    /// Lend it.
    Lend(Found),
    /// Compare the digest of its first `size` bytes, and ask again.
    Compare { size: u64, digest: u64 },
}

/// A file that is lent again later.
#[derive(Debug)]
struct Waiting {
    path: PathBuf,
    facts: Facts,
    digest: u64,
    identity: Arc<str>,
    reached: Option<Reached>,
    seen: Timestamp,
    tries: u32,
    /// It ended too early; then when it is no longer taken to be growing.
    judged: Option<Timestamp>,
    due: Timestamp,
    /// It is being looked at because it was due.
    asked: bool,
}

/// A file on loan.
#[derive(Debug)]
struct Loan {
    path: PathBuf,
    mark: Arc<Mark>,
    identity: Arc<str>,
    seen: Timestamp,
    tries: u32,
    growing: bool,
    reached: Option<Reached>,
    group: u64,
}

/// What a delivery is made of.
pub(super) struct Lent {
    pub path: PathBuf,
    pub identity: Arc<str>,
    pub mark: Arc<Mark>,
    pub growing: bool,
    pub from: Reached,
}

/// The settings that decide.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub incomplete_after: Duration,
    pub line_incomplete_after: Duration,
    /// There is an end: nothing is waited for long.
    pub ends: bool,
    /// Names for the log.
    pub pipeline: String,
    pub source: String,
}

/// Everything that is known of files at this moment.
#[derive(Debug)]
pub(super) struct Desk {
    pub rules: Rules,
    pub known: Known,
    pub crash: Crash,
    /// Found or on loan; the path of the last notice since.
    busy: HashMap<Inode, Option<PathBuf>>,
    waiting: HashMap<Inode, Waiting>,
    loans: HashMap<u64, Loan>,
    groups: HashMap<u64, usize>,
    /// Groups of loans that failed after something of the file had come out: they count as on loan until it is settled.
    held: HashMap<Inode, Vec<u64>>,
    next_group: u64,
    /// To be looked at at once.
    recheck: Vec<PathBuf>,
    /// Paths that a source that ends could not ship.
    pub left: Vec<String>,
    /// Files without a byte, as seen by the search of everything that is on.
    pub empty: u64,
}

impl Desk {
    pub(super) fn new(rules: Rules, known: Known, crash: Crash) -> Desk {
        Desk {
            rules,
            known,
            crash,
            busy: HashMap::new(),
            waiting: HashMap::new(),
            loans: HashMap::new(),
            groups: HashMap::new(),
            held: HashMap::new(),
            next_group: 0,
            recheck: Vec::new(),
            left: Vec::new(),
            empty: 0,
        }
    }

    /// Decides about a file. `compared` is the answer to [`Look::Compare`].
    pub(super) fn look(
        &mut self,
        sight: &Sight,
        path: &dyn Fn() -> PathBuf,
        compared: Option<bool>,
        ledger: &Ledger,
    ) -> Look {
        let Sight { inode, facts, how, now } = *sight;
        let entry = self.known.seen(inode);
        if facts.size == 0 {
            self.empty += u64::from(matches!(how, How::First | How::Again));
            self.waiting.remove(&inode);
            self.release(inode, ledger);
            return Look::Leave;
        }
        if let Some(told) = self.busy.get_mut(&inode) {
            if how == How::Told {
                // Not always the path it is on loan with: it was renamed, or another file has got its inode.
                *told = Some(path());
            }
            return Look::Leave;
        }
        let quiet = Timestamp(facts.modified).min(now).after(self.rules.line_incomplete_after);
        // Perhaps it is being written just now: a notice will come, or it will be quiet.
        let unquiet = now < quiet && matches!(how, How::Again | How::Due) && !self.rules.ends;
        if let Some(waiting) = self.waiting.get_mut(&inode) {
            let same = waiting.facts.same_content(&facts);
            // A notice says that what was waited for to be quiet is done.
            let done = how == How::Told && waiting.is_unquiet();
            let early = now < waiting.due && !done || waiting.judged.is_some_and(|judged| now < judged);
            if same && early {
                if waiting.asked {
                    let judged = waiting.judged.unwrap_or(waiting.due);
                    waiting.due = if self.rules.ends { judged.min(now.after(GLANCE)) } else { judged };
                }
                (waiting.asked, waiting.path) = (false, path());
                return Look::Leave;
            }
            if !same && unquiet {
                (waiting.asked, waiting.path, waiting.due) = (false, path(), quiet);
                return Look::Leave;
            }
            let grown = !same && facts.size > waiting.facts.size && waiting.digest != 0;
            if grown && compared.is_none() {
                return Look::Compare { size: waiting.facts.size, digest: waiting.digest };
            }
            let Some(waiting) = self.waiting.remove(&inode) else { return Look::Leave };
            let mut found = self.found(sight, path());
            if same || grown && compared == Some(true) {
                // What was shipped of it before it grew is not shipped again.
                (found.identity, found.reached) = (waiting.identity, waiting.reached);
            } else {
                self.announce(&found);
            }
            if same {
                (found.tries, found.seen) = (waiting.tries, waiting.seen);
                found.growing = waiting.judged.is_none() && self.is_growing(&facts, waiting.seen, now);
            }
            self.busy.insert(inode, None);
            return Look::Lend(found);
        }
        let mut reached = None;
        if let Some(entry) = entry
            && entry.facts.same_content(&facts)
        {
            if entry.facts.changed == facts.changed || entry.digest == 0 || compared == Some(true) {
                if entry.facts.changed != facts.changed {
                    entry.facts.changed = facts.changed;
                    let entry = *entry;
                    ledger.shipped(inode, entry, self.known.part(inode));
                }
                reached = self.known.part(inode);
                if reached.is_none() {
                    return Look::Leave;
                }
            } else if compared.is_none() {
                return Look::Compare { size: facts.size, digest: entry.digest };
            }
        }
        let mut found = self.found(sight, path());
        found.reached = reached;
        if unquiet {
            self.waiting.insert(inode, found.until(quiet));
            return Look::Leave;
        }
        self.announce(&found);
        self.busy.insert(inode, None);
        Look::Lend(found)
    }

    /// A file with new content: what is needed to lend it.
    fn found(&self, sight: &Sight, path: PathBuf) -> Found {
        let Sight { inode, facts, now, .. } = *sight;
        let Inode { device, number } = inode;
        let identity = format!("{device:x}-{number:x}-{}-{}", facts.size, facts.modified).into();
        Found {
            path,
            inode,
            facts,
            identity,
            seen: now,
            tries: 0,
            growing: self.is_growing(&facts, now, now),
            reached: None,
        }
    }

    fn announce(&self, found: &Found) {
        if found.reached.is_none() && self.known.get(found.inode).is_some() {
            let (source, path) = (&self.rules.source, found.path.display());
            tracing::info!(%source, %path, "changed after it was shipped: shipped again as a new file");
        }
    }

    fn is_growing(&self, facts: &Facts, seen: Timestamp, now: Timestamp) -> bool {
        now < Timestamp(facts.modified).min(seen).after(self.rules.incomplete_after)
    }

    /// A path that was due or had a notice is not there, or no longer this file.
    pub(super) fn vanished(&mut self, inode: Inode) {
        if self.waiting.get(&inode).is_some_and(|waiting| waiting.asked)
            && let Some(waiting) = self.waiting.remove(&inode)
        {
            tracing::info!(source = %self.rules.source, path = %waiting.path.display(), "gone before it was shipped");
        }
    }

    /// A search found a file, and nobody takes it.
    pub(super) fn lend(&mut self, found: Vec<(u64, Found)>, ledger: &Ledger) -> Vec<Lent> {
        let group = self.next_group;
        self.next_group += 1;
        self.groups.insert(group, found.len());
        ledger.lent(group, found.iter().map(|(_, found)| (found.inode, found.facts)));
        let lend = |(id, found): (u64, Found)| {
            let Found { path, inode, facts, identity, seen, tries, growing, reached } = found;
            let mark = Arc::new(Mark::new(inode, facts));
            let from = reached.unwrap_or_default();
            let lent =
                Lent { path: path.clone(), identity: identity.clone(), mark: mark.clone(), growing, from };
            self.loans.insert(id, Loan { path, mark, identity, seen, tries, growing, reached, group });
            lent
        };
        found.into_iter().map(lend).collect()
    }

    /// A part of a loan has ended.
    pub(super) fn settled_part(&mut self, part: &SettledPart, ledger: &Ledger) {
        let Some(loan) = self.loans.get_mut(&part.id.0) else { return };
        loan.reached = Some(part.reached);
        let inode = loan.mark.inode;
        let entry = Entry::new(loan.mark.facts, loan.mark.digest());
        self.known.insert(inode, entry, loan.reached);
        ledger.shipped(inode, entry, loan.reached);
        if self.crash.part(inode, part.books.read) {
            ledger.counted(&mut self.crash);
        }
    }

    /// A loan has ended.
    pub(super) fn settled(&mut self, settled: &Settled, now: Timestamp, ledger: &Ledger) {
        let Some(loan) = self.loans.remove(&settled.id.0) else { return };
        let (inode, facts) = (loan.mark.inode, loan.mark.facts);
        let told = self.busy.remove(&inode).flatten();
        if settled.verdict == Verdict::Failed {
            let books = &settled.books;
            if books.rejected > 0 || books.sinks.iter().any(|sink| sink.delivered > 0) {
                self.held.entry(inode).or_default().push(loan.group);
            } else {
                self.leave_group(loan.group, ledger);
            }
            return self.failed(loan, &settled.note, told, now);
        }
        self.leave_group(loan.group, ledger);
        self.release(inode, ledger);
        let entry = Entry::new(facts, loan.mark.digest());
        self.known.insert(inode, entry, None);
        ledger.shipped(inode, entry, None);
        self.recheck.extend(told);
        if self.crash.settled(inode, settled.books.read) {
            ledger.counted(&mut self.crash);
            self.tell_crash(ledger);
        }
    }

    /// Loans that nobody has seen yet end as if they had not begun.
    pub(super) fn take_back(&mut self, ids: impl Iterator<Item = DeliveryId>, ledger: &Ledger) {
        for loan in ids.filter_map(|id| self.loans.remove(&id.0)).collect::<Vec<_>>() {
            self.busy.remove(&loan.mark.inode);
            self.leave_group(loan.group, ledger);
            self.recheck.push(loan.path);
        }
    }

    /// A loan of a group has ended.
    fn leave_group(&mut self, group: u64, ledger: &Ledger) {
        if let Some(open) = self.groups.get_mut(&group) {
            *open -= 1;
            if *open == 0 {
                self.groups.remove(&group);
                ledger.returned(group);
            }
        }
    }

    /// A file is settled, or nothing more comes of it.
    fn release(&mut self, inode: Inode, ledger: &Ledger) {
        for group in self.held.remove(&inode).unwrap_or_default() {
            self.leave_group(group, ledger);
        }
    }

    fn failed(&mut self, loan: Loan, note: &Note, told: Option<PathBuf>, now: Timestamp) {
        let inode = loan.mark.inode;
        let path = loan.path.display();
        let mut waiting = Waiting {
            facts: loan.mark.facts,
            digest: loan.mark.digest(),
            identity: loan.identity.clone(),
            reached: loan.reached,
            seen: loan.seen,
            tries: loan.tries,
            judged: None,
            due: now,
            asked: false,
            path: loan.path.clone(),
        };
        if *note == Note::Incomplete && loan.growing {
            let rules = &self.rules;
            let limit = if loan.mark.lines() { rules.line_incomplete_after } else { rules.incomplete_after };
            let judged = Timestamp(waiting.facts.modified).min(loan.seen).after(limit);
            let glance = now.after(GLANCE);
            waiting.judged = Some(judged);
            waiting.due = if rules.ends { judged.min(glance) } else { judged };
        } else if *note != Note::Stopped {
            waiting.tries += 1;
            if let Note::Changed(why) = note
                && waiting.tries == 1
            {
                tracing::info!(source = %self.rules.source, %path, why, "not read to its end: looked at again");
            }
            if self.rules.ends && waiting.tries > MOST_TRIES {
                self.left.push(path.to_string());
                return;
            }
            let pause = FIRST_PAUSE * 2u32.saturating_pow(waiting.tries.min(10) - 1);
            waiting.due = now.after(pause.min(LONGEST_PAUSE));
        }
        if let Some(told) = told {
            (waiting.path, waiting.due) = (told, now);
        }
        self.waiting.insert(inode, waiting);
    }

    /// Files whose time has come.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(PathBuf, Option<Inode>)> {
        let mut due = Vec::new();
        for (inode, waiting) in &mut self.waiting {
            if !waiting.asked && waiting.due <= now {
                waiting.asked = true;
                due.push((waiting.path.clone(), Some(*inode)));
            }
        }
        due.sort_unstable();
        due
    }

    /// Shipped files of which there was a notice while they were on loan.
    pub(super) fn told(&mut self) -> Vec<(PathBuf, Option<Inode>)> {
        self.recheck.drain(..).map(|path| (path, None)).collect()
    }

    /// When the next file's time comes.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.values().filter(|waiting| !waiting.asked).map(|waiting| waiting.due).min()
    }

    /// Whether nothing is found or on loan.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// Whether nothing is to be lent again.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Something that cannot be read may hide files.
    pub(super) fn leave(&mut self, path: &Path) {
        if self.rules.ends {
            self.left.push(path.display().to_string());
        }
    }

    /// Waits no longer for files that end too early.
    pub(super) fn leave_growing(&mut self) {
        let left = self.waiting.extract_if(|_, waiting| waiting.judged.is_some());
        let mut left: Vec<String> = left.map(|(_, waiting)| waiting.path.display().to_string()).collect();
        left.sort_unstable();
        self.left.append(&mut left);
    }

    /// The first search has ended: files that are not there will not be shipped again.
    pub(super) fn first_search_ended(&mut self, ledger: &Ledger) {
        let Desk { crash, busy, waiting, .. } = self;
        crash.open.retain(|inode, _| busy.contains_key(inode) || waiting.contains_key(inode));
        self.tell_crash(ledger);
    }

    fn tell_crash(&mut self, ledger: &Ledger) {
        if !self.crash.open.is_empty() {
            return;
        }
        // Told before it is forgotten: a crash in between tells it once more.
        if self.crash.files > 0 {
            let Rules { pipeline, source, .. } = &self.rules;
            let Crash { files, records, .. } = self.crash;
            tracing::warn!(%pipeline, %source, records, files, "{records} records of {files} files were shipped again after a crash");
        }
        ledger.recovered(&mut self.crash);
        self.crash = Crash::default();
    }
}

impl Waiting {
    /// Whether it was never lent, because it may be being written.
    fn is_unquiet(&self) -> bool {
        self.tries == 0 && self.judged.is_none()
    }
}

impl Found {
    /// Waits until it is quiet.
    fn until(self, due: Timestamp) -> Waiting {
        let Found { path, facts, identity, reached, seen, .. } = self;
        Waiting { path, facts, digest: 0, identity, reached, seen, tries: 0, judged: None, due, asked: false }
    }
}
