//! A point in time as people say it: so long ago, or a date.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::config::Duration;

/// What `--since` takes: `1h`, `7 days`, `2026-01-15`, `2026-01-15T10:00:00Z`. Without a time zone: UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// So long before now.
    Ago(std::time::Duration),
    /// At this time.
    At(Timestamp),
}

impl Since {
    /// The point in time.
    pub(super) fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Ago(ago) => {
                Timestamp(now.0.saturating_sub(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX)))
            }
            Since::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        if let Ok(ago) = text.parse::<Duration>() {
            return Ok(Since::Ago(ago.get()));
        }
        let utc = |civil: DateTime| civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let at = text.parse::<jiff::Timestamp>().ok();
        // A date alone is one, too.
        let at = at.or_else(|| text.parse::<DateTime>().ok().and_then(utc));
        let at = at.or_else(|| {
            text.parse::<Date>().ok().and_then(|date| utc(date.to_datetime(jiff::civil::Time::midnight())))
        });
        at.map(|at| Since::At(Timestamp::from_seconds(at.as_second()))).ok_or_else(|| {
            "neither a duration (`1h`, `7 days`) nor a time (`2026-01-15`, `2026-01-15T10:00:00Z`)".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_dates_and_times_are_understood() {
        let now = Timestamp::from_seconds(1_768_471_200);
        let since = |text: &str| text.parse::<Since>().map(|since| since.time(now).to_string());
        for (text, expected) in [
            ("1h", "2026-01-15T09:00:00Z"),
            ("7 days", "2026-01-08T10:00:00Z"),
            ("2026-01-15", "2026-01-15T00:00:00Z"),
            ("2026-01-15T08:30:00", "2026-01-15T08:30:00Z"),
            ("2026-01-15T10:30:00+02:00", "2026-01-15T08:30:00Z"),
        ] {
            assert_eq!(since(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", "1", "yesterday", "2026-13-01", "-1h"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
