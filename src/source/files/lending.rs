//! Nothing is lent before the state says so: after a crash the log can only tell of what was noted.
//!
//! Files are lent up to a thousand at a time, and those lent before are worked on meanwhile: one commit more for a group,
//! and nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use super::{Files, Run, Shared, lock};
use crate::source::Delivery;

/// Deliveries that are given back if nobody waits for their note any more: the run is to end.
struct Noting<'s> {
    shared: &'s Arc<Shared>,
    lent: Vec<Delivery>,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        if !self.lent.is_empty() {
            lock(&self.shared.desk).take_back(self.lent.iter().map(|lent| lent.id), &self.shared.ledger);
            self.shared.commit_soon();
        }
    }
}

/// Waits until it is written that these are on loan.
pub(super) async fn noted(shared: &Arc<Shared>, lent: Vec<Delivery>) -> Vec<Delivery> {
    let mut noting = Noting { shared, lent };
    let state = shared.clone();
    let written = tokio::task::spawn_blocking(move || {
        // It waits also for a group that somebody else is writing. What cannot be written goes with the next group: it
        // keeps nobody from shipping.
        if let Err(error) = state.ledger.commit() {
            tracing::warn!(%error, "writing state");
        }
    });
    // It fails only when the program ends.
    let _ = written.await;
    std::mem::take(&mut noting.lent)
}

/// How long a group of files may take to come together, at most.
const GATHER: Duration = Duration::from_millis(32);

impl Files {
    /// Lets a search that is on find more, since each group of files costs a commit: the first group is lent at once, each
    /// further one may take twice as long to come together as the one before, up to [`GATHER`], unless there is much by then.
    pub(super) async fn gather(&self, run: &mut Run, most: usize) {
        if run.searching && run.found.len() < most && !run.gather.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(run.gather) => {}
                () = self.shared.gathered.notified() => {}
            }
            self.take_found(run, most);
        }
        let longer = (2 * run.gather).clamp(Duration::from_millis(1), GATHER);
        run.gather = if run.searching { longer } else { Duration::ZERO };
    }

    /// Takes what the search has found by now, up to so many files.
    pub(super) fn take_found(&self, run: &mut Run, most: usize) {
        while run.found.len() < most
            && let Ok(message) = run.messages.try_recv()
        {
            self.take(run, message);
        }
    }
}
