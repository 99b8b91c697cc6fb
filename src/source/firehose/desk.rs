//! What became of requests: their parts are lent, a request has ended well when the last of them has, and how it ended is
//! remembered for a while, so that the same request sent again is answered without being shipped again.
//!
//! Whoever sent a request may be gone before it has ended: nothing here depends on who waits. A part that fails is lent
//! again as long as somebody may wait for the request; after that only what is missing is remembered, and the next time the
//! request comes, only that is shipped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::ack::{DeliveryId, Note, Settled, Verdict};
use crate::pipeline::room::Held;

/// Requests remembered, at most; beyond that the oldest are forgotten early.
const MOST_KNOWN: usize = 128 << 10;
/// How soon a part that failed is lent again.
const AGAIN: Duration = Duration::from_millis(500);

/// A request: its id and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    pub(super) id: u128,
    pub(super) content: u128,
}

impl Mark {
    pub(super) fn of(id: &str, content: u128) -> Mark {
        Mark { id: xxhash_rust::xxh3::xxh3_128(id.as_bytes()), content }
    }
}

/// What all parts of a request have in common.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) id: String,
    pub(super) stream: String,
    pub(super) mark: Mark,
}

/// A part of a request that is lent by itself.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) sender: Arc<Sender>,
    /// Its number among the parts.
    pub(super) number: u32,
    /// The number of its first record.
    pub(super) first: u32,
    pub(super) body: Bytes,
    pub(super) failures: u32,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of it is with every sink, or in rejects.
    Well,
    /// Some is not: it has to be sent again.
    Missing,
}

/// A request that came in.
#[derive(Debug)]
pub(super) enum Entered {
    /// It had been shipped before.
    Known,
    /// It is on its way; this tells its end.
    OnItsWay(watch::Receiver<Option<End>>),
}

/// What is known of a request.
enum Known {
    OnItsWay(Trip),
    /// It has ended, at this time, but for these parts; none: well.
    Ended(Instant, Box<[u32]>),
}

/// A request on its way.
struct Trip {
    /// Parts that have not ended.
    left: usize,
    missing: Vec<u32>,
    /// As long as this somebody may wait for it.
    until: Instant,
    end: watch::Sender<Option<End>>,
    /// Memory for its parts, besides their bytes.
    _held: Option<Held>,
}

#[derive(Default)]
struct State {
    known: HashMap<Mark, Known>,
    /// When those that have ended did, oldest first.
    ended: VecDeque<(Instant, Mark)>,
    ready: VecDeque<Part>,
    again: Vec<(Instant, Part)>,
    lent: HashMap<DeliveryId, Part>,
    stopping: bool,
    forgotten: u64,
}

/// All requests.
pub(super) struct Desk {
    state: Mutex<State>,
    /// Something may be lent.
    news: Notify,
    remember: Duration,
}

impl Desk {
    pub(super) fn new(remember: Duration) -> Desk {
        Desk { state: Mutex::default(), news: Notify::new(), remember }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come, in parts. `until`: as long as that somebody waits for it. `None`: nothing is taken any more.
    pub(super) fn enter(
        &self,
        mark: Mark,
        parts: Vec<Part>,
        until: Instant,
        held: Option<Held>,
    ) -> Option<Entered> {
        let mut state = self.lock();
        let state = &mut *state;
        state.forget(self.remember);
        if state.stopping {
            return None;
        }
        let parts: Vec<Part> = match state.known.get_mut(&mark) {
            Some(Known::Ended(_, missing)) if missing.is_empty() => return Some(Entered::Known),
            Some(Known::OnItsWay(trip)) => {
                trip.until = trip.until.max(until);
                return Some(Entered::OnItsWay(trip.end.subscribe()));
            }
            Some(Known::Ended(_, missing)) => {
                parts.into_iter().filter(|part| missing.binary_search(&part.number).is_ok()).collect()
            }
            None => parts,
        };
        let (end, told) = watch::channel(None);
        let trip = Trip { left: parts.len(), missing: Vec::new(), until, end, _held: held };
        state.known.insert(mark, Known::OnItsWay(trip));
        if parts.is_empty() {
            state.over(mark);
        }
        state.ready.extend(parts);
        self.news.notify_one();
        Some(Entered::OnItsWay(told))
    }

    /// Waits for parts to lend, at least one and at most `most`.
    ///
    /// Cancel: safe; a part is either returned or still here.
    pub(super) async fn next(&self, most: usize, id: impl Fn() -> DeliveryId) -> Vec<(DeliveryId, Lent)> {
        loop {
            let wait = {
                let mut state = self.lock();
                let state = &mut *state;
                let now = Instant::now();
                let due = state.again.extract_if(.., |(at, _)| *at <= now).map(|(_, part)| part);
                state.ready.extend(due);
                let mut lent = Vec::new();
                while lent.len() < most
                    && let Some(part) = state.ready.pop_front()
                {
                    let id = id();
                    lent.push((id, Lent::of(&part)));
                    state.lent.insert(id, part);
                }
                if !lent.is_empty() {
                    return lent;
                }
                state.again.iter().map(|(at, _)| *at).min()
            };
            match wait {
                Some(at) => tokio::select! {
                    () = self.news.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.news.notified().await,
            }
        }
    }

    /// Ends loans.
    pub(super) fn settle(&self, settled: Vec<Settled>) {
        let mut state = self.lock();
        let state = &mut *state;
        let now = Instant::now();
        for Settled { id, verdict, note, .. } in settled {
            let Some(mut part) = state.lent.remove(&id) else { continue };
            let mark = part.sender.mark;
            let Some(Known::OnItsWay(trip)) = state.known.get_mut(&mark) else { continue };
            if verdict == Verdict::Failed {
                part.failures += u32::from(matches!(note, Note::Object(_)));
                if now < trip.until && !state.stopping {
                    state.again.push((now + AGAIN, part));
                    continue;
                }
                trip.missing.push(part.number);
            }
            trip.left -= 1;
            if trip.left == 0 {
                state.over(mark);
            }
        }
        self.news.notify_one();
    }

    /// Nothing will be lent any more: what was not lent is missing.
    pub(super) fn stopping(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        state.stopping = true;
        let again = std::mem::take(&mut state.again).into_iter().map(|(_, part)| part);
        for part in std::mem::take(&mut state.ready).into_iter().chain(again) {
            state.lose(part);
        }
    }

    /// What is on loan still will not be settled any more.
    pub(super) fn close(&self) {
        self.stopping();
        let mut state = self.lock();
        for part in std::mem::take(&mut state.lent).into_values() {
            state.lose(part);
        }
    }

    /// Requests forgotten before their time.
    pub(super) fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }
}

/// What is lent.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) identity: Arc<str>,
    pub(super) address: Arc<str>,
    pub(super) body: Bytes,
    pub(super) failures: u32,
}

