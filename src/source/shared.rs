//! One source that several pipelines name and that cannot be read twice (a queue, an endpoint): read once, and lent to all
//! of them. What is lent is settled when the last of them has settled it, with the worst verdict; what is then lent again
//! goes only to those that still want it. Whoever is slow holds up the others: their fate is shared.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex as Turn, Notify};

use super::figures::Figures;
use super::{Body, Delivery, Source, SourceError};
use crate::ack::{DeliveryId, Settled, SettledPart, Verdict};
use crate::config::SourceConfig;
use crate::pipeline::outcomes::DeliveryKey;

/// Deliveries that wait for one of the pipelines, at most; then nobody gets more.
const MOST_WAITING: usize = 256;
/// Deliveries that failed and of which it is remembered who has them, at most.
const MOST_OWED: usize = 16 << 10;

/// One pipeline's end of a source.
pub struct Branch {
    hub: Arc<Hub>,
    number: usize,
}

struct Hub {
    source: Arc<dyn Whole>,
    /// Held by the branch that asks the source.
    turn: Turn<()>,
    desk: Mutex<Desk>,
    /// Of each branch: something is in its queue, or its queue has room again.
    news: Vec<Notify>,
    open: AtomicUsize,
}

#[derive(Default)]
struct Desk {
    queues: Vec<VecDeque<Delivery>>,
    loans: HashMap<DeliveryId, Loan>,
    /// Who has what failed for others, and in what order that was learned.
    has: HashMap<DeliveryKey, Vec<bool>>,
    order: VecDeque<DeliveryKey>,
    ended: bool,
}

/// A delivery that not all have settled.
struct Loan {
    left: usize,
    /// Of each branch: it has it.
    has: Vec<bool>,
    worst: Option<Settled>,
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A source of any type, so that one may stand inside another: `Source`, with futures of a known type.
trait Whole: Send + Sync {
    fn next(&self, most: usize) -> BoxFuture<'_, Result<Option<Vec<Delivery>>, SourceError>>;
    fn settle(&self, settled: Vec<Settled>) -> BoxFuture<'_, Result<(), SourceError>>;
    fn stopping(&self);
    fn renew(&self, config: &SourceConfig);
    fn close(&self) -> BoxFuture<'_, ()>;
    fn trouble(&self) -> Option<String>;
    fn figures(&self) -> Figures;
    fn unsettled(&self) -> Vec<String>;
}

impl<S: Source> Whole for S {
    fn next(&self, most: usize) -> BoxFuture<'_, Result<Option<Vec<Delivery>>, SourceError>> {
        Box::pin(Source::next(self, most))
    }
    fn settle(&self, settled: Vec<Settled>) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(Source::settle(self, settled))
    }
    fn stopping(&self) {
        Source::stopping(self);
    }
    fn renew(&self, config: &SourceConfig) {
        Source::renew(self, config);
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(Source::close(self))
    }
    fn trouble(&self) -> Option<String> {
        Source::trouble(self)
    }
    fn figures(&self) -> Figures {
        Source::figures(self)
    }
    fn unsettled(&self) -> Vec<String> {
        Source::unsettled(self)
    }
}

impl Branch {
    /// Parts a source into as many ends as there are pipelines.
    pub fn new<S: Source + 'static>(source: Arc<S>, pipelines: usize) -> Vec<Branch> {
        let queues = (0..pipelines).map(|_| VecDeque::new()).collect();
        let hub = Arc::new(Hub {
            source,
            turn: Turn::new(()),
            desk: Mutex::new(Desk { queues, ..Desk::default() }),
            news: (0..pipelines).map(|_| Notify::new()).collect(),
            open: AtomicUsize::new(pipelines),
        });
        (0..pipelines).map(|number| Branch { hub: hub.clone(), number }).collect()
    }
}

impl Desk {
    /// Puts a delivery into the queues of those that still want it.
    fn lend(&mut self, delivery: &Delivery) -> Result<(), SourceError> {
        let key = DeliveryKey::of(&delivery.identity);
        let everybody = || vec![false; self.queues.len()];
        let has = match self.has.get(&key) {
            Some(has) if key != DeliveryKey::default() => has.clone(),
            _ => everybody(),
        };
        let left = has.iter().filter(|has| !**has).count();
        for (queue, _) in self.queues.iter_mut().zip(&has).filter(|(_, has)| !**has) {
            let twin = twin(delivery).ok_or_else(|| {
                SourceError::Stop("what is read once cannot be lent to several pipelines".to_owned())
            })?;
            queue.push_back(twin);
        }
        self.loans.insert(delivery.id, Loan { left, has, worst: None });
        Ok(())
    }

