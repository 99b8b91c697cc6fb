//! Families on real records, where the corpus is at hand.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Both, Family, shipped, tags};

/// Finds the corpus: `TRAILSHIP_CORPUS`, or beside the crate.
fn root() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let root = std::env::var_os("TRAILSHIP_CORPUS").map_or(beside, PathBuf::from);
    root.is_dir().then_some(root)
}

/// Reads every record below a folder: arrays, wrappers, single records, a record a line, gzip or not.
fn records(root: &Path, below: &str) -> Vec<String> {
    let mut records = Vec::new();
    for entry in walkdir::WalkDir::new(root.join(below)).sort_by_file_name() {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
            bytes = plain;
        }
        for document in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
            let Ok(document) = document else { break };
            gather(&document, &mut records);
        }
    }
    records
}

/// Takes whatever looks like a record, at any depth.
fn gather(value: &Value, records: &mut Vec<String>) {
    match value {
        Value::Object(members)
            if members.contains_key("eventName") && members.contains_key("eventSource") =>
        {
            records.push(value.to_string());
        }
        Value::Object(members) => members.values().for_each(|member| gather(member, records)),
        Value::Array(elements) => elements.iter().for_each(|element| gather(element, records)),
        _ => {}
    }
}

/// Counts tags.
fn count(families: &[Family], records: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        for tag in families.iter().flat_map(|family| tags(family, record)) {
            *counts.entry(tag).or_insert(0) += 1;
        }
    }
    counts
}

/// What must fire in each folder, at least once; read off the attacks and calls the folders document.
const EXPECTED: [(&str, &[&str]); 6] = [
    (
        "records/stratus",
        &[
            "access_denied",
            "credentials_created.access_key",
            "credentials_created.password",
            "detection_tampering.stopped",
            "ec2_sensitive.user_data",
            "image_exposure.shared",
            "login_without_mfa.success",
            "organization_change",
            "policy_exposure.public",
            "privilege_change.admin",
            "role_assumption_failure.denied",
            "secrets_read.batch",
            "snapshot_exposure.shared",
            "trail_tampering.stopped",
        ],
    ),
    (
        "records/traildiscover",
        &[
            "credentials_created",
            "database_exposure",
            "detection_tampering",
            "ec2_sensitive",
            "image_exposure",
            "log_pipeline_tampering",
            "network_exposure",
            "organization_change",
            "privilege_change",
            "s3_exposure",
            "s3_exposure_acl",
            "s3_exposure_settings",
            "snapshot_exposure",
            "trail_tampering",
        ],
    ),
    (
        "records/splunk",
        &[
            "credentials_created.mfa_removed",
            "login_failure.unknown_user",
            "network_exposure.world",
            "root_use",
            "s3_exposure_acl.public",
            "s3_exposure_settings.versioning_off",
        ],
    ),
    (
        "records/awsdocs",
        &["ec2_sensitive.key_pair", "login_failure.root", "login_without_mfa.root", "root_use.login"],
    ),
    (
        "rules/streamalert",
        &[
            "database_exposure.public",
            "image_exposure.public",
            "network_exposure.world",
            "policy_exposure.public",
            "s3_exposure.public",
            "s3_exposure_acl.public",
            "snapshot_exposure.public",
        ],
    ),
    (
        "trail/invictus",
        &[
            "database_exposure.shared",
            "log_pipeline_tampering.deleted",
            "network_exposure.world",
            "policy_exposure.public",
            "s3_exposure",
            "s3_exposure_settings.policy_removed",
            "secrets_read",
            "trail_tampering.stopped",
        ],
    ),
];

#[test]
fn families_fire_on_real_records() {
    let Some(root) = root() else {
        eprintln!("skipped: no corpus (set TRAILSHIP_CORPUS)");
        return;
    };
    let families = shipped().unwrap();
    for (below, expected) in EXPECTED {
        let records = records(&root, below);
        let counts = count(&families, &records);
        eprintln!("{below}: {} records, {counts:?}", records.len());
        for tag in expected {
            assert!(counts.contains_key(*tag), "{tag} did not fire in {below}");
        }
    }
}

#[test]
fn compiled_families_match_what_plain_ones_match_on_real_records() {
    let Some(root) = root() else {
        eprintln!("skipped: no corpus (set TRAILSHIP_CORPUS)");
        return;
    };
    let mut both = Both::new(&shipped().unwrap());
    for below in ["records/stratus", "rules/streamalert"] {
        for record in records(&root, below) {
            both.check(&record);
        }
    }
}

#[test]
fn the_real_backdoors_are_not_taken_for_public() {
    let Some(root) = root() else {
        eprintln!("skipped: no corpus (set TRAILSHIP_CORPUS)");
        return;
    };
    // One account lets another one in: a policy with a named principal each.
    let counts = count(&shipped().unwrap(), &records(&root, "trail/invictus"));
    assert_eq!(counts.get("s3_exposure.public"), None);
    assert_eq!(counts.get("privilege_change.public_role"), None);
}
