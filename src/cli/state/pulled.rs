//! What the state keeps of sources that are pulled from an API: how far each log group or region is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cli::text::count;
use crate::clock::Timestamp;
use crate::source::pull::Cursor;
use crate::source::{cloudwatch_logs, event_history};
use crate::state::{StateError, Store};
use crate::telemetry::escaped;

/// The first parts of the names of their spaces.
const SPACES: [&str; 2] = [cloudwatch_logs::SPACES, event_history::SPACES];

/// A source, or one range of time of it: pipeline, source, range or nothing.
type Whose = (String, String, String);

/// One log group or region.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Up to when everything is settled.
    done: Option<Timestamp>,
    /// What it is of, where it has no name.
    of: String,
    /// Deliveries behind that of which the ids are remembered, or shortly before it.
    seen: u64,
}

/// All such sources of a state, their lanes by name.
pub(super) type Lanes = BTreeMap<Whose, BTreeMap<String, Lane>>;

/// Whether a space holds something of such a source.
pub(super) fn is_ours(space: &str) -> bool {
    SPACES.iter().any(|kind| space.starts_with(kind))
}

/// Reads what spaces of such sources hold; spaces of other sources are passed over.
///
/// # Errors
/// The state cannot be read.
pub(super) fn read(store: &Store, spaces: impl Iterator<Item = String>) -> Result<Lanes, StateError> {
    let mut lanes = Lanes::new();
    for space in spaces {
        let Some(names) = SPACES.iter().find_map(|kind| space.strip_prefix(kind)) else { continue };
        let names: Vec<&str> = names.split('/').collect();
        let (names, is_seen) = match names[..] {
            [_, _, .., "seen"] => (&names[..names.len() - 1], true),
            [_, _, ..] => (&names[..], false),
            _ => continue,
        };
        let whose = (names[0].to_owned(), names[1].to_owned(), names[2..].join("/"));
        store.each(&space, |key, value| {
            let name = if is_seen { key.split_last_chunk::<17>().map_or(key, |(name, _)| name) } else { key };
            let name = String::from_utf8_lossy(name).into_owned();
            let lane = lanes.entry(whose.clone()).or_default().entry(name).or_default();
            if is_seen {
                lane.seen += 1;
            } else if let Some(cursor) = Cursor::read(value) {
                lane.done = Some(Timestamp(cursor.done.saturating_mul(1_000_000)));
                lane.of = cursor.of;
            }
        })?;
    }
    Ok(lanes)
}

/// All sources, a line for each log group or region.
pub(super) fn table(lanes: &Lanes, now: Timestamp) -> String {
    let mut out = String::new();
    for ((pipeline, source, range), lanes) in lanes {
        if out.is_empty() {
            let _ = writeln!(
                out,
                "{:<16} {:<16} {:<20} {:>8} {:>10}  of",
                "pipeline", "source", "settled until", "before", "remembered"
            );
        }
        for (name, lane) in lanes {
            let _ =
                write!(out, "{:<16} {:<16} {}", escaped(pipeline), escaped(source), line(name, lane, now));
            let range = if range.is_empty() { String::new() } else { format!("  {}", escaped(range)) };
            let _ = writeln!(out, "{range}");
        }
    }
    out
}

/// One source, a line for each log group or region.
pub(super) fn lines(lanes: &BTreeMap<String, Lane>, now: Timestamp) -> String {
    let mut out = format!("{:<20} {:>8} {:>10}  of\n", "settled until", "before", "remembered");
    for (name, lane) in lanes {
        let _ = writeln!(out, "{}", line(name, lane, now));
    }
    out
}

fn line(name: &str, lane: &Lane, now: Timestamp) -> String {
    let done = lane.done.map_or_else(|| "–".to_owned(), |done| done.to_string());
    let of = if name.is_empty() { &lane.of } else { name };
    format!("{done:<20} {:>8} {:>10}  {}", super::bucket::ago(lane.done, now), count(lane.seen), escaped(of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::state::Op;

    #[test]
    fn log_groups_and_regions_are_told_with_how_far_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_seconds(1_709_208_000); // 2024-02-29T12:00:00Z
        let store = Store::open(folder.path(), &Clock::manual(now)).unwrap();
        let put = |space: &str, key: &[u8], value: &[u8]| Op::Put {
            space: space.into(),
            key: key.into(),
            value: value.into(),
        };
        let cursor = br#"{"of":"CloudTrail/logs","floor":1709200000000,"done":1709207700000}"#;
        store
            .commit(&[
                put("cloudwatch_logs/main/group", b"", cursor),
                put("cloudwatch_logs/main/group/seen", &[0; 17], b""),
                put("cloudwatch_logs/main/group/seen", &[1; 17], b""),
                put("cloudwatch_logs/main/group/1h..2024-02-29", b"", cursor),
                put("event_history/main/account", b"eu-west-1", br#"{"floor":0,"done":1709200000000}"#),
                put("event_history/main/account", b"us-east-1", br#"{"floor":0,"done":1709207700000}"#),
                put("event_history/main/account/seen", &[&b"us-east-1"[..], &[0; 17]].concat(), b""),
                put("files/main/trail", b"x", b"{}"),
            ])
            .unwrap();
        let lanes = read(&store, store.spaces().unwrap().into_iter()).unwrap();
        snapbox::assert_data_eq!(
            table(&lanes, now),
            snapbox::str![[r#"
pipeline         source           settled until          before remembered  of
main             account          2024-02-29T09:46:40Z      2 h          0  eu-west-1
main             account          2024-02-29T11:55:00Z    5 min          1  us-east-1
main             group            2024-02-29T11:55:00Z    5 min          2  CloudTrail/logs
main             group            2024-02-29T11:55:00Z    5 min          0  CloudTrail/logs  1h..2024-02-29

"#]]
        );
        snapbox::assert_data_eq!(
            lines(lanes.values().next().unwrap(), now),
            snapbox::str![[r#"
settled until          before remembered  of
2024-02-29T09:46:40Z      2 h          0  eu-west-1
2024-02-29T11:55:00Z    5 min          1  us-east-1

"#]]
        );
    }
}
