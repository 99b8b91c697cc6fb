//! Writes NDJSON to standard output.
//!
//! Each payload is written at once and whole, and is done when the last byte is taken by whoever reads: a pipe, a
//! terminal, a file (which is not synced). When the reader leaves (a terminal: when it is closed), the sink is closed and the
//! program ends in order.
//!
//! ```toml
//! [sinks.screen]
//! type = "stdout"
//! match = { eventCategory = ["Management"] }
//! ```

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::config::{At, Match};
use crate::sink::{Payload, Sink, SinkError};
use crate::telemetry::escaped_json;

/// Writes NDJSON to standard output.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SinkStdout")]
pub struct Config {
    /// How records are written: `nested` as AWS wrote them, `flat` with one level of keys, or the name of a shape.
    /// Default: the pipeline's shape, else `nested`.
    #[serde(default)]
    pub shape: Option<At<String>>,
    /// Which records are written here, as an event pattern over the nested record. Default: all.
    #[serde(default)]
    pub r#match: Option<Match>,
}

struct Job {
    body: Vec<u8>,
    answer: oneshot::Sender<Result<(), (Vec<u8>, SinkError)>>,
}

/// Writes payloads to standard output, through one thread, so that a slow reader never holds up the reactor.
#[derive(Debug)]
pub struct StdoutSink {
    jobs: Sender<Job>,
}

impl StdoutSink {
    /// Starts the thread.
    pub fn build() -> io::Result<StdoutSink> {
        // A handle of our own: the standard library's buffers lines.
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        if goes_nowhere(&output)? {
            tracing::warn!("standard output was closed, or is /dev/null: what is written there is lost");
        }
        StdoutSink::onto(output)
    }

    fn onto(output: File) -> io::Result<StdoutSink> {
        let (jobs, receiver) = channel();
        std::thread::Builder::new().name("sink-stdout".to_owned()).spawn(move || run(output, &receiver))?;
        Ok(StdoutSink { jobs })
    }
}

impl Sink for StdoutSink {
    async fn write(&self, payload: &mut Payload) -> Result<(), SinkError> {
        let lost = || SinkError::Lost { message: "the thread that writes to stdout has ended".to_owned() };
        let (answer, written) = oneshot::channel();
        let job = Job { body: std::mem::take(&mut payload.body), answer };
        self.jobs.send(job).map_err(|_| lost())?;
        match written.await.map_err(|_| lost())? {
            Ok(()) => {
                payload.release();
                Ok(())
            }
            Err((body, error)) => {
                payload.body = body;
                Err(error)
            }
        }
    }
}

/// Whether this is what stands in for a standard output that was closed: `/dev/null`, open for reading, too. (The
/// standard library opens it before `main`; `>/dev/null` of a shell only writes.)
fn goes_nowhere(output: &File) -> io::Result<bool> {
    let place = rustix::fs::fstat(output)?.st_rdev;
    let is_null = (rustix::fs::major(place), rustix::fs::minor(place)) == (1, 3);
    Ok(is_null && rustix::fs::fcntl_getfl(output)?.contains(rustix::fs::OFlags::RDWR))
}

/// A payload that was taken in part: it goes on where it stopped when it comes again.
struct Torn {
    /// XXH3 of the whole payload.
    hash: u64,
    /// Bytes taken.
    taken: usize,
}

fn run(mut output: File, jobs: &Receiver<Job>) {
    let mut torn = None;
    let terminal = output.is_terminal();
    while let Ok(Job { body, answer }) = jobs.recv() {
        let shown = if terminal { Cow::Owned(for_a_terminal(&body)) } else { Cow::Borrowed(&body) };
        let outcome = match write(&mut output, &shown, &mut torn) {
            Ok(()) => Ok(()),
            Err(error) if left(&error, terminal) => Err((body, SinkError::Closed)),
            Err(error) => {
                let message = format!("writing to stdout: {error}");
                Err((body, SinkError::Retry { message, after: None }))
            }
        };
        let _ = answer.send(outcome);
    }
}

/// Lines of JSON that mean the same and can do nothing to a terminal: events hold what strangers have sent.
fn for_a_terminal(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let lines: Vec<_> = text.split('\n').map(escaped_json).collect();
    lines.join("\n").into_bytes()
}

