//! Scripted sources and sinks: everything they do is drawn from the seed, and all their time is virtual.

use std::collections::{HashMap, VecDeque};
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::objects::{Object, id};
use crate::ack::{DeliveryId, Settled, Verdict};
use crate::sink::refusals::Refusals;
use crate::sink::{Payload, Sink, SinkError};
use crate::source::{Body, Delivery, Origin, Source, SourceError};
use crate::testing::contract::Chance;

/// Lends objects until each has been settled for good.
pub(super) struct Lender {
    state: Mutex<Lending>,
    changed: Notify,
    /// Whether it takes its time.
    slow: bool,
}

struct Lending {
    chance: Chance,
    left: VecDeque<Arc<Object>>,
    out: HashMap<u64, Arc<Object>>,
    next: u64,
    settled: usize,
    /// When it lent first.
    began: Option<tokio::time::Instant>,
}

impl Lender {
    pub(super) fn new(objects: Vec<Arc<Object>>, slow: bool, chance: Chance) -> Lender {
        let (left, out) = (objects.into(), HashMap::new());
        let state = Mutex::new(Lending { chance, left, out, next: 0, settled: 0, began: None });
        Lender { state, changed: Notify::new(), slow }
    }

    /// Deliveries that ended well.
    pub(super) fn settled(&self) -> usize {
        self.lock().settled
    }

    /// How long ago it lent first.
    pub(super) fn since_first(&self) -> Duration {
        self.lock().began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// What is on loan or waits to be.
    pub(super) fn open(&self) -> Vec<String> {
        let state = self.lock();
        let waiting = state.left.iter().map(|object| format!("{} (waits)", object.name));
        state.out.values().map(|object| object.name.clone()).chain(waiting).collect()
    }

    fn lend(&self, most: usize) -> Option<Vec<Delivery>> {
        let mut state = self.lock();
        let some = 1 + usize::try_from(state.chance.below(5)).unwrap();
        let count = if self.slow { most.min(some) } else { most }.min(state.left.len());
        let mut lent = Vec::new();
        for _ in 0..count {
            let object = state.left.pop_front()?;
            state.next += 1;
            state.began.get_or_insert_with(tokio::time::Instant::now);
            let number = state.next;
            state.out.insert(number, object.clone());
            // Now and then it is somewhere else than in a file.
            let body = match state.chance.below(5) {
                0 => Body::Bytes(std::fs::read(&object.path).unwrap().into()),
                _ => Body::File { path: object.path.clone(), size: object.size, check: Arc::new(|_| Ok(())) },
            };
            lent.push(Delivery {
                id: DeliveryId(number),
                identity: object.name.as_str().into(),
                origin: Origin { address: object.name.as_str().into(), ..Origin::default() },
                body,
                failures: 0,
                growing: false,
                again: None,
                from: None,
            });
        }
        if lent.is_empty() && (!state.left.is_empty() || !state.out.is_empty()) { None } else { Some(lent) }
    }

    fn lock(&self) -> MutexGuard<'_, Lending> {
        self.state.lock().unwrap()
    }
}

impl Source for Lender {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        loop {
            if self.slow {
                let pause = self.lock().chance.below(40);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            match self.lend(most) {
                Some(lent) if lent.is_empty() => return Ok(None),
                Some(lent) => return Ok(Some(lent)),
                None => self.changed.notified().await,
            }
        }
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        let pause = self.lock().chance.below(20);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut state = self.lock();
        for end in settled {
            let object =
                state.out.remove(&end.id.0).unwrap_or_else(|| panic!("{:?} was settled twice", end.id));
            if end.verdict == Verdict::Failed {
                state.left.push_back(object);
            } else {
                state.settled += 1;
            }
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }
}

/// How a sink behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manners {
    /// An answer takes up to this long, ms.
    pub(super) delay: u64,
    /// Of a hundred payloads, so many are to be tried again, a few times.
    pub(super) retries: u64,
    /// Of a hundred, so many are lost after they were taken.
    pub(super) loses: u64,
    /// Of a hundred, so many are refused, in whole or in part.
    pub(super) refuses: u64,
    /// It refuses every record, and each in words of its own.
    pub(super) wordy: bool,
    /// Whether it gives the memory back before it answers.
    pub(super) early: bool,
    /// After so many payloads it is dead.
    pub(super) lives: Option<u64>,
    /// Dead: it says so again and again, or says nothing any more.
    pub(super) silent: bool,
    /// Writes at a time.
    pub(super) concurrency: usize,
}

