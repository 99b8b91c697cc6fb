//! How fast a shard may be read: five times and 2 MB in a second, shared with whoever else reads it.

use std::time::Duration;

use tokio::time::Instant;

use crate::pipeline::fetch::jittered;

/// Between two requests, at least.
const BETWEEN: Duration = Duration::from_millis(210);
/// Between two requests where nothing is to be caught up with.
const IDLE: Duration = Duration::from_secs(1);
/// Bytes in a second.
const RATE: f64 = 2_097_152.0;
/// Bytes that may be read at once after a rest.
const BURST: f64 = RATE;
/// First pause after a request was refused; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One shard's pace.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the last request was made.
    asked: Instant,
    /// Bytes that may be read, as of `filled`; below zero, it has to wait.
    bytes: f64,
    filled: Instant,
    /// Not before.
    next: Instant,
    pause: Duration,
}

impl Pace {
    pub(super) fn new() -> Pace {
        let now = Instant::now();
        Pace { asked: now, bytes: 0.0, filled: now, next: now, pause: FIRST_PAUSE }
    }

    /// When the next request may be made.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A request is made.
    pub(super) fn ask(&mut self) {
        self.asked = Instant::now();
        self.next = self.asked + BETWEEN;
    }

    /// It was answered with so many bytes; `more`: there is more to be read.
    pub(super) fn answered(&mut self, bytes: usize, more: bool) {
        let now = Instant::now();
        self.bytes = (self.bytes + RATE * now.duration_since(self.filled).as_secs_f64()).min(BURST);
        self.filled = now;
        self.bytes -= bytes as f64;
        let full = now + Duration::from_secs_f64((-self.bytes).max(0.0) / RATE);
        self.next = full.max(self.asked + if more { BETWEEN } else { IDLE });
        self.pause = FIRST_PAUSE;
    }

    /// It was refused, or got no answer.
    pub(super) fn refused(&mut self) {
        self.next = Instant::now() + jittered(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads so many bytes at a time as fast as it may for a minute: requests and bytes in a second.
    async fn read(bytes: usize, more: bool) -> (f64, f64) {
        let (mut pace, began) = (Pace::new(), Instant::now());
        let (mut asked, mut got) = (0_u32, 0);
        while began.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep_until(pace.next()).await;
            pace.ask();
            tokio::time::advance(Duration::from_millis(20)).await;
            pace.answered(bytes, more);
            (asked, got) = (asked + 1, got + bytes);
        }
        let seconds = began.elapsed().as_secs_f64();
        (f64::from(asked) / seconds, got as f64 / seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_read_no_faster_than_the_stream_allows_and_no_slower() {
        let (asked, _) = read(1000, true).await;
        assert!((4.5..5.0).contains(&asked), "{asked}");
        let (asked, got) = read(10_000_000, true).await;
        assert!((1.9e6..2.3e6).contains(&got) && asked < 0.3, "{got} {asked}");
        let (_, got) = read(2_000_000, true).await;
        assert!((2.0e6..2.2e6).contains(&got), "{got}");
        let (asked, _) = read(10, false).await;
        assert!((0.9..1.1).contains(&asked), "{asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_slow_it_down_until_an_answer() {
        let mut pace = Pace::new();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.ask();
            pace.refused();
            pauses.push(pace.next() - Instant::now());
        }
        assert!(pauses[0] < Duration::from_secs(1) && pauses[7] > Duration::from_secs(10), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        pace.answered(0, true);
        pace.refused();
        assert!(pace.next() - Instant::now() < Duration::from_secs(1));
    }
}
