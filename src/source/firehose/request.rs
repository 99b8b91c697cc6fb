//! One request: who sends it, whether there is room for it, what it holds, and how it ended.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::{Method, Request, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{self, Outcome, Refusal};
use super::body::{self, Brought, Wrong};
use super::desk::{Desk, End, Entered, Mark, Part, Sender};
use crate::clock::Clock;
use crate::pipeline::room::{Held, Room};
use crate::source::figures::Requests;

/// How long a request waits for memory before its body is read.
const WAIT: Duration = Duration::from_secs(1);
/// Memory that is taken first for a body whose length is not told, or that has to be inflated.
const FIRST: usize = 64 << 10;
/// Memory that a part takes besides its bytes.
const PART: usize = 160;
/// Parts whose memory is not worth counting.
const FEW_PARTS: usize = 100;
/// Large and compressed bodies that are worked on at a time.
const AT_WORK: usize = 2;
/// Bodies below this are read where they arrive: another thread would cost more.
const SMALL: usize = 16 << 10;
/// How often at most it is told why requests are refused, for each reason.
const TELL: Duration = Duration::from_secs(60);

const ID: &str = "x-amz-firehose-request-id";
const VERSION: &str = "x-amz-firehose-protocol-version";
const SOURCE: &str = "x-amz-firehose-source-arn";
const KEY: &str = "x-amz-firehose-access-key";

/// Whose requests are taken.
pub(super) struct Rules {
    /// Streams that may send. Empty: every one.
    pub(super) sources: Vec<String>,
    /// Bytes of a body, at most, as sent and inflated.
    pub(super) most: usize,
    pub(super) answer_within: Duration,
    /// How long nothing may come of a body.
    pub(super) patience: Duration,
}

/// Where requests go, whatever connection they come by.
pub(super) struct Endpoint {
    name: String,
    rules: Rules,
    /// SHA-256 of each access key. Empty: everybody may send.
    keys: RwLock<Vec<[u8; 32]>>,
    pub(super) desk: Desk,
    room: Room,
    clock: Clock,
    stopping: AtomicBool,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    told: Mutex<[Option<Instant>; Outcome::ALL.len()]>,
    /// Bodies are worked on by few threads at a time: each keeps for itself what it has freed.
    working: Arc<Semaphore>,
    bytes: AtomicU64,
    connections: AtomicU64,
    turned_away: AtomicU64,
}

/// What a request is answered.
pub(super) struct Answered {
    pub(super) response: Response<Full<Bytes>>,
    /// Its body was not read to its end.
    pub(super) unread: bool,
}

/// What the headers of a request say.
struct Head {
    id: String,
    stream: String,
    gzip: bool,
}

/// A body that was read and understood.
struct Read {
    buffer: Vec<u8>,
    held: Held,
    brought: Brought,
}

impl Endpoint {
    pub(super) fn new(
        name: String,
        rules: Rules,
        keys: Vec<[u8; 32]>,
        remember: Duration,
        room: Room,
        clock: Clock,
    ) -> Endpoint {
        Endpoint {
            name,
            rules,
            keys: RwLock::new(keys),
            desk: Desk::new(remember),
            room,
            clock,
            stopping: AtomicBool::new(false),
            outcomes: Default::default(),
            told: Mutex::default(),
            working: Arc::new(Semaphore::new(AT_WORK)),
            bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// These access keys hold from now on.
    pub(super) fn renew(&self, keys: Vec<[u8; 32]>) {
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if *known != keys {
            *known = keys;
            tracing::info!(source = self.name, "the access keys have changed");
        }
    }

    /// Takes no more requests; those whose parts are on loan may still end well.
    pub(super) fn stops(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.desk.stopping();
    }

    /// A connection is open as long as this is held.
    pub(super) fn connects(self: &Arc<Endpoint>) -> impl Drop + Send + use<> {
        struct Open(Arc<Endpoint>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// A peer has too many connections already.
    pub(super) fn turns_away(&self) {
        if self.turned_away.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                source = self.name,
                "a peer has more connections than `connections_per_peer`: further ones are closed"
            );
        }
    }

    pub(super) fn requests(&self) -> Requests {
        Requests {
            outcomes: std::array::from_fn(|at| self.outcomes[at].load(Ordering::Relaxed)),
            bytes: self.bytes.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            turned_away: self.turned_away.load(Ordering::Relaxed),
            forgotten: self.desk.forgotten(),
        }
    }

    /// Answers a request, after every sink has answered about what is in it.
    ///
    /// Cancel: safe; what was entered is shipped on, and the request finds it when it comes again.
    pub(super) async fn answer<B>(self: &Arc<Endpoint>, request: Request<B>) -> Answered
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let began = Instant::now();
        let (head, mut body) = request.into_parts();
        let id = id_of(&head.headers).unwrap_or_default().to_owned();
        let took = self.take(&head.method, &head.headers, &mut body, began).await;
        let unread = !body.is_end_stream();
        let now = self.clock.now();
        match took {
            Ok(outcome) => {
                self.count(outcome);
                Answered { response: answer::done(&id, now), unread }
            }
            Err(refusal) => {
                self.count(refusal.outcome);
                self.tell(&refusal);
                Answered { response: answer::refused(&refusal, &id, now, unread), unread }
            }
        }
    }

    fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn tell(&self, refusal: &Refusal) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut told[refusal.outcome as usize];
        if last.is_none_or(|last| now.duration_since(last) >= TELL) {
            *last = Some(now);
            tracing::warn!(
                source = self.name,
                outcome = refusal.outcome.name(),
                "a request of Firehose was answered {}: {}",
                refusal.status.as_u16(),
                refusal.message
            );
        }
    }

