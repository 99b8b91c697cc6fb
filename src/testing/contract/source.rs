//! What every source must do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_util::FutureExt as _;

use super::Chance;
use crate::ack::{Note, Reached, Settled, SettledPart, Verdict};
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::source::{Delivery, Source};

/// Checks a source that has `expected` objects to lend: each is lent with a number of its own; what fails is lent again;
/// what was delivered never is, not even by the next run; a `next` that is cancelled loses nothing. Where it takes parts:
/// what is lent again begins where the last part ended, in this run and in the next, however the run before ended.
///
/// `open` opens the source as the next run would.
///
/// # Errors
/// The first breach.
pub async fn source<S: Source>(open: impl Fn() -> S, expected: usize, seed: u64) -> Result<(), String> {
    let mut loans = Loans { chance: Chance::new(seed), ..Loans::default() };
    // The first run is stopped in the middle, the second goes to the end.
    for run in 0..2 {
        let source = open();
        loans.numbers.clear();
        for round in 0.. {
            if round > 50 * (expected + 1) {
                return Err(format!("{expected} objects, and after {round} rounds it still lends"));
            }
            let stops = run == 0 && loans.delivered.len() * 2 >= expected;
            let most = usize::try_from(1 + loans.chance.below(5)).unwrap_or(1);
            // A poll that is given up must not lose anything; one that was ready at once has lent.
            let lent = match source.next(most).now_or_never() {
                Some(lent) => lent,
                None => match tokio::time::timeout(Duration::from_secs(600), source.next(most)).await {
                    Err(_) => return Err("`next` gave nothing within ten minutes".into()),
                    Ok(lent) => lent,
                },
            };
            let lent = match lent {
                Err(error) => return Err(format!("`next`: {error}")),
                Ok(None) => break,
                Ok(Some(lent)) => lent,
            };
            if lent.is_empty() || lent.len() > most {
                return Err(format!("`next({most})` lent {}", lent.len()));
            }
            let parts = loans.parts(&lent)?;
            if !parts.is_empty() {
                source.settle_part(parts).await.map_err(|error| format!("`settle_part`: {error}"))?;
            }
            if stops {
                // The run ends before these do.
                break;
            }
            let ends = lent.iter().map(|delivery| loans.end(delivery)).collect();
            source.settle(ends).await.map_err(|error| format!("`settle`: {error}"))?;
        }
    }
    if let Some((address, times)) = loans.delivered.iter().find(|(_, times)| **times != 1) {
        return Err(format!("{address} was delivered {times} times"));
    }
    if loans.delivered.len() != expected {
        return Err(format!("{expected} objects, {} delivered", loans.delivered.len()));
    }
    Ok(())
}

/// What became of what was lent.
#[derive(Default)]
struct Loans {
    chance: Chance,
    /// How often each object was delivered.
    delivered: BTreeMap<String, u32>,
    /// How often each has failed.
    failed: HashMap<String, u32>,
    /// Up to where each is settled.
    reached: HashMap<String, Reached>,
    numbers: HashSet<u64>,
}

impl Loans {
    /// Checks how deliveries begin; parts of some of them.
    fn parts(&mut self, lent: &[Delivery]) -> Result<Vec<SettledPart>, String> {
        let mut parts = Vec::new();
        for Delivery { id, identity, origin, from, .. } in lent {
            if !self.numbers.insert(id.0) {
                return Err(format!("number {} was lent twice", id.0));
            }
            let known = self.reached.get(&*origin.address).copied();
            let Some(from) = *from else {
                if known.is_some() {
                    return Err(format!("{} was settled in part and begins again", origin.address));
                }
                continue;
            };
            let reached = known.unwrap_or_default();
            if from != reached {
                return Err(format!(
                    "{} begins at {from:?}, and is settled up to {reached:?}",
                    origin.address
                ));
            }
            if self.chance.below(2) == 0 {
                let reached = Reached {
                    offset: from.offset + 1 + self.chance.below(1 << 40),
                    windows: from.windows + 1,
                    records: from.records + self.chance.below(1 << 40),
                };
                self.reached.insert(origin.address.to_string(), reached);
                let key = DeliveryKey::of(identity);
                parts.push(SettledPart { id: *id, key, reached, books: Books::default() });
            }
        }
        Ok(parts)
    }

