//! Tests of the state.

use super::*;
use crate::clock::Timestamp;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn clock() -> Clock {
    Clock::manual(Timestamp::from_seconds(1_700_000_000))
}

fn put(space: &str, key: &str, value: &str) -> Op {
    Op::Put { space: space.into(), key: key.into(), value: value.into() }
}

fn swap(key: &str, expected: Option<&str>, new: Option<&str>) -> Op {
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    Op::CompareAndSwap { space: "a".into(), key: key.into(), expected: bytes(expected), new: bytes(new) }
}

fn text(store: &Store, space: &str, key: &str) -> Option<String> {
    store.get(space, key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
}

#[test]
fn what_was_committed_is_there_after_reopening_and_the_epoch_has_grown() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("deep/data");
    let store = Store::open(&data_dir, &clock()).unwrap();
    let first = store.epoch();
    store.commit(&[put("a", "k", "1"), put("b", "k", "2"), put("a", "l", "3")]).unwrap();
    store.commit(&[Op::Delete { space: "a".into(), key: b"l".to_vec() }]).unwrap();
    drop(store);
    let store = Store::open(&data_dir, &clock()).unwrap();
    assert!(store.epoch() > first);
    assert_eq!(text(&store, "a", "k").as_deref(), Some("1"));
    assert_eq!(text(&store, "b", "k").as_deref(), Some("2"));
    assert_eq!(text(&store, "a", "l"), None);
    assert_eq!(text(&store, "nowhere", "k"), None);
    assert_eq!(store.spaces().unwrap(), ["a", "b"]);
}

#[test]
fn what_a_crash_left_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.new"), [0; 5000]).unwrap();
    let store = Store::open(folder.path(), &clock()).unwrap();
    store.commit(&[put("a", "k", "1")]).unwrap();
    drop(store);
    assert!(!folder.path().join("state.new").exists());
    let store = Store::open(folder.path(), &clock()).unwrap();
    assert_eq!(text(&store, "a", "k").as_deref(), Some("1"));
}

#[test]
fn a_group_with_a_conflict_changes_nothing() {
    let store = Store::in_memory(&clock()).unwrap();
    store.commit(&[swap("k", None, Some("1"))]).unwrap();
    for wrong in [None, Some("2")] {
        let refused = store.commit(&[put("b", "other", "x"), swap("k", wrong, Some("3"))]).unwrap_err();
        assert!(matches!(refused, StateError::Conflict { ref space } if space == "a"), "{refused}");
    }
    assert_eq!(text(&store, "b", "other"), None);
    store.commit(&[swap("k", Some("1"), Some("2")), swap("k", Some("2"), None)]).unwrap();
    assert_eq!(text(&store, "a", "k"), None);
}

#[test]
fn an_older_epoch_may_not_write() {
    let keep = embedded::Embedded::in_memory().unwrap();
    let old = keep.begin().unwrap();
    let new = keep.begin().unwrap();
    let refused = keep.commit(old, &[put("a", "k", "1")]).unwrap_err();
    assert!(matches!(refused, StateError::Fenced { ours, now } if ours == old && now == new));
    keep.commit(new, &[put("a", "k", "1")]).unwrap();
}

#[test]
fn a_space_is_scanned_in_order_and_in_pieces() {
    let store = Store::in_memory(&clock()).unwrap();
    let ops: Vec<Op> = (0..2500).rev().map(|number| put("a", &format!("{number:05}"), "x")).collect();
    store.commit(&ops).unwrap();
    assert_eq!(store.scan("a", Some(b"00007"), 2).unwrap()[0].0, b"00008");
    let mut seen = Vec::new();
    store.each("a", |key, _| seen.push(String::from_utf8(key.to_vec()).unwrap())).unwrap();
    assert_eq!(seen.len(), 2500);
    assert!(seen.is_sorted());
}

#[test]
fn a_second_process_is_told_who_has_the_data_dir() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let store = Store::open(&data_dir, &clock()).unwrap();
    let refused = Store::open(&data_dir, &clock()).unwrap_err().to_string();
    assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
    drop(store);
    Store::open(&data_dir, &clock()).unwrap();
}

#[test]
fn state_is_read_beside_the_process_that_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert_eq!(Store::read_only(&missing, &clock()).unwrap().spaces().unwrap(), [""; 0]);
    assert!(!missing.exists());
    std::fs::write(&missing, "").unwrap();
    assert!(Store::read_only(&missing, &clock()).unwrap_err().to_string().contains("Not a directory"));
    let store = Store::open(folder.path(), &clock()).unwrap();
    store.commit(&[put("a", "k", "1")]).unwrap();
    let reader = Store::read_only(folder.path(), &clock()).unwrap();
    assert_eq!(text(&reader, "a", "k").as_deref(), Some("1"));
    store.commit(&[put("a", "k", "2")]).unwrap();
    assert_eq!(text(&reader, "a", "k").as_deref(), Some("2"));
    assert!(matches!(reader.commit(&[put("a", "k", "3")]), Err(StateError::ReadOnly)));
}

