//! Bodies that know how much of them the connection has taken. A server that answers before it can have read a request has
//! not taken it, whatever it answers. A connection takes 256 KiB at a time: of smaller bodies it cannot be known.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// What a connection takes at a time: parts of the same bytes, none is copied.
const CHUNK: usize = 256 << 10;

/// Whether a connection has taken all of a body.
#[derive(Clone, Debug, Default)]
pub struct Handed(Option<Arc<AtomicBool>>);

impl Handed {
    /// Makes these bytes a request's body.
    pub fn over(request: &mut reqwest::Request, bytes: &Bytes) -> Handed {
        if bytes.len() <= CHUNK {
            *request.body_mut() = Some(bytes.clone().into());
            return Handed::default();
        }
        let all: Arc<AtomicBool> = Arc::default();
        let body = Chunks { left: bytes.clone(), all: all.clone() };
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        Handed(Some(all))
    }

    /// All of it was taken.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_none_or(|all| all.load(Ordering::Acquire))
    }
}

struct Chunks {
    left: Bytes,
    all: Arc<AtomicBool>,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let next = self.left.len().min(CHUNK);
        let chunk = self.left.split_to(next);
        if self.left.is_empty() {
            self.all.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
