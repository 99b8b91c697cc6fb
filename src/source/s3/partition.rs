//! One partition (an account, a kind, a region): where its listing stands, what was seen, and when to look again.
//!
//! Two things decide whether a listed key is news: whether it stands after every key listed so far, and, for keys of the last
//! [`KEPT`] hours, whether it is among those that were seen. So a late file is found by looking back, and a restart ships
//! nothing twice. Nothing here does I/O; the clock is handed in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::keys::{self, Minute, Object};
use crate::clock::Timestamp;

/// Hours of keys that are remembered one by one: the sweep's 48 and some more.
pub(super) const KEPT: i64 = 52;
/// Minutes looked back at each poll, at least.
pub(super) const LOOK_BACK: i64 = 60;
/// Minutes the sweep looks back.
pub(super) const SWEEP: i64 = 48 * 60;
/// Minutes between two sweeps.
pub(super) const SWEEP_EVERY: i64 = 6 * 60;
/// Objects of one partition that are on their way, at most; beyond, it is not listed.
pub(super) const MOST_WAITING: usize = 10_000;
/// So many times less a quiet partition is polled, at most.
pub(super) const SLOWEST: i64 = 15;
/// Minutes after which a partition without objects is polled less.
const ACTIVE: i64 = 120;

/// What the state keeps of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The bucket. Empty: written before it was noted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// What is named before this is not ours.
    pub floor: i64,
    /// The last key listed, in byte order.
    pub after: String,
    /// The largest lateness seen, minutes: how long before the newest a key was named when it came.
    pub late: i64,
    /// When the last sweep began, in minutes from 1970.
    pub swept: i64,
    /// When an object came last, in minutes from 1970.
    pub came: i64,
}

impl Cursor {
    /// A cursor as the state holds it.
    pub fn read(value: &[u8]) -> Option<Cursor> {
        serde_json::from_slice(value).ok()
    }

    /// When the newest object listed was delivered, by its name.
    pub fn newest(&self) -> Option<Timestamp> {
        named_at(&self.after)
    }
}

/// When an object was delivered, by its name: the minute.
pub fn named_at(key: &str) -> Option<Timestamp> {
    keys::minute(name_of(key)).map(|minute| Timestamp::from_seconds(minute.0 * 60))
}

/// A partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// Its keys begin with this: `…/<account>/<kind>/<region>/`.
    pub(super) prefix: String,
    /// Where it stands.
    pub(super) cursor: Cursor,
    /// Hashes of the names seen, sorted, by the hour in the name.
    seen: BTreeMap<i64, Vec<u64>>,
    /// Objects that are not settled.
    pub(super) waiting: usize,
    /// How many times less than a busy one it is polled.
    quiet: i64,
    listing: Option<Listing>,
    /// The minute of the first key listed.
    first: Option<Minute>,
    /// Listed to its end, and never again.
    pub(super) is_over: bool,
}

/// A listing that goes on: more than one page.
#[derive(Clone, Debug)]
struct Listing {
    after: String,
    sweep: bool,
}

/// One LIST request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The prefix.
    pub(super) prefix: String,
    /// `start-after`.
    pub(super) start_after: String,
}

/// An object as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its key.
    pub(super) key: String,
    /// Bytes.
    pub(super) size: u64,
    /// Its tag, as S3 tells it.
    pub(super) tag: String,
}

/// What a page of a listing brought.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Objects not seen before, in order.
    pub(super) objects: Vec<Listed>,
    /// Keys that are no log objects.
    pub(super) others: u64,
    /// Objects that came later than the look-back, found by a sweep.
    pub(super) late: u64,
    /// Hours of names whose list of seen ones has changed.
    pub(super) hours: Vec<i64>,
    /// Hours that are forgotten.
    pub(super) forgotten: Vec<i64>,
}

impl Partition {
    /// A partition nobody has listed: what is named before `floor` is not ours.
    pub(super) fn new(prefix: String, floor: Minute) -> Partition {
        Partition::restored(prefix, Cursor { floor: floor.0, ..Cursor::default() })
    }

    /// A partition as the state has it.
    pub(super) fn restored(prefix: String, cursor: Cursor) -> Partition {
        Partition {
            prefix,
            cursor,
            seen: BTreeMap::new(),
            waiting: 0,
            quiet: 1,
            listing: None,
            first: None,
            is_over: false,
        }
    }

    /// Takes up names seen in an hour, from the state.
    pub(super) fn remember(&mut self, hour: i64, mut hashes: Vec<u64>) {
        hashes.sort_unstable();
        self.seen.insert(hour, hashes);
    }

