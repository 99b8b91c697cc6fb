//! The file system below one root: no link is followed, no file replaced, 0700 and 0600 whatever the umask.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::direct::{Direct, Growing};

/// What the sink asks of a file system; a test puts a failing one in its place. Paths are relative, made of plain names.
pub(super) trait Disk: Send + 'static {
    /// An open file.
    type File: Send;

    /// Creates a file that must not exist, and the folders above it.
    fn create(&mut self, path: &str) -> io::Result<Self::File>;
    /// Opens a file for writing.
    fn open(&mut self, path: &str) -> io::Result<Self::File>;
    /// Writes all bytes at this offset; after an error any number of them may have been written.
    fn write(&mut self, file: &mut Self::File, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to a length, bytes.
    fn cut(&mut self, file: &mut Self::File, length: u64) -> io::Result<()>;
    /// Makes a file's bytes durable.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// A file's length, bytes.
    fn length(&mut self, file: &mut Self::File) -> io::Result<u64>;
    /// Whether the open file is still the one at this path.
    fn is_at(&mut self, path: &str, file: &mut Self::File) -> io::Result<bool>;
    /// Gives a file another name in the same folder; `AlreadyExists` where something has it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file the name of another one in the same folder, which is gone.
    fn replace(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; one that is not there is no error.
    fn remove(&mut self, path: &str) -> io::Result<()>;
    /// Makes the names in a file's folder durable, and those of all folders made since the last time.
    fn sync_parent(&mut self, path: &str) -> io::Result<()>;
    /// Reads a whole file.
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>>;
}

/// The real file system below a folder.
#[derive(Debug)]
pub(super) struct Root {
    root: PathBuf,
    /// Folders in which folders were made whose names are not yet durable.
    grown: BTreeSet<String>,
    direct: Direct,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    /// Everything goes below this folder, which is made when it is first needed. The folder itself may be reached by links.
    pub(super) fn new(root: &Path) -> Root {
        Root { root: root.to_path_buf(), grown: BTreeSet::new(), direct: Direct::default() }
    }

    /// Opens the folder a path is in, name by name, so that no link is followed and none can be slipped in between.
    fn folder<'p>(&mut self, path: &'p str, make: bool) -> io::Result<(OwnedFd, &'p str)> {
        let mut folder = match rustix::fs::open(&self.root, FOLDER, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                make_root(&self.root)?;
                rustix::fs::open(&self.root, FOLDER, Mode::empty())?
            }
            other => other?,
        };
        let mut start = 0;
        while let Some(length) = path[start..].find('/') {
            let name = &path[start..start + length];
            folder = match rustix::fs::openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    self.grown.insert(path[..start].to_owned());
                    make_folder(&folder, name)?
                }
                other => other?,
            };
            start += length + 1;
        }
        Ok((folder, &path[start..]))
    }
}

fn make_folder(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let open = || rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => return Ok(open()?),
        other => other?,
    }
    let folder = match open() {
        // A umask that takes the owner's own permissions away.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

fn make_root(root: &Path) -> io::Result<()> {
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        make_root(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700))?;
    match root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

impl Disk for Root {
    type File = Growing;

    fn create(&mut self, path: &str) -> io::Result<Growing> {
        let (folder, name) = self.folder(path, true)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file).into())
    }

    fn open(&mut self, path: &str) -> io::Result<Growing> {
        let (folder, name) = self.folder(path, false)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?).into())
    }

    fn write(&mut self, file: &mut Growing, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.write(&mut self.direct, at, bytes)
    }

    fn cut(&mut self, file: &mut Growing, length: u64) -> io::Result<()> {
        file.cut(length)
    }

    fn sync(&mut self, file: &mut Growing) -> io::Result<()> {
        let file = file.whole()?;
        file.sync_data()?;
        // Nobody reads it again here: its pages are left to others, and the next writes find them warm.
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
        Ok(())
    }

    fn length(&mut self, file: &mut Growing) -> io::Result<u64> {
        Ok(file.whole()?.metadata()?.len())
    }

    fn is_at(&mut self, path: &str, file: &mut Growing) -> io::Result<bool> {
        let there = match self.folder(path, false) {
            Ok((folder, name)) => rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW),
            Err(error) if gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let here = rustix::fs::fstat(file.file())?;
        match there {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (folder, old) = self.folder(from, false)?;
        let new = to.rsplit('/').next().unwrap_or(to);
        match rustix::fs::renameat_with(&folder, old, &folder, new, RenameFlags::NOREPLACE) {
            // Not every file system can (NFS): take the name with an empty file of our own, and replace that.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::statat(&folder, old, AtFlags::SYMLINK_NOFOLLOW)?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&folder, new, flags, Mode::RUSR | Mode::WUSR)?;
                Ok(rustix::fs::renameat(&folder, old, &folder, new)?)
            }
            other => Ok(other?),
        }
    }

    fn replace(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (folder, old) = self.folder(from, false)?;
        Ok(rustix::fs::renameat(&folder, old, &folder, to.rsplit('/').next().unwrap_or(to))?)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let (folder, name) = match self.folder(path, false) {
            Err(error) if gone(&error) => return Ok(()),
            other => other?,
        };
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    fn sync_parent(&mut self, path: &str) -> io::Result<()> {
        while let Some(grown) = self.grown.first().cloned() {
            match self.folder(&grown, false) {
                Err(error) if gone(&error) => {}
                folder => rustix::fs::fsync(&folder?.0)?,
            }
            self.grown.remove(&grown);
        }
        let (folder, _) = self.folder(path, false)?;
        Ok(rustix::fs::fsync(&folder)?)
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let (folder, name) = self.folder(path, false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok(bytes)
    }
}

/// Whether the error says that nothing is at the path.
pub(super) fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound)
}

/// What went wrong, with what to do where that is known. `path` as the operator knows it.
pub(super) fn explain(doing: &str, path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": free some space",
        io::ErrorKind::ReadOnlyFilesystem => ": mount it for writing",
        io::ErrorKind::PermissionDenied => ": allow this user to write there",
        io::ErrorKind::NotADirectory => {
            ": a symbolic link or a file stands where a folder is needed; no link is followed below the root"
        }
        _ => "",
    };
    format!("{doing} {}: {error}{advice}", path.display())
}
