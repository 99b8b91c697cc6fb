//! Delivery over HTTP: what all sinks that send requests have in common. A sink says what a request looks like and what
//! an answer means ([`Protocol`]); when to send, how often, and what to do about a refusal is decided here.
//!
//! - How many requests are on their way follows the server ([`limit`]).
//! - Of several endpoints one that is down, or alone refuses our credentials, is left out for a while ([`endpoints`]).
//! - Credentials that all of them refuse, and refused settings, pause the whole sink ([`gate`]): nothing is rejected for
//!   them, and nothing acknowledged; a try now and then sees whether it was mended.
//! - Of a payload that was taken in part only the rest is sent again; what is too large is sent in halves ([`parts`]).
//! - What the server will never take goes to rejects, with its reason. Where it refuses a whole request without saying
//!   which record it means, the record is found by halving.
//! - What was received, and will be confirmed later, is waited for without keeping others from being sent; what is not
//!   confirmed is sent again.
//! - A request without an answer may have been taken: it is sent again, and its records are counted as possible
//!   duplicates.
//!
//! Retries in time (pauses that grow, with chance in them) are the runner's (`pipeline/runner.rs`), as for all sinks.

pub mod auth;
pub mod batch;
pub mod client;
pub mod endpoints;
pub mod figures;
pub mod gate;
pub mod handed;
pub mod limit;
pub mod object;
pub mod parts;
pub mod protocol;
pub mod service;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::sync::Notify;
use tokio::time::Instant;

use auth::Key;
pub use auth::{AuthConfig, Trouble};
pub use batch::Batch;
pub use client::{Answer, Connection, Target};
pub use endpoints::Endpoint;
pub use figures::Figures;
pub use parts::Part;
pub use protocol::{Item, Judged, Promise, Protocol};
pub use service::Service;

use crate::encode::frame::Frame;
use crate::sink::{Payload, Sink, SinkError};
use client::Unanswered;
use gate::{Gate, Pause};
use limit::{Ended, Limit};
use parts::Lent;

/// Requests on their way at a time, at most, where no other number is configured.
const MOST: usize = 64;

/// A sink that speaks a protocol.
pub struct Deliver<P> {
    protocol: P,
    service: Service,
    limit: Limit,
    gate: Gate,
    figures: Arc<Figures>,
    compression: crate::encode::compress::Compression,
    frame: Frame,
    copies: parts::Copies,
    /// Payloads that only wait for a confirmation.
    received: AtomicUsize,
    /// One more does.
    freed: Notify,
}

/// How a part fared.
enum Fared {
    Judged(Judged, StatusCode),
    /// No answer. It may have been taken.
    Unknown {
        /// What happened.
        message: String,
        /// The connection was closed before its time.
        closed: bool,
    },
    /// It was never sent.
    Unsent(Trouble),
}

