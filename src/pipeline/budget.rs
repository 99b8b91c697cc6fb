//! The byte budget: one number that bounds everything in flight.
//!
//! Permits are taken in one order, body → window → growth → payload, and a holder waits only for a later kind; a payload
//! waits for nothing but its sink. Each pipeline has a reserve of each kind that nobody else can take, and borrows beyond it
//! only what is idle; one whose sink is retrying borrows nothing more. So nothing can deadlock, and a dead sink costs
//! only its own pipeline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What bytes are held for. Taken in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object as stored.
    Body = 0,
    /// A window, decompressed.
    Window = 1,
    /// What a window needs beyond that for a record that does not fit into it; taken once, and all of it.
    Growth = 2,
    /// Encoded records on their way to a sink.
    Payload = 3,
}

/// What a pipeline is sure to get, bytes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve(pub [usize; 4]);

impl Reserve {
    /// All kinds together, bytes.
    pub fn total(self) -> usize {
        self.0.iter().sum()
    }
}

#[derive(Debug, Default)]
struct Account {
    reserve: [usize; 4],
    /// Of the reserve, in use.
    used: [usize; 4],
    borrowed: usize,
    retrying: u32,
}

#[derive(Debug)]
struct State {
    /// Beyond all reserves, free.
    common: usize,
    accounts: Vec<Account>,
    total: usize,
}

/// The whole program's budget. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Somebody was refused since the last time bytes came back.
    wanted: AtomicBool,
    freed: Mutex<Option<Freed>>,
}

/// What to call when bytes come back and somebody had been refused.
struct Freed(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Freed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Freed")
    }
}

/// A pipeline's number in the budget, in the order of [`Budget::new`]'s reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountId(pub usize);

impl Budget {
    /// A budget of `total` bytes for pipelines with these reserves.
    ///
    /// # Errors
    /// The bytes that are missing, where the reserves do not fit.
    pub fn new(total: usize, reserves: &[Reserve]) -> Result<Budget, usize> {
        let reserved: usize = reserves.iter().map(|reserve| reserve.total()).sum();
        let Some(common) = total.checked_sub(reserved) else { return Err(reserved - total) };
        let accounts =
            reserves.iter().map(|reserve| Account { reserve: reserve.0, ..Account::default() }).collect();
        let state = Mutex::new(State { common, accounts, total });
        Ok(Budget(Arc::new(Inner { state, wanted: AtomicBool::new(false), freed: Mutex::new(None) })))
    }

    /// Registers what to call when bytes come back after somebody was refused. Must not block.
    pub fn on_freed(&self, call: impl Fn() + Send + Sync + 'static) {
        *self.0.freed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Freed(Box::new(call)));
    }

    /// Takes `bytes`, or nothing. Cost: one short lock.
    pub fn try_take(&self, account: AccountId, kind: Kind, bytes: usize) -> Option<Permit> {
        let mut permit = Permit { budget: self.clone(), account, kind, reserved: 0, borrowed: 0 };
        permit.try_grow(bytes).then_some(permit)
    }

    /// Takes `bytes` whether they are there or not: for the rest of a record that is already being written. Whoever
    /// does this stops at the next record until the budget is no longer overdrawn.
    pub fn take_anyway(&self, account: AccountId, kind: Kind, bytes: usize) -> Permit {
        let mut permit = Permit { budget: self.clone(), account, kind, reserved: 0, borrowed: 0 };
        permit.grow_anyway(bytes);
        permit
    }

    /// Marks a pipeline's sink as retrying (or, with `false`, no longer): it borrows nothing more.
    pub fn retrying(&self, account: AccountId, is: bool) {
        let mut state = self.lock();
        if let Some(account) = state.accounts.get_mut(account.0) {
            account.retrying = if is { account.retrying + 1 } else { account.retrying.saturating_sub(1) };
        }
        drop(state);
        self.tell();
    }

    /// Bytes in flight, all pipelines.
    pub fn in_flight(&self) -> usize {
        let state = self.lock();
        let reserved_free: usize = state
            .accounts
            .iter()
            .flat_map(|account| (0..4).map(|kind| account.reserve[kind] - account.used[kind]))
            .sum();
        state.total.saturating_sub(state.common + reserved_free)
    }

    /// Bytes in flight of one pipeline.
    pub fn held(&self, account: AccountId) -> usize {
        let state = self.lock();
        let account = state.accounts.get(account.0);
        account.map_or(0, |account| account.used.iter().sum::<usize>() + account.borrowed)
    }

    /// The whole budget, bytes.
    pub fn total(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        if self.0.wanted.swap(false, Ordering::AcqRel)
            && let Some(freed) = &*self.0.freed.lock().unwrap_or_else(PoisonError::into_inner)
        {
            (freed.0)();
        }
    }
}

