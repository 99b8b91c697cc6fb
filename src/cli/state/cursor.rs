//! One source's part of the state: its name, the spaces it is kept in, and what is there.

use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use serde_json::json;

use super::{bucket, pulled, stream};
use crate::cli::Surroundings;
use crate::cli::text::{bytes, count};
use crate::clock::Timestamp;
use crate::source::files;
use crate::state::{StateError, Store};
use crate::telemetry::escaped;

/// A pipeline's source: progress is kept for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) pipeline: String,
    pub(super) source: String,
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Name, &'static str> {
        let named = text
            .split_once('/')
            .filter(|(pipeline, source)| !pipeline.is_empty() && !source.is_empty() && !source.contains('/'));
        let (pipeline, source) = named.ok_or("name it as `state ls` does: the pipeline, `/`, the source")?;
        Ok(Name { pipeline: pipeline.to_owned(), source: source.to_owned() })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", escaped(&self.pipeline), escaped(&self.source))
    }
}

impl Name {
    /// What stands behind the name in a space of this source: its kind of source before, and what more is kept behind.
    pub(super) fn split<'a>(&self, space: &'a str) -> Option<(&'a str, &'a str)> {
        let (kind, rest) = space.split_once('/')?;
        let rest = rest.strip_prefix(&*self.pipeline)?.strip_prefix('/')?.strip_prefix(&*self.source)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((kind, rest))
    }

    /// The spaces that hold something of this source, with how many entries.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(super) fn spaces(&self, store: &Store) -> Result<Vec<(String, u64)>, StateError> {
        let mut spaces = Vec::new();
        for space in store.spaces()? {
            if self.split(&space).is_none() {
                continue;
            }
            let mut entries = 0;
            store.each(&space, |_, _| entries += 1)?;
            if entries > 0 {
                spaces.push((space, entries));
            }
        }
        Ok(spaces)
    }
}

/// Nothing is remembered under a name.
pub(super) fn nothing(name: &Name) -> anyhow::Error {
    anyhow::anyhow!("nothing is remembered of {name}: `trailship state ls` shows what there is")
}

/// Writes what is remembered of a source.
pub(super) fn show(
    data_dir: &Path,
    name: &Name,
    entries: bool,
    around: &Surroundings,
) -> anyhow::Result<String> {
    let store = Store::read_only(data_dir, &around.clock)?;
    let spaces = name.spaces(&store)?;
    if spaces.is_empty() {
        return Err(nothing(name));
    }
    let mut out = format!("pipeline  {}\nsource    {}\n", escaped(&name.pipeline), escaped(&name.source));
    let mut lines = String::new();
    let now = around.clock.now();
    for ((_, _, range), partitions) in bucket::read(&store, spaces.iter().map(|(space, _)| space.clone()))? {
        if !range.is_empty() {
            let _ = writeln!(out, "range     {}", escaped(&range));
        }
        out.push_str(&bucket::lines(&partitions, now));
    }
    for shards in stream::read(&store, spaces.iter().map(|(space, _)| space.clone()))?.values() {
        out.push_str(&stream::lines(shards, now));
    }
    for ((_, _, range), lanes) in pulled::read(&store, spaces.iter().map(|(space, _)| space.clone()))? {
        if !range.is_empty() {
            let _ = writeln!(out, "range     {}", escaped(&range));
        }
        out.push_str(&pulled::lines(&lanes, now));
    }
    let is_other =
        |space: &str| !bucket::is_ours(space) && !stream::is_ours(space) && !pulled::is_ours(space);
    for (space, number) in spaces.iter().filter(|(space, _)| is_other(space)) {
        let is_files = space.starts_with(files::SPACES);
        match name.split(space) {
            Some((_, "")) if is_files => {
                let (mut size, mut oldest, mut newest) = (0, Timestamp(i64::MAX), Timestamp::default());
                store.each(space, |key, value| {
                    let Some(file) = files::Shipped::read(value) else { return };
                    size += file.size;
                    (oldest, newest) = (oldest.min(file.modified), newest.max(file.modified));
                    if entries {
                        let part = |at: usize| {
                            key.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_be_bytes)
                        };
                        let written = file.modified.to_string();
                        let line = json!({"device": part(0), "inode": part(8), "size": file.size, "written": written});
                        let _ = writeln!(lines, "{line}");
                    }
                })?;
                let _ = writeln!(out, "files     {} shipped, {}", count(*number), bytes(size));
                let _ = writeln!(out, "written   from {oldest} to {newest}");
            }
            Some((_, "/lent")) if is_files => {
                let mut lent = 0;
                store.each(space, |_, value| lent += files::lent_files(value) as u64)?;
                let _ = writeln!(out, "on loan   {} files", count(lent));
            }
            _ => _ = writeln!(out, "{}: {} entries", escaped(space), count(*number)),
        }
    }
    Ok(if entries && !lines.is_empty() { lines } else { out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_own_spaces_only() {
        let name: Name = "main/trail".parse().unwrap();
        for (space, expected) in [
            ("files/main/trail", Some(("files", ""))),
            ("files/main/trail/lent", Some(("files", "/lent"))),
            ("files/main/trails", None),
            ("files/mains/trail", None),
            ("main/trail", None),
        ] {
            assert_eq!(name.split(space), expected, "{space}");
        }
        for wrong in ["", "main", "main/", "/trail", "a/b/c"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}