impl<P: Protocol> Deliver<P> {
    /// Puts a protocol to work at a service.
    pub fn new(
        protocol: P,
        service: Service,
        connection: &Connection,
        packing: crate::encode::packer::Packing,
        figures: &Arc<Figures>,
    ) -> Deliver<P> {
        let limit = match &connection.concurrency {
            Some(most) => Limit::fixed(usize::try_from(most.get()).unwrap_or(MOST)),
            None => Limit::adaptive(MOST),
        };
        Deliver {
            protocol,
            service,
            limit,
            gate: Gate::default(),
            figures: figures.clone(),
            compression: packing.compression,
            frame: packing.frame,
            copies: parts::Copies::default(),
            received: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Takes secrets that were read again; a sink that is paused tries at once.
    pub fn renew(&self, auth: Option<&AuthConfig>) {
        self.service.renew(auth);
        self.gate.retry_now();
    }

    /// Sends a part and reads the answer; once more where a token may only have been too old, and to the other endpoints where
    /// one refuses our credentials.
    async fn exchange(&self, part: &Part) -> Fared {
        let (mut endpoint, mut anew) = (None, false);
        loop {
            let fared = self.exchange_once(part, &mut endpoint).await;
            let (Fared::Judged(Judged::Pause(message), status), Some(asked)) = (&fared, endpoint) else {
                return fared;
            };
            if !service::is_refusal(*status) {
                return fared;
            }
            if !anew && self.service.refused() {
                anew = true;
                continue;
            }
            let said = message.strip_prefix(&format!("{} answers ", asked.target())).unwrap_or(message);
            let message = service::refusal(asked, *status, said);
            if !self.service.endpoints.refuses(asked, &message) {
                return Fared::Judged(Judged::Pause(message), *status);
            }
            endpoint = None;
        }
    }

    /// What may take long before a request can be sent, and is no matter of the server that it is sent to.
    async fn ready(&self) -> Result<Option<Key>, Trouble> {
        self.protocol.ready(&self.service).await?;
        // How one is that refuses us, only a request for events tells: its health is asked of nobody's credentials.
        let silent = self.service.endpoints.iter().filter(|endpoint| endpoint.is_silent());
        let asked = silent.filter_map(|endpoint| {
            let request = self.protocol.health(endpoint)?;
            endpoint.begin_try().then_some((endpoint, request))
        });
        for (endpoint, request) in asked {
            match self.service.ask(request, 64 << 10).await {
                Ok(answer) if answer.status.as_u16() < 500 => self.service.endpoints.serves(endpoint),
                _ => drop(self.service.endpoints.is_down(endpoint)),
            }
        }
        self.service.key().await
    }

    /// `at`: the endpoint to send to; else the one whose turn it is, which then stands there.
    async fn exchange_once<'a>(&'a self, part: &Part, at: &mut Option<&'a Endpoint>) -> Fared {
        let asked = Instant::now();
        // Before it is its turn: nobody else waits for it, and how fast the server is, is not measured by it.
        let key = match self.ready().await {
            Ok(key) => key,
            Err(trouble) => return Fared::Unsent(trouble),
        };
        let slot = self.limit.enter(part.body.len()).await;
        let endpoint = *at.get_or_insert_with(|| self.service.endpoints.turn());
        let (mut request, on_its_way) = self.protocol.request(part, endpoint);
        *request.body_mut() = Some(part.body.clone().into());
        if let Err(trouble) = self.service.authorize(&mut request, key) {
            self.protocol.unsent(on_its_way);
            return Fared::Unsent(trouble);
        }
        let sent = Instant::now();
        self.figures.sends(part.body.len(), sent - asked);
        let answer = self.service.send(request, Some(&part.body), self.protocol.reading()).await;
        let (fared, ended) = match answer {
            Ok(answer) if answer.early && answer.status.is_success() => {
                let place = endpoint.target();
                let message = format!("{place} answered {} before it had read the request", answer.status);
                self.figures.refused("early", 1);
                (Fared::Unknown { message, closed: false }, Ended::Apart)
            }
            Ok(answer) => {
                let judged = self.protocol.judge(&answer, part, endpoint, on_its_way);
                match &judged {
                    Judged::Retry { elsewhere: true, .. } => drop(self.service.endpoints.is_down(endpoint)),
                    Judged::Pause(_) => {}
                    _ => self.service.endpoints.serves(endpoint),
                }
                let ended = self.count(&judged, &answer);
                (Fared::Judged(judged, answer.status), ended)
            }
            Err(Unanswered { message, connected, timed_out }) => {
                self.service.endpoints.is_down(endpoint);
                self.figures.refused(
                    match (timed_out, connected) {
                        (true, true) => "timeout",
                        (_, false) => "unreachable",
                        (false, true) => "disconnected",
                    },
                    1,
                );
                let fared = if connected {
                    Fared::Unknown { message, closed: !timed_out }
                } else {
                    self.protocol.unsent(on_its_way);
                    Fared::Unsent(Trouble::Retry { message, after: None })
                };
                (fared, Ended::Lost)
            }
        };
        slot.ended(ended);
        self.figures.ended(sent.elapsed(), self.limit.current());
        fared
    }

    /// Counts what was refused; says what the answer tells about the load.
    fn count(&self, judged: &Judged, answer: &Answer) -> Ended {
        if !matches!(judged, Judged::Pause(_)) {
            self.gate.open();
        }
        let overloaded = self.protocol.is_overloaded(answer);
        match judged {
            Judged::Taken | Judged::Received(_) if overloaded => return Ended::Overloaded,
            Judged::Taken | Judged::Received(_) => return Ended::Answered,
            Judged::Items(items) => {
                for (_, Item::Retry(status, _) | Item::Refused(status, _)) in items {
                    self.figures.refused(figures::named(*status), 1);
                }
            }
            _ => self.figures.refused(figures::named(answer.status.as_u16()), 1),
        }
        let busy = |item: &Item| matches!(item, Item::Retry(429, _));
        match judged {
            Judged::Pause(_) => Ended::Apart,
            Judged::Items(items) if items.iter().any(|(_, item)| busy(item)) => Ended::Overloaded,
            Judged::Retry { .. } if overloaded => Ended::Overloaded,
            _ => Ended::Answered,
        }
    }

    /// A part of a payload's body: the whole of it as it is, or some of its records.
    async fn part(&self, payload: &Payload, body: &Lent, range: &Range<u32>) -> Result<Part, SinkError> {
        if range.end - range.start == payload.records_left() {
            return Ok(Part {
                body: body.bytes(),
                compression: self.compression,
                raw_bytes: payload.lengths.iter().map(|&length| u64::from(length)).sum(),
                records: range.end - range.start,
                partition: payload.partition.clone(),
            });
        }
        let positions = range.clone().collect();
        let packing = (self.compression, self.frame.clone());
        let lost =
            |error: std::io::Error| SinkError::Lost { message: format!("taking a payload apart: {error}") };
        parts::part(payload, body.clone(), packing, positions, &self.copies).await.map_err(lost)
    }

    /// Leaves in the payload only the records at these places of it.
    async fn narrow(&self, payload: &mut Payload, body: &Lent, left: &[u32]) -> Result<Vec<u8>, SinkError> {
        let packing = (self.compression, self.frame.clone());
        let lost =
            |error: std::io::Error| SinkError::Lost { message: format!("taking a payload apart: {error}") };
        let part =
            parts::part(payload, body.clone(), packing, left.to_vec(), &self.copies).await.map_err(lost)?;
        payload.progress.left = Some(left.iter().map(|&at| payload.position(at)).collect());
        payload.lengths = left.iter().filter_map(|&at| payload.lengths.get(at as usize)).copied().collect();
        Ok(part.body.into())
    }

    /// Sends what is left of a payload, once; says what is still left then, and why.
    async fn send(
        &self,
        payload: &mut Payload,
        body: &Lent,
    ) -> Result<(Vec<u32>, Option<SinkError>), SinkError> {
        let mut todo = payload.progress.pieces(payload.records_left());
        let (mut left, mut trouble) = (Vec::new(), None);
        let mut promised = Vec::new();
        while let Some(range) = todo.pop() {
            let part = self.part(payload, body, &range).await?;
            let fared = self.exchange(&part).await;
            payload.progress.closed += u32::from(matches!(fared, Fared::Unknown { closed: true, .. }));
            match self.next(fared, &part) {
                Next::Taken => {}
                Next::Received(promise) => {
                    promised.push((range, promise));
                }
                Next::Invalid(at, message) => {
                    let at = range.start + at;
                    payload.refuse(at, message);
                    // Where there is one there may be more: in halves, so that each of them costs less than the last.
                    let middle = at + 1 + (range.end - at - 1) / 2;
                    let rest = [middle..range.end, at + 1..middle, range.start..at];
                    todo.extend(rest.into_iter().filter(|range| !range.is_empty()));
                }
                Next::Items(items) => {
                    for (at, item) in items.into_iter().filter(|(at, _)| *at < part.records) {
                        match item {
                            Item::Retry(_, message) => {
                                left.push(range.start + at);
                                trouble.get_or_insert(SinkError::Retry { message, after: None });
                            }
                            Item::Refused(_, message) => payload.refuse(range.start + at, message),
                        }
                    }
                }
                Next::Halve(message) => {
                    // Down to single ones, however many are refused: none goes to rejects for the sake of another.
                    if range.len() > 1 {
                        let middle = range.start + (range.end - range.start) / 2;
                        todo.extend([middle..range.end, range.start..middle]);
                    } else {
                        range.for_each(|at| payload.refuse(at, message.clone()));
                    }
                }
                Next::Stop(error) => {
                    trouble = Some(error);
                    todo.push(range);
                    left.extend(todo.drain(..).flatten());
                }
            }
        }
        for (range, message) in self.unconfirmed(promised).await {
            if !self.protocol.recognises() {
                self.figures.may_be_there(u64::from(range.end - range.start));
            }
            left.extend(range);
            trouble.get_or_insert(SinkError::Retry { message, after: None });
        }
        left.sort_unstable();
        Ok((left, trouble))
    }

    /// Waits for confirmations, and keeps nothing else from being sent meanwhile. Returns what is not confirmed, and why.
    async fn unconfirmed(&self, promised: Vec<(Range<u32>, Promise)>) -> Vec<(Range<u32>, String)> {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if promised.is_empty() {
            return Vec::new();
        }
        self.received.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.received);
        self.freed.notify_one();
        let confirmed = promised.into_iter().map(async |(range, promise)| {
            let _unconfirmed = self.figures.unconfirmed(u64::from(range.end - range.start));
            let confirmed = self.protocol.confirmed(promise, &self.service).await;
            confirmed.err().map(|message| (range, message))
        });
        join_all(confirmed).await.into_iter().flatten().collect()
    }

