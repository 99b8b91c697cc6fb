//! `run`: the pipelines of a configuration, until their sources end or somebody stops them.

mod closing;
mod dry;
mod reload;
mod service;
pub(super) mod signals;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use super::place::ConfigArgs;
use super::progress::Progress;
use super::text::{bytes, count};
use super::{Outcome, Surroundings, VERSION};
use crate::config::{Resolved, SinkConfig, SourceConfig};
use crate::control;
use crate::pipeline::engine::{Engine, Options, Report, StartError, Stop};
use crate::pipeline::line::Pipeline;
use crate::pipeline::watched::Watched;
use crate::state::Store;
use service::Service;
use signals::Signal;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long the engine may take to give everything back after a second signal.
const AT_ONCE: Duration = Duration::from_millis(500);
/// Objects named at the end that could not be shipped; the others are counted.
const NAMED: usize = 10;

/// Runs the pipelines of a configuration
///
/// The first SIGTERM or SIGINT stops in order: what is in flight is written within `stop_deadline`, the rest is given
/// back to its source. A second one ends at once.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship run -c trailship.toml
  trailship run --once && echo 'everything was shipped'
  trailship run --dry-run                  what would happen, and what each rule saves")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ship what is there now, and end
    #[arg(long)]
    once: bool,
    /// Read what is there now and tell, by event name and account, what each rule would keep, leave out and save: nothing is
    /// shipped, no state and no rejects are written, nothing is settled
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let resolved = args.config.read()?;
    warn(&resolved, around);
    if args.dry_run {
        return dry::run(&resolved, around);
    }
    let began = around.clock.now();
    if !args.once {
        let (config, data_dir) = (&resolved.document.name, resolved.data_dir.display());
        tracing::info!(version = VERSION, %config, %data_dir, "starting");
    }
    let options = Options { once: args.once, ..Options::new(around.clock.clone()) };
    let (report, signal) = execute(&resolved, &options, "shipping", around)?;
    if !report.closed && (args.once || signal.is_some()) {
        closing::say(&report, &resolved, around.clock.now().since(began), &around.console);
    }
    for address in report.unsettled.iter().take(NAMED) {
        tracing::warn!("not shipped yet, it may still be growing: {address}");
    }
    if let Some(more) = report.unsettled.len().checked_sub(NAMED).filter(|more| *more > 0) {
        tracing::warn!(objects = more, "further objects were not shipped yet");
    }
    for error in &report.errors {
        tracing::error!("{error}");
    }
    Ok(outcome(&report, signal))
}

/// Shows the warnings of a configuration: drawn for a person, as log lines elsewhere.
fn warn(resolved: &Resolved, around: &Surroundings) {
    if around.console.is_terminal() {
        if !resolved.warnings.is_empty() {
            around.console.block(&resolved.warnings.render(around.console.has_colour()));
        }
        return;
    }
    for warning in resolved.warnings.list() {
        let (line, _) = resolved.document.place(warning.span.start);
        tracing::warn!(file = resolved.document.name, line, advice = warning.label, "{}", warning.message);
    }
}

/// Runs a configuration to its end, with progress. Returns also the signal that stopped it.
///
/// # Errors
/// It did not start.
pub(super) fn execute(
    resolved: &Resolved,
    options: &Options,
    what: &'static str,
    around: &Surroundings,
) -> anyhow::Result<(Report, Option<Signal>)> {
    let runtime = reactor(resolved)?;
    let _inside = runtime.enter();
    // Also one that comes while it starts, which may put in order what a crash left, is a stop in order; and whoever sees
    // the socket may stop it.
    let stop = Arc::new(watch::Sender::new(Stop::No));
    let signals = signals::watch(stop.clone()).context("listening to signals")?;
    let engine = start(resolved, options)?;
    // A run that goes on will be started again, perhaps without what it remembers.
    if let Some(text) = Store::passing(&resolved.data_dir).filter(|_| !options.once) {
        tracing::warn!("{text}");
    }
    // Nobody asks a dry run.
    let control = options.dry.is_none().then(|| {
        let control = control::server::serve(&resolved.data_dir, engine.replays().clone());
        // A run that cannot be asked ships all the same.
        control.inspect_err(|error| tracing::warn!("`replay` must wait for its end: {error}"))
    });
    let (pipelines, watched) = (engine.pipelines().to_vec(), Arc::new(engine.watched()));
    let bar = bar_is_welcome(resolved, options.once, around)
        .then(|| Progress::new(what, None, &around.console, &around.clock));
    let ended = runtime.block_on(async {
        let service = Service::start(resolved, &watched, signals.reload.clone()).await?;
        let progress = bar.map(|progress| tokio::spawn(show(progress, pipelines, watched.clone())));
        let mut now = stop.subscribe();
        let report = tokio::select! {
            report = Box::pin(engine.run(stop.subscribe())) => report,
            () = async {
                let _ = now.wait_for(|stop| *stop == Stop::Now).await;
                tokio::time::sleep(AT_ONCE).await;
            } => Report::default(),
        };
        if let Some(progress) = progress {
            progress.abort();
            let _ = progress.await;
        }
        drop(service);
        anyhow::Ok((report, signals.first()))
    });
    drop(control);
    // A thread that waits for standard input waits for ever.
    runtime.shutdown_background();
    ended
}

