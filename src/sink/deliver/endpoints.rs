//! The endpoints of a service: requests go to them in turn. Where there are several, one that does not answer, or refuses our
//! credentials while others take them, is left out for a while, ever longer; then one request tries it. When all are left
//! out, the one whose time is over first is tried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::{Target, gate};

/// How long an endpoint is left out that did not answer; each further time is twice as long, up to [`gate::LONGEST`].
const FIRST: Duration = Duration::from_secs(1);

/// All of them: one at least.
#[derive(Debug)]
pub struct Endpoints {
    sink: String,
    all: Vec<Endpoint>,
    turn: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub struct Endpoint {
    number: usize,
    target: Target,
    out: Mutex<Option<Out>>,
}

/// An endpoint is left out.
#[derive(Debug)]
struct Out {
    until: Instant,
    pause: Duration,
    /// Somebody tries, or has tried, since it was left out last.
    tried: bool,
    /// It refuses our credentials: what was told of it.
    refuses: Option<String>,
}

impl Endpoints {
    /// Those at these places.
    ///
    /// # Errors
    /// There is none.
    pub fn new(sink: &str, targets: Vec<Target>) -> Result<Endpoints, String> {
        if targets.is_empty() {
            return Err("it has no `url`".to_owned());
        }
        let endpoint = |(number, target)| Endpoint { number, target, out: Mutex::default() };
        let all = targets.into_iter().enumerate().map(endpoint).collect();
        Ok(Endpoints { sink: sink.to_owned(), all, turn: AtomicUsize::new(0) })
    }

    /// All of them, in the order in which they are written.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.all.iter()
    }

    /// The one whose turn it is.
    pub fn turn(&self) -> &Endpoint {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let in_turn = || self.all.iter().cycle().skip(turn).take(self.all.len());
        let serves = |endpoint: &&Endpoint| endpoint.lock().is_none() || endpoint.begin_try();
        let first = |endpoint: &&Endpoint| endpoint.lock().as_ref().map(|out| out.until);
        in_turn().find(serves).or_else(|| in_turn().min_by_key(first)).unwrap_or(&self.all[turn])
    }

    /// An endpoint did not answer, or wants its requests to go elsewhere. Returns whether there is another one to go to.
    pub fn is_down(&self, endpoint: &Endpoint) -> bool {
        self.leave_out(endpoint, FIRST, None)
    }

    /// An endpoint refuses our credentials. Returns whether there is another one to go to.
    pub fn refuses(&self, endpoint: &Endpoint, message: &str) -> bool {
        let told = endpoint.lock().as_ref().and_then(|out| out.refuses.clone());
        let others = self.leave_out(endpoint, gate::FIRST, Some(message));
        if others && told.as_deref() != Some(message) {
            tracing::warn!(
                sink = self.sink,
                "{message}: this endpoint is left out, and tried again now and then; the others take its requests"
            );
        }
        others
    }

    /// An endpoint answers as it should.
    pub fn serves(&self, endpoint: &Endpoint) {
        let out = endpoint.lock().take();
        if out.is_some_and(|out| out.refuses.is_some()) {
            tracing::info!(sink = self.sink, endpoint = %endpoint.target, "the endpoint takes requests again");
        }
    }

    /// Secrets were read again: who refused the old ones is tried at once.
    pub fn retry_now(&self) {
        for endpoint in &self.all {
            if let Some(out) = endpoint.lock().as_mut().filter(|out| out.refuses.is_some()) {
                (out.until, out.tried) = (Instant::now(), false);
            }
        }
    }

    fn leave_out(&self, endpoint: &Endpoint, first: Duration, refuses: Option<&str>) -> bool {
        if self.all.len() == 1 {
            return false;
        }
        let now = Instant::now();
        {
            let mut out = endpoint.lock();
            let (until, pause) = match &*out {
                // Others that were on their way hear the same: that is one time.
                Some(out) if !out.tried && now < out.until => (out.until, out.pause),
                Some(out) => {
                    let pause = (out.pause * 2).clamp(first, gate::LONGEST);
                    (now + pause, pause)
                }
                None => (now + first, first),
            };
            *out = Some(Out { until, pause, tried: false, refuses: refuses.map(str::to_owned) });
        }
        self.all.iter().any(|other| other.lock().as_ref().is_none_or(|out| now >= out.until))
    }
}

