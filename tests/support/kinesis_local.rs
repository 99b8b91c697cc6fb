//! An emulator of Kinesis that ends closed shards and tells of their children, one for all tests of a binary.
//!
//! It is installed when it is missing, below `target/`, from a pinned and hashed lock file, where Node is found. It ends
//! with this process, however that ends: its standard input is a pipe that we hold.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;

const PACKAGE: &str = include_str!("kinesis_local/package.json");
const LOCK: &str = include_str!("kinesis_local/package-lock.json");
const SERVE: &str = include_str!("kinesis_local/serve.js");

/// The server.
pub(crate) struct KinesisLocal {
    port: u16,
    _process: Mutex<Child>,
}

/// The server; `None`, and a word about it, where it cannot be had. In CI it has to be.
pub(crate) fn kinesis_local() -> Option<&'static KinesisLocal> {
    static SERVER: OnceLock<Result<KinesisLocal, String>> = OnceLock::new();
    match SERVER.get_or_init(|| KinesisLocal::start().map_err(|error| error.to_string())) {
        Ok(server) => Some(server),
        Err(error) => {
            let text = format!(
                "kinesis-local cannot be started: {error}; it needs Node 18 or newer with npm (Debian: apt-get install npm)"
            );
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
            eprintln!("skipped: {text}");
            None
        }
    }
}

impl KinesisLocal {
    fn start() -> std::io::Result<KinesisLocal> {
        let home = installed()?;
        let mut process = Command::new("node")
            .arg(home.join("serve.js"))
            .arg(home.join("node_modules/kinesis-local/main.js"))
            // It opens its certificate there.
            .current_dir(home.join("node_modules/kinesis-local"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut out =
            BufReader::new(process.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?);
        let port = loop {
            let mut line = String::new();
            if out.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("it did not tell its port"));
            }
            // It logs there, too.
            if let Some(port) = line.strip_prefix("port ").and_then(|port| port.trim().parse().ok()) {
                break port;
            }
        };
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Ok(KinesisLocal { port, _process: Mutex::new(process) })
    }

    /// Its address.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One request; its status and answer.
    pub(crate) fn ask(&self, what: &str, body: &Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nX-Amz-Target: Kinesis_20131202.{what}\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/kinesis/aws4_request, \
             SignedHeaders=host, Signature=0\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

/// Where it is installed, which is done where it is missing.
fn installed() -> std::io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (PACKAGE, LOCK, SERVE).hash(&mut hasher);
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(tmp)?;
    let home = tmp.join(format!("kinesis-local-{:016x}", hasher.finish()));
    let done = home.join("done");
    // Several test binaries may come here at once.
    let lock = File::create(tmp.join("kinesis-local.lock"))?;
    lock.lock()?;
    if done.exists() {
        return Ok(home);
    }
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home)?;
    for (name, text) in [("package.json", PACKAGE), ("package-lock.json", LOCK), ("serve.js", SERVE)] {
        fs::write(home.join(name), text)?;
    }
    let mut install = Command::new("npm");
    let install = install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&home);
    let output = install.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(std::io::Error::other(format!("npm ci: {text}")));
    }
    fs::write(done, "")?;
    Ok(home)
}