/// Starts the threads that wait: one where there are files alone, for two wake each other at every answer.
pub(super) fn reactor(resolved: &Resolved) -> anyhow::Result<tokio::runtime::Runtime> {
    let files = resolved.sources.iter().all(|source| matches!(source.config, SourceConfig::Files(_)))
        && resolved
            .sinks
            .iter()
            .all(|sink| matches!(sink.config, SinkConfig::File(_) | SinkConfig::Stdout(_)));
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(if files { 1 } else { 2 })
        .thread_name("reactor")
        .enable_all()
        .build();
    threads.context("starting the reactor")
}

/// Builds the engine.
pub(super) fn start(resolved: &Resolved, options: &Options) -> anyhow::Result<Engine> {
    Engine::build(resolved, options).map_err(|error| match error {
        StartError::Config(problems) => anyhow::Error::from(problems),
        error @ StartError::Start(_) => anyhow::Error::from(error),
    })
}

/// Whether progress disturbs nobody: not where records are printed to the same terminal, nor in the log of a service.
fn bar_is_welcome(resolved: &Resolved, once: bool, around: &Surroundings) -> bool {
    let prints = resolved.sinks.iter().any(|sink| matches!(sink.config, SinkConfig::Stdout(_)));
    let ends = |source: &SourceConfig| match source {
        SourceConfig::S3(s3) => s3.until.is_some(),
        SourceConfig::CloudwatchLogs(logs) => logs.until.is_some(),
        SourceConfig::EventHistory(history) => history.until.is_some(),
        _ => false,
    };
    let ends = once || resolved.sources.iter().any(|source| ends(&source.config));
    if around.console.is_terminal() { !(prints && io::stdout().is_terminal()) } else { ends }
}

/// Shows how far the pipelines are, until it is aborted.
async fn show(mut progress: Progress, pipelines: Vec<Arc<Pipeline>>, watched: Arc<Watched>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let (mut read, mut size, mut rejected) = (0, 0, 0);
        for totals in pipelines.iter().map(|pipeline| pipeline.totals()) {
            read += totals.books.read;
            size += totals.bytes;
            rejected += closing::rejected(&totals.books);
        }
        // A range of time has an end; otherwise nobody knows how much there is.
        let way = watched.way();
        if let Some((_, all)) = way {
            progress.of(all);
        }
        progress.at(way.map_or(size, |(done, _)| done), || {
            let far =
                way.map_or_else(String::new, |(done, all)| format!("{} % listed, ", done * 100 / all.max(1)));
            let refused =
                if rejected > 0 { format!(", {} rejected", count(rejected)) } else { String::new() };
            format!("{far}{} records, {}{refused}", count(read), bytes(size))
        });
    }
}

/// Says how a run ended.
pub(super) fn outcome(report: &Report, signal: Option<Signal>) -> Outcome {
    if !report.errors.is_empty() {
        return Outcome::Failed;
    }
    if report.closed {
        return Outcome::Done;
    }
    match signal {
        Some(_) if report.drained => Outcome::Done,
        Some(Signal::Interrupt) => Outcome::Interrupted,
        Some(Signal::Terminate) => Outcome::Terminated,
        None if !report.drained || !report.unsettled.is_empty() => Outcome::Failed,
        None if report.rejected() > 0 => Outcome::Rejected,
        None => Outcome::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::books::Books;
    use crate::pipeline::line::Totals;

    #[test]
    fn the_exit_code_says_how_it_ended() {
        let drained = || Report { drained: true, ..Report::default() };
        let refused = || {
            let books = Books { read: 1, rejected: 1, ..Books::default() };
            Report { pipelines: vec![("main".into(), Totals { books, ..Totals::default() })], ..drained() }
        };
        let (interrupt, terminate) = (Some(Signal::Interrupt), Some(Signal::Terminate));
        for (report, signal, expected) in [
            (drained(), None, 0),
            (drained(), terminate, 0),
            (Report::default(), terminate, 143),
            (Report::default(), interrupt, 130),
            (refused(), None, 3),
            (refused(), terminate, 0),
            (Report { unsettled: vec!["a".into()], ..refused() }, None, 1),
            (Report { errors: vec!["a".into()], ..drained() }, None, 1),
            (Report { closed: true, ..Report::default() }, None, 0),
        ] {
            assert_eq!(outcome(&report, signal).code(), expected, "{report:?} {signal:?}");
        }
    }
}
