//! Real OpenSearch nodes for tests: from their Maven artifacts, where Java and Maven are found.
//!
//! Each listens on loopback only, may use 512 MiB of heap, and ends with this process, however that ends: its standard input is
//! a pipe that we hold. One runs at a time, over all test binaries.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "opensearch/security.rs"]
mod security;

const SERVE: &str = include_str!("opensearch/Serve.java");

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.8.0, on the newest Java from 21 on.
    Three,
    /// 2.19.1, on Java 17.
    Two,
    /// The same with its security plugin: TLS, users and roles.
    TwoSecured,
}

impl Version {
    fn pom(self) -> (&'static str, &'static str) {
        match self {
            Version::Three => ("opensearch-3", include_str!("opensearch/pom3.xml")),
            Version::Two | Version::TwoSecured => ("opensearch-2", include_str!("opensearch/pom2.xml")),
        }
    }

    /// The Java it runs on.
    fn java(self) -> Result<PathBuf, String> {
        let all = javas();
        let found = match self {
            Version::Three => all.into_iter().filter(|(version, _)| *version >= 21).max(),
            Version::Two | Version::TwoSecured => all.into_iter().find(|(version, _)| *version == 17),
        };
        let wanted = if self == Version::Three { "JDK 21 or newer" } else { "JDK 17" };
        found.map(|(_, java)| java).ok_or_else(|| format!("no {wanted} is found"))
    }
}

/// A running node.
pub(crate) struct OpenSearch {
    version: Version,
    /// Where it listens, `https://…` or `http://…`.
    pub(crate) url: String,
    ports: [u16; 2],
    home: tempfile::TempDir,
    process: Child,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    /// The one who may run.
    _turn: File,
}

/// The node; `None`, and a word about it, where it cannot be had. In CI it has to be.
pub(crate) fn opensearch(version: Version) -> Option<OpenSearch> {
    match OpenSearch::start(version) {
        Ok(server) => Some(server),
        Err(error) => {
            let text = format!(
                "OpenSearch cannot be started: {error}; it needs Maven and a JDK (Debian: apt-get install maven openjdk-17-jdk; \
                 OpenSearch 3 wants 21 or newer)"
            );
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
            eprintln!("skipped: {text}");
            None
        }
    }
}

impl OpenSearch {
    fn start(version: Version) -> Result<OpenSearch, String> {
        let java = version.java()?;
        let class_path = installed(version)?;
        let words = |error: std::io::Error| error.to_string();
        let turn = File::create(tmp().join("opensearch.turn")).map_err(words)?;
        turn.lock().map_err(words)?;
        let home = tempfile::Builder::new().prefix("opensearch-").tempdir_in(tmp()).map_err(words)?;
        let secured = version == Version::TwoSecured;
        if secured {
            security::configure(home.path())?;
        }
        let ports = free_ports();
        let scheme = if secured { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", ports[0]);
        let process = launch(&java, &class_path, home.path(), ports, secured).map_err(words)?;
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy();
        let client = client.timeout(Duration::from_secs(60)).build().map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(words)?;
        let mut server = OpenSearch { version, url, ports, home, process, client, runtime, _turn: turn };
        server.wait()?;
        Ok(server)
    }

    /// Waits until it answers.
    fn wait(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let ready = self.try_ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=30s", None);
            if matches!(ready, Ok((200, _))) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("it ended with {status}: {}", self.log()));
            }
            if Instant::now() > deadline {
                return Err(format!("it does not answer: {ready:?}: {}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join(" | ")
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again where it was, with what it has on disk.
    pub(crate) fn restart(&mut self) {
        let java = self.version.java().unwrap();
        let class_path = installed(self.version).unwrap();
        let secured = self.version == Version::TwoSecured;
        self.process = launch(&java, &class_path, self.home.path(), self.ports, secured).unwrap();
        self.wait().unwrap();
    }

    /// Its certificate, where it has one.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.home.path().join("node_1/config/node.pem")
    }

    /// One request, by the administrator where there are users; its status and answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.try_ask(method, path, body.map(|body| ("application/json", body.to_string().into()))).unwrap()
    }

    /// Sends a bulk request.
    pub(crate) fn bulk(&self, body: Vec<u8>) -> (u16, Value) {
        self.try_ask("POST", "/_bulk", Some(("application/x-ndjson", body))).unwrap()
    }

    fn try_ask(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<(u16, Value), String> {
        let method = method.parse().map_err(|_| "no method")?;
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if self.version == Version::TwoSecured {
            request = request.header("authorization", security::ADMIN);
        }
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
            let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
            Ok((status, serde_json::from_slice(&bytes).unwrap_or_else(|_| text())))
        })
    }

