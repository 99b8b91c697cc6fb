//! `demo`: generates a CloudTrail tree, does the main job on it, and shows what happened.
//!
//! The configuration it runs is written beside the tree, as a user would write it; what is shown is counted from the files
//! that went in and the files that came out.

mod table;
mod tally;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::progress::Progress;
use super::style::Style;
use super::text::{bytes, count};
use super::{Outcome, Surroundings, run, savings};
use crate::config;
use crate::generate::{self, Generator, Options, Packer, Profile};
use crate::pipeline::dry::Flow;
use crate::pipeline::engine;
use table::Facts;
use tally::Tally;

/// Of the read-only data events, one in this many is kept.
const KEEP_ONE_IN: u32 = 50;

/// JSON that is generated however long it takes, in bytes.
const ENOUGH: u64 = 2_000_000;
/// How long may be spent on generating more.
const LONGEST: Duration = Duration::from_secs(3);

/// Shows what it does, on a CloudTrail tree it makes itself: needs nothing else, and takes a few seconds
///
/// A trail of eight accounts is generated, tagged with account names and environments, searched for signals, thinned,
/// and written to files. Everything stays in one directory: the trail, the configuration, the output.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  trailship demo --keep demo && trailship cat demo/out --limit 3")]
pub(super) struct Args {
    /// Directory to work in, new or empty [default: a new one in the system's directory for temporary files]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// JSON to generate, before compression; less where that would take long
    #[arg(long, value_name = "SIZE", default_value = "64 MB", value_parser = super::generate::size)]
    bytes: u64,
    /// Names the tree
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let began = around.clock.now();
    let home = directory(args.keep.as_deref())?;
    let options = Options { seed: args.seed, bytes: args.bytes, rare: true, ..Options::new(Profile::Mixed) };
    let mut tally = Tally::default();

    let trail = generate(&home.join("trail"), &options, &mut tally, around)?;
    write(&home.join("accounts.csv"), &generate::accounts_csv(&options))?;
    let path = home.join("trailship.toml");
    let text = configuration(&home)?;
    write(&path, &text)?;

    let resolved = config::read_file(&path, &config::Surroundings::system())?;
    let started = around.clock.now();
    let whole = engine::Options { once: true, ..engine::Options::new(around.clock.clone()) };
    let (report, signal) = run::execute(&resolved, &whole, "shipping", around)?;
    let shipped_in = around.clock.now().since(started);
    if let Some(error) = report.errors.first() {
        bail!("{error}");
    }
    if signal.is_some() || !report.drained {
        return Ok(run::outcome(&report, signal));
    }
    tally.went_out(&home.join("out")).context("reading the output")?;

    let totals = report.pipelines.first().map(|(_, totals)| totals.clone()).unwrap_or_default();
    let facts = Facts {
        home: &home,
        options: &options,
        trail,
        totals: &totals,
        tally: &tally,
        shipped_in,
        took: around.clock.now().since(began),
        keep_one_in: KEEP_ONE_IN,
    };
    let text = table::write(&facts, &savings::price::shipped()?, Style::of_stdout());
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(run::outcome(&report, None))
}

/// Writes the tree and counts what is in it: as much as was asked for, or as can be made in a few seconds. Returns the files
/// and their bytes as stored.
fn generate(
    root: &Path,
    options: &Options,
    tally: &mut Tally,
    around: &Surroundings,
) -> anyhow::Result<Flow> {
    let began = around.clock.now();
    let mut progress = Progress::new("generating", Some(options.bytes), &around.console, &around.clock);
    let (mut generator, mut packer) = (Generator::new(options)?, Packer::new(options.level));
    let (mut trail, mut raw, mut folder) = (Flow::default(), 0, PathBuf::new());
    while let Some(object) = generator.next_object() {
        let path = root.join(object.key);
        let parent = path.parent().unwrap_or(root);
        if parent != folder {
            fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
            parent.clone_into(&mut folder);
        }
        let stored = packer.pack(&object);
        fs::write(&path, stored).with_context(|| format!("writing {}", path.display()))?;
        trail.add(stored.len());
        raw += object.body.len() as u64;
        tally.came_in(object.body);
        progress.at(raw, || format!("{} in {} files", bytes(raw), count(trail.events)));
        if raw >= ENOUGH && around.clock.now().since(began) >= LONGEST {
            break;
        }
    }
    Ok(trail)
}

/// Makes the directory to work in: a fresh one, which stays.
fn directory(wanted: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(wanted) = wanted else {
        let made = tempfile::Builder::new().prefix("trailship-demo-").tempdir();
        return Ok(made.context("making a directory for the demo: name one with --keep")?.keep());
    };
    fs::create_dir_all(wanted).with_context(|| format!("making {}", wanted.display()))?;
    let home = wanted.canonicalize().with_context(|| format!("finding {}", wanted.display()))?;
    let mut there = fs::read_dir(&home).with_context(|| format!("reading {}", home.display()))?;
    if there.next().is_some() {
        return Err(super::Wrong(format!("{} is not empty: name another directory", home.display())).into());
    }
    Ok(home)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Writes the configuration as a user would; only the paths are whole ones, so that it runs from anywhere.
fn configuration(home: &Path) -> anyhow::Result<String> {
    let quoted = |path: &str| -> anyhow::Result<String> {
        let path = home.join(path);
        let text = path
            .to_str()
            .with_context(|| format!("{} is not UTF-8: name another with --keep", path.display()))?;
        Ok(toml::Value::from(text).to_string())
    };
    Ok(format!(
        "\
# What `trailship demo` ran. Change something, remove state/ and out/, and run it again:
#   trailship run --once -c {file}

data_dir = {state}

[sources.trail]
type = \"files\"
path = {trail}

# Name, tags and organizational unit of each account.
[transforms.accounts]
type = \"account_tags\"
file = {accounts}
tags = [\"owner\"]

# Which accounts are production, and which are not.
[transforms.environment]
type = \"environment\"
default = \"unknown\"
[[transforms.environment.rules]]
set = \"prod\"
match = {{ tags = {{ env = [\"prod\", \"production\"] }} }}
[[transforms.environment.rules]]
set = \"sandbox\"
match = {{ name = [{{ wildcard = \"*sandbox*\" }}] }}
[[transforms.environment.rules]]
set = \"dev\"
match = {{ tags = {{ env = [\"dev\"] }} }}

# What a security team wants to see first.
[transforms.signals]
type = \"signals\"

# Reads of data, one in {KEEP_ONE_IN}: never an error, a write, a sign-in, a signal.
[transforms.thin]
type = \"sample\"
match = {{ eventCategory = [\"Data\"], readOnly = [true] }}
keep_one_in = {KEEP_ONE_IN}

# One level of keys: types stay stable in every index.
[transforms.flat]
type = \"flatten\"

[sinks.archive]
type = \"file\"
path = {out}
",
        file = home.join("trailship.toml").display(),
        state = quoted("state")?,
        trail = quoted("trail")?,
        accounts = quoted("accounts.csv")?,
        out = quoted("out/{environment}/{account}/{date}.ndjson.zst")?,
    ))
}
