//! `rejects`: what was refused, and why. Plain files, looked at and removed also beside a running `run`.

mod ls;
mod mask;
pub(super) mod pick;
mod show;

use clap::Subcommand;

use super::place::DataDirArgs;
use super::text::count;
use super::{Outcome, Surroundings};
use crate::pipeline::rejects::shelf;
use pick::{Filters, Picks, Shelf};

/// Shows what was refused and why, and removes it
///
/// Works beside a `run`. `trailship replay` ships entries again.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship rejects ls
  trailship rejects ls --sink archive --since 1h --json
  trailship rejects show 1768471200000000
  trailship rejects rm --all --reason 'too old'")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Ls(Ls),
    Show(Show),
    Rm(Rm),
}

/// Lists entries: who refused what, and why
///
/// An entry that was not written with this data directory's key, or was changed since, is FORGED; one that is not whole
/// is TORN: neither is ever shipped again.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship rejects ls
  trailship rejects ls --stage decode --since 7d
  trailship rejects ls --json | jq .reasons")]
struct Ls {
    #[command(flatten)]
    place: DataDirArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filters: Filters,
}

/// Shows one entry with its bytes
///
/// Bytes are escaped, and session tokens masked, as are long runs of base64 in damaged ranges.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  trailship rejects show 1768471200000000")]
struct Show {
    /// Which entry, by the id that `rejects ls` shows
    id: u64,
    #[command(flatten)]
    place: DataDirArgs,
    /// Everything, however long
    #[arg(long)]
    full: bool,
}

/// Removes entries for good
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship rejects rm 1768471200000000
  trailship rejects rm --all --pipeline siem --reason 'too old'")]
struct Rm {
    #[command(flatten)]
    place: DataDirArgs,
    #[command(flatten)]
    picks: Picks,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::Ls(args) => ls::run(&Shelf::of(&args.place.read()?)?, &args.filters, args.json, around),
        Command::Show(args) => show::run(&Shelf::of(&args.place.read()?)?, args.id, args.full),
        Command::Rm(args) => remove(args, around),
    }
}

fn remove(args: &Rm, around: &Surroundings) -> anyhow::Result<Outcome> {
    let shelf = Shelf::of(&args.place.read()?)?;
    let (mut removed, mut outcome) = (0, Outcome::Done);
    for number in args.picks.read(&shelf, around.clock.now())? {
        if shelf::remove(&shelf.folder, number)? {
            removed += 1;
            continue;
        }
        outcome = Outcome::Failed;
        let is_claimed = shelf.folder.join(shelf::claimed(number)).exists();
        let why = if is_claimed { "is being shipped again: nothing was removed" } else { "is not there" };
        around.console.line(&format!("{number} {why}"));
    }
    let entries = if removed == 1 { "entry was" } else { "entries were" };
    around.console.line(&format!("{} {entries} removed", count(removed)));
    Ok(outcome)
}
