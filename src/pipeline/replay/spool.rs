//! Makes objects of entries: what was refused, copied to where nobody else can change it, and checked on the way.
//!
//! Records become one object of `Records`; each damaged range is an object as it is, put together where it goes on from
//! one entry to the next.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::pipeline::rejects::entry::{Entry, Fault};
use crate::pipeline::rejects::{Item, Manifest, Rejects, shelf};
use crate::source::Again;

/// One object to ship. Its file goes with it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// The same, should it be shipped once more by this program.
    pub(super) identity: Arc<str>,
    pub(super) again: Arc<Again>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What there is to ship of an entry.
#[derive(Debug)]
pub(super) struct Spooled {
    pub(super) manifest: Manifest,
    pub(super) pieces: Vec<Piece>,
    /// Damage without bytes: nothing can be shipped of it.
    pub(super) empty: Vec<Item>,
}

/// Why an entry is not shipped.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    #[error("{0}: it is never shipped")]
    Fault(#[from] Fault),
    #[error("reading it: {0}")]
    Read(#[from] io::Error),
}

/// Entries that one damaged range goes through, by each of their numbers.
pub(super) fn chains(folder: &Path) -> io::Result<HashMap<u64, Arc<[u64]>>> {
    let mut open: HashMap<(String, String), (Vec<u64>, u64)> = HashMap::new();
    let mut chains = HashMap::new();
    for (number, claimed) in shelf::numbers(folder)? {
        if claimed {
            continue;
        }
        let entry = match Entry::open(&folder.join(shelf::free(number))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entry => entry?,
        };
        let Ok(Entry { manifest, .. }) = entry else { continue };
        let (Some(first), Some(last)) = (manifest.items.first(), manifest.items.last()) else { continue };
        if manifest.stage != "decode" {
            continue;
        }
        let key = (manifest.pipeline, manifest.object);
        let mut chain = match open.remove(&key) {
            Some((chain, next)) if next == first.offset => chain,
            // An object that was lent again began again; what it left open stays alone.
            Some((chain, _)) => {
                end(&mut chains, chain);
                Vec::new()
            }
            None => Vec::new(),
        };
        chain.push(number);
        if last.continues {
            open.insert(key, (chain, last.offset.saturating_add(last.length)));
        } else if chain.len() > 1 {
            end(&mut chains, chain);
        }
    }
    open.into_values().for_each(|(chain, _)| end(&mut chains, chain));
    Ok(chains)
}

fn end(chains: &mut HashMap<u64, Arc<[u64]>>, chain: Vec<u64>) {
    let chain: Arc<[u64]> = chain.into();
    chains.extend(chain.iter().map(|number| (*number, chain.clone())));
}

/// Reads claimed entries, one damaged range going on from each to the next. Blocks.
pub(super) fn spool(rejects: &Rejects, entries: &[u64]) -> Result<Spooled, SpoolError> {
    let first = entries.first().copied().unwrap_or(0);
    let mut spool =
        Spool { folder: rejects.folder(), first, open: None, pieces: Vec::new(), empty: Vec::new() };
    let mut whose = None;
    for &number in entries {
        let entry = Entry::open(&rejects.folder().join(shelf::claimed(number)))??;
        let manifest = entry.manifest.clone();
        let records = !matches!(manifest.stage.as_str(), "decode" | "added");
        let sink: Option<Arc<str>> = manifest.sink.as_deref().map(Arc::from);
        let mut next = 0;
        entry.verify(number, Some(rejects.key()), |item, bytes| {
            while next <= item {
                spool.begin(&manifest.items[next], records, sink.as_ref())?;
                next += 1;
            }
            spool.add(bytes)
        })??;
        for item in &manifest.items[next..] {
            spool.begin(item, records, sink.as_ref())?;
        }
        whose.get_or_insert(manifest);
    }
    spool.close()?;
    let Spool { pieces, empty, .. } = spool;
    Ok(Spooled { manifest: whose.unwrap_or_default(), pieces, empty })
}

struct Spool<'a> {
    folder: &'a Path,
    first: u64,
    open: Option<Open>,
    pieces: Vec<Piece>,
    empty: Vec<Item>,
}

/// A piece that is being written.
struct Open {
    file: BufWriter<File>,
    piece: Piece,
    again: Again,
    records: bool,
    goes_on: bool,
}

impl Spool<'_> {
    /// The next item's bytes follow.
    fn begin(&mut self, item: &Item, records: bool, sink: Option<&Arc<str>>) -> io::Result<()> {
        if let Some(open) = &mut self.open
            && open.goes_on
        {
            open.goes_on = item.continues;
            return Ok(());
        }
        if item.length == 0 {
            self.empty.push(item.clone());
            return Ok(());
        }
        if let Some(open) = &mut self.open
            && open.records
            && records
        {
            open.again.records.push((item.record.unwrap_or_default(), item.offset));
            open.piece.size += 1;
            return open.file.write_all(b",");
        }
        self.close()?;
        let at = self.pieces.len();
        let path = self.folder.join(format!(".{:020}.{at}.again", self.first));
        // A leftover of an earlier try goes; what is opened is new, and ours.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let (identity, again) = (format!("rejects/{}/{at}", self.first).into(), Arc::default());
        let mut open = Open {
            file: BufWriter::with_capacity(64 << 10, file),
            piece: Piece { path, size: 0, identity, again },
            again: Again { sink: sink.cloned(), offset: item.offset, records: Vec::new() },
            records,
            goes_on: item.continues,
        };
        if records {
            open.again.records.push((item.record.unwrap_or_default(), item.offset));
            open.piece.size += HEAD.len() as u64;
            open.file.write_all(HEAD)?;
        }
        self.open = Some(open);
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.piece.size += bytes.len() as u64;
        open.file.write_all(bytes)
    }

    /// The piece is whole.
    fn close(&mut self) -> io::Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if open.records {
            open.file.write_all(TAIL)?;
            open.piece.size += TAIL.len() as u64;
        }
        open.file.flush()?;
        open.piece.again = Arc::new(open.again);
        self.pieces.push(open.piece);
        Ok(())
    }
}

const HEAD: &[u8] = br#"{"Records":["#;
const TAIL: &[u8] = b"]}";
