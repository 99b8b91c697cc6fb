//! `rejects ls`: one line an entry, as a table or as JSON.

use std::io::{self, IsTerminal as _, Write};

use serde_json::json;

use super::pick::{Filters, Shelf};
use crate::cli::text::{bytes, count};
use crate::cli::{Outcome, Surroundings};
use crate::pipeline::rejects::entry::Fault;
use crate::pipeline::rejects::shelf::Seen;
use crate::telemetry::{escaped, escaped_json};

/// Characters of a reason that a table shows.
const REASON: usize = 60;

pub(super) fn run(
    shelf: &Shelf,
    filters: &Filters,
    as_json: bool,
    around: &Surroundings,
) -> anyhow::Result<Outcome> {
    let now = around.clock.now();
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = io::BufWriter::new(stdout.lock());
    let (mut entries, mut size) = (0, 0);
    shelf.each(|seen| {
        if !filters.pass(&seen, now) {
            return Ok(());
        }
        if as_json {
            let line = json(&seen).to_string();
            let line = if terminal { escaped_json(&line).into_owned() } else { line };
            writeln!(out, "{line}")?;
        } else {
            if entries == 0 {
                writeln!(
                    out,
                    "{}",
                    row(&["id", "refused at", "pipeline", "stage", "items", "bytes", "reason"])
                )?;
            }
            writeln!(out, "{}", line(&seen))?;
        }
        entries += 1;
        size += seen.size;
        Ok(())
    })?;
    if !as_json {
        match entries {
            0 => writeln!(out, "no entries")?,
            1 => writeln!(out, "1 entry, {}", bytes(size))?,
            more => writeln!(out, "{} entries, {}", count(more), bytes(size))?,
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn row(cells: &[&str; 7]) -> String {
    let [id, at, pipeline, stage, items, bytes, reason] = cells;
    format!("{id:<17} {at:<20} {pipeline:<12} {stage:<16} {items:>6} {bytes:>8}  {reason}")
}

fn line(seen: &Seen) -> String {
    let id = seen.number.to_string();
    let at = seen.at.to_string();
    let size = bytes(seen.size);
    let Some(manifest) = &seen.manifest else {
        let why = seen.fault.as_ref().map(ToString::to_string).unwrap_or_default();
        return row(&[&id, &at, "?", "?", "?", &size, &escaped(&why)]);
    };
    let stage = match &manifest.sink {
        Some(sink) => format!("{} {sink}", manifest.stage),
        None => manifest.stage.clone(),
    };
    let first = manifest.items.first().map(|item| item.reason.as_str()).unwrap_or_default();
    let mut reason: String = escaped(first).chars().take(REASON).collect();
    if manifest.items.iter().any(|item| item.reason != first) {
        reason.push_str(", and others");
    }
    let state = match &seen.fault {
        Some(Fault::Torn(_)) => "TORN: ",
        Some(Fault::Forged(_)) => "FORGED: ",
        None if seen.claimed => "being shipped again: ",
        None => "",
    };
    let (pipeline, items) = (escaped(&manifest.pipeline), count(manifest.items.len() as u64));
    row(&[&id, &at, &pipeline, &escaped(&stage), &items, &size, &format!("{state}{reason}")])
}

fn json(seen: &Seen) -> serde_json::Value {
    let state = match &seen.fault {
        Some(Fault::Torn(_)) => "torn",
        Some(Fault::Forged(_)) => "forged",
        None if seen.claimed => "replaying",
        None => "whole",
    };
    let mut line = json!({
        "id": seen.number, "state": state, "at": seen.at.to_string(), "size": seen.size,
    });
    if let Some(fault) = &seen.fault {
        line["why"] = fault.to_string().into();
    }
    if let Some(manifest) = &seen.manifest {
        line["pipeline"] = manifest.pipeline.as_str().into();
        line["stage"] = manifest.stage.as_str().into();
        line["sink"] = manifest.sink.as_deref().into();
        line["object"] = manifest.object.as_str().into();
        line["items"] = manifest.items.len().into();
        let mut reasons: Vec<&str> = manifest.items.iter().map(|item| item.reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons.truncate(20);
        line["reasons"] = reasons.into();
    }
    line
}
