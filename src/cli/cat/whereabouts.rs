//! Which files a person means.

use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use walkdir::{DirEntry, WalkDir};

use crate::cli::Wrong;

/// A file, or why a part of the place cannot be looked at.
type Found = Result<PathBuf, String>;

/// Returns the files of a place, in the order of their names: the file itself, what is below a directory, what a glob
/// matches. Below a directory, what is hidden is left out, and links are not followed.
///
/// # Errors
/// A glob that is none.
pub(in crate::cli) fn files(place: &str) -> Result<Box<dyn Iterator<Item = Found>>, Wrong> {
    let path = Path::new(place);
    if path.exists() {
        return Ok(Box::new(below(path)));
    }
    if !place.contains(['*', '?', '[', '{']) {
        return Ok(Box::new(std::iter::empty()));
    }
    let glob = GlobBuilder::new(place)
        .literal_separator(true)
        .build()
        .map_err(|error| Wrong(format!("`{place}` is neither a file nor a glob: {}", error.kind())))?
        .compile_matcher();
    let base: PathBuf = path
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']))
        .collect();
    let here = base.as_os_str().is_empty();
    let found = below(if here { Path::new(".") } else { &base });
    Ok(Box::new(found.filter_map(move |found| match found {
        Ok(path) => {
            let path = if here { path.strip_prefix(".").map(Path::to_owned).unwrap_or(path) } else { path };
            glob.is_match(&path).then_some(Ok(path))
        }
        Err(error) => Some(Err(error)),
    })))
}

fn below(path: &Path) -> impl Iterator<Item = Found> + use<> {
    let shown =
        |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    let entries = WalkDir::new(path).sort_by_file_name().into_iter().filter_entry(shown);
    entries.filter_map(|entry| match entry {
        // A named pipe is read when it was named itself; below a directory it would block.
        Ok(entry) if entry.file_type().is_dir() => None,
        Ok(entry) if entry.depth() > 0 && !entry.file_type().is_file() => None,
        Ok(entry) => Some(Ok(entry.into_path())),
        Err(error) => Some(Err(error.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_directories_and_globs_are_found_in_order() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b/2.gz", "b/1.gz", "a.json", ".hidden", "b/.part", "b/c/3.gz"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |place: &str| -> Vec<String> {
            let place = root.path().join(place);
            let all = files(place.to_str().unwrap()).unwrap();
            all.map(|path| path.unwrap().strip_prefix(root.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(found(""), ["a.json", "b/1.gz", "b/2.gz", "b/c/3.gz"]);
        assert_eq!(found("a.json"), ["a.json"]);
        assert_eq!(found(".hidden"), [".hidden"]);
        assert_eq!(found("b/*.gz"), ["b/1.gz", "b/2.gz"]);
        assert_eq!(found("**/*.gz"), ["b/1.gz", "b/2.gz", "b/c/3.gz"]);
        assert_eq!(found("*.json"), ["a.json"]);
        assert!(found("none").is_empty());
        assert!(files("[").is_err());
    }
}
