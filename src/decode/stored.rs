//! The stored bytes of an object, as many at a time as somebody needs.

use std::io;

use super::Input;

/// Stored bytes read at a time.
pub(super) const STEP: usize = 256 << 10;

/// The stored bytes not yet used: `chunk[at..end]` of what is read, or the slice from `used` on.
#[derive(Default)]
pub(super) struct Stored {
    chunk: Vec<u8>,
    at: usize,
    end: usize,
    used: u64,
    ended: bool,
    reads: u64,
}

impl Stored {
    /// What is at hand, at least `want` bytes unless the input ends before.
    pub(super) fn available<'a>(&'a mut self, input: &'a mut Input<'_>, want: usize) -> io::Result<&'a [u8]> {
        match input {
            Input::Whole(bytes) => {
                Ok(usize::try_from(self.used).ok().and_then(|used| bytes.get(used..)).unwrap_or_default())
            }
            Input::Read(reader) => {
                while self.end - self.at < want && !self.ended {
                    self.chunk.copy_within(self.at..self.end, 0);
                    (self.at, self.end) = (0, self.end - self.at);
                    if self.chunk.len() < (2 * self.end).max(STEP) {
                        self.chunk.resize((2 * self.end).max(STEP), 0);
                    }
                    match reader.read(self.chunk.get_mut(self.end..).unwrap_or_default()) {
                        Ok(read) => {
                            self.end += read;
                            self.ended = read == 0;
                            self.reads += 1;
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(self.chunk.get(self.at..self.end).unwrap_or_default())
            }
        }
    }

    /// What stands before this offset is not needed: a reader begins there.
    pub(super) fn begin_at(&mut self, offset: u64) {
        self.used = offset;
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.used += bytes as u64;
        self.at = (self.at + bytes).min(self.end);
    }

    /// Bytes used so far.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// How often the input was read.
    pub(super) fn reads(&self) -> u64 {
        self.reads
    }
}
