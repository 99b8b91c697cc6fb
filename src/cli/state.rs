//! `state`: what is remembered from run to run.

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

/// Shows what is remembered from run to run
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  trailship state ls -c trailship.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Ls(Ls),
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

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let Command::Ls(ls) = &args.command;
    io::stdout().lock().write_all(list(&ls.place.read()?, around)?.as_bytes())?;
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
    for space in store.spaces()? {
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
    Ok(table(&cursors, &others))
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
