//! The endpoints: whose turn it is, who is left out, and what each of them knows us by.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue, SET_COOKIE};
use reqwest::{Client, Method, Request, Url};
use tokio::time::Instant;

use super::acks::Channel;
use crate::config::Secret;
use crate::sink::deliver::{Target, Trouble};

/// How long an endpoint is left out at first; each further time twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(5);
/// The longest time that it is left out.
const LONGEST: Duration = Duration::from_secs(60);
/// How long an answer about its health may take.
const HEALTH: Duration = Duration::from_secs(10);
/// A channel that was silent for so long is not used again: Splunk may have forgotten it.
const SILENT: Duration = Duration::from_secs(300);
/// Cookies that are kept of one endpoint, and the longest of them, bytes.
const COOKIES: (usize, usize) = (16, 4096);

/// All of them.
pub(super) struct Endpoints {
    all: Vec<Endpoint>,
    turn: AtomicUsize,
    client: OnceLock<Client>,
}

/// One of them.
pub(super) struct Endpoint {
    target: Target,
    event: Url,
    ack: Url,
    health: Url,
    state: Mutex<State>,
}

struct State {
    token: HeaderValue,
    channel: Arc<Channel>,
    used: Instant,
    cookies: Vec<(String, String)>,
    /// Left out until, for how long, and whether somebody asks for its health.
    out: Option<(Instant, Duration, bool)>,
}

impl Endpoints {
    /// Those at these places.
    pub(super) fn new(targets: &[Target], token: &Secret) -> Result<Endpoints, String> {
        let token = header(token)?;
        let endpoint = |(number, target): (usize, &Target)| {
            let at = |path: &str| {
                let mut url = target.url().clone();
                url.set_path(&format!("{}{path}", base(target.url().path())));
                url.set_query(None);
                url.set_fragment(None);
                url
            };
            let state = State {
                token: token.clone(),
                channel: Arc::new(Channel::new(number)),
                used: Instant::now(),
                cookies: Vec::new(),
                out: None,
            };
            Endpoint {
                target: target.clone(),
                event: at("/services/collector/event"),
                ack: at("/services/collector/ack"),
                health: at("/services/collector/health"),
                state: Mutex::new(state),
            }
        };
        let all = targets.iter().enumerate().map(endpoint).collect();
        Ok(Endpoints { all, turn: AtomicUsize::new(0), client: OnceLock::new() })
    }

    /// Asks for their health with this.
    pub(super) fn ask_with(&self, client: &Client) {
        let _ = self.client.set(client.clone());
    }

    /// Takes a token that was read again.
    pub(super) fn renew(&self, token: &Secret) -> Result<(), String> {
        let token = header(token)?;
        self.all.iter().for_each(|endpoint| endpoint.lock().token = token.clone());
        Ok(())
    }

    /// One of them, by its number.
    pub(super) fn at(&self, number: usize) -> Option<&Endpoint> {
        self.all.get(number)
    }

    /// The one that a request for events went to, and on which channel.
    pub(super) fn of(&self, url: &Url) -> Option<(&Endpoint, String)> {
        let channel = url.query_pairs().find(|(name, _)| name == "channel")?.1.into_owned();
        let mut bare = url.clone();
        bare.set_query(None);
        Some((self.all.iter().find(|endpoint| endpoint.event == bare)?, channel))
    }

    /// Leaves one out for a while, where there are others.
    pub(super) fn leave_out(&self, endpoint: &Endpoint) {
        if self.all.len() > 1 {
            let mut state = endpoint.lock();
            let now = Instant::now();
            state.out = match state.out {
                // Others that were on their way hear the same.
                Some((until, pause, asked)) if now < until => Some((until, pause, asked)),
                Some((_, pause, _)) => {
                    let pause = (pause * 2).min(LONGEST);
                    Some((now + pause, pause, false))
                }
                None => Some((now + FIRST, FIRST, false)),
            };
        }
    }

    /// The endpoint whose turn it is, and a request for events to it without a body. Of those that were left out for long
    /// enough one is asked for its health first. Where all are left out, it is the turn of the one that was so for longest.
    pub(super) async fn next(&self) -> Result<(&Endpoint, Request), Trouble> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for at in 0..self.all.len() {
            let Some(endpoint) = self.all.get((turn + at) % self.all.len()) else { continue };
            let ask = {
                let mut state = endpoint.lock();
                match &mut state.out {
                    None => false,
                    Some((until, _, asked)) if Instant::now() >= *until && !*asked => {
                        *asked = true;
                        true
                    }
                    Some(_) => continue,
                }
            };
            if !ask || self.is_healthy(endpoint).await {
                return Ok((endpoint, endpoint.request()));
            }
        }
        let until = |endpoint: &&Endpoint| endpoint.lock().out.map(|(until, ..)| until);
        match self.all.iter().min_by_key(until) {
            Some(endpoint) => Ok((endpoint, endpoint.request())),
            None => Err(Trouble::Pause { message: "there is no endpoint".to_owned() }),
        }
    }

    /// Asks an endpoint that was left out; it is so no longer, or again.
    async fn is_healthy(&self, endpoint: &Endpoint) -> bool {
        /// Should whoever asks be dropped, somebody else may.
        struct Asking<'a>(&'a Endpoint);
        impl Drop for Asking<'_> {
            fn drop(&mut self) {
                if let Some((_, _, asked)) = &mut self.0.lock().out {
                    *asked = false;
                }
            }
        }
        let _asking = Asking(endpoint);
        let mut request = Request::new(Method::GET, endpoint.health.clone());
        endpoint.authorize(&mut request);
        *request.timeout_mut() = Some(HEALTH);
        let healthy = match self.client.get() {
            // Some who speak the collector's language have no health to be asked for: an answer is enough.
            Some(client) => client.execute(request).await.is_ok_and(|answer| answer.status().as_u16() < 500),
            None => true,
        };
        match healthy {
            true => endpoint.lock().out = None,
            false => self.leave_out(endpoint),
        }
        healthy
    }
}

