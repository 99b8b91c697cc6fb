//! A stream that may block for ever (standard input), read on a thread of its own so that a stop need not wait for it.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of one read.
const PIECE: usize = 64 << 10;
/// Pieces read ahead.
const AHEAD: usize = 4;

/// The reading end: ends when the stream does, or when it is told to.
pub struct Piped {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

/// Ends a [`Piped`] before its stream does.
#[derive(Clone)]
pub struct End(SyncSender<io::Result<Vec<u8>>>);

impl End {
    /// What was read so far is the whole stream. Does not block.
    pub fn end(self) {
        if let Err(std::sync::mpsc::TrySendError::Full(end)) = self.0.try_send(Ok(Vec::new())) {
            // The reader is busy with what was read ahead; it finds the end behind that.
            let _ = std::thread::Builder::new().name("end-of-stream".into()).spawn(move || self.0.send(end));
        }
    }
}

impl Piped {
    /// Starts reading `from`.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(mut from: Box<dyn Read + Send>) -> io::Result<(Piped, End)> {
        let (to, pieces) = sync_channel(AHEAD);
        let end = End(to.clone());
        std::thread::Builder::new().name("stream".into()).spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = match from.read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read,
                };
                let last = !matches!(read, Ok(length) if length > 0);
                let sent = to.send(read.map(|length| {
                    piece.truncate(length);
                    piece
                }));
                if last || sent.is_err() {
                    return;
                }
            }
        })?;
        Ok((Piped { pieces, piece: Vec::new(), at: 0, ended: false }, end))
    }
}

impl Read for Piped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            match self.pieces.recv() {
                Ok(Ok(piece)) => {
                    self.ended = piece.is_empty();
                    (self.piece, self.at) = (piece, 0);
                }
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(_) => self.ended = true,
            }
        }
        let length = into.len().min(self.piece.len() - self.at);
        into[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_reads_through_and_ends_with_its_end() {
        let text = b"a line\n".repeat(50_000);
        let (mut piped, _) = Piped::start(Box::new(io::Cursor::new(text.clone()))).unwrap();
        let mut read = Vec::new();
        piped.read_to_end(&mut read).unwrap();
        assert!(read == text);
    }

    #[test]
    fn a_stream_that_blocks_for_ever_can_be_ended() {
        let (blocked, _held) = io::pipe().unwrap();
        let (mut piped, end) = Piped::start(Box::new(blocked)).unwrap();
        end.end();
        assert_eq!(piped.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(piped.read(&mut [0; 8]).unwrap(), 0);
    }
}
