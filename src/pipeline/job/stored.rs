//! The stored bytes of an object in hand.

use std::fs::File;
use std::io::Read;

use bytes::Bytes;

use super::{Halt, Job};
use crate::ack::Note;
use crate::decode::Input;
use crate::pipeline::budget::Permit;
use crate::pipeline::refused::Refused;
use crate::source::FetchError;
use crate::source::{Body, Check};

/// An object, before and after it is opened.
pub(super) enum Stored {
    Unopened(Body),
    Whole {
        bytes: Held,
        check: Option<(File, Check)>,
    },
    Steps {
        from: Box<dyn Read + Send>,
        check: Option<(File, Check)>,
    },
    /// It cannot be had, and why.
    Unfetched(FetchError),
}

/// Bytes in memory.
pub(super) enum Held {
    Shared(Bytes),
    Own(Vec<u8>, Permit),
}

impl Stored {
    /// What is to be decoded.
    pub(super) fn input(&mut self) -> Input<'_> {
        match self {
            Stored::Whole { bytes, .. } => Input::Whole(bytes.bytes()),
            Stored::Steps { from, .. } => Input::Read(from),
            Stored::Unopened(_) | Stored::Unfetched(_) => Input::Whole(&[]),
        }
    }
}

impl Job {
    /// Where a limit kept the rest from being read: what was handed to us is nowhere else, so all of it goes to rejects;
    /// what comes from there stays there.
    pub(super) fn keep_unread(&mut self) -> Result<(), Halt> {
        if !self.decode.summary().unread {
            return Ok(());
        }
        if self.again.is_known() {
            self.refused = Refused::default();
            let why = "a limit keeps its rest from being read; raise it, and replay it again";
            return Err(Halt::Fail(Note::Why(why.to_owned())));
        }
        if let Stored::Whole { bytes: Held::Shared(bytes), .. } = &self.stored {
            self.refused.whole(bytes.clone());
        }
        Ok(())
    }
}

impl Held {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Held::Shared(bytes) => bytes,
            Held::Own(bytes, _) => bytes,
        }
    }
}
