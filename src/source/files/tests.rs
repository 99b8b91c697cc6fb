//! Tests of the source as a whole: what it lends, and when.

mod crashes;
mod following;
mod identity;
mod parts;
mod trees;

use std::collections::VecDeque;
use std::fs::{self, File, FileTimes};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::ack::{Note, Verdict};
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::pipeline::room::Room;
use crate::source::piped::Pipe;
use crate::state::{StateError, Store};

impl Files {
    /// As if the system told nothing.
    fn watch_nothing(&mut self) {
        Arc::get_mut(&mut self.shared).unwrap().watch = None;
    }
}

/// A day on which all tests begin; files are an hour old unless a test says otherwise.
const START: i64 = 1_700_000_000;
const HOUR: u64 = 3600;

/// A tree, a state, and a clock that moves with tokio's.
struct World {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tree")).unwrap();
        World { folder, clock: Clock::manual(Timestamp::from_seconds(START)) }
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree().join(name)
    }

    /// Writes a file that is `age` seconds old.
    fn write_aged(&self, name: &str, text: &[u8], age: u64) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.age(name, age);
    }

    fn write(&self, name: &str, text: &str) {
        self.write_aged(name, text.as_bytes(), HOUR);
    }

    /// Makes a file `age` seconds old.
    fn age(&self, name: &str, age: u64) {
        let now = u64::try_from(self.clock.now().seconds()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now - age);
        let times = FileTimes::new().set_modified(time);
        File::options().write(true).open(self.path(name)).unwrap().set_times(times).unwrap();
    }

    /// Opens the state; a searching thread of the run before may be about to let go of it.
    fn store(&self) -> Arc<Store> {
        loop {
            match Store::open(&self.folder.path().join("data"), &self.clock) {
                Err(StateError::InUse { .. }) => std::thread::yield_now(),
                opened => return Arc::new(opened.unwrap()),
            }
        }
    }

    /// Opens the source on the tree.
    fn files(&self, once: bool) -> Files {
        self.files_of(&[&self.tree().display().to_string()], once)
    }

    fn files_of(&self, paths: &[&str], once: bool) -> Files {
        let config = format!("path = {paths:?}");
        let config: Config = toml::from_str(&config).unwrap();
        let build = Build {
            pipeline: "main",
            name: "trail",
            store: self.store(),
            clock: self.clock.clone(),
            once,
            stdin: Pipe::empty(),
            room: Room::apart(64 << 20),
        };
        Files::build(&config, &build).unwrap()
    }

    /// Both clocks move on together until the work is done.
    async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let clock = async {
            let step = Duration::from_millis(100);
            loop {
                tokio::time::sleep(step).await;
                self.clock.advance(step);
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = clock => unreachable!(),
        }
    }

    /// Ships everything that is there, with a new run of the program; returns the names, as lent.
    async fn ship(&self) -> Vec<String> {
        let files = self.files(true);
        let shipped = self.run(ship_all(&files)).await;
        self.names(&shipped)
    }

    fn names(&self, paths: &[PathBuf]) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(self.tree()).unwrap().to_string_lossy().into_owned();
        paths.iter().map(name).collect()
    }
}

fn path_of(delivery: &Delivery) -> PathBuf {
    let Body::File { path, .. } = &delivery.body else { panic!("not a file") };
    path.clone()
}

fn settled(delivery: &Delivery, verdict: Verdict, note: Note) -> Settled {
    let books = Books { read: 3, filtered: 3, ..Books::default() };
    Settled { id: delivery.id, key: DeliveryKey::of(&delivery.identity), verdict, note, books }
}

/// Reads a delivery as a worker does: an object that does not end with `}` or a line feed is incomplete.
fn work(delivery: &Delivery) -> Settled {
    let Body::File { path, size, check } = &delivery.body else { panic!("not a file") };
    let read = || -> Result<Vec<u8>, String> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        check(&file)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|error| error.to_string())?;
        check(&file)?;
        assert_eq!(bytes.len() as u64, *size);
        Ok(bytes)
    };
    match read() {
        Err(why) => settled(delivery, Verdict::Failed, Note::Changed(why)),
        Ok(bytes) if matches!(bytes.last(), Some(b'}' | b'\n')) => {
            settled(delivery, Verdict::Delivered, Note::None)
        }
        Ok(_) if delivery.growing => settled(delivery, Verdict::Failed, Note::Incomplete),
        Ok(_) => settled(delivery, Verdict::Rejected, Note::None),
    }
}

/// Takes and settles deliveries until the source ends; returns the paths of those that ended well.
async fn ship_all(files: &Files) -> Vec<PathBuf> {
    let mut shipped = Vec::new();
    while let Some(lent) = files.next(1024).await.unwrap() {
        let ends: Vec<Settled> = lent.iter().map(work).collect();
        let well = lent.iter().zip(&ends).filter(|(_, end)| end.verdict != Verdict::Failed);
        shipped.extend(well.map(|(delivery, _)| path_of(delivery)));
        files.settle(ends).await.unwrap();
    }
    shipped
}

/// The next delivery; fails when it does not come within `within`.
async fn next_within(files: &Files, within: Duration, held: &mut VecDeque<Delivery>) -> Option<Delivery> {
    if held.is_empty() {
        let lent = tokio::time::timeout(within, files.next(100)).await.ok()?.unwrap();
        held.extend(lent.unwrap());
    }
    held.pop_front()
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}
