//! A file that grows by large writes past the page cache.
//!
//! Through the cache, each byte of output costs the kernel a fresh page, a copy and the writing back, which together are
//! more than it costs to make the byte; and what is shipped once pushes out what others read often. So whole blocks go
//! straight to the disk. The last, torn block is kept until more comes, or a sync: then it is written the usual way.
//!
//! Not every file system can do this (`EINVAL`): there, everything is written the usual way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memmap2::{Advice, MmapMut};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// What offsets, lengths and memory are multiples of: more than any disk asks for.
const BLOCK: usize = 4096;
/// Smaller writes go the usual way: a write past the cache waits for the disk.
const LARGE: usize = 128 << 10;
/// Bytes of one write: a huge page, which costs the kernel as much to hand to the disk as one of [`BLOCK`] bytes.
const ONCE: usize = 2 << 20;

/// Memory that writes past the cache are made from.
#[derive(Debug)]
pub(super) struct Blocks {
    memory: MmapMut,
    /// Where it is aligned.
    start: usize,
}

impl Blocks {
    fn new() -> io::Result<Blocks> {
        // Only what is aligned is touched.
        let memory = MmapMut::map_anon(2 * ONCE)?;
        // A wish: without it, it is slower.
        let _ = memory.advise(Advice::HugePage);
        let start = memory.as_ptr().align_offset(ONCE).min(ONCE);
        Ok(Blocks { memory, start })
    }

    fn room(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + ONCE).unwrap_or_default()
    }
}

/// Whether and with what a folder's files are written past the cache.
#[derive(Debug, Default)]
pub(super) enum Direct {
    /// Not tried yet.
    #[default]
    Unknown,
    /// As long as it works.
    With(Blocks),
    /// The file system cannot.
    Never,
}

/// An open file, and the end of it that is not in it yet.
#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    /// Shorter than a block; stands at `at`.
    tail: Vec<u8>,
    /// Where the tail stands: the beginning of a block.
    at: u64,
}

impl From<File> for Growing {
    fn from(file: File) -> Growing {
        Growing { file, tail: Vec::new(), at: 0 }
    }
}

impl Growing {
    /// The file, without what is not in it yet.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The file, with everything that was written in it.
    pub(super) fn whole(&mut self) -> io::Result<&File> {
        if !self.tail.is_empty() {
            self.file.write_all_at(&self.tail, self.at)?;
            self.tail.clear();
        }
        Ok(&self.file)
    }

    /// Writes all bytes at an offset; after an error any number of them may have been written.
    pub(super) fn write(&mut self, direct: &mut Direct, at: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < LARGE || matches!(direct, Direct::Never) {
            return self.whole()?.write_all_at(bytes, at);
        }
        let mut rest = bytes;
        if self.tail.is_empty() || self.at + self.tail.len() as u64 != at {
            let head = usize::try_from(at.next_multiple_of(BLOCK as u64) - at).unwrap_or(0);
            let (head, behind) = rest.split_at(head.min(rest.len()));
            self.whole()?.write_all_at(head, at)?;
            self.at = at + head.len() as u64;
            rest = behind;
        }
        if matches!(direct, Direct::Unknown) {
            *direct = Blocks::new().map_or(Direct::Never, Direct::With);
        }
        let Direct::With(blocks) = direct else {
            return self.whole()?.write_all_at(rest, at + (bytes.len() - rest.len()) as u64);
        };
        let mut tail = self.tail.as_slice();
        let mut to = self.at;
        while tail.len() + rest.len() >= BLOCK {
            let room = blocks.room();
            let whole = (tail.len() + rest.len()).min(room.len()) / BLOCK * BLOCK;
            let (room, _) = room.split_at_mut(whole);
            let (front, back) = room.split_at_mut(tail.len());
            let (piece, behind) = rest.split_at(back.len());
            front.copy_from_slice(tail);
            back.copy_from_slice(piece);
            match past_the_cache(&self.file, room, to) {
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    *direct = Direct::Never;
                    to += tail.len() as u64;
                    return self.whole()?.write_all_at(rest, to);
                }
                other => other?,
            }
            tail = &[];
            rest = behind;
            to += whole as u64;
        }
        // Only now: after an error the file may be cut to where the old tail ended.
        if to > self.at {
            self.tail.clear();
            self.at = to;
        }
        self.tail.extend_from_slice(rest);
        Ok(())
    }

    /// Cuts the file to a length.
    pub(super) fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.at < length {
            self.whole()?;
        }
        self.tail.clear();
        self.file.set_len(length)
    }
}

/// Writes whole blocks at the beginning of a block.
fn past_the_cache(file: &File, blocks: &[u8], at: u64) -> io::Result<()> {
    let usual = fcntl_getfl(file)?;
    fcntl_setfl(file, usual | OFlags::DIRECT)?;
    let written = file.write_all_at(blocks, at);
    fcntl_setfl(file, usual)?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize),
        Sync,
        Cut(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let any_size =
            prop_oneof![1..3 * BLOCK, LARGE - 3..LARGE + 3 * BLOCK, Just(LARGE), ONCE - 9..2 * ONCE + 9];
        prop_oneof![
            6 => any_size.prop_map(Step::Write),
            2 => Just(Step::Sync),
            1 => any::<prop::sample::Index>().prop_map(Step::Cut),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_file_is_what_was_written(steps in prop::collection::vec(step(), 1..20), never in any::<bool>()) {
            // Where builds go: a folder for temporary files may be in memory.
            let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap();
            let path = folder.path().join("part");
            let mut file = Growing::from(File::create(&path).unwrap());
            let mut direct = if never { Direct::Never } else { Direct::Unknown };
            let mut expected = Vec::new();
            for (number, step) in (b'a'..).zip(steps) {
                match step {
                    Step::Write(size) => {
                        let bytes: Vec<u8> = (0..size).map(|at| number ^ at.to_le_bytes()[1]).collect();
                        file.write(&mut direct, expected.len() as u64, &bytes).unwrap();
                        expected.extend(bytes);
                    }
                    Step::Sync => {
                        file.whole().unwrap();
                        prop_assert!(std::fs::read(&path).unwrap() == expected);
                    }
                    Step::Cut(to) => {
                        expected.truncate(to.index(expected.len() + 1));
                        file.cut(expected.len() as u64).unwrap();
                    }
                }
            }
            file.whole().unwrap();
            prop_assert!(std::fs::read(&path).unwrap() == expected);
        }
    }

    /// Nor can a device: what cannot is asked once, and written to the usual way.
    #[test]
    fn a_file_that_cannot_is_written_the_usual_way() {
        let mut file = Growing::from(File::options().write(true).open("/dev/null").unwrap());
        let mut direct = Direct::default();
        file.write(&mut direct, 7, &vec![b'a'; LARGE]).unwrap();
        assert!(matches!(direct, Direct::Never) && file.tail.is_empty());
    }

    /// What the disk refuses leaves what was written before as it was.
    #[test]
    fn a_refused_write_can_be_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let mut file = Growing::from(File::create(&path).unwrap());
        let mut direct = Direct::default();
        let first = vec![b'a'; LARGE + 5];
        file.write(&mut direct, 0, &first).unwrap();
        let mut refusing = Growing { file: File::open(&path).unwrap(), tail: file.tail.clone(), at: file.at };
        assert!(refusing.write(&mut direct, first.len() as u64, &vec![b'b'; LARGE]).is_err());
        std::mem::swap(&mut refusing.file, &mut file.file);
        refusing.cut(first.len() as u64).unwrap();
        assert!(std::fs::read(&path).unwrap() == first);
    }
}
