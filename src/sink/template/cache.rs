//! The path of a record in a few nanoseconds: records come in runs of the same account, region and day.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Marks, Partitions, TimeRange, Values};
use crate::record::identity::{Account, EventKind};
use crate::record::overlay::{Overlay, Parent, environment};
use crate::record::{Identity, Record};

/// Paths kept besides the four last used; then all are forgotten. About 200 kB.
const MOST_PATHS: usize = 1024;
/// Longest region that is cached, bytes: AWS's are at most 14.
const REGION: usize = 24;

/// What a path depends on; what the template does not use stays at its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Key {
    account: Option<Account>,
    /// Hours or days since 1970; `i64::MIN` out of range.
    time: Option<i64>,
    environment: u64,
    kind: EventKind,
    has_region: bool,
    region_length: u8,
    region: [u8; REGION],
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    path: Arc<str>,
    marks: Marks,
}

/// The paths one thread last used. One per thread and sink.
#[derive(Debug)]
pub struct PartitionCache {
    range: TimeRange,
    recent: [Option<Entry>; 4],
    /// The path that could not be cached.
    single: Arc<str>,
    known: HashMap<Key, (Arc<str>, Marks), foldhash::fast::RandomState>,
}

impl PartitionCache {
    /// Makes an empty cache for event times within `range`.
    pub fn new(range: TimeRange) -> PartitionCache {
        PartitionCache {
            range,
            recent: [const { None }; 4],
            single: Arc::from(""),
            known: HashMap::default(),
        }
    }

    /// Moves the range of accepted event times (once per window is enough).
    pub fn set_range(&mut self, range: TimeRange) {
        self.range = range;
    }

    /// The path is the first of the recent ones from now on.
    fn remember(&mut self, entry: Entry) {
        self.recent.rotate_right(1);
        self.recent[0] = Some(entry);
    }
}

impl Default for PartitionCache {
    fn default() -> PartitionCache {
        PartitionCache::new(TimeRange::default())
    }
}

impl Partitions {
    /// The path below the root, for this record.
    ///
    /// Cost: compares a small key for runs of the same account, region, day, kind and environment; a hash map for what
    /// came lately; formats for what is new.
    pub fn partition<'c>(&self, record: &Record<'_>, cache: &'c mut PartitionCache) -> &'c Arc<str> {
        self.partition_of(&record.identity, record.buffer, record.overlay, cache)
    }

    fn partition_of<'c>(
        &self,
        identity: &Identity,
        buffer: &[u8],
        overlay: &Overlay,
        cache: &'c mut PartitionCache,
    ) -> &'c Arc<str> {
        let region = identity.region.map(|span| span.of(buffer));
        let Some(key) = self.key(identity, region, overlay, cache.range) else {
            let (path, marks) = self.path_of(identity, region, overlay, cache.range);
            self.count(marks);
            cache.single = path;
            return &cache.single;
        };
        let found =
            cache.recent.iter().position(|entry| entry.as_ref().is_some_and(|entry| entry.key == key));
        if let Some(at) = found {
            // Nearly always it is the first already.
            if at > 0 {
                cache.recent.swap(0, at);
            }
        } else if let Some((path, marks)) = cache.known.get(&key) {
            let entry = Entry { key, path: path.clone(), marks: *marks };
            cache.remember(entry);
        } else {
            let (path, marks) = self.path_of(identity, region, overlay, cache.range);
            if cache.known.len() >= MOST_PATHS {
                cache.known.clear();
            }
            cache.known.insert(key, (path.clone(), marks));
            cache.remember(Entry { key, path, marks });
        }
        match &cache.recent[0] {
            Some(entry) => {
                if entry.marks != 0 {
                    self.count(entry.marks);
                }
                &entry.path
            }
            None => &cache.single,
        }
    }

    /// `None`: depends on something that is not worth a key.
    fn key(
        &self,
        identity: &Identity,
        region: Option<&[u8]>,
        overlay: &Overlay,
        range: TimeRange,
    ) -> Option<Key> {
        let mut key = Key::default();
        if self.by_account {
            key.account = identity.account;
        }
        if self.by_kind {
            key.kind = identity.kind;
        }
        if self.by_day {
            let unit = if self.by_hour { 3_600 } else { 86_400 };
            key.time =
                identity.time.map(|time| if range.holds(time) { time.div_euclid(unit) } else { i64::MIN });
        }
        if self.by_region
            && let Some(region) = region
        {
            key.has_region = true;
            key.region_length = u8::try_from(region.len()).ok()?;
            key.region.get_mut(..region.len())?.copy_from_slice(region);
        }
        if self.by_environment {
            key.environment = environment_key(overlay)?;
        }
        Some(key)
    }

    fn path_of(
        &self,
        identity: &Identity,
        region: Option<&[u8]>,
        overlay: &Overlay,
        range: TimeRange,
    ) -> (Arc<str>, Marks) {
        let environment = if self.by_environment { environment(overlay) } else { None };
        let values = Values {
            time: identity.time,
            account: identity.account,
            region,
            environment: environment.as_deref(),
            kind: identity.kind,
        };
        let (path, marks) = self.path(&values, range);
        (path.into(), marks)
    }
}

