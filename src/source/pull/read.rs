//! The task that reads a lane: asks for its windows page by page, at its pace, and hands on what is new.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lane::Next;
use super::{OfLane, Page, Parcel, Range, Refused, Shared, UNTOLD, lock, pack};
use crate::aws::Kind;
use crate::clock::Timestamp;
use crate::pipeline::room::Held;

/// First pause after a refusal; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Refusals in a row after which a run that ends gives up.
const MOST_REFUSALS: u32 = 6;
/// Refusals in a row because too much was asked after which that is trouble.
const SLOW: u32 = 4;

/// So many requests a second, and not more. All who ask in one place as the same share one.
pub(in crate::source) struct Pace {
    gap: Duration,
    next: tokio::sync::Mutex<Instant>,
    /// Requests so far.
    pub(super) asked: AtomicU64,
}

/// The paces there are, by place.
static PACES: Mutex<BTreeMap<String, Weak<Pace>>> = Mutex::new(BTreeMap::new());

impl Pace {
    /// The pace of a place: `gap` is between the beginnings of two requests, at least. The first who asks says how much.
    pub(in crate::source) fn of(place: &str, gap: Duration) -> Arc<Pace> {
        let mut paces = lock(&PACES);
        paces.retain(|_, pace| pace.strong_count() > 0);
        if let Some(pace) = paces.get(place).and_then(Weak::upgrade) {
            return pace;
        }
        let next = tokio::sync::Mutex::new(Instant::now());
        let pace = Arc::new(Pace { gap, next, asked: AtomicU64::new(0) });
        paces.insert(place.to_owned(), Arc::downgrade(&pace));
        pace
    }