    /// How a loan ends. Nothing fails often: a source may give up in the end.
    fn end(&mut self, delivery: &Delivery) -> Settled {
        let address = delivery.origin.address.to_string();
        let failed = self.failed.entry(address.clone()).or_default();
        let verdict = match self.chance.below(4) {
            0 if *failed < 3 => Verdict::Failed,
            1 => Verdict::Rejected,
            _ => Verdict::Delivered,
        };
        if verdict == Verdict::Failed {
            *failed += 1;
        } else {
            *self.delivered.entry(address).or_default() += 1;
        }
        let key = DeliveryKey::of(&delivery.identity);
        Settled { id: delivery.id, key, verdict, note: Note::None, books: Books::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::ack::DeliveryId;
    use crate::source::{Body, Origin, SourceError};

    /// What a source in memory keeps from run to run.
    #[derive(Default)]
    struct Kept {
        left: Vec<u64>,
        out: HashMap<u64, u64>,
        next: u64,
        reached: HashMap<u64, Reached>,
    }

    /// A source in memory, with a fault.
    struct Lender {
        kept: Arc<Mutex<Kept>>,
        fault: &'static str,
    }

    impl Lender {
        /// The next run: what the one before had not settled is lent again.
        fn open(kept: &Arc<Mutex<Kept>>, fault: &'static str) -> Lender {
            let mut run = kept.lock().unwrap();
            let out: Vec<u64> = run.out.drain().map(|(_, object)| object).collect();
            run.left.extend(out);
            if fault == "keeps parts in memory only" {
                run.reached.clear();
            }
            Lender { kept: kept.clone(), fault }
        }

        fn from(&self, reached: Option<&Reached>) -> Option<Reached> {
            let mut reached = reached.copied().unwrap_or_default();
            match self.fault {
                "takes no parts" => return None,
                "begins beyond a part" if reached.offset > 0 => reached.offset += 1,
                "begins before a part" => reached.offset = reached.offset.saturating_sub(1),
                "forgets the number of a part's window" => reached.windows = 0,
                "reads from the middle once" if reached.offset > 0 => return None,
                _ => {}
            }
            Some(reached)
        }
    }

    impl Source for Lender {
        async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
            let taken: Vec<u64> = {
                let left = &mut self.kept.lock().unwrap().left;
                let count = most.min(left.len());
                left.drain(..count).collect()
            };
            if self.fault == "not cancel-safe" {
                tokio::task::yield_now().await;
            }
            let mut lent = Vec::new();
            for object in taken {
                let mut kept = self.kept.lock().unwrap();
                kept.next += u64::from(self.fault != "repeats numbers");
                let id = kept.next;
                kept.out.insert(id, object);
                lent.push(Delivery {
                    id: DeliveryId(id),
                    identity: object.to_string().into(),
                    origin: Origin { address: object.to_string().into(), ..Origin::default() },
                    body: Body::Bytes(bytes::Bytes::new()),
                    failures: 0,
                    growing: false,
                    again: None,
                    from: self.from(kept.reached.get(&object)),
                });
            }
            Ok(if lent.is_empty() { None } else { Some(lent) })
        }

        async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
            for end in settled {
                let mut kept = self.kept.lock().unwrap();
                let object = kept.out.remove(&end.id.0).unwrap();
                let again = match self.fault {
                    "never lends again" => false,
                    "lends again what was delivered" => true,
                    _ => end.verdict == Verdict::Failed,
                };
                if again {
                    kept.left.push(object);
                }
            }
            Ok(())
        }

        async fn settle_part(&self, parts: Vec<SettledPart>) -> Result<(), SourceError> {
            assert_ne!(self.fault, "takes no parts", "it is not asked");
            let mut kept = self.kept.lock().unwrap();
            for part in parts {
                let object = kept.out[&part.id.0];
                if self.fault != "forgets parts" {
                    kept.reached.insert(object, part.reached);
                }
            }
            Ok(())
        }
    }

    async fn lent(fault: &'static str) -> Result<(), String> {
        let kept = Arc::new(Mutex::new(Kept { left: (0..40).collect(), ..Kept::default() }));
        source(|| Lender::open(&kept, fault), 40, 3).await
    }

    #[tokio::test]
    async fn a_source_that_keeps_the_contract_passes_and_every_broken_one_fails() {
        for kept in ["", "takes no parts"] {
            assert_eq!(lent(kept).await, Ok(()), "{kept}");
        }
        for fault in [
            "never lends again",
            "repeats numbers",
            "lends again what was delivered",
            "not cancel-safe",
            "begins beyond a part",
            "begins before a part",
            "forgets the number of a part's window",
            "reads from the middle once",
            "forgets parts",
            "keeps parts in memory only",
        ] {
            assert!(lent(fault).await.is_err(), "{fault}");
        }
    }
}
