//! `test`: runs the cases that presets and configurations carry.

mod suites;

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;

use super::place::ConfigArgs;
use super::style::Style;
use super::text::count;
use super::{Outcome, Surroundings};
use crate::pipeline::engine::StartError;
use crate::telemetry::{escaped, escaped_json};
use crate::testing::cases::{Case, Failure, Runner};
use suites::Suite;

/// Runs the cases that signal families and configurations carry
///
/// A case is an event and what must become of it: whether it is kept, the values it comes out with, its signals. It goes
/// through the chain of a run; nothing is read from sources and nothing is written. The cases of trailship.toml stand in
/// trailship.cases.toml or cases.toml beside it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship test                           the shipped families, and the configuration there is
  trailship test trailship.toml            the cases of a configuration
  trailship test detections/ -c siem.toml  every cases.toml and *.cases.toml below a directory

A case:
  [[case]]
  name = \"a secret that is read is tagged\"
  input = '{\"eventSource\": \"secretsmanager.amazonaws.com\", \"eventName\": \"GetSecretValue\"}'
  expect = { kept = true, signals = [\"secrets_read\"], fields = { awsRegion = { missing = true } } }

Ends with 1 where a case does not hold.")]
pub(super) struct Args {
    /// A file of cases, a directory with some below it, or a configuration [default: the shipped families, and the
    /// configuration that `run` would use]
    #[arg(value_name = "PATH")]
    paths: Vec<std::path::PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, _around: &Surroundings) -> anyhow::Result<Outcome> {
    let style = Style::of_stdout();
    let mut out = std::io::stdout().lock();
    let (mut cases, mut failed) = (0, 0);
    let suites = suites::find(&args.paths, &args.config)?;
    let mut groups: Vec<(Suite, Runner)> = Vec::new();
    for suite in suites {
        // Suites of one chain share its runner.
        let same = groups.iter().position(|(other, _)| other.chain == suite.chain);
        let at = match same {
            Some(at) => at,
            None => {
                let runner = runner(&suite)?;
                groups.push((Suite { cases: Vec::new(), ..suite.clone() }, runner));
                groups.len() - 1
            }
        };
        let mut text = String::new();
        let mut wrong = 0;
        for case in &suite.cases {
            if let Err(failure) = groups[at].1.run(case, suite.family.as_deref()) {
                wrong += 1;
                tell(case, &failure, style, &mut text);
            }
        }
        cases += suite.cases.len() as u64;
        failed += wrong;
        let verdict = if wrong == 0 { style.good("ok    ") } else { style.bad("FAILED") };
        let (name, all) = (escaped(&suite.name), count(suite.cases.len() as u64));
        writeln!(out, "{verdict} {name}: {all} cases, {}", escaped(&suite.through()))?;
        if !text.is_empty() {
            writeln!(out, "{text}")?;
        }
    }
    if failed == 0 {
        writeln!(out, "\n{} cases hold", count(cases))?;
        return Ok(Outcome::Done);
    }
    let verdict = style.bad(&format!("{} of {} cases do not hold", count(failed), count(cases)));
    writeln!(out, "\n{verdict}")?;
    Ok(Outcome::Failed)
}

fn runner(suite: &Suite) -> anyhow::Result<Runner> {
    let resolved = suite.resolved()?;
    Runner::new(&resolved, &suite.families()?)
        .map_err(|error| match error {
            StartError::Config(problems) => anyhow::Error::from(problems),
            error @ StartError::Start(_) => error.into(),
        })
        .with_context(|| format!("preparing {}", suite.name))
}

/// Tells a case that does not hold.
fn tell(case: &Case, failure: &Failure, style: Style, out: &mut String) {
    let name = style.heading(&escaped(&case.name));
    let _ = writeln!(out, "\n  {name}");
    if let Some(why) = &case.why {
        let _ = writeln!(out, "    why       {}", escaped(why));
    }
    let input: Vec<&str> = case.input.trim().lines().collect();
    let _ = writeln!(out, "    input     {}", escaped_json(&input.join(" ")));
    let _ = writeln!(out, "    expected  {}", escaped_json(&failure.expected.to_string()));
    let _ = writeln!(out, "    got       {}", escaped_json(&failure.got.to_string()));
    let _ = writeln!(out, "    differs   {}", style.bad(&escaped(&failure.differs)));
}
