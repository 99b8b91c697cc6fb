//! How long deliveries have been waiting to be settled.
//!
//! A delivery that failed and is lent again has been waiting since it was lent first. It is remembered between two loans
//! for a while, not for ever: what failed may be gone from its source.

use std::collections::HashMap;
use std::time::Duration;

use super::outcomes::DeliveryKey;
use crate::ack::DeliveryId;
use crate::clock::Timestamp;

/// How long a delivery that failed counts as waiting although it is not on loan: longer than any source pauses.
const BETWEEN: Duration = Duration::from_secs(600);
/// Failed deliveries remembered between two loans, at most.
const MOST: usize = 4096;

/// The loans of one source.
#[derive(Debug, Default)]
pub struct Loans {
    open: HashMap<DeliveryId, (DeliveryKey, Timestamp)>,
    /// When they were lent first, and when they failed.
    failed: HashMap<DeliveryKey, (Timestamp, Timestamp)>,
}

impl Loans {
    /// A delivery is lent.
    pub fn begin(&mut self, id: DeliveryId, key: DeliveryKey, now: Timestamp) {
        let first = self.failed.remove(&key).map_or(now, |(first, _)| first);
        self.open.insert(id, (key, first));
    }

    /// A part of a loan has ended: only the rest has been waiting, and not longer than that.
    pub fn part(&mut self, id: DeliveryId, now: Timestamp) {
        if let Some((_, first)) = self.open.get_mut(&id) {
            *first = now;
        }
    }

    /// A loan has ended; `failed`: the delivery will come again.
    pub fn end(&mut self, id: DeliveryId, failed: bool, now: Timestamp) {
        let Some((key, first)) = self.open.remove(&id) else { return };
        if failed && key != DeliveryKey::default() {
            if self.failed.len() >= MOST {
                self.failed.retain(|_, (_, failed)| now.since(*failed) < BETWEEN);
            }
            if self.failed.len() < MOST {
                self.failed.insert(key, (first, now));
            }
        }
    }

    /// When the oldest delivery that is not settled was lent first.
    pub fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        let failed = self.failed.values().filter(|(_, failed)| now.since(*failed) < BETWEEN);
        let failed = failed.map(|(first, _)| *first);
        self.open.values().map(|(_, first)| *first).chain(failed).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_again_has_been_waiting_since_the_first_time() {
        let at = |seconds| Timestamp::from_seconds(seconds);
        let key = |number| DeliveryKey(number);
        let mut loans = Loans::default();
        loans.begin(DeliveryId(1), key(1), at(10));
        loans.begin(DeliveryId(2), key(2), at(20));
        assert_eq!(loans.oldest(at(20)), Some(at(10)));
        loans.end(DeliveryId(1), true, at(30));
        assert_eq!(loans.oldest(at(31)), Some(at(10)));
        loans.begin(DeliveryId(3), key(1), at(40));
        assert_eq!(loans.oldest(at(41)), Some(at(10)));
        loans.end(DeliveryId(3), false, at(50));
        assert_eq!(loans.oldest(at(51)), Some(at(20)));
        loans.part(DeliveryId(2), at(55));
        assert_eq!(loans.oldest(at(56)), Some(at(55)));
        loans.end(DeliveryId(2), true, at(60));
        assert_eq!(loans.oldest(at(659)), Some(at(55)));
        assert_eq!(loans.oldest(at(660)), None, "it does not come again");
    }
}
