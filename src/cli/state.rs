//! `state`: what is remembered from run to run.

mod bucket;
mod change;
mod cursor;
mod pulled;
mod stream;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Subcommand;

use super::place::DataDirArgs;
use super::text::{bytes, count};
use super::{Outcome, Surroundings};
use crate::clock::Timestamp;
use crate::source::files;
use crate::state::Store;
use crate::telemetry::escaped;
use cursor::Name;

/// Shows what is remembered from run to run, and changes it
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship state ls -c trailship.toml
  trailship state rename main/trail siem/trail")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Ls(Ls),
    Show(Show),
    Rm(Rm),
    Rename(Rename),
}

/// Lists what each source has shipped
///
/// Works beside a `run`, and shows what that one has committed. Nothing is changed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship state ls
  trailship state ls --data-dir /var/lib/trailship")]
struct Ls {
    #[command(flatten)]
    place: DataDirArgs,
}

/// Shows what is remembered of one source
///
/// Works beside a `run`, and shows what that one has committed. Nothing is changed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship state show main/trail
  trailship state show main/trail --entries | head")]
struct Show {
    /// The pipeline and the source, as `state ls` names them
    #[arg(value_name = "PIPELINE/SOURCE")]
    name: Name,
    #[command(flatten)]
    place: DataDirArgs,
    /// Also each file that was shipped, as JSON: device, inode, size, and when it was written
    #[arg(long)]
    entries: bool,
}

/// Forgets a source: the next run ships everything that is there again
///
/// Wants the `run` stopped, and says its process otherwise.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  trailship state rm main/trail")]
struct Rm {
    /// The pipeline and the source, as `state ls` names them
    #[arg(value_name = "PIPELINE/SOURCE")]
    name: Name,
    #[command(flatten)]
    place: DataDirArgs,
}

/// Goes on under another name: for a pipeline or source that has a new name in the configuration
///
/// Wants the `run` stopped, and says its process otherwise. Nothing that is remembered under the new name is written over.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  trailship state rename main/trail siem/trail")]
struct Rename {
    /// The pipeline and the source as they were
    #[arg(value_name = "OLD")]
    from: Name,
    /// As they are now
    #[arg(value_name = "NEW")]
    to: Name,
    #[command(flatten)]
    place: DataDirArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let text = match &args.command {
        Command::Ls(ls) => list(&ls.place.read()?, around)?,
        Command::Show(show) => cursor::show(&show.place.read()?, &show.name, show.entries, around)?,
        Command::Rm(rm) => change::remove(&rm.place.read()?, &rm.name, around)?,
        Command::Rename(rename) => change::rename(&rename.place.read()?, &rename.from, &rename.to, around)?,
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

/// What the state keeps of one source.
#[derive(Default)]
struct Cursor {
    files: u64,
    bytes: u64,
    newest: Timestamp,
    lent: u64,
}

fn list(data_dir: &Path, around: &Surroundings) -> anyhow::Result<String> {
    let store = Store::read_only(data_dir, &around.clock)?;
    let mut cursors: BTreeMap<(String, String), Cursor> = BTreeMap::new();
    let mut others = Vec::new();
    let spaces = store.spaces()?;
    let buckets = bucket::read(&store, spaces.iter().cloned())?;
    let streams = stream::read(&store, spaces.iter().cloned())?;
    let lanes = pulled::read(&store, spaces.iter().cloned())?;
    let is_other =
        |space: &String| !bucket::is_ours(space) && !stream::is_ours(space) && !pulled::is_ours(space);
    for space in spaces.into_iter().filter(is_other) {
        let names: Vec<&str> = space.strip_prefix(files::SPACES).unwrap_or_default().split('/').collect();
        match names[..] {
            [pipeline, source] => {
                let cursor = cursors.entry((pipeline.to_owned(), source.to_owned())).or_default();
                store.each(&space, |_, value| {
                    if let Some(file) = files::Shipped::read(value) {
                        cursor.files += 1;
                        cursor.bytes += file.size;
                        cursor.newest = cursor.newest.max(file.modified);
                    }
                })?;
            }
            [pipeline, source, "lent"] => {
                let cursor = cursors.entry((pipeline.to_owned(), source.to_owned())).or_default();
                store.each(&space, |_, value| cursor.lent += files::lent_files(value) as u64)?;
            }
            _ => {
                let mut entries = 0;
                store.each(&space, |_, _| entries += 1)?;
                others.push((space, entries));
            }
        }
    }
    // What was forgotten leaves an empty space behind.
    cursors.retain(|_, cursor| cursor.files + cursor.lent > 0);
    others.retain(|(_, entries)| *entries > 0);
    let now = around.clock.now();
    let mut tables =
        vec![bucket::table(&buckets, now), stream::table(&streams, now), pulled::table(&lanes, now)];
    tables.retain(|table| !table.is_empty());
    if tables.is_empty() || !(cursors.is_empty() && others.is_empty()) {
        tables.insert(0, table(&cursors, &others));
    }
    Ok(tables.join("\n"))
}

fn table(cursors: &BTreeMap<(String, String), Cursor>, others: &[(String, u64)]) -> String {
    let mut out = format!(
        "{:<16} {:<16} {:>10} {:>9}  {:<20} {:>7}\n",
        "pipeline", "source", "files", "bytes", "newest written", "on loan"
    );
    for ((pipeline, source), cursor) in cursors {
        let newest = if cursor.files == 0 { "–".to_owned() } else { cursor.newest.to_string() };
        let _ = writeln!(
            out,
            "{:<16} {:<16} {:>10} {:>9}  {newest:<20} {:>7}",
            escaped(pipeline),
            escaped(source),
            count(cursor.files),
            bytes(cursor.bytes),
            count(cursor.lent)
        );
    }
    for (space, entries) in others {
        let _ = writeln!(out, "{}: {} entries", escaped(space), count(*entries));
    }
    out
}
