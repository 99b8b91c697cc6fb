//! Fetches objects that are not on this machine, ahead of the workers and within the byte budget.
//!
//! One task an object, begun in the order they were lent. A small object is fetched whole, its memory first; a large one
//! passes through piece by piece, decoded on a thread of its own. What fails on the way is asked for again from where it
//! broke off, for ever, with pauses; only what the object itself is the reason of ends the loan.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::budget::{Kind, Permit};
use super::job::{Job, read_whole};
use super::line::Pipeline;
use super::pool::Pool;
use crate::source::{FetchError, Pieces, Remote};

/// Objects fetched at once, of one pipeline.
const AT_ONCE: usize = 128;
/// Large objects at once: each has a thread.
const LARGE_AT_ONCE: usize = 2;
/// Pieces of a large object that are read ahead.
const AHEAD: usize = 4;
/// What the pieces of a large object on their way are counted as, bytes.
const PIECES: usize = 1 << 20;
/// First pause before something is asked for again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How soon it is looked again whether memory has come back.
const LOOK: Duration = Duration::from_millis(5);

/// Fetches for one pipeline.
pub struct Fetcher {
    pipeline: Arc<Pipeline>,
    pool: Arc<Pool>,
    slots: Semaphore,
    large: Semaphore,
    /// KiB that may be fetched ahead of the workers: a quarter of the budget, so that windows find room.
    ahead: Arc<Semaphore>,
    most_ahead: u32,
    /// Held by whoever waits for memory, so that the oldest gets it first.
    turn: Mutex<()>,
    /// Requests that are waiting to be made again.
    retrying: AtomicUsize,
}

impl Fetcher {
    /// A fetcher that pushes into a pipeline's lane.
    pub fn new(pipeline: Arc<Pipeline>, pool: Arc<Pool>) -> Arc<Fetcher> {
        let most_ahead = u32::try_from(pipeline.budget.total() / 4 / 1024).unwrap_or(u32::MAX >> 4).max(1);
        Arc::new(Fetcher {
            ahead: Arc::new(Semaphore::new(most_ahead as usize)),
            most_ahead,
            pipeline,
            pool,
            slots: Semaphore::new(AT_ONCE),
            large: Semaphore::new(LARGE_AT_ONCE),
            turn: Mutex::new(()),
            retrying: AtomicUsize::new(0),
        })
    }

    /// Begins to fetch a job's object. When it is there, a worker goes on with the job.
    pub fn push(self: &Arc<Self>, job: Job, remote: Arc<dyn Remote>) {
        let fetcher = self.clone();
        tokio::spawn(async move { fetcher.fetch(job, &*remote).await });
    }

    async fn fetch(&self, mut job: Job, remote: &dyn Remote) {
        // Tasks are begun in the order they are spawned, and semaphores are fair. They are never closed.
        let Ok(_slot) = self.slots.acquire().await else { return };
        let size = match self.size(remote).await {
            Ok(size) => size,
            Err(reason) => {
                job.refuse(reason);
                return self.pool.push(self.pipeline.number, [job]);
            }
        };
        if size >= read_whole(&self.pipeline.limits) {
            return self.pass_through(job, remote, size).await;
        }
        let wants = usize::try_from(size).unwrap_or(usize::MAX);
        let share = u32::try_from(wants.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.most_ahead);
        let Ok(ahead) = self.ahead.clone().acquire_many_owned(share).await else { return };
        let permit = self.memory(wants.max(1)).await;
        let mut bytes = Vec::with_capacity(wants);
        let fetched = self
            .pieces(remote, size, |piece| {
                let fits = bytes.len() + piece.len() <= wants;
                bytes.extend_from_slice(&piece[..piece.len().min(wants - bytes.len())]);
                std::future::ready(if fits { Ok(()) } else { Err(FetchError::Object(GREW.to_owned())) })
            })
            .await;
        match fetched {
            Ok(()) => job.give(bytes, permit, ahead),
            Err(reason) => job.refuse(reason),
        }
        self.pool.push(self.pipeline.number, [job]);
    }