    async fn take<B>(
        self: &Arc<Endpoint>,
        method: &Method,
        headers: &HeaderMap,
        body: &mut B,
        began: Instant,
    ) -> Result<Outcome, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let head = self.head(method, headers)?;
        let length = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if length.is_some_and(|length| length > self.rules.most) {
            return Err(Refusal::too_large(self.rules.most as u64));
        }
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Refusal::stopping());
        }
        let (buffer, mut held) = self.buffer(length.unwrap_or(FIRST)).await?;
        let until = began + self.rules.answer_within;
        let buffer = self.read(body, buffer, &mut held, until).await?;
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let read = self.clone().understand(head.gzip, buffer, held, head.id.clone()).await?;
        let (mark, parts, held) = self.parts(head, read)?;
        match self.desk.enter(mark, parts, until, held) {
            None => Err(Refusal::stopping()),
            Some(Entered::Known) => Ok(Outcome::Remembered),
            Some(Entered::OnItsWay(mut end)) => {
                let ended = tokio::time::timeout_at(until, end.wait_for(Option::is_some)).await;
                match ended.ok().and_then(Result::ok).and_then(|end| *end) {
                    Some(End::Well) => Ok(Outcome::Delivered),
                    _ if self.stopping.load(Ordering::Relaxed) => Err(Refusal::stopping()),
                    _ => Err(Refusal::late()),
                }
            }
        }
    }

    /// Whether the request is one that is taken, as far as its headers say; nothing of its body was read.
    fn head(&self, method: &Method, headers: &HeaderMap) -> Result<Head, Refusal> {
        if *method != Method::POST {
            return Err(Refusal::method());
        }
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if !self.knows(headers.get(KEY).map_or(&b""[..], |key| key.as_bytes())) {
            return Err(Refusal::access_key());
        }
        let source = text(SOURCE).unwrap_or_default();
        if !self.rules.sources.is_empty() && !self.rules.sources.iter().any(|allowed| allowed == source) {
            return Err(Refusal::source_arn());
        }
        if text(VERSION) != Some("1.0") {
            return Err(Refusal::malformed(format!("`{VERSION}` is not 1.0")));
        }
        let Some(id) = id_of(headers) else {
            return Err(Refusal::malformed(format!("`{ID}` is missing, or no id")));
        };
        let gzip = match text(CONTENT_ENCODING.as_str()).map(str::trim) {
            None | Some("" | "identity") => false,
            Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => true,
            Some(_) => return Err(Refusal::malformed("`content-encoding` is neither gzip nor left out")),
        };
        Ok(Head { id: id.to_owned(), stream: stream_of(source).to_owned(), gzip })
    }

    /// Whether an access key is one of ours. How long that takes says nothing about them.
    fn knows(&self, key: &[u8]) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let given: [u8; 32] = Sha256::digest(key).into();
        let right = keys.iter().fold(subtle::Choice::from(0), |right, key| right | key.ct_eq(&given));
        keys.is_empty() || bool::from(right)
    }

    /// A buffer with room for so many bytes, and its memory.
    async fn buffer(&self, bytes: usize) -> Result<(Vec<u8>, Held), Refusal> {
        if let Some(again) = self.room.again(bytes) {
            return Ok(again);
        }
        let mut held = self.hold(bytes).await?;
        // A little more, so that the next body of about this size fits.
        if !self.room.is_scarce() {
            held.try_grow(bytes / 8);
        }
        Ok((Vec::with_capacity(held.bytes()), held))
    }

    /// Takes memory, before anything is read.
    async fn hold(&self, bytes: usize) -> Result<Held, Refusal> {
        if bytes > self.room.most() {
            return Err(Refusal::never(bytes, self.room.most()));
        }
        match tokio::time::timeout(WAIT, self.room.take(bytes)).await {
            Ok(held) => Ok(held),
            Err(_) => Err(Refusal::memory()),
        }
    }

    /// Reads a body to its end.
    async fn read<B>(
        &self,
        body: &mut B,
        mut buffer: Vec<u8>,
        held: &mut Held,
        until: Instant,
    ) -> Result<Vec<u8>, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            let patience = until.min(Instant::now() + self.rules.patience);
            let frame = match tokio::time::timeout_at(patience, body.frame()).await {
                Err(_) => return Err(Refusal::malformed("the body did not come in time")),
                Ok(None) => return Ok(buffer),
                Ok(Some(Err(_))) => return Err(Refusal::broken()),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            make_room(&mut buffer, data.len(), held, self.rules.most)?;
            buffer.extend_from_slice(&data);
        }
    }

    /// Inflates and reads what came.
    async fn understand(
        self: Arc<Endpoint>,
        gzip: bool,
        buffer: Vec<u8>,
        held: Held,
        id: String,
    ) -> Result<Read, Refusal> {
        let small = buffer.len() < SMALL && !gzip;
        let endpoint = self.clone();
        let understand = move || {
            let (mut buffer, mut held) = if gzip { endpoint.inflate(&buffer)? } else { (buffer, held) };
            let read = body::read(&mut buffer, &id).map_err(|Wrong(why)| Refusal::malformed(why));
            read.map(|brought| {
                // A quarter was base64; what is not given back need not be had again for the next body.
                if endpoint.room.is_scarce() || buffer.len() < buffer.capacity() / 2 {
                    buffer.shrink_to_fit();
                    held.shrink_to(buffer.capacity());
                }
                Read { buffer, held, brought }
            })
        };
        if small {
            return understand();
        }
        let Ok(_working) = self.working.clone().acquire_owned().await else {
            return Err(Refusal::stopping());
        };
        let understood = tokio::task::spawn_blocking(understand).await;
        understood.unwrap_or_else(|_| Err(Refusal::memory()))
    }

    fn inflate(&self, packed: &[u8]) -> Result<(Vec<u8>, Held), Refusal> {
        // Both are held at the same time.
        let most = self.room.most().saturating_sub(packed.len());
        // What gzip says of its length is a hint, and saves growing in steps.
        let told = packed.last_chunk::<4>().map_or(0, |told| u32::from_le_bytes(*told));
        let first = usize::try_from(told).unwrap_or(FIRST).clamp(FIRST, self.rules.most.min(most).max(FIRST));
        let mut held = self.room.try_take(first).ok_or_else(Refusal::memory)?;
        let (mut text, mut step) = (Vec::with_capacity(first), vec![0; FIRST]);
        let mut inflated = flate2::read::MultiGzDecoder::new(packed);
        loop {
            match inflated.read(&mut step) {
                Ok(0) => return Ok((text, held)),
                Ok(length) if text.len() + length > most && most < self.rules.most => {
                    return Err(Refusal::never(packed.len() + text.len() + length, self.room.most()));
                }
                Ok(length) => {
                    make_room(&mut text, length, &mut held, self.rules.most.min(most))?;
                    text.extend_from_slice(&step[..length]);
                }
                Err(error) => return Err(Refusal::malformed(format!("the body is not gzip: {error}"))),
            }
        }
    }

    /// What is lent of a request.
    fn parts(&self, head: Head, read: Read) -> Result<(Mark, Vec<Part>, Option<Held>), Refusal> {
        let Read { buffer, held, brought } = read;
        let count = brought.bodies.len();
        let beside = match count > FEW_PARTS {
            true => Some(self.room.try_take(count * PART).ok_or_else(Refusal::memory)?),
            false => None,
        };
        let mark = Mark::of(&head.id, brought.mark);
        let sender = Arc::new(Sender { id: head.id, stream: head.stream, mark });
        let bytes = held.keep(buffer);
        let part = |(body, number): (body::Body, u32)| Part {
            sender: sender.clone(),
            number,
            first: body.first,
            body: bytes.slice(body.range),
            failures: 0,
        };
        Ok((mark, brought.bodies.into_iter().zip(0..).map(part).collect(), beside))
    }
}

/// Makes room in a buffer for so many bytes more, in few steps.
fn make_room(buffer: &mut Vec<u8>, more: usize, held: &mut Held, most: usize) -> Result<(), Refusal> {
    let wants = buffer.len().saturating_add(more);
    if wants > most {
        return Err(Refusal::too_large(most as u64));
    }
    if wants <= buffer.capacity() {
        return Ok(());
    }
    let takes = wants.max(buffer.capacity() * 2).min(most);
    let has = held.bytes();
    let grown = if held.try_grow(takes.saturating_sub(has)) {
        takes
    } else if held.try_grow(wants.saturating_sub(has)) {
        wants
    } else {
        return Err(Refusal::memory());
    };
    buffer.reserve_exact(grown - buffer.len());
    Ok(())
}

/// A request's id: a GUID, or anything that could be one.
fn id_of(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(ID)?.to_str().ok()?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ((1..=128).contains(&id.len()) && id.bytes().all(is_good)).then_some(id)
}

/// The stream's name in its ARN: `arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME`.
fn stream_of(arn: &str) -> &str {
    let name = arn.rsplit_once("deliverystream/").map_or("", |(_, name)| name);
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=64).contains(&name.len()) && name.bytes().all(is_good) { name } else { "unknown" }
}
