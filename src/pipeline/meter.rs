//! What a sink's runner counts for each payload; read when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sink::deliver::Figures;

use crate::telemetry::trouble::Trouble;

/// The counts of one sink in one pipeline, since the start.
#[derive(Debug, Default)]
pub struct Meter {
    payloads: AtomicU64,
    raw_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    retries: AtomicU64,
    retrying: AtomicU64,
    paused: AtomicU64,
    /// Why it is retrying, or paused.
    pub trouble: Trouble,
    /// What the delivery layer counts, where the sink stands on it.
    pub delivery: Arc<Figures>,
}

/// The counts of a [`Meter`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// Payloads taken.
    pub payloads: u64,
    /// Their bytes before compression.
    pub raw_bytes: u64,
    /// Their bytes as sent.
    pub sent_bytes: u64,
    /// Times a payload was not taken and is tried again.
    pub retries: u64,
    /// Payloads that are being tried again now.
    pub retrying: u64,
    /// Those of them that wait until somebody mends something.
    pub paused: u64,
}

impl Meter {
    /// The sink took a payload.
    pub fn took(&self, raw_bytes: u64, sent_bytes: usize) {
        self.payloads.fetch_add(1, Ordering::Relaxed);
        self.raw_bytes.fetch_add(raw_bytes, Ordering::Relaxed);
        self.sent_bytes.fetch_add(sent_bytes as u64, Ordering::Relaxed);
    }

    /// A payload was not taken and is tried again.
    pub fn tries_again(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A payload begins to be tried again.
    pub fn begins(&self) {
        self.retrying.fetch_add(1, Ordering::Relaxed);
    }

    /// A payload that was tried again has been taken or given up.
    pub fn ends(&self) {
        if self.retrying.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.trouble.over();
        }
    }

    /// A payload waits because the sink is paused, until what is returned is dropped.
    pub fn pauses(&self) -> Paused<'_> {
        self.paused.fetch_add(1, Ordering::Relaxed);
        Paused(&self.paused)
    }

    /// The counts now.
    pub fn read(&self) -> Metered {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Metered {
            payloads: of(&self.payloads),
            raw_bytes: of(&self.raw_bytes),
            sent_bytes: of(&self.sent_bytes),
            retries: of(&self.retries),
            retrying: of(&self.retrying),
            paused: of(&self.paused),
        }
    }
}

/// A payload that waits because its sink is paused.
#[derive(Debug)]
pub struct Paused<'a>(&'a AtomicU64);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
