//! What the demo shows at its end: plain text, 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::tally::Tally;
use crate::cli::savings::price::Price;
use crate::cli::savings::{self, Bill, cut, paragraph, wrap};
use crate::cli::style::Style;
use crate::cli::text::{bytes, count, percent};
use crate::generate::Options;
use crate::pipeline::dry::Flow;
use crate::pipeline::line::Totals;
use crate::telemetry::escaped;

/// What is shown.
pub(super) struct Facts<'f> {
    /// The directory everything is in.
    pub(super) home: &'f Path,
    /// What was generated.
    pub(super) options: &'f Options,
    /// Files that were generated, and their bytes as stored.
    pub(super) trail: Flow,
    /// The pipeline's books.
    pub(super) totals: &'f Totals,
    /// What was read from the files of both ends.
    pub(super) tally: &'f Tally,
    /// How long the pipeline took.
    pub(super) shipped_in: Duration,
    /// How long everything took.
    pub(super) took: Duration,
    /// The sampling rule's rate.
    pub(super) keep_one_in: u32,
}

/// Writes it.
pub(super) fn write(facts: &Facts<'_>, prices: &[Price], style: Style) -> String {
    let mut out = String::new();
    opening(facts, &mut out);
    savings::changes("Events by name", "names", &facts.tally.names, style, &mut out);
    environments(facts.tally, &mut out);
    sampling(facts, style, &mut out);
    signals(&facts.tally.signals, style, &mut out);
    let bill = Bill { total: facts.tally.total(), kept_bytes: facts.tally.kept_bytes, rules: &[] };
    savings::dollars(&bill, prices, style, &mut out);
    places(facts, style, &mut out);
    out
}

fn opening(facts: &Facts<'_>, out: &mut String) {
    let Facts { options, trail, totals, shipped_in, took, .. } = facts;
    let _ = writeln!(
        out,
        "A generated trail of {} accounts in {} regions: {} files, {}, {} stored.",
        options.accounts,
        options.regions,
        count(trail.events),
        bytes(totals.bytes),
        bytes(trail.bytes),
    );
    let speed = totals.bytes as f64 / 1e6 / shipped_in.as_secs_f64().max(0.001);
    let _ = writeln!(
        out,
        "Read, tagged, searched, thinned and written in {:.1} s ({speed:.0} MB/s); {:.1} s in all.",
        shipped_in.as_secs_f64(),
        took.as_secs_f64(),
    );
    let _ = writeln!(out, "in: as AWS wrote it; out: one level of keys, with account and signals added.");
}

fn environments(tally: &Tally, out: &mut String) {
    let environments: Vec<String> = tally
        .environments
        .iter()
        .map(|(name, events)| format!("{} {}", escaped(name), count(*events)))
        .collect();
    wrap(out, "Out by environment: ", &environments, ", ");
}

fn sampling(facts: &Facts<'_>, style: Style, out: &mut String) {
    let Facts { totals, tally, keep_one_in, .. } = facts;
    let total = tally.total();
    let saved = total.came_in.bytes.saturating_sub(tally.kept_bytes);
    let _ = writeln!(out, "\n{}", style.heading("Sampling"));
    paragraph(
        out,
        &format!(
            "Saved {} of {} events ({}), which were {} of {} as AWS wrote them ({}): reads of data, of which one \
             in {keep_one_in} was kept, with its rate written on it. Errors, writes, sign-ins, root and every signal \
             below were protected and are all there.",
            count(totals.books.sampled),
            count(total.came_in.events),
            percent(totals.books.sampled, total.came_in.events),
            bytes(saved),
            bytes(total.came_in.bytes),
            percent(saved, total.came_in.bytes),
        ),
    );
}

fn signals(signals: &BTreeMap<String, BTreeMap<String, u64>>, style: Style, out: &mut String) {
    let _ =
        writeln!(out, "\n{}", style.heading(&format!("{:<26}{:>8}  {}", "Signals", "events", "accounts")));
    // A finer name repeats its family's events.
    for (signal, accounts) in signals.iter().filter(|(signal, _)| !signal.contains('.')) {
        let mut accounts: Vec<(&String, &u64)> = accounts.iter().collect();
        accounts.sort_by_key(|(name, events)| (std::cmp::Reverse(**events), *name));
        let all: u64 = accounts.iter().map(|(_, events)| **events).sum();
        let listed: Vec<String> =
            accounts.iter().map(|(name, events)| format!("{} {}", escaped(name), count(**events))).collect();
        let start = format!("{:<26}{:>8}  ", cut(signal, 25), count(all));
        wrap(out, &start, &listed, ", ");
    }
    if signals.is_empty() {
        let _ = writeln!(out, "none");
    }
}

fn places(facts: &Facts<'_>, style: Style, out: &mut String) {
    let Facts { home, tally, .. } = facts;
    let _ = writeln!(out, "\n{}", style.heading("Where it is"));
    let home = escaped(&home.display().to_string()).into_owned();
    let _ = writeln!(
        out,
        "output   {home}/out ({} files, {})",
        count(tally.files.events),
        bytes(tally.files.bytes)
    );
    let _ = writeln!(out, "input    {home}/trail");
    let _ = writeln!(out, "config   {home}/trailship.toml");
    let _ = writeln!(out, "look     trailship cat {home}/out --limit 3");
}
