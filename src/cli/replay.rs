//! `replay`: ships entries of rejects again, through a running `run` or, where none runs, alone.

mod range;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;

use super::place::ConfigArgs;
use super::rejects::pick::{Picks, Shelf};
use super::run::{reactor, signals, start};
use super::text::count;
use super::{Outcome, Surroundings};
use crate::config::Resolved;
use crate::control::{Line, MOST, Request, client};
use crate::pipeline::engine::{Options, Stop};
use crate::pipeline::replay::{self, Told};
use crate::telemetry::escaped;

/// Ships what was refused again, or a range of time of a source
///
/// Each entry goes through its pipeline's transforms as they are now, and only to the sink that refused it; to all, where it
/// was refused before any sink saw it. It is removed after the sinks have answered; what is refused again is in rejects
/// again. Doing it twice ships nothing twice. Works beside a `run`, which then does it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship replay 1768471200000000
  trailship replay --all --sink archive --since 1d
  trailship replay --source trail --from 2026-01-15T10:00:00Z --to 2026-01-15T12:00:00Z

Exit codes: 0 everything was shipped, 1 something could not be shipped and is there as before, 3 something was refused
again.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    picks: Picks,
    #[command(flatten)]
    range: range::Range,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let resolved = args.config.read()?;
    if let Some(source) = args.range.source() {
        return args.range.run(source, resolved, around);
    }
    let shelf = Shelf::of(&resolved.data_dir)?;
    let ids = args.picks.read(&shelf, around.clock.now())?;
    let mut tally = Tally::new(&ids, around);
    if ids.is_empty() {
        return Ok(tally.end());
    }
    let failed = if !beside(&resolved.data_dir, &ids, &mut tally)? {
        alone(&resolved, ids, &mut tally)?
    } else {
        false
    };
    let outcome = tally.end();
    Ok(if failed { Outcome::Failed } else { outcome })
}

/// Asks the `run` that has the data directory. `false`: there is none.
fn beside(data_dir: &Path, ids: &[u64], tally: &mut Tally<'_>) -> anyhow::Result<bool> {
    for (number, ids) in ids.chunks(MOST).enumerate() {
        let connected = client::connect(data_dir).context("asking the running `run`")?;
        let Some(stream) = connected else {
            anyhow::ensure!(number == 0, "the running `run` has ended");
            return Ok(false);
        };
        let request = Request::Replay { ids: ids.to_vec() };
        let take = |line| match line {
            Line::Entry(told) => {
                tally.told(&told);
                Ok(())
            }
            Line::Error(error) => Err(io::Error::other(error)),
            Line::End => Ok(()),
        };
        client::ask(&stream, &request, take).context("asking the running `run`")?;
    }
    Ok(true)
}

/// Takes the data directory and runs the pipelines on these entries. Returns whether something else failed.
fn alone(resolved: &Resolved, ids: Vec<u64>, tally: &mut Tally<'_>) -> anyhow::Result<bool> {
    let runtime = reactor(resolved)?;
    let _inside = runtime.enter();
    let clock = tally.around.clock.clone();
    let engine = start(resolved, &Options { once: true, replay: true, ..Options::new(clock) })?;
    let replays = engine.replays().clone();
    let report = runtime.block_on(async {
        let stop = Arc::new(watch::Sender::new(Stop::No));
        let _signals = signals::watch(stop.clone()).context("listening to signals")?;
        let running = tokio::spawn(engine.run(stop.subscribe()));
        let (told, mut heard) = unbounded_channel();
        let asked = tokio::spawn(replays.clone().replay(ids, told));
        let mut running = Box::pin(running);
        let stopped = loop {
            tokio::select! {
                biased;
                told = heard.recv() => match told {
                    Some(told) => tally.told(&told),
                    None => break None,
                },
                stopped = &mut running => break Some(stopped),
            }
        };
        replays.close();
        let ended = match stopped {
            Some(stopped) => stopped,
            None => running.await,
        };
        asked.abort();
        while let Ok(told) = heard.try_recv() {
            tally.told(&told);
        }
        anyhow::Ok(ended?)
    })?;
    runtime.shutdown_background();
    for error in &report.errors {
        tracing::error!("{error}");
    }
    Ok(!report.errors.is_empty() || !report.drained)
}

/// What became of the entries so far; each is said as it is heard of.
struct Tally<'a> {
    around: &'a Surroundings,
    left: BTreeSet<u64>,
    shipped: u64,
    records: u64,
    refused: u64,
    kept: u64,
}

impl Tally<'_> {
    fn new<'a>(ids: &[u64], around: &'a Surroundings) -> Tally<'a> {
        let left = ids.iter().copied().collect();
        Tally { around, left, shipped: 0, records: 0, refused: 0, kept: 0 }
    }

    fn told(&mut self, told: &Told) {
        self.left.remove(&told.id);
        match &told.outcome {
            replay::Outcome::Shipped { records } => {
                self.shipped += 1;
                self.records += records;
            }
            replay::Outcome::Refused { records, refused } => {
                self.records += records;
                self.refused += 1;
                self.around.console.line(&format!("{}: {} refused again", told.id, count(*refused)));
            }
            replay::Outcome::Kept { why } => {
                self.kept += 1;
                self.around.console.line(&escaped(&format!("{}: not shipped: {why}", told.id)));
            }
        }
    }

    fn end(self) -> Outcome {
        let kept = self.kept + self.left.len() as u64;
        let entries = if self.shipped == 1 { "entry" } else { "entries" };
        let mut line =
            format!("{} {entries} shipped again, {} records", count(self.shipped), count(self.records));
        for (number, what) in [(self.refused, "refused again"), (kept, "not shipped")] {
            if number > 0 {
                line.push_str(&format!(", {} {what}", count(number)));
            }
        }
        self.around.console.line(&line);
        match (kept, self.refused) {
            (0, 0) => Outcome::Done,
            (0, _) => Outcome::Rejected,
            _ => Outcome::Failed,
        }
    }
}
