mod faulty;
mod real;

use super::*;
use crate::clock::Timestamp;
use faulty::{Faults, Faulty, Told};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tempfile::TempDir;

/// A place to write, and all that a sink needs.
struct Stage {
    folder: TempDir,
    clock: Clock,
    faults: Faults,
    open_files: Arc<OpenFiles>,
}

impl Stage {
    fn new() -> Stage {
        Stage {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::manual(Timestamp::from_seconds(1_768_435_200)),
            faults: Faults::default(),
            open_files: Arc::default(),
        }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn config(&self, path: &str, more: &str) -> Config {
        toml::from_str(&format!("path = \"{}/{path}\"\n{more}", self.out().display())).unwrap()
    }

    fn sink(&self, more: &str) -> FileSink {
        self.try_sink(&self.config("{account}/{date}.ndjson", more)).unwrap()
    }

    fn try_sink(&self, config: &Config) -> Result<FileSink, BuildError> {
        let data_dir = self.folder.path().join("data");
        let build = Build {
            name: "archive",
            data_dir: &data_dir,
            clock: self.clock.clone(),
            open_files: self.open_files.clone(),
        };
        FileSink::start(config, &build, |root| Faulty { disk: Root::new(root), faults: self.faults.clone() })
    }

    fn told<T>(&self, tell: impl FnOnce(&mut Told) -> T) -> T {
        tell(&mut self.faults.0.lock().unwrap())
    }

    /// Every file below the output, by path, with its text.
    fn files(&self) -> BTreeMap<String, String> {
        let files = walkdir::WalkDir::new(self.out()).into_iter().filter_map(Result::ok);
        let files = files.filter(|entry| entry.file_type().is_file());
        let name = |path: &Path| path.strip_prefix(self.out()).unwrap().display().to_string();
        files.map(|entry| (name(entry.path()), fs::read_to_string(entry.path()).unwrap())).collect()
    }

    /// The one file that has its final name.
    fn whole(&self) -> Vec<(String, String)> {
        self.files().into_iter().filter(|(path, _)| !path.contains(".part")).collect()
    }

    fn parts(&self) -> Vec<(String, String)> {
        self.files().into_iter().filter(|(path, _)| path.contains(".part")).collect()
    }
}

fn payload(partition: &str, text: &str) -> Payload {
    Payload {
        partition: partition.into(),
        body: text.as_bytes().to_vec(),
        lengths: Vec::new(),
        records: 1,
        raw_bytes: text.len() as u64,
        shares: Vec::new(),
        permit: None,
        spare: None,
        progress: Default::default(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn write(sink: &FileSink, partition: &str, text: &str) -> Result<(), SinkError> {
    sink.write(&mut payload(partition, text)).await
}

#[tokio::main(flavor = "current_thread")]
async fn finish(sink: &FileSink) -> Result<(), SinkError> {
    sink.finish().await
}

fn wake(sink: &FileSink) {
    let (answer, woken) = oneshot::channel();
    sink.jobs.send(Job::Wake(answer)).unwrap();
    woken.blocking_recv().unwrap();
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn what_was_written_is_hidden_until_it_is_whole() {
    let stage = Stage::new();
    let sink = stage.sink("");
    assert!(!stage.out().exists());
    write(&sink, "1/a.ndjson", "one\n").unwrap();
    write(&sink, "1/a.ndjson", "two\n").unwrap();
    write(&sink, "2/b.ndjson", "three\n").unwrap();
    assert_eq!(stage.whole(), []);
    let parts = stage.parts();
    assert_eq!(parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["one\ntwo\n", "three\n"]);
    assert!(parts[0].0.starts_with("1/.a.000001."), "{parts:?}");
    finish(&sink).unwrap();
    assert_eq!(
        stage.whole(),
        pairs(&[("1/a.000001.ndjson", "one\ntwo\n"), ("2/b.000002.ndjson", "three\n")])
    );
    assert_eq!(stage.parts(), []);
    // After the end it may go on.
    write(&sink, "1/a.ndjson", "four\n").unwrap();
    finish(&sink).unwrap();
    assert_eq!(stage.whole()[1], ("1/a.000003.ndjson".to_owned(), "four\n".to_owned()));
}

#[test]
fn files_and_folders_are_for_their_owner_only() {
    let stage = Stage::new();
    let sink = stage.sink("");
    write(&sink, "1/a.ndjson", "one\n").unwrap();
    for entry in walkdir::WalkDir::new(stage.folder.path()).min_depth(1) {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        let wanted = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{}", entry.path().display());
    }
}

#[test]
fn a_payload_gives_its_memory_back_and_keeps_its_order() {
    let stage = Stage::new();
    let sink = stage.sink("");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let wanted: String = (0..200).map(|number| format!("{number}\n")).collect();
    runtime.block_on(async {
        let mut payloads: Vec<_> = (0..200).map(|number| payload("a", &format!("{number}\n"))).collect();
        let mut writes: tokio::task::JoinSet<()> = tokio::task::JoinSet::new();
        let sink = Arc::new(sink);
        for mut payload in payloads.drain(..) {
            let sink = sink.clone();
            writes.spawn(async move {
                sink.write(&mut payload).await.unwrap();
                assert_eq!(payload.body.capacity(), 0);
            });
        }
        writes.join_all().await;
        sink.finish().await.unwrap();
    });
    assert_eq!(stage.whole(), pairs(&[("a.000001", &wanted)]));
    // Many writes share a sync.
    assert!(stage.told(|told| told.syncs) < 50);
}

#[test]
fn what_nothing_else_follows_is_answered_at_once() {
    let stage = Stage::new();
    let sink = stage.sink("");
    let mut answers = Vec::new();
    for text in ["one\n", "two\n"] {
        let (answer, answered) = oneshot::channel();
        let held = payload("a", text).take();
        sink.jobs.send(Job::Write(Write { partition: "a".into(), held, answer })).unwrap();
        answers.push(answered);
    }
    sink.hurry();
    sink.hurry();
    wake(&sink);
    assert!(answers.into_iter().all(|mut answered| answered.try_recv().unwrap().is_ok()));
    assert_eq!(stage.told(|told| told.syncs), 1, "of both, and of nothing");
}

#[test]
fn files_are_rotated_by_size_and_by_age() {
    let stage = Stage::new();
    let sink = stage.sink("rotate_size = \"10 B\"\nrotate_age = \"1 min\"");
    for text in ["12345\n", "123\n", "1\n", "a-line-longer-than-the-size\n", "2\n"] {
        write(&sink, "a.ndjson", text).unwrap();
    }
    wake(&sink);
    let wanted = pairs(&[
        ("a.000001.ndjson", "12345\n123\n"),
        ("a.000002.ndjson", "1\n"),
        ("a.000003.ndjson", "a-line-longer-than-the-size\n"),
    ]);
    assert_eq!(stage.whole(), wanted);
    stage.clock.advance(std::time::Duration::from_secs(59));
    wake(&sink);
    assert_eq!(stage.whole().len(), 3);
    stage.clock.advance(std::time::Duration::from_secs(1));
    wake(&sink);
    assert_eq!(stage.whole()[3], ("a.000004.ndjson".to_owned(), "2\n".to_owned()));
    assert_eq!(stage.parts(), []);
}

#[test]
fn what_a_crash_left_is_cut_to_the_journal_and_finished() {
    let stage = Stage::new();
    let sink = stage.sink("");
    write(&sink, "1/a.ndjson", "one\n").unwrap();
    write(&sink, "b.ndjson", "two\n").unwrap();
    sink.abandon();
    // Bytes that were written and never acknowledged.
    let torn = stage.out().join(&stage.parts()[1].0);
    fs::write(&torn, "one\nand a torn li").unwrap();
    let sink = stage.sink("");
    let wanted = pairs(&[("1/a.000001.ndjson", "one\n"), ("b.000002.ndjson", "two\n")]);
    assert_eq!((stage.whole(), stage.parts()), (wanted, vec![]));
    write(&sink, "b.ndjson", "three\n").unwrap();
    sink.abandon();
    // A torn line at the end of the journal.
    let journal = stage.folder.path().join("data/sinks/archive/journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend_from_slice(b"0badc0de L 3 99999\n12345678 L");
    fs::write(&journal, bytes).unwrap();
    stage.sink("").abandon();
    assert_eq!(stage.whole()[2], ("b.000003.ndjson".to_owned(), "three\n".to_owned()));
    // Nothing is left over, and nothing is done twice.
    stage.sink("").abandon();
    assert_eq!((stage.whole().len(), stage.parts()), (3, vec![]));
}

#[test]
fn parts_that_were_never_acknowledged_are_removed() {
    let stage = Stage::new();
    let sink = stage.sink("");
    stage.told(|told| told.failing_syncs = usize::MAX);
    assert!(matches!(write(&sink, "a.ndjson", "one\n"), Err(SinkError::Lost { .. })));
    sink.abandon();
    assert_eq!(stage.parts().len(), 1);
    stage.told(|told| told.failing_syncs = 0);
    stage.sink("").abandon();
    assert_eq!(stage.files(), BTreeMap::new());
}

#[test]
fn a_crash_leaves_its_parts_where_the_path_was_then() {
    let stage = Stage::new();
    let sink = stage.sink("");
    write(&sink, "1/a.ndjson", "one\n").unwrap();
    sink.abandon();
    stage.try_sink(&stage.config("elsewhere/{date}.ndjson.gz", "")).unwrap().abandon();
    assert_eq!(stage.whole(), pairs(&[("1/a.000001.ndjson", "one\n")]));
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let stage = Stage::new();
    fs::create_dir_all(stage.out()).unwrap();
    for sequence in [1, 2, 3, 5] {
        fs::write(stage.out().join(format!("a.{sequence:06}.ndjson")), "mine\n").unwrap();
    }
    std::os::unix::fs::symlink("/nowhere", stage.out().join("a.000004.ndjson")).unwrap();
    let sink = stage.sink("");
    write(&sink, "a.ndjson", "one\n").unwrap();
    finish(&sink).unwrap();
    write(&sink, "a.ndjson", "two\n").unwrap();
    finish(&sink).unwrap();
    let files = stage.whole();
    assert_eq!(files.iter().filter(|(_, text)| text == "mine\n").count(), 4);
    let ours: Vec<_> =
        files.iter().filter(|(_, text)| text != "mine\n").map(|(_, text)| text.as_str()).collect();
    assert_eq!(ours, ["one\n", "two\n"]);
    assert_eq!(fs::read_link(stage.out().join("a.000004.ndjson")).unwrap(), Path::new("/nowhere"));
}

#[test]
fn a_failed_sync_fails_all_since_the_last_one_and_cuts_the_part_back() {
    let stage = Stage::new();
    let sink = stage.sink("");
    write(&sink, "a.ndjson", "one\n").unwrap();
    stage.told(|told| told.failing_syncs = 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (first, second) = runtime.block_on(async {
        let (mut first, mut second) = (payload("a.ndjson", "two\n"), payload("b.ndjson", "three\n"));
        let answers = tokio::join!(sink.write(&mut first), sink.write(&mut second));
        assert!(first.body.is_empty());
        answers
    });
    assert!(matches!(first, Err(SinkError::Lost { .. })), "{first:?}");
    assert!(matches!(second, Err(SinkError::Lost { .. })), "{second:?}");
    assert_eq!(stage.parts().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["one\n", ""]);
    write(&sink, "a.ndjson", "four\n").unwrap();
    finish(&sink).unwrap();
    assert_eq!(stage.whole(), pairs(&[("a.000001.ndjson", "one\nfour\n")]));
    assert_eq!(stage.parts(), []);
}

#[test]
fn a_full_disk_is_tried_again_and_the_payload_keeps_its_body() {
    let stage = Stage::new();
    let sink = stage.sink("");
    stage.told(|told| told.space = Some(6));
    write(&sink, "a.ndjson", "one\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut full = payload("a.ndjson", "two\n");
    let answer = runtime.block_on(sink.write(&mut full));
    let Err(SinkError::Retry { message, .. }) = answer else { panic!("{answer:?}") };
    assert!(message.contains("free some space"), "{message}");
    assert_eq!((full.body.as_slice(), stage.parts()[0].1.as_str()), (&b"two\n"[..], "one\n"));
    stage.told(|told| told.space = None);
    runtime.block_on(sink.write(&mut full)).unwrap();
    finish(&sink).unwrap();
    assert_eq!(stage.whole(), pairs(&[("a.000001.ndjson", "one\ntwo\n")]));
}

#[test]
fn a_journal_that_cannot_be_written_acknowledges_nothing() {
    let stage = Stage::new();
    let sink = stage.sink("");
    write(&sink, "a.ndjson", "one\n").unwrap();
    stage.told(|told| told.bad_journal = true);
    assert!(matches!(write(&sink, "a.ndjson", "two\n"), Err(SinkError::Lost { .. })));
    assert!(matches!(write(&sink, "a.ndjson", "two\n"), Err(SinkError::Retry { .. })));
    assert_eq!(stage.parts()[0].1, "one\n");
    stage.told(|told| told.bad_journal = false);
    write(&sink, "a.ndjson", "three\n").unwrap();
    sink.abandon();
    stage.sink("").abandon();
    assert_eq!(stage.whole(), pairs(&[("a.000001.ndjson", "one\nthree\n")]));
}

#[test]
fn a_read_only_disk_is_tried_again_until_it_is_not() {
    let stage = Stage::new();
    let sink = stage.sink("");
    write(&sink, "a.ndjson", "one\n").unwrap();
    stage.told(|told| told.read_only = true);
    assert!(matches!(write(&sink, "b.ndjson", "two\n"), Err(SinkError::Retry { .. })));
    assert!(matches!(finish(&sink), Err(SinkError::Retry { .. })));
    stage.told(|told| told.read_only = false);
    write(&sink, "b.ndjson", "two\n").unwrap();
    finish(&sink).unwrap();
    let texts: Vec<_> = stage.whole().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["one\n", "two\n"]);
}

#[test]
fn an_output_folder_that_is_removed_is_made_again_and_nothing_is_acknowledged_into_it() {
    let stage = Stage::new();
    let sink = stage.sink("");
    write(&sink, "1/a.ndjson", "one\n").unwrap();
    fs::remove_dir_all(stage.out()).unwrap();
    assert!(matches!(write(&sink, "1/a.ndjson", "two\n"), Err(SinkError::Lost { .. })));
    write(&sink, "1/a.ndjson", "three\n").unwrap();
    // Moved away is gone, too.
    fs::rename(stage.out(), stage.folder.path().join("moved")).unwrap();
    assert!(matches!(write(&sink, "1/a.ndjson", "four\n"), Err(SinkError::Lost { .. })));
    write(&sink, "1/a.ndjson", "five\n").unwrap();
    finish(&sink).unwrap();
    assert_eq!(stage.whole().into_iter().map(|(_, text)| text).collect::<Vec<_>>(), ["five\n"]);
}

#[test]
fn a_link_below_the_root_is_not_followed() {
    let stage = Stage::new();
    let outside = stage.folder.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(stage.out()).unwrap();
    std::os::unix::fs::symlink(&outside, stage.out().join("1")).unwrap();
    let sink = stage.sink("");
    let answer = write(&sink, "1/a.ndjson", "one\n");
    let Err(SinkError::Retry { message, .. }) = answer else { panic!("{answer:?}") };
    assert!(message.contains("link"), "{message}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    for partition in ["../a", "/etc/a", "a//b", "", "."] {
        assert!(matches!(write(&sink, partition, "one\n"), Err(SinkError::Reject { .. })), "{partition}");
    }
}

#[test]
fn a_link_put_in_a_parts_place_is_not_written_through() {
    let stage = Stage::new();
    let mut files = OpenFiles::new(2);
    files.most = 2;
    let stage = Stage { open_files: Arc::new(files), ..stage };
    let sink = stage.sink("");
    write(&sink, "a.ndjson", "one\n").unwrap();
    let part = stage.out().join(&stage.parts()[0].0);
    // Another one takes its place among the open files.
    write(&sink, "b.ndjson", "two\n").unwrap();
    let victim = stage.folder.path().join("victim");
    fs::write(&victim, "precious\n").unwrap();
    fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink(&victim, &part).unwrap();
    assert!(matches!(write(&sink, "a.ndjson", "three\n"), Err(SinkError::Retry { .. })));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
    assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
}

#[test]
fn three_hundred_partitions_share_the_open_files() {
    let stage = Stage::new();
    let sink = stage.sink("");
    for round in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut payloads: Vec<_> = (0..300)
                .map(|number| payload(&format!("{number}/a.ndjson"), &format!("{round}\n")))
                .collect();
            let writes: Vec<_> = payloads.iter_mut().map(|payload| sink.write(payload)).collect();
            for write in writes {
                write.await.unwrap();
            }
        });
    }
    finish(&sink).unwrap();
    let whole = stage.whole();
    assert_eq!(whole.len(), 300);
    assert!(whole.iter().all(|(_, text)| text == "0\n1\n2\n"));
    assert!(stage.told(|told| told.most_open) <= 256, "{}", stage.told(|told| told.most_open));
}

#[test]
fn two_sinks_share_the_open_files() {
    let files = Arc::new(OpenFiles::default());
    let first = OpenShare::new(files.clone());
    assert_eq!(first.most(), 255);
    let second = OpenShare::new(files);
    assert_eq!((first.most(), second.most()), (127, 127));
    drop(first);
    assert_eq!(second.most(), 255);
}

#[test]
fn the_ending_and_the_compression_agree() {
    let stage = Stage::new();
    for (path, more, wanted) in [
        ("a.ndjson", "", Some((Compression::None, "a.ndjson"))),
        ("a.ndjson.gz", "", Some((Compression::Gzip, "a.ndjson.gz"))),
        ("{date}.zst", "", Some((Compression::Zstd, "2026.zst"))),
        ("a.ndjson", "compression = \"gzip\"", Some((Compression::Gzip, "a.ndjson.gz"))),
        ("a.ndjson.gz", "compression = \"gzip\"", Some((Compression::Gzip, "a.ndjson.gz"))),
        ("a.ndjson.gz", "compression = \"none\"", None),
        ("a.ndjson.gz", "compression = \"zstd\"", None),
    ] {
        let resolved = stage.config(path, more).resolve();
        let ending =
            wanted.map(|(compression, path)| (compression, path.split('.').skip(1).collect::<Vec<_>>()));
        let found = resolved.ok().map(|(compression, template)| (compression, template.to_string()));
        let name = found.as_ref().map(|(compression, path)| {
            (*compression, path.rsplit('/').next().unwrap().split('.').skip(1).collect::<Vec<_>>())
        });
        assert_eq!(name, ending, "{path} {more}");
    }
}

#[test]
fn sinks_of_different_names_have_different_folders() {
    assert_eq!(folder_name("archive-1_a"), "archive-1_a");
    assert_eq!(folder_name("../a b"), "%2e%2e%2fa%20b");
}
