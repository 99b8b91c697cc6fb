//! Jobs whose object is somewhere else: what becomes of them when it is there, and when it cannot be had.

use std::io::Read;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{Halt, Held, Job, Stored};
use crate::ack::Note;
use crate::pipeline::budget::Permit;
use crate::source::{Body, FetchError, MOST_FAILURES, Remote};

impl Job {
    /// The object, where it has to be fetched first.
    pub fn remote(&self) -> Option<Arc<dyn Remote>> {
        match &self.stored {
            Stored::Unopened(Body::Remote(remote)) => Some(remote.clone()),
            _ => None,
        }
    }

    /// The whole object is there; `ahead` counts it as fetched ahead until the job ends.
    pub fn give(&mut self, bytes: Vec<u8>, permit: Permit, ahead: OwnedSemaphorePermit) {
        self.ahead = Some(ahead);
        self.stored = Stored::Whole { bytes: Held::Own(bytes, permit), check: None };
    }

    /// The object comes piece by piece.
    pub fn stream(&mut self, from: Box<dyn Read + Send>) {
        self.stored = Stored::Steps { from, check: None };
    }

    /// The object cannot be had, for a reason of its own or of its place.
    pub fn refuse(&mut self, reason: FetchError) {
        self.stored = Stored::Unfetched(reason);
    }

    /// Ends a delivery whose object cannot be had: lent again, until it has failed so often that it goes to rejects, by its
    /// address. It counts as one read and one rejected.
    pub(super) fn unfetched(&mut self) -> Result<bool, Halt> {
        let Stored::Unfetched(reason) = &mut self.stored else { return Ok(false) };
        let reason = match reason {
            FetchError::Object(reason) => std::mem::take(reason),
            FetchError::Place(reason) | FetchError::Retry(reason) => {
                return Err(Halt::Fail(Note::Place(std::mem::take(reason))));
            }
        };
        if self.failures + 1 < MOST_FAILURES {
            return Err(Halt::Fail(Note::Object(reason)));
        }
        self.books.read += 1;
        self.books.rejected += 1;
        self.refused.text("fetch", &reason, b"", 0);
        self.store_refused(true);
        Ok(true)
    }
}
