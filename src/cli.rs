//! The command line: what the user typed ([`Args`]), the commands, and how each of them ended ([`Outcome`]).
//!
//! Data goes to standard output, everything else to standard error. What was typed is resolved once, in each command's
//! file; the commands return an [`Outcome`] or an error, and only [`main`] shows errors and only `main.rs` ends the process.

mod cat;
mod check;
mod completions;
mod console;
mod demo;
mod enqueue;
mod explain;
mod generate;
mod place;
mod progress;
mod rejects;
mod replay;
mod run;
mod savings;
mod state;
mod style;
mod test;
mod text;

use std::ffi::OsString;
use std::io;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use crate::clock::Clock;
use crate::config::Problems;
use crate::telemetry::{Format, Log, escaped};
use console::Console;
use place::NoConfiguration;

/// The version and the commit it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TRAILSHIP_COMMIT"), ")");

/// What the user typed, before anything is looked at.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "trailship",
    version = VERSION,
    about = "Ships AWS CloudTrail into the tools a security team already has",
    max_term_width = 100,
    after_help = "\
Examples:
  trailship demo                        see what it does; needs nothing else
  trailship cat trail/ --limit 10       look into files
  trailship check -c trailship.toml     look for mistakes in a configuration
  trailship run                         run ./trailship.toml, else /etc/trailship/trailship.toml

Exit codes: 0 done, 1 failed while running, 2 wrong usage, 3 done but something was rejected,
64 bad configuration, 130 and 143 stopped before everything in flight was written."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
struct LogArgs {
    /// What is logged, to standard error: this and everything graver
    #[arg(long, global = true, value_name = "LEVEL", value_enum, default_value_t)]
    log_level: Level,
    /// How log lines are written; auto: text on a terminal, JSON elsewhere
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Level {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    #[default]
    Auto,
    Text,
    Json,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Cat(cat::Args),
    Check(check::Args),
    Completions(completions::Completions),
    Demo(demo::Args),
    Enqueue(enqueue::Args),
    Explain(explain::Args),
    Generate(Box<generate::Args>),
    Man(completions::Man),
    Rejects(rejects::Args),
    Replay(replay::Args),
    Run(run::Args),
    State(state::Args),
    Test(test::Args),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; also a stop that drained, and when the reader of standard output left.
    Done,
    /// Failed while running.
    Failed,
    /// Wrong usage.
    Usage,
    /// Done, but something was rejected.
    Rejected,
    /// Bad configuration.
    Configuration,
    /// Stopped by SIGINT before everything in flight was written.
    Interrupted,
    /// Stopped by SIGTERM before everything in flight was written.
    Terminated,
}

impl Outcome {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Rejected => 3,
            Outcome::Configuration => 64,
            Outcome::Interrupted => 130,
            Outcome::Terminated => 143,
        }
    }
}

/// What every command is given.
struct Surroundings {
    console: Console,
    clock: Clock,
    log: Log,
}

/// Runs the command line, and shows what went wrong.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Outcome {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are answers, and go to standard output with 0.
            let _ = error.print();
            return if error.use_stderr() { Outcome::Usage } else { Outcome::Done };
        }
    };
    crate::state::quiet_damage();
    let clock = Clock::System;
    let console = Console::system();
    let format = match args.log.log_format {
        LogFormat::Auto if !console.is_terminal() => Format::Json,
        LogFormat::Auto | LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = Log::new(format, clock.clone(), console.out());
    log.install(args.log.log_level.filter());
    let around = Surroundings { console, clock, log };
    let outcome = match args.command {
        Command::Cat(args) => cat::run(&args, &around),
        Command::Check(args) => check::run(&args, &around),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
        Command::Demo(args) => demo::run(&args, &around),
        Command::Enqueue(args) => enqueue::run(&args, &around),
        Command::Explain(args) => explain::run(&args, &around),
        Command::Rejects(args) => rejects::run(&args, &around),
        Command::Replay(args) => replay::run(&args, &around),
        Command::Run(args) => run::run(&args, &around),
        Command::State(args) => state::run(&args, &around),
        Command::Test(args) => test::run(&args, &around),
        Command::Generate(args) => generate::run(&args, &around),
    };
    around.log.finish();
    outcome.unwrap_or_else(|error| failed(&error, &around.console))
}

/// Shows an error, as one chain, and says which outcome it is.
fn failed(error: &anyhow::Error, console: &Console) -> Outcome {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        console.block(&problems.render(console.has_colour()));
        return Outcome::Configuration;
    }
    if error.is::<NoConfiguration>() {
        console.line(&format!("error: {error}"));
        return Outcome::Configuration;
    }
    if error.is::<Wrong>() {
        console.line(&format!("error: {}", escaped(&error.to_string())));
        return Outcome::Usage;
    }
    let is_closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_closed) {
        return Outcome::Done;
    }
    console.line(&format!("error: {}", escaped(&format!("{error:#}"))));
    Outcome::Failed
}

/// A use of the command line that is wrong in a way its grammar does not show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Level::Off => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}
