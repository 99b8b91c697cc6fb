//! The searching thread: goes to look, asks the desk about what it sees, and hands over what is to be lent.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use super::desk::{How, Look, Sight};
use super::mark::{self, Inode, facts_of};
use super::search::Visit;
use super::{FOUND, Message, Shared, lock};

/// Paths of which trouble is remembered; more trouble is told again.
const MOST_TOLD: usize = 1000;

/// Something to be looked at.
#[derive(Debug)]
pub(super) enum Task {
    /// Everything.
    Everything,
    /// A directory with everything below it.
    Folder(PathBuf),
    /// Names that have just appeared.
    Names(Vec<PathBuf>),
    /// Files that were written, or whose time has come; with the inode that was there.
    Files(Vec<(PathBuf, Option<Inode>)>, How),
}

/// Tells that a search has ended, however it ended.
struct Ending<'s> {
    to: &'s Sender<Message>,
    gathered: &'s Notify,
    everything: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // Once so that there is room for the message, and once so that it is seen.
        self.gathered.notify_one();
        // Nobody listens only when the source is gone.
        let _ = self.to.blocking_send(Message::Ended { everything: self.everything });
        self.gathered.notify_one();
    }
}

impl Shared {
    /// Does a task. Blocks.
    pub(super) fn search(&self, task: Task, how: How, to: &Sender<Message>) {
        let _ending = Ending { to, gathered: &self.gathered, everything: matches!(task, Task::Everything) };
        let mut eyes = Eyes { shared: self, how, to, trouble: Trouble::default() };
        match task {
            Task::Everything => eyes.everything(),
            Task::Folder(folder) => {
                eyes.how = How::Told;
                for root in self.roots.iter().filter(|root| root.holds(&folder)) {
                    if root.search_below(&folder, &mut eyes).is_break() {
                        return;
                    }
                }
            }
            Task::Names(names) => {
                eyes.how = How::Told;
                let is_whole = |facts: &Metadata| facts.is_symlink() || facts.nlink() > 1;
                for name in
                    names.iter().filter(|name| fs::symlink_metadata(name).is_ok_and(|it| is_whole(&it)))
                {
                    if eyes.file_at(name, None).is_break() {
                        return;
                    }
                }
            }
            Task::Files(files, how) => {
                eyes.how = how;
                for (path, inode) in &files {
                    if eyes.file_at(path, *inode).is_break() {
                        return;
                    }
                }
            }
        }
        self.commit();
    }

    /// Commits what is pending; what cannot be committed now is tried again with the next group.
    fn commit(&self) {
        if self.ledger.is_pending()
            && let Err(error) = self.ledger.commit()
        {
            tracing::warn!(%error, "writing state");
        }
    }

    /// Commits what is pending, without waiting for it.
    pub(super) fn commit_soon(self: &Arc<Shared>) {
        if !self.commits.swap(true, Ordering::AcqRel) {
            let shared = self.clone();
            tokio::task::spawn_blocking(move || {
                shared.commits.store(false, Ordering::Release);
                shared.commit();
            });
        }
    }
}

struct Eyes<'s> {
    shared: &'s Shared,
    how: How,
    to: &'s Sender<Message>,
    trouble: Trouble,
}

/// What a search could not read.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// The paths, as far as they are remembered.
    paths: HashSet<PathBuf>,
    /// Of those that may hide files: the first with what is wrong, and how many more there are.
    hides: Option<(String, usize)>,
}

impl Trouble {
    /// What may hide files, in words.
    pub(super) fn hidden(&self) -> Option<String> {
        let (first, more) = self.hides.as_ref()?;
        Some(if *more == 0 { first.clone() } else { format!("{first}, and {more} more") })
    }
}

impl Eyes<'_> {
    fn everything(&mut self) {
        {
            let mut desk = lock(&self.shared.desk);
            desk.known.begin_round();
            desk.empty = 0;
        }
        for root in &self.shared.roots {
            if root.search(self).is_break() {
                return;
            }
        }
        let is_hidden = self.trouble.hides.is_some();
        // What is no longer trouble is told again should it come back.
        *lock(&self.shared.trouble) = std::mem::take(&mut self.trouble);
        let mut desk = lock(&self.shared.desk);
        if !is_hidden {
            let swept = desk.known.end_round(self.shared.clock.now());
            self.shared.ledger.swept(&swept);
        }
        if self.how == How::First {
            desk.first_search_ended(&self.shared.ledger);
            let (known, empty, bytes) = (desk.known.len(), desk.empty, desk.known.bytes());
            tracing::debug!(source = %desk.rules.source, known, empty, bytes, "everything was looked at");
        }
    }

    /// Looks at a path; `inode`: what stood there.
    fn file_at(&mut self, path: &Path, inode: Option<Inode>) -> ControlFlow<()> {
        let shared = self.shared;
        let facts = match shared.roots.iter().find(|root| root.admits(path)) {
            Some(root) => {
                let (facts, went) = root.visit(path, self);
                went?;
                facts
            }
            None => None,
        };
        if let Some(inode) = inode
            && facts.is_none_or(|facts| facts_of(&facts).0 != inode)
        {
            lock(&shared.desk).vanished(inode);
        }
        ControlFlow::Continue(())
    }
}

impl Visit for Eyes<'_> {
    fn folder(&mut self, path: &Path) {
        let Some(watch) = &self.shared.watch else { return };
        if let Err(error) = watch.add(path)
            && error.kind() != std::io::ErrorKind::NotFound
            && !self.shared.unwatched.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(path = %path.display(), %error, "no notices from this directory, and perhaps others: new files there are found every `rescan` (see fs.inotify.max_user_watches)");
        }
    }

    fn file(&mut self, path: &dyn Fn() -> PathBuf, facts: &Metadata) -> ControlFlow<()> {
        let shared = self.shared;
        let (inode, facts) = facts_of(facts);
        let sight = Sight { inode, facts, how: self.how, now: shared.clock.now() };
        let look = |compared| lock(&shared.desk).look(&sight, path, compared, &shared.ledger);
        let mut seen = look(None);
        if let Look::Compare { size, digest } = seen {
            let now = File::open(path()).and_then(|file| mark::digest(&file, size));
            seen = look(Some(now.is_ok_and(|(now, _)| now == digest)));
        }
        if let Look::Lend(found) = seen {
            if self.to.capacity() < FOUND / 2 {
                shared.gathered.notify_one();
            }
            if self.to.blocking_send(Message::Found(found)).is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn trouble(&mut self, path: &Path, hides: bool, what: &str) {
        if hides {
            let first = || (format!("{}: {what}", path.display()), 0);
            let before = self.trouble.hides.take();
            self.trouble.hides = Some(before.map_or_else(first, |(first, more)| (first, more + 1)));
        }
        if hides && self.how == How::First {
            if self.shared.roots.iter().any(|root| root.is_at(path)) {
                lock(&self.shared.unreadable).get_or_insert_with(|| format!("{}: {what}", path.display()));
            } else {
                lock(&self.shared.desk).leave(path);
            }
        }
        let is_new = !lock(&self.shared.trouble).paths.contains(path);
        if is_new && !self.trouble.paths.contains(path) {
            tracing::warn!(path = %path.display(), "{what}");
        }
        if self.trouble.paths.len() < MOST_TOLD {
            self.trouble.paths.insert(path.to_path_buf());
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed) || self.to.is_closed()
    }
}
