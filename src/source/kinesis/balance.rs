//! Who reads which shard, where several processes share a stream: each takes its part, from nobody or from who has most.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// A lease as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) shard: Arc<str>,
    pub(super) owner: Option<String>,
    pub(super) counter: u64,
}

/// What was seen of leases, by our own clock: nobody's clock is compared with another's.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: HashMap<Arc<str>, Seen>,
}

#[derive(Debug)]
struct Seen {
    owner: Option<String>,
    counter: u64,
    since: Instant,
    /// It has changed while we looked.
    moves: bool,
}

impl Watch {
    /// The leases as they stand now.
    pub(super) fn look(&mut self, leases: &[Lease]) {
        let now = Instant::now();
        for lease in leases {
            let is_new = !self.seen.contains_key(&lease.shard);
            let seen = self.seen.entry(lease.shard.clone()).or_insert_with(|| Seen {
                owner: lease.owner.clone(),
                counter: lease.counter,
                since: now,
                moves: false,
            });
            if !is_new && (seen.counter != lease.counter || seen.owner != lease.owner) {
                *seen = Seen { owner: lease.owner.clone(), counter: lease.counter, since: now, moves: true };
            }
        }
        self.seen.retain(|shard, _| leases.iter().any(|lease| lease.shard == *shard));
    }

    /// Whether nobody has a shard: its lease was given back, or has not been renewed for as long as it lasts.
    pub(super) fn is_free(&self, shard: &str, lasts: Duration) -> bool {
        self.seen.get(shard).is_none_or(|seen| seen.owner.is_none() || seen.since.elapsed() >= lasts)
    }

    /// Whether somebody certainly has it: the lease was renewed while we looked.
    pub(super) fn is_alive(&self, shard: &str, lasts: Duration) -> bool {
        self.seen.get(shard).is_some_and(|seen| seen.moves) && !self.is_free(shard, lasts)
    }
}

/// Shards to take now, of those that may be read: what is free up to our part; where nothing is, and another has at least
/// two more than we, some of its shards. One is taken from it at a time, or half of what is missing, where that is
/// more: so that hundreds are balanced within a minute, too.
pub(super) fn choose(
    me: &str,
    leases: &[Lease],
    is_free: impl Fn(&str) -> bool,
    takes_all: bool,
) -> Vec<Lease> {
    let is_mine = |lease: &&Lease| lease.owner.as_deref() == Some(me);
    let mine = leases.iter().filter(is_mine).count();
    let mut others: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    for lease in leases.iter().filter(|lease| !is_mine(lease) && !is_free(&lease.shard)) {
        others.entry(lease.owner.as_deref().unwrap_or_default()).or_default().push(lease);
    }
    let readers = others.len() + 1;
    let part = if takes_all { leases.len() } else { leases.len().div_ceil(readers) };
    let mut free: Vec<&Lease> =
        leases.iter().filter(|lease| !is_mine(lease) && is_free(&lease.shard)).collect();
    // Several that begin at once do not all want the same.
    let chance = |lease: &Lease| xxhash_rust::xxh3::xxh3_64(format!("{me} {}", lease.shard).as_bytes());
    free.sort_by_key(|lease| chance(lease));
    if !free.is_empty() {
        free.truncate(part.saturating_sub(mine));
        return free.into_iter().cloned().collect();
    }
    let Some(most) = others.values_mut().max_by_key(|leases| leases.len()) else { return Vec::new() };
    if takes_all || most.len() < mine + 2 {
        return Vec::new();
    }
    let missing = (leases.len() / readers).saturating_sub(mine);
    most.sort_by_key(|lease| chance(lease));
    most.truncate(missing.div_ceil(2).clamp(1, most.len() - mine - 1));
    most.iter().copied().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(number: usize) -> Vec<Lease> {
        let lease = |number| Lease { shard: format!("s{number:03}").into(), owner: None, counter: 0 };
        (0..number).map(lease).collect()
    }

    fn counts(leases: &[Lease]) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for lease in leases {
            *counts.entry(lease.owner.clone().unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    /// Readers come one after the other: each has its part after twelve looks of five seconds, and then nothing moves.
    #[test]
    fn parts_are_balanced_within_a_minute_and_then_stay() {
        for (shards, readers) in [(1, 3), (4, 3), (20, 3), (7, 2), (300, 3), (2, 5), (60, 7)] {
            let mut table = leases(shards);
            let look = |table: &mut Vec<Lease>, me: &str| {
                let free: Vec<Arc<str>> = table
                    .iter()
                    .filter(|lease| lease.owner.is_none())
                    .map(|lease| lease.shard.clone())
                    .collect();
                let taken = choose(me, table, |shard| free.iter().any(|free| **free == *shard), false);
                for lease in table.iter_mut().filter(|lease| taken.contains(lease)) {
                    lease.owner = Some(me.to_owned());
                }
                taken.len()
            };
            for newest in 0..readers {
                for _ in 0..12 {
                    (0..=newest).for_each(|reader| _ = look(&mut table, &format!("r{reader}")));
                }
                let counts = counts(&table);
                let (least, most) = (shards / (newest + 1), shards.div_ceil(newest + 1));
                assert!(
                    counts.values().all(|count| (least..=most.max(least + 1)).contains(count)),
                    "{shards} {newest}: {counts:?}"
                );
                assert_eq!(counts.values().sum::<usize>(), shards);
            }
            assert_eq!(
                (0..readers).map(|reader| look(&mut table, &format!("r{reader}"))).sum::<usize>(),
                0,
                "{shards} {readers}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_free_when_it_was_not_renewed_by_our_own_clock() {
        let (mut watch, lasts) = (Watch::default(), Duration::from_secs(30));
        let mut table = leases(2);
        table[0].owner = Some("other".to_owned());
        watch.look(&table);
        assert!(
            !watch.is_free("s000", lasts) && watch.is_free("s001", lasts) && !watch.is_alive("s000", lasts)
        );
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(10)).await;
            table[0].counter += 1;
            watch.look(&table);
            assert!(!watch.is_free("s000", lasts) && watch.is_alive("s000", lasts));
        }
        tokio::time::advance(Duration::from_secs(29)).await;
        watch.look(&table);
        assert!(!watch.is_free("s000", lasts));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(watch.is_free("s000", lasts) && !watch.is_alive("s000", lasts));
    }

    #[test]
    fn who_ships_what_is_there_takes_all_that_is_free_and_nothing_from_others() {
        let mut table = leases(6);
        (0..3).for_each(|number| table[number].owner = Some("other".to_owned()));
        let is_free = |shard: &str| shard >= "s003";
        assert_eq!(choose("me", &table, is_free, true).len(), 3);
        (3..6).for_each(|number| table[number].owner = Some("other".to_owned()));
        assert!(choose("me", &table, |_| false, true).is_empty());
    }
}
