//! Progress of whatever takes longer than a second: a bar on a terminal, a log line every ten seconds elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::Console;
use crate::clock::{Clock, Timestamp};

/// What is over sooner than this has no progress.
const SOON: Duration = Duration::from_secs(1);
/// How often a line is logged where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

const WITH_TOTAL: &str = "{prefix} {bar:24} {percent:>3} %  {msg}";

/// The progress of one piece of work.
pub(super) struct Progress {
    what: &'static str,
    console: Console,
    clock: Clock,
    began: Timestamp,
    said: Timestamp,
    bar: ProgressBar,
    shown: bool,
}

impl Progress {
    /// Begins; `what` is a participle ("generating"), `total` in bytes where it is known.
    pub(super) fn new(what: &'static str, total: Option<u64>, console: &Console, clock: &Clock) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = if total.is_some() { WITH_TOTAL } else { "{prefix} {spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        let began = clock.now();
        Progress {
            what,
            console: console.clone(),
            clock: clock.clone(),
            began,
            said: began,
            bar,
            shown: false,
        }
    }

    /// From now on it is known how much there is.
    pub(super) fn of(&mut self, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            if let Ok(style) = ProgressStyle::with_template(WITH_TOTAL) {
                self.bar.set_style(style);
            }
        }
    }

    /// Tells how far it is, in bytes; `message` says more, and is asked for only when it is shown.
    pub(super) fn at(&mut self, position: u64, message: impl FnOnce() -> String) {
        let now = self.clock.now();
        if now.since(self.began) < SOON {
            return;
        }
        if self.console.is_terminal() {
            if !self.shown {
                self.shown = true;
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.console.set_bar(Some(self.bar.clone()));
            }
            if now.since(self.said) >= Duration::from_millis(100) {
                self.said = now;
                self.bar.set_message(message());
                self.bar.set_position(position);
            }
        } else if now.since(self.said) >= EVERY {
            self.said = now;
            tracing::info!("{}: {}", self.what, message());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            self.console.set_bar(None);
            self.bar.finish_and_clear();
        }
    }
}
