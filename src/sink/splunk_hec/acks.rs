//! Indexer acknowledgment: what was received is asked for until it is indexed.
//!
//! Splunk numbers the requests of a channel from 0 and says of each number once that it is indexed; of one that it does not
//! know, and of one that it has said it of, that it is not. What it says is believed when it can only be about our request
//! ([`super::numbers`]); where the numbers began anew, everything that is waited for on that channel is sent again, on
//! another one.
//!
//! One of those who wait asks for all; should it go away, another does.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::node::Node;
use super::numbers::{Anew, Numbers};
use crate::sink::deliver::object::Object;
use crate::sink::deliver::{Promise, Service};

/// The longest answer that is read, bytes: there may be many numbers in it.
const LONGEST: usize = 4 << 20;

/// What is waited for.
pub(super) struct Acks {
    poll: Duration,
    timeout: Duration,
    promises: Mutex<HashMap<Promise, Waits>>,
    next: AtomicU64,
}

struct Waits {
    node: Arc<Node>,
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
    state: Mutex<State>,
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    numbers: Numbers,
    waiting: BTreeMap<u64, oneshot::Sender<bool>>,
    /// What is indexed, if it can be believed: see [`Numbers::now`].
    heard: Vec<(u64, oneshot::Sender<bool>)>,
    /// The numbers began anew: nothing of it will be confirmed.
    over: bool,
    asked: Option<Instant>,
    /// What went wrong last with asking.
    trouble: Option<String>,
}

impl Default for Channel {
    fn default() -> Channel {
        let id = uuid::Uuid::new_v4().to_string();
        Channel { id, state: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }
}

impl Channel {
    /// What it is called: a GUID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether nothing is waited for.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.heard.is_empty() && state.numbers.is_idle()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A request has ended: more may be believed now, or nothing any more. Returns how many were waited for then.
    fn ended(&mut self, how: Result<(), Anew>) -> Option<usize> {
        if how.is_err() && !self.over {
            self.over = true;
            let waited = self.waiting.len() + self.heard.len();
            // Dropped, they tell that it is not known.
            (self.waiting, self.heard) = Default::default();
            return Some(waited);
        }
        let numbers = &self.numbers;
        for (_, tell) in self.heard.extract_if(.., |(then, _)| numbers.is_over(*then)) {
            let _ = tell.send(true);
        }
        None
    }
}

/// A request for events on its way. Dropped, it was not answered.
pub struct Post {
    node: Arc<Node>,
    channel: Arc<Channel>,
    /// What it is called on its channel; `None`: it has ended.
    request: Option<u64>,
}

impl Post {
    /// One on a channel.
    pub(super) fn begin(node: &Arc<Node>, channel: Arc<Channel>) -> Post {
        let request = Some(channel.lock().numbers.begin());
        Post { node: node.clone(), channel, request }
    }

    /// Where it was sent.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// It was not taken, or nothing says when it is indexed: it has no number.
    pub(super) fn has_none(mut self) {
        if let Some(request) = self.request.take() {
            let mut state = self.channel.lock();
            state.numbers.none(request);
            state.ended(Ok(()));
        }
    }

