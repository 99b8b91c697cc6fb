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
