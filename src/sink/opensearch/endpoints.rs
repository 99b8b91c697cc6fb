//! The nodes of a cluster: requests go to them in turn. One that does not answer is left out for a while, ever longer; when all
//! are, the one whose time is over first is tried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::sink::deliver::Target;

/// How long a node is left out that did not answer once; each further time is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// The longest time a node is left out.
const LONGEST: Duration = Duration::from_secs(60);

/// Nodes, and which of them answer.
#[derive(Debug)]
pub(super) struct Endpoints {
    nodes: Vec<(Target, Mutex<Health>)>,
    next: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// Left out until then.
    until: Option<Instant>,
    /// Times in a row that it did not answer.
    failed: u32,
}

impl Endpoints {
    /// At least one.
    pub(super) fn new(targets: Vec<Target>) -> Result<Endpoints, String> {
        if targets.is_empty() {
            return Err("it has no `url`".to_owned());
        }
        let nodes = targets.into_iter().map(|target| (target, Mutex::default())).collect();
        Ok(Endpoints { nodes, next: AtomicUsize::new(0) })
    }

    /// The URL of a path at the node whose turn it is.
    pub(super) fn url(&self, path: &str) -> Url {
        let now = Instant::now();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = self.nodes.iter().cycle().skip(turn % self.nodes.len()).take(self.nodes.len());
        let waits = |(_, health): &&(Target, Mutex<Health>)| {
            lock(health).until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
        };
        let Some((target, _)) = in_turn.min_by_key(waits) else { return url_of(self.nodes[0].0.url(), path) };
        url_of(target.url(), path)
    }

    /// A node did not answer.
    pub(super) fn unreachable(&self, url: &Url) {
        let now = Instant::now();
        if let Some((_, health)) = self.nodes.iter().find(|(target, _)| target.url().origin() == url.origin())
        {
            let mut health = lock(health);
            // Requests that were on their way together fail together: that is one time.
            if health.until.is_some_and(|until| now < until) {
                return;
            }
            // Long after its last time it is one that answers.
            let again = health.until.is_some_and(|until| now < until + LONGEST);
            health.failed = if again { health.failed.saturating_add(1) } else { 0 };
            health.until = Some(now + (FIRST * 2u32.saturating_pow(health.failed)).min(LONGEST));
        }
    }

    /// What a message calls the cluster.
    pub(super) fn shown(&self) -> String {
        let all: Vec<String> = self.nodes.iter().map(|(target, _)| target.to_string()).collect();
        all.join(", ")
    }
}

/// A path below a URL that may have one itself (a proxy's).
fn url_of(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(query);
    url
}

fn lock(health: &Mutex<Health>) -> MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(names: &[&str]) -> Endpoints {
        let target = |name: &&str| Target::parse(&format!("https://{name}.example.com/base/")).unwrap();
        Endpoints::new(names.iter().map(target).collect()).unwrap()
    }

    fn asked(endpoints: &Endpoints, times: usize) -> String {
        let url = |_| endpoints.url("/x").host_str().unwrap().chars().next().unwrap();
        (0..times).map(url).collect()
    }

    fn down(endpoints: &Endpoints, name: &str) {
        endpoints.unreachable(&Url::parse(&format!("https://{name}.example.com/base/x/_bulk")).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_take_turns_but_for_those_that_do_not_answer() {
        let endpoints = endpoints(&["a", "b", "c"]);
        assert_eq!(asked(&endpoints, 6), "abcabc");
        down(&endpoints, "b");
        assert!(!asked(&endpoints, 30).contains('b'));
        tokio::time::advance(FIRST).await;
        assert!(asked(&endpoints, 3).contains('b'));
        // Each further time is longer.
        down(&endpoints, "b");
        tokio::time::advance(FIRST).await;
        assert!(!asked(&endpoints, 30).contains('b'));
        tokio::time::advance(FIRST).await;
        assert!(asked(&endpoints, 3).contains('b'));
        // All together fail once.
        (0..50).for_each(|_| down(&endpoints, "a"));
        tokio::time::advance(FIRST).await;
        assert!(asked(&endpoints, 3).contains('a'));
    }

    #[tokio::test(start_paused = true)]
    async fn when_no_node_answers_the_one_that_has_waited_longest_is_tried() {
        let endpoints = endpoints(&["a", "b"]);
        down(&endpoints, "b");
        tokio::time::advance(FIRST / 2).await;
        down(&endpoints, "a");
        assert_eq!(asked(&endpoints, 4), "bbbb");
    }

    #[test]
    fn a_path_stands_below_that_of_the_url() {
        let url = endpoints(&["a"]).url("/i/_bulk?filter_path=errors");
        assert_eq!(url.as_str(), "https://a.example.com/base/i/_bulk?filter_path=errors");
    }
}
