//! Goes through trees, globs and single files, sorted by name, without holding more than one directory's names.
//!
//! Links are followed to files below the same root; directories they lead to are read where they really stand, so there
//! are no loops. Only a glob follows them into directories, each once.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, Metadata};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::mark::{Inode, facts_of};

/// Directories inside each other.
const DEEPEST: usize = 128;
/// Names of one directory held and sorted at a time.
const NAMES: usize = 1 << 16;

/// What a search tells.
pub(super) trait Visit {
    /// A directory is about to be read.
    fn folder(&mut self, path: &Path);

    /// A regular file, of a size and time as stated.
    fn file(&mut self, path: &dyn Fn() -> PathBuf, facts: &Metadata) -> ControlFlow<()>;

    /// Something cannot be read (`hides`: files may be behind it) or is left out.
    fn trouble(&mut self, path: &Path, hides: bool, what: &str);

    /// Whether to end early.
    fn stopped(&self) -> bool;
}

/// One stated path: a directory, a file, or a glob.
#[derive(Debug)]
pub(super) struct Root {
    base: PathBuf,
    glob: Option<GlobMatcher>,
    deepest: usize,
}

impl Root {
    /// Reads a stated path.
    pub(super) fn new(stated: &str) -> Result<Root, globset::Error> {
        let Some(wild) = stated.find(['*', '?', '[', '{']) else {
            return Ok(Root { base: stated.into(), glob: None, deepest: DEEPEST });
        };
        let (base, pattern) = match stated[..wild].rfind('/') {
            Some(0) => ("/", &stated[1..]),
            Some(slash) => (&stated[..slash], &stated[slash + 1..]),
            None => (".", stated),
        };
        let glob = GlobBuilder::new(pattern).literal_separator(true).build()?.compile_matcher();
        let levels = pattern.matches('/').count();
        let deepest = if pattern.contains("**") { DEEPEST } else { levels };
        Ok(Root { base: base.into(), glob: Some(glob), deepest })
    }

    /// Whether a file of this path would be read.
    pub(super) fn admits(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.base) else { return false };
        !path.file_name().is_some_and(is_part) && self.glob.as_ref().is_none_or(|glob| glob.is_match(below))
    }

    /// Whether this is where it begins.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.base == path
    }

    /// Whether a directory of this path may hold what is read.
    pub(super) fn holds(&self, folder: &Path) -> bool {
        folder.starts_with(&self.base)
    }

    /// Visits everything.
    pub(super) fn search(&self, visit: &mut impl Visit) -> ControlFlow<()> {
        let facts = match fs::metadata(&self.base) {
            Ok(facts) => facts,
            Err(error) => {
                visit.trouble(&self.base, true, &error.to_string());
                return ControlFlow::Continue(());
            }
        };
        if facts.is_file() {
            if let Some(folder) = self.base.parent() {
                visit.folder(folder);
            }
            return visit.file(&|| self.base.clone(), &facts);
        }
        if !facts.is_dir() {
            visit.trouble(&self.base, true, "neither a file nor a directory");
            return ControlFlow::Continue(());
        }
        self.search_below(&self.base, visit)
    }

    /// Visits everything below a directory.
    pub(super) fn search_below(&self, folder: &Path, visit: &mut impl Visit) -> ControlFlow<()> {
        let depth = self.depth(folder);
        let mut walk = Walk { root: self, canonical: None, visit, linked: HashSet::new() };
        walk.folder(folder, depth)
    }

    fn depth(&self, path: &Path) -> usize {
        path.strip_prefix(&self.base).map_or(0, |below| below.components().count())
    }

    /// Visits one path, if it is a file, or a link to one, that is read. Returns what stands there.
    pub(super) fn visit(&self, path: &Path, visit: &mut impl Visit) -> (Option<Metadata>, ControlFlow<()>) {
        let Ok(facts) = fs::symlink_metadata(path) else { return (None, ControlFlow::Continue(())) };
        if facts.is_file() {
            let went = visit.file(&|| path.to_path_buf(), &facts);
            return (Some(facts), went);
        }
        if facts.is_symlink() {
            let mut walk = Walk { root: self, canonical: None, visit, linked: HashSet::new() };
            let went = walk.link(path, self.depth(path));
            return (fs::metadata(path).ok(), went);
        }
        (None, ControlFlow::Continue(()))
    }
}

/// A file that is still being written under a name of its own.
fn is_part(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(b".part")
}

struct Walk<'w, V> {
    root: &'w Root,
    /// Where the root really stands, once it is asked for.
    canonical: Option<PathBuf>,
    visit: &'w mut V,
    /// Directories that were entered through a link.
    linked: HashSet<Inode>,
}

impl<V: Visit> Walk<'_, V> {
    fn folder(&mut self, path: &Path, depth: usize) -> ControlFlow<()> {
        if self.visit.stopped() {
            return ControlFlow::Break(());
        }
        if depth > DEEPEST {
            self.visit.trouble(path, true, "more than 128 directories inside each other");
        }
        if depth > self.root.deepest {
            return ControlFlow::Continue(());
        }
        self.visit.folder(path);
        let mut entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                // A directory that has just gone is no trouble.
                if error.kind() != ErrorKind::NotFound || depth == 0 {
                    self.visit.trouble(path, true, &error.to_string());
                }
                return ControlFlow::Continue(());
            }
        };
        loop {
            let mut names: Vec<(OsString, DirEntry)> = Vec::new();
            for entry in entries.by_ref().take(NAMES) {
                match entry {
                    Ok(entry) => names.push((entry.file_name(), entry)),
                    Err(error) => self.visit.trouble(path, true, &error.to_string()),
                }
            }
            if names.is_empty() {
                return ControlFlow::Continue(());
            }
            names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            for (name, entry) in names {
                self.entry(path, &name, &entry, depth)?;
            }
        }
    }

    fn entry(&mut self, folder: &Path, name: &OsStr, entry: &DirEntry, depth: usize) -> ControlFlow<()> {
        let Ok(kind) = entry.file_type() else { return ControlFlow::Continue(()) };
        if kind.is_dir() {
            return self.folder(&folder.join(name), depth + 1);
        }
        if is_part(name) {
            return ControlFlow::Continue(());
        }
        if kind.is_symlink() {
            return self.link(&folder.join(name), depth);
        }
        if !kind.is_file() || self.root.glob.is_some() && !self.root.admits(&folder.join(name)) {
            return ControlFlow::Continue(());
        }
        match entry.metadata() {
            Ok(facts) if facts.is_file() => self.visit.file(&|| folder.join(name), &facts),
            // It has just gone, or become something else.
            _ => ControlFlow::Continue(()),
        }
    }

    fn link(&mut self, path: &Path, depth: usize) -> ControlFlow<()> {
        // A link that leads nowhere, or to itself, holds nothing.
        let Ok(target) = fs::canonicalize(path) else { return ControlFlow::Continue(()) };
        let base = &self.root.base;
        let root =
            self.canonical.get_or_insert_with(|| fs::canonicalize(base).unwrap_or_else(|_| base.clone()));
        if !target.starts_with(root) {
            self.visit.trouble(path, false, "a link that leads out of the tree: not followed");
            return ControlFlow::Continue(());
        }
        let Ok(facts) = fs::metadata(path) else { return ControlFlow::Continue(()) };
        if facts.is_file() && self.root.admits(path) {
            return self.visit.file(&|| path.to_path_buf(), &facts);
        }
        if facts.is_dir() && self.root.glob.is_some() && self.linked.insert(facts_of(&facts).0) {
            return self.folder(path, depth + 1);
        }
        ControlFlow::Continue(())
    }
}
