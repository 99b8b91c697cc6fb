//! Objects of a bucket, for reading them one after the other: fetched ahead, in the order they are found.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::ack::{Note, Settled, Verdict};
use crate::clock::Clock;
use crate::config::Since;
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::pipeline::room::Room;
use crate::source::piped::Pipe;
use crate::source::s3::{Config, S3};
use crate::source::{Body, Build, Delivery, FetchError, Remote, Source as _};
use crate::state::Store;

/// Objects fetched ahead.
const AHEAD: usize = 16;
/// Objects up to this size are fetched whole, bytes; of a larger one some pieces are.
const WHOLE: u64 = 4 << 20;
/// Pieces of a large object that are read ahead.
const PIECES: usize = 8;
/// How often an object is asked for.
const TRIES: u32 = 5;

/// An object on its way.
pub(super) struct Object {
    /// `s3://bucket/key`
    pub(super) address: String,
    /// Its bytes, or why it cannot be had.
    pub(super) bytes: Result<Coming, String>,
}

/// An object's bytes.
pub(super) enum Coming {
    /// All of them.
    Whole(Vec<u8>),
    /// As they come.
    Pieces(Pieces),
}

/// What is found below `s3://bucket/prefix`.
pub(super) struct Bucket {
    objects: mpsc::Receiver<Object>,
    /// Dropped last: it carries the task.
    _runtime: Runtime,
}

impl Bucket {
    /// Begins to list and to fetch what is named since a time. `place` is `bucket/prefix`.
    pub(super) fn open(place: &str, since: Since, clock: &Clock) -> anyhow::Result<Bucket> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        anyhow::ensure!(
            !bucket.is_empty(),
            "there is no bucket in `s3://{place}`: write s3://BUCKET[/PREFIX]"
        );
        let mut config: Config = toml::from_str("bucket = \"\"")?;
        config.bucket = bucket.to_owned().into();
        config.prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()).map(Into::into);
        config.since = since.into();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let store = Arc::new(Store::in_memory(clock)?);
        let build = Build {
            pipeline: "",
            name: "cat",
            store,
            clock: clock.clone(),
            once: true,
            stdin: Pipe::empty(),
            room: Room::apart(64 << 20),
        };
        let source = S3::build(&config, &build)?;
        let (to, objects) = mpsc::channel(1);
        runtime.spawn(Box::pin(fetch(source, to)));
        Ok(Bucket { objects, _runtime: runtime })
    }

    /// The next object.
    pub(super) fn next(&mut self) -> Option<Object> {
        self.objects.blocking_recv()
    }
}

async fn fetch(source: S3, to: mpsc::Sender<Object>) {
    let mut found = VecDeque::new();
    let mut coming = FuturesOrdered::new();
    let mut ended = false;
    loop {
        if found.is_empty() && !ended {
            match source.next(AHEAD * 4).await {
                Ok(Some(deliveries)) => {
                    // Nothing is remembered, so there is nothing to wait for.
                    let settled = deliveries.iter().map(|delivery| Settled {
                        id: delivery.id,
                        key: DeliveryKey::default(),
                        verdict: Verdict::Delivered,
                        note: Note::None,
                        books: Books::default(),
                    });
                    let _ = source.settle(settled.collect()).await;
                    found.extend(deliveries);
                }
                Ok(None) => ended = true,
                Err(error) => {
                    let _ = to.send(Object { address: String::new(), bytes: Err(error.to_string()) }).await;
                    return;
                }
            }
        }
        while coming.len() < AHEAD
            && let Some(delivery) = found.pop_front()
        {
            coming.push_back(one(delivery));
        }
        let goes_on = match coming.next().await {
            Some(object) => to.send(object).await.is_ok(),
            None => !ended,
        };
        if !goes_on {
            return;
        }
    }
}

/// Fetches an object, or begins to.
async fn one(delivery: Delivery) -> Object {
    let address = delivery.origin.address.to_string();
    let bytes = match delivery.body {
        Body::Remote(remote) if remote.size().unwrap_or_default() <= WHOLE => {
            whole(&*remote).await.map(Coming::Whole)
        }
        Body::Remote(remote) => {
            let (to, pieces) = mpsc::channel(PIECES);
            tokio::spawn(async move { pass(&*remote, to).await });
            Ok(Coming::Pieces(Pieces { pieces, piece: Bytes::new() }))
        }
        _ => Err("it is no object of a bucket".to_owned()),
    };
    Object { address, bytes }
}

async fn whole(remote: &dyn Remote) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    read(remote, |piece| {
        bytes.extend_from_slice(&piece);
        std::future::ready(true)
    })
    .await?;
    Ok(bytes)
}

async fn pass(remote: &dyn Remote, to: mpsc::Sender<io::Result<Bytes>>) {
    let send = |piece| {
        let to = &to;
        async move { to.send(Ok(piece)).await.is_ok() }
    };
    if let Err(error) = read(remote, send).await {
        let _ = to.send(Err(io::Error::other(error))).await;
    }
}

/// Hands the pieces on, going on where a connection broke off.
async fn read<F: Future<Output = bool>>(
    remote: &dyn Remote,
    mut take: impl FnMut(Bytes) -> F,
) -> Result<(), String> {
    let (mut at, mut tries) = (0_u64, 0);
    'again: loop {
        let broken = match remote.open(at).await {
            Ok(mut pieces) => loop {
                match pieces.next().await {
                    Ok(Some(piece)) => {
                        (at, tries) = (at + piece.len() as u64, 0);
                        if !take(piece).await {
                            return Ok(());
                        }
                    }
                    Ok(None) if at >= remote.size().unwrap_or_default() => return Ok(()),
                    Ok(None) => break "the connection ended before the object did".to_owned(),
                    Err(FetchError::Retry(error)) => break error,
                    Err(FetchError::Object(error) | FetchError::Place(error)) => return Err(error),
                }
            },
            Err(FetchError::Retry(error)) => error,
            Err(FetchError::Object(error) | FetchError::Place(error)) => return Err(error),
        };
        tries += 1;
        if tries == TRIES {
            return Err(broken);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200 << tries)).await;
        continue 'again;
    }
}

/// The bytes of a large object, as they come.
pub(super) struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.piece.len());
        into[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
