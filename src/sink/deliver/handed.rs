//! Bodies that know whether the connection has taken all of them. A server that answers before it can have read a request has
//! not taken it, whatever it answers. A connection takes a large body in two pieces, and the second of them, its end, when less
//! than 408 KiB of the first are left to be written (hyper's buffer): of smaller bodies it cannot be known.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Bodies up to this go in one piece, bytes.
const SMALL: usize = 256 << 10;
/// The second piece, bytes: as much as one record of TLS holds. The first is all before it, so that a connection writes as much
/// at once as it can. Nothing is copied.
const END: usize = 16 << 10;

/// Whether a connection has taken all of a body.
#[derive(Clone, Debug, Default)]
pub struct Handed(Option<Arc<AtomicBool>>);

impl Handed {
    /// Makes these bytes a request's body.
    pub fn over(request: &mut reqwest::Request, bytes: &Bytes) -> Handed {
        if bytes.len() <= SMALL {
            *request.body_mut() = Some(bytes.clone().into());
            return Handed::default();
        }
        let all: Arc<AtomicBool> = Arc::default();
        let body = TwoPieces { left: bytes.clone(), all: all.clone() };
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        Handed(Some(all))
    }

    /// All of it was taken.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_none_or(|all| all.load(Ordering::Acquire))
    }
}

struct TwoPieces {
    left: Bytes,
    all: Arc<AtomicBool>,
}

impl Body for TwoPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let before = self.left.len().saturating_sub(END);
        let piece = if before > 0 {
            self.left.split_to(before)
        } else {
            self.all.store(true, Ordering::Release);
            std::mem::take(&mut self.left)
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