    /// One branch has settled; what the source is to be told, if it was the last.
    fn settle(&mut self, number: usize, settled: Settled) -> Option<Settled> {
        let loan = self.loans.get_mut(&settled.id)?;
        if let Some(has) = loan.has.get_mut(number) {
            *has = settled.verdict != Verdict::Failed;
        }
        loan.left = loan.left.saturating_sub(1);
        let worse = loan.worst.as_ref().is_none_or(|worst| worst.verdict <= settled.verdict);
        let (id, key) = (settled.id, settled.key);
        if worse {
            loan.worst = Some(settled);
        }
        if loan.left > 0 {
            return None;
        }
        let Loan { has, worst, .. } = self.loans.remove(&id)?;
        if !has.iter().any(|has| !has) {
            self.has.remove(&key);
        } else if has.contains(&true) && key != DeliveryKey::default() && self.has.insert(key, has).is_none()
        {
            self.order.push_back(key);
            while self.order.len() > MOST_OWED {
                // It may have been settled since; then there is nothing to forget.
                if let Some(oldest) = self.order.pop_front() {
                    self.has.remove(&oldest);
                }
            }
        }
        worst
    }
}

/// The same delivery once more; `None`: its bytes can be read only once.
fn twin(delivery: &Delivery) -> Option<Delivery> {
    let body = match &delivery.body {
        Body::File { path, size, check } => {
            Body::File { path: path.clone(), size: *size, check: check.clone() }
        }
        Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Body::Remote(remote) => Body::Remote(remote.clone()),
        Body::Stream(_) => return None,
    };
    Some(Delivery {
        id: delivery.id,
        identity: delivery.identity.clone(),
        origin: delivery.origin.clone(),
        body,
        failures: delivery.failures,
        growing: delivery.growing,
        again: delivery.again.clone(),
        // Parts would have to be settled by all; whoever lends to several settles as a whole.
        from: None,
    })
}

impl Source for Branch {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        let (hub, number) = (&*self.hub, self.number);
        let news = &hub.news[number];
        loop {
            let room = {
                let mut desk = lock(&hub.desk);
                let queue = &mut desk.queues[number];
                if !queue.is_empty() {
                    let was_full = queue.len() >= MOST_WAITING;
                    let taken = most.min(queue.len());
                    let lent = queue.drain(..taken).collect();
                    drop(desk);
                    if was_full {
                        hub.news.iter().for_each(Notify::notify_one);
                    }
                    return Ok(Some(lent));
                }
                if desk.ended {
                    return Ok(None);
                }
                MOST_WAITING.saturating_sub(desk.queues.iter().map(VecDeque::len).max().unwrap_or_default())
            };
            if room == 0 {
                news.notified().await;
                continue;
            }
            let _turn = tokio::select! {
                biased;
                () = news.notified() => continue,
                turn = hub.turn.lock() => turn,
            };
            let lent = tokio::select! {
                biased;
                // Somebody else may have asked just before.
                () = news.notified() => continue,
                lent = hub.source.next(most.min(room)) => lent?,
            };
            let mut desk = lock(&hub.desk);
            match lent {
                Some(lent) => lent.iter().try_for_each(|delivery| desk.lend(delivery))?,
                None => desk.ended = true,
            }
            drop(desk);
            hub.news.iter().for_each(Notify::notify_one);
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        let told: Vec<Settled> = {
            let mut desk = lock(&self.hub.desk);
            settled.into_iter().filter_map(|settled| desk.settle(self.number, settled)).collect()
        };
        if told.is_empty() { Ok(()) } else { self.hub.source.settle(told).await }
    }

    async fn settle_part(&self, _: Vec<SettledPart>) -> Result<(), SourceError> {
        Ok(())
    }

    fn stopping(&self) {
        self.hub.source.stopping();
    }

    fn renew(&self, config: &SourceConfig) {
        self.hub.source.renew(config);
    }

