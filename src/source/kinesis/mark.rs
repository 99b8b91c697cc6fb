//! How far a shard is shipped: a place in it, and what stands before it that is not settled.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A place in a shard: behind a record, or behind a part of an aggregated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The record's sequence number, a decimal number of any length.
    pub(super) sequence: Arc<str>,
    /// The number of the last part before this place, where the record has more behind it.
    pub(super) sub: Option<u32>,
    /// When the record came into the stream, milliseconds since 1970.
    pub(super) arrival: i64,
}

/// What is remembered of a shard from run to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The record up to which everything is settled; `None`: nothing is yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sequence: Option<String>,
    /// The number of the last part settled of that record, where it has more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<u32>,
    /// When that record came into the stream, milliseconds since 1970.
    #[serde(default)]
    pub(super) arrival: i64,
    /// When everything in the shard was last known to be settled, milliseconds since 1970; 0: never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) tip: i64,
    /// The shard is closed, and everything in it is settled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) ended: bool,
    /// Pieces behind that place that are settled, too, the oldest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) beyond: Vec<String>,
}

/// Pieces that are remembered as settled before those in front of them are, at most.
const MOST_BEYOND: usize = 64;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(truth: &bool) -> bool {
    !*truth
}

impl Checkpoint {
    /// Reads what the state keeps.
    pub fn read(value: &[u8]) -> Option<Checkpoint> {
        serde_json::from_slice(value).ok()
    }

    /// The record, and the last part of it, up to which everything is settled, in words.
    pub fn shown(&self) -> String {
        match (&self.sequence, self.sub) {
            (None, _) => "nothing yet".to_owned(),
            (Some(sequence), None) => sequence.clone(),
            (Some(sequence), Some(sub)) => format!("{sequence}#{sub}"),
        }
    }

    /// When the last record settled came into the stream, milliseconds since 1970; `None`: none was.
    pub fn arrival(&self) -> Option<i64> {
        self.sequence.is_some().then_some(self.arrival)
    }

    /// When everything in the shard was last known to be settled, milliseconds since 1970.
    pub fn tip(&self) -> Option<i64> {
        (self.tip > 0).then_some(self.tip)
    }

    /// Whether the shard is closed and everything in it is settled.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn place(&self) -> Option<Place> {
        let sequence = self.sequence.as_deref()?;
        Some(Place { sequence: sequence.into(), sub: self.sub, arrival: self.arrival })
    }

    pub(super) fn reach(&mut self, place: &Place) {
        (self.sequence, self.sub) = (Some(place.sequence.to_string()), place.sub);
        self.arrival = place.arrival;
    }

    /// Up to when nothing can have been missed, milliseconds since 1970; `None`: nothing is known.
    pub(super) fn safe(&self) -> Option<i64> {
        self.arrival().max(self.tip())
    }
}

/// Which records a piece is of, so that it can be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first record, and the part of it.
    pub(super) first: (Arc<str>, Option<u32>),
    /// The last.
    pub(super) last: (Arc<str>, Option<u32>),
    /// When the first came, milliseconds since 1970.
    pub(super) came: i64,
    /// How often it failed for a reason of its own.
    pub(super) failures: u32,
}

impl Span {
    /// Where it is in a shard: `SEQUENCE#SUB..SEQUENCE#SUB`, as much of it as is needed.
    pub(super) fn shown(&self) -> String {
        let one = |(sequence, sub): &(Arc<str>, Option<u32>)| match sub {
            None => sequence.to_string(),
            Some(sub) => format!("{sequence}#{sub}"),
        };
        if self.first == self.last {
            one(&self.first)
        } else {
            format!("{}..{}", one(&self.first), one(&self.last))
        }
    }
}

/// A piece's number in its shard.
pub(super) type Slot = u64;

/// Pieces of a shard on their way, in order.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The number of the first.
    first: Slot,
    slots: VecDeque<Way>,
}

#[derive(Debug)]
struct Way {
    to: Place,
    /// Which records it is of.
    span: Span,
    /// Deliveries of it that are not settled.
    open: u32,
}