/// Bytes held; given back on drop.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    account: AccountId,
    kind: Kind,
    reserved: usize,
    borrowed: usize,
}

impl Permit {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.reserved + self.borrowed
    }

    /// Takes `more`, or nothing: first from the pipeline's reserve, then from what is idle.
    pub fn try_grow(&mut self, more: usize) -> bool {
        let kind = self.kind as usize;
        let mut state = self.budget.lock();
        let State { common, accounts, .. } = &mut *state;
        let Some(account) = accounts.get_mut(self.account.0) else { return false };
        let from_reserve = more.min(account.reserve[kind] - account.used[kind]);
        let borrow = more - from_reserve;
        if borrow > 0 && (account.retrying > 0 || borrow > *common) {
            // Under the lock, so that bytes given back from now on are told.
            self.budget.0.wanted.store(true, Ordering::Release);
            return false;
        }
        account.used[kind] += from_reserve;
        account.borrowed += borrow;
        *common -= borrow;
        self.reserved += from_reserve;
        self.borrowed += borrow;
        true
    }

    /// Takes what there is of `more` and lets the rest go uncounted; returns whether all was there.
    pub fn grow_anyway(&mut self, more: usize) -> bool {
        if self.try_grow(more) {
            return true;
        }
        let there = {
            let state = self.budget.lock();
            let kind = self.kind as usize;
            let account = state.accounts.get(self.account.0);
            account.map_or(0, |account| account.reserve[kind] - account.used[kind])
        };
        self.try_grow(there);
        false
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let mut back = self.bytes().saturating_sub(bytes);
        if back == 0 {
            return;
        }
        let borrowed = back.min(self.borrowed);
        back -= borrowed;
        let kind = self.kind as usize;
        {
            let mut state = self.budget.lock();
            state.common += borrowed;
            if let Some(account) = state.accounts.get_mut(self.account.0) {
                account.borrowed -= borrowed;
                account.used[kind] -= back;
            }
        }
        self.borrowed -= borrowed;
        self.reserved -= back;
        self.budget.tell();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(total: usize) -> Budget {
        Budget::new(total, &[Reserve([10, 100, 0, 10]), Reserve([10, 100, 0, 10])]).unwrap()
    }

    #[test]
    fn a_budget_below_the_reserves_is_refused_with_what_is_missing() {
        assert_eq!(
            Budget::new(200, &[Reserve([10, 100, 0, 10]), Reserve([10, 100, 0, 10])]).unwrap_err(),
            40
        );
    }

    #[test]
    fn a_reserve_cannot_be_taken_by_another_pipeline_nor_by_another_kind() {
        let budget = two(300);
        let greedy = budget.try_take(AccountId(0), Kind::Window, 160).unwrap();
        assert_eq!(greedy.bytes(), 160);
        assert!(budget.try_take(AccountId(0), Kind::Window, 1).is_none());
        assert!(budget.try_take(AccountId(0), Kind::Payload, 10).is_some());
        assert!(budget.try_take(AccountId(1), Kind::Window, 101).is_none());
        assert!(budget.try_take(AccountId(1), Kind::Window, 100).is_some());
    }

    #[test]
    fn a_pipeline_whose_sink_is_retrying_borrows_nothing_more() {
        let budget = two(300);
        budget.retrying(AccountId(0), true);
        assert!(budget.try_take(AccountId(0), Kind::Payload, 11).is_none());
        assert!(budget.try_take(AccountId(0), Kind::Payload, 10).is_some());
        budget.retrying(AccountId(0), false);
        assert!(budget.try_take(AccountId(0), Kind::Payload, 11).is_some());
    }

    #[test]
    fn everything_comes_back_and_whoever_was_refused_is_told_once() {
        let budget = two(300);
        let told = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = told.clone();
        budget.on_freed(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let mut held = budget.try_take(AccountId(0), Kind::Payload, 20).unwrap();
        held.shrink_to(5);
        assert_eq!(told.load(Ordering::SeqCst), 0);
        assert!(budget.try_take(AccountId(1), Kind::Window, 1000).is_none());
        drop(held);
        assert_eq!((told.load(Ordering::SeqCst), budget.in_flight()), (1, 0));
    }
}
