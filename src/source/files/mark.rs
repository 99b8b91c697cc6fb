//! What makes a file this file: device, inode, size, time of change, and a digest of its first and last 4 KiB.
//!
//! The path is only the address. The digest decides where the cheap facts leave a doubt: an inode that a new file has
//! taken over shows itself by another time of status change, which nobody can set, so the digest is looked at then and
//! only then. It costs nothing to take: whoever reads the file takes it on the way.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes looked at on both ends.
const END: usize = 4096;

/// A file's place on its device: the same whatever it is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Inode {
    /// The device.
    pub device: u64,
    /// The inode's number there.
    pub number: u64,
}

/// What the system says of a file's content without reading it. Times in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Bytes.
    pub size: u64,
    /// When its content was last written; anyone can set it.
    pub modified: i64,
    /// When its status was last changed (written, renamed, linked, its mode set); nobody can set it.
    pub changed: i64,
}

impl Facts {
    /// Whether the content is taken to be the same.
    pub(super) fn same_content(&self, other: &Facts) -> bool {
        self.size == other.size && self.modified == other.modified
    }
}

/// Reads both from what the system said.
pub(super) fn facts_of(facts: &Metadata) -> (Inode, Facts) {
    let time = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    let inode = Inode { device: facts.dev(), number: facts.ino() };
    let modified = time(facts.mtime(), facts.mtime_nsec());
    let changed = time(facts.ctime(), facts.ctime_nsec());
    (inode, Facts { size: facts.len(), modified, changed })
}

/// The digest of the first and last 4 KiB of the first `size` bytes, never 0, and whether they are lines.
pub(super) fn digest(file: &File, size: u64) -> io::Result<(u64, bool)> {
    let mut bytes = [0; 2 * END];
    let both = END as u64 * 2;
    let length = usize::try_from(size.min(both)).unwrap_or(2 * END);
    if size <= both {
        file.read_exact_at(&mut bytes[..length], 0)?;
    } else {
        file.read_exact_at(&mut bytes[..END], 0)?;
        file.read_exact_at(&mut bytes[END..], size - END as u64)?;
    }
    let digest = xxhash_rust::xxh3::xxh3_64(&bytes[..length]).max(1);
    Ok((digest, is_lines(&bytes[..length.min(END)])))
}

/// Whether this is the beginning of plain lines, one JSON value each; compressed lines wait as long as objects do,
/// because their trailer says when they are complete.
fn is_lines(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    if start.first() != Some(&b'{') {
        return false;
    }
    match memchr::memchr(b'\n', start) {
        Some(end) => start[..end].trim_ascii_end().ends_with(b"}"),
        None => memchr::memmem::find(&start[..start.len().min(64)], b"\"Records\"").is_none(),
    }
}

/// A file on loan: whoever reads it asks [`Mark::check`] whether it is still the one.
#[derive(Debug)]
pub(super) struct Mark {
    pub inode: Inode,
    pub facts: Facts,
    digest: AtomicU64,
    lines: AtomicBool,
}

impl Mark {
    pub(super) fn new(inode: Inode, facts: Facts) -> Mark {
        Mark { inode, facts, digest: AtomicU64::new(0), lines: AtomicBool::new(false) }
    }

    /// The digest, 0 where nobody has opened the file.
    pub(super) fn digest(&self) -> u64 {
        self.digest.load(Ordering::Acquire)
    }

    /// Whether it holds lines, as far as its beginning tells.
    pub(super) fn lines(&self) -> bool {
        self.lines.load(Ordering::Acquire)
    }

    /// Returns in words why the open file is not the one that was lent.
    pub(super) fn check(&self, file: &File) -> Result<(), String> {
        let now = file.metadata().map_err(|error| format!("looking at it: {error}"))?;
        if !now.is_file() {
            return Err("it is no longer a file".to_owned());
        }
        let (inode, facts) = facts_of(&now);
        if inode != self.inode {
            return Err("another file has taken its place".to_owned());
        }
        if facts.size != self.facts.size {
            let change = if facts.size < self.facts.size { "shrunk" } else { "grown" };
            return Err(format!("it has {change} from {} to {} bytes", self.facts.size, facts.size));
        }
        if facts.modified != self.facts.modified {
            return Err("it was written to".to_owned());
        }
        if self.digest() == 0 {
            let (digest, lines) = digest(file, facts.size).map_err(|error| format!("reading it: {error}"))?;
            self.lines.store(lines, Ordering::Release);
            self.digest.store(digest, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_are_told_from_objects_by_their_beginning() {
        let long = format!("{{\"eventVersion\":\"1.08\",\"x\":\"{}", "y".repeat(9000));
        for (text, lines) in [
            ("{\"a\":1}\n{\"a\":2}\n", true),
            ("\n {\"a\":1}\r\n", true),
            ("{\"a\":1", true),
            (&long[..], true),
            ("{\"Records\":[{\"a\":", false),
            ("{\n  \"Records\": [\n", false),
            ("[{\"a\":1},\n", false),
            ("\u{1f}\u{8b}", false),
            ("", false),
        ] {
            assert_eq!(is_lines(&text.as_bytes()[..text.len().min(END)]), lines, "{text:.40}");
        }
    }

    #[test]
    fn a_digest_sees_both_ends_and_only_the_bytes_it_was_asked_for() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b'x'; 20_000]).unwrap();
        let of = |size: u64| digest(&file, size).unwrap().0;
        let (whole, part) = (of(20_000), of(10_000));
        file.write_all_at(b"y", 19_999).unwrap();
        assert_ne!(of(20_000), whole);
        assert_eq!(of(10_000), part);
        file.write_all_at(b"y", 0).unwrap();
        assert_ne!(of(10_000), part);
        assert!(digest(&file, 20_001).is_err());
        assert_ne!(of(1), 0);
    }

    #[test]
    fn a_mark_notices_what_happens_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "{}\n{}\n").unwrap();
        let (inode, facts) = facts_of(&std::fs::metadata(&path).unwrap());
        let mark = Mark::new(inode, facts);
        let check = || mark.check(&File::open(&path).unwrap());
        assert_eq!((check(), mark.lines()), (Ok(()), true));
        assert_ne!(mark.digest(), 0);
        File::options().append(true).open(&path).unwrap().write_all(b"{}").unwrap();
        assert!(check().is_err_and(|why| why == "it has grown from 6 to 8 bytes"));
        File::options().write(true).open(&path).unwrap().set_len(1).unwrap();
        assert!(check().is_err_and(|why| why == "it has shrunk from 6 to 1 bytes"));
        let other = folder.path().join("b");
        std::fs::write(&other, "{}\n{}\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(check().is_err_and(|why| why == "another file has taken its place"));
    }
}
