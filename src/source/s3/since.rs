//! A point in time as people write it: `1h` (before now), `2024-02-29`, `2024-02-29T12:00:00Z`, `beginning`.

use std::fmt;
use std::str::FromStr;

use super::keys::Minute;
use crate::clock::Timestamp;
use crate::config::{Duration, ValueError, read_from_text};

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
    /// The minute it is.
    pub(super) fn minute(self, now: Timestamp) -> Minute {
        match self {
            Since::Ago(by) => {
                let by = i64::try_from(by.get().as_nanos()).unwrap_or(i64::MAX);
                Minute::of(Timestamp(now.0.saturating_sub(by)))
            }
            Since::At(at) => Minute::of(at),
            // CloudTrail began in 2013.
            Since::Beginning => Minute(1_356_998_400 / 60),
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
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Since::At(Timestamp::from_seconds(at.as_second())));
        }
        if let Ok(day) = text.parse::<jiff::civil::Date>()
            && let Ok(at) = day.to_zoned(jiff::tz::TimeZone::UTC)
        {
            return Ok(Since::At(Timestamp::from_seconds(at.timestamp().as_second())));
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
            ("1h", "2024-02-29T11:00Z"),
            ("2024-02-28", "2024-02-28T00:00Z"),
            ("2024-02-28T10:30:59Z", "2024-02-28T10:30Z"),
            ("2024-02-28T10:30:59+02:00", "2024-02-28T08:30Z"),
            ("beginning", "2013-01-01T00:00Z"),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(since.minute(now).shown(), shown, "{text}");
            assert_eq!(since.to_string().parse::<Since>().unwrap(), since);
        }
        for wrong in ["", "yesterday", "1", "2024-13-01"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
