//! Indexer acknowledgment: what was received is asked for until it is indexed.
//!
//! Splunk numbers the requests of a channel from 0 and says of each number once that it is indexed; of one that it does not
//! know, and of one that it has said it of, that it is not. So a number that comes for a second time tells that the numbers
//! began anew, and everything that is waited for on that channel is sent again.
//!
//! One of those who wait asks for all; should it go away, another does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::endpoints::{Endpoint, Endpoints};
use crate::sink::deliver::{Answer, Promise, client};

/// The longest answer that is read, bytes: there may be many numbers in it.
const LONGEST: usize = 4 << 20;
/// So many numbers may come out of turn before the lowest are given up.
const GAPS: usize = 4096;

/// What is waited for.
pub(super) struct Acks {
    poll: Duration,
    timeout: Duration,
    promises: Mutex<HashMap<Promise, Waits>>,
    next: AtomicU64,
}

struct Waits {
    channel: Arc<Channel>,
    ack: u64,
    since: Instant,
    /// Whether it is indexed, or never will be.
    indexed: oneshot::Receiver<bool>,
}

/// What one endpoint knows us by: numbers of requests mean something on their channel only.
#[derive(Debug)]
pub(super) struct Channel {
    id: String,
    endpoint: usize,
    state: Mutex<State>,
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<u64, oneshot::Sender<bool>>,
    seen: Seen,
    asked: Option<Instant>,
    /// What went wrong last with asking.
    trouble: Option<String>,
}

/// Numbers that were given out: all below one, and some above.
#[derive(Debug, Default)]
struct Seen {
    below: u64,
    above: BTreeSet<u64>,
}

impl Seen {
    /// Whether a number is new.
    fn insert(&mut self, number: u64) -> bool {
        if number < self.below || !self.above.insert(number) {
            return false;
        }
        // Of a request whose answer was lost the number never comes: at some time it is given up.
        if self.above.len() > GAPS {
            self.below = self.above.first().copied().unwrap_or(self.below);
        }
        while self.above.remove(&self.below) {
            self.below += 1;
        }
        true
    }
}