/// The shared fragments that speak of the account, by their ids (never reused); `None` where there are more than two
/// or one was made for this record alone.
fn environment_key(overlay: &Overlay) -> Option<u64> {
    let mut key = 0u64;
    for (_, fragment) in overlay.added.iter().filter(|(parent, _)| *parent == Parent::Account) {
        if fragment.id == 0 || key >> 32 != 0 {
            return None;
        }
        key = key << 32 | u64::from(fragment.id);
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::Template;
    use super::*;
    use crate::record::Span;
    use crate::record::overlay::{Fragment, FragmentLeaf};

    const BUFFER: &[u8] = b"eu-west-1us-east-1../..a-region-that-is-longer-than-any-of-the-aws-regions";

    fn partitions(text: &str) -> Partitions {
        Partitions::new(Template::parse(text).unwrap(), "archive")
    }

    fn identity(account: &str, time: i64, start: u32, end: u32) -> Identity {
        Identity {
            account: Account::parse(account.as_bytes()),
            time: Some(time),
            region: Some(Span { start, end }),
            kind: EventKind::Management,
            ..Identity::default()
        }
    }

    fn environment_fragment(id: u32, value: &str) -> (Parent, Rc<Fragment>) {
        let leaf = |key: &str, value: &str| FragmentLeaf {
            keys: vec![key.into()],
            index: None,
            value: format!("\"{value}\"").into_bytes().into(),
        };
        let leaves = vec![leaf("name", "payments"), leaf("environment", value)];
        (Parent::Account, Rc::new(Fragment { id, members: Box::default(), leaves }))
    }

    #[test]
    fn the_cache_says_what_rendering_says() {
        let partitions = partitions("out/{account}/{region}/{environment}/{date}/{hour}-{kind}.ndjson");
        let mut cache = PartitionCache::default();
        let mut overlay = Overlay::default();
        for round in 0..3 {
            for (account, time) in
                [("111122223333", 1_768_435_200), ("000000000001", 1_768_438_800), ("x", 0)]
            {
                for (start, end) in [(0, 9), (9, 18), (18, 23), (23, 73)] {
                    for id in [0, 7, 8] {
                        overlay.clear();
                        overlay
                            .added
                            .push(environment_fragment(id, if id == 8 { "sandbox" } else { "prod" }));
                        let identity = identity(account, time, start, end);
                        let region = identity.region.unwrap().of(BUFFER);
                        let (wanted, _) = partitions.path_of(&identity, Some(region), &overlay, cache.range);
                        let path = partitions.partition_of(&identity, BUFFER, &overlay, &mut cache);
                        assert_eq!(*path, wanted, "round {round}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_run_of_the_same_shares_one_path() {
        let partitions = partitions("out/{account}/{date}.ndjson");
        let mut cache = PartitionCache::default();
        let identity = identity("111122223333", 1_768_435_200, 0, 9);
        let first = partitions.partition_of(&identity, BUFFER, &Overlay::default(), &mut cache).clone();
        assert_eq!(&*first, "111122223333/2026-01-15.ndjson");
        let later = Identity { time: Some(1_768_435_200 + 86_399), region: None, ..identity };
        let second = partitions.partition_of(&later, BUFFER, &Overlay::default(), &mut cache);
        assert!(Arc::ptr_eq(&first, second));
    }

    #[test]
    fn records_are_counted_also_where_the_path_is_known() {
        let partitions = partitions("out/{region}/{date}.ndjson");
        let mut cache = PartitionCache::new(TimeRange { from: 1_768_435_200, to: 1_768_435_300 });
        for _ in 0..5 {
            let path =
                partitions.partition_of(&identity("1", 0, 18, 23), BUFFER, &Overlay::default(), &mut cache);
            assert_eq!(&**path, "_invalid/out-of-range.ndjson");
        }
        let counts = partitions.counts();
        assert_eq!((counts.invalid, counts.out_of_range, counts.overflow), (5, 5, 0));
    }

    #[test]
    fn the_cache_stays_small_with_many_paths() {
        let partitions = partitions("out/{account}.ndjson");
        let mut cache = PartitionCache::default();
        for number in 0..5_000 {
            let identity = identity(&format!("{number:012}"), 0, 0, 9);
            let path = partitions.partition_of(&identity, BUFFER, &Overlay::default(), &mut cache);
            assert_eq!(**path, format!("{number:012}.ndjson"));
        }
        assert!(cache.known.len() <= MOST_PATHS);
    }
}