impl Lent {
    fn of(part: &Part) -> Lent {
        let Sender { id, stream, mark } = &*part.sender;
        Lent {
            identity: format!("firehose/{id}/{:032x}#{}", mark.content, part.number).into(),
            address: format!("firehose://{stream}/{id}#{}", part.first).into(),
            body: part.body.clone(),
            failures: part.failures,
        }
    }
}

impl State {
    /// A part that will not be lent again.
    fn lose(&mut self, part: Part) {
        let mark = part.sender.mark;
        let Some(Known::OnItsWay(trip)) = self.known.get_mut(&mark) else { return };
        trip.missing.push(part.number);
        trip.left -= 1;
        if trip.left == 0 {
            self.over(mark);
        }
    }

    /// The last part of a request has ended.
    fn over(&mut self, mark: Mark) {
        let Some(known) = self.known.get_mut(&mark) else { return };
        let Known::OnItsWay(trip) = known else { return };
        let (end, mut missing) = (trip.end.clone(), std::mem::take(&mut trip.missing));
        missing.sort_unstable();
        let (now, how) = (Instant::now(), if missing.is_empty() { End::Well } else { End::Missing });
        *known = Known::Ended(now, missing.into());
        self.ended.push_back((now, mark));
        end.send_replace(Some(how));
    }

