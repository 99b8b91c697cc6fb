//! `check`: all problems of a configuration at once, or the order in which it works.

use std::fmt::Write as _;
use std::io::Write as _;

use super::place::ConfigArgs;
use super::{Outcome, Surroundings};
use crate::config::{Except, Pipeline, Resolved, SourceConfig, TransformConfig};
use crate::record::protect::Protection;
use crate::source::figures::LIST_PRICE;

/// Looks for mistakes in a configuration, and prints the order in which it works
///
/// All problems at once, each with its place and what to write instead. Variables and files that the configuration names are
/// looked at (secrets, certificates); no server is asked and nothing is changed.
#[derive(Clone, Debug, clap::Args)]
#[command(
    visible_alias = "validate",
    after_help = "\
Example:
  trailship check -c trailship.toml"
)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let resolved = args.config.read()?;
    if !resolved.warnings.is_empty() {
        around.console.block(&format!("{}\n", resolved.warnings.render(around.console.has_colour())));
    }
    std::io::stdout().lock().write_all(order(&resolved).as_bytes())?;
    Ok(Outcome::Done)
}

/// Writes what happens to a record, in the order it happens.
fn order(resolved: &Resolved) -> String {
    let mut out = String::new();
    for pipeline in &resolved.pipelines {
        let _ = writeln!(out, "pipeline {}", pipeline.name.value());
        steps(resolved, pipeline, &mut out);
        out.push('\n');
    }
    let globals = &resolved.globals;
    let _ = writeln!(out, "memory    {}", globals.memory.value());
    let _ = writeln!(out, "data_dir  {}", resolved.data_dir.display());
    out
}

fn steps(resolved: &Resolved, pipeline: &Pipeline, out: &mut String) {
    let mut row = |what: &str, name: &str, kind: &str, more: &str| {
        let line = format!("  {what:<10} {name:<16} {kind:<14} {more}");
        let _ = writeln!(out, "{}", line.trim_end());
    };
    for source in pipeline.sources.iter().filter_map(|source| resolved.sources.get(*source)) {
        row("source", source.name.value(), source.config.kind(), &about(&source.config));
    }
    row("protect", &protected(resolved), "", "");
    for transform in pipeline.transforms.iter().filter_map(|transform| resolved.transforms.get(*transform)) {
        row("transform", transform.name.value(), transform.config.kind(), "");
    }
    let steps = pipeline.transforms.iter().filter_map(|transform| resolved.transforms.get(*transform));
    if !steps.into_iter().any(|transform| matches!(transform.config, TransformConfig::Redact(_))) {
        row("transform", "(always)", "redact", "session tokens");
    }
    for end in &pipeline.sinks {
        let Some(sink) = resolved.sinks.get(end.sink) else { continue };
        let only = if sink.config.matching().is_some() { ", only what its `match` selects" } else { "" };
        row("sink", sink.name.value(), sink.config.kind(), &format!("shape {}{only}", end.shape));
    }
}

/// What reading costs, or where something is waited for, where that can be told.
fn about(source: &SourceConfig) -> String {
    let s3 = match source {
        SourceConfig::S3(s3) => s3,
        SourceConfig::Kinesis(kinesis) => return kinesis.plan(),
        SourceConfig::Firehose(endpoint) => return endpoint.to_string(),
        _ => return String::new(),
    };
    if s3.until.is_some() {
        return "one LIST for 1,000 objects".to_owned();
    }
    let (busy, quiet) = s3.lists_a_month();
    let dollars = |lists: f64| format!("{lists:.0} LISTs a month (${:.2})", lists * LIST_PRICE);
    let most = s3.max_list_per_hour.map(|most| f64::from(most.get()) * 24.0 * 30.0);
    let most = most.map(|most| format!("; at most {} in all", dollars(most))).unwrap_or_default();
    format!("{} for a busy account, region and kind, {} for a quiet one{most}", dollars(busy), dollars(quiet))
}

/// What no rule may thin, in words.
fn protected(resolved: &Resolved) -> String {
    let protect = &resolved.globals.protect;
    let (mut families, mut patterns, mut names) = (Vec::new(), 0, Vec::new());
    for except in &protect.except {
        match except {
            Except::Name(name) if Protection::by_name(name.value()).is_some() => {
                names.push(name.value().as_str())
            }
            Except::Name(name) => families.push(name.value().as_str()),
            Except::Pattern(_) => patterns += 1,
        }
    }
    let mut held: Vec<&str> = Protection::exceptions().filter(|name| !names.contains(name)).collect();
    held.push("signal families");
    let mut text = held.join(", ");
    if !families.is_empty() {
        let _ = write!(text, " (without {})", families.join(", "));
    }
    match protect.also.as_ref().map_or(0, |also| also.iter().count()) {
        0 => {}
        1 => text.push_str(", 1 pattern of yours"),
        more => _ = write!(text, ", {more} patterns of yours"),
    }
    match patterns {
        0 => {}
        1 => text.push_str(", except what 1 pattern selects"),
        more => _ = write!(text, ", except what {more} patterns select"),
    }
    text
}