#[test]
fn a_copy_has_what_was_there_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert_eq!(Store::copy(&missing, &clock()).unwrap().spaces().unwrap(), [""; 0]);
    assert!(!missing.exists());
    let store = Store::open(folder.path(), &clock()).unwrap();
    store.commit(&[put("a", "k", "1"), put("b", "k", "2")]).unwrap();
    let copy = Store::copy(folder.path(), &clock()).unwrap();
    copy.commit(&[put("a", "k", "3")]).unwrap();
    assert_eq!(text(&copy, "a", "k").as_deref(), Some("3"));
    assert_eq!(text(&copy, "b", "k").as_deref(), Some("2"));
    assert_eq!(text(&store, "a", "k").as_deref(), Some("1"));
}

#[test]
fn state_that_a_crash_left_is_read_and_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("before"), &clock()).unwrap();
    store.commit(&[put("a", "k", "1")]).unwrap();
    // What a process that was killed leaves: the file as it is, while it is open.
    let after = folder.path().join("after");
    std::fs::create_dir(&after).unwrap();
    std::fs::copy(folder.path().join("before/state.redb"), after.join("state.redb")).unwrap();
    assert_eq!(text(&Store::read_only(&after, &clock()).unwrap(), "a", "k").as_deref(), Some("1"));
    assert_eq!(text(&Store::open(&after, &clock()).unwrap(), "a", "k").as_deref(), Some("1"));
}

#[test]
fn the_data_dir_is_private_and_must_not_be_open_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    drop(Store::open(&data_dir, &clock()).unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(mode(&data_dir.join("state.redb")), 0o600);
    assert_eq!(mode(&data_dir.join("lock")), 0o600);
    for open in [0o770, 0o702, 0o1777] {
        std::fs::set_permissions(&data_dir, std::fs::Permissions::from_mode(open)).unwrap();
        let refused = Store::open(&data_dir, &clock()).unwrap_err();
        assert!(matches!(refused, StateError::Open { mode, .. } if mode == open), "{refused}");
    }
    std::fs::set_permissions(&data_dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    Store::open(&data_dir, &clock()).unwrap();
}

#[test]
fn a_file_that_is_no_state_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.redb"), vec![7; 9000]).unwrap();
    let refused = Store::open(folder.path(), &clock()).unwrap_err().to_string();
    assert!(refused.contains("state.redb"), "{refused}");
}

#[test]
fn a_closed_state_needs_no_repair_also_while_it_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let held = Store::open(folder.path(), &clock()).unwrap();
    held.commit(&[put("a", "k", "1")]).unwrap();
    let file = folder.path().join(embedded::FILE);
    let copy = folder.path().join("copy");
    let needs_repair = || {
        std::fs::copy(&file, &copy).unwrap();
        embedded::Embedded::read_only(&copy).unwrap().is_none()
    };
    assert!(needs_repair());
    held.close();
    assert!(!needs_repair());
    assert!(matches!(held.commit(&[put("a", "k", "2")]), Err(StateError::Closed)));
    assert!(matches!(held.get("a", b"k"), Err(StateError::Closed)));
    let read = Store::read_only(folder.path(), &clock()).unwrap();
    assert_eq!(text(&read, "a", "k").unwrap(), "1");
}

#[test]
fn a_damaged_file_is_told_as_such_wherever_it_is_damaged() {
    quiet_damage();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &clock()).unwrap();
    for group in 0..8 {
        let put = |number| put(["a", "b"][group % 2], &format!("{group}-{number}"), &"value".repeat(20));
        store.commit(&(0..40).map(put).collect::<Vec<_>>()).unwrap();
    }
    drop(store);
    let file = folder.path().join(embedded::FILE);
    let whole = std::fs::read(&file).unwrap();
    let goes_through = || -> Result<(), StateError> {
        let store = Store::open(folder.path(), &clock())?;
        store.commit(&[put("a", "k", "1"), put("c", "k", "1")])?;
        for space in store.spaces()? {
            store.each(&space, |_, _| {})?;
        }
        Ok(())
    };
    let mut told = 0;
    for page in 0..whole.len() / 4096 {
        for fill in [0, 0xff] {
            let mut bytes = whole.clone();
            bytes[page * 4096..(page + 1) * 4096].fill(fill);
            std::fs::write(&file, bytes).unwrap();
            // A page that is not in use may be anything.
            if let Err(error) = goes_through() {
                assert!(error.to_string().contains("state.redb"), "{error}");
                told += u32::from(matches!(error, StateError::Damaged { .. }));
            }
        }
    }
    assert!(told > 4, "{told} times");
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(goes_through(), Err(StateError::Damaged { .. })));
    std::fs::write(&file, whole).unwrap();
    goes_through().unwrap();
}
