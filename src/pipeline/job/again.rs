//! What comes out of rejects keeps its place: the numbers and offsets it had in its object, and the sink that refused it.

use std::sync::Arc;

use super::Job;
use crate::decode::Damage;
use crate::pipeline::line::Pipeline;
use crate::record::Span;
use crate::source::Again;

/// Where a delivery was before; of most, nothing is known.
#[derive(Default)]
pub(super) struct Place {
    again: Option<Arc<Again>>,
    /// The only sink it goes to, by its number in the pipeline.
    only: Option<usize>,
}

impl Place {
    pub(super) fn new(again: Option<Arc<Again>>, pipeline: &Pipeline) -> Place {
        let sink = again.as_ref().and_then(|again| again.sink.clone());
        // A name that is not there leaves every sink out, rather than none.
        let only =
            sink.map(|sink| pipeline.sinks.iter().position(|line| line.name == sink).unwrap_or(usize::MAX));
        Place { again, only }
    }

    /// Whether it comes out of rejects.
    pub(super) fn is_known(&self) -> bool {
        self.again.is_some()
    }

    /// Whether a sink has nothing to do with it.
    pub(super) fn leaves_out(&self, sink: usize) -> bool {
        self.only.is_some_and(|only| only != sink)
    }

    /// A record's number in its object.
    pub(super) fn number(&self, number: u64) -> u64 {
        let known = self.again.as_ref().and_then(|again| again.records.get(usize::try_from(number).ok()?));
        known.map_or(number, |(number, _)| *number)
    }

    /// Where damage stood in its object.
    pub(super) fn damage(&self, mut damage: Damage) -> Damage {
        let begins = self.again.as_ref().map_or(0, |again| again.offset);
        damage.offset = damage.offset.saturating_add(begins);
        damage
    }
}

impl Job {
    /// Where a record stood in its object.
    pub(super) fn offset(&self, span: Span, number: u64) -> u64 {
        let here = self.decode.offset(span);
        let Some(again) = &self.again.again else { return here };
        let known = again.records.iter().find(|(known, _)| *known == number);
        known.map_or(again.offset.saturating_add(here), |(_, offset)| *offset)
    }
}
