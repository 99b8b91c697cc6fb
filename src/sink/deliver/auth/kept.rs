//! Something fetched that expires: kept until shortly before, fetched by one at a time, dropped when it is refused.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Trouble;
use crate::clock::{Clock, Timestamp};

/// It is fetched again this long before it expires, or a fifth of its life where that is shorter.
const EARLY: Duration = Duration::from_secs(60);
/// For so long after it was dropped, answers to requests that carried the old one may still come in.
const LATE_ANSWERS: Duration = Duration::from_secs(10);
/// What is refused though it is new is not dropped again before this.
const AGAIN: Duration = Duration::from_secs(300);
/// How long nobody tries after fetching has failed; each further time twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(100);
/// The longest of these times.
const LONGEST: Duration = Duration::from_secs(30);
/// A renewal that failed while the old one is still good is not tried again before this.
const LATER: Duration = Duration::from_secs(5);

/// What is kept.
pub(super) struct Kept<T> {
    state: Mutex<State<T>>,
    fetching: tokio::sync::Mutex<()>,
}

struct State<T> {
    value: Option<Value<T>>,
    /// How often fetching was tried, and how it ended last, where it failed: whoever waited meanwhile takes that answer.
    tries: u64,
    failed: Option<Failed>,
    /// When it was dropped last because it was refused, and whether what came then was refused, too.
    dropped: Option<Timestamp>,
    new_refused: bool,
}

/// Fetching has failed.
struct Failed {
    trouble: Trouble,
    pause: Duration,
    /// Nobody tries before, but where it takes somebody to mend it: then the sink pauses anyway.
    until: Option<Timestamp>,
}

impl Failed {
    /// Whether it is too soon for another try. (A clock that was put back keeps nobody from it.)
    fn is_recent(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until && until.since(now) <= self.pause)
    }

    /// What is told to whoever asks meanwhile.
    fn told(&self, now: Timestamp) -> Trouble {
        match (&self.trouble, self.until) {
            (Trouble::Retry { message, .. }, Some(until)) => {
                Trouble::Retry { message: message.clone(), after: Some(until.since(now)) }
            }
            (trouble, _) => trouble.clone(),
        }
    }
}

struct Value<T> {
    value: T,
    renew: Timestamp,
    expires: Timestamp,
}

/// What fetching gave.
pub(super) struct Fetched<T> {
    pub(super) value: T,
    /// How long it is good.
    pub(super) lasts: Duration,
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        let state = State { value: None, tries: 0, failed: None, dropped: None, new_refused: false };
        Kept { state: Mutex::new(state), fetching: tokio::sync::Mutex::default() }
    }
}

impl<T: Clone> Kept<T> {
    /// What is kept, where it is good.
    pub(super) fn at_hand(&self, clock: &Clock) -> Option<T> {
        let now = clock.now();
        self.lock().value.as_ref().filter(|value| now < value.expires).map(|value| value.value.clone())
    }

