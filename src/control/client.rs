//! The side of whoever asks a running `run`. Blocks.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{LONGEST, Line, NAME, Request, reachable};

/// Connects to the `run` of a data directory; `None`: there is none that answers.
///
/// # Errors
/// The system says no.
pub fn connect(data_dir: &Path) -> io::Result<Option<UnixStream>> {
    let (path, _open) = reachable(data_dir, NAME)?;
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        // What a killed process left refuses.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Asks, and hands every line but the last to `take`.
///
/// # Errors
/// The connection ends before the answer does, or what `take` says.
pub fn ask(
    stream: &UnixStream,
    request: &Request,
    mut take: impl FnMut(Line) -> io::Result<()>,
) -> io::Result<()> {
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    let mut to = stream;
    to.write_all(&text)?;
    let mut from = BufReader::new(stream);
    loop {
        let mut line = String::new();
        from.by_ref().take(LONGEST as u64).read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the running `run` ended before it answered",
            ));
        }
        match serde_json::from_str(&line)? {
            Line::End => return Ok(()),
            line => take(line)?,
        }
    }
}