    /// What is to be done after a part fared so.
    fn next(&self, fared: Fared, part: &Part) -> Next {
        match fared {
            Fared::Judged(judged, _) => match judged {
                Judged::Taken => Next::Taken,
                Judged::Received(promise) => Next::Received(promise),
                Judged::Invalid(at, message) if at < part.records => {
                    // What is sent again may be there.
                    self.figures.may_be_there(u64::from(at));
                    Next::Invalid(at, message)
                }
                Judged::Invalid(_, message) => Next::Halve(message),
                Judged::Items(items) => {
                    let retried = items.iter().filter(|(_, item)| matches!(item, Item::Retry(..))).count();
                    self.figures.retries(retried as u64);
                    Next::Items(items)
                }
                Judged::Split(message) => Next::Halve(message),
                Judged::Refused(message) => Next::Halve(message),
                Judged::Pause(message) => Next::Stop(self.gate.close(&message).into()),
                Judged::Retry { message, after, .. } => {
                    if let Some(after) = after {
                        self.limit.hold(after);
                    }
                    Next::Stop(SinkError::Retry { message, after })
                }
            },
            Fared::Unknown { message, .. } => {
                if !self.protocol.recognises() {
                    self.figures.may_be_there(u64::from(part.records));
                }
                Next::Stop(SinkError::Retry { message, after: None })
            }
            Fared::Unsent(Trouble::Retry { message, after }) => {
                Next::Stop(SinkError::Retry { message, after })
            }
            Fared::Unsent(Trouble::Pause { message }) => Next::Stop(self.gate.close(&message).into()),
        }
    }
}

