//! What a job asks of the budget, and when.
//!
//! Nobody who holds memory waits for more of the same kind: a window that turns out too small is given back before a larger
//! one is asked for, and what a large record needs beyond a window is a kind of its own, taken at once.

use super::needs::large_record_needs;
use super::{Halt, Job};
use crate::decode::Buffer;
use crate::pipeline::budget::{AccountId, Kind, Permit};
use crate::pipeline::hands::Hands;
use crate::record::Span;

impl Job {
    /// Whose memory it takes.
    pub(in crate::pipeline) fn account(&self) -> AccountId {
        self.pipeline.account
    }

    /// Bytes of text in its window.
    #[cfg(test)]
    pub(in crate::pipeline) fn window_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the memory for a window of so many bytes. `false`: it is not there.
    pub(super) fn widen(&mut self, wants: usize) -> bool {
        let (budget, account) = (&self.pipeline.budget, self.pipeline.account);
        let limits = &self.pipeline.limits;
        // A little more than asked for, so that the next object of about this size fits.
        let takes = (wants + wants / 8).next_multiple_of(64 << 10);
        let holds = self.permit.as_ref().map_or(0, Permit::bytes);
        if holds < wants && wants <= limits.window && !self.decode.holds(&self.buffer) {
            // Given back before more is asked for: two that held some and waited for more would wait for each other.
            (self.buffer, self.permit) = (Buffer::default(), None);
        }
        let Some(permit) = &mut self.permit else {
            let take = |bytes| budget.try_take(account, Kind::Window, bytes);
            self.permit = take(takes).or_else(|| take(wants));
            return self.permit.is_some();
        };
        if holds + self.growth.as_ref().map_or(0, Permit::bytes) >= wants {
            return true;
        }
        if wants <= limits.window {
            return permit.try_grow(takes - holds) || permit.try_grow(wants - holds);
        }
        if holds < limits.window && !permit.try_grow(limits.window - holds) {
            return false;
        }
        // All it may ever need: whoever has grown waits for no more of this kind, so one of those that wait can always
        // go on.
        let growth = limits.largest_window().saturating_sub(permit.bytes());
        self.growth = budget.try_take(account, Kind::Growth, growth);
        self.growth.is_some()
    }

    /// Makes sure that one record of this size finds room at every sink; what this worker was writing into is checked
    /// in first, so that it can be sent to make room.
    pub(super) fn room_for(&mut self, span: Span, hands: &mut Hands) -> Result<(), Halt> {
        self.put_down(hands);
        let needs = large_record_needs((span.end - span.start) as usize) * self.pipeline.sinks.len();
        let room = self.pipeline.budget.try_take(self.pipeline.account, Kind::Payload, needs);
        room.map(drop).ok_or(Halt::NoMemory)
    }
}
