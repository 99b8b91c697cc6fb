//! A fake S3 that misbehaves on request: LIST, GET and HEAD of objects that are made when they are asked for.
//!
//! A bucket is a few partitions, each so many keys at even distances, so a hundred million of them cost nothing: the key of
//! a number, and the first number behind a key, are computed. Plain HTTP/1.1 by hand on tokio, because faults need the bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Keys in one account, region and kind: number `n` is named for the minute `first + n / per_minute`.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// `AWSLogs/<account>/CloudTrail/<region>/`.
    pub(crate) prefix: String,
    /// Minute of the first, counted from 1970.
    pub(crate) first: i64,
    /// Minutes between two.
    pub(crate) every: i64,
    pub(crate) keys: u64,
}

impl Run {
    fn stem(&self) -> String {
        let mut parts = self.prefix.trim_end_matches('/').rsplit('/');
        let (region, kind, account) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        format!("{account}_{kind}_{region}_")
    }

    pub(crate) fn key(&self, number: u64) -> String {
        let minute = self.first + i64::try_from(number).unwrap() * self.every;
        let at = jiff::Timestamp::from_second(minute * 60).unwrap();
        let (day, time) = (at.strftime("%Y/%m/%d"), at.strftime("%Y%m%dT%H%M"));
        format!("{}{day}/{}{time}Z_{number:016}.json.gz", self.prefix, self.stem())
    }

    /// The first number whose key stands behind `after`.
    fn behind(&self, after: &str) -> u64 {
        let (mut low, mut high) = (0, self.keys);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(middle).as_str() > after { high = middle } else { low = middle + 1 }
        }
        low
    }
}

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// 503 SlowDown.
    SlowDown,
    /// 500 InternalError.
    Internal,
    /// 403 with this code.
    Refused(&'static str),
    /// So many bytes of the body, then the connection is closed.
    Truncated(usize),
    /// So many bytes, then the connection is reset.
    Reset(usize),
    /// So many bytes, then nothing.
    Stalled(usize),
}

/// One request, as a fault is chosen for it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) kind: Kind,
    /// How often the same was asked for before.
    pub(crate) before: u64,
    /// The request as it came.
    pub(crate) head: &'a str,
}

impl Asked<'_> {
    /// The bucket.
    pub(crate) fn bucket(&self) -> &str {
        self.head.split(['/', '?', ' ']).nth(2).unwrap_or_default()
    }

    /// A header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(at, _)| at.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    List,
    /// With a delimiter.
    Folders,
    Get,
    /// From an offset on.
    GetFrom,
    Head,
}