    /// A large object: decoded while it comes.
    async fn pass_through(&self, mut job: Job, remote: &dyn Remote, size: u64) {
        let Ok(_large) = self.large.acquire().await else { return };
        let _permit = self.memory(PIECES).await;
        let (to, pieces) = mpsc::channel(AHEAD);
        job.stream(Box::new(Stream { pieces, piece: Bytes::new(), ended: false }));
        if let Err(error) = self.pool.push_alone(job) {
            tracing::error!(%error, "starting a thread for a large object: it is lent again");
            return;
        }
        let send = |piece: Bytes| {
            let to = &to;
            async move {
                to.send(Ok(piece))
                    .await
                    .map_err(|_| FetchError::Object("the worker has given it up".to_owned()))
            }
        };
        let ended = match self.pieces(remote, size, send).await {
            Ok(()) => Ok(Bytes::new()),
            Err(reason) => Err(io::Error::other(reason)),
        };
        let _ = to.send(ended).await;
    }

    /// Hands an object's pieces on, in order, going on where a connection broke off.
    async fn pieces<F: Future<Output = Result<(), FetchError>>>(
        &self,
        remote: &dyn Remote,
        size: u64,
        mut take: impl FnMut(Bytes) -> F,
    ) -> Result<(), FetchError> {
        let (mut at, mut pause) = (0_u64, FIRST_PAUSE);
        let mut open: Option<Box<dyn Pieces>> = None;
        loop {
            let next = match &mut open {
                None => remote.open(at).await.map(|pieces| {
                    open = Some(pieces);
                    Bytes::new()
                }),
                Some(pieces) => match pieces.next().await {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) if at >= size => return Ok(()),
                    Ok(None) => {
                        Err(FetchError::Retry("the connection ended before the object did".to_owned()))
                    }
                    Err(error) => Err(error),
                },
            };
            match next {
                Ok(piece) => {
                    if !piece.is_empty() {
                        pause = FIRST_PAUSE;
                        at += piece.len() as u64;
                        take(piece).await?;
                    }
                }
                Err(FetchError::Retry(message)) => {
                    open = None;
                    self.rest(&message, &mut pause).await;
                }
                Err(reason) => return Err(reason),
            }
        }
    }

    async fn size(&self, remote: &dyn Remote) -> Result<u64, FetchError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let asked = match remote.size() {
                Some(size) => Ok(size),
                None => remote.ask_size().await,
            };
            match asked {
                Ok(size) => return Ok(size),
                Err(FetchError::Retry(message)) => self.rest(&message, &mut pause).await,
                Err(reason) => return Err(reason),
            }
        }
    }

    async fn rest(&self, message: &str, pause: &mut Duration) {
        tracing::warn!(pipeline = %self.pipeline.name, "{message}: trying again");
        self.retrying.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(jittered(*pause)).await;
        self.retrying.fetch_sub(1, Ordering::Relaxed);
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    /// Waits for memory for an object as stored.
    async fn memory(&self, bytes: usize) -> Permit {
        let _turn = self.turn.lock().await;
        let budget = &self.pipeline.budget;
        loop {
            if let Some(permit) = budget.try_take(self.pipeline.account, Kind::Body, bytes) {
                return permit;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Requests that failed and are waiting to be made again.
    pub fn retrying(&self) -> usize {
        self.retrying.load(Ordering::Relaxed)
    }
}

const GREW: &str = "it is larger than it was listed: it was replaced meanwhile";

/// Between half a pause and a whole one, so that many do not ask again at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let random = std::hash::BuildHasher::hash_one(&foldhash::fast::RandomState::default(), pause);
    pause / 2 + pause.mul_f64((random % 1024) as f64 / 2048.0)
}

/// The worker's end of an object that passes through.
struct Stream {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    ended: bool,
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) if piece.is_empty() => self.ended = true,
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::other("fetching it was given up")),
            }
        }
        let length = into.len().min(self.piece.len());
        into[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
