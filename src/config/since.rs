//! A point in time as people write it: `1h` (before now), `2024-02-29`, `2024-02-29T12:00:00Z`, `beginning`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::value::{Duration, ValueError, read_from_text};
use crate::clock::Timestamp;

/// Where a range of time begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This long before now.
    Ago(Duration),
    /// This time.
    At(Timestamp),
    /// Before everything.
    Beginning,
}

impl Since {
    /// The point in time.
    pub fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Ago(by) => {
                let by = i64::try_from(by.get().as_nanos()).unwrap_or(i64::MAX);
                Timestamp(now.0.saturating_sub(by))
            }
            Since::At(at) => at,
            // CloudTrail began in 2013.
            Since::Beginning => Timestamp::from_seconds(1_356_998_400),
        }
    }
}

impl FromStr for Since {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Since, ValueError> {
        let text = text.trim();
        if text == "beginning" {
            return Ok(Since::Beginning);
        }
        let utc = |civil: DateTime| civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let at = text.parse::<jiff::Timestamp>().ok();
        let at = at.or_else(|| text.parse::<DateTime>().ok().and_then(utc));
        // A day alone is a time, too.
        let at =
            at.or_else(|| text.parse::<Date>().ok().and_then(|day| utc(day.to_datetime(Time::midnight()))));
        if let Some(at) = at {
            return Ok(Since::At(Timestamp::from_seconds(at.as_second())));
        }
        text.parse().map(Since::Ago).map_err(|_| {
            ValueError::new(
                format!("`{text}` is no point in time"),
                "write a duration before now (`6h`), a day (`2024-02-29`), a time (`2024-02-29T12:00:00Z`) or `beginning`",
            )
        })
    }
}

impl fmt::Display for Since {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Since::Ago(by) => by.fmt(formatter),
            Since::At(at) => at.fmt(formatter),
            Since::Beginning => formatter.write_str("beginning"),
        }
    }
}

read_from_text!(
    Since,
    "a duration such as \"6h\", a day, a time, or \"beginning\"",
    ["1h", "2024-02-29", "beginning"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_as_people_write_them() {
        let now = Timestamp::from_seconds(1_709_208_000); // 2024-02-29T12:00:00Z
        for (text, shown) in [
            ("1h", "2024-02-29T11:00:00Z"),
            ("7 days", "2024-02-22T12:00:00Z"),
            ("2024-02-28", "2024-02-28T00:00:00Z"),
            ("2024-02-28T08:30:00", "2024-02-28T08:30:00Z"),
            ("2024-02-28T10:30:59Z", "2024-02-28T10:30:59Z"),
            ("2024-02-28T10:30:59+02:00", "2024-02-28T08:30:59Z"),
            ("beginning", "2013-01-01T00:00:00Z"),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(since.time(now).to_string(), shown, "{text}");
            assert_eq!(since.to_string().parse::<Since>().unwrap(), since);
        }
        for wrong in ["", "yesterday", "1", "-1h", "2024-13-01"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
