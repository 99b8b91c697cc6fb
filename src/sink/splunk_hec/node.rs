//! What each endpoint knows us by: a channel, and the cookies of a load balancer in front of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use reqwest::{Method, Request, Url};
use tokio::time::Instant;

use super::acks::Channel;
use crate::sink::deliver::Target;

/// How long an answer about its health may take.
const HEALTH: Duration = Duration::from_secs(10);
/// A channel that was silent for so long is not used again: Splunk may have forgotten it.
const SILENT: Duration = Duration::from_secs(300);
/// Cookies that are kept of one endpoint, and the longest of them, bytes.
const COOKIES: (usize, usize) = (16, 4096);

/// One endpoint.
#[derive(Debug)]
pub(super) struct Node {
    target: Target,
    event: Url,
    ack: Url,
    health: Url,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    channel: Arc<Channel>,
    used: Instant,
    cookies: Vec<(String, String)>,
}

impl Node {
    /// The one there.
    pub(super) fn new(target: &Target) -> Node {
        let at = |path: &str| {
            let mut url = target.url().clone();
            url.set_path(&format!("{}{path}", base(target.url().path())));
            url.set_query(None);
            url.set_fragment(None);
            url
        };
        let state = State { channel: Arc::default(), used: Instant::now(), cookies: Vec::new() };
        Node {
            target: target.clone(),
            event: at("/services/collector/event"),
            ack: at("/services/collector/ack"),
            health: at("/services/collector/health"),
            state: Mutex::new(state),
        }
    }

    /// Where it is, for messages.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Begins another channel, where this one is still used.
    pub(super) fn leave(&self, channel: &Arc<Channel>) {
        let mut state = self.lock();
        if Arc::ptr_eq(&state.channel, channel) {
            state.channel = Arc::default();
        }
    }

    /// A request for events, and the channel that it is on.
    pub(super) fn post(&self) -> (Request, Arc<Channel>) {
        let channel = {
            let mut state = self.lock();
            let now = Instant::now();
            if now - state.used > SILENT && state.channel.is_idle() {
                state.channel = Arc::default();
            }
            state.used = now;
            state.channel.clone()
        };
        (self.request(Method::POST, on(&self.event, &channel)), channel)
    }

    /// A request for acknowledgements on a channel.
    pub(super) fn ask(&self, channel: &Channel) -> Request {
        self.request(Method::POST, on(&self.ack, channel))
    }

    /// A request for its health.
    pub(super) fn health(&self) -> Request {
        let mut request = self.request(Method::GET, self.health.clone());
        *request.timeout_mut() = Some(HEALTH);
        request
    }

    /// A request with what brings it to the same node as those before.
    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        let state = self.lock();
        let cookies: Vec<String> =
            state.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Ok(mut value) = HeaderValue::try_from(cookies.join("; "))
            && !cookies.is_empty()
        {
            value.set_sensitive(true);
            request.headers_mut().insert(COOKIE, value);
        }
        request
    }

    /// Keeps the cookies of an answer: a load balancer knows by them which node a client belongs to.
    pub(super) fn take_cookies(&self, headers: &HeaderMap) {
        let set = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        for cookie in set.filter(|cookie| cookie.len() <= COOKIES.1) {
            let mut parts = cookie.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let over = value.is_empty() || parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
            let mut state = self.lock();
            state.cookies.retain(|(known, _)| known != name);
            if !over && state.cookies.len() < COOKIES.0 {
                state.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn on(url: &Url, channel: &Channel) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("channel", channel.id());
    url
}

/// The path before the collector's own, which may be written with it.
pub(super) fn base(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let own = ["/services/collector/event/1.0", "/services/collector/event", "/services/collector"];
    own.iter().find_map(|own| path.strip_suffix(own)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(url: &str) -> Node {
        Node::new(&Target::parse(url).unwrap())
    }

    #[test]
    fn the_collectors_own_path_may_be_written_or_not() {
        for url in [
            "https://hec.example.com:8088",
            "https://hec.example.com:8088/",
            "https://hec.example.com:8088/services/collector",
            "https://hec.example.com:8088/services/collector/event/",
            "https://hec.example.com:8088/services/collector/event/1.0",
        ] {
            let node = node(url);
            assert_eq!(node.event.as_str(), "https://hec.example.com:8088/services/collector/event");
            assert_eq!(node.ack.as_str(), "https://hec.example.com:8088/services/collector/ack");
        }
        let behind = node("https://proxy.example.com/splunk/");
        assert_eq!(behind.health.as_str(), "https://proxy.example.com/splunk/services/collector/health");
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_lasts_until_it_was_silent_for_long() {
        let node = node("https://a.example.com");
        let channel = || {
            let (request, channel) = node.post();
            assert_eq!(request.url().query(), Some(&*format!("channel={}", channel.id())));
            channel.id().to_owned()
        };
        let first = channel();
        assert!(uuid::Uuid::parse_str(&first).is_ok());
        tokio::time::advance(SILENT).await;
        assert_eq!(channel(), first);
        tokio::time::advance(SILENT + Duration::from_secs(1)).await;
        assert_ne!(channel(), first);
    }

    #[test]
    fn cookies_are_kept_until_they_are_taken_back() {
        let node = node("https://a.example.com");
        let sent = |cookies: &[&str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(SET_COOKIE, cookie.parse().unwrap());
            }
            node.take_cookies(&headers);
            let (request, _) = node.post();
            request.headers().get(COOKIE).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(sent(&[]), "");
        assert_eq!(
            sent(&["AWSALB=x1; Expires=Thu; Path=/", "node=7; HttpOnly", "broken"]),
            "AWSALB=x1; node=7"
        );
        assert_eq!(sent(&["AWSALB=x2; Path=/"]), "node=7; AWSALB=x2");
        assert_eq!(sent(&["node=; Path=/", "AWSALB=gone; Max-Age=0"]), "");
    }
}