/// What a sink has.
#[derive(Default)]
pub(super) struct Got {
    /// How often each record came.
    pub(super) records: HashMap<String, u32>,
    /// Records it refused for good.
    pub(super) refused: HashMap<String, u32>,
    pub(super) payloads: u64,
    pub(super) bytes: u64,
}

/// A sink in memory.
pub(super) struct Taker {
    pub(super) manners: Manners,
    state: Mutex<(Chance, Got)>,
}

enum Whim {
    Take,
    Retry,
    Lose,
    Refuse { all: bool },
    RefuseEach,
}

impl Taker {
    pub(super) fn new(manners: Manners, chance: Chance) -> Taker {
        Taker { manners, state: Mutex::new((chance, Got::default())) }
    }

    pub(super) fn got<T>(&self, look: impl FnOnce(&Got) -> T) -> T {
        look(&self.state.lock().unwrap().1)
    }

    fn draw(&self) -> (Duration, Whim, bool) {
        let (chance, got) = &mut *self.state.lock().unwrap();
        got.payloads += 1;
        let dead = self.manners.lives.is_some_and(|lives| got.payloads > lives);
        let delay = Duration::from_millis(chance.below(self.manners.delay + 1));
        // Nobody lies for ever.
        let throw = chance.below(100) + if got.payloads > 400 { 100 } else { 0 };
        let Manners { retries, loses, refuses, .. } = self.manners;
        let whim = match throw {
            _ if self.manners.wordy => Whim::RefuseEach,
            throw if throw < retries => Whim::Retry,
            throw if throw < retries + loses => Whim::Lose,
            throw if throw < retries + loses + refuses => Whim::Refuse { all: chance.below(4) == 0 },
            _ => Whim::Take,
        };
        (delay, whim, dead)
    }
}

/// The ids in a payload's body: of lines, or of an array with each element on a line.
fn lines(body: &[u8]) -> Vec<String> {
    let mut text = String::new();
    if body.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(body).read_to_string(&mut text).unwrap();
    } else {
        text.push_str(str::from_utf8(body).unwrap());
    }
    match text.strip_prefix('[') {
        None => assert!(text.ends_with('\n'), "a payload of whole lines"),
        Some(elements) => text = elements.strip_suffix(']').unwrap().to_owned() + "\n",
    }
    text.lines().map(|line| id(line).to_owned()).collect()
}

impl Sink for Taker {
    async fn write(&self, payload: &mut Payload) -> Result<(), SinkError> {
        let (delay, whim, dead) = self.draw();
        let ids = lines(&payload.body);
        assert_eq!(ids.len(), payload.records as usize);
        let size = payload.body.len() as u64;
        let mut from = 0;
        for share in &payload.shares {
            assert_eq!(share.first, from, "shares follow each other");
            from += share.records;
        }
        assert_eq!(from, payload.records, "shares cover the payload");
        if dead && self.manners.silent {
            std::future::pending::<()>().await;
        }
        let retry = || Err(SinkError::Retry { message: "busy".into(), after: None });
        if dead {
            return retry();
        }
        let stays = matches!(whim, Whim::Retry | Whim::Refuse { all: true });
        if self.manners.early && !stays {
            payload.release();
        }
        tokio::time::sleep(delay).await;
        let (chance, got) = &mut *self.state.lock().unwrap();
        match whim {
            Whim::Retry => retry(),
            Whim::Lose => Err(SinkError::Lost { message: "lost".into() }),
            Whim::Take => {
                got.bytes += size;
                ids.into_iter().for_each(|id| *got.records.entry(id).or_default() += 1);
                Ok(())
            }
            Whim::Refuse { all: true } => {
                ids.into_iter().for_each(|id| *got.refused.entry(id).or_default() += 1);
                Err(SinkError::Reject { message: "no".into() })
            }
            Whim::RefuseEach => {
                let mut refused = Refusals::default();
                for (position, id) in (0..).zip(ids) {
                    refused.refuse(position, &format!("{id} is odd"));
                    *got.refused.entry(id).or_default() += 1;
                }
                Err(SinkError::Partial { refused })
            }
            Whim::Refuse { all: false } => {
                let mut refused = Refusals::default();
                for (position, id) in ids.into_iter().enumerate() {
                    if chance.below(3) == 0 {
                        refused.refuse(u32::try_from(position).unwrap(), "too odd");
                        *got.refused.entry(id).or_default() += 1;
                    } else {
                        *got.records.entry(id).or_default() += 1;
                    }
                }
                Err(SinkError::Partial { refused })
            }
        }
    }

    fn concurrency(&self) -> usize {
        self.manners.concurrency.max(1)
    }
}
