//! The byte budget: one number that bounds everything in flight.
//!
//! Permits are taken in one order, body → window → growth → payload, and a holder waits only for a later kind; a payload
//! waits for nothing but its sink; nobody who holds some waits for more of the same kind. Each pipeline has a reserve of
//! each kind, and borrows beyond it up to its part of what nobody has reserved, a quarter of that for payloads; one whose
//! sink is retrying, or gives no answer, borrows nothing more. What one pipeline holds is never what another waits for. So nothing can deadlock, and a
//! dead sink costs only its own pipeline.

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
        self.0.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

#[derive(Debug, Default)]
struct Account {
    reserve: [usize; 4],
    /// Of the reserve, in use.
    used: [usize; 4],
    borrowed: usize,
    /// Of what is borrowed, for payloads.
    queued: usize,
    retrying: u32,
    /// It was refused since it was told last that bytes came back.
    wanted: bool,
}

#[derive(Debug)]
struct State {
    /// Beyond all reserves, free.
    common: usize,
    /// What one account may borrow of that: so much is there for it whatever the others do. A dead sink keeps for ever what
    /// its pipeline holds.
    fair: usize,
    accounts: Vec<Account>,
    total: usize,
}

/// What part of what it may borrow a pipeline uses for payloads. A longer queue before a sink that is slower than the
/// workers makes nothing faster: it only spreads the same work over memory that is cold.
const QUEUE_PART: usize = 4;

/// The whole program's budget. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    freed: Mutex<Option<Freed>>,
    /// Refuses now and then although there is enough, so that a test decides who goes first.
    #[cfg(test)]
    whim: Mutex<Option<Whim>>,
}

/// Asked before memory is given (what for), and when a window was filled (`None`): whether to refuse, or to wait.
#[cfg(test)]
pub(super) struct Whim(pub(super) Box<dyn FnMut(Option<Kind>) -> bool + Send>);

#[cfg(test)]
impl std::fmt::Debug for Whim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Whim")
    }
}

