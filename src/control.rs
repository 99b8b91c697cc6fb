//! What a running `run` is asked from outside: a Unix socket in the data directory, for the same user only.
//!
//! One request, a line of JSON; the answer is lines of JSON, the last one [`Line::End`]. Small and bounded: a request has
//! at most [`LONGEST`] bytes and takes at most [`PATIENCE`] to arrive, and few are answered at a time. The socket of a
//! process that was killed stays behind and refuses connections; the next one replaces it.

pub mod client;
pub mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipeline::replay::Told;

/// The socket's name in the data directory.
const NAME: &str = "control.sock";
/// Bytes of a request.
pub const LONGEST: usize = 64 << 10;
/// Entries in one request: as numbers, they stay below [`LONGEST`].
pub const MOST: usize = 2000;
/// How long a request may be in coming.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that the path of a socket may have, with the zero at its end.
///
/// Source: `unix(7)`, `sun_path`.
const PATH: usize = 108;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Ship entries of rejects again.
    Replay {
        /// Their numbers.
        ids: Vec<u64>,
    },
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What became of one entry.
    Entry(Told),
    /// The request was not understood.
    Error(String),
    /// There is no more.
    End,
}

/// A path by which the socket can be reached: its own where that is short enough, else one through the open directory,
/// good for as long as that is open.
fn reachable(data_dir: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let path = data_dir.join(name);
    if path.as_os_str().as_bytes().len() < PATH {
        return Ok((path, None));
    }
    let folder = File::open(data_dir)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())), Some(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_lines_of_json() {
        let request = Request::Replay { ids: vec![u64::MAX; MOST] };
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.len() < LONGEST && text.starts_with(r#"{"do":"replay","ids":[1844"#));
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        assert!(serde_json::from_str::<Request>(r#"{"do":"stop"}"#).is_err());
        let line = r#"{"entry":{"id":7,"outcome":"shipped","records":2}}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Line>(line).unwrap()).unwrap(), line);
        assert_eq!(serde_json::to_string(&Line::End).unwrap(), r#""end""#);
    }

    #[test]
    fn a_long_path_is_reached_through_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(reachable(folder.path(), NAME).unwrap().0, folder.path().join(NAME));
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let (short, _open) = reachable(&deep, NAME).unwrap();
        assert!(short.as_os_str().len() < PATH);
        drop(std::os::unix::net::UnixListener::bind(&short).unwrap());
        assert!(deep.join(NAME).exists());
    }
}
