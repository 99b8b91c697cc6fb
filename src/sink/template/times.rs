//! Which event times are believed, and the texts of this room as configuration values.

use std::fmt;
use std::str::FromStr;

use super::Template;
use crate::clock::Timestamp;
use crate::config::{Duration, ValueError, read_from_text};

/// The oldest event time that gets a date of its own: `"400 d"` before now, or `"any"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// This long before now.
    Age(Duration),
    /// As old as CloudTrail's predecessors: 2006.
    Any,
}

impl FromStr for Oldest {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Oldest, ValueError> {
        if text.trim() == "any" {
            return Ok(Oldest::Any);
        }
        text.parse().map(Oldest::Age)
    }
}

impl fmt::Display for Oldest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Oldest::Age(age) => age.fmt(formatter),
            Oldest::Any => formatter.write_str("any"),
        }
    }
}

/// Event times that get a date of their own: `from <= time <= to`, seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The oldest.
    pub from: i64,
    /// The newest.
    pub to: i64,
}

impl TimeRange {
    /// 2006-01-01T00:00:00Z: nothing AWS wrote is older.
    pub(super) const FIRST: i64 = 1_136_073_600;
    /// 9999-12-29T23:59:59Z: the end of the last day of which the calendar knows every second.
    pub(super) const LAST: i64 = 253_402_127_999;
    const DAY: i64 = 86_400;

    /// The range at `now`: up to one day ahead; back to `oldest`, by default 400 days for live sources and 2006 for what
    /// is read again (files, a time range).
    pub fn new(oldest: Option<Oldest>, live: bool, now: Timestamp) -> TimeRange {
        let now = now.seconds();
        let from = match oldest {
            Some(Oldest::Age(age)) => {
                now.saturating_sub(i64::try_from(age.get().as_secs()).unwrap_or(i64::MAX))
            }
            None if live => now.saturating_sub(400 * Self::DAY),
            Some(Oldest::Any) | None => Self::FIRST,
        };
        TimeRange { from: from.max(Self::FIRST), to: now.saturating_add(Self::DAY).min(Self::LAST) }
    }

    pub(super) const fn holds(self, time: i64) -> bool {
        self.from <= time && time <= self.to
    }
}

impl Default for TimeRange {
    /// 2006 to the end of the calendar, in the year 9999.
    fn default() -> TimeRange {
        TimeRange { from: TimeRange::FIRST, to: TimeRange::LAST }
    }
}

read_from_text!(Template, "a path, as in \"out/{account}/{date}.ndjson\"", ["out/{account}/{date}.ndjson"]);
read_from_text!(Oldest, "a duration such as \"400 d\", or \"any\"", ["400 d", "any"]);