impl std::fmt::Display for Endpoints {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for endpoint in &self.all {
            let between = if endpoint.number > 0 { ", " } else { "" };
            write!(formatter, "{between}{}", endpoint.target)?;
        }
        Ok(())
    }
}

impl Endpoint {
    /// Which one it is, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A path, and what follows a `?`, below its URL, which may have a path itself (a proxy's).
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.target.url().clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let below = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&below);
        url.set_query(query);
        url
    }

    /// Whether it is left out because it did not answer.
    pub fn is_silent(&self) -> bool {
        self.lock().as_ref().is_some_and(|out| out.refuses.is_none())
    }

    /// Whether it was left out for long enough, and nobody tries it yet: then whoever asks does. Should they never come back,
    /// somebody else does after as long again.
    pub fn begin_try(&self) -> bool {
        let now = Instant::now();
        let mut out = self.lock();
        let due = out.as_mut().filter(|out| now >= out.until);
        due.is_some_and(|out| {
            (out.until, out.tried) = (now + out.pause, true);
            true
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Out>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(names: &[&str]) -> Endpoints {
        let target = |name: &&str| Target::parse(&format!("https://{name}.example.com/base/")).unwrap();
        Endpoints::new("out", names.iter().map(target).collect()).unwrap()
    }

    /// The first letters of those whose turn it is.
    fn turns(endpoints: &Endpoints, times: usize) -> String {
        (0..times).map(|_| endpoints.turn().url("/x").host_str().unwrap().chars().next().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_takes_its_turn_and_one_that_is_down_is_left_out_ever_longer() {
        let all = endpoints(&["a", "b", "c"]);
        assert_eq!(turns(&all, 6), "abcabc");
        let b = &all.all[1];
        assert!(!b.is_silent());
        // Those that were on their way together fail together: that is one time.
        assert!((0..50).all(|_| all.is_down(b)));
        assert!(b.is_silent() && !turns(&all, 30).contains('b'));
        tokio::time::advance(FIRST).await;
        // One tries it.
        assert_eq!(turns(&all, 30).matches('b').count(), 1);
        assert!(all.is_down(b));
        tokio::time::advance(FIRST).await;
        assert!(!turns(&all, 30).contains('b'));
        tokio::time::advance(FIRST).await;
        assert_eq!(turns(&all, 30).matches('b').count(), 1);
        // Who tries it and never comes back keeps it from nothing.
        tokio::time::advance(FIRST * 2).await;
        assert_eq!(turns(&all, 30).matches('b').count(), 1);
        all.serves(b);
        assert_eq!(turns(&all, 30).matches('b').count(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_down_the_one_whose_time_is_over_first_is_tried() {
        let all = endpoints(&["a", "b"]);
        assert!(all.is_down(&all.all[1]));
        tokio::time::advance(FIRST / 2).await;
        assert!(!all.is_down(&all.all[0]));
        assert_eq!(turns(&all, 4), "bbbb");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_credentials_is_tried_after_a_while_or_with_new_ones() {
        let all = endpoints(&["a", "b"]);
        assert!(all.refuses(&all.all[0], "credentials refused"));
        tokio::time::advance(gate::FIRST / 2).await;
        assert_eq!(turns(&all, 4), "bbbb");
        assert!(!all.all[0].is_silent());
        all.retry_now();
        assert_eq!(turns(&all, 4).matches('a').count(), 1);
        // The others refuse them, too: there is nobody to go to.
        assert!(!all.refuses(&all.all[1], "credentials refused"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_others_it_is_not_left_out() {
        let all = endpoints(&["a"]);
        assert!(!all.is_down(&all.all[0]) && !all.refuses(&all.all[0], "no"));
        assert!(all.all[0].lock().is_none());
    }

    #[test]
    fn a_path_stands_below_that_of_the_url() {
        let all = endpoints(&["a", "b"]);
        let url = all.turn().url("/i/_bulk?filter_path=errors");
        assert_eq!(url.as_str(), "https://a.example.com/base/i/_bulk?filter_path=errors");
        assert_eq!(all.to_string(), "https://a.example.com, https://b.example.com");
    }
}
