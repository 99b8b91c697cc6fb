//! The side of the `run`.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

use super::{LONGEST, Line, MOST, NAME, PATIENCE, Request, reachable};
use crate::pipeline::replay::Replays;

/// Requests that are answered at a time; others wait.
const AT_ONCE: usize = 8;

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    task: JoinHandle<()>,
}

/// Opens the socket and answers from now on. Whoever calls has the data directory's lock; must be called inside a runtime.
///
/// # Errors
/// The system says no.
pub fn serve(data_dir: &Path, replays: Arc<Replays>) -> io::Result<Control> {
    let path = data_dir.join(NAME);
    let new = format!(".{NAME}.new");
    let made = (|| {
        match fs::remove_file(data_dir.join(&new)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (reached, _open) = reachable(data_dir, &new)?;
        let bound = Bound::bind(reached)?;
        bound.set_nonblocking(true)?;
        // It gets its name when it is private, in place of what a killed process left.
        fs::set_permissions(data_dir.join(&new), Permissions::from_mode(0o600))?;
        fs::rename(data_dir.join(&new), &path)?;
        UnixListener::from_std(bound)
    })();
    let listener =
        made.map_err(|error| io::Error::new(error.kind(), format!("opening {}: {error}", path.display())))?;
    Ok(Control { path, task: tokio::spawn(accept(listener, replays)) })
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, replays: Arc<Replays>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a request on the control socket could not be taken");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        let replays = replays.clone();
        tokio::spawn(async move {
            // Whoever asked has left.
            let _ = answer(stream, replays).await;
            drop(permit);
        });
    }
}

async fn answer(stream: UnixStream, replays: Arc<Replays>) -> io::Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    let is_ours = stream.peer_cred().is_ok_and(|peer| peer.uid() == ours || peer.uid() == 0);
    let (from, mut to) = stream.into_split();
    if !is_ours {
        return say(&mut to, &Line::Error("this is for the user who runs it".to_owned())).await;
    }
    let mut text = String::new();
    let mut from = BufReader::new(from.take(LONGEST as u64));
    match tokio::time::timeout(PATIENCE, from.read_line(&mut text)).await {
        Ok(read) => read?,
        Err(_) => return Ok(()),
    };
    match serde_json::from_str(&text) {
        Ok(Request::Replay { ids }) if ids.len() <= MOST => {
            let (told, mut heard) = unbounded_channel();
            let asked = tokio::spawn(replays.replay(ids, told));
            while let Some(told) = heard.recv().await {
                say(&mut to, &Line::Entry(told)).await?;
            }
            let _ = asked.await;
        }
        Ok(Request::Replay { .. }) => say(&mut to, &Line::Error(format!("more than {MOST} entries"))).await?,
        Err(error) => say(&mut to, &Line::Error(format!("no request: {error}"))).await?,
    }
    say(&mut to, &Line::End).await
}

async fn say(to: &mut OwnedWriteHalf, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    to.write_all(&text).await
}
