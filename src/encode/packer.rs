//! The packer: joins encoded records of many deliveries into payloads, one packer for each sink.
//!
//! A worker checks out a partition's open chunk, writes records into it and checks it in again with the share of each
//! window; nobody else touches a chunk that is out, so no record is copied twice. A chunk becomes a payload when it is
//! full, when it is old enough, when nothing else is waiting, or when somebody waits for memory: then the oldest first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use tokio::sync::mpsc::UnboundedSender;

use super::compress::{Compression, Compressor};
use super::frame::Frame;
use crate::ack::Ack;
use crate::clock::Timestamp;
use crate::pipeline::budget::{AccountId, Budget, Kind, Permit};
use crate::sink::{Payload, Share};

/// What one sink wants its payloads to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// No payload is larger than this many bytes, before compression. (One larger record still goes, alone.)
    pub max_bytes: usize,
    /// A chunk of this many records is full.
    pub max_records: u32,
    /// A chunk is sent when its first record is this old.
    pub max_age: Duration,
    /// Sent as soon as no work is waiting: for sinks where small payloads cost nothing.
    pub when_idle: bool,
    /// How payloads are compressed.
    pub compression: Compression,
    /// Whether the sink may refuse single records, and so needs to know where each begins.
    pub lengths: bool,
    /// What stands around each record and around a payload.
    pub frame: Frame,
}

/// The smallest buffer a chunk starts with, bytes.
const SMALLEST: usize = 16 << 10;
/// How much room a chunk keeps for its last record, bytes.
const HEADROOM: usize = 16 << 10;

/// Encoded records that are not a payload yet.
#[derive(Debug)]
pub struct Chunk {
    /// Where within the sink.
    pub partition: Arc<str>,
    /// The encoded records, up to `length`; the rest is of no meaning.
    pub body: Vec<u8>,
    /// Bytes of encoded records.
    pub length: usize,
    /// How many.
    pub records: u32,
    /// Length of each, where the sink needs it.
    pub lengths: Vec<u32>,
    shares: Vec<Share>,
    permit: Permit,
    opened: Timestamp,
}

impl Chunk {
    /// Counts the record that was just written up to `end`, and takes the memory it needed. `false`: the memory
    /// was not there; it is used all the same, and no further record may be begun before some comes back.
    pub fn appended(&mut self, end: usize, lengths: bool) -> bool {
        self.records += 1;
        if lengths {
            self.lengths.push(u32::try_from(end - self.length).unwrap_or(u32::MAX));
        }
        self.length = end;
        let holds = self.body.capacity() + self.lengths.capacity() * 4;
        holds <= self.permit.bytes() || self.permit.grow_anyway(holds - self.permit.bytes())
    }

    /// Adds a window's share: the records appended since `first`.
    pub fn share(&mut self, ack: &Ack, first: u32, window: u32, ordinal: u32) {
        if self.records > first {
            let records = self.records - first;
            self.shares.push(Share { ack: ack.fork(), first, records, window, ordinal });
        }
    }
}

#[derive(Default)]
struct Open {
    by_partition: HashMap<Arc<str>, Vec<Chunk>>,
    chunks: usize,
}

/// Packs for one sink of one pipeline.
pub struct Packer {
    packing: Packing,
    budget: Budget,
    account: AccountId,
    open: Mutex<Open>,
    to: UnboundedSender<Sent>,
    /// What the last full chunk had grown to: a busy sink's chunks start at that.
    start: std::sync::atomic::AtomicUsize,
    spare: Arc<Spare>,
}

/// Buffers that were sent and can be filled again, with the memory they hold: fresh memory costs a page fault for each
/// 4 KiB. Given up as soon as somebody waits for memory, or nothing is to do.
#[derive(Debug, Default)]
pub struct Spare(Mutex<Vec<(Vec<u8>, Permit)>>);

impl Spare {
    /// Takes a buffer back, with its permit.
    pub fn give(&self, buffer: Vec<u8>, mut permit: Permit) {
        if buffer.capacity() < SMALLEST * 4 {
            return;
        }
        permit.shrink_to(buffer.capacity());
        if permit.is_wanted() {
            return;
        }
        self.lock().push((buffer, permit));
    }

    /// The buffer that came back last: it is the warmest.
    fn take(&self) -> Option<(Vec<u8>, Permit)> {
        self.lock().pop()
    }

