//! Memory for what a source holds before a worker begins with it: a source that is handed bytes, instead of addresses
//! of bytes, takes room first and keeps it with the bytes until the last user has let go of them.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::budget::{AccountId, Budget, Kind, Permit, Reserve};

/// How soon it is looked again whether memory has come back.
const LOOK: Duration = Duration::from_millis(5);
/// Buffers that wait to be filled again, at most.
const SPARES: usize = 4;
/// Smaller ones are given back: they are had again for nothing.
const LEAST_SPARE: usize = 256 << 10;

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
    /// Buffers that wait to be filled again: memory that is fresh from the system costs more than what is read into it. As
    /// long as others are in use, and nobody wants the memory.
    spare: Arc<std::sync::Mutex<Vec<Spare>>>,
}

/// A buffer without a user, and what it is counted by.
#[derive(Debug)]
struct Spare {
    bytes: Vec<u8>,
    permit: Permit,
    ahead: OwnedSemaphorePermit,
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
            spare: Arc::default(),
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
        let take = || {
            let ahead = self.ahead.clone().try_acquire_many_owned(self.share(bytes)).ok()?;
            let permit = self.budget.try_take(self.account, Kind::Body, bytes)?;
            Some(Held { permit, ahead, room: User(self.clone()) })
        };
        take().or_else(|| self.clear_spare().then(take)?)
    }

    /// A buffer that was used before and has room for `bytes`, empty, if there is one.
    pub fn again(&self, bytes: usize) -> Option<(Vec<u8>, Held)> {
        let mut spare = self.spare();
        let fits = |spare: &Spare| (bytes..=bytes.saturating_mul(2)).contains(&spare.bytes.capacity());
        let at = spare.iter().position(fits)?;
        let Spare { mut bytes, permit, ahead } = spare.swap_remove(at);
        drop(spare);
        bytes.clear();
        Some((bytes, Held { permit, ahead, room: User(self.clone()) }))
    }

    /// Whether more than half of it is taken.
    pub fn is_scarce(&self) -> bool {
        self.ahead.available_permits() < self.most_ahead / 2
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives spare buffers back; whether there were any.
    fn clear_spare(&self) -> bool {
        // They are dropped when the lock is gone.
        let gone = std::mem::take(&mut *self.spare());
        !gone.is_empty()
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
    room: User,
}

/// Whose room it is. The last user, and one who goes while somebody wants memory, gives the spare buffers back.
#[derive(Debug)]
struct User(Room);

impl Drop for User {
    fn drop(&mut self) {
        let User(room) = self;
        let kept: usize = room.spare().iter().map(|spare| spare.ahead.num_permits()).sum();
        let used = room.most_ahead.saturating_sub(room.ahead.available_permits());
        if kept > 0 && (used <= kept || room.budget.is_short(room.account)) {
            room.clear_spare();
        }
    }
}

impl Held {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.permit.bytes()
    }

    /// Takes `more`, or nothing.
    pub fn try_grow(&mut self, more: usize) -> bool {
        self.grow(more) || (self.room.0.clear_spare() && self.grow(more))
    }

    fn grow(&mut self, more: usize) -> bool {
        let User(room) = &self.room;
        let share = room.share(self.bytes() + more) as usize;
        let Ok(ahead) = u32::try_from(share.saturating_sub(self.ahead.num_permits())) else { return false };
        let Ok(ahead) = room.ahead.clone().try_acquire_many_owned(ahead) else { return false };
        if !self.permit.try_grow(more) {
            return false;
        }
        self.ahead.merge(ahead);
        true
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.permit.shrink_to(bytes);
        let spare = self.ahead.num_permits().saturating_sub(self.room.0.share(self.bytes()) as usize);
        drop(self.ahead.split(spare));
    }

    /// The bytes that the room was taken for: it is given back when the last clone or slice of them is dropped.
    pub fn keep(mut self, bytes: Vec<u8>) -> Bytes {
        self.shrink_to(bytes.capacity());
        Bytes::from_owner(Kept { bytes, held: Some(self) })
    }
}

struct Kept {
    bytes: Vec<u8>,
    held: Option<Held>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Some(Held { permit, ahead, room }) = self.held.take() else { return };
        let mut spare = room.0.spare();
        let capacity = self.bytes.capacity();
        // Counted by less than it is: it was made without asking.
        let is_counted = capacity <= permit.bytes();
        if is_counted && capacity >= LEAST_SPARE && spare.len() < SPARES {
            spare.push(Spare { bytes: std::mem::take(&mut self.bytes), permit, ahead });
        } else {
            // Before the room's user goes, who looks what is in use.
            drop(spare);
            drop((permit, ahead));
        }
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_while_others_are_in_use_and_nobody_wants_its_memory() {
        let budget = Budget::new(8 << 20, &[Reserve([64 << 10, 0, 0, 0])]).unwrap();
        let room = Room::new(&budget, AccountId(0));
        let kept = |bytes: usize| room.try_take(bytes).unwrap().keep(vec![7; bytes]);
        let (one, two, small) = (kept(1 << 20), kept(1 << 20), kept(1 << 10));
        drop((one, small));
        assert_eq!(budget.in_flight(), 2 << 20);
        assert!(room.again(1 << 18).is_none() && room.again((1 << 20) + 1).is_none());
        let (bytes, held) = room.again(1 << 19).unwrap();
        assert_eq!((bytes.capacity(), bytes.len(), held.bytes()), (1 << 20, 0, 1 << 20));
        assert!(room.again(1 << 19).is_none());
        // What was refused is not kept, and the last user leaves nothing.
        drop(held);
        assert_eq!(budget.in_flight(), 1 << 20);
        let three = kept(1 << 20);
        drop(two);
        assert_eq!(budget.in_flight(), 2 << 20);
        drop(three);
        assert_eq!(budget.in_flight(), 0);
        // Whoever wants its memory gets it.
        let (one, two) = (kept(1 << 20), kept(2 << 20));
        drop(one);
        let mut three = room.try_take(2 << 20).unwrap();
        assert_eq!(budget.in_flight(), 4 << 20);
        three.shrink_to(1 << 20);
        drop(two);
        assert!(three.try_grow(2 << 20));
        assert_eq!(budget.in_flight(), 3 << 20);
    }

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