/// What is to be done after an answer.
enum Next {
    Taken,
    Received(Promise),
    Invalid(u32, String),
    Items(Vec<(u32, Item)>),
    /// What was refused is sent in halves; a single record is refused.
    Halve(String),
    /// Nothing more of this payload now.
    Stop(SinkError),
}

impl From<Pause> for SinkError {
    fn from(pause: Pause) -> SinkError {
        SinkError::Paused { message: pause.message, after: pause.left }
    }
}

impl<P: Protocol> Sink for Deliver<P> {
    async fn write(&self, payload: &mut Payload) -> Result<(), SinkError> {
        self.gate.pass()?;
        // The memory stays with the payload; the bytes are lent to the connection.
        let body = Lent::new(std::mem::take(&mut payload.body));
        let (left, trouble) = self.send(payload, &body).await?;
        payload.body = if trouble.is_some() && left.len() < payload.records_left() as usize {
            self.narrow(payload, &body, &left).await?
        } else {
            body.back()
        };
        match trouble {
            Some(trouble) => Err(trouble),
            None => payload.ended(),
        }
    }

    fn concurrency(&self) -> usize {
        self.limit.current() + self.received.load(Ordering::Relaxed)
    }

    async fn freed(&self) {
        self.freed.notified().await;
    }

    async fn paused(&self, _: Duration) {
        self.gate.wait().await;
    }

    fn patience(&self) -> Duration {
        self.protocol.patience()
    }
}
