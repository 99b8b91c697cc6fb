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
    /// How often it was received.
    times: u32,
    /// The queue takes it away when it comes once more.
    is_last: bool,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) receipt: String,
    pub(super) how: How,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It is deleted.
    Delete,
    /// It is given back: others may have it at once.
    Back,
    /// It stays on the queue, hidden for a time that grows with how often it was received.
    Leave(u32),
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
    /// A message with so many parts is ours, received for the `times`th time of `most` (0: of any number; then the queue
    /// takes it away). `None`: it is ours already, and came a second time; the newer receipt is the one that counts.
    pub(super) fn take(
        &mut self,
        id: &str,
        receipt: String,
        parts: usize,
        lease: Duration,
        (times, most): (u32, u32),
    ) -> Option<Number> {
        let now = Instant::now();
        let is_last = most > 0 && times + 1 >= most;
        if let Some(held) = self.by_id.get(id).and_then(|number| self.leases.get_mut(number)) {
            (held.receipt, held.until) = (receipt, now + lease);
            return None;
        }
        self.next += 1;
        let until = now + lease;
        let lease = Lease { id: id.to_owned(), receipt, received: now, until, parts, times, is_last };
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

    /// A part has ended well; the message is to be deleted after its last part.
    pub(super) fn settled(&mut self, number: Number) -> Option<Over> {
        let lease = self.leases.get_mut(&number)?;
        lease.parts = lease.parts.saturating_sub(1);
        if lease.parts > 0 {
            return None;
        }
        let lease = self.leases.remove(&number)?;
        self.by_id.remove(&lease.id);
        Some(Over { receipt: lease.receipt, how: How::Delete })
    }

    /// A message is not for us, at least not now.
    pub(super) fn leave(&mut self, number: Number) -> Option<Over> {
        let lease = self.leases.remove(&number)?;
        self.by_id.remove(&lease.id);
        Some(Over { receipt: lease.receipt, how: How::Leave(lease.times) })
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

    /// These could not be extended: they are due again at the next look.
    pub(super) fn not_extended(&mut self, receipts: &[String]) {
        let now = Instant::now();
        for held in self.leases.values_mut().filter(|held| receipts.contains(&held.receipt)) {
            held.until = now;
        }
    }

    /// Everything that is ours, to be given back.
    pub(super) fn all(&mut self) -> Vec<Over> {
        self.by_id.clear();
        self.leases.drain().map(|(_, lease)| Over { receipt: lease.receipt, how: How::Back }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_message_is_deleted_after_its_last_part_with_its_newest_receipt() {
        let mut leases = Leases::default();
        let take =
            |leases: &mut Leases, id, receipt: &str, times| leases.take(id, receipt.into(), 2, LEASE, times);
        let (one, two) =
            (take(&mut leases, "1", "old", (1, 3)).unwrap(), take(&mut leases, "2", "b", (2, 3)).unwrap());
        assert_eq!(take(&mut leases, "1", "a", (2, 3)), None);
        assert_eq!(leases.settled(one), None);
        assert_eq!(leases.settled(one), Some(Over { receipt: "a".into(), how: How::Delete }));
        assert!(leases.is_last(two) && !leases.is_last(one));
        assert_eq!(leases.settled(two), None);
        assert_eq!(leases.settled(two), Some(Over { receipt: "b".into(), how: How::Delete }));
        assert_eq!(leases.settled(two), None);
        let three = take(&mut leases, "3", "c", (7, 0)).unwrap();
        assert_eq!(leases.leave(three), Some(Over { receipt: "c".into(), how: How::Leave(7) }));
        assert_eq!((leases.leave(three), leases.settled(three), leases.len()), (None, None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn leases_are_extended_at_their_half_and_not_for_ever() {
        let mut leases = Leases::default();
        leases.take("1", "a".into(), 1, LEASE, (1, 0));
        assert!(leases.due(LEASE).is_empty());
        let mut extended = 0;
        for _ in 0..2000 {
            tokio::time::advance(Duration::from_secs(31)).await;
            extended += leases.due(LEASE).len();
        }
        let most = usize::try_from(LONGEST.as_secs() / 31).unwrap();
        assert!((most - 4..=most).contains(&extended), "{extended} of {most}");
        assert_eq!(leases.all(), [Over { receipt: "a".into(), how: How::Back }]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_could_not_be_extended_is_due_again_at_once() {
        let mut leases = Leases::default();
        for id in ["a", "b"] {
            leases.take(id, id.into(), 1, LEASE, (1, 0));
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(leases.due(LEASE).len(), 2);
        leases.not_extended(&["b".to_owned()]);
        assert_eq!((leases.due(LEASE), leases.due(LEASE).len()), (vec!["b".to_owned()], 0));
    }
}
