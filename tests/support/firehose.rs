//! A client that delivers as Amazon Data Firehose does: a request is sent again, under the same id, until it is answered
//! 200 as the specification says; connections may be killed at random points of request and answer.
//!
//! Source: Firehose Developer Guide, *HTTP endpoint delivery request and response specifications*.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::Rng as _;
use serde_json::{Value, json};

/// The stream that delivers.
pub(crate) const ARN: &str = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/trail";
/// How long Firehose waits for an answer.
const PATIENCE: Duration = Duration::from_secs(180);
/// Its first pause between two tries, and its longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// A request: its id, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
    pub(crate) gzip: bool,
}

impl Batch {
    pub(crate) fn new<R: AsRef<[u8]>>(id: &str, records: &[R]) -> Batch {
        let records: Vec<Value> =
            records.iter().map(|record| json!({ "data": STANDARD.encode(record) })).collect();
        let body = json!({ "requestId": id, "timestamp": 1_578_090_901_599_u64, "records": records });
        Batch { id: id.to_owned(), body: body.to_string().into_bytes(), gzip: false }
    }

    /// The same, with its body compressed.
    pub(crate) fn packed(self) -> Batch {
        Batch { body: crate::here::gz(&self.body), gzip: true, ..self }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// Its body, where the answer is as the specification says.
    pub(crate) fn said(&self, id: &str) -> Option<Value> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let is_good = self.header("content-type") == Some("application/json")
            && self.header("content-length").and_then(|length| length.parse().ok()) == Some(self.body.len())
            && self.header("content-encoding").is_none()
            && body["requestId"] == id
            && body["timestamp"].is_u64();
        is_good.then_some(body)
    }
}

/// Both ways of a connection.
pub(crate) trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

/// Who delivers.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    /// Of how many tries, in 1,000, the connection is killed.
    pub(crate) kills: u64,
    /// How much shorter than Firehose's all times are: 0.01 makes seconds of minutes.
    pub(crate) scale: f64,
    /// Speaks TLS; plain where there is none.
    pub(crate) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

/// How a request was delivered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) tries: u32,
    pub(crate) killed: u32,
    /// Answers other than 200.
    pub(crate) refused: Vec<u16>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, key: &str) -> Client {
        Client { address, key: key.to_owned(), kills: 0, scale: 1.0, tls: None }
    }

    fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.scale)
    }

    /// The head of a request.
    pub(crate) fn head(&self, batch: &Batch) -> String {
        let encoding = if batch.gzip { "Content-Encoding: gzip\r\n" } else { "" };
        format!(
            "POST /firehose HTTP/1.1\r\nHost: localhost\r\nX-Amz-Firehose-Protocol-Version: 1.0\r\nX-Amz-Firehose-Request-Id: {}\r\nX-Amz-Firehose-Source-Arn: {ARN}\r\nX-Amz-Firehose-Access-Key: {}\r\nX-Amz-Firehose-Common-Attributes: {{\"commonAttributes\":{{\"env\":\"prod\"}}}}\r\nContent-Type: application/json\r\n{encoding}Content-Length: {}\r\n\r\n",
            batch.id,
            self.key,
            batch.body.len()
        )
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Line>> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(self.scaled(PATIENCE).max(Duration::from_secs(1))))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
                let tls = rustls::ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
                Box::new(rustls::StreamOwned::new(tls, stream))
            }
        })
    }

    /// Sends a request once and waits for the answer; `None`: there was none.
    pub(crate) fn send(&self, batch: &Batch) -> Option<Answer> {
        let mut line = self.connect().ok()?;
        let head = self.head(batch);
        // Who refuses does not read on.
        let _ = line.write_all(&[head.as_bytes(), &batch.body].concat());
        read_answer(&mut line)
    }

    /// Sends a request on a connection that may be used before and after, or kills it somewhere.
    fn attempt(&self, line: &mut Option<Box<dyn Line>>, batch: &Batch, chance: &mut Chance) -> Attempt {
        if line.is_none() {
            *line = self.connect().ok();
        }
        let Some(mut open) = line.take() else { return Attempt::Broken };
        let request = [self.head(batch).as_bytes(), &batch.body].concat();
        if chance.next_u64() % 1000 < self.kills {
            let length = request.len() as u64;
            // Half of them in the request, the others while the answer is waited for or in it.
            if chance.next_u64().is_multiple_of(2) {
                let sent = usize::try_from(chance.next_u64() % length).unwrap();
                let _ = open.write_all(&request[..sent]);
            } else if open.write_all(&request).is_ok() {
                let pause = self.scaled(Duration::from_micros(chance.next_u64() % 60_000_000));
                std::thread::sleep(pause);
                let mut some = vec![0; usize::try_from(chance.next_u64() % 100).unwrap()];
                if chance.next_u64().is_multiple_of(2) {
                    let _ = open.read(&mut some);
                }
            }
            return Attempt::Killed;
        }
        if open.write_all(&request).is_err() {
            return Attempt::Broken;
        }
        match read_answer(&mut open) {
            None => Attempt::Broken,
            Some(answer) => {
                if answer.header("connection") != Some("close") {
                    *line = Some(open);
                }
                Attempt::Answered(answer)
            }
        }
    }

    /// Delivers a request until it is answered 200; `None`: not within `most`.
    pub(crate) fn deliver(
        &self,
        line: &mut Option<Box<dyn Line>>,
        batch: &Batch,
        chance: &mut Chance,
        most: Duration,
    ) -> Option<Delivered> {
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        let mut delivered = Delivered::default();
        loop {
            delivered.tries += 1;
            match self.attempt(line, batch, chance) {
                Attempt::Answered(answer) => {
                    let said = answer.said(&batch.id);
                    assert!(said.is_some(), "not as specified: {answer:?}");
                    assert_ne!(answer.status, 413, "that loses the batch");
                    if answer.status == 200 {
                        assert!(said.is_some_and(|said| said.get("errorMessage").is_none()));
                        return Some(delivered);
                    }
                    delivered.refused.push(answer.status);
                }
                Attempt::Killed => delivered.killed += 1,
                Attempt::Broken => {}
            }
            if began.elapsed() > most {
                return None;
            }
            let about = 0.85 + 0.3 * (chance.next_u64() % 1000) as f64 / 1000.0;
            std::thread::sleep(self.scaled(pause).mul_f64(about));
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

enum Attempt {
    Answered(Answer),
    Killed,
    /// No connection, or no answer.
    Broken,
}

/// Reads one answer; `None`: it does not come, or not whole.
pub(crate) fn read_answer(line: &mut impl Read) -> Option<Answer> {
    let (mut got, mut some) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).into_owned();
            let mut answer = Answer { status: head.get(9..12)?.parse().ok()?, head, body: Vec::new() };
            let length: usize =
                answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if got.len() >= end + 4 + length {
                answer.body = got[end + 4..end + 4 + length].to_vec();
                return Some(answer);
            }
        }
        match line.read(&mut some) {
            Ok(0) | Err(_) => return None,
            Ok(length) => got.extend_from_slice(&some[..length]),
        }
    }
}
