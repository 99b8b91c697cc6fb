//! Entries of rejects under a fuzzer: what was stored comes back, and nothing else is believed.

use std::fs;
use std::path::Path;

use super::entry::{self, Entry, collect};
use super::key::Key;
use super::{Item, Manifest, VERSION};

/// The number in the entry's name.
const NUMBER: u64 = 7;

/// Takes the bytes as an entry's file: it is never believed. Then as text and bytes of an entry that is stored as
/// ours: it comes back as it was, and with one byte changed or missing it is never believed.
///
/// # Panics
/// When that is not so.
pub fn rejects(data: &[u8]) {
    thread_local! {
        static PLACE: Option<(tempfile::TempDir, Key)> = {
            let folder = tempfile::tempdir().ok();
            folder.and_then(|folder| Some((Key::read_or_make(folder.path()).ok()?, folder))).map(|(key, folder)| (folder, key))
        };
    }
    PLACE.with(|place| {
        let Some((folder, key)) = place else { panic!("no folder for temporary files") };
        let path = folder.path().join("entry");
        assert!(read(&path, data, Some(key)).is_none(), "a stranger's entry is believed");

        let (manifest, bytes) = made(data);
        let pieces: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let Ok(head) = entry::head(&manifest, key, &pieces) else { panic!("no manifest") };
        let whole = [head, bytes.concat()].concat();
        assert_eq!(read(&path, &whole, Some(key)), Some((manifest, bytes)), "an entry comes back as it was");
        assert!(read(&path, &whole, None).is_none(), "an entry is believed without a key");
        let at = data.iter().fold(0usize, |sum, byte| sum * 31 % 65_521 + usize::from(*byte)) % whole.len();
        let mut changed = whole.clone();
        changed[at] ^= data.first().map_or(1, |byte| byte % 255 + 1);
        assert!(read(&path, &changed, Some(key)).is_none(), "a changed entry is believed, byte {at}");
        assert!(read(&path, &whole[..at], Some(key)).is_none(), "a torn entry is believed, byte {at}");
        let longer = [&whole[..], b"}"].concat();
        assert!(read(&path, &longer, Some(key)).is_none(), "a longer entry is believed");
    });
}

/// The entry in a file with these bytes, where it is believed.
fn read(path: &Path, file: &[u8], key: Option<&Key>) -> Option<(Manifest, Vec<Vec<u8>>)> {
    // A new file each time: file systems sync one that is written over.
    let _ = fs::remove_file(path);
    assert!(fs::write(path, file).is_ok(), "{} cannot be written", path.display());
    let Ok(opened) = Entry::open(path) else { panic!("{} cannot be opened", path.display()) };
    let mut bytes = Vec::new();
    let verified = opened.ok()?.verify(NUMBER, key, collect(&mut bytes));
    let Ok(verified) = verified else { panic!("{} cannot be read", path.display()) };
    let manifest = verified.ok()?;
    bytes.resize(manifest.items.len(), Vec::new());
    Some((manifest, bytes))
}

/// An entry made of the bytes: pieces between line ends are names, reasons and records.
fn made(data: &[u8]) -> (Manifest, Vec<Vec<u8>>) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut manifest = Manifest {
        version: VERSION,
        entry: NUMBER,
        pipeline: text(),
        stage: text(),
        sink: Some(text()).filter(|sink| !sink.is_empty()),
        object: text(),
        at: text(),
        items: Vec::new(),
    };
    let mut bytes = Vec::new();
    for (record, piece) in (0u64..).zip(lines.take(16)) {
        let reason = String::from_utf8_lossy(piece).into_owned();
        manifest.items.push(Item {
            reason,
            offset: u64::MAX - record,
            length: piece.len() as u64,
            record: (record % 2 == 0).then_some(record),
            continues: record % 3 == 0,
            token_removed: record % 5 == 0,
        });
        bytes.push(piece.to_vec());
    }
    (manifest, bytes)
}
