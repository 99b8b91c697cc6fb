//! A server that speaks AWS's JSON 1.1: says what was asked for, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// One request.
pub(crate) struct Asked {
    /// The operation.
    pub(crate) operation: String,
    /// The region that it is signed for.
    pub(crate) region: String,
    pub(crate) body: Value,
}

/// What is answered.
pub(crate) enum Answer {
    Is(Value),
    /// An error: status, code, message.
    Refused(u16, &'static str, &'static str),
    /// Something that is no JSON.
    Page(u16, &'static str),
    /// Nothing, for ever.
    Hangs,
    /// The connection is closed.
    Dies,
}

/// Listens on a free loopback port, on the current runtime.
pub(crate) async fn listen(answer: impl Fn(Asked) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            let service = service_fn(move |request| one(request, answer.clone()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn one(
    request: Request<Incoming>,
    answer: Arc<impl Fn(Asked) -> Answer>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let header =
        |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let operation = header("x-amz-target").rsplit('.').next().unwrap().to_owned();
    let region = header("authorization").split('/').nth(2).unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let (status, text) = match answer(Asked { operation, region, body }) {
        Answer::Is(value) => (200, value.to_string()),
        Answer::Refused(status, code, message) => {
            (status, json!({ "__type": code, "message": message }).to_string())
        }
        Answer::Page(status, text) => (status, text.to_owned()),
        Answer::Hangs => std::future::pending().await,
        Answer::Dies => return Err(std::io::Error::other("as asked")),
    };
    let answer = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    Ok(answer.body(Full::new(text.into())).unwrap())
}

/// Counts requests, and refuses those over a quota.
pub(crate) struct Quota {
    /// In a second.
    most: usize,
    taken: Mutex<Vec<Instant>>,
    all: Mutex<Vec<Instant>>,
}

impl Quota {
    pub(crate) fn new(most: usize) -> Quota {
        Quota { most, taken: Mutex::default(), all: Mutex::default() }
    }

    /// Whether one more is allowed now.
    pub(crate) fn takes(&self) -> bool {
        let now = Instant::now();
        self.all.lock().unwrap().push(now);
        let mut taken = self.taken.lock().unwrap();
        taken.retain(|at| now - *at < Duration::from_secs(1));
        let takes = taken.len() < self.most;
        if takes {
            taken.push(now);
        }
        takes
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.all.lock().unwrap().len()
    }

    /// The most that came within so many seconds.
    pub(crate) fn busiest(&self, seconds: u64) -> usize {
        let all = self.all.lock().unwrap();
        let within = |first: &Instant| {
            all.iter().filter(|at| *at >= first && **at - *first < Duration::from_secs(seconds)).count()
        };
        all.iter().map(within).max().unwrap_or_default()
    }
}