    /// How many documents an index pattern holds, those written just now included.
    pub(crate) fn count(&self, index: &str) -> u64 {
        self.ask("POST", &format!("/{index}/_refresh"), None);
        self.ask("GET", &format!("/{index}/_count"), None).1["count"].as_u64().unwrap_or_default()
    }

    /// All documents of an index pattern as search hits, with these fields.
    pub(crate) fn documents(&self, index: &str, fields: &[&str]) -> Vec<Value> {
        self.ask("POST", &format!("/{index}/_refresh"), None);
        let first = json!({ "size": 10_000, "_source": fields, "sort": ["_doc"] });
        let (status, mut page) = self.ask("POST", &format!("/{index}/_search?scroll=1m"), Some(&first));
        assert_eq!(status, 200, "{page}");
        let mut all = Vec::new();
        loop {
            let hits = page["hits"]["hits"].as_array().cloned().unwrap_or_default();
            if hits.is_empty() {
                self.ask("DELETE", "/_search/scroll", Some(&json!({ "scroll_id": page["_scroll_id"] })));
                return all;
            }
            all.extend(hits);
            let next = json!({ "scroll": "1m", "scroll_id": page["_scroll_id"] });
            page = self.ask("POST", "/_search/scroll", Some(&next)).1;
        }
    }

    /// How many fields the mapping of an index has, objects and sub-fields included.
    pub(crate) fn fields(&self, index: &str) -> usize {
        fn count(properties: &Value) -> usize {
            let of = |field: &Value| 1 + count(&field["properties"]) + count(&field["fields"]);
            properties.as_object().map_or(0, |all| all.values().map(of).sum())
        }
        let mappings = self.ask("GET", &format!("/{index}/_mapping"), None).1;
        let mappings = mappings.as_object().unwrap().values();
        mappings.map(|index| count(&index["mappings"]["properties"])).max().unwrap_or_default()
    }
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tmp() -> &'static Path {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let _ = fs::create_dir_all(tmp);
    tmp
}

fn free_ports() -> [u16; 2] {
    let free = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    free.map(|listener| listener.local_addr().unwrap().port())
}

fn launch(
    java: &Path,
    class_path: &str,
    home: &Path,
    [http, transport]: [u16; 2],
    secured: bool,
) -> std::io::Result<Child> {
    let log = File::options().create(true).append(true).open(home.join("log"))?;
    let serve = home.join("Serve.java");
    fs::write(&serve, SERVE)?;
    let mut command = Command::new(java);
    command.args(["-Xms512m", "-Xmx512m", "-cp", class_path]).arg(serve).arg(home);
    command.args([http.to_string(), transport.to_string()]);
    if secured {
        command.arg(security::PLUGIN);
    }
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// Every JDK there is, with its major version.
fn javas() -> Vec<(u32, PathBuf)> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(std::env::var_os("JAVA_HOME").map(PathBuf::from));
    for folder in ["/usr/lib/jvm", "/usr/local/lib/jvm", "/opt/java"] {
        let folder = fs::read_dir(folder).into_iter().flatten().flatten();
        places.extend(folder.map(|entry| entry.path()));
    }
    let mut javas: Vec<PathBuf> = places.iter().map(|place| place.join("bin/java")).collect();
    javas.push("java".into());
    javas.into_iter().filter_map(|java| Some((major(&java)?, java))).collect()
}

/// The major version of a Java: the first number of `java.specification.version`.
fn major(java: &Path) -> Option<u32> {
    let output = Command::new(java).args(["-XshowSettings:properties", "-version"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("java.specification.version = "))?;
    line.trim().parse().ok()
}

/// The class path of a version, resolved by Maven where it is not known yet.
fn installed(version: Version) -> Result<String, String> {
    let (name, pom) = version.pom();
    let words = |error: std::io::Error| error.to_string();
    // Several test binaries may come here at once.
    let lock = File::create(tmp().join(format!("{name}.lock"))).map_err(words)?;
    lock.lock().map_err(words)?;
    let home = tmp().join(name);
    fs::create_dir_all(&home).map_err(words)?;
    let found = home.join("class_path.txt");
    let known = fs::read_to_string(&found).unwrap_or_default();
    let same_pom = fs::read_to_string(home.join("pom.xml")).is_ok_and(|text| text == pom);
    if !same_pom || known.is_empty() || !known.split(':').all(|jar| Path::new(jar).exists()) {
        fs::write(home.join("pom.xml"), pom).map_err(words)?;
        maven(&home, &["dependency:build-classpath", &format!("-Dmdep.outputFile={}", found.display())])?;
    }
    let class_path = fs::read_to_string(&found).map_err(words)?;
    if version == Version::TwoSecured { security::installed(&home, &class_path) } else { Ok(class_path) }
}

fn maven(home: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(home.join("pom.xml"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() { Ok(()) } else { Err(format!("mvn {arguments:?}: {text}")) }
}
