//! What is said at the end of a run: where every record went.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::console::Console;
use crate::cli::text::{bytes, count};
use crate::config::Resolved;
use crate::pipeline::books::{Books, SinkBooks};
use crate::pipeline::engine::Report;
use crate::pipeline::line::Totals;

/// Says it: a line for each pipeline, for people on a terminal, as log lines elsewhere.
pub(super) fn say(report: &Report, resolved: &Resolved, took: Duration, console: &Console) {
    for ((name, totals), pipeline) in report.pipelines.iter().zip(&resolved.pipelines) {
        let sinks = pipeline.sinks.iter().filter_map(|end| resolved.sinks.get(end.sink));
        let sinks: Vec<&str> = sinks.map(|sink| sink.name.value().as_str()).collect();
        if console.is_terminal() {
            console.line(&line(name, totals, &sinks, report.unsettled.len(), took));
            continue;
        }
        let books = &totals.books;
        tracing::info!(
            pipeline = name.as_str(),
            read = books.read,
            bytes = totals.bytes,
            added = books.added,
            filtered = books.filtered.saturating_sub(totals.left_out),
            left_out = totals.left_out,
            sampled = books.sampled,
            duplicate = books.duplicate,
            rolled_up = books.rolled_up,
            offered = books.offered,
            not_matched = books.sinks.iter().map(|page| page.not_matched).sum::<u64>(),
            delivered = books.sinks.iter().map(|page| page.delivered).sum::<u64>(),
            sinks = delivered(books, &sinks, ", "),
            rejected = rejected(books),
            failed = books.sinks.iter().map(|page| page.failed).sum::<u64>(),
            unrouted = books.unrouted,
            deliveries = totals.deliveries,
            unsettled = report.unsettled.len(),
            seconds = took.as_secs_f64(),
            "done"
        );
    }
}

/// Records refused, before the sinks and by them.
pub(super) fn rejected(books: &Books) -> u64 {
    books.rejected + books.sinks.iter().map(|page| page.rejected).sum::<u64>()
}

/// How many records each sink has.
fn delivered(books: &Books, sinks: &[&str], between: &str) -> String {
    let one = |(page, sink): (&SinkBooks, &&str)| format!("{} to {sink}", count(page.delivered));
    books.sinks.iter().zip(sinks).map(one).collect::<Vec<_>>().join(between)
}

fn line(name: &str, totals: &Totals, sinks: &[&str], unsettled: usize, took: Duration) -> String {
    let books = &totals.books;
    let mut line = format!(
        "{name}: {} records read ({}) in {:.1} s; delivered {}",
        count(books.read),
        bytes(totals.bytes),
        took.as_secs_f64(),
        if books.sinks.is_empty() { "0".to_owned() } else { delivered(books, sinks, ", ") },
    );
    for (number, what) in [
        (books.added, "added"),
        (books.sampled, "sampled"),
        (books.filtered.saturating_sub(totals.left_out), "filtered"),
        (totals.left_out, "left out (digests)"),
        (books.duplicate, "duplicate"),
        (books.rolled_up, "rolled up"),
        (books.unrouted, "unrouted"),
        (rejected(books), "rejected"),
        (books.sinks.iter().map(|page| page.failed).sum(), "failed"),
    ] {
        if number > 0 {
            let _ = write!(line, ", {} {what}", count(number));
        }
    }
    match unsettled {
        0 => {}
        1 => line.push_str("; 1 object unsettled"),
        more => _ = write!(line, "; {more} objects unsettled"),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_every_record_went() {
        let books = Books {
            read: 12_345,
            sampled: 10_000,
            filtered: 300,
            rejected: 40,
            offered: 2_005,
            sinks: vec![SinkBooks { delivered: 2_000, rejected: 5, ..SinkBooks::default() }],
            ..Books::default()
        };
        let totals = Totals { books, bytes: 64_000_000, left_out: 1, ..Totals::default() };
        assert_eq!(
            line("main", &totals, &["archive"], 2, Duration::from_millis(1_260)),
            "main: 12,345 records read (64.0 MB) in 1.3 s; delivered 2,000 to archive, 10,000 sampled, 299 filtered, 1 left out (digests), 45 rejected; 2 objects unsettled"
        );
    }
}
