//! What the state keeps of `kinesis` sources: how far each shard is shipped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::bucket::{ago, shown};
use crate::cli::text::count;
use crate::clock::Timestamp;
use crate::source::kinesis::{Checkpoint, SPACES};
use crate::state::{StateError, Store};
use crate::telemetry::escaped;

/// Pipeline and source.
pub(super) type Whose = (String, String);

/// All sources of a state, their shards by id.
pub(super) type Streams = BTreeMap<Whose, BTreeMap<String, Checkpoint>>;

/// Whether a space holds something of a `kinesis` source.
pub(super) fn is_ours(space: &str) -> bool {
    space.starts_with(SPACES)
}

/// Reads what spaces of `kinesis` sources hold; spaces of other sources are passed over.
///
/// # Errors
/// The state cannot be read.
pub(super) fn read(store: &Store, spaces: impl Iterator<Item = String>) -> Result<Streams, StateError> {
    let mut streams = Streams::new();
    for space in spaces {
        let Some((pipeline, source)) = space.strip_prefix(SPACES).and_then(|names| names.split_once('/'))
        else {
            continue;
        };
        store.each(&space, |key, value| {
            let shards = streams.entry((pipeline.to_owned(), source.to_owned())).or_default();
            let key = String::from_utf8_lossy(key).into_owned();
            // The one without a name says from when on the stream is read.
            if let Some(checkpoint) = Checkpoint::read(value).filter(|_| !key.is_empty()) {
                shards.insert(key, checkpoint);
            }
        })?;
    }
    Ok(streams)
}

/// When the last record that is settled came.
fn arrival(checkpoint: &Checkpoint) -> Option<Timestamp> {
    checkpoint.arrival().map(|millis| Timestamp(millis.saturating_mul(1_000_000)))
}

/// When everything was last known to be settled.
fn tip(checkpoint: &Checkpoint) -> Option<Timestamp> {
    checkpoint.tip().map(|millis| Timestamp(millis.saturating_mul(1_000_000)))
}

/// All sources, a line each.
pub(super) fn table(streams: &Streams, now: Timestamp) -> String {
    if streams.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "{:<16} {:<16} {:>10} {:>10}  {:<20} {:>8} {:>8}\n",
        "pipeline", "source", "shards", "closed", "newest settled", "before", "lag"
    );
    for ((pipeline, source), shards) in streams {
        let newest = shards.values().filter_map(arrival).max();
        let open = || shards.values().filter(|checkpoint| !checkpoint.is_ended());
        let closed = shards.len() - open().count();
        let lag = open().map(|checkpoint| arrival(checkpoint).max(tip(checkpoint))).min().flatten();
        let _ = writeln!(
            out,
            "{:<16} {:<16} {:>10} {:>10}  {:<20} {:>8} {:>8}",
            escaped(pipeline),
            escaped(source),
            count((shards.len() - closed) as u64),
            count(closed as u64),
            shown(newest),
            ago(newest, now),
            ago(lag, now)
        );
    }
    out
}

/// One source, a line for each shard.
pub(super) fn lines(shards: &BTreeMap<String, Checkpoint>, now: Timestamp) -> String {
    let mut out = format!("{:<20} {:<20} {:>8}  {}\n", "shard", "newest settled", "lag", "settled up to");
    for (shard, checkpoint) in shards {
        let newest = arrival(checkpoint);
        let lag = match checkpoint.is_ended() {
            true => "closed".to_owned(),
            false => ago(newest.max(tip(checkpoint)), now),
        };
        let (shard, newest) = (escaped(shard), shown(newest));
        let _ = writeln!(out, "{shard:<20} {newest:<20} {lag:>8}  {}", escaped(&checkpoint.shown()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::state::Op;

    #[test]
    fn shards_are_told_with_how_far_they_are() {
        let now = Timestamp::from_seconds(1_709_208_000); // 2024-02-29T12:00:00Z
        let store = Store::in_memory(&Clock::manual(now)).unwrap();
        let put = |key: &str, value: &str| Op::Put {
            space: "kinesis/main/stream".into(),
            key: key.into(),
            value: value.into(),
        };
        store
            .commit(&[
                put("", r#"{"stream":"trail","from":null}"#),
                put("shardId-000000000000", r#"{"sequence":"4959","arrival":1709207000000,"ended":true}"#),
                put("shardId-000000000001", r#"{"sequence":"4961","sub":2,"arrival":1709207700000}"#),
                put("shardId-000000000002", r#"{"arrival":0,"tip":1709207940000}"#),
            ])
            .unwrap();
        let streams = read(&store, store.spaces().unwrap().into_iter()).unwrap();
        snapbox::assert_data_eq!(
            table(&streams, now),
            snapbox::str![[r#"
pipeline         source               shards     closed  newest settled         before      lag
main             stream                    2          1  2024-02-29T11:55:00Z    5 min    5 min

"#]]
        );
        snapbox::assert_data_eq!(
            lines(streams.values().next().unwrap(), now),
            snapbox::str![[r#"
shard                newest settled            lag  settled up to
shardId-000000000000 2024-02-29T11:43:20Z   closed  4959
shardId-000000000001 2024-02-29T11:55:00Z    5 min  4961#2
shardId-000000000002 –                       1 min  nothing yet

"#]]
        );
    }
}
