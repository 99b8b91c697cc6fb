//! What a sink says of its service: what a request looks like, and what an answer means.

use std::future::Future;
use std::time::Duration;

use super::{Answer, Part, Trouble};

/// How a service is spoken to.
pub trait Protocol: Send + Sync {
    /// Makes the request for a part; signs it, chooses an endpoint.
    fn request(&self, part: &Part) -> impl Future<Output = Result<reqwest::Request, Trouble>> + Send;

    /// What an answer to the request for a part means. Successes too.
    fn judge(&self, answer: &Answer, part: &Part) -> Judged;

    /// Bytes of an answer that are needed to judge it.
    fn answer_limit(&self) -> usize {
        64 << 10
    }

    /// No answer came from this URL: an endpoint may be left out for a while.
    fn unreachable(&self, _url: &reqwest::Url) {}

    /// Whether a request sent again is recognised by the other side, so that nothing arrives twice.
    fn recognises(&self) -> bool {
        false
    }

    /// Whether an answer says that there is too much to do.
    fn is_overloaded(&self, answer: &Answer) -> bool {
        matches!(answer.status.as_u16(), 429 | 503)
    }

    /// Waits until what was received is confirmed: see [`Judged::Received`]. `client` may ask for it.
    ///
    /// Cancel: it is not known whether it is.
    ///
    /// # Errors
    /// It is not, and nobody knows whether it ever will be: it is sent again. Why.
    fn confirmed(
        &self,
        _promise: Promise,
        _client: &reqwest::Client,
    ) -> impl Future<Output = Result<(), String>> + Send {
        async { Ok(()) }
    }

    /// How long an answer may take, its confirmation too, before it is said aloud that there is none.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// What a protocol knows a received part by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Promise(pub u64);

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The other side has all of it.
    Taken,
    /// It has none of it, or it is not known, and it may take it later.
    Retry {
        /// What happened.
        message: String,
        /// Not before.
        after: Option<Duration>,
    },
    /// Credentials or settings are wrong: the whole sink waits.
    Pause(String),
    /// It is too large: in halves. A single record goes to rejects.
    Split(String),
    /// It will never take these bytes as they are.
    Refused(String),
    /// Those named were not taken, by their place in the part; the others were.
    Items(Vec<(u32, Item)>),
    /// It will never take the record at this place of the part. What became of the others is not known.
    Invalid(u32, String),
    /// The other side has it, and says later whether it keeps it.
    Received(Promise),
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Not taken for now: the status, what was said.
    Retry(u16, String),
    /// It will never be taken: the status, what was said.
    Refused(u16, String),
}
