//! What a sink says of its service: what a request looks like, and what an answer means.

use std::future::Future;
use std::time::Duration;

use reqwest::Request;

use super::client::Reading;
use super::endpoints::Endpoint;
use super::{Answer, Part, Service, Trouble};

/// How a service is spoken to.
pub trait Protocol: Send + Sync {
    /// What is kept of a request on its way. Dropped before its answer was judged, there was none.
    type Sent: Send;

    /// Waits until the service is as requests need it.
    ///
    /// # Errors
    /// It cannot be made so: for now, or until somebody does something.
    fn ready(&self, _service: &Service) -> impl Future<Output = Result<(), Trouble>> + Send {
        async { Ok(()) }
    }

    /// What an endpoint that was left out is asked first, if anything; an answer below 500 is good enough.
    fn health(&self, _endpoint: &Endpoint) -> Option<Request> {
        None
    }

    /// Makes the request for a part: all but its body and what authorises it.
    fn request(&self, part: &Part, endpoint: &Endpoint) -> (Request, Self::Sent);

    /// The request never reached the service.
    fn unsent(&self, _sent: Self::Sent) {}

    /// What an answer to the request for a part means. Successes too.
    fn judge(&self, answer: &Answer, part: &Part, endpoint: &Endpoint, sent: Self::Sent) -> Judged;

    /// How much of an answer is needed to judge it.
    fn reading(&self) -> Reading {
        (64 << 10).into()
    }

    /// Whether a request sent again is recognised by the other side, so that nothing arrives twice.
    fn recognises(&self) -> bool {
        false
    }

    /// Whether an answer says that there is too much to do.
    fn is_overloaded(&self, answer: &Answer) -> bool {
        matches!(answer.status.as_u16(), 429 | 503)
    }

    /// Waits until what was received is confirmed: see [`Judged::Received`].
    ///
    /// Cancel: it is not known whether it is.
    ///
    /// # Errors
    /// It is not, and nobody knows whether it ever will be: it is sent again. Why.
    fn confirmed(
        &self,
        _promise: Promise,
        _service: &Service,
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
        /// Another endpoint may take it: this one is left out for a while.
        elsewhere: bool,
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