    async fn close(&self) {
        if self.hub.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.hub.source.close().await;
        }
    }

    fn trouble(&self) -> Option<String> {
        self.hub.source.trouble()
    }

    fn figures(&self) -> Figures {
        self.hub.source.figures()
    }

    fn unsettled(&self) -> Vec<String> {
        if self.number == 0 { self.hub.source.unsettled() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::{Branch, MOST_WAITING, lock};
    use crate::ack::{DeliveryId, Note, Settled, Verdict};
    use crate::pipeline::books::Books;
    use crate::pipeline::outcomes::DeliveryKey;
    use crate::source::{Body, Delivery, Origin, Source, SourceError, new_id};

    /// Lends numbered objects; what fails again, at once.
    #[derive(Default)]
    struct Numbers {
        left: Mutex<VecDeque<u64>>,
        lent: Mutex<HashMap<DeliveryId, u64>>,
        told: Mutex<Vec<(u64, Verdict)>>,
        returned: Notify,
        once: bool,
    }

    impl Source for Numbers {
        async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
            loop {
                let mut lent = Vec::new();
                while lent.len() < most {
                    let Some(number) = self.left.lock().unwrap().pop_front() else { break };
                    let id = new_id();
                    self.lent.lock().unwrap().insert(id, number);
                    lent.push(Delivery {
                        id,
                        identity: number.to_string().into(),
                        origin: Origin { address: number.to_string().into(), ..Origin::default() },
                        body: Body::Bytes("x".into()),
                        failures: 0,
                        growing: false,
                        again: None,
                        from: None,
                    });
                }
                if !lent.is_empty() {
                    return Ok(Some(lent));
                }
                if self.once && self.lent.lock().unwrap().is_empty() {
                    return Ok(None);
                }
                self.returned.notified().await;
            }
        }

        async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
            for settled in settled {
                let number = self.lent.lock().unwrap().remove(&settled.id).unwrap();
                self.told.lock().unwrap().push((number, settled.verdict));
                if settled.verdict == Verdict::Failed {
                    self.left.lock().unwrap().push_back(number);
                }
            }
            self.returned.notify_one();
            Ok(())
        }
    }

    fn end(delivery: &Delivery, verdict: Verdict) -> Settled {
        let key = DeliveryKey::of(&delivery.identity);
        Settled { id: delivery.id, key, verdict, note: Note::None, books: Books::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn all_get_everything_and_only_who_failed_gets_it_again() {
        let source = Numbers { left: Mutex::new((0..1000).collect()), once: true, ..Numbers::default() };
        let source = Arc::new(source);
        let branches: Vec<_> = Branch::new(source.clone(), 3).into_iter().map(Arc::new).collect();
        let hub = branches[0].hub.clone();
        let mut tasks = Vec::new();
        for branch in &branches {
            let branch = branch.clone();
            tasks.push(tokio::spawn(async move {
                let mut got: HashMap<String, u32> = HashMap::new();
                while let Some(lent) = branch.next(1 + branch.number * 7).await.unwrap() {
                    assert!(lent.len() <= 1 + branch.number * 7);
                    let mut ends = Vec::new();
                    for delivery in lent {
                        let times = got.entry(delivery.origin.address.to_string()).or_default();
                        *times += 1;
                        // Every tenth fails twice for the second pipeline.
                        let fails =
                            branch.number == 1 && *times < 3 && delivery.origin.address.ends_with('7');
                        ends.push(end(&delivery, if fails { Verdict::Failed } else { Verdict::Delivered }));
                    }
                    tokio::time::sleep(Duration::from_millis(branch.number as u64)).await;
                    branch.settle(ends).await.unwrap();
                }
                got
            }));
        }
        for (number, task) in tasks.into_iter().enumerate() {
            let got = task.await.unwrap();
            assert_eq!(got.len(), 1000);
            let thrice = |address: &str| number == 1 && address.ends_with('7');
            assert!(got.iter().all(|(address, times)| *times == if thrice(address) { 3 } else { 1 }));
        }
        let told = source.told.lock().unwrap();
        assert_eq!(told.iter().filter(|(_, verdict)| *verdict == Verdict::Delivered).count(), 1000);
        assert_eq!(told.len(), 1200);
        assert!(lock(&hub.desk).has.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_runs_ahead_of_who_is_stuck_and_nothing_is_settled_without_it() {
        let source = Numbers { left: Mutex::new((0..1000).collect()), ..Numbers::default() };
        let source = Arc::new(source);
        let mut branches = Branch::new(source.clone(), 2);
        let (stuck, fast) = (branches.remove(1), branches.remove(0));
        let mut got = 0;
        while let Ok(lent) = tokio::time::timeout(Duration::from_secs(5), fast.next(100)).await {
            let lent = lent.unwrap().unwrap();
            got += lent.len();
            fast.settle(lent.iter().map(|lent| end(lent, Verdict::Delivered)).collect()).await.unwrap();
        }
        assert_eq!(got, MOST_WAITING);
        assert!(source.told.lock().unwrap().is_empty());
        // It goes on, and both do.
        let lent = stuck.next(300).await.unwrap().unwrap();
        assert_eq!(lent.len(), MOST_WAITING);
        assert!(!fast.next(100).await.unwrap().unwrap().is_empty());
    }
}
