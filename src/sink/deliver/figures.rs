//! What the delivery layer counts, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::sink::opensearch::document::Counts;

/// The counts of one sink.
#[derive(Debug, Default)]
pub struct Figures {
    requests: AtomicU64,
    request_bytes: AtomicU64,
    request_micros: AtomicU64,
    waited_micros: AtomicU64,
    retried_records: AtomicU64,
    possible_duplicates: AtomicU64,
    unconfirmed: AtomicU64,
    limit: AtomicU64,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    documents: OnceLock<Arc<Counts>>,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figured {
    /// Requests sent.
    pub requests: u64,
    /// Bytes of their bodies, as sent.
    pub request_bytes: u64,
    /// How long their answers took, together.
    pub request_time: Duration,
    /// How long requests waited for their turn, together.
    pub waited: Duration,
    /// Records that were refused for now and sent again.
    pub retried_records: u64,
    /// Records sent again though the server may have them.
    pub possible_duplicates: u64,
    /// Records that the server has and has not confirmed yet.
    pub unconfirmed: u64,
    /// Requests that may be on their way now.
    pub limit: u64,
    /// Requests and single records that were refused, by status or what happened.
    pub refusals: Vec<(&'static str, u64)>,
    /// What was changed in events so that an index takes them, by what was done.
    pub changes: Vec<(&'static str, u64)>,
}

/// Names of refusals by status. Others go by their hundred.
const STATUSES: [(u16, &str); 16] = [
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (408, "408"),
    (409, "409"),
    (411, "411"),
    (413, "413"),
    (415, "415"),
    (422, "422"),
    (425, "425"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

/// The name of a refusal with this status.
pub fn named(status: u16) -> &'static str {
    let known = STATUSES.iter().find(|(known, _)| *known == status);
    known.map_or_else(
        || match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        },
        |(_, name)| name,
    )
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Figures {
    /// A request is sent.
    pub fn sends(&self, bytes: usize, waited: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.request_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.waited_micros.fetch_add(micros(waited), Ordering::Relaxed);
    }

    /// Where it is counted what was changed in events.
    pub fn documents(&self, counts: &Arc<Counts>) {
        let _ = self.documents.set(counts.clone());
    }

    /// A request has ended.
    pub fn ended(&self, took: Duration, limit: usize) {
        self.request_micros.fetch_add(micros(took), Ordering::Relaxed);
        self.limit.store(limit as u64, Ordering::Relaxed);
    }

    /// A request, or so many records, were refused.
    pub fn refused(&self, why: &'static str, times: u64) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += times;
    }

    /// So many records are sent again because they were refused for now.
    pub fn retries(&self, records: u64) {
        self.retried_records.fetch_add(records, Ordering::Relaxed);
    }

    /// So many records are sent again and may be there already.
    pub fn may_be_there(&self, records: u64) {
        self.possible_duplicates.fetch_add(records, Ordering::Relaxed);
    }

    /// So many records wait for a confirmation, until what is returned is dropped.
    pub fn unconfirmed(&self, records: u64) -> Unconfirmed<'_> {
        self.unconfirmed.fetch_add(records, Ordering::Relaxed);
        Unconfirmed { figures: self, records }
    }

    /// The counts now; nothing where nothing was sent.
    pub fn read(&self) -> Option<Figured> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        (of(&self.requests) > 0 || !refusals.is_empty()).then(|| Figured {
            requests: of(&self.requests),
            request_bytes: of(&self.request_bytes),
            request_time: Duration::from_micros(of(&self.request_micros)),
            waited: Duration::from_micros(of(&self.waited_micros)),
            retried_records: of(&self.retried_records),
            possible_duplicates: of(&self.possible_duplicates),
            unconfirmed: of(&self.unconfirmed),
            limit: of(&self.limit),
            refusals: refusals.iter().map(|(&why, &times)| (why, times)).collect(),
            changes: self.documents.get().map(|counts| counts.read().into()).unwrap_or_default(),
        })
    }
}

/// Records that wait for a confirmation.
#[derive(Debug)]
pub struct Unconfirmed<'a> {
    figures: &'a Figures,
    records: u64,
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        self.figures.unconfirmed.fetch_sub(self.records, Ordering::Relaxed);
    }
}