impl Marks {
    /// A piece that ends at a place; pieces come in the order of the shard.
    pub(super) fn push(&mut self, to: Place, span: Span) -> Slot {
        self.slots.push_back(Way { to, span, open: 1 });
        self.first + self.slots.len() as u64 - 1
    }

    /// A piece is settled, or a part of one that became several. Returns the place up to which everything is settled now,
    /// where that is farther than before.
    pub(super) fn settle(&mut self, slot: Slot) -> Option<Place> {
        let way = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        let way = self.slots.get_mut(way)?;
        way.open = way.open.saturating_sub(1);
        let mut reached = None;
        while self.slots.front().is_some_and(|way| way.open == 0) {
            self.first += 1;
            reached = self.slots.pop_front().map(|way| way.to);
        }
        reached
    }

    /// A piece has become this many.
    pub(super) fn parts(&mut self, slot: Slot, parts: u32) {
        let way = slot.checked_sub(self.first).and_then(|way| usize::try_from(way).ok());
        if let Some(way) = way.and_then(|way| self.slots.get_mut(way)) {
            way.open += parts.saturating_sub(1);
        }
    }

    /// Pieces that are settled, and others in front of them are not.
    pub(super) fn beyond(&self) -> Vec<String> {
        let settled = self.slots.iter().filter(|way| way.open == 0);
        settled.take(MOST_BEYOND).map(|way| way.span.shown()).collect()
    }

    /// Whether everything is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// When the oldest came that is not settled, milliseconds since 1970.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.slots.front().map(|way| way.span.came)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(came: i64) -> Span {
        let at: (Arc<str>, Option<u32>) = (came.to_string().into(), None);
        Span { first: at.clone(), last: at, came, failures: 0 }
    }

    fn place(number: u64) -> Place {
        Place { sequence: number.to_string().into(), sub: None, arrival: i64::try_from(number).unwrap() }
    }

    proptest! {
        /// In whatever order pieces are settled: what is told only grows, is never past a piece that is not settled, and is
        /// the last one in the end.
        #[test]
        fn nothing_is_told_past_a_piece_that_is_not_settled(order in Just((0..60_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut marks = Marks::default();
            let slots: Vec<Slot> = (0..60).map(|number| marks.push(place(number), span(0))).collect();
            let (mut settled, mut told) = (vec![false; 60], None);
            for number in order {
                let reached = marks.settle(slots[usize::try_from(number).unwrap()]);
                settled[usize::try_from(number).unwrap()] = true;
                if let Some(reached) = reached {
                    prop_assert!(told.is_none_or(|told| reached.arrival > told));
                    told = Some(reached.arrival);
                }
                let low = settled.iter().take_while(|settled| **settled).count();
                prop_assert_eq!(told.map_or(0, |told| told + 1), i64::try_from(low).unwrap());
            }
            prop_assert!(marks.is_empty());
        }
    }

    #[test]
    fn a_piece_that_became_several_is_settled_after_the_last_and_strangers_do_nothing() {
        let mut marks = Marks::default();
        let (one, two) = (marks.push(place(1), span(7)), marks.push(place(2), span(8)));
        marks.parts(one, 3);
        assert_eq!((marks.settle(two), marks.settle(one), marks.settle(one)), (None, None, None));
        assert_eq!((marks.oldest(), marks.beyond()), (Some(7), vec!["8".to_owned()]));
        assert_eq!(marks.settle(one), Some(place(2)));
        assert_eq!((marks.settle(one), marks.settle(99), marks.oldest()), (None, None, None));
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        let mut checkpoint = Checkpoint::default();
        assert_eq!(checkpoint.shown(), "nothing yet");
        checkpoint.reach(&Place {
            sequence: "49590338271490256608559692538361571095921575989136588898".into(),
            sub: Some(3),
            arrival: 5,
        });
        let kept = serde_json::to_vec(&checkpoint).unwrap();
        assert_eq!(Checkpoint::read(&kept), Some(checkpoint.clone()));
        assert!(checkpoint.shown().ends_with("8898#3"));
        assert_eq!((checkpoint.safe(), Checkpoint::default().safe()), (Some(5), None));
        assert_eq!(Checkpoint::read(b"nonsense"), None);
    }
}
