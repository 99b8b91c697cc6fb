//! What a configuration may look at outside its file: variables, files with one value, and where state goes by default.

use std::io;
use std::path::{Path, PathBuf};

use crate::clock::{Clock, Timestamp};

/// What the configuration may look at outside its file.
pub struct Surroundings<'s> {
    /// Returns the value of an environment variable; nothing where it is not set or not Unicode.
    pub variable: &'s dyn Fn(&str) -> Option<String>,
    /// Reads a file that the configuration names: one value, certificates, a key.
    pub file: &'s dyn Fn(&Path) -> io::Result<String>,
    /// Returns the directory for state and rejects where the configuration names none.
    pub data_dir: &'s dyn Fn() -> Option<PathBuf>,
    /// Returns a path without links and relative parts; the part of it that exists is looked at.
    pub canonical: &'s dyn Fn(&Path) -> PathBuf,
    /// Returns the time.
    pub now: &'s dyn Fn() -> Timestamp,
}

impl Surroundings<'static> {
    /// Looks at the process's environment and the file system.
    pub fn system() -> Self {
        Self {
            variable: &|name| std::env::var(name).ok(),
            file: &read_value_file,
            data_dir: &system_data_dir,
            canonical: &super::resolve::canonical,
            now: &|| Clock::System.now(),
        }
    }
}

/// The most that is read of such a file, in bytes.
const VALUE_FILE_LIMIT: u64 = 1 << 20;

fn read_value_file(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    if file.take(VALUE_FILE_LIMIT + 1).read_to_string(&mut text)?
        > usize::try_from(VALUE_FILE_LIMIT).unwrap_or(usize::MAX)
    {
        return Err(io::Error::other("it is over 1 MiB"));
    }
    Ok(text)
}

fn system_data_dir() -> Option<PathBuf> {
    let standard = Path::new("/var/lib/trailship");
    // Only trying tells whether a directory can be written to; the file has no name and is gone at once.
    if standard.is_dir() && tempfile::tempfile_in(standard).is_ok() {
        return Some(standard.to_owned());
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("trailship"))
}