    /// Waits for the next request's turn, and counts it.
    pub(in crate::source) async fn turn(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + self.gap;
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is in hand.
struct Reader {
    shared: Arc<Shared>,
    number: usize,
    to: mpsc::Sender<Parcel>,
    /// How to ask for the next page of the window that is being read.
    token: Option<String>,
    pause: Duration,
    /// Refusals since the last answer.
    refused: u32,
    answered: bool,
    told_lost: i64,
    told_forgotten: bool,
}

/// Reads lane `number` until everything was read, or nobody wants more.
pub(super) async fn run(shared: Arc<Shared>, number: usize, to: mpsc::Sender<Parcel>) {
    let Some(of) = shared.lanes.get(number) else { return };
    let mut reader = Reader {
        number,
        to,
        token: None,
        pause: FIRST_PAUSE,
        refused: 0,
        answered: false,
        told_lost: 0,
        told_forgotten: false,
        shared: shared.clone(),
    };
    let ahead = lock(&of.lane).ahead(reader.now());
    if ahead.from < ahead.to {
        of.place.ask.begin(ahead, &of.place.pace).await;
    }
    while reader.step(of).await {}
}

impl Reader {
    fn now(&self) -> i64 {
        self.shared.clock.now().0 / 1_000_000
    }

    /// One request, or one wait. `false`: it is over.
    async fn step(&mut self, of: &OfLane) -> bool {
        let next = lock(&of.lane).next(self.now());
        match next {
            Next::End => self.told(of).await,
            Next::Wait(wait) => {
                tokio::select! {
                    () = tokio::time::sleep(wait) => true,
                    () = self.to.closed() => false,
                }
            }
            Next::Full => {
                tokio::select! {
                    () = of.settled.notified() => true,
                    () = self.to.closed() => false,
                }
            }
            Next::Read(range) => self.read(of, range).await,
        }
    }

    /// Asks for a page and hands on what is new in it.
    async fn read(&mut self, of: &OfLane, range: Range) -> bool {
        let held = self.shared.room.take(self.shared.page).await;
        of.place.pace.turn().await;
        let asked = of.place.ask.page(range, self.token.as_deref());
        let answer = tokio::select! {
            answer = asked => answer,
            () = self.to.closed() => return false,
        };
        match answer {
            Ok(page) => self.take(of, page, held).await,
            Err(refused) => {
                drop(held);
                self.refused(of, refused).await
            }
        }
    }

    async fn take(&mut self, of: &OfLane, page: Page, held: Held) -> bool {
        self.pause = FIRST_PAUSE;
        self.answered = true;
        if std::mem::take(&mut self.refused) > 0 && lock(&of.trouble).take().is_some() {
            tracing::info!(source = self.shared.name, place = of.place.name, "it can be read again");
        }
        let Page { events, token } = page;
        let times = events.iter().map(|event| (event.time, event.time));
        let times = times.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
        let size: usize = events.iter().map(|event| event.text.len() + 1).sum();
        // More than pages have: it is there already, but what comes next waits until it has found room.
        let held = if size > held.bytes() {
            drop(held);
            self.shared.room.take(size).await
        } else {
            held
        };
        let fresh = lock(&of.lane).fresh(events);
        let (bytes, groups) = pack::pack(&fresh);
        let bytes = held.keep(bytes);
        let mut parcels = Vec::with_capacity(groups.len());
        {
            let mut lane = lock(&of.lane);
            for group in groups {
                let picked: Vec<_> = group.events.iter().filter_map(|number| fresh.get(*number)).collect();
                let (Some((_, first)), Some((_, last))) = (picked.first(), picked.last()) else { continue };
                let ids: Vec<(i64, u64)> = picked.iter().map(|(id, event)| (event.time, *id)).collect();
                let address: Arc<str> = of.place.ask.address(first, last).into();
                let hash = ids.iter().fold(0_u64, |hash, (_, id)| hash.rotate_left(5) ^ id);
                parcels.push(Parcel {
                    lane: self.number,
                    identity: format!("{address}#{hash:016x}").into(),
                    address,
                    flight: lane.flies(ids),
                    bytes: bytes.slice(group.bytes),
                    failures: 0,
                });
            }
            let goes_on = lane.turns(token.is_some(), times);
            self.token = token.filter(|_| goes_on);
            self.tell(&lane, of);
        }
        drop((fresh, bytes));
        for parcel in parcels {
            if self.to.send(parcel).await.is_err() {
                return false;
            }
        }
        let untold = lock(&of.lane).untold();
        untold < UNTOLD || self.told(of).await
    }

    /// The state is told how far it is. `false`: it cannot be.
    async fn told(&self, of: &OfLane) -> bool {
        let is_end = lock(&of.lane).next(self.now()) == Next::End;
        match self.shared.write(&[self.number], Vec::new()).await {
            Ok(()) => !is_end,
            Err(error) => {
                tracing::error!(source = self.shared.name, "{error}: nothing more is read");
                let text = error.to_string();
                (*lock(&of.trouble), *lock(&of.given_up)) = (Some(text.clone()), Some(text));
                false
            }
        }
    }

    /// Says once what cannot be had any more, or is remembered no more.
    fn tell(&mut self, lane: &super::Lane, of: &OfLane) {
        let place = &of.place.name;
        if lane.lost - self.told_lost > 3_600_000 || (self.told_lost == 0 && lane.lost > 0) {
            self.told_lost = lane.lost;
            let until = Timestamp(lane.done().saturating_mul(1_000_000));
            tracing::error!(
                source = self.shared.name,
                place,
                minutes = lane.lost / 60_000,
                %until,
                "the history has ended before it was read: what happened then can only be had from a trail"
            );
        }
        if lane.forgotten() > 0 && !self.told_forgotten {
            self.told_forgotten = true;
            tracing::warn!(
                source = self.shared.name,
                place,
                most = super::lane::MOST_SEEN,
                "more events than can be remembered happen within twice the `overlap`: some are shipped again; shorten it"
            );
        }
    }

    /// Pauses after a refusal. `false`: it is given up.
    async fn refused(&mut self, of: &OfLane, refused: Refused) -> bool {
        let Refused { kind, text, is_token } = refused;
        let place = &of.place.name;
        if is_token {
            self.token = None;
            lock(&of.lane).restarts();
            tracing::debug!(source = self.shared.name, place, "{text}: the window is read again");
        }
        self.refused += 1;
        let is_slow = kind == Kind::Slow;
        if is_slow {
            self.shared.throttled.fetch_add(1, Ordering::Relaxed);
        }
        let ends = lock(&of.lane).ends();
        let gives_up =
            (kind == Kind::NoPlace && !self.answered) || (ends && !is_slow && self.refused >= MOST_REFUSALS);
        if gives_up {
            (*lock(&of.trouble), *lock(&of.given_up)) = (Some(text.clone()), Some(text));
            return false;
        }
        if !(is_slow && self.refused < SLOW || is_token && self.refused == 1) {
            tracing::warn!(source = self.shared.name, place, "{text}: trying again");
            *lock(&of.trouble) = Some(text);
        }
        let pause = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.to.closed() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_in_one_place_share_its_pace() {
        let began = Instant::now();
        let one = Pace::of("a place", Duration::from_millis(500));
        let other = Pace::of("a place", Duration::from_millis(1));
        let apart = Pace::of("another place", Duration::from_millis(500));
        for _ in 0..4 {
            one.turn().await;
            other.turn().await;
        }
        assert_eq!(began.elapsed(), Duration::from_millis(3500));
        apart.turn().await;
        assert_eq!((began.elapsed(), apart.asked.load(Ordering::Relaxed)), (Duration::from_millis(3500), 1));
    }
}
