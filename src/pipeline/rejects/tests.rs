use super::entry::{Fault, collect};
use super::*;

fn item(reason: &str, length: u64) -> Item {
    Item { reason: reason.into(), offset: 7, length, record: Some(3), continues: false, token_removed: false }
}

fn manifest(items: Vec<Item>) -> Manifest {
    let object = "AWSLogs/x.json.gz".into();
    Manifest { pipeline: "siem".into(), stage: "decode".into(), object, items, ..Manifest::default() }
}

fn open(data_dir: &Path, max_size: u64) -> Rejects {
    let key = Key::read_or_make(data_dir).unwrap();
    Rejects::open(&data_dir.join("rejects"), key, max_size, Duration::from_secs(60), Timestamp(5_000))
        .unwrap()
}

/// The number in a path, what stands there, and what is wrong with it.
fn read(rejects: &Rejects, path: &Path) -> (Option<Manifest>, Vec<Vec<u8>>, Option<Fault>) {
    let number = shelf::number(path.file_name().unwrap().to_str().unwrap()).unwrap();
    let mut bytes = Vec::new();
    let seen = shelf::look(rejects.folder(), number, Some(rejects.key()), collect(&mut bytes));
    let seen = seen.unwrap().unwrap();
    (seen.manifest, bytes, seen.fault)
}

#[test]
fn an_entry_reads_back_and_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = open(folder.path(), 10_000);
    let entry = manifest(vec![item("bad", 3), item("worse", 0), item("worst", 2)]);
    let path = rejects.store(entry.clone(), &[b"a\nb", b"", b"cd"]).unwrap();
    let (read, bytes, fault) = read(&rejects, &path);
    assert_eq!(read.unwrap(), Manifest { version: VERSION, entry: 5, ..entry });
    assert_eq!((bytes, fault), (vec![b"a\nb".to_vec(), vec![], b"cd".to_vec()], None));
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap()) & 0o777;
    assert_eq!((mode(&path), mode(rejects.folder())), (0o600, 0o700));
    assert_eq!(rejects.size(), fs::metadata(&path).unwrap().len());
    assert_eq!(open(folder.path(), 10_000).size(), rejects.size());
}

#[test]
fn a_full_place_stores_nothing_and_takes_again_what_others_made_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = open(folder.path(), 500);
    let refused = rejects.store(manifest(vec![item("big", 600)]), &[&[0; 600]]).unwrap_err();
    assert!(refused.to_string().contains("rejects.max_size"), "{refused}");
    assert_eq!((rejects.size(), fs::read_dir(rejects.folder()).unwrap().count()), (0, 0));

    rejects.store(manifest(vec![item("small", 100)]), &[&[0; 100]]).unwrap();
    assert!(rejects.store(manifest(vec![item("small", 100)]), &[&[0; 100]]).is_err());
    let (number, _) = shelf::numbers(rejects.folder()).unwrap()[0];
    assert!(shelf::remove(rejects.folder(), number).unwrap());
    rejects.store(manifest(vec![item("small", 100)]), &[&[0; 100]]).unwrap();
}

#[test]
fn old_entries_are_tidied_away_but_for_those_that_are_being_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = open(folder.path(), 10_000);
    for _ in 0..2 {
        rejects.store(manifest(vec![item("bad", 1)]), &[b"x"]).unwrap();
    }
    assert!(shelf::claim(rejects.folder(), 5).unwrap());
    assert_eq!(rejects.tidy(Timestamp(0)), 0);
    assert_eq!(rejects.tidy(Timestamp::from_seconds(5_000_000_000)), 1);
    assert_eq!(shelf::numbers(rejects.folder()).unwrap(), [(5, true)]);
    rejects.shipped(5).unwrap();
    assert_eq!(rejects.size(), 0);
}

#[test]
fn an_entry_belongs_to_one_and_claims_of_the_dead_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = open(folder.path(), 10_000);
    rejects.store(manifest(vec![item("bad", 1)]), &[b"x"]).unwrap();
    let place = rejects.folder();
    assert!(shelf::claim(place, 5).unwrap());
    assert!(!shelf::claim(place, 5).unwrap());
    assert!(!shelf::remove(place, 5).unwrap());
    // The next program with this data directory.
    let rejects = open(folder.path(), 10_000);
    assert_eq!(shelf::numbers(rejects.folder()).unwrap(), [(5, false)]);
    // An entry of later than now is never written over.
    rejects.store(manifest(vec![item("bad", 1)]), &[b"x"]).unwrap();
    assert_eq!(shelf::numbers(rejects.folder()).unwrap(), [(5, false), (6, false)]);
}

#[test]
fn a_file_that_does_not_hold_what_it_says_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = open(folder.path(), 10_000);
    let path = rejects.store(manifest(vec![item("bad", 5)]), &[b"12345"]).unwrap();
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let longer = [&whole[..], b"6"].concat();
    for text in [&b""[..], b"no json\n", &whole[..end], &whole[..=end], &whole[..whole.len() - 1], &longer] {
        fs::write(&path, text).unwrap();
        let (_, _, fault) = read(&rejects, &path);
        assert!(matches!(fault, Some(Fault::Torn(_))), "{fault:?}");
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_eq!(read(&rejects, &path).2, Some(Fault::Torn("it is a link".into())));
}

#[test]
fn what_this_data_directory_did_not_write_is_forged() {
    let folder = tempfile::tempdir().unwrap();
    let rejects = open(folder.path(), 10_000);
    let path = rejects.store(manifest(vec![item("bad", 5)]), &[b"12345"]).unwrap();
    let whole = fs::read(&path).unwrap();
    let forged = |path: &Path| matches!(read(&rejects, path).2, Some(Fault::Forged(_)));
    assert!(!forged(&path));
    // Every byte counts.
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(read(&rejects, &path).2.is_some(), "byte {at}");
    }
    // A member that came in.
    let text = String::from_utf8(whole.clone()).unwrap();
    fs::write(&path, text.replacen('{', r#"{"x":1,"#, 1)).unwrap();
    assert!(forged(&path));
    // Without a hash, and with that of another data directory.
    fs::write(&path, serde_json::to_string(&manifest(vec![])).unwrap() + "\n").unwrap();
    assert!(forged(&path));
    let other = tempfile::tempdir().unwrap();
    let others = open(other.path(), 10_000).store(manifest(vec![item("bad", 5)]), &[b"12345"]).unwrap();
    fs::copy(others, &path).unwrap();
    assert!(forged(&path));
    // A copy of a genuine one under another name.
    fs::write(&path, &whole).unwrap();
    assert!(!forged(&path));
    let copy = rejects.folder().join(shelf::free(77));
    fs::copy(&path, &copy).unwrap();
    assert!(forged(&copy));
    // Nobody has the key.
    let seen = shelf::look(rejects.folder(), (5, false), None, |_, _| Ok(())).unwrap().unwrap();
    assert!(matches!(seen.fault, Some(Fault::Forged(_))));
}
