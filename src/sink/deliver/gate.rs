//! The pause of a whole sink: while its credentials or its settings are refused, nothing is sent but a try now and then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long the first pause is; each further one is twice as long, up to [`LONGEST`].
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest pause: so late at most is a mended setting on the other side noticed.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Open until it is closed.
#[derive(Debug, Default)]
pub struct Gate {
    closed: Mutex<Option<Closed>>,
    changed: Notify,
}

#[derive(Debug)]
struct Closed {
    message: String,
    until: Instant,
    pause: Duration,
    /// Somebody tries, or has tried, since it was closed.
    tried: bool,
}

/// Why nothing is sent, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What the other side said, and what to do.
    pub message: String,
    /// Until the next try.
    pub left: Duration,
}

impl Gate {
    /// Whether a request may be sent. Of those that ask when a pause is over one is let through, to try.
    ///
    /// # Errors
    /// Why not, and for how long.
    pub fn pass(&self) -> Result<(), Pause> {
        let now = Instant::now();
        match &mut *self.lock() {
            None => Ok(()),
            Some(closed) if now >= closed.until => {
                // Should whoever tries now never come back, somebody else does after as long again.
                (closed.until, closed.tried) = (now + closed.pause, true);
                Ok(())
            }
            Some(closed) => Err(Pause { message: closed.message.clone(), left: closed.until - now }),
        }
    }

    /// The other side does not want us.
    pub fn close(&self, message: &str) -> Pause {
        let now = Instant::now();
        let mut gate = self.lock();
        let pause = match &*gate {
            // Others that were on their way hear the same: that is one pause.
            Some(closed) if !closed.tried => closed.pause,
            Some(closed) => (closed.pause * 2).min(LONGEST),
            None => FIRST,
        };
        *gate = Some(Closed { message: message.to_owned(), until: now + pause, pause, tried: false });
        Pause { message: message.to_owned(), left: pause }
    }

    /// A request was accepted.
    pub fn open(&self) {
        if self.lock().take().is_some() {
            self.changed.notify_waiters();
        }
    }

    /// Waits until there may be a try.
    pub async fn wait(&self) {
        loop {
            // Registered before looking: what changes in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = self.lock().as_ref().map(|closed| closed.until);
            match until.filter(|until| Instant::now() < *until) {
                None => return,
                Some(until) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(until) => {}
                },
            }
        }
    }

    /// New settings: the next request tries at once.
    pub fn retry_now(&self) {
        if let Some(closed) = &mut *self.lock() {
            (closed.until, closed.tried, closed.pause) = (Instant::now(), false, FIRST / 2);
        }
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Closed>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_tries_when_the_pause_is_over_and_the_pause_grows() {
        let gate = Gate::default();
        gate.pass().unwrap();
        assert_eq!(gate.close("401").left, FIRST);
        assert_eq!(gate.close("401").left, FIRST);
        assert_eq!(gate.pass().unwrap_err(), Pause { message: "401".into(), left: FIRST });
        tokio::time::sleep(FIRST).await;
        gate.pass().unwrap();
        gate.pass().unwrap_err();
        assert_eq!(gate.close("401").left, FIRST * 2);
        tokio::time::sleep(FIRST * 2).await;
        gate.pass().unwrap();
        gate.open();
        gate.pass().unwrap();
        gate.pass().unwrap();
        assert_eq!(gate.close("403").left, FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_never_came_back_does_not_keep_it_closed() {
        let gate = Gate::default();
        gate.close("401");
        tokio::time::sleep(FIRST).await;
        gate.pass().unwrap();
        let mut passed = false;
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            passed |= gate.pass().is_ok();
        }
        assert!(passed);
    }

    #[tokio::test(start_paused = true)]
    async fn new_settings_are_tried_at_once() {
        let gate = Gate::default();
        let began = Instant::now();
        gate.close("401");
        let renewed = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            gate.retry_now();
        };
        tokio::join!(gate.wait(), gate.wait(), renewed);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        gate.pass().unwrap();
        gate.pass().unwrap_err();
    }
}
