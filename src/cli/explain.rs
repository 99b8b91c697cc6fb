//! `explain`: what every step decides for one event, and why.

mod find;
mod show;

use std::io::Write as _;

use anyhow::bail;

use super::place::ConfigArgs;
use super::style::Style;
use super::{Outcome, Surroundings};
use crate::config::{self, Except, Resolved};
use crate::pattern::family;
use crate::pipeline::chain::{Chain, default_configuration};
use crate::pipeline::engine::StartError;
use crate::pipeline::explain::Explanation;
use show::Shown;

/// Shows what every step decides for one event, and why
///
/// What it was recognised as, whether it is protected and by which rule, what each transform decides and which rule is
/// behind it, and the bytes every sink would receive. Nothing is shipped and nothing is written.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship explain event.json -c trailship.toml
  trailship explain trail/ --id 3f2a9b1c-0000-4000-8000-000000000001
  trailship cat trail/ --match '{\"eventName\": [\"GetObject\"]}' --limit 1 | trailship explain -")]
pub(super) struct Args {
    /// The event: a file that holds one, or - for standard input; with --id also a file of many, a directory or a glob
    #[arg(value_name = "EVENT")]
    event: String,
    /// The event with this id: `eventID`, or a record id
    #[arg(long, value_name = "EVENTID")]
    id: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, _around: &Surroundings) -> anyhow::Result<Outcome> {
    let resolved = match args.config.find() {
        Some(path) => config::read_file(&path, &config::Surroundings::system())?,
        None => default_configuration()?,
    };
    let found = find::event(&args.event, args.id.as_deref())?;
    let families = family::shipped()?;
    let mut chains = Chain::with(&resolved, &families).map_err(|error| match error {
        StartError::Config(problems) => anyhow::Error::from(problems),
        error @ StartError::Start(_) => error.into(),
    })?;
    let (also, except) = protect(&resolved);
    let mut explained = Vec::new();
    for chain in &mut chains {
        match Explanation::of(chain, &found.text, &found.place, &families, [&also, &except]) {
            Ok(explanation) => explained.push(explanation),
            Err(scan) => bail!("the record cannot be read again: {scan:?}"),
        }
    }
    let configuration = args.config.find().map(|_| resolved.document.name.as_str());
    let shown =
        Shown { found: &found, configuration, resolved: &resolved, chains: &chains, explained: &explained };
    let text = if args.json { format!("{:#}\n", shown.json()) } else { shown.text(Style::of_stdout()) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

/// The patterns of `[protect]`, `also` and `except`, as JSON.
fn protect(resolved: &Resolved) -> (Vec<String>, Vec<String>) {
    let protect = &resolved.globals.protect;
    let also = protect.also.iter().flat_map(|patterns| patterns.iter());
    let except = protect.except.iter().filter_map(|except| match except {
        Except::Pattern(pattern) => Some(pattern.value().to_string()),
        Except::Name(_) => None,
    });
    (also.map(|pattern| pattern.value().to_string()).collect(), except.collect())
}
