//! The data directory: private, and one process's at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::StateError;

/// Why a step failed, with the path.
pub(super) fn system(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> StateError {
    let doing = format!("{doing} {}", path.display());
    move |error| StateError::System { doing, error }
}

/// Makes the directory (0700, whatever the umask) where it is missing; refuses one that others can write to.
pub(super) fn make(data_dir: &Path) -> Result<(), StateError> {
    if !data_dir.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
        made.map_err(system("making data_dir", data_dir))?;
        fs::set_permissions(data_dir, Permissions::from_mode(0o700))
            .map_err(system("making private data_dir", data_dir))?;
    }
    let mode = fs::metadata(data_dir).map_err(system("looking at data_dir", data_dir))?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StateError::Open { data_dir: data_dir.to_path_buf(), mode });
    }
    Ok(())
}

/// Opens a file of ours for reading and writing, 0600 whatever the umask.
pub(super) fn private(path: &Path) -> Result<File, StateError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(system("opening", path))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(system("making private", path))?;
    Ok(file)
}

/// What kind of place the directory is on, where that is one that is emptied with the machine or the container.
pub(super) fn passing(data_dir: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(data_dir).ok()?.f_type;
    // linux/magic.h
    match u64::try_from(kind).ok()? & 0xffff_ffff {
        0x0102_1994 => Some("a tmpfs, which lives in memory"),
        0x8584_58f6 => Some("a ramfs, which lives in memory"),
        0x794c_7630 => Some("an overlay, which goes with its container"),
        _ => None,
    }
}

/// Takes the directory for this process, and writes its number down. Given back when the file is closed.
pub(super) fn lock(data_dir: &Path) -> Result<File, StateError> {
    let path = data_dir.join("lock");
    let mut file = private(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Its number only makes the message better.
            let _ = (&file).take(20).read_to_string(&mut text);
            let holder = match text.trim().parse::<u32>() {
                Ok(pid) => format!("process {pid}"),
                Err(_) => "another process".to_owned(),
            };
            return Err(StateError::InUse { data_dir: data_dir.to_path_buf(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(system("locking", &path)(error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    written.map_err(system("writing", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_memory_is_told_from_a_disk() {
        let of = |path: &str| passing(Path::new(path));
        assert_eq!((of("/proc"), of("/nowhere/at/all")), (None, None));
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mounts = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        });
        let in_memory: Vec<_> = mounts.filter(|(_, kind)| *kind == "tmpfs").collect();
        for (path, _) in in_memory {
            assert!(of(path).is_none_or(|kind| kind.starts_with("a tmpfs")), "{path}");
        }
        if Path::new("/dev/shm").is_dir()
            && fs::read_to_string("/proc/mounts").unwrap().contains(" /dev/shm tmpfs")
        {
            assert!(of("/dev/shm").is_some());
        }
    }
}
