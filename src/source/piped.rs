//! A stream that can be read only once and may block for ever (standard input): read on a thread of its own, so that a
//! stop need not wait for it, and lent to everybody who asked for it. Each gets all of it; the slowest holds up the others.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// Bytes of one read.
const PIECE: usize = 64 << 10;
/// Pieces read ahead.
const AHEAD: usize = 4;
/// How long after the end was asked for a piece may be on its way from the reading thread.
const LAST: Duration = Duration::from_millis(100);

enum Piece {
    /// Nothing at the stream's end.
    Text(Bytes),
    Failed(io::ErrorKind, String),
    /// The end was asked for.
    Wake,
}

/// The stream, before anybody reads it, and the means to end it early. Cheap to clone.
#[derive(Clone)]
pub struct Pipe(Arc<Shared>);

struct Shared {
    from: Mutex<Option<Box<dyn Read + Send>>>,
    to: Mutex<Vec<SyncSender<Piece>>>,
    /// What was read so far is the whole stream.
    ended: AtomicBool,
    /// A piece was read that not everybody has yet.
    sending: AtomicBool,
}

/// One reading end: ends when the stream does, or when it is told to.
pub struct Piped {
    pipe: Pipe,
    pieces: Receiver<Piece>,
    piece: Bytes,
    done: bool,
}

impl Pipe {
    /// A stream that nobody reads yet.
    pub fn new(from: Box<dyn Read + Send>) -> Pipe {
        Pipe(Arc::new(Shared {
            from: Mutex::new(Some(from)),
            to: Mutex::default(),
            ended: AtomicBool::new(false),
            sending: AtomicBool::new(false),
        }))
    }

    /// A stream without a byte, for sources that have nothing to do with standard input.
    pub fn empty() -> Pipe {
        Pipe::new(Box::new(io::empty()))
    }

    /// A reading end; all of them are asked for before the first reads.
    pub fn reader(&self) -> Piped {
        let (to, pieces) = sync_channel(AHEAD);
        self.0.to.lock().unwrap_or_else(PoisonError::into_inner).push(to);
        Piped { pipe: self.clone(), pieces, piece: Bytes::new(), done: false }
    }

    /// What was read so far is the whole stream, for everybody. Does not block.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        for to in &*self.0.to.lock().unwrap_or_else(PoisonError::into_inner) {
            // Whoever has something to read looks by itself.
            let _ = to.try_send(Piece::Wake);
        }
    }

    /// Starts to read, unless somebody has already.
    fn start(&self) -> io::Result<()> {
        let Some(from) = self.0.from.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let shared = self.0.clone();
        std::thread::Builder::new().name("stream".into()).spawn(move || shared.read(from)).map(drop)
    }
}

impl Shared {
    fn read(&self, mut from: Box<dyn Read + Send>) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut piece = vec![0; PIECE];
        while !self.ended.load(Ordering::Acquire) {
            let read = match from.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            self.sending.store(true, Ordering::Release);
            let text = read.map(|length| Bytes::copy_from_slice(&piece[..length]));
            let last = !matches!(&text, Ok(text) if !text.is_empty());
            to.retain(|to| {
                let piece = match &text {
                    Ok(text) => Piece::Text(text.clone()),
                    Err(error) => Piece::Failed(error.kind(), error.to_string()),
                };
                to.send(piece).is_ok()
            });
            self.sending.store(false, Ordering::Release);
            if last || to.is_empty() {
                return;
            }
        }
    }
}

impl Piped {
    /// The stream it is an end of.
    pub fn pipe(&self) -> Pipe {
        self.pipe.clone()
    }

    /// The next piece; `None`: the stream has ended.
    fn next(&mut self) -> Option<Piece> {
        let shared = &self.pipe.0;
        loop {
            if !shared.ended.load(Ordering::Acquire) {
                return self.pieces.recv().ok();
            }
            let sending = shared.sending.load(Ordering::Acquire);
            match self.pieces.recv_timeout(LAST) {
                Ok(piece) => return Some(piece),
                Err(RecvTimeoutError::Timeout) if sending => {}
                Err(_) => return None,
            }
        }
    }
}

impl Read for Piped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.pipe.start()?;
        while self.piece.is_empty() && !self.done {
            match self.next() {
                Some(Piece::Text(piece)) => {
                    self.done = piece.is_empty();
                    self.piece = piece;
                }
                Some(Piece::Failed(kind, error)) => {
                    self.done = true;
                    return Err(io::Error::new(kind, error));
                }
                Some(Piece::Wake) => {}
                None => self.done = true,
            }
        }
        let length = into.len().min(self.piece.len());
        into[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pipe")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_reads_all_of_a_stream() {
        let text = b"a line\n".repeat(50_000);
        let pipe = Pipe::new(Box::new(io::Cursor::new(text.clone())));
        let mut readers: Vec<Piped> = (0..3).map(|_| pipe.reader()).collect();
        // Somebody who leaves holds up nobody.
        drop(readers.pop());
        std::thread::scope(|scope| {
            for mut piped in readers {
                let text = &text;
                scope.spawn(move || {
                    let mut read = Vec::new();
                    piped.read_to_end(&mut read).unwrap();
                    assert!(read == *text);
                });
            }
        });
    }

    #[test]
    fn a_stream_that_blocks_for_ever_can_be_ended_and_all_that_was_read_comes_before() {
        for pieces in [0, 1, AHEAD, AHEAD + 1] {
            let (blocked, mut held) = io::pipe().unwrap();
            let pipe = Pipe::new(Box::new(blocked));
            let mut readers = [pipe.reader(), pipe.reader()];
            // Somebody begins, so that it is read.
            io::Write::write_all(&mut held, b"x").unwrap();
            let mut first = [0; 8];
            for piped in &mut readers {
                assert_eq!(piped.read(&mut first).unwrap(), 1);
            }
            for _ in 0..pieces {
                io::Write::write_all(&mut held, b"yy").unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            pipe.end();
            std::thread::scope(|scope| {
                for mut piped in readers {
                    scope.spawn(move || {
                        let mut rest = Vec::new();
                        piped.read_to_end(&mut rest).unwrap();
                        assert_eq!(rest.len(), 2 * pieces);
                    });
                }
            });
        }
    }

    #[test]
    fn an_error_of_the_stream_is_everybodys() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::InvalidData, "torn"))
            }
        }
        let pipe = Pipe::new(Box::new(Fails));
        for mut piped in [pipe.reader(), pipe.reader()] {
            let error = piped.read(&mut [0; 8]).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidData, "torn".to_owned()));
            assert_eq!(piped.read(&mut [0; 8]).unwrap(), 0);
        }
    }
}
