//! The stored bytes of an object in hand.

use std::fs::File;
use std::io::Read;

use bytes::Bytes;

use crate::decode::Input;
use crate::pipeline::budget::Permit;
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

impl Held {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Held::Shared(bytes) => bytes,
            Held::Own(bytes, _) => bytes,
        }
    }
}