impl Endpoint {
    /// Where it is, for messages.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The channel that it knows us by.
    pub(super) fn channel(&self) -> Arc<Channel> {
        self.lock().channel.clone()
    }

    /// Begins another channel.
    pub(super) fn new_channel(&self) {
        let mut state = self.lock();
        state.channel = Arc::new(Channel::new(state.channel.endpoint()));
    }

    /// A request for events, on the channel.
    fn request(&self) -> Request {
        let mut state = self.lock();
        let now = Instant::now();
        if now - state.used > SILENT && state.channel.is_idle() {
            state.channel = Arc::new(Channel::new(state.channel.endpoint()));
        }
        state.used = now;
        Request::new(Method::POST, on(&self.event, &state.channel))
    }

    /// A request for acknowledgements on a channel.
    pub(super) fn ask(&self, channel: &Channel) -> Request {
        Request::new(Method::POST, on(&self.ack, channel))
    }

    /// Adds what a request is let in by, and what brings it to the same node as those before.
    pub(super) fn authorize(&self, request: &mut Request) {
        let state = self.lock();
        request.headers_mut().insert(AUTHORIZATION, state.token.clone());
        let cookies: Vec<String> =
            state.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Ok(mut value) = HeaderValue::try_from(cookies.join("; "))
            && !cookies.is_empty()
        {
            value.set_sensitive(true);
            request.headers_mut().insert(COOKIE, value);
        }
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

fn header(token: &Secret) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(format!("Splunk {}", token.reveal()));
    let mut value = value.map_err(|_| "no header can carry the token")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(urls: &[&str]) -> Endpoints {
        let targets: Vec<Target> = urls.iter().map(|url| Target::parse(url).unwrap()).collect();
        Endpoints::new(&targets, &Secret::new("t0ken")).unwrap()
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
            let all = endpoints(&[url]);
            assert_eq!(all.all[0].event.as_str(), "https://hec.example.com:8088/services/collector/event");
            assert_eq!(all.all[0].ack.as_str(), "https://hec.example.com:8088/services/collector/ack");
        }
        let behind = endpoints(&["https://proxy.example.com/splunk/"]);
        assert_eq!(
            behind.all[0].health.as_str(),
            "https://proxy.example.com/splunk/services/collector/health"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_takes_its_turn_and_one_that_is_down_is_left_out_for_a_while() {
        let all = endpoints(&["https://a.example.com", "https://b.example.com", "https://c.example.com"]);
        let turns = async |times: usize| {
            let mut hosts = String::new();
            for _ in 0..times {
                let (endpoint, request) = all.next().await.unwrap();
                let (of, channel) = all.of(request.url()).unwrap();
                assert!(std::ptr::eq(of, endpoint) && channel == endpoint.channel().id());
                hosts.push_str(&request.url().host_str().unwrap()[..1]);
            }
            hosts
        };
        assert_eq!(turns(6).await, "abcabc");
        all.leave_out(&all.all[1]);
        assert_eq!(turns(6).await, "accacc");
        // Without a client nobody can be asked: who was left out for long enough is there again.
        tokio::time::sleep(FIRST).await;
        assert_eq!(turns(3).await, "abc");
        // All of them: the one that was so for longest tries.
        for endpoint in [2, 0, 1] {
            all.leave_out(&all.all[endpoint]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(turns(2).await, "cc");
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_lasts_until_it_was_silent_for_long() {
        let all = endpoints(&["https://a.example.com"]);
        let channel = async || all.of(all.next().await.unwrap().1.url()).unwrap().1;
        let first = channel().await;
        assert!(uuid::Uuid::parse_str(&first).is_ok());
        tokio::time::sleep(SILENT).await;
        assert_eq!(channel().await, first);
        tokio::time::sleep(SILENT + Duration::from_secs(1)).await;
        assert_ne!(channel().await, first);
        let alone = &all.all[0];
        all.leave_out(alone);
        assert!(alone.lock().out.is_none(), "without others it is not left out");
    }

    #[test]
    fn cookies_are_kept_until_they_are_taken_back() {
        let all = endpoints(&["https://a.example.com"]);
        let sent = |cookies: &[&str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(SET_COOKIE, cookie.parse().unwrap());
            }
            all.all[0].take_cookies(&headers);
            let mut request = all.all[0].request();
            all.all[0].authorize(&mut request);
            assert_eq!(request.headers()[AUTHORIZATION], "Splunk t0ken");
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
