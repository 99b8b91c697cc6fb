//! What the demo shows at its end: plain text, 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::price::Price;
use super::tally::{Change, Flow, Tally};
use crate::cli::text::{bytes, count, percent};
use crate::generate::Options;
use crate::pipeline::line::Totals;
use crate::telemetry::escaped;

/// Event names that have a line of their own.
const NAMES: usize = 15;
/// Columns.
const WIDTH: usize = 80;
/// What dollars are shown for: so many decimal gigabytes of events as AWS wrote them.
const GIGABYTES: f64 = 1000.0;

/// Where events may go, by the id of its price, and what it is called here.
pub(super) const DESTINATIONS: [(&str, &str); 5] = [
    ("splunk_cloud_ingest", "Splunk Cloud, ingest"),
    ("sentinel_ingest", "Microsoft Sentinel, analytics"),
    ("datadog_ingest", "Datadog Logs, ingest"),
    ("datadog_index", "Datadog Logs, 15 days of index"),
    ("opensearch_storage", "OpenSearch Service, gp3, a month"),
];

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

/// How it looks.
pub(super) struct Style {
    /// Whether headings are bold.
    pub(super) bold: bool,
}

impl Style {
    fn heading(&self, out: &mut String, text: &str) {
        let _ =
            if self.bold { writeln!(out, "\n\u{1b}[1m{text}\u{1b}[0m") } else { writeln!(out, "\n{text}") };
    }
}

