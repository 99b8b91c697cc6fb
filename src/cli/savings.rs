//! What rules save, as tables: events in and out, and dollars. For `demo` and for dry runs; plain text, 80 columns.

pub(super) mod price;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::style::Style;
use super::text::{bytes, count, percent};
use crate::pipeline::dry::{Change, Flow};
use crate::telemetry::escaped;
use price::Price;

/// Names that have a line of their own.
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

/// Writes a table of what came in and went out, the largest first. `what`: of what there are others.
pub(super) fn changes(
    heading: &str,
    what: &str,
    changes: &BTreeMap<String, Change>,
    style: Style,
    out: &mut String,
) {
    let head = format!("{heading:<34}{:>18}{:>18}{:>9}", "in", "out", "kept");
    let _ = writeln!(out, "\n{}", style.heading(&head));
    let mut row = |name: &str, change: Change| {
        let name = cut(name, 32);
        let flow = |flow: Flow| format!("{:>8}{:>10}", count(flow.events), bytes(flow.bytes));
        let kept = percent(change.went_out.events, change.came_in.events);
        let _ = writeln!(out, "{name:<34}{}{}{kept:>9}", flow(change.came_in), flow(change.went_out));
    };
    let mut names: Vec<(&String, &Change)> = changes.iter().collect();
    names.sort_by_key(|(name, change)| (std::cmp::Reverse(change.came_in.bytes), *name));
    let (shown, rest) = names.split_at(names.len().min(NAMES));
    for (name, change) in shown {
        row(name, **change);
    }
    if !rest.is_empty() {
        let sum = Change::sum(rest.iter().map(|(_, change)| *change));
        row(&format!("{} other {what}", count(rest.len() as u64)), sum);
    }
    row("all", Change::sum(changes.values()));
}

/// What dollars are estimated from.
pub(super) struct Bill<'b> {
    /// Everything that came in and went out.
    pub(super) total: Change,
    /// Bytes that the shipped events had when they came in.
    pub(super) kept_bytes: u64,
    /// What single rules left out, as AWS wrote it.
    pub(super) rules: &'b [(String, Flow)],
}

/// Writes a table of dollars; every figure says that it is an estimate.
pub(super) fn dollars(bill: &Bill<'_>, prices: &[Price], style: Style, out: &mut String) {
    let Change { came_in, went_out } = bill.total;
    if came_in.bytes == 0 || bill.kept_bytes == 0 {
        return;
    }
    // Events and gigabytes for each GIGABYTES that came in: with everything written as what was kept is, and as it was.
    // Counts like these are far below where a float loses digits.
    let scale = GIGABYTES * 1e9 / came_in.bytes as f64;
    let growth = went_out.bytes as f64 / bill.kept_bytes as f64;
    let unthinned = (came_in.events as f64 * scale, GIGABYTES * growth);
    let thinned = (went_out.events as f64 * scale, went_out.bytes as f64 * scale / 1e9);
    let heading = "In dollars, for each TB of such a trail (every figure is an estimate)";
    let _ = writeln!(out, "\n{}", style.heading(heading));
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
        // One rule is the whole of it.
        for (rule, left_out) in bill.rules.iter().filter(|_| bill.rules.len() > 1) {
            let saved =
                price.of(left_out.events as f64 * scale, left_out.bytes as f64 * scale * growth / 1e9);
            let _ = writeln!(out, "  by {:<58}{:>8} estimate", cut(rule, 57), dollar(saved));
        }
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

/// Whole dollars, with thousands separators.
fn dollar(amount: f64) -> String {
    let (sign, amount) = if amount < -0.5 { ("-", -amount) } else { ("", amount) };
    // Written as text first: there is no float too large for that.
    let whole = format!("{:.0}", amount.max(0.0));
    format!("{sign}${}", whole.parse().map_or(whole, count))
}

/// Makes text fit.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text = escaped(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Writes words on as many lines as they need.
pub(super) fn paragraph(out: &mut String, text: &str) {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    wrap(out, "", &words, " ");
}

/// Writes pieces behind a start, on as many lines as they need; the lines below begin where the first piece does.
pub(super) fn wrap(out: &mut String, start: &str, pieces: &[String], between: &str) {
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
