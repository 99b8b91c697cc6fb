//! Tests of the whole: what a tree is, whatever its profile.

use std::collections::HashSet;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::*;

fn everything(profile: Profile) -> Options {
    Options {
        bytes: 6_000_000,
        late: 0.05,
        duplicate: 0.1,
        damaged: 0.1,
        rare: true,
        organization: Some("o-exampleorg1".to_owned()),
        prefix: Some("trail".to_owned()),
        records_per_file: Some(8),
        ..Options::new(profile)
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    // A change of this digest is a change of every benchmark's and demo's data: say so where it is recorded.
    for (profile, wanted) in [
        (Profile::Management, "3c7c4eea064a10493c1e591af5e427af565a18f80d68d4666247e11a596dad9d"),
        (Profile::Mixed, "78389c72c6351fbe200df75c03128c340cabfbfe49d323e78881d0ceb84168c8"),
    ] {
        let mut hash = Sha256::new();
        let mut generator = Generator::new(&everything(profile)).unwrap();
        while let Some(object) = generator.next_object() {
            hash.update(object.key);
            hash.update(object.body);
            hash.update(object.second);
        }
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, wanted, "{profile:?}");
    }
}

#[test]
fn facts_say_which_records_are_in_a_body() {
    let (mut seen, mut copies) = (HashSet::new(), 0);
    let mut generator = Generator::new(&everything(Profile::Mixed)).unwrap();
    while let Some(object) = generator.next_object() {
        let facts = object.facts;
        if object.body.is_empty() || facts.kind == Kind::Digest || facts.broken.is_some() {
            continue;
        }
        let log: Value = serde_json::from_slice(object.body).unwrap();
        let ids: Vec<&str> = log["Records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record.get("eventID").unwrap_or(&record["eventId"]).as_str().unwrap())
            .collect();
        assert_eq!(ids, facts.ids.iter().map(|&id| event_id(id)).collect::<Vec<_>>(), "{}", object.key);
        if facts.copy_of.is_some() {
            copies += 1;
            assert!(facts.ids.iter().all(|id| seen.contains(id)));
        } else {
            assert!(facts.ids.iter().all(|&id| seen.insert(id)), "{}", object.key);
        }
    }
    assert!(copies > 10, "{copies}");
}

#[test]
fn keys_are_in_the_layout_of_a_bucket() {
    let mut generator = Generator::new(&everything(Profile::Mixed)).unwrap();
    let mut keys = HashSet::new();
    while let Some(object) = generator.next_object() {
        let facts = object.facts;
        let start = format!(
            "trail/AWSLogs/o-exampleorg1/{}/{}/{}/20",
            facts.account,
            facts.kind.directory(),
            facts.region
        );
        assert!(object.key.starts_with(&start), "{}", object.key);
        let folder = facts.damage == Some(Damage::Folder);
        assert!(folder || keys.insert(object.key.to_owned()), "{}", object.key);
        let whole = !matches!(facts.damage, Some(Damage::Folder | Damage::WrongExtension));
        assert_eq!(object.key.ends_with(".json.gz"), whole, "{}", object.key);
    }
}

#[test]
fn a_tree_on_disk_is_what_its_summary_says() {
    let root = tempfile::tempdir().unwrap();
    let options = Options { bytes: 3_000_000, ..everything(Profile::Mixed) };
    let mut objects = 0;
    let summary = write_tree(root.path(), &options, |progress| {
        objects += 1;
        assert_eq!(progress.summary.files, objects);
    })
    .unwrap();
    let files = walkdir::WalkDir::new(root.path())
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    let stored: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
    assert_eq!(stored, summary.gzip_bytes);
    let kinds: HashSet<Damage> = summary.damaged.iter().map(|(_, damage)| *damage).collect();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    assert!(summary.duplicates > 0 && summary.late > 0 && summary.large > 0 && summary.digests > 0);
    assert!(summary.other_kinds > 0 && !summary.rare.is_empty(), "{summary:?}");
    assert!(summary.records > summary.distinct_records);
}

#[test]
fn large_records_are_above_30_kb_and_one_in_two_hundred() {
    let options = Options { kinds: false, ..Options::new(Profile::Management) };
    let mut generator = Generator::new(&Options { bytes: 10_000_000, ..options }).unwrap();
    let (mut records, mut large, mut found) = (0, 0, 0);
    while let Some(object) = generator.next_object() {
        let log: Value = serde_json::from_slice(object.body).unwrap();
        records += object.facts.ids.len();
        large += object.facts.large as usize;
        found += log["Records"].as_array().unwrap().iter().filter(|r| r.to_string().len() > 30_000).count();
    }
    assert_eq!(large, found);
    let share = large as f64 / records as f64;
    assert!((0.004..=0.006).contains(&share), "{share}");
}

#[test]
fn fresh_keys_are_in_every_record_and_never_twice() {
    let options = Options { fresh_keys: 3, bytes: 300_000, kinds: false, large: 0.0, ..Options::default() };
    let mut generator = Generator::new(&options).unwrap();
    let mut seen = HashSet::new();
    while let Some(object) = generator.next_object() {
        let log: Value = serde_json::from_slice(object.body).unwrap();
        for record in log["Records"].as_array().unwrap() {
            let params = record["requestParameters"].as_object().unwrap();
            let fresh: Vec<_> = params.iter().filter(|(_, value)| *value == "v").collect();
            assert_eq!(fresh.len(), 3, "{record}");
            assert!(fresh.into_iter().all(|(key, _)| seen.insert(key.clone())));
        }
    }
}

#[test]
fn files_stop_at_the_bytes_asked_for() {
    let options = Options {
        file_bytes: Some(200_000),
        bytes: 2_000_000,
        large: 0.0,
        kinds: false,
        ..Options::default()
    };
    let mut generator = Generator::new(&options).unwrap();
    while let Some(object) = generator.next_object() {
        assert!((200_000..210_000).contains(&object.body.len()), "{}", object.body.len());
    }
}

#[test]
fn one_account_is_missing_from_the_accounts_file() {
    let options = Options { accounts: 12, ..Options::default() };
    let text = accounts_csv(&options);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("account_id,name,ou_path,env,owner,cost_center"));
    assert_eq!(lines.clone().count(), 11);
    assert_eq!(lines.next(), Some("111122223333,management,Root,prod,platform,CC-1000"));
    assert!(lines.all(|line| line.split(',').next().is_some_and(|id| id.len() == 12)));
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let wrong = [
        Options { late: 1.5, ..Options::default() },
        Options { accounts: 0, ..Options::default() },
        Options { regions: 17, ..Options::default() },
        Options { records_per_file: Some(0), ..Options::default() },
        Options { level: 13, ..Options::default() },
        Options { data_event_share: Some(0.5), ..Options::new(Profile::Management) },
    ];
    let texts: Vec<String> = wrong.iter().map(|o| Generator::new(o).err().unwrap().to_string()).collect();
    assert_eq!(texts[0], "cannot generate with this late: give a share between 0 and 1");
    assert_eq!(texts.len(), 6);
}

#[test]
fn digests_name_the_hashes_of_the_hour() {
    let options = Options { late: 0.0, damaged: 0.0, duplicate: 0.0, ..everything(Profile::Mixed) };
    let mut generator = Generator::new(&options).unwrap();
    let (mut hashes, mut listed) = (HashSet::new(), 0);
    while let Some(object) = generator.next_object() {
        let hash: String = Sha256::digest(object.body).iter().map(|byte| format!("{byte:02x}")).collect();
        if object.facts.kind == Kind::Digest {
            let digest: Value = serde_json::from_slice(object.body).unwrap();
            assert_eq!(digest["digestS3Object"], object.key);
            for file in digest["logFiles"].as_array().unwrap() {
                listed += 1;
                assert!(hashes.contains(file["hashValue"].as_str().unwrap()), "{file}");
            }
        }
        hashes.insert(hash);
    }
    assert!(listed > 50, "{listed}");
}