/// Writes it.
pub(super) fn write(facts: &Facts<'_>, prices: &[Price], style: &Style) -> String {
    let mut out = String::new();
    opening(facts, &mut out);
    events(facts.tally, style, &mut out);
    sampling(facts, style, &mut out);
    signals(&facts.tally.signals, style, &mut out);
    dollars(facts.tally, prices, style, &mut out);
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

fn events(tally: &Tally, style: &Style, out: &mut String) {
    let head = format!("{:<34}{:>18}{:>18}{:>9}", "Events by name", "in", "out", "kept");
    style.heading(out, &head);
    let mut row = |name: &str, change: Change| {
        let name = cut(name, 32);
        let flow = |flow: Flow| format!("{:>8}{:>10}", count(flow.events), bytes(flow.bytes));
        let kept = percent(change.went_out.events, change.came_in.events);
        let _ = writeln!(out, "{name:<34}{}{}{kept:>9}", flow(change.came_in), flow(change.went_out));
    };
    let mut names: Vec<(&String, &Change)> = tally.names.iter().collect();
    names.sort_by_key(|(name, change)| (std::cmp::Reverse(change.came_in.bytes), *name));
    let (shown, rest) = names.split_at(names.len().min(NAMES));
    for (name, change) in shown {
        row(name, **change);
    }
    if !rest.is_empty() {
        let sum = rest.iter().fold(Change::default(), |sum, (_, one)| Change {
            came_in: sum.came_in.with(one.came_in),
            went_out: sum.went_out.with(one.went_out),
        });
        row(&format!("{} other names", count(rest.len() as u64)), sum);
    }
    row("all", tally.total());
    let environments: Vec<String> = tally
        .environments
        .iter()
        .map(|(name, events)| format!("{} {}", escaped(name), count(*events)))
        .collect();
    wrap(out, "Out by environment: ", &environments, ", ");
}

fn sampling(facts: &Facts<'_>, style: &Style, out: &mut String) {
    let Facts { totals, tally, keep_one_in, .. } = facts;
    let total = tally.total();
    let saved = total.came_in.bytes.saturating_sub(tally.kept_bytes);
    style.heading(out, "Sampling");
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

fn signals(signals: &BTreeMap<String, BTreeMap<String, u64>>, style: &Style, out: &mut String) {
    style.heading(out, &format!("{:<26}{:>8}  {}", "Signals", "events", "accounts"));
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

fn dollars(tally: &Tally, prices: &[Price], style: &Style, out: &mut String) {
    let Change { came_in, went_out } = tally.total();
    if came_in.bytes == 0 || tally.kept_bytes == 0 {
        return;
    }
    // Events and gigabytes for each GIGABYTES that came in: with everything written as what was kept is, and as it was.
    // The counts of a demo are far below where a float loses digits.
    let scale = GIGABYTES * 1e9 / came_in.bytes as f64;
    let growth = went_out.bytes as f64 / tally.kept_bytes as f64;
    let unthinned = (came_in.events as f64 * scale, GIGABYTES * growth);
    let thinned = (went_out.events as f64 * scale, went_out.bytes as f64 * scale / 1e9);
    style.heading(out, "In dollars, for each TB of such a trail (every figure is an estimate)");
    let _ = writeln!(
        out,
        "{:<33}{:>10}{:>11}{:>9}{:>8}",
        "where it goes", "price", "unthinned", "thinned", "saved"
    );
    let listed: Vec<(&str, &Price)> = DESTINATIONS
        .iter()
        .filter_map(|(id, name)| Some((*name, prices.iter().find(|price| price.id == *id)?)))
        .collect();
    for (name, price) in &listed {
        let (before, after) = (price.of(unthinned.0, unthinned.1), price.of(thinned.0, thinned.1));
        let _ = writeln!(
            out,
            "{name:<33}{:>10}{:>11}{:>9}{:>8} estimate",
            format!("${:.2}/{}", price.amount, if price.unit == "event" { "M" } else { "GB" }),
            dollar(before),
            dollar(after),
            dollar(before - after),
        );
    }
    let _ =
        writeln!(out, "\nList prices in US dollars, before discounts, subject to change; estimates from:");
    for (name, price) in &listed {
        let range = match (price.low, price.high) {
            (Some(low), Some(high)) => format!(", ${low:.2} to ${high:.2}"),
            (None, Some(high)) => format!(", up to ${high:.2}"),
            (Some(low), None) => format!(", from ${low:.2}"),
            (None, None) => String::new(),
        };
        let _ = writeln!(out, "  {name} (read {}{range})\n    {}", price.retrieved_on, price.source);
    }
}

fn places(facts: &Facts<'_>, style: &Style, out: &mut String) {
    let Facts { home, tally, .. } = facts;
    style.heading(out, "Where it is");
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

/// Whole dollars, with thousands separators.
fn dollar(amount: f64) -> String {
    let (sign, amount) = if amount < -0.5 { ("-", -amount) } else { ("", amount) };
    // Written as text first: there is no float too large for that.
    let whole = format!("{:.0}", amount.max(0.0));
    format!("{sign}${}", whole.parse().map_or(whole, count))
}

/// Makes text fit.
fn cut(text: &str, width: usize) -> String {
    let text = escaped(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn paragraph(out: &mut String, text: &str) {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    wrap(out, "", &words, " ");
}

/// Writes pieces behind a start, on as many lines as they need; the lines below begin where the first piece does.
fn wrap(out: &mut String, start: &str, pieces: &[String], between: &str) {
    let indent = start.chars().count().min(WIDTH / 2);
    let mut line = start.to_owned();
    let mut length = line.chars().count();
    for (position, piece) in pieces.iter().enumerate() {
        let last = position + 1 == pieces.len();
        let piece = if last { piece.clone() } else { format!("{piece}{}", between.trim_end()) };
        let gap = usize::from(position > 0);
        if position > 0 && length + gap + piece.chars().count() > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(indent);
            length = indent;
        } else if gap > 0 {
            line.push(' ');
            length += 1;
        }
        length += piece.chars().count();
        line.push_str(&piece);
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_wrapped_below_their_first_piece() {
        let pieces: Vec<String> = (0..20).map(|number| format!("account-{number} 1")).collect();
        let mut out = String::new();
        wrap(&mut out, "signal            20  ", &pieces, ", ");
        assert!(out.lines().all(|line| line.len() <= WIDTH), "{out}");
        assert!(out.lines().skip(1).all(|line| line.starts_with(&" ".repeat(22))), "{out}");
        assert_eq!(out.matches("account-").count(), 20);
        assert_eq!(out.matches(", ").count() + out.matches(",\n").count(), 19);
    }

    #[test]
    fn dollars_are_whole_and_have_separators() {
        assert_eq!(
            [0.0, 0.4, 1234.5, -20.0, 1e30].map(dollar),
            ["$0", "$0", "$1,234", "-$20", "$1000000000000000019884624838656"]
        );
    }
}