type Choose = dyn Fn(&Asked<'_>) -> Option<Fault> + Send + Sync;
/// Makes the bytes of a number in a run.
type Make = dyn Fn(&Run, u64) -> Bytes + Send + Sync;

/// The server. Ends when it goes out of scope, with its runtime.
pub(crate) struct FakeS3 {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    runs: Vec<Run>,
    objects: Mutex<BTreeMap<String, Bytes>>,
    choose: Box<Choose>,
    make: Box<Make>,
    latency: Duration,
    counts: Mutex<BTreeMap<Kind, u64>>,
    asked: Mutex<BTreeMap<(Kind, String), u64>>,
}

impl FakeS3 {
    /// Listens on a free loopback port, on the current runtime. Each answer waits for `latency`. Each object of a run is
    /// one record.
    pub(crate) async fn start(
        runs: Vec<Run>,
        latency: Duration,
        choose: impl Fn(&Asked<'_>) -> Option<Fault> + Send + Sync + 'static,
    ) -> FakeS3 {
        FakeS3::of(runs, latency, choose, one_record).await
    }

    /// The same, with objects that somebody else makes.
    pub(crate) async fn of(
        mut runs: Vec<Run>,
        latency: Duration,
        choose: impl Fn(&Asked<'_>) -> Option<Fault> + Send + Sync + 'static,
        make: impl Fn(&Run, u64) -> Bytes + Send + Sync + 'static,
    ) -> FakeS3 {
        runs.sort_by(|one, other| one.prefix.cmp(&other.prefix));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            runs,
            objects: Mutex::default(),
            choose: Box::new(choose),
            make: Box::new(make),
            latency,
            counts: Mutex::default(),
            asked: Mutex::default(),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        FakeS3 { address, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts an object beside the runs.
    pub(crate) fn put(&self, key: &str, bytes: Vec<u8>) {
        self.shared.objects.lock().unwrap().insert(key.to_owned(), bytes.into());
    }

    /// How often one key or prefix was asked for.
    pub(crate) fn asked(&self, kind: Kind, what: &str) -> u64 {
        self.shared.asked.lock().unwrap().get(&(kind, what.to_owned())).copied().unwrap_or_default()
    }

    /// Requests of a kind so far.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.shared.counts.lock().unwrap().get(&kind).copied().unwrap_or_default()
    }
}

/// Answers the requests of one connection.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = buffer.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut buffer, rest)).unwrap();
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let (answer, fault) = shared.answer(&head);
        tokio::time::sleep(shared.latency).await;
        let sent = match fault {
            Some(Fault::Truncated(bytes) | Fault::Reset(bytes) | Fault::Stalled(bytes)) => {
                let bytes = (answer.head.len() + bytes).min(answer.head.len() + answer.body.len());
                let all = [answer.head.as_bytes(), &answer.body].concat();
                let _ = stream.write_all(&all[..bytes]).await;
                match fault {
                    Some(Fault::Reset(_)) => drop(stream.set_zero_linger()),
                    Some(Fault::Stalled(_)) => tokio::time::sleep(Duration::from_secs(3600)).await,
                    _ => {}
                }
                return;
            }
            _ => stream.write_all(&[answer.head.as_bytes(), &answer.body].concat()).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A run, and the number of a key in it.
type Place = Option<(usize, u64)>;

struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: &str, headers: &str, body: Vec<u8>) -> Answer {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nx-amz-request-id: fake\r\nx-amz-bucket-region: eu-west-1\r\n{headers}\r\n"
        );
        Answer { head, body }
    }

    fn error(status: &str, code: &str) -> Answer {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as asked</Message></Error>");
        Answer::new(status, "Content-Type: application/xml\r\n", body.into_bytes())
    }
}

impl Answer {
    /// As STS refuses a role.
    fn of_sts(code: &str) -> Answer {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>User: arn:aws:iam::1:user/u is not authorized to perform: sts:AssumeRole on resource: r</Message></Error><RequestId>fake</RequestId></ErrorResponse>"
        );
        Answer::new("403 Forbidden", "Content-Type: text/xml\r\n", body.into_bytes())
    }
}

impl Shared {
    fn answer(&self, head: &str) -> (Answer, Option<Fault>) {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let plain =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (plain(name), plain(&value.replace('+', " "))))
            .collect();
        // `/bucket`, `/bucket/`, `/bucket/key`.
        let key = plain(path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key));
        let from = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let range = name.eq_ignore_ascii_case("range").then_some(value)?;
            range.strip_prefix("bytes=")?.trim_end_matches('-').parse::<usize>().ok()
        });
        let kind = match (method, key.is_empty(), from) {
            ("HEAD", _, _) => Kind::Head,
            (_, true, _) if query.contains_key("delimiter") => Kind::Folders,
            (_, true, _) => Kind::List,
            (_, _, Some(_)) => Kind::GetFrom,
            _ => Kind::Get,
        };
        let what =
            if key.is_empty() { query.get("prefix").cloned().unwrap_or_default() } else { key.clone() };
        *self.counts.lock().unwrap().entry(kind).or_default() += 1;
        let before = {
            let mut asked = self.asked.lock().unwrap();
            let times = asked.entry((kind, what)).or_default();
            *times += 1;
            *times - 1
        };
        let fault = (self.choose)(&Asked { kind, before, head });
        let answer = match (fault, kind) {
            (Some(Fault::SlowDown), _) => Answer::error("503 Slow Down", "SlowDown"),
            (Some(Fault::Internal), _) => Answer::error("500 Internal Server Error", "InternalError"),
            // Only roles are asked for so.
            (Some(Fault::Refused(code)), _) if method == "POST" => Answer::of_sts(code),
            (Some(Fault::Refused(code)), _) => Answer::error("403 Forbidden", code),
            (_, Kind::List | Kind::Folders) => {
                let body = self.list(&query).into_bytes();
                Answer::new("200 OK", "Content-Type: application/xml\r\n", body)
            }
            (_, Kind::Head) if key.is_empty() => Answer::new("200 OK", "", Vec::new()),
            _ => match self.body(&key) {
                None => Answer::error("404 Not Found", "NoSuchKey"),
                Some(body) => {
                    let total = body.len();
                    let from = from.unwrap_or(0);
                    if from > 0 && from >= total {
                        return (Answer::error("416 Range Not Satisfiable", "InvalidRange"), fault);
                    }
                    let (status, range) = match from {
                        0 => ("200 OK", String::new()),
                        _ => (
                            "206 Partial Content",
                            format!("Content-Range: bytes {from}-{}/{total}\r\n", total.saturating_sub(1)),
                        ),
                    };
                    let headers = format!("ETag: \"{}\"\r\n{range}", tag(&key));
                    Answer::new(status, &headers, body[from..].to_vec())
                }
            },
        };
        let body = if kind == Kind::Head { Vec::new() } else { answer.body };
        (Answer { body, ..answer }, fault)
    }

    /// The first key behind `after`, and where in the runs it stands. `hint`: where `after` stands.
    fn next(&self, after: &str, hint: Place) -> Option<(String, Place)> {
        let objects = self.objects.lock().unwrap();
        let range = (std::ops::Bound::Excluded(after.to_owned()), std::ops::Bound::Unbounded);
        let plain = objects.range(range).next().map(|(key, _)| (key.clone(), None));
        let follows = hint.filter(|(run, number)| number + 1 < self.runs[*run].keys);
        let run = match follows {
            Some((run, number)) => Some((self.runs[run].key(number + 1), Some((run, number + 1)))),
            None => {
                // A run's keys stand together, so only the run around `after` and the one behind it count.
                let at = self.runs.partition_point(|run| run.prefix.as_str() <= after).saturating_sub(1);
                self.runs.iter().enumerate().skip(at).take(2).find_map(|(at, run)| {
                    let number = run.behind(after);
                    (number < run.keys).then(|| (run.key(number), Some((at, number))))
                })
            }
        };
        plain.into_iter().chain(run).min()
    }

    fn list(&self, query: &BTreeMap<String, String>) -> String {
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let (prefix, delimiter) = (text("prefix"), text("delimiter"));
        let start = text("start-after").max(text("continuation-token")).to_owned();
        let most: usize = text("max-keys").parse().unwrap_or(1000);
        // What stands just before the prefix: no key is between them.
        let mut after = match prefix.as_bytes().split_last() {
            Some((last, rest)) if start.as_str() < prefix => {
                let mut before = rest.to_vec();
                before.push(last - 1);
                String::from_utf8(before).unwrap() + "\u{10ffff}"
            }
            _ => start,
        };
        let (mut contents, mut folders, mut count, mut token) =
            (String::new(), String::new(), 0, String::new());
        let mut place = None;
        while let Some((key, at)) = self.next(&after, place).filter(|(key, _)| key.starts_with(prefix)) {
            if count == most {
                token.clone_from(&after);
                break;
            }
            count += 1;
            let folder = (!delimiter.is_empty()).then(|| key[prefix.len()..].find(delimiter)).flatten();
            if let Some(end) = folder {
                let folder = &key[..=prefix.len() + end];
                let shown = escaped(folder);
                let _ = write!(folders, "<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>");
                after = format!("{folder}\u{10ffff}");
                place = None;
            } else {
                let size = match at {
                    Some((run, number)) => (self.make)(&self.runs[run], number).len(),
                    None => self.body(&key).map_or(0, |body| body.len()),
                };
                let (tag, shown) = (tag(&key), escaped(&key));
                let _ = write!(
                    contents,
                    "<Contents><Key>{shown}</Key><Size>{size}</Size><ETag>&quot;{tag}&quot;</ETag><LastModified>2026-01-15T00:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
                );
                after = key;
                place = at;
            }
        }
        let more = if token.is_empty() {
            "<IsTruncated>false</IsTruncated>".to_owned()
        } else {
            format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>",
                escaped(&token)
            )
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys>{more}{contents}{folders}</ListBucketResult>",
            escaped(prefix)
        )
    }

    /// What was put there, or what is made of its name.
    fn body(&self, key: &str) -> Option<Bytes> {
        if let Some(bytes) = self.objects.lock().unwrap().get(key) {
            return Some(bytes.clone());
        }
        let at = self.runs.partition_point(|run| run.prefix.as_str() <= key).checked_sub(1)?;
        let run = self.runs.get(at).filter(|run| key.starts_with(&run.prefix))?;
        let number: u64 = key.strip_suffix(".json.gz")?.rsplit('_').next()?.parse().ok()?;
        (number < run.keys && run.key(number) == key).then(|| (self.make)(run, number))
    }
}

/// A record whose id is the end of the object's name.
fn one_record(run: &Run, number: u64) -> Bytes {
    let stem = run.stem();
    let account = stem.split('_').next().unwrap();
    let text = format!(
        r#"{{"Records":[{{"eventVersion":"1.08","eventTime":"2026-01-15T10:00:00Z","awsRegion":"eu-west-1","eventID":"{account}-{number}","recipientAccountId":"{account}"}}]}}"#
    );
    text.into()
}

/// Text for XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn tag(key: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(key.as_bytes()))
}
