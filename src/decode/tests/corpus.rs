//! Other people's CloudTrail, where it is at hand: the same records as serde_json sees.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::*;

/// The corpus, where the environment names it or it lies beside the project.
fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let found = std::env::var_os("TRAILSHIP_CORPUS").map_or(beside, PathBuf::from);
    if found.is_dir() {
        return Some(found);
    }
    eprintln!("skipped: no corpus");
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

fn plain(stored: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    if magic::is_gzip(stored) {
        flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut text).unwrap();
    } else {
        text.extend_from_slice(stored);
    }
    text
}

/// The records of a text by serde_json: `Records`, an array, or values one after another.
fn expected(text: &[u8]) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct File<'a> {
        #[serde(borrow, rename = "Records")]
        records: Vec<&'a RawValue>,
    }
    let own = |values: Vec<&RawValue>| values.into_iter().map(|value| value.get().to_owned()).collect();
    if let Ok(file) = serde_json::from_slice::<File<'_>>(text) {
        return Some(own(file.records));
    }
    if let Ok(array) = serde_json::from_slice::<Vec<&RawValue>>(text) {
        return Some(own(array));
    }
    let values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    Some(own(values.collect::<Result<_, _>>().ok()?))
}

#[test]
fn log_files_and_records_of_the_corpus_come_out_as_serde_json_sees_them() {
    let Some(corpus) = corpus() else { return };
    let (mut records, mut compared) = (0, 0);
    for path in ["trail", "records"].iter().flat_map(|folder| files(&corpus.join(folder))) {
        let stored = std::fs::read(&path).unwrap();
        let out = whole(&stored);
        for other in [run(Limits::default(), &stored, 1000), run(small(), &stored, 100)] {
            if other.damages.is_empty() {
                assert_eq!(other.records, out.records, "{}", path.display());
            }
        }
        // Wrapped, wrapped in a way that is nobody's standard, or not JSON as printed.
        let odd = ["cribl", "fivexl", "foxsec", "query-", "view-insights", "use-the", "viewing-service"];
        if odd.iter().any(|part| path.to_string_lossy().contains(part))
            || path.extension().is_some_and(|end| end == "txt")
        {
            eprintln!(
                "{}: {} records, {:?}",
                path.display(),
                out.records.len(),
                out.damages.iter().map(|one| &one.1).collect::<Vec<_>>()
            );
            continue;
        }
        let expected = expected(&plain(&stored)).unwrap_or_else(|| panic!("{}", path.display()));
        assert_eq!(out.records, expected, "{}", path.display());
        assert_eq!(out.damages, [], "{}", path.display());
        records += expected.len();
        compared += 1;
    }
    assert!(compared > 300 && records > 2500, "{compared} files, {records} records");
}

#[test]
fn a_raw_string_and_a_subscription_payload_of_the_corpus_are_unwrapped() {
    let Some(corpus) = corpus() else { return };
    let out = whole(&std::fs::read(corpus.join("records/cribl/BeVTW2.json")).unwrap());
    assert!(!out.records.is_empty() && out.damages.is_empty(), "{out:?}");
    let out =
        whole(&std::fs::read(corpus.join("pairs/datadog-forwarder/cloudwatch_log_cloudtrail.json")).unwrap());
    assert_eq!((out.records.len(), out.damages.len(), out.summary.format), (4, 0, Format::CloudWatchLogs));
}

#[test]
fn eventbridge_calls_of_the_corpus_give_their_detail() {
    let Some(corpus) = corpus() else { return };
    for path in files(&corpus.join("eventbridge")) {
        let stored = std::fs::read(&path).unwrap();
        let out = whole(&stored);
        let tree: serde_json::Value = serde_json::from_slice(&stored).unwrap();
        let detail = if tree.get("detail-type").is_some() { &tree["detail"] } else { &tree };
        let read: Vec<serde_json::Value> =
            out.records.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(read, std::slice::from_ref(detail), "{}: {:?}", path.display(), out.damages);
    }
}

#[test]
fn digests_of_the_corpus_are_left_out_and_other_logs_are_refused() {
    let Some(corpus) = corpus() else { return };
    for path in files(&corpus.join("digest")) {
        let out = whole(&std::fs::read(&path).unwrap());
        assert_eq!(
            (out.left_out.as_slice(), out.records.len()),
            (["digest"].as_slice(), 0),
            "{}: {:?}",
            path.display(),
            out.damages
        );
    }
    for path in files(&corpus.join("cwlogs")) {
        let out = whole(&std::fs::read(&path).unwrap());
        assert_eq!(out.records.len(), 0, "{}", path.display());
        assert!(!out.damages.is_empty());
    }
}