/// Whether the reader is gone for good: a pipe's other end, or a terminal that was closed.
fn left(error: &io::Error, terminal: bool) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        || terminal && error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Writes a payload from where it stopped the last time. Another payload than the torn one begins on a line of its own.
fn write(output: &mut File, body: &[u8], torn: &mut Option<Torn>) -> io::Result<()> {
    let mut taken = 0;
    if let Some(last) = torn {
        if last.hash == xxhash_rust::xxh3::xxh3_64(body) {
            taken = last.taken;
        } else {
            push(output, b"\n", &mut 0)?;
            *torn = None;
        }
    }
    let outcome = push(output, body, &mut taken);
    *torn = match outcome {
        // Nothing of it stands there yet, or all of it.
        Ok(()) => None,
        Err(_) if taken == 0 => None,
        Err(_) => Some(Torn { hash: xxhash_rust::xxh3::xxh3_64(body), taken }),
    };
    outcome
}

fn push(output: &mut File, bytes: &[u8], taken: &mut usize) -> io::Result<()> {
    while let Some(rest) = bytes.get(*taken..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *taken += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody made it non-blocking (a terminal shared with such a program): wait for room.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match poll(&mut [PollFd::new(output, PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};
    use std::os::fd::OwnedFd;

    fn payload(text: &[u8]) -> Payload {
        Payload {
            partition: "".into(),
            body: text.to_vec(),
            lengths: Vec::new(),
            records: 1,
            raw_bytes: text.len() as u64,
            shares: Vec::new(),
            permit: None,
            spare: None,
            progress: Default::default(),
        }
    }

    fn pipe() -> (io::PipeReader, File) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(OwnedFd::from(writer)))
    }

    #[test]
    fn a_terminal_is_shown_nothing_that_could_change_it() {
        let body = "{\"agent\":\"a\u{9b}31m\u{202e}\"}\n{\"b\":1}\n";
        let shown = String::from_utf8(for_a_terminal(body.as_bytes())).unwrap();
        assert_eq!(shown, "{\"agent\":\"a\\u009b31m\\u202e\"}\n{\"b\":1}\n");
    }

    #[tokio::test]
    async fn payloads_are_written_in_order_and_give_their_memory_back() {
        let (mut reader, writer) = pipe();
        let sink = StdoutSink::onto(writer).unwrap();
        for text in [&b"one\n"[..], b"two\n", b""] {
            let mut payload = payload(text);
            sink.write(&mut payload).await.unwrap();
            assert_eq!(payload.body.capacity(), 0);
        }
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_reader_that_leaves_closes_the_sink() {
        let (reader, writer) = pipe();
        let sink = StdoutSink::onto(writer).unwrap();
        sink.write(&mut payload(b"one\n")).await.unwrap();
        drop(reader);
        let mut last = payload(b"two\n");
        assert!(matches!(sink.write(&mut last).await, Err(SinkError::Closed)));
        assert_eq!(last.body, b"two\n");
    }

    #[tokio::test]
    async fn a_pipe_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = pipe();
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        let sink = StdoutSink::onto(writer).unwrap();
        // Many times what a pipe holds.
        let text = b"0123456789abcde\n".repeat(1 << 16);
        let wanted = text.len();
        let read = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        sink.write(&mut payload(&text)).await.unwrap();
        drop(sink);
        let bytes = read.join().unwrap();
        assert_eq!(bytes.len(), wanted);
        assert!(bytes == text);
    }

    #[test]
    fn a_torn_payload_goes_on_where_it_stopped() {
        let mut file = tempfile::tempfile().unwrap();
        let mut torn = Some(Torn { hash: xxhash_rust::xxh3::xxh3_64(b"one\ntwo\n"), taken: 6 });
        file.write_all(b"one\ntw").unwrap();
        write(&mut file, b"one\ntwo\n", &mut torn).unwrap();
        assert!(torn.is_none());
        // Another payload comes instead: it begins on a line of its own.
        torn = Some(Torn { hash: 1, taken: 3 });
        file.write_all(b"tor").unwrap();
        write(&mut file, b"three\n", &mut torn).unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\ntor\nthree\n");
    }

    #[test]
    fn a_full_disk_behind_stdout_is_tried_again() {
        let Ok(full) = File::options().write(true).open("/dev/full") else {
            return eprintln!("skipped: there is no /dev/full here");
        };
        let (answer, written) = oneshot::channel();
        let (jobs, receiver) = channel();
        jobs.send(Job { body: b"one\n".to_vec(), answer }).unwrap();
        drop(jobs);
        run(full, &receiver);
        assert!(
            matches!(written.blocking_recv().unwrap(), Err((body, SinkError::Retry { .. })) if body == b"one\n")
        );
    }
}
