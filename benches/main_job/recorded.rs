//! A tree of what others recorded.

use std::fs;
use std::path::{Path, PathBuf};

use super::Bench;

impl Bench {
    /// A tree of recorded records, shuffled and repeated.
    pub(super) fn recorded(&self) -> Option<PathBuf> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
        let corpus = std::env::var_os("TRAILSHIP_CORPUS").map_or(beside, PathBuf::from);
        let mut records = recorded_records(&corpus);
        if records.is_empty() {
            return None;
        }
        let tree = self.folder.join("recorded");
        let stamp = self.folder.join("recorded.options");
        let made = format!("{} {} flat", records.len(), self.bytes);
        if fs::read_to_string(&stamp).is_ok_and(|text| text == made) {
            return Some(tree);
        }
        let _ = fs::remove_dir_all(&tree);
        // Not below an account's key: records of other accounts would be marked, which AWS's own files never need.
        let folder = tree.clone();
        fs::create_dir_all(&folder).unwrap();
        let mut seed = 88_172_645_463_325_252_u64;
        let (mut written, mut number) = (0, 0);
        while written < self.bytes {
            let mut body = String::from("{\"Records\":[");
            while body.len() < 1_500_000 {
                for at in (1..records.len()).rev() {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    records.swap(at, seed as usize % (at + 1));
                }
                for record in &records {
                    if body.len() > 12 {
                        body.push(',');
                    }
                    body.push_str(record);
                    if body.len() >= 1_500_000 {
                        break;
                    }
                }
            }
            body.push_str("]}");
            written += body.len() as u64;
            let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(6).unwrap());
            let mut stored = vec![0; compressor.gzip_compress_bound(body.len())];
            let length = compressor.gzip_compress(body.as_bytes(), &mut stored).unwrap();
            fs::write(
                folder.join(format!("111122223333_CloudTrail_us-east-1_20260115T0000Z_{number:016}.json.gz")),
                &stored[..length],
            )
            .unwrap();
            number += 1;
        }
        fs::write(tree.with_extension("csv"), "account_id,name,env\n111122223333,recorded,prod\n").unwrap();
        fs::write(stamp, made).unwrap();
        Some(tree)
    }
}

/// Whole records of the corpus, as they were written; what is indented is taken as it is.
fn recorded_records(corpus: &Path) -> Vec<String> {
    let mut records = Vec::new();
    for part in ["trail", "records/stratus", "records/traildiscover", "records/splunk", "records/opensearch"]
    {
        for entry in walkdir::WalkDir::new(corpus.join(part)).sort_by_file_name().into_iter().flatten() {
            if !entry.file_type().is_file() {
                continue;
            }
            let stored = fs::read(entry.path()).unwrap();
            let mut text = String::new();
            if stored.starts_with(&[0x1f, 0x8b]) {
                let _ = std::io::Read::read_to_string(
                    &mut flate2::read::MultiGzDecoder::new(&stored[..]),
                    &mut text,
                );
            } else {
                text = String::from_utf8_lossy(&stored).into_owned();
            }
            for value in serde_json::Deserializer::from_str(&text)
                .into_iter::<&serde_json::value::RawValue>()
                .flatten()
            {
                collect(value.get(), &mut records);
            }
        }
    }
    records
}

fn collect(text: &str, records: &mut Vec<String>) {
    use serde_json::value::RawValue;
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text) {
        list.iter().for_each(|item| collect(item.get(), records));
    } else if let Ok(fields) = serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(text) {
        if let Some(list) = fields.get("Records") {
            collect(list.get(), records);
        } else if fields.contains_key("eventName") && fields.contains_key("eventSource") {
            records.push(text.to_owned());
        }
    }
}
