//! `run --dry-run`: reads as a run would, and tells what would become of it.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::cli::savings::{self, Bill, cut, paragraph, price};
use crate::cli::style::Style;
use crate::cli::text::{bytes, count, percent};
use crate::cli::{Outcome, Surroundings};
use crate::config::Resolved;
use crate::pipeline::dry::{Change, Counted, Dry, Flow, Rule};
use crate::pipeline::engine::Options;
use crate::pipeline::line::Totals;
use crate::telemetry::escaped;

/// Runs dry, and writes the tables.
pub(super) fn run(resolved: &Resolved, around: &Surroundings) -> anyhow::Result<Outcome> {
    let dry = Dry::default();
    let options = Options { once: true, dry: Some(dry.clone()), ..Options::new(around.clock.clone()) };
    let (report, signal) = super::execute(resolved, &options, "reading", around)?;
    for error in &report.errors {
        tracing::error!("{error}");
    }
    for address in report.unsettled.iter().take(super::NAMED) {
        tracing::warn!("not read to its end, it may still be growing: {address}");
    }
    if !report.drained {
        return Ok(super::outcome(&report, signal));
    }
    let style = Style::of_stdout();
    let mut out = String::new();
    let name = escaped(&resolved.document.name);
    paragraph(
        &mut out,
        &format!(
            "A dry run of {name}: nothing was shipped, no state and no rejects were written. Every figure is an estimate of what a run would do with what is there now."
        ),
    );
    for (number, (counted, (name, totals))) in dry.counted().iter().zip(&report.pipelines).enumerate() {
        pipeline(resolved, number, name, totals, counted, style, &mut out)?;
    }
    std::io::stdout().lock().write_all(out.as_bytes())?;
    Ok(super::outcome(&report, signal))
}

fn pipeline(
    resolved: &Resolved,
    number: usize,
    name: &str,
    totals: &Totals,
    counted: &Counted,
    style: Style,
    out: &mut String,
) -> anyhow::Result<()> {
    let heading = format!("Pipeline {}", escaped(name));
    let _ = writeln!(out, "\n{}", style.heading(&heading));
    let total = Change::sum(counted.names.values());
    let books = &totals.books;
    let _ = writeln!(
        out,
        "{} events, {} in {} objects",
        count(total.came_in.events),
        bytes(total.came_in.bytes),
        count(totals.deliveries),
    );
    let ends = resolved.pipelines.get(number).map_or(&[][..], |pipeline| &pipeline.sinks);
    if let Some(first) = ends.first() {
        let sink = resolved.sinks.get(first.sink).map_or("", |sink| sink.name.value());
        let _ = writeln!(
            out,
            "in: as AWS wrote it; out: as sink {} would be written ({}), uncompressed",
            escaped(sink),
            first.shape
        );
    }
    if books.rejected > 0 {
        let _ = writeln!(out, "{}", style.bad(&format!("{} would be rejected", count(books.rejected))));
    }
    if total.came_in.events == 0 {
        let _ = writeln!(out, "there is nothing to read that was not shipped before");
        return Ok(());
    }
    savings::changes("Events by name", "names", &counted.names, style, out);
    savings::changes("Events by account", "accounts", &counted.accounts, style, out);
    rules(counted, style, out);
    sinks(resolved, number, totals, style, out);
    let saving = counted.rules.iter().filter(|rule| rule.left_out.events > 0);
    let saving: Vec<(String, Flow)> = saving.map(|rule| (rule.name.clone(), rule.left_out)).collect();
    let bill = Bill { total, kept_bytes: counted.kept_bytes, rules: &saving };
    savings::dollars(&bill, &price::shipped()?, style, out);
    Ok(())
}

/// What each transform would keep and leave out.
fn rules(counted: &Counted, style: Style, out: &mut String) {
    // The others only add and change.
    let leaves_out = |rule: &&Rule| matches!(rule.kind, "sample" | "filter") || rule.left_out.events > 0;
    let head = format!(
        "{:<22}{:>10}{:>10}{:>10}{:>10}{:>18}",
        "Rules", "seen", "protected", "kept", "left out", "saved (estimate)"
    );
    if !counted.rules.iter().any(|rule| leaves_out(&rule)) {
        return;
    }
    let _ = writeln!(out, "\n{}", style.heading(&head));
    for rule in counted.rules.iter().filter(leaves_out) {
        let name = cut(&format!("{} ({})", rule.name, rule.kind), 21);
        let share = percent(rule.left_out.bytes, rule.seen.bytes);
        let saved = format!("{} {share:>7}", bytes(rule.left_out.bytes));
        let _ = writeln!(
            out,
            "{name:<22}{:>10}{:>10}{:>10}{:>10}{saved:>18}",
            count(rule.seen.events),
            count(rule.protected.events),
            count(rule.seen.events - rule.left_out.events),
            count(rule.left_out.events),
        );
    }
}

/// What each sink would get.
fn sinks(resolved: &Resolved, number: usize, totals: &Totals, style: Style, out: &mut String) {
    let head = format!("{:<32}{:>10}{:>14}{:>14}", "Sinks", "offered", "not matched", "written");
    let _ = writeln!(out, "\n{}", style.heading(&head));
    let ends = resolved.pipelines.get(number).map_or(&[][..], |pipeline| &pipeline.sinks);
    for (end, page) in ends.iter().zip(&totals.books.sinks) {
        let name = resolved.sinks.get(end.sink).map_or("", |sink| sink.name.value());
        let _ = writeln!(
            out,
            "{:<32}{:>10}{:>14}{:>14}",
            cut(&format!("{name} ({})", end.shape), 31),
            count(totals.books.offered),
            count(page.not_matched),
            count(page.delivered),
        );
    }
}
