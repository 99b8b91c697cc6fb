//! Opening an object: a small file whole, a large one and a stream step by step, and whether it is still the one lent.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use super::{Halt, Held, Job, Stored, read_whole};
use crate::ack::Note;
use crate::decode::Boundary;
use crate::pipeline::budget::Kind;
use crate::pipeline::hands::Hands;
use crate::source::{Body, FetchError};

impl Job {
    /// Opens the object; a small one is read whole.
    pub(super) fn open(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        if !matches!(self.stored, Stored::Unopened(_)) {
            return Ok(());
        }
        if let Stored::Unopened(Body::File { size, .. }) = &self.stored
            && *size < read_whole(&self.pipeline.limits)
        {
            self.read_whole(hands)?;
        } else {
            self.open_steps()?;
        }
        if let Stored::Whole { bytes, .. } = &self.stored
            && let Some(boundary) = self.begins()
        {
            self.decode.begin_at(boundary, bytes.bytes());
        }
        Ok(())
    }

    /// Where to begin, if not at the beginning.
    fn begins(&self) -> Option<Boundary> {
        let from = self.from.filter(|from| from.offset > 0)?;
        Some(Boundary { offset: from.offset, number: from.records })
    }

    /// Puts an opened file where to begin, unless it has to be inflated up to there.
    fn go_to(&mut self, file: &mut File) -> io::Result<()> {
        let Some(boundary) = self.begins() else { return Ok(()) };
        let mut start = [0; 4];
        let length = file.read_at(&mut start, 0)?;
        if self.decode.begin_at(boundary, &start[..length]) {
            file.seek(SeekFrom::Start(boundary.offset))?;
            self.stored_bytes = self.stored_bytes.saturating_sub(boundary.offset);
        }
        Ok(())
    }

    fn read_whole(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        let Stored::Unopened(Body::File { path, size, check }) = &self.stored else { return Ok(()) };
        // One byte more than there should be: a file that grew is noticed.
        let size = usize::try_from(*size).unwrap_or(usize::MAX);
        let wants = size.saturating_add(1);
        let spare = hands.spare_body.take().filter(|(buffer, _)| buffer.capacity() >= wants);
        let (mut buffer, permit) = match spare {
            Some(spare) => spare,
            None => {
                // A little more than asked for, so that the next object of about this size fits.
                let takes = (wants + wants / 4).next_multiple_of(64 << 10);
                let least = self.pipeline.budget.try_take(self.pipeline.account, Kind::Body, takes);
                let permit = match least {
                    Some(permit) => permit,
                    None => self
                        .pipeline
                        .budget
                        .try_take(self.pipeline.account, Kind::Body, wants)
                        .ok_or(Halt::NoMemory)?,
                };
                (Vec::with_capacity(permit.bytes()), permit)
            }
        };
        buffer.clear();
        let (path, check) = (path.clone(), check.clone());
        let read = (|| {
            let mut file = File::open(&path)?;
            if let Err(changed) = check(&file) {
                return Ok((file, Err(changed)));
            }
            buffer.resize(wants, 0);
            let mut length = 0;
            while length < wants {
                match file.read(&mut buffer[length..]) {
                    Ok(0) => break,
                    Ok(more) => length += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            buffer.truncate(length);
            let unchanged = if length == size {
                check(&file)
            } else {
                Err(format!("its size changed from {size} bytes while it was read"))
            };
            Ok((file, unchanged))
        })();
        match read {
            Ok((_, Ok(()))) => {
                self.stored = Stored::Whole { bytes: Held::Own(buffer, permit), check: None };
                Ok(())
            }
            Ok((_, Err(changed))) => {
                hands.spare_body = Some((buffer, permit));
                Err(Halt::Fail(Note::Changed(changed)))
            }
            Err(error) => {
                hands.spare_body = Some((buffer, permit));
                Err(Halt::Fail(Note::Changed(format!("reading it: {error}"))))
            }
        }
    }

    fn open_steps(&mut self) -> Result<(), Halt> {
        let Stored::Unopened(body) =
            std::mem::replace(&mut self.stored, Stored::Unopened(Body::Bytes(Bytes::new())))
        else {
            return Ok(());
        };
        self.stored = match body {
            Body::Bytes(bytes) => Stored::Whole { bytes: Held::Shared(bytes), check: None },
            Body::Stream(from) => Stored::Steps { from: Box::new(from), check: None },
            Body::Remote(_) => Stored::Unfetched(FetchError::Object("a bug: it was not fetched".to_owned())),
            Body::File { path, check, .. } => {
                let opened = File::open(&path).and_then(|file| Ok((file.try_clone()?, file)));
                let (mut file, same) =
                    opened.map_err(|error| Halt::Fail(Note::Changed(format!("opening it: {error}"))))?;
                check(&file).map_err(|changed| Halt::Fail(Note::Changed(changed)))?;
                let put = self.go_to(&mut file);
                put.map_err(|error| Halt::Fail(Note::Changed(format!("reading it: {error}"))))?;
                Stored::Steps { from: Box::new(file), check: Some((same, check)) }
            }
        };
        Ok(())
    }

    /// Whether the file is still the one that was lent, at the end of reading it.
    pub(super) fn check(&self) -> Result<(), Halt> {
        match &self.stored {
            Stored::Whole { check: Some((file, check)), .. }
            | Stored::Steps { check: Some((file, check)), .. } => {
                check(file).map_err(|changed| Halt::Fail(Note::Changed(changed)))
            }
            _ => Ok(()),
        }
    }
}
