//! `rejects show`: one entry, its manifest and its bytes.

use std::io::{self, Write as _};

use super::mask;
use super::pick::Shelf;
use crate::cli::Outcome;
use crate::cli::text::{bytes, count};
use crate::pipeline::rejects::shelf;
use crate::telemetry::escaped;

/// Bytes of one item that are held to be shown.
const HELD: usize = 32 << 20;
/// Characters of one item that are shown without `--full`.
const SHOWN: usize = 4096;
/// Items that are shown without `--full`.
const ITEMS: usize = 20;

pub(super) fn run(shelf: &Shelf, number: u64, full: bool) -> anyhow::Result<Outcome> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut held = 0;
    let mut take = |item: usize, bytes: &[u8]| {
        if item < ITEMS || full {
            pieces.resize(pieces.len().max(item + 1), Vec::new());
            let bytes = &bytes[..bytes.len().min(HELD.saturating_sub(held))];
            held += bytes.len();
            pieces[item].extend_from_slice(bytes);
        }
        Ok(())
    };
    let is_claimed = shelf::numbers(&shelf.folder)?.into_iter().find(|(other, _)| *other == number);
    let seen = match is_claimed {
        Some(entry) => shelf::look(&shelf.folder, entry, shelf.key.as_ref(), &mut take)?,
        None => None,
    };
    let Some(seen) = seen else {
        anyhow::bail!("there is no entry {number} in {}: see `trailship rejects ls`", shelf.folder.display());
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let state = match &seen.fault {
        Some(fault) => escaped(&format!("{fault}: it is never shipped again")).into_owned(),
        None if seen.claimed => "whole, is being shipped again".to_owned(),
        None => "whole".to_owned(),
    };
    writeln!(
        out,
        "id        {}\nstate     {state}\nat        {}\nsize      {}",
        seen.number,
        seen.at,
        bytes(seen.size)
    )?;
    if let Some(manifest) = &seen.manifest {
        let sink = manifest.sink.as_deref().unwrap_or("–");
        for (name, text) in [
            ("pipeline", manifest.pipeline.as_str()),
            ("stage", &manifest.stage),
            ("sink", sink),
            ("object", &manifest.object),
        ] {
            writeln!(out, "{name:<9} {}", escaped(text))?;
        }
        for (number, item) in manifest.items.iter().enumerate().take(if full { usize::MAX } else { ITEMS }) {
            let what = match item.record {
                Some(record) => format!("record {record}"),
                None => "damaged range".to_owned(),
            };
            let mut marks = String::new();
            if item.continues {
                marks.push_str(", goes on in the next");
            }
            if item.token_removed {
                marks.push_str(", its session token was taken out");
            }
            let (of, length) = (manifest.items.len(), count(item.length));
            writeln!(
                out,
                "\nitem {} of {of}: {what} at byte {}, {length} bytes{marks}\nreason: {}",
                number + 1,
                item.offset,
                escaped(&item.reason)
            )?;
            let text = pieces.get(number).map(|piece| mask::shown(piece)).unwrap_or_default();
            let all = text.chars().count();
            match text.char_indices().nth(SHOWN).filter(|_| !full) {
                Some((end, _)) => writeln!(
                    out,
                    "{}\n… {} characters more: `--full` shows them",
                    &text[..end],
                    count((all - SHOWN) as u64)
                )?,
                None => writeln!(out, "{text}")?,
            }
        }
        if let Some(more) = manifest.items.len().checked_sub(ITEMS).filter(|more| *more > 0 && !full) {
            writeln!(out, "\n{} items more: `--full` shows them", count(more as u64))?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}
