//! Memory for what a source holds before a worker begins with it: a source that is handed bytes, instead of addresses
//! of bytes, takes room first and keeps it with the bytes until the last user has let go of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::budget::{AccountId, Budget, Kind, Permit, Reserve};

/// How soon it is looked again whether memory has come back.
const LOOK: Duration = Duration::from_millis(5);

/// A source's part of the budget. Cheap to clone; the clones share one part.
#[derive(Clone, Debug)]
pub struct Room {
    budget: Budget,
    account: AccountId,
    /// KiB that may be held ahead of the workers: half of the budget, so that windows find room, and that the default
    /// holds the largest request there may be at an endpoint.
    ahead: Arc<Semaphore>,
    most_ahead: usize,
    /// Held by whoever waits, so that the oldest gets it first.
    turn: Arc<Mutex<()>>,
}

impl Room {
    /// A part of `account`'s share of a budget.
    pub fn new(budget: &Budget, account: AccountId) -> Room {
        let most_ahead = (budget.total() / 2 / 1024).clamp(1, Semaphore::MAX_PERMITS / 2);
        Room {
            budget: budget.clone(),
            account,
            ahead: Arc::new(Semaphore::new(most_ahead)),
            most_ahead,
            turn: Arc::default(),
        }
    }

    /// Room of its own, for whoever runs a source without an engine.
    pub fn apart(bytes: usize) -> Room {
        let budget = Budget::new(bytes, &[Reserve::default()]);
        // No reserve is larger than any budget.
        let budget = budget.unwrap_or_else(|_| unreachable!("a budget without reserves"));
        Room::new(&budget, AccountId(0))
    }

    /// Bytes that may be taken at once, at most: what is larger will never be given.
    pub fn most(&self) -> usize {
        self.budget.most(self.account, Kind::Body).min(self.most_ahead * 1024)
    }

    /// Takes room for `bytes` (at most [`Room::most`]), or nothing. Cost: two short locks.
    pub fn try_take(&self, bytes: usize) -> Option<Held> {
        let ahead = self.ahead.clone().try_acquire_many_owned(self.share(bytes)).ok()?;
        let permit = self.budget.try_take(self.account, Kind::Body, bytes)?;
        Some(Held { permit, ahead, room: self.clone() })
    }

    /// Waits for room for `bytes`, cut to [`Room::most`]; whoever came first is served first.
    ///
    /// Cancel: safe; nothing is taken.
    pub async fn take(&self, bytes: usize) -> Held {
        let bytes = bytes.min(self.most());
        let _turn = self.turn.lock().await;
        loop {
            if let Some(held) = self.try_take(bytes) {
                return held;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn share(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
    }
}

/// Room taken; given back on drop.
#[derive(Debug)]
pub struct Held {
    permit: Permit,
    ahead: OwnedSemaphorePermit,
    room: Room,
}

impl Held {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.permit.bytes()
    }

    /// Takes `more`, or nothing.
    pub fn try_grow(&mut self, more: usize) -> bool {
        let share = self.room.share(self.bytes() + more) as usize;
        let Ok(ahead) = u32::try_from(share.saturating_sub(self.ahead.num_permits())) else { return false };
        let Ok(ahead) = self.room.ahead.clone().try_acquire_many_owned(ahead) else { return false };
        if !self.permit.try_grow(more) {
            return false;
        }
        self.ahead.merge(ahead);
        true
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.permit.shrink_to(bytes);
        let spare = self.ahead.num_permits().saturating_sub(self.room.share(self.bytes()) as usize);
        drop(self.ahead.split(spare));
    }

    /// The bytes that the room was taken for: it is given back when the last clone or slice of them is dropped.
    pub fn keep(mut self, bytes: Vec<u8>) -> Bytes {
        self.shrink_to(bytes.capacity());
        Bytes::from_owner(Kept { bytes, _held: self })
    }
}

struct Kept {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_counted_until_the_last_slice_is_dropped_and_whoever_waits_gets_it() {
        let budget = Budget::new(2 << 20, &[Reserve([64 << 10, 0, 0, 0])]).unwrap();
        let room = Room::new(&budget, AccountId(0));
        assert_eq!(room.most(), 1 << 20);
        let mut held = room.try_take(1 << 20).unwrap();
        assert!(room.try_take(1).is_none() && !held.try_grow(1));
        held.shrink_to(600 << 10);
        assert!(held.try_grow(1 << 10) && room.try_take(424 << 10).is_none());
        assert!(room.try_take(423 << 10).is_some());
        let bytes = held.keep(vec![7; 100 << 10]);
        assert_eq!(budget.in_flight(), 100 << 10);
        let slice = bytes.slice(10..20);
        drop(bytes);
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.take(usize::MAX).await.bytes() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        assert_eq!((slice.len(), budget.in_flight()), (10, 100 << 10));
        drop(slice);
        assert_eq!(waiting.await.unwrap(), 1 << 20);
        assert_eq!(budget.in_flight(), 0);
    }
}
