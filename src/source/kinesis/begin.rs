//! Where reading begins the first time.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::config::{Since, ValueError, read_from_text};

/// Where reading begins, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With what comes from now on.
    Latest,
    /// With the oldest that the stream still has.
    TrimHorizon,
    /// With what came at this time or later.
    At(Since),
}

impl FromStr for Begin {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Begin, ValueError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "latest" => Ok(Begin::Latest),
            "trim_horizon" | "beginning" => Ok(Begin::TrimHorizon),
            _ => text.parse().map(Begin::At).map_err(|_| {
                ValueError::new(
                    format!("`{text}` is no place in a stream"),
                    "write `latest`, `trim_horizon`, a duration before now (`6h`), a day (`2024-02-29`) or a time (`2024-02-29T12:00:00Z`)",
                )
            }),
        }
    }
}

impl fmt::Display for Begin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Begin::Latest => formatter.write_str("latest"),
            Begin::TrimHorizon => formatter.write_str("trim_horizon"),
            Begin::At(since) => since.fmt(formatter),
        }
    }
}

read_from_text!(
    Begin,
    "\"latest\", \"trim_horizon\", or a time: \"6h\", \"2024-02-29\", \"2024-02-29T12:00:00Z\"",
    ["latest", "trim_horizon", "2024-02-29T12:00:00Z"]
);

impl Begin {
    /// When that is, milliseconds since 1970, once and for all: a later run goes on from the same time. `None`: the oldest.
    pub(super) fn time(self, now: Timestamp) -> Option<i64> {
        match self {
            Begin::TrimHorizon | Begin::At(Since::Beginning) => None,
            Begin::Latest => Some(now.0 / 1_000_000),
            Begin::At(since) => Some(since.time(now).0 / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        let now = Timestamp::from_seconds(1_709_208_000);
        for (text, time, shown) in [
            ("latest", Some(1_709_208_000_000), "latest"),
            ("LATEST", Some(1_709_208_000_000), "latest"),
            ("trim_horizon", None, "trim_horizon"),
            ("TRIM_HORIZON", None, "trim_horizon"),
            ("2024-02-29T11:00:00Z", Some(1_709_204_400_000), "2024-02-29T11:00:00Z"),
            ("1h", Some(1_709_204_400_000), "60 min"),
        ] {
            let begin: Begin = text.parse().unwrap();
            assert_eq!(begin.time(now), time, "{text}");
            assert_eq!(begin.to_string(), shown);
            assert_eq!(shown.parse::<Begin>().unwrap(), begin);
        }
        for wrong in ["", "newest", "-1h"] {
            assert!(wrong.parse::<Begin>().is_err(), "{wrong}");
        }
    }
}