    /// The names seen in an hour.
    pub(super) fn seen(&self, hour: i64) -> &[u64] {
        self.seen.get(&hour).map_or(&[], Vec::as_slice)
    }

    /// What to ask for now. `None`: too much of it is on its way.
    pub(super) fn request(&mut self, now: Minute) -> Option<Request> {
        if self.waiting >= MOST_WAITING {
            return None;
        }
        let prefix = self.prefix.clone();
        let listing = match self.listing.clone() {
            Some(listing) => listing,
            None => {
                let newest = keys::minute(name_of(&self.cursor.after));
                let sweep = newest.is_some() && now.0 - self.cursor.swept >= SWEEP_EVERY;
                let back =
                    if sweep { SWEEP } else { LOOK_BACK.max(self.cursor.late + LOOK_BACK / 4).min(SWEEP) };
                if sweep {
                    self.cursor.swept = now.0;
                }
                let floor = Minute(self.cursor.floor);
                let after = match newest {
                    // Long ago: everything up to it was listed, and is not remembered one by one.
                    Some(newest) if newest.0 <= remembered(now) => self.cursor.after.clone(),
                    Some(newest) => {
                        let from = newest.min(now).before(back).max(floor).max(Minute(remembered(now)));
                        keys::start_after(&prefix, keys::stem(name_of(&self.cursor.after)), from)
                    }
                    None => keys::start_after(&prefix, None, floor),
                };
                Listing { after, sweep }
            }
        };
        self.listing = Some(listing.clone());
        Some(Request { prefix, start_after: listing.after })
    }

    /// Takes a page. `more`: there are keys behind it, so the next request comes at once.
    pub(super) fn take(&mut self, page: Vec<Listed>, more: bool, now: Minute) -> News {
        let sweep = self.listing.as_ref().is_some_and(|listing| listing.sweep);
        self.listing = page.last().filter(|_| more).map(|last| Listing { after: last.key.clone(), sweep });
        let mut news = News::default();
        let newest = keys::minute(name_of(&self.cursor.after));
        for listed in page {
            let Object::Log(minute) = keys::object(&listed.key) else {
                news.others += 1;
                continue;
            };
            self.first.get_or_insert(minute);
            let hour = minute.hour();
            let hash = hash(name_of(&listed.key));
            let is_kept = minute.0 > remembered(now);
            let known =
                if is_kept { self.seen(hour).contains(&hash) } else { listed.key <= self.cursor.after };
            if minute.0 < self.cursor.floor || known {
                continue;
            }
            if is_kept {
                self.seen.entry(hour).or_default().push(hash);
                if news.hours.last() != Some(&hour) {
                    news.hours.push(hour);
                }
            }
            if let Some(newest) = newest
                && listed.key < self.cursor.after
            {
                let late = newest.0 - minute.0;
                news.late += u64::from(late > LOOK_BACK.max(self.cursor.late));
                self.cursor.late = self.cursor.late.max(late);
            }
            news.objects.push(listed);
        }
        if let Some(last) = news.objects.iter().map(|object| &object.key).max()
            && *last > self.cursor.after
        {
            self.cursor.after.clone_from(last);
        }
        if !news.objects.is_empty() {
            self.cursor.came = now.0;
        }
        let kept = Minute(remembered(now)).hour();
        while let Some(entry) = self.seen.first_entry().filter(|entry| *entry.key() < kept) {
            news.forgotten.push(*entry.key());
            entry.remove();
        }
        self.waiting += news.objects.len();
        news
    }

    /// When to look again after a listing that is over, seconds after now; a busy partition is looked at `every` so many.
    pub(super) fn rest(&mut self, now: Minute, every: i64) -> i64 {
        if self.listing.is_some() {
            return 0;
        }
        self.quiet = if now.0 - self.cursor.came <= ACTIVE { 1 } else { (self.quiet * 2).min(SLOWEST) };
        self.quiet * every
    }

    /// How many times less than a busy one it is polled.
    pub(super) fn quiet(&self) -> i64 {
        self.quiet
    }

    /// How far a range of time that ends with `until` was listed by this run, and how long it is, minutes.
    pub(super) fn way(&self, until: Minute) -> Option<(u64, u64)> {
        let first = self.first?;
        let newest = if self.is_over { until } else { keys::minute(name_of(&self.cursor.after))? };
        let between = |from: Minute, to: Minute| u64::try_from(to.0 - from.0).unwrap_or_default();
        Some((between(first, newest), between(first, until)))
    }

    /// Whether a listing goes on.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some()
    }
}

/// Names of minutes up to this are not remembered one by one.
fn remembered(now: Minute) -> i64 {
    (now.hour() - KEPT) * 60
}

fn name_of(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

fn hash(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

#[cfg(test)]
mod tests;
