//! A source of what comes out of rejects, for one pipeline: lends pieces of entries, and tells how all of an entry ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::spool::Piece;
use crate::ack::{DeliveryId, Note, Settled, Verdict};
use crate::source::layout::Origins;
use crate::source::{Body, Delivery, Origin, Source, SourceError, new_id};

/// How often a piece is lent. A sink that refuses records says so at the first loan; they go to rejects at the second.
const TRIES: u32 = 3;

/// How an entry ended.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Records that the sinks took.
    pub(super) records: u64,
    /// Records and ranges that were refused again.
    pub(super) refused: u64,
    /// Why a piece of it could not be shipped.
    pub(super) failed: Option<String>,
}

impl End {
    pub(super) fn failed(why: impl Into<String>) -> End {
        End { failed: Some(why.into()), ..End::default() }
    }
}

/// An entry on its way.
#[derive(Debug)]
struct Work {
    origin: Origin,
    progress: Mutex<(usize, End, Option<oneshot::Sender<End>>)>,
}

impl Work {
    /// A piece has ended; after the last, whoever waits is told.
    fn ended(&self, records: u64, refused: u64, failed: Option<String>) {
        let mut progress = lock(&self.progress);
        let (open, end, told) = &mut *progress;
        end.records += records;
        end.refused += refused;
        end.failed = end.failed.take().or(failed);
        *open = open.saturating_sub(1);
        if *open == 0
            && let Some(told) = told.take()
        {
            let _ = told.send(std::mem::take(end));
        }
    }
}

#[derive(Debug)]
struct Lent {
    piece: Piece,
    work: Arc<Work>,
    tries: u32,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Lent>,
    loans: HashMap<DeliveryId, Lent>,
    closed: bool,
    stopped: bool,
}

/// The source.
#[derive(Debug, Default)]
pub struct Lane {
    state: Mutex<State>,
    ready: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    /// Lends these pieces of one entry; `object` is where they were. The receiver hears how all of them ended, or that
    /// the program stops.
    pub(super) fn ship(&self, pieces: Vec<Piece>, object: &str) -> oneshot::Receiver<End> {
        let (told, ended) = oneshot::channel();
        let origin = Origins::default().of(object.as_bytes(), object.into());
        let work = Work { origin, progress: Mutex::new((pieces.len().max(1), End::default(), Some(told))) };
        let work = Arc::new(work);
        if pieces.is_empty() {
            work.ended(0, 0, Some("it holds no bytes: ship the object again".to_owned()));
        }
        let mut state = lock(&self.state);
        if !state.stopped {
            state.queue.extend(pieces.into_iter().map(|piece| Lent { piece, work: work.clone(), tries: 0 }));
        }
        drop(state);
        self.ready.notify_one();
        ended
    }

    /// No more entries come; with `stop`, those that are not on loan are given up, too.
    pub(super) fn close(&self, stop: bool) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.stopped |= stop;
        let given_up = if stop { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        drop(state);
        drop(given_up);
        self.ready.notify_one();
    }

    fn take(&self, most: usize) -> Option<Vec<Delivery>> {
        let mut state = lock(&self.state);
        let State { queue, loans, closed, .. } = &mut *state;
        let taken = most.min(queue.len());
        let mut deliveries = Vec::with_capacity(taken);
        for lent in queue.drain(..taken) {
            let id = new_id();
            let Piece { path, size, again, .. } = &lent.piece;
            deliveries.push(Delivery {
                id,
                identity: lent.piece.identity.clone(),
                origin: lent.work.origin.clone(),
                // The copy is ours alone: nobody changes it.
                body: Body::File { path: path.clone(), size: *size, check: Arc::new(|_| Ok(())) },
                failures: 0,
                growing: false,
                again: Some(again.clone()),
                from: None,
            });
            loans.insert(id, lent);
        }
        (!deliveries.is_empty() || *closed && loans.is_empty()).then_some(deliveries)
    }
}

impl Source for Lane {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        loop {
            if let Some(deliveries) = self.take(most) {
                return Ok((!deliveries.is_empty()).then_some(deliveries));
            }
            self.ready.notified().await;
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        for end in settled {
            let mut state = lock(&self.state);
            let Some(mut lent) = state.loans.remove(&end.id) else { continue };
            if end.verdict != Verdict::Failed {
                drop(state);
                let sinks = &end.books.sinks;
                let records = sinks.iter().map(|page| page.delivered).sum();
                let refused = end.books.rejected + sinks.iter().map(|page| page.rejected).sum::<u64>();
                lent.work.ended(records, refused, None);
                continue;
            }
            lent.tries += 1;
            if lent.tries < TRIES && !state.stopped {
                state.queue.push_back(lent);
                continue;
            }
            drop(state);
            let why = match end.note {
                Note::Why(why) | Note::Changed(why) | Note::Object(why) | Note::Place(why) => why,
                Note::None | Note::Incomplete | Note::Stopped => "a sink did not take it".to_owned(),
            };
            lent.work.ended(0, 0, Some(why));
        }
        self.ready.notify_one();
        Ok(())
    }
}