    /// Gives what is kept, or fetches it. One fetches, the others wait; where the old one is still good they take that.
    ///
    /// # Errors
    /// It could not be fetched. Everybody who waited for the same try gets its error, and so does who asks soon after.
    pub(super) async fn get<F>(&self, clock: &Clock, fetch: impl FnOnce() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<Fetched<T>, Trouble>>,
    {
        let (good, tries) = {
            let state = self.lock();
            let now = clock.now();
            let good = state.value.as_ref().filter(|value| now < value.expires);
            if let Some(value) = good.filter(|value| now < value.renew) {
                return Ok(value.value.clone());
            }
            (good.map(|value| value.value.clone()), state.tries)
        };
        let _one = match (self.fetching.try_lock(), &good) {
            (Ok(one), _) => one,
            (Err(_), Some(good)) => return Ok(good.clone()),
            (Err(_), None) => self.fetching.lock().await,
        };
        {
            let state = self.lock();
            let now = clock.now();
            if let Some(value) = state.value.as_ref().filter(|value| now < value.renew) {
                return Ok(value.value.clone());
            }
            if let Some(failed) = &state.failed
                && (state.tries != tries || failed.is_recent(now))
            {
                return good.ok_or_else(|| failed.told(now));
            }
        }
        let fetched = fetch().await;
        let now = clock.now();
        let mut state = self.lock();
        state.tries += 1;
        match fetched {
            Ok(Fetched { value, lasts }) => {
                let early = EARLY.min(lasts / 5);
                let kept = Value {
                    value: value.clone(),
                    renew: now.after(lasts.saturating_sub(early)),
                    expires: now.after(lasts),
                };
                // What lived to its end has served.
                state.new_refused &= state.value.replace(kept).is_none();
                state.failed = None;
                Ok(value)
            }
            Err(trouble) => {
                let before = state.failed.take().map_or(FIRST / 2, |failed| failed.pause);
                let pause = (before * 2).min(LONGEST);
                let until = matches!(trouble, Trouble::Retry { .. }).then(|| now.after(pause));
                let failed = Failed { trouble: trouble.clone(), pause, until };
                let told = failed.told(now);
                state.failed = Some(failed);
                match (&mut state.value, good) {
                    // It may have been refused, and dropped, meanwhile.
                    (Some(kept), Some(good)) if now < kept.expires => {
                        kept.renew = now.after(LATER);
                        tracing::warn!(error = %trouble, "what authorises requests cannot be renewed: the one that is good still serves");
                        Ok(good)
                    }
                    _ => Err(told),
                }
            }
        }
    }

    /// Drops what is kept, as it was refused. Returns whether it is worth while to try again at once: not where a new one
    /// was refused, too.
    pub(super) fn refused(&self, clock: &Clock) -> bool {
        let mut state = self.lock();
        let now = clock.now();
        match state.dropped {
            Some(dropped) if now.since(dropped) < LATE_ANSWERS => true,
            Some(dropped) if now.since(dropped) < AGAIN => {
                state.new_refused = true;
                false
            }
            _ => {
                state.dropped = Some(now);
                state.value = None;
                !state.new_refused
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Fetches numbers, one after the other, that last 10 minutes.
    #[derive(Default)]
    struct Numbers(AtomicU32);

    impl Numbers {
        fn next(&self) -> Result<Fetched<u32>, Trouble> {
            let value = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(Fetched { value, lasts: Duration::from_secs(600) })
        }
    }

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_seconds(1_000))
    }

    fn down() -> Trouble {
        Trouble::Retry { message: "down".into(), after: None }
    }

    #[tokio::test]
    async fn it_is_kept_until_shortly_before_it_expires() {
        let (kept, numbers, clock) = (Kept::default(), Numbers::default(), clock());
        let get = async || kept.get(&clock, async || numbers.next()).await;
        assert_eq!(get().await, Ok(1));
        clock.advance(Duration::from_secs(539));
        assert_eq!(get().await, Ok(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(get().await, Ok(2));
    }

    #[tokio::test]
    async fn while_one_fetches_the_others_wait_and_take_what_it_got() {
        let (kept, numbers, clock) = (Kept::default(), Numbers::default(), clock());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let first = kept.get(&clock, async || {
            let _ = gone.await;
            numbers.next()
        });
        let second = kept.get(&clock, async || numbers.next());
        let go = async {
            tokio::task::yield_now().await;
            go.send(()).unwrap();
        };
        let (first, second, ()) = tokio::join!(first, second, go);
        assert_eq!((first, second), (Ok(1), Ok(1)));
        // So they do with an error; the next tries for itself.
        let (kept, asked) = (Kept::<u32>::default(), AtomicU32::new(0));
        let fails = async || {
            asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(down())
        };
        let answers = tokio::join!(kept.get(&clock, fails), kept.get(&clock, fails), kept.get(&clock, fails));
        let told = || Err(Trouble::Retry { message: "down".into(), after: Some(FIRST) });
        assert_eq!(answers, (told(), told(), told()));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        clock.advance(FIRST);
        assert_eq!(kept.get(&clock, async || numbers.next()).await, Ok(2));
    }

    #[tokio::test]
    async fn after_a_failure_nobody_tries_for_a_while_that_grows() {
        let (kept, clock, asked) = (Kept::<u32>::default(), clock(), AtomicU32::new(0));
        let get = async || {
            let fails = async || {
                asked.fetch_add(1, Ordering::SeqCst);
                Err(down())
            };
            kept.get(&clock, fails).await.unwrap_err()
        };
        let after = |after| Trouble::Retry { message: "down".into(), after: Some(after) };
        let mut pause = FIRST;
        for times in 1..12 {
            assert_eq!(get().await, after(pause));
            clock.advance(pause / 2);
            assert_eq!((get().await, asked.load(Ordering::SeqCst)), (after(pause / 2), times));
            clock.advance(pause / 2);
            pause = (pause * 2).min(LONGEST);
        }
        assert_eq!(pause, LONGEST);
        // What it takes somebody to mend is tried when the sink does.
        let refused = Trouble::Pause { message: "no".into() };
        for _ in 0..3 {
            assert_eq!(kept.get(&clock, async || Err(refused.clone())).await, Err(refused.clone()));
        }
    }

    #[tokio::test]
    async fn where_it_cannot_be_renewed_the_old_one_serves_to_its_end() {
        let (kept, numbers, clock) = (Kept::default(), Numbers::default(), clock());
        let asked = AtomicU32::new(0);
        let fails = async || {
            asked.fetch_add(1, Ordering::SeqCst);
            Err(down())
        };
        assert_eq!(kept.get(&clock, async || numbers.next()).await, Ok(1));
        clock.advance(Duration::from_secs(550));
        assert_eq!(kept.get(&clock, fails).await, Ok(1));
        clock.advance(Duration::from_secs(4));
        assert_eq!((kept.get(&clock, fails).await, asked.load(Ordering::SeqCst)), (Ok(1), 1));
        clock.advance(Duration::from_secs(1));
        assert_eq!((kept.get(&clock, fails).await, asked.load(Ordering::SeqCst)), (Ok(1), 2));
        clock.advance(Duration::from_secs(45));
        kept.get(&clock, fails).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_is_refused_is_fetched_anew_once() {
        let (kept, numbers, clock) = (Kept::default(), Numbers::default(), clock());
        let get = async || kept.get(&clock, async || numbers.next()).await;
        assert_eq!(get().await, Ok(1));
        assert!(kept.refused(&clock));
        assert_eq!(get().await, Ok(2));
        // An answer to a request that carried the old one.
        clock.advance(Duration::from_secs(9));
        assert!(kept.refused(&clock));
        assert_eq!(get().await, Ok(2));
        // The new one is refused, too.
        clock.advance(Duration::from_secs(1));
        assert!(!kept.refused(&clock));
        assert_eq!(get().await, Ok(2));
        // Much later another one is tried, but with little hope.
        clock.advance(Duration::from_secs(300));
        assert!(!kept.refused(&clock));
        assert_eq!(get().await, Ok(3));
    }
}
