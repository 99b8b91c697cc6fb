//! The real file system: a process that is killed, a disk that is full.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "TRAILSHIP_TEST_FILE_SINK";

fn real_sink(folder: &Path) -> FileSink {
    let path = folder.join("out/{account}.ndjson.gz");
    let config = toml::from_str(&format!("path = \"{}\"\nrotate_size = \"20 kB\"", path.display())).unwrap();
    let data_dir = folder.join("data");
    let open_files = Arc::new(OpenFiles::new(3));
    FileSink::build(
        &config,
        &Build { name: "archive", data_dir: &data_dir, clock: Clock::System, open_files },
    )
    .unwrap()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    member.write_all(text.as_bytes()).unwrap();
    member.finish().unwrap()
}

/// Not a test of its own: what [`a_killed_process_loses_nothing_that_was_acknowledged`] kills.
#[test]
fn writes_until_it_is_killed() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (first, folder) = told.split_once(' ').unwrap();
    let sink = Arc::new(real_sink(Path::new(folder)));
    let first: u64 = first.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut writes = tokio::task::JoinSet::new();
        for number in first.. {
            let sink = sink.clone();
            writes.spawn(async move {
                let mut payload = payload(&format!("{}.ndjson.gz", number % 4), "");
                payload.body = gzip(&format!("{{\"number\":{number}}}\n"));
                sink.write(&mut payload).await.unwrap();
                number
            });
            if writes.len() >= 32 {
                let number = writes.join_next().await.unwrap().unwrap();
                writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
            }
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..4u64 {
        let test = "sink::file::tests::real::writes_until_it_is_killed";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(CHILD, format!("{} {}", round * 1_000_000, folder.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut number = || {
            let line = lines.next()?.ok()?;
            Some(line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok()))
        };
        let mut seen = 0;
        while seen < 200 + round * 7 {
            if let Some(number) = number().expect("the child ended by itself") {
                acknowledged.push(number);
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(number) = number() {
            acknowledged.extend(number);
        }
    }
    // What the last crash left is finished here; what those before it left, by the next process.
    real_sink(folder.path()).abandon();
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder.path().join("out")).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            assert!(!entry.path().display().to_string().contains(".part"), "{}", entry.path().display());
            let mut text = String::new();
            let file = fs::File::open(entry.path()).unwrap();
            flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
            let number = |line: &str| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["number"].as_u64().unwrap()
            };
            let numbers: Vec<u64> = text.lines().map(number).collect();
            assert!(numbers.is_sorted() && text.ends_with('\n'), "{}", entry.path().display());
            found.extend(numbers);
        }
    }
    found.sort_unstable();
    let all = found.len();
    found.dedup();
    assert_eq!(found.len(), all);
    for number in acknowledged {
        assert!(found.binary_search(&number).is_ok(), "{number} was acknowledged and is not there");
    }
}

/// A file system of 64 KiB, as long as it lives.
struct Small(PathBuf);

impl Small {
    fn mount(folder: &Path) -> Option<Small> {
        fs::create_dir_all(folder).ok()?;
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder).stderr(Stdio::null());
        mount.status().ok()?.success().then(|| Small(folder.to_path_buf()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_really_full_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&folder.path().join("out")) else {
        return eprintln!("skipped: a small file system cannot be mounted here");
    };
    let sink = real_sink(folder.path());
    let line = format!("{}\n", "x".repeat(9_999));
    let answers: Vec<_> = (0..8).map(|_| write(&sink, "a.ndjson", &line)).collect();
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((1..7).contains(&taken), "{answers:?}");
    assert!(
        matches!(&answers[7], Err(SinkError::Retry { message, .. }) if message.contains("free some space"))
    );
    // Somebody makes room.
    let filler = fs::read_dir(&small.0).unwrap().map(|entry| entry.unwrap().path());
    let whole = filler.filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    let removed = whole.map(|path| fs::remove_file(path).unwrap()).count();
    assert!(removed > 0);
    write(&sink, "a.ndjson", &line).unwrap();
    finish(&sink).unwrap();
    sink.abandon();
    for entry in fs::read_dir(&small.0).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.lines().all(|line| line.len() == 9_999) && text.ends_with('\n'));
    }
}

/// Ten thousand files take too long for every day: `cargo test -- --ignored`.
#[test]
#[ignore = "makes ten thousand files"]
fn parts_beyond_ten_thousand_are_finished_early() {
    let stage = Stage::new();
    let sink = Arc::new(stage.sink(""));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..10_050 {
        let sink = sink.clone();
        let mut payload = payload(&format!("{number}"), "one\n");
        writes.spawn_on(async move { sink.write(&mut payload).await.unwrap() }, runtime.handle());
    }
    runtime.block_on(writes.join_all());
    assert_eq!((stage.parts().len(), stage.whole().len()), (10_000, 50));
    // The least recently used went first.
    assert!(stage.out().join("0.000001").exists() && stage.out().join("49.000050").exists());
    runtime.block_on(sink.finish()).unwrap();
    assert_eq!(stage.whole().len(), 10_050);
}
