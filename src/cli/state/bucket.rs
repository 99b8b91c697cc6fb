//! What the state keeps of `s3` sources: partitions with how far they were listed, and objects that are on their way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;

use crate::cli::text::count;
use crate::clock::Timestamp;
use crate::source::s3::{Cursor, SPACES, named_at};
use crate::state::{StateError, Store};
use crate::telemetry::escaped;

/// A source, or one range of time of it: pipeline, source, range or nothing.
pub(super) type Whose = (String, String, String);

/// One partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Partition {
    /// When the newest object listed was delivered, by its name.
    newest: Option<Timestamp>,
    /// Objects listed and not settled, and when the oldest was delivered.
    waiting: u64,
    oldest: Option<Timestamp>,
}

/// All sources of a state, their partitions by prefix.
pub(super) type Buckets = BTreeMap<Whose, BTreeMap<String, Partition>>;

/// Whether a space holds something of an `s3` source.
pub(super) fn is_ours(space: &str) -> bool {
    space.starts_with(SPACES)
}

/// Reads what spaces of `s3` sources hold; spaces of other sources are passed over.
///
/// # Errors
/// The state cannot be read.
pub(super) fn read(store: &Store, spaces: impl Iterator<Item = String>) -> Result<Buckets, StateError> {
    let mut buckets = Buckets::new();
    // In order: a source's partitions come before what is waiting in them.
    for space in spaces {
        let Some(names) = space.strip_prefix(SPACES) else { continue };
        let names: Vec<&str> = names.split('/').collect();
        let (whose, what) = match names[..] {
            [_, _] => (&names[..], ""),
            [_, _, what @ ("seen" | "waiting")] => (&names[..2], what),
            [_, _, _] => (&names[..], ""),
            [_, _, _, what] => (&names[..3], what),
            _ => continue,
        };
        let range = whose.get(2).copied().unwrap_or_default();
        let whose = (whose[0].to_owned(), whose[1].to_owned(), range.to_owned());
        match what {
            "" => store.each(&space, |key, value| {
                let prefix = String::from_utf8_lossy(key).into_owned();
                if prefix.is_empty() {
                    return; // for those found later
                }
                let partition = buckets.entry(whose.clone()).or_default().entry(prefix).or_default();
                partition.newest = Cursor::read(value).and_then(|cursor| cursor.newest());
            })?,
            "waiting" => store.each(&space, |key, _| {
                let (key, partitions) =
                    (String::from_utf8_lossy(key), buckets.entry(whose.clone()).or_default());
                let partition =
                    partitions.range_mut::<str, _>((Bound::Unbounded, Bound::Included(&*key))).next_back();
                let Some((_, partition)) = partition.filter(|(prefix, _)| key.starts_with(&**prefix)) else {
                    return;
                };
                partition.waiting += 1;
                let named = named_at(&key);
                partition.oldest = partition.oldest.into_iter().chain(named).min();
            })?,
            _ => {}
        }
    }
    Ok(buckets)
}

/// All sources, a line each.
pub(super) fn table(buckets: &Buckets, now: Timestamp) -> String {
    if buckets.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "{:<16} {:<16} {:>10}  {:<20} {:>8} {:>7} {:>8}\n",
        "pipeline", "source", "partitions", "newest delivered", "before", "waiting", "oldest"
    );
    for ((pipeline, source, range), partitions) in buckets {
        let newest = partitions.values().filter_map(|partition| partition.newest).max();
        let oldest = partitions.values().filter_map(|partition| partition.oldest).min();
        let waiting = partitions.values().map(|partition| partition.waiting).sum();
        let _ = write!(
            out,
            "{:<16} {:<16} {:>10}  {:<20} {:>8} {:>7} {:>8}",
            escaped(pipeline),
            escaped(source),
            count(partitions.len() as u64),
            shown(newest),
            ago(newest, now),
            count(waiting),
            ago(oldest, now)
        );
        let range = if range.is_empty() { String::new() } else { format!("  {}", escaped(range)) };
        let _ = writeln!(out, "{range}");
    }
    out
}

/// One source, a line for each partition.
pub(super) fn lines(partitions: &BTreeMap<String, Partition>, now: Timestamp) -> String {
    let mut out = format!(
        "{:<20} {:>8} {:>7} {:>8}  {}\n",
        "newest delivered", "before", "waiting", "oldest", "partition"
    );
    for (prefix, partition) in partitions {
        let _ = writeln!(
            out,
            "{:<20} {:>8} {:>7} {:>8}  {}",
            shown(partition.newest),
            ago(partition.newest, now),
            count(partition.waiting),
            ago(partition.oldest, now),
            escaped(prefix)
        );
    }
    out
}

/// A time, or a dash.
pub(super) fn shown(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "–".to_owned(), |at| at.to_string())
}

/// How long before now, in the largest unit of which there are at least two.
pub(super) fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "–".to_owned() };
    let minutes = now.since(at).as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::state::Op;

    #[test]
    fn partitions_are_told_with_how_far_they_are_and_what_waits() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_seconds(1_709_208_000); // 2024-02-29T12:00:00Z
        let store = Store::open(folder.path(), &Clock::manual(now)).unwrap();
        let prefix = "AWSLogs/123456789012/CloudTrail/eu-west-1/";
        let key = |minute| {
            format!("{prefix}2024/02/29/123456789012_CloudTrail_eu-west-1_20240229T{minute}Z_x.json.gz")
        };
        let cursor =
            serde_json::to_vec(&Cursor { after: key("1155"), ..Cursor::default() }).unwrap_or_default();
        let put = |space: &str, key: &str, value: &[u8]| Op::Put {
            space: space.into(),
            key: key.into(),
            value: value.into(),
        };
        store
            .commit(&[
                put("s3/main/trail", "", br#"{"floor":28486080}"#),
                put("s3/main/trail", prefix, &cursor),
                put("s3/main/trail", "AWSLogs/222222222222/CloudTrail/eu-west-1/", b"{}"),
                put("s3/main/trail/waiting", &key("0910"), b"{}"),
                put("s3/main/trail/waiting", &key("1155"), b"{}"),
                put("s3/main/trail/2023-01-01..2023-02-01", prefix, &cursor),
                put("files/main/trail", "x", b"{}"),
            ])
            .unwrap();
        let buckets = read(&store, store.spaces().unwrap().into_iter()).unwrap();
        snapbox::assert_data_eq!(
            table(&buckets, now),
            snapbox::str![[r#"
pipeline         source           partitions  newest delivered       before waiting   oldest
main             trail                     2  2024-02-29T11:55:00Z    5 min       2      2 h
main             trail                     1  2024-02-29T11:55:00Z    5 min       0        –  2023-01-01..2023-02-01

"#]]
        );
        let live = buckets.values().next().unwrap();
        snapbox::assert_data_eq!(
            lines(live, now),
            snapbox::str![[r#"
newest delivered       before waiting   oldest  partition
2024-02-29T11:55:00Z    5 min       2      2 h  AWSLogs/123456789012/CloudTrail/eu-west-1/
–                           –       0        –  AWSLogs/222222222222/CloudTrail/eu-west-1/

"#]]
        );
    }
}
