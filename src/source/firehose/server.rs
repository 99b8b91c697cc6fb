//! Connections: how many there may be, and of one peer; TLS; the end of each.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::request::Endpoint;

/// Bytes of a request's head, at most: an access key of 4 KiB and 50 common attributes of 1,280 bytes fit.
const HEAD: usize = 96 << 10;
/// How long it pauses when no connection can be taken (no file descriptors).
const PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take at the end to bring out their last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How long, and for how many bytes, a body is read into nothing after it was refused: who is still sending would not see
/// the answer if the connection were closed at once.
const LINGER: (Duration, usize) = (Duration::from_secs(5), 16 << 20);

/// What holds for connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) per_peer: usize,
    /// How long a head, or a handshake, may be in coming.
    pub(super) patience: Duration,
}

/// Takes connections until it is told to close; then the open ones may end.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    endpoint: Arc<Endpoint>,
    limits: Limits,
    mut closing: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let peers = Arc::new(Peers::default());
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let accept = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(peer) = peers.enter(address.ip(), limits.per_peer) else {
                    endpoint.turns_away();
                    continue;
                };
                let (endpoint, tls, closing) = (endpoint.clone(), tls.clone(), closing.clone());
                open.spawn(async move {
                    let _held = (place, peer, endpoint.connects());
                    connection(stream, tls, &endpoint, limits, closing).await;
                });
            }
            Err(error) => {
                tracing::warn!(source = endpoint.name(), %error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_ANSWERS, async { while open.join_next().await.is_some() {} }).await;
}

/// One connection. What goes wrong with it is whose who connected.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    endpoint: &Arc<Endpoint>,
    limits: Limits,
    closing: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak(stream, endpoint, limits, closing).await,
        Some(tls) => match tokio::time::timeout(limits.patience, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, endpoint, limits, closing).await,
            Ok(Err(error)) => tracing::debug!(source = endpoint.name(), %error, "a handshake failed"),
            Err(_) => tracing::debug!(source = endpoint.name(), "a handshake did not come to its end"),
        },
    }
}

/// Answers the requests of a connection.
async fn speak<S>(stream: S, endpoint: &Arc<Endpoint>, limits: Limits, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unread = Arc::new(AtomicBool::new(false));
    let service = service_fn(
        |request: Request<Incoming>| -> BoxFuture<'static, Result<Response<Full<Bytes>>, Infallible>> {
            let (endpoint, unread) = (endpoint.clone(), unread.clone());
            Box::pin(async move {
                let answered = endpoint.answer(request).await;
                unread.store(answered.unread, Ordering::Relaxed);
                Ok(answered.response)
            })
        },
    );
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        biased;
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
        _ = closing.wait_for(|closing| *closing) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(source = endpoint.name(), %error, "a connection ended early");
    }
    let mut stream = connection.into_parts().io.into_inner();
    let end = async {
        stream.shutdown().await?;
        if unread.load(Ordering::Relaxed) {
            linger(&mut stream).await?;
        }
        Ok::<_, io::Error>(())
    };
    let _ = tokio::time::timeout(LINGER.0, end).await;
}

/// Reads what still comes into nothing.
async fn linger<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let (mut nowhere, mut left) = (vec![0; 32 << 10], LINGER.1);
    while left > 0 {
        let read = stream.read(&mut nowhere).await?;
        if read == 0 {
            break;
        }
        left = left.saturating_sub(read);
    }
    Ok(())
}

/// How many connections each peer has.
#[derive(Debug, Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// A place among a peer's connections.
struct Peer {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl Peers {
    fn enter(self: &Arc<Peers>, address: IpAddr, most: usize) -> Option<Peer> {
        // A network of IPv6 is one peer: its owner has all addresses in it.
        let address = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address => address,
        };
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = peers.entry(address).or_default();
        if *open >= most {
            return None;
        }
        *open += 1;
        Some(Peer { peers: self.clone(), address })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut peers = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = peers.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                peers.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_connections_and_its_network_of_ipv6_is_one() {
        let peers = Arc::new(Peers::default());
        let enter = |address: &str| peers.enter(address.parse().unwrap(), 2);
        let one = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(one.0.is_some() && one.1.is_some() && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        let six = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(six.0.is_some() && six.1.is_some() && enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::3").is_some());
        drop((one, six));
        assert!(enter("192.0.2.1").is_some() && peers.0.lock().unwrap().is_empty());
    }
}
