//! Messages that are ours for a time: how many of their objects are on their way, until when, and how often they came.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::message::Told;

/// A message is kept so long from when it was received, at most: the queue allows 12 hours.
const LONGEST: Duration = Duration::from_secs(11 * 3600 + 1800);

/// A part of a message that is shipped by itself.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// An object.
    Object(Told),
    /// The message is an event.
    Event(String),
}

/// A message's number in this process.
pub(super) type Number = u64;

/// A message that is ours.
#[derive(Clone, Debug)]
struct Lease {
    id: String,
    receipt: String,
    received: Instant,
    until: Instant,
    parts: usize,
    failed: bool,
    is_last: bool,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) receipt: String,
    /// Whether it is deleted; else it is given back.
    pub(super) delete: bool,
}

/// All messages that are ours.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: HashMap<Number, Lease>,
    /// By the queue's own ids.
    by_id: HashMap<String, Number>,
    next: Number,
}

impl Leases {
    /// A message with so many parts is ours. `is_last`: the queue will take it away when it comes once more. `None`: it is
    /// ours already, and came a second time; the newer receipt is the one that counts.
    pub(super) fn take(
        &mut self,
        id: &str,
        receipt: String,
        parts: usize,
        lease: Duration,
        is_last: bool,
    ) -> Option<Number> {
        let now = Instant::now();
        if let Some(held) = self.by_id.get(id).and_then(|number| self.leases.get_mut(number)) {
            held.receipt = receipt;
            return None;
        }
        self.next += 1;
        let until = now + lease;
        let lease = Lease { id: id.to_owned(), receipt, received: now, until, parts, failed: false, is_last };
        self.leases.insert(self.next, lease);
        self.by_id.insert(id.to_owned(), self.next);
        Some(self.next)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether a message comes no more after this time.
    pub(super) fn is_last(&self, number: Number) -> bool {
        self.leases.get(&number).is_some_and(|lease| lease.is_last)
    }

    /// A part has ended; tells how the message ended, after its last part.
    pub(super) fn settled(&mut self, number: Number, well: bool) -> Option<Over> {
        let lease = self.leases.get_mut(&number)?;
        lease.failed |= !well;
        lease.parts = lease.parts.saturating_sub(1);
        if lease.parts > 0 {
            return None;
        }
        let lease = self.leases.remove(&number)?;
        self.by_id.remove(&lease.id);
        Some(Over { receipt: lease.receipt, delete: !lease.failed })
    }

    /// Those whose lease is half over, and may be extended by `lease`: their receipts.
    pub(super) fn due(&mut self, lease: Duration) -> Vec<String> {
        let now = Instant::now();
        let mut due = Vec::new();
        for held in self.leases.values_mut() {
            if held.until.saturating_duration_since(now) <= lease / 2
                && now + lease <= held.received + LONGEST
            {
                held.until = now + lease;
                due.push(held.receipt.clone());
            }
        }
        due
    }

    /// Everything that is ours, to be given back.
    pub(super) fn all(&mut self) -> Vec<Over> {
        self.by_id.clear();
        self.leases.drain().map(|(_, lease)| Over { receipt: lease.receipt, delete: false }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_message_is_deleted_after_its_last_part_and_given_back_when_one_failed() {
        let mut leases = Leases::default();
        let mut take = |id, receipt: &str, last| leases.take(id, receipt.into(), 2, LEASE, last);
        let (one, two) = (take("1", "old", false).unwrap(), take("2", "b", true).unwrap());
        assert_eq!(take("1", "a", false), None);
        assert_eq!(leases.settled(one, true), None);
        assert_eq!(leases.settled(one, true), Some(Over { receipt: "a".into(), delete: true }));
        assert!(leases.is_last(two) && !leases.is_last(one));
        assert_eq!(leases.settled(two, false), None);
        assert_eq!(leases.settled(two, true), Some(Over { receipt: "b".into(), delete: false }));
        assert_eq!(leases.settled(two, true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn leases_are_extended_at_their_half_and_not_for_ever() {
        let mut leases = Leases::default();
        leases.take("1", "a".into(), 1, LEASE, false);
        assert!(leases.due(LEASE).is_empty());
        let mut extended = 0;
        for _ in 0..2000 {
            tokio::time::advance(Duration::from_secs(31)).await;
            extended += leases.due(LEASE).len();
        }
        let most = usize::try_from(LONGEST.as_secs() / 31).unwrap();
        assert!((most - 4..=most).contains(&extended), "{extended} of {most}");
        assert_eq!(leases.all(), [Over { receipt: "a".into(), delete: false }]);
    }
}
