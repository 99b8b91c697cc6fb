//! Notices of the operating system: what was written and closed, moved in or linked, and new directories.
//!
//! Reading files must cost nothing here, so opening and closing for reading are not asked for. What is lost (too many
//! notices at once, no more watches, another system) is found when everything is looked through again.

use std::path::PathBuf;

/// What a notice asks to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A file that was closed after writing, or moved here.
    File(PathBuf),
    /// A name that appeared: to be looked at where it is a link, else it is being written.
    Name(PathBuf),
    /// A directory that was made or moved here.
    Folder(PathBuf),
    /// Notices were lost.
    Everything,
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::HashMap;
    use std::ffi::OsStr;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    use rustix::io::Errno;
    use tokio::io::unix::AsyncFd;

    use super::Change;

    /// Directories being watched. Shared by the searching thread, which adds, and the task that reads.
    #[derive(Debug)]
    pub(in super::super) struct Watch {
        notices: Arc<OwnedFd>,
        folders: Mutex<HashMap<i32, PathBuf>>,
    }

    impl Watch {
        pub(in super::super) fn new() -> io::Result<Watch> {
            let notices = Arc::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?);
            Ok(Watch { notices, folders: Mutex::default() })
        }

        /// Watches a directory, not what is below it. Once more is no harm: the notices then have its new name.
        pub(in super::super) fn add(&self, folder: &Path) -> io::Result<()> {
            let flags = WatchFlags::CREATE
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ONLYDIR;
            let at = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let number = inotify::add_watch(&self.notices, at, flags)?;
            let mut folders = self.folders();
            if folders.get(&number).is_none_or(|known| known != folder) {
                folders.insert(number, folder.to_path_buf());
            }
            Ok(())
        }

        fn folders(&self) -> MutexGuard<'_, HashMap<i32, PathBuf>> {
            self.folders.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// What there is to read, at most some thousand notices.
        fn read(&self) -> io::Result<Vec<Change>> {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(&self.notices, &mut buffer);
            let mut folders = self.folders();
            let mut changes = Vec::new();
            while changes.len() < 4096 {
                let notice = match reader.next() {
                    Ok(notice) => notice,
                    Err(Errno::INTR) => continue,
                    Err(Errno::WOULDBLOCK) if !changes.is_empty() => break,
                    Err(error) => return Err(error.into()),
                };
                let is = |flags: ReadFlags| notice.events().intersects(flags);
                if is(ReadFlags::QUEUE_OVERFLOW) {
                    changes.push(Change::Everything);
                    continue;
                }
                if is(ReadFlags::IGNORED) {
                    folders.remove(&notice.wd());
                    continue;
                }
                let Some((folder, name)) = folders.get(&notice.wd()).zip(notice.file_name()) else {
                    continue;
                };
                let path = folder.join(OsStr::from_bytes(name.to_bytes()));
                if is(ReadFlags::ISDIR) {
                    if is(ReadFlags::MOVED_FROM) {
                        // Its notices would come with names that are no longer true. Where it has moved to, if that is
                        // in the tree, it is watched again.
                        folders.retain(|number, watched| {
                            let stays = !watched.starts_with(&path);
                            if !stays {
                                let _ = inotify::remove_watch(&self.notices, *number);
                            }
                            stays
                        });
                    } else if is(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                        changes.push(Change::Folder(path));
                    }
                } else if is(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
                    changes.push(Change::File(path));
                } else if is(ReadFlags::CREATE) {
                    changes.push(Change::Name(path));
                }
            }
            changes.sort_unstable();
            changes.dedup();
            Ok(changes)
        }
    }

    /// The reading side; needs a runtime.
    #[derive(Debug)]
    pub(in super::super) struct Notices(AsyncFd<Arc<OwnedFd>>);

    impl Notices {
        #[expect(
            deprecated,
            reason = "its successor is unsafe to call; an `Arc<OwnedFd>` stays open as long as it is"
        )]
        pub(in super::super) fn of(watch: &Watch) -> io::Result<Notices> {
            AsyncFd::new(watch.notices.clone()).map(Notices)
        }

        /// Waits for notices. Cancel: safe, nothing is read before it returns.
        pub(in super::super) async fn next(&self, watch: &Watch) -> Vec<Change> {
            loop {
                let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
                match ready.try_io(|_| watch.read()) {
                    Ok(Ok(changes)) if changes.is_empty() => {}
                    Ok(Ok(changes)) => return changes,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "reading notices of changed files: waiting for the next search");
                        return std::future::pending().await;
                    }
                    Err(_would_block) => {}
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::path::Path;

    use super::Change;

    /// Nothing is watched here: everything is looked through again and again.
    #[derive(Debug)]
    pub(in super::super) struct Watch;

    impl Watch {
        pub(in super::super) fn new() -> io::Result<Watch> {
            Ok(Watch)
        }

        pub(in super::super) fn add(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug)]
    pub(in super::super) struct Notices;

    impl Notices {
        pub(in super::super) fn of(_: &Watch) -> io::Result<Notices> {
            Ok(Notices)
        }

        pub(in super::super) async fn next(&self, _: &Watch) -> Vec<Change> {
            std::future::pending().await
        }
    }
}

pub(super) use system::{Notices, Watch};