impl Channel {
    /// A new one of an endpoint.
    pub(super) fn new(endpoint: usize) -> Channel {
        let id = uuid::Uuid::new_v4().to_string();
        Channel { id, endpoint, state: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// What it is called: a GUID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The endpoint's number.
    pub(super) fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// Whether nothing is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Told {
    acks: HashMap<String, bool>,
}

impl Acks {
    /// Asks every so often, and waits for so long.
    pub(super) fn new(poll: Duration, timeout: Duration) -> Acks {
        Acks { poll, timeout, promises: Mutex::default(), next: AtomicU64::new(0) }
    }

    /// How long an acknowledgement usually takes: it is asked for twice.
    pub(super) fn usual(&self) -> Duration {
        self.poll * 2
    }

    /// A request was received, and has this number on the channel. Also whether the number came for a second time: then
    /// nothing that is waited for there will be confirmed, this request neither.
    pub(super) fn promised(&self, channel: &Arc<Channel>, ack: u64) -> (Promise, bool) {
        let (tell, indexed) = oneshot::channel();
        let again = {
            let mut state = channel.lock();
            let again = !state.seen.insert(ack);
            match again {
                true => {
                    let _ = tell.send(false);
                    for tell in std::mem::take(&mut state.waiting).into_values() {
                        let _ = tell.send(false);
                    }
                }
                false => drop(state.waiting.insert(ack, tell)),
            }
            again
        };
        let waits = Waits { channel: channel.clone(), ack, since: Instant::now(), indexed };
        (self.keep(waits), again)
    }

    /// A request was received on a channel that is not used any more: it will not be confirmed.
    pub(super) fn never(&self) -> Promise {
        let (tell, indexed) = oneshot::channel();
        let _ = tell.send(false);
        self.keep(Waits { channel: Arc::new(Channel::new(0)), ack: 0, since: Instant::now(), indexed })
    }

    fn keep(&self, waits: Waits) -> Promise {
        let promise = Promise(self.next.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(promise, waits);
        promise
    }

    /// Waits until it is indexed.
    pub(super) async fn confirmed(
        &self,
        promise: Promise,
        client: &Client,
        endpoints: &Endpoints,
    ) -> Result<(), String> {
        let waits = self.lock().remove(&promise);
        let Some(Waits { channel, ack, since, mut indexed }) = waits else {
            return Err("nobody knows what is waited for".to_owned());
        };
        let Some(endpoint) = endpoints.at(channel.endpoint()) else {
            return Err("nobody knows whom to ask".to_owned());
        };
        let lost = || {
            format!(
                "{}: it is not known whether events were indexed: acknowledgement numbers began anew",
                endpoint.target()
            )
        };
        let told = |indexed: Result<bool, _>| if indexed == Ok(true) { Ok(()) } else { Err(lost()) };
        let deadline = since + self.timeout;
        let _asking = tokio::select! {
            biased;
            now = &mut indexed => return told(now),
            () = tokio::time::sleep_until(deadline) => return Err(self.overdue(&channel, ack, endpoint)),
            asking = channel.asking.lock() => asking,
        };
        loop {
            let next = channel.lock().asked.map_or(since, |asked| asked.max(since)) + self.poll;
            tokio::select! {
                biased;
                now = &mut indexed => return told(now),
                () = tokio::time::sleep_until(deadline) => return Err(self.overdue(&channel, ack, endpoint)),
                () = tokio::time::sleep_until(next) => {}
            }
            // To its end: an answer says once what is indexed.
            ask(&channel, client, endpoint).await;
        }
    }

    /// It took too long.
    fn overdue(&self, channel: &Channel, ack: u64, endpoint: &Endpoint) -> String {
        channel.lock().waiting.remove(&ack);
        let within = crate::config::Duration::from(self.timeout);
        format!("{}: events were not acknowledged within {within}", endpoint.target())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Promise, Waits>> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks once for everything that is waited for on a channel.
async fn ask(channel: &Channel, client: &Client, endpoint: &Endpoint) {
    let asked: Vec<u64> = {
        let mut state = channel.lock();
        state.waiting.retain(|_, tell| !tell.is_closed());
        state.asked = Some(Instant::now());
        state.waiting.keys().copied().collect()
    };
    let told = tell_of(&asked, channel, client, endpoint).await;
    let mut state = channel.lock();
    match told {
        Ok(told) => {
            let indexed = told.acks.into_iter().filter(|(_, indexed)| *indexed);
            for number in indexed.filter_map(|(number, _)| number.parse::<u64>().ok()) {
                if let Some(tell) = state.waiting.remove(&number) {
                    let _ = tell.send(true);
                }
            }
            state.trouble = None;
        }
        Err(error) => {
            if state.trouble.as_ref() != Some(&error) {
                tracing::warn!(endpoint = %endpoint.target(), %error, "Splunk does not say which events are indexed");
                state.trouble = Some(error);
            }
        }
    }
}

async fn tell_of(
    asked: &[u64],
    channel: &Channel,
    client: &Client,
    endpoint: &Endpoint,
) -> Result<Told, String> {
    let mut request = endpoint.ask(channel);
    endpoint.authorize(&mut request);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *request.body_mut() = Some(serde_json::json!({ "acks": asked }).to_string().into());
    let answer = Answer::of(client, request, LONGEST).await;
    let answer = answer.map_err(|error| client::chain(&error.without_url()))?;
    endpoint.take_cookies(&answer.headers);
    match serde_json::from_slice(&answer.body) {
        Ok(told) if answer.status.is_success() => Ok(told),
        _ => Err(answer.shown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_may_come_out_of_turn_but_not_twice() {
        let mut seen = Seen::default();
        for number in [0, 2, 1, 5, 3, 4] {
            assert!(seen.insert(number), "{number}");
        }
        assert_eq!((seen.below, seen.above.len()), (6, 0));
        for number in [0, 5, 3] {
            assert!(!seen.insert(number), "{number}");
        }
        assert!(seen.insert(u64::MAX) && !seen.insert(u64::MAX));
        // Numbers that never came are given up; what is remembered is bounded.
        for number in (10..).step_by(2).take(3 * GAPS) {
            assert!(seen.insert(number));
            assert!(seen.above.len() <= GAPS + 1);
        }
        assert!(!seen.insert(7));
    }

    proptest! {
        #[test]
        fn a_number_is_new_once(numbers in prop::collection::vec(0u64..40, 0..60)) {
            let (mut seen, mut known) = (Seen::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(seen.insert(number), known.insert(number));
            }
        }
    }

    #[test]
    fn where_a_number_comes_twice_nothing_of_the_channel_is_confirmed() {
        let acks = Acks::new(Duration::from_secs(10), Duration::from_secs(300));
        let channel = Arc::new(Channel::new(0));
        let (first, again) = acks.promised(&channel, 0);
        assert!(!again);
        let (second, again) = acks.promised(&channel, 1);
        assert!(!again);
        // Number 0 was indexed, 1 is waited for: another request is 0 now, and the next will be 1.
        let _ = channel.lock().waiting.remove(&0).unwrap().send(true);
        assert_eq!(acks.lock().get_mut(&first).unwrap().indexed.try_recv(), Ok(true));
        let (third, again) = acks.promised(&channel, 0);
        assert!(again && channel.is_idle());
        for promise in [second, third, acks.never()] {
            assert_eq!(acks.lock().get_mut(&promise).unwrap().indexed.try_recv(), Ok(false));
        }
    }
}