    fn leave(&self, waited: usize, why: &str) {
        self.node.leave(&self.channel);
        if waited > 0 {
            tracing::warn!(
                endpoint = %self.node.target(),
                requests = waited,
                "{why}: what was not acknowledged is sent again"
            );
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let left = {
                let mut state = self.channel.lock();
                let how = state.numbers.lost(request);
                state.ended(how)
            };
            if let Some(waited) = left {
                let why = "a request was not answered, and too few were before it to tell by their numbers whether Splunk was restarted";
                self.leave(waited, why);
            }
        }
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

    /// A request was received, and has this number on its channel. Where the numbers began anew nothing that is waited for
    /// there will be confirmed, this request neither.
    pub(super) fn promised(&self, mut post: Post, ack: u64) -> Promise {
        let (tell, indexed) = oneshot::channel();
        if let Some(request) = post.request.take() {
            let left = {
                let mut state = post.channel.lock();
                let how = state.numbers.given(request, ack);
                let left = state.ended(how);
                if !state.over {
                    state.waiting.insert(ack, tell);
                }
                left
            };
            if let Some(waited) = left {
                let why = "Splunk gives out acknowledgement numbers for a second time. It was restarted, or a load balancer in front spreads one client over several nodes: that needs sticky sessions, by a cookie or by address";
                post.leave(waited + 1, why);
            }
        }
        let (node, channel) = (post.node.clone(), post.channel.clone());
        let promise = Promise(self.next.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(promise, Waits { node, channel, ack, since: Instant::now(), indexed });
        promise
    }

    /// Waits until it is indexed.
    pub(super) async fn confirmed(&self, promise: Promise, service: &Service) -> Result<(), String> {
        let waits = self.lock().remove(&promise);
        let Some(Waits { node, channel, ack, since, mut indexed }) = waits else {
            return Err("nobody knows what is waited for".to_owned());
        };
        let told = |indexed: Result<bool, _>| match indexed {
            Ok(true) => Ok(()),
            _ => Err(format!(
                "{}: it is not known whether events were indexed: acknowledgement numbers began anew",
                node.target()
            )),
        };
        let deadline = since + self.timeout;
        let _asking = tokio::select! {
            biased;
            now = &mut indexed => return told(now),
            () = tokio::time::sleep_until(deadline) => return Err(self.overdue(&channel, ack, &node)),
            asking = channel.asking.lock() => asking,
        };
        loop {
            let next = channel.lock().asked.map_or(since, |asked| asked.max(since)) + self.poll;
            tokio::select! {
                biased;
                now = &mut indexed => return told(now),
                () = tokio::time::sleep_until(deadline) => return Err(self.overdue(&channel, ack, &node)),
                () = tokio::time::sleep_until(next) => {}
            }
            // To its end: an answer says once what is indexed.
            ask(&channel, service, &node).await;
        }
    }

    /// It took too long.
    fn overdue(&self, channel: &Channel, ack: u64, node: &Node) -> String {
        channel.lock().waiting.remove(&ack);
        let within = crate::config::Duration::from(self.timeout);
        format!("{}: events were not acknowledged within {within}", node.target())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Promise, Waits>> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks once for everything that is waited for on a channel.
async fn ask(channel: &Channel, service: &Service, node: &Node) {
    let asked: Vec<u64> = {
        let mut state = channel.lock();
        state.waiting.retain(|_, tell| !tell.is_closed());
        state.asked = Some(Instant::now());
        state.waiting.keys().copied().collect()
    };
    // All of it was told, and has to be believed yet.
    if asked.is_empty() {
        return;
    }
    let told = tell_of(&asked, channel, service, node).await;
    let mut state = channel.lock();
    match told {
        Ok(told) => {
            let indexed = told.acks.into_iter().filter(|(_, indexed)| *indexed);
            let then = state.numbers.now();
            for number in indexed.filter_map(|(number, _)| number.parse::<u64>().ok()) {
                let tell = state.waiting.remove(&number);
                state.heard.extend(tell.map(|tell| (then, tell)));
            }
            state.ended(Ok(()));
            state.trouble = None;
        }
        Err(error) => {
            if state.trouble.as_ref() != Some(&error) {
                tracing::warn!(endpoint = %node.target(), %error, "Splunk does not say which events are indexed");
                state.trouble = Some(error);
            }
        }
    }
}

async fn tell_of(asked: &[u64], channel: &Channel, service: &Service, node: &Node) -> Result<Told, String> {
    let mut request = node.ask(channel);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *request.body_mut() = Some(serde_json::json!({ "acks": asked }).to_string().into());
    let answer = service.ask(request, LONGEST).await.map_err(|trouble| trouble.to_string())?;
    node.take_cookies(&answer.headers);
    match serde_json::from_slice(&answer.body) {
        Ok(Object(told)) if answer.status.is_success() => Ok(told),
        _ => Err(answer.shown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::deliver::Target;

    struct Sent {
        acks: Acks,
        node: Arc<Node>,
    }

    impl Sent {
        fn new() -> Sent {
            let node = Node::new(&Target::parse("https://hec.example.com:8088").unwrap());
            Sent { acks: Acks::new(Duration::from_secs(10), Duration::from_secs(300)), node: Arc::new(node) }
        }

        fn post(&self) -> Post {
            Post::begin(&self.node, self.node.post().1)
        }

        /// Splunk says that this number is indexed.
        fn says(&self, channel: &Channel, number: u64) {
            let mut state = channel.lock();
            let then = state.numbers.now();
            let tell = state.waiting.remove(&number).unwrap();
            state.heard.push((then, tell));
            state.ended(Ok(()));
        }

        fn told(&self, promise: Promise) -> Option<bool> {
            match self.acks.lock().get_mut(&promise).unwrap().indexed.try_recv() {
                Ok(indexed) => Some(indexed),
                Err(oneshot::error::TryRecvError::Closed) => Some(false),
                Err(oneshot::error::TryRecvError::Empty) => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_number_comes_twice_nothing_of_the_channel_is_confirmed() {
        let sent = Sent::new();
        let first = sent.acks.promised(sent.post(), 0);
        let second = sent.acks.promised(sent.post(), 1);
        let (_, channel) = sent.node.post();
        sent.says(&channel, 0);
        assert_eq!((sent.told(first), sent.told(second)), (Some(true), None));
        // Another request is 0 now, and the next will be 1.
        let late = sent.post();
        let third = sent.acks.promised(sent.post(), 0);
        assert_eq!((sent.told(second), sent.told(third)), (Some(false), Some(false)));
        assert_ne!(sent.node.post().1.id(), channel.id());
        assert_eq!(sent.told(sent.acks.promised(late, 2)), Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_splunk_says_is_believed_when_no_older_request_is_on_its_way() {
        let sent = Sent::new();
        let first = sent.acks.promised(sent.post(), 0);
        let second = sent.acks.promised(sent.post(), 1);
        let (_, channel) = sent.node.post();
        // Splunk was restarted, and this one is number 0: it was not answered when number 0 is said to be indexed.
        let held = sent.post();
        sent.says(&channel, 0);
        assert_eq!(sent.told(first), None);
        let third = sent.acks.promised(held, 0);
        assert_eq!([first, second, third].map(|promise| sent.told(promise)), [Some(false); 3]);
        // It was not restarted.
        let first = sent.acks.promised(sent.post(), 0);
        let (_, channel) = sent.node.post();
        let held = sent.post();
        sent.says(&channel, 0);
        assert_eq!(sent.told(first), None);
        let second = sent.acks.promised(held, 1);
        assert_eq!((sent.told(first), sent.told(second)), (Some(true), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_keeps_it_from_being_believed_until_the_next() {
        let sent = Sent::new();
        let promises: Vec<Promise> = (0..4).map(|number| sent.acks.promised(sent.post(), number)).collect();
        let (_, channel) = sent.node.post();
        drop(sent.post());
        sent.says(&channel, 2);
        assert_eq!(sent.told(promises[2]), None);
        let last = sent.acks.promised(sent.post(), 5);
        assert_eq!(
            (sent.told(promises[2]), sent.told(promises[3]), sent.told(last)),
            (Some(true), None, None)
        );
    }
}
