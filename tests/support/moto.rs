//! A moto server, one for all tests of a binary, and what they ask of it.
//!
//! It is installed when it is missing, into a virtual environment below `target/`, from pinned and hashed requirements.
//! It ends with this process, however that ends: its standard input is a pipe that we hold.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// The account that moto's users are in.
pub(crate) const ACCOUNT: &str = "123456789012";
/// The region that everything is in.
pub(crate) const REGION: &str = "eu-west-1";

const REQUIREMENTS: &str = include_str!("moto/requirements.txt");
const SERVE: &str = include_str!("moto/serve.py");
const IN_A_KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The server.
pub(crate) struct Moto {
    port: u16,
    _process: Mutex<Child>,
}

/// The server; `None`, and a word about it, where it cannot be had. In CI it has to be.
pub(crate) fn moto() -> Option<&'static Moto> {
    static MOTO: OnceLock<Result<Moto, String>> = OnceLock::new();
    match MOTO.get_or_init(|| Moto::start().map_err(|error| error.to_string())) {
        Ok(moto) => Some(moto),
        Err(error) => {
            let text = format!(
                "moto cannot be started: {error}; it needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv)"
            );
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
            eprintln!("skipped: {text}");
            None
        }
    }
}

impl Moto {
    fn start() -> std::io::Result<Moto> {
        let python = environment()?;
        let mut process = Command::new(python);
        let process =
            process.args(["-c", SERVE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = process.env("MOTO_ALLOW_NONEXISTENT_REGION", "false").spawn()?;
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let port = line.trim().parse().map_err(|_| std::io::Error::other("it did not tell its port"))?;
        let moto = Moto { port, _process: Mutex::new(process) };
        let ready = moto.ask("GET", "/moto-api/", &[], b"");
        assert_eq!(ready.status, 200, "{}", ready.text());
        Ok(moto)
    }

    /// Its address.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One request, one connection.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n", self.port);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        Answer { status, body: answer.split_off(end) }
    }

    fn signed(&self, service: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        // Signatures are not looked at; the service is.
        let by = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let answer = self.ask("POST", path, &[headers, &[("Authorization", &by)]].concat(), body);
        assert!(answer.status < 300, "{service}: {}", answer.text());
        answer
    }

    /// Asks a service that speaks JSON.
    pub(crate) fn json(&self, service: &str, target: &str, body: &Value) -> Value {
        let headers = [("X-Amz-Target", target), ("Content-Type", "application/x-amz-json-1.0")];
        let answer = self.signed(service, "/", &headers, body.to_string().as_bytes());
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Asks a service that speaks in forms.
    pub(crate) fn form(&self, service: &str, members: &[(&str, &str)]) -> String {
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let body: Vec<String> =
            members.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.signed(service, "/", &headers, body.join("&").as_bytes()).text()
    }

    fn s3(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let by = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"
        );
        let answer = self.ask(method, path, &[headers, &[("Authorization", &by)]].concat(), body);
        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
    }

    /// Makes a bucket.
    pub(crate) fn bucket(&self, name: &str) {
        let place = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        self.s3("PUT", &format!("/{name}"), &[], place.as_bytes());
    }

    /// Puts an object.
    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        self.put_with(bucket, key, &[], bytes);
    }

    /// Puts an object with some headers.
    pub(crate) fn put_with(&self, bucket: &str, key: &str, headers: &[(&str, &str)], bytes: &[u8]) {
        self.s3("PUT", &format!("/{bucket}/{}", utf8_percent_encode(key, IN_A_KEY)), headers, bytes);
    }

    /// Sets where a bucket's news are sent: the body of `PutBucketNotificationConfiguration`.
    pub(crate) fn notify(&self, bucket: &str, inner: &str) {
        let body = format!("<NotificationConfiguration>{inner}</NotificationConfiguration>");
        self.s3("PUT", &format!("/{bucket}?notification"), &[], body.as_bytes());
    }

    /// Makes a queue; `attributes` are SQS's own.
    pub(crate) fn queue(&'static self, name: &str, attributes: &Value) -> Queue {
        let made = self.json(
            "sqs",
            "AmazonSQS.CreateQueue",
            &json!({ "QueueName": name, "Attributes": attributes }),
        );
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
        let url = made["QueueUrl"].as_str().unwrap_or_else(|| panic!("no queue: {made}")).to_owned();
        Queue { moto: self, url, arn }
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A queue.
pub(crate) struct Queue {
    moto: &'static Moto,
    pub(crate) url: String,
    pub(crate) arn: String,
}

impl Queue {
    fn ask(&self, what: &str, mut body: Value) -> Value {
        body["QueueUrl"] = json!(self.url);
        self.moto.json("sqs", &format!("AmazonSQS.{what}"), &body)
    }

    /// Sends a message.
    pub(crate) fn send(&self, body: &str) {
        self.ask("SendMessage", json!({ "MessageBody": body }));
    }

    /// Receives what is visible and leaves it so: the bodies.
    pub(crate) fn peek(&self) -> Vec<String> {
        let got = self.ask("ReceiveMessage", json!({ "MaxNumberOfMessages": 10, "VisibilityTimeout": 0 }));
        let messages = got["Messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| message["Body"].as_str().unwrap().to_owned()).collect()
    }

    /// How many messages are visible, and how many are hidden.
    ///
    /// moto counts these one after the other: a message that comes into sight meanwhile is among neither. So what
    /// counts is what is said twice.
    pub(crate) fn count(&self) -> (u64, u64) {
        let count = || {
            let got = self.ask("GetQueueAttributes", json!({ "AttributeNames": ["All"] }));
            let number = |name: &str| got["Attributes"][name].as_str().unwrap().parse().unwrap();
            (number("ApproximateNumberOfMessages"), number("ApproximateNumberOfMessagesNotVisible"))
        };
        let mut before = count();
        loop {
            let now = count();
            if now == before {
                return now;
            }
            before = now;
        }
    }
}

/// The Python of the virtual environment, which is made where it is missing.
fn environment() -> std::io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    REQUIREMENTS.hash(&mut hasher);
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(tmp)?;
    let home = tmp.join(format!("moto-{:016x}", hasher.finish()));
    let (python, done) = (home.join("bin/python"), home.join("done"));
    // Several test binaries may come here at once.
    let lock = File::create(tmp.join("moto.lock"))?;
    lock.lock()?;
    if done.exists() {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&home);
    let file = tmp.join("moto-requirements.txt");
    fs::write(&file, REQUIREMENTS)?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"];
    run(Command::new(&python).args(install).arg(&file))?;
    fs::write(done, "")?;
    Ok(python)
}

fn run(command: &mut Command) -> std::io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(std::io::Error::other(format!("{command:?}: {text}"))) }
}
