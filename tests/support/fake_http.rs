//! A server that does what a test says: answers, hangs, goes away before or after it has taken what was sent.

use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) version: hyper::Version,
    pub(crate) headers: HeaderMap,
    /// Decompressed.
    pub(crate) body: String,
    pub(crate) at: Instant,
    /// Whether the server says that it has it.
    pub(crate) taken: bool,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What the server does about a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Takes it: 200.
    Take,
    /// Answers with a status, headers and a body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Never answers.
    Hang,
    /// Goes away without having taken it.
    Leave,
    /// Takes it, and goes away without an answer.
    TakeAndLeave,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Reply {
        Reply::Answer(status, Vec::new(), String::new())
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Starts one on any free port; `reply` says what it does about each request, by its number from 0.
    pub(crate) fn start(reply: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Server {
        Server::start_with(None, reply)
    }

    /// The same with TLS.
    pub(crate) fn start_with(
        tls: Option<TlsAcceptor>,
        reply: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (all, reply) = (seen.clone(), Arc::new(reply));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, reply, tls) = (all.clone(), reply.clone(), tls.clone());
                let service = service_fn(move |request| serve(request, all.clone(), reply.clone()));
                tokio::spawn(async move {
                    let plain = http1::Builder::new();
                    let Some(tls) = tls else {
                        let _ = plain.serve_connection(TokioIo::new(stream), service).await;
                        return;
                    };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let _ = match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => {
                            let server = http2::Builder::new(TokioExecutor::new());
                            server.serve_connection(TokioIo::new(stream), service).await
                        }
                        _ => plain.serve_connection(TokioIo::new(stream), service).await,
                    };
                });
            }
        });
        Server { address, seen, _runtime: runtime }
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The bodies that it has.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.seen().into_iter().filter(|seen| seen.taken).map(|seen| seen.body).collect()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(
    request: Request<Incoming>,
    all: Arc<Mutex<Vec<Seen>>>,
    reply: Arc<impl Fn(usize, &Seen) -> Reply>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let gone = || std::io::Error::other("gone");
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| gone())?.to_bytes();
    let mut text = String::new();
    match head.headers.get("content-encoding").map(|encoding| encoding.to_str().unwrap()) {
        None => text.push_str(std::str::from_utf8(&body).unwrap()),
        Some("gzip") => drop(flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap()),
        Some("zstd") => text = String::from_utf8(zstd::decode_all(&body[..]).unwrap()).unwrap(),
        Some(other) => panic!("{other}"),
    }
    let (method, uri, version) = (head.method.to_string(), head.uri.to_string(), head.version);
    let mut seen =
        Seen { method, uri, version, headers: head.headers, body: text, at: Instant::now(), taken: false };
    let reply = {
        let mut all = all.lock().unwrap();
        let reply = reply(all.len(), &seen);
        seen.taken = matches!(reply, Reply::Take | Reply::TakeAndLeave)
            || matches!(reply, Reply::Answer(200..=299, ..));
        all.push(seen);
        reply
    };
    match reply {
        Reply::Take => Ok(Response::new(Full::default())),
        Reply::Answer(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::new(body.into())).unwrap())
        }
        Reply::Hang => {
            std::future::pending::<Infallible>().await;
            unreachable!()
        }
        Reply::Leave | Reply::TakeAndLeave => Err(gone()),
    }
}