    fn forget(&mut self, remember: Duration) {
        let now = Instant::now();
        while let Some((at, mark)) = self.ended.front().copied() {
            let is_old = now.duration_since(at) >= remember;
            if !is_old && self.ended.len() <= MOST_KNOWN {
                return;
            }
            self.ended.pop_front();
            self.forgotten += u64::from(!is_old);
            // It may have come again since.
            if matches!(self.known.get(&mark), Some(Known::Ended(ended, _)) if *ended == at) {
                self.known.remove(&mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::books::Books;
    use crate::pipeline::outcomes::DeliveryKey;
    use crate::source::new_id;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIVES: Duration = Duration::from_secs(170);

    fn parts(id: &str, content: u128, count: u32) -> (Mark, Vec<Part>) {
        let mark = Mark::of(id, content);
        let sender = Arc::new(Sender { id: id.to_owned(), stream: "trail".to_owned(), mark });
        let part = |number| {
            let body = Bytes::from(format!("{number}"));
            Part { sender: sender.clone(), number, first: number * 10, body, failures: 0 }
        };
        (mark, (0..count).map(part).collect())
    }

    /// Its end, if it is known already; `None`: it is on its way.
    fn enter(desk: &Desk, (mark, parts): (Mark, Vec<Part>)) -> Option<End> {
        match desk.enter(mark, parts, Instant::now() + LIVES, None).unwrap() {
            Entered::Known => Some(End::Well),
            Entered::OnItsWay(end) => *end.borrow(),
        }
    }

    async fn lend(desk: &Desk) -> Vec<(DeliveryId, Lent)> {
        tokio::time::timeout(Duration::from_secs(5), desk.next(100, new_id)).await.unwrap_or_default()
    }

    fn end(desk: &Desk, lent: &[(DeliveryId, Lent)], verdict: Verdict) {
        let one = |(id, lent): &(DeliveryId, Lent)| {
            let key = DeliveryKey::of(&lent.identity);
            Settled { id: *id, key, verdict, note: Note::None, books: Books::default() }
        };
        desk.settle(lent.iter().map(one).collect());
    }

    fn addresses(lent: &[(DeliveryId, Lent)]) -> Vec<&str> {
        lent.iter().map(|(_, lent)| &*lent.address).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_request_is_shipped_once_and_another_with_its_id_is_another() {
        let desk = Desk::new(HOUR);
        assert_eq!(enter(&desk, parts("a", 1, 2)), None);
        // It comes again while it is on its way, and another with the same id.
        assert_eq!((enter(&desk, parts("a", 1, 2)), enter(&desk, parts("a", 2, 1))), (None, None));
        let lent = lend(&desk).await;
        assert_eq!(
            addresses(&lent),
            ["firehose://trail/a#0", "firehose://trail/a#10", "firehose://trail/a#0"]
        );
        assert_ne!(lent[0].1.identity, lent[2].1.identity);
        end(&desk, &lent[..1], Verdict::Delivered);
        assert_eq!(enter(&desk, parts("a", 1, 2)), None);
        end(&desk, &lent[1..2], Verdict::Rejected);
        assert_eq!((enter(&desk, parts("a", 1, 2)), enter(&desk, parts("a", 2, 1))), (Some(End::Well), None));
        assert!(lend(&desk).await.is_empty());
        tokio::time::advance(HOUR).await;
        assert_eq!(enter(&desk, parts("a", 1, 2)), None);
        assert_eq!((lend(&desk).await.len(), desk.forgotten()), (2, 0));
        assert_eq!(enter(&desk, parts("nothing", 1, 0)), Some(End::Well));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_lent_again_while_somebody_waits_and_then_only_what_is_missing() {
        let desk = Desk::new(HOUR);
        let (mark, all) = parts("a", 1, 3);
        let Some(Entered::OnItsWay(told)) = desk.enter(mark, all, Instant::now() + LIVES, None) else {
            panic!()
        };
        let lent = lend(&desk).await;
        end(&desk, &lent[..2], Verdict::Failed);
        let again = lend(&desk).await;
        assert_eq!(addresses(&again), ["firehose://trail/a#0", "firehose://trail/a#10"]);
        assert_eq!(again[0].1.identity, lent[0].1.identity);
        end(&desk, &again[..1], Verdict::Delivered);
        tokio::time::advance(LIVES).await;
        end(&desk, &again[1..], Verdict::Failed);
        assert_eq!(*told.borrow(), None);
        end(&desk, &lent[2..], Verdict::Delivered);
        assert_eq!(*told.borrow(), Some(End::Missing));
        assert!(lend(&desk).await.is_empty());
        assert_eq!(enter(&desk, parts("a", 1, 3)), None);
        let rest = lend(&desk).await;
        assert_eq!(addresses(&rest), ["firehose://trail/a#10"]);
        end(&desk, &rest, Verdict::Delivered);
        assert_eq!(enter(&desk, parts("a", 1, 3)), Some(End::Well));
        // What is known of the first end is older than the second.
        tokio::time::advance(HOUR - Duration::from_secs(6)).await;
        assert_eq!(enter(&desk, parts("a", 1, 3)), Some(End::Well));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_again_may_wait_longer() {
        let desk = Desk::new(HOUR);
        enter(&desk, parts("a", 1, 1));
        let lent = lend(&desk).await;
        tokio::time::advance(LIVES).await;
        enter(&desk, parts("a", 1, 1));
        end(&desk, &lent, Verdict::Failed);
        assert_eq!(lend(&desk).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_tells_everybody_and_takes_nothing_more() {
        let desk = Desk::new(HOUR);
        let (mark, all) = parts("a", 1, 2);
        let Some(Entered::OnItsWay(first)) = desk.enter(mark, all, Instant::now() + LIVES, None) else {
            panic!()
        };
        let lent = lend(&desk).await;
        let (mark, all) = parts("b", 1, 2);
        let Some(Entered::OnItsWay(second)) = desk.enter(mark, all, Instant::now() + LIVES, None) else {
            panic!()
        };
        desk.stopping();
        assert_eq!((*first.borrow(), *second.borrow()), (None, Some(End::Missing)));
        let (mark, all) = parts("c", 1, 2);
        assert!(desk.enter(mark, all, Instant::now(), None).is_none());
        end(&desk, &lent[..1], Verdict::Failed);
        assert_eq!(*first.borrow(), None);
        desk.close();
        assert_eq!(*first.borrow(), Some(End::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_can_be_remembered_are_forgotten_and_counted() {
        let desk = Desk::new(HOUR);
        for number in 0..MOST_KNOWN + 10 {
            enter(&desk, parts("a", number as u128, 0));
        }
        enter(&desk, parts("b", 0, 0));
        assert_eq!(desk.forgotten(), 10);
        assert!(desk.lock().known.len() <= MOST_KNOWN + 1);
    }
}
