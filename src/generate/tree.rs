//! Writing the objects: compression, damage to the bytes, files in the layout of a bucket.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use libdeflater::{CompressionLvl, Compressor};

use super::{Damage, Error, Generator, Kind, Object, Options};

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Files of any kind, damaged and doubled ones too.
    pub files: u64,
    /// Records in them, each copy counted; without the record of a second gzip member.
    pub records: u64,
    /// Records of which there is no earlier copy.
    pub distinct_records: u64,
    /// JSON bytes before compression.
    pub raw_bytes: u64,
    /// Bytes as stored.
    pub gzip_bytes: u64,
    /// Files that repeat another's records.
    pub duplicates: u64,
    /// Files delivered hours late.
    pub late: u64,
    /// Records above 30 kB.
    pub large: u64,
    /// Digest files.
    pub digests: u64,
    /// Files of Insights, network activity and aggregated events.
    pub other_kinds: u64,
    /// Records worth an alarm, by event name.
    pub rare: BTreeMap<&'static str, u64>,
    /// Files damaged on purpose: path below the root, and how.
    pub damaged: Vec<(PathBuf, Damage)>,
}

impl Summary {
    fn add(&mut self, object: &Object<'_>, stored: usize) {
        let facts = object.facts;
        let records = u64::try_from(facts.ids.len()).unwrap_or(0);
        self.files += 1;
        self.records += records;
        self.distinct_records += if facts.copy_of.is_none() { records } else { 0 };
        self.raw_bytes += u64::try_from(object.body.len()).unwrap_or(0);
        self.gzip_bytes += u64::try_from(stored).unwrap_or(0);
        self.duplicates += u64::from(facts.copy_of.is_some());
        self.late += u64::from(facts.late);
        self.large += u64::from(facts.large);
        match facts.kind {
            Kind::CloudTrail => {}
            Kind::Digest => self.digests += 1,
            Kind::Insight | Kind::NetworkActivity | Kind::Aggregated => self.other_kinds += 1,
        }
        if facts.copy_of.is_none() {
            for name in &facts.rare {
                *self.rare.entry(name).or_default() += 1;
            }
        }
        if let Some(damage) = facts.damage {
            self.damaged.push((PathBuf::from(object.key), damage));
        }
    }
}

/// What was just written, and how far the tree is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The object, with its facts.
    pub object: Object<'a>,
    /// Everything so far, this object included.
    pub summary: &'a Summary,
    /// JSON bytes asked for.
    pub bytes: u64,
}

/// Turns objects into the bytes a bucket stores, damage included.
pub struct Packer {
    compressor: Compressor,
    stored: Vec<u8>,
}

impl Packer {
    /// Makes a packer for a level of gzip, 1 to 12.
    #[must_use]
    pub fn new(level: i32) -> Self {
        let level = CompressionLvl::new(level).unwrap_or_default();
        Self { compressor: Compressor::new(level), stored: Vec::new() }
    }

    /// Gives the stored bytes of an object.
    pub fn pack(&mut self, object: &Object<'_>) -> &[u8] {
        self.stored.clear();
        match object.facts.damage {
            Some(Damage::Empty | Damage::Folder) => return &self.stored,
            damage => {
                self.member(object.body);
                match damage {
                    Some(Damage::Truncated) => self.stored.truncate(self.stored.len() * 2 / 3),
                    Some(Damage::TrailingGarbage) => {
                        self.stored.extend_from_slice(b"these bytes are no gzip member")
                    }
                    Some(Damage::SecondMember) => self.member(object.second),
                    _ => {}
                }
            }
        }
        &self.stored
    }

    fn member(&mut self, body: &[u8]) {
        let start = self.stored.len();
        self.stored.resize(start + self.compressor.gzip_compress_bound(body.len()), 0);
        // The bound is enough for any body, so the answer is always a length.
        let length = self.compressor.gzip_compress(body, &mut self.stored[start..]).unwrap_or(0);
        self.stored.truncate(start + length);
    }
}

/// Writes a tree below `root`, making directories as needed, and tells about each object.
///
/// Files of the same name are replaced; nothing else below `root` is touched.
///
/// # Errors
/// An option is out of range, or a file cannot be written.
pub fn write_tree(
    root: &Path,
    options: &Options,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Summary, Error> {
    let mut generator = Generator::new(options)?;
    let mut packer = Packer::new(options.level);
    let mut summary = Summary::default();
    let mut made = PathBuf::new();
    while let Some(object) = generator.next_object() {
        let path = root.join(object.key);
        let directory =
            if object.key.ends_with('/') { path.as_path() } else { path.parent().unwrap_or(root) };
        if directory != made {
            fs::create_dir_all(directory)
                .map_err(|source| Error::Write { path: directory.to_owned(), source })?;
            directory.clone_into(&mut made);
        }
        let stored = packer.pack(&object);
        if !object.key.ends_with('/') {
            fs::write(&path, stored).map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        summary.add(&object, stored.len());
        progress(Progress { object, summary: &summary, bytes: options.bytes });
    }
    Ok(summary)
}