    /// Gives them up.
    pub fn clear(&self) {
        // Dropped outside the lock: whoever waits for the memory is told.
        let given_up = std::mem::take(&mut *self.lock());
        drop(given_up);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Vec<u8>, Permit)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Packer {
    /// A packer whose payloads go to `to`.
    pub fn new(packing: Packing, budget: Budget, account: AccountId, to: UnboundedSender<Sent>) -> Packer {
        let start = std::sync::atomic::AtomicUsize::new(SMALLEST);
        let spare = Arc::default();
        Packer { packing, budget, account, open: Mutex::default(), to, start, spare }
    }

    /// What the sink wants.
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Memory one payload of this sink needs, bytes: the sink's part of its pipeline's reserve.
    pub fn reserve(packing: &Packing) -> usize {
        let lengths = if packing.lengths { (packing.max_records as usize).saturating_mul(4) } else { 0 };
        packing.max_bytes.saturating_add(HEADROOM).saturating_add(lengths)
    }

    /// Takes a partition's open chunk, or a new one. `None`: there is no memory for a new one.
    pub fn check_out(&self, partition: &Arc<str>, now: Timestamp) -> Option<Chunk> {
        {
            let mut open = self.lock();
            let chunk = open.by_partition.get_mut(partition).and_then(Vec::pop);
            if chunk.is_some() {
                open.chunks -= 1;
                return chunk;
            }
        }
        // A busy sink's chunks start with a used buffer; a quiet one's, small.
        let start = self.start.load(std::sync::atomic::Ordering::Relaxed);
        if start > SMALLEST
            && let Some((body, permit)) = self.spare.take()
        {
            return Some(self.chunk(partition, body, permit, now));
        }
        let take = |bytes| self.budget.try_take(self.account, Kind::Payload, bytes);
        let permit = take(start).or_else(|| take(SMALLEST))?;
        let body = Vec::with_capacity(permit.bytes());
        Some(self.chunk(partition, body, permit, now))
    }

    /// Takes a chunk in any case: for a record that is already decided about. The worker stops before the next.
    pub fn check_out_anyway(&self, partition: &Arc<str>, now: Timestamp) -> Chunk {
        let permit = self.budget.take_anyway(self.account, Kind::Payload, SMALLEST);
        self.chunk(partition, Vec::with_capacity(SMALLEST), permit, now)
    }

    fn chunk(&self, partition: &Arc<str>, mut body: Vec<u8>, permit: Permit, now: Timestamp) -> Chunk {
        let (records, lengths, shares) = (0, Vec::new(), Vec::new());
        let length = super::put(&mut body, 0, &self.packing.frame.open);
        Chunk { partition: partition.clone(), body, length, records, lengths, shares, permit, opened: now }
    }

    /// Gives up buffers that wait to be filled again.
    pub fn clear_spare(&self) {
        self.spare.clear();
    }

    /// Whether the record that was just written up to `end` is one too many: it belongs into the next payload.
    pub fn overflows(&self, chunk: &Chunk, end: usize) -> bool {
        let closed = end + self.packing.frame.close.len();
        closed.saturating_sub(self.packing.frame.separator.len()) > self.packing.max_bytes
            && chunk.records > 0
    }

    /// Whether the chunk should be sent before another record goes in.
    pub fn full(&self, chunk: &Chunk) -> bool {
        chunk.length >= self.packing.max_bytes || chunk.records >= self.packing.max_records
    }

    /// Makes room for about `bytes` more, in one step and within the sink's size. `false`: there is no memory; send
    /// the chunk, if it holds anything, and wait.
    pub fn room(&self, chunk: &mut Chunk, bytes: usize) -> bool {
        let needs = chunk.length + bytes;
        if needs <= chunk.body.capacity() {
            return true;
        }
        let wants = (chunk.body.capacity() * 2).min(self.packing.max_bytes + HEADROOM).max(needs);
        let permitted = chunk.permit.bytes();
        if wants > permitted && !chunk.permit.try_grow(wants - permitted) {
            return false;
        }
        chunk.body.truncate(chunk.length); // what is of no meaning is not copied
        chunk.body.reserve_exact(wants - chunk.length);
        true
    }

    /// Gives a chunk back, to be continued by whoever comes next.
    pub fn check_in(&self, chunk: Chunk) {
        if chunk.records == 0 {
            return;
        }
        let mut open = self.lock();
        open.chunks += 1;
        open.by_partition.entry(chunk.partition.clone()).or_default().push(chunk);
    }

    /// Makes the chunk a payload: compresses it and sends it to the sink.
    pub fn send(&self, mut chunk: Chunk, compressor: &mut Compressor) {
        if chunk.records == 0 {
            return;
        }
        chunk.body.truncate(chunk.length);
        self.packing.frame.end(&mut chunk.body);
        let raw_bytes = chunk.body.len();
        // Also where the next record did not fit any more: a busy sink's chunks are hardly ever full to the byte.
        if self.full(&chunk) || raw_bytes > self.packing.max_bytes / 2 {
            let grown = chunk.body.capacity().min(self.packing.max_bytes + 2 * HEADROOM);
            self.start.store(grown, std::sync::atomic::Ordering::Relaxed);
        }
        let body = match compressor.compress(self.packing.compression, &chunk.body) {
            Ok(None) => chunk.body,
            Ok(Some(compressed)) => {
                // The permit is the compressed payload's now; this buffer's is as large as that leaves over.
                let mut permit = self.budget.take_anyway(self.account, Kind::Payload, 0);
                let holds = compressed.capacity() + chunk.lengths.capacity() * 4;
                chunk.permit.shrink_to(holds.max(chunk.permit.bytes().saturating_sub(chunk.body.capacity())));
                if permit.try_grow(chunk.body.capacity()) {
                    self.spare.give(chunk.body, permit);
                }
                compressed
            }
            Err(error) => {
                // The shares are dropped, so their deliveries fail and are lent again.
                tracing::error!(%error, "compressing a payload");
                return;
            }
        };
        let holds = body.capacity() + chunk.lengths.capacity() * 4;
        chunk.permit.shrink_to(holds);
        let payload = Payload {
            partition: chunk.partition,
            body,
            lengths: chunk.lengths,
            records: chunk.records,
            raw_bytes: raw_bytes as u64,
            shares: chunk.shares,
            permit: Some(chunk.permit),
            spare: Some(self.spare.clone()),
            progress: Default::default(),
        };
        // A sink that is gone drops the payload, and with it the shares: failed, lent again by the next run.
        let _ = self.to.send(Sent::Payload(payload));
    }

    /// Takes out what is due: all chunks, those opened before a time, or only the oldest.
    pub fn due(&self, which: Due) -> Vec<Chunk> {
        let mut open = self.lock();
        if open.chunks == 0 {
            return Vec::new();
        }
        let mut due = Vec::new();
        match which {
            Due::All => {
                for chunks in open.by_partition.values_mut() {
                    due.append(chunks);
                }
            }
            Due::OpenedBefore(time) => {
                for chunks in open.by_partition.values_mut() {
                    due.extend(chunks.extract_if(.., |chunk| chunk.opened <= time));
                }
            }
            Due::Oldest => {
                // Of those of one moment the first by name, so that a simulation can be repeated.
                let first = |chunks: &Vec<Chunk>| chunks.iter().map(|chunk| chunk.opened).min();
                let open = open.by_partition.iter_mut().filter(|(_, chunks)| !chunks.is_empty());
                let oldest = open.min_by(|(one, some), (other, others)| {
                    (first(some), &**one).cmp(&(first(others), &**other))
                });
                if let Some((_, chunks)) = oldest
                    && let Some(at) = (0..chunks.len()).min_by_key(|&at| chunks[at].opened)
                {
                    due.push(chunks.swap_remove(at));
                }
            }
        }
        open.chunks -= due.len();
        open.by_partition.retain(|_, chunks| !chunks.is_empty());
        due.sort_by(|one, other| (one.opened, &*one.partition).cmp(&(other.opened, &*other.partition)));
        due
    }

    /// Tells the sink that nothing else is on its way.
    pub fn hurry(&self) {
        let _ = self.to.send(Sent::Hurry);
    }

    /// Asks the sink to make everything sent so far final.
    pub fn finish(&self, answer: tokio::sync::oneshot::Sender<Result<(), String>>) {
        let _ = self.to.send(Sent::Finish(answer));
    }

    /// When the oldest open chunk was opened.
    pub fn oldest(&self) -> Option<Timestamp> {
        let open = self.lock();
        open.by_partition.values().flatten().map(|chunk| chunk.opened).min()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes to a sink's runner.
#[derive(Debug)]
pub enum Sent {
    /// Write this.
    Payload(Payload),
    /// Nothing else is on its way: what was sent need not wait for more.
    Hurry,
    /// Everything was sent: when it has been answered, make it final and say so.
    Finish(tokio::sync::oneshot::Sender<Result<(), String>>),
}

/// Which open chunks to take out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// All of them.
    All,
    /// Those opened at or before this time.
    OpenedBefore(Timestamp),
    /// The one opened first.
    Oldest,
}