/// What to call when bytes come back to an account that was refused some.
struct Freed(Box<dyn Fn(AccountId) + Send + Sync>);

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
        let reserved: usize = reserves.iter().fold(0, |sum, reserve| reserve.total().saturating_add(sum));
        let Some(common) = total.checked_sub(reserved) else { return Err(reserved - total) };
        let accounts =
            reserves.iter().map(|reserve| Account { reserve: reserve.0, ..Account::default() }).collect();
        let fair = common / reserves.len().max(1);
        let state = Mutex::new(State { common, fair, accounts, total });
        Ok(Budget(Arc::new(Inner {
            state,
            freed: Mutex::new(None),
            #[cfg(test)]
            whim: Mutex::default(),
        })))
    }

    /// Lets a test decide who goes first.
    #[cfg(test)]
    pub(super) fn follow(&self, whim: Whim) {
        *self.0.whim.lock().unwrap_or_else(PoisonError::into_inner) = Some(whim);
    }

    /// Whether a test wants somebody else to go first here; in a run, never.
    #[cfg(test)]
    pub(super) fn gives_way(&self, kind: Option<Kind>) -> bool {
        let mut whim = self.0.whim.lock().unwrap_or_else(PoisonError::into_inner);
        whim.as_mut().is_some_and(|whim| whim.0(kind))
    }

    /// Whether a test wants somebody else to go first here; in a run, never.
    #[cfg(not(test))]
    #[inline]
    pub(super) fn gives_way(&self, _kind: Option<Kind>) -> bool {
        false
    }

    /// Registers what to call when bytes come back to an account that was refused some. Must not block.
    pub fn on_freed(&self, call: impl Fn(AccountId) + Send + Sync + 'static) {
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
        self.tell(account);
    }

    /// Whether the pipeline waits for memory: what it keeps for later should be given back.
    pub fn is_short(&self, account: AccountId) -> bool {
        self.lock().accounts.get(account.0).is_some_and(|account| account.wanted)
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

    /// Bytes of a kind that an account may ever hold, if nobody else holds any.
    pub fn most(&self, account: AccountId, kind: Kind) -> usize {
        let state = self.lock();
        state.accounts.get(account.0).map_or(0, |account| account.reserve[kind as usize] + state.fair)
    }

    /// The whole budget, bytes.
    pub fn total(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, account: AccountId) {
        let wanted = self.lock().accounts.get_mut(account.0).is_some_and(|of| std::mem::take(&mut of.wanted));
        if wanted && let Some(freed) = &*self.0.freed.lock().unwrap_or_else(PoisonError::into_inner) {
            (freed.0)(account);
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
        if more > 0 && self.budget.gives_way(Some(self.kind)) {
            return false;
        }
        let kind = self.kind as usize;
        let mut state = self.budget.lock();
        let State { common, fair, accounts, .. } = &mut *state;
        let Some(account) = accounts.get_mut(self.account.0) else { return false };
        let from_reserve = more.min(account.reserve[kind] - account.used[kind]);
        let borrow = more - from_reserve;
        let is_payload = self.kind == Kind::Payload;
        let too_much = borrow > *common
            || account.borrowed + borrow > *fair
            || (is_payload && account.queued + borrow > *fair / QUEUE_PART);
        if borrow > 0 && (account.retrying > 0 || too_much) {
            account.wanted = true;
            return false;
        }
        account.used[kind] += from_reserve;
        account.borrowed += borrow;
        account.queued += if is_payload { borrow } else { 0 };
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
        let wanted = {
            let mut state = self.budget.lock();
            state.common += borrowed;
            let account = state.accounts.get_mut(self.account.0);
            account.is_some_and(|account| {
                account.borrowed -= borrowed;
                account.queued -= if self.kind == Kind::Payload { borrowed } else { 0 };
                account.used[kind] -= back;
                account.wanted
            })
        };
        self.borrowed -= borrowed;
        self.reserved -= back;
        if wanted {
            self.budget.tell(self.account);
        }
    }

    /// Whose it is.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Whether its pipeline waits for memory.
    pub fn is_wanted(&self) -> bool {
        self.budget.is_short(self.account)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

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
    fn a_reserve_cannot_be_taken_by_another_pipeline_nor_by_another_kind_and_what_is_idle_is_shared() {
        let budget = two(300);
        let greedy = budget.try_take(AccountId(0), Kind::Window, 130).unwrap();
        assert_eq!(greedy.bytes(), 130);
        assert!(budget.try_take(AccountId(0), Kind::Window, 1).is_none());
        assert!(budget.try_take(AccountId(0), Kind::Payload, 10).is_some());
        assert!(budget.try_take(AccountId(1), Kind::Window, 131).is_none());
        assert!(budget.try_take(AccountId(1), Kind::Window, 130).is_some());
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
    fn a_queue_of_payloads_takes_a_part_of_what_may_be_borrowed() {
        let budget = two(480);
        let mut queue = budget.try_take(AccountId(0), Kind::Payload, 10 + 120 / QUEUE_PART).unwrap();
        assert!(budget.try_take(AccountId(0), Kind::Payload, 1).is_none());
        assert!(budget.try_take(AccountId(0), Kind::Window, 100 + 120 - 120 / QUEUE_PART).is_some());
        queue.shrink_to(11);
        assert!(queue.try_grow(120 / QUEUE_PART - 1) && !queue.try_grow(1));
    }

    #[test]
    fn everything_comes_back_and_whoever_was_refused_is_told_once() {
        let budget = two(300);
        let told = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = told.clone();
        budget.on_freed(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let mut held = budget.try_take(AccountId(0), Kind::Window, 110).unwrap();
        held.shrink_to(105);
        assert_eq!(told.load(Ordering::SeqCst), 0);
        assert!(budget.try_take(AccountId(0), Kind::Window, 1000).is_none());
        drop(held);
        assert_eq!((told.load(Ordering::SeqCst), budget.in_flight()), (1, 0));
    }

    #[test]
    fn only_who_may_have_what_came_back_is_told() {
        let budget = two(300);
        let told = Arc::new(Mutex::new(Vec::new()));
        let list = told.clone();
        budget.on_freed(move |account| list.lock().unwrap().push(account.0));
        let mine = budget.try_take(AccountId(0), Kind::Window, 100).unwrap();
        let others = budget.try_take(AccountId(1), Kind::Window, 120).unwrap();
        budget.retrying(AccountId(0), true);
        assert!(budget.try_take(AccountId(0), Kind::Window, 1).is_none());
        assert!(budget.is_short(AccountId(0)) && !budget.is_short(AccountId(1)));
        drop(others);
        assert!(told.lock().unwrap().is_empty());
        drop(mine);
        assert_eq!(*told.lock().unwrap(), [0]);
    }
}
