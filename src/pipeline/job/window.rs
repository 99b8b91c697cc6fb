//! The beginning and the end of a window: its memory and its text; its shares, its books, and where it could be gone on.

use super::{Halt, Job};
use crate::ack::{Note, Reached};
use crate::decode::Boundary;
use crate::pipeline::books::Books;
use crate::pipeline::hands::Hands;
use crate::pipeline::outcomes::Known;

impl Job {
    /// Fills the next window; its memory first.
    pub(super) fn fill(&mut self, hands: &mut Hands) -> Result<(), Halt> {
        let wants = self.decode.need(&self.stored.input());
        if self.permit.is_none()
            && let Some((mut buffer, permit)) = hands.spare_window.take()
            && permit.bytes() >= wants
        {
            buffer.clear();
            (self.buffer, self.permit) = (buffer, Some(permit));
        }
        if !self.widen(wants) {
            return Err(Halt::NoMemory);
        }
        if self.pipeline.budget.is_short(self.pipeline.account) {
            // What is kept for the next job may be what another waits for.
            hands.rest();
        }
        let filled = self.decode.fill(&mut hands.tools, &mut self.stored.input(), &mut self.buffer);
        filled.map_err(|error| Halt::Fail(Note::Why(format!("reading it: {error}"))))?;
        // Before anything of it is shipped, where that can be seen: it would be shipped again when it has grown.
        let is_incomplete =
            || self.decode.summary().incomplete || self.decode.begins_without_an_end(&self.buffer);
        if self.growing && is_incomplete() {
            return Err(Halt::Fail(Note::Incomplete));
        }
        if let Some(ack) = &self.ack {
            self.known = self.pipeline.outcomes.recall(ack.key(), self.window);
        }
        self.in_window = true;
        self.now = self.pipeline.clock.now();
        if self.pipeline.budget.gives_way(None) {
            return Err(Halt::NoMemory);
        }
        Ok(())
    }

    /// The window is used up: its shares are in the chunks, its books are entered. `well`: and the object goes on, so that
    /// the window may be settled by itself.
    pub(super) fn end_window(&mut self, hands: &mut Hands, well: bool) {
        self.put_down(hands);
        self.store_refused(true);
        self.ordinals.clear();
        self.known = Known::default();
        self.in_window = false;
        // Of a stream without an end nobody remembers windows by their number.
        self.window = self.window.wrapping_add(1);
        let boundary = self.decode.boundary().filter(|_| well && self.from.is_some());
        self.reached = boundary.map(|Boundary { offset, number }| Reached {
            offset,
            windows: self.window,
            records: number,
        });
        let sinks = self.books.sinks.len();
        let books = std::mem::replace(&mut self.books, Books::with_sinks(sinks));
        if let Some(ack) = &self.ack {
            ack.enter(&books);
            ack.end_window(self.reached, self.failed);
        }
        let decompressed = self.decode.summary().decompressed;
        let read = decompressed.saturating_sub(self.counted);
        self.counted += read;
        self.pipeline.count(|totals| totals.bytes += read);
    }
}
