//! Which entries a person means: by id, or all that pass the filters.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::Wrong;
use crate::clock::Timestamp;
use crate::config::Since;
use crate::pipeline::rejects::Manifest;
use crate::pipeline::rejects::key::Key;
use crate::pipeline::rejects::shelf::{self, Seen};

/// Filters over entries; those that are given must all pass.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(in crate::cli) struct Filters {
    /// Only what this pipeline refused
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Only what this sink refused
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Only what was refused at this stage: decode, a transform's name, or sink
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Only where a reason contains this text, in capitals or not
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only what was refused since: a duration (1h) or a time (2026-01-15T10:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = crate::cli::text::since)]
    since: Option<Since>,
}

impl Filters {
    fn any(&self) -> bool {
        let texts = [&self.pipeline, &self.sink, &self.stage, &self.reason];
        self.since.is_some() || texts.iter().any(|text| text.is_some())
    }

    /// Whether an entry passes. One without a manifest passes no filter but that of time.
    pub(super) fn pass(&self, seen: &Seen, now: Timestamp) -> bool {
        let says = |wanted: &Option<String>, said: fn(&Manifest) -> Option<&str>| {
            wanted.is_none() || seen.manifest.as_ref().and_then(said) == wanted.as_deref()
        };
        let reason = self.reason.as_ref().map(|reason| reason.to_lowercase());
        let holds = |reason: &String| {
            let mut items = seen.manifest.iter().flat_map(|manifest| &manifest.items);
            items.any(|item| item.reason.to_lowercase().contains(reason))
        };
        self.since.is_none_or(|since| seen.at >= since.time(now))
            && says(&self.pipeline, |manifest| Some(&manifest.pipeline))
            && says(&self.sink, |manifest| manifest.sink.as_deref())
            && says(&self.stage, |manifest| Some(&manifest.stage))
            && reason.as_ref().is_none_or(holds)
    }
}

/// Ids, or all that pass.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Picks {
    /// Which entries, by the ids that `rejects ls` shows
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
    /// All entries that pass the filters
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filters: Filters,
}

impl Picks {
    /// The numbers of the entries, sorted.
    ///
    /// # Errors
    /// Neither ids nor `--all`, filters beside ids; the folder cannot be read.
    pub(in crate::cli) fn read(&self, shelf: &Shelf, now: Timestamp) -> anyhow::Result<Vec<u64>> {
        if !self.all {
            if self.ids.is_empty() {
                return Err(Wrong("name entries by their ids, or say `--all`".to_owned()).into());
            }
            if self.filters.any() {
                return Err(
                    Wrong("filters choose among `--all`: say so, or leave them out".to_owned()).into()
                );
            }
            let mut ids = self.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            return Ok(ids);
        }
        let mut numbers = Vec::new();
        shelf.each(|seen| {
            if self.filters.pass(&seen, now) {
                numbers.push(seen.number);
            }
            Ok(())
        })?;
        Ok(numbers)
    }
}

/// The folder of rejects and its key.
pub(in crate::cli) struct Shelf {
    pub(super) folder: PathBuf,
    pub(super) key: Option<Key>,
}

impl Shelf {
    pub(in crate::cli) fn of(data_dir: &Path) -> io::Result<Shelf> {
        Ok(Shelf { folder: data_dir.join("rejects"), key: Key::read(data_dir)? })
    }

    /// Hands every entry to `take`, in the order they were written.
    pub(super) fn each(&self, mut take: impl FnMut(Seen) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for entry in shelf::numbers(&self.folder)? {
            if let Some(seen) = shelf::look(&self.folder, entry, self.key.as_ref(), |_, _| Ok(()))? {
                take(seen)?;
            }
        }
        Ok(())
    }
}
