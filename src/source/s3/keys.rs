//! The names of CloudTrail's objects: what their minute is, and from which key on to list.
//!
//! `…/AWSLogs/<account>/CloudTrail/<region>/2024/02/29/<account>_CloudTrail_<region>_20240229T2355Z_Abc0123456789xyz.json.gz`
//!
//! The minute is that of delivery. Keys of one partition sort by it, and then by the random end: a key that comes later
//! may sort before one that came earlier, also days before (a late file stands under its own day). So listing begins
//! some time before the newest minute, and what was seen is remembered.
//!
//! Source: CloudTrail User Guide, *CloudTrail log file examples*.

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A minute of UTC, counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Minute(pub i64);

impl Minute {
    /// The minute an instant is in.
    pub(super) fn of(now: crate::clock::Timestamp) -> Minute {
        Minute(now.0.div_euclid(60_000_000_000))
    }

    /// So many minutes before.
    #[must_use]
    pub(super) fn before(self, minutes: i64) -> Minute {
        Minute(self.0.saturating_sub(minutes))
    }

    /// The hour it is in, counted from 1970.
    pub(super) fn hour(self) -> i64 {
        self.0.div_euclid(60)
    }

    fn civil(self) -> Option<DateTime> {
        let instant = Instant::from_second(self.0.checked_mul(60)?).ok()?;
        Some(instant.to_zoned(TimeZone::UTC).datetime())
    }

    /// `2024-02-29T23:55Z`, for people.
    pub(super) fn shown(self) -> String {
        self.civil().map_or_else(|| self.0.to_string(), |time| time.strftime("%Y-%m-%dT%H:%MZ").to_string())
    }
}

/// The minute in a file's name: the `_YYYYMMDDTHHmmZ_` before the random end. (A digest's `_YYYYMMDDTHHmmssZ` counts, too.)
pub(super) fn minute(name: &str) -> Option<Minute> {
    name.split(['_', '.']).rev().find_map(|part| {
        let digits = part.strip_suffix('Z')?;
        let (day, time) = digits.split_once('T')?;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if day.len() != 8 || !(time.len() == 4 || time.len() == 6) || !plain(day) || !plain(time) {
            return None;
        }
        let number = |text: &str| text.parse::<i16>().ok();
        let small = |text: &str| text.parse::<i8>().ok();
        let time = DateTime::new(
            number(&day[..4])?,
            small(&day[4..6])?,
            small(&day[6..8])?,
            small(&time[..2])?,
            small(&time[2..4])?,
            0,
            0,
        );
        let second = time.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
        Some(Minute(second.div_euclid(60)))
    })
}

/// What stands in a file's name before its minute: `<account>_CloudTrail_<region>_`.
pub(super) fn stem(name: &str) -> Option<&str> {
    minute(name)?;
    let digits = |byte: u8| byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let at = (0..bytes.len().saturating_sub(9)).rev().find(|&at| {
        (at == 0 || bytes[at - 1] == b'_')
            && bytes[at..at + 8].iter().copied().all(digits)
            && bytes.get(at + 8) == Some(&b'T')
    })?;
    name.get(..at)
}

/// The key to list after so that every key of `minute` and later is found: the partition's prefix, the day's path, the stem,
/// the minute. Where the stem is not known, the day's path alone.
pub(super) fn start_after(prefix: &str, stem: Option<&str>, minute: Minute) -> String {
    let Some(time) = minute.civil() else { return prefix.to_owned() };
    let day = time.strftime("%Y/%m/%d/");
    match stem {
        // No key is equal to it: a key goes on with `Z_`.
        Some(stem) => format!("{prefix}{day}{stem}{}", time.strftime("%Y%m%dT%H%M")),
        None => format!("{prefix}{day}"),
    }
}

/// What an object of the bucket is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// Events of this minute.
    Log(Minute),
    /// A directory's placeholder, another service's file, a name without a time.
    Other,
}

/// What a key is, by its name.
pub(super) fn object(key: &str) -> Object {
    let name = key.rsplit('/').next().unwrap_or(key);
    match minute(name) {
        Some(minute) if name.ends_with(".json.gz") || name.ends_with(".json") => Object::Log(minute),
        _ => Object::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "123456789012_CloudTrail_eu-west-1_20240229T2355Z_Abc0123456789xyz.json.gz";
    const PREFIX: &str = "AWSLogs/123456789012/CloudTrail/eu-west-1/";

    #[test]
    fn names_tell_their_minute_and_their_stem() {
        assert_eq!(minute(NAME).unwrap().shown(), "2024-02-29T23:55Z");
        assert_eq!(stem(NAME), Some("123456789012_CloudTrail_eu-west-1_"));
        let digest = "1_CloudTrail-Digest_us-east-1_my_trail.x-1_us-east-1_20240229T235501Z_backfill.json.gz";
        assert_eq!(minute(digest), minute(NAME));
        for none in ["", "x.json.gz", "1_20240229T2355_x", "1_20241329T2355Z_x.json.gz", "1_202402290T235Z_x"]
        {
            assert_eq!((minute(none), stem(none)), (None, None), "{none}");
        }
    }

    #[test]
    fn listing_begins_before_every_key_of_the_minute_and_after_those_of_the_minute_before() {
        let at = minute(NAME).unwrap();
        let from = start_after(PREFIX, stem(NAME), at);
        let key = format!("{PREFIX}2024/02/29/{NAME}");
        assert!(from < key);
        assert!(from > key.replace("T2355Z", "T2354Z"));
        let midnight = start_after(PREFIX, stem(NAME), Minute(at.0 + 5));
        assert!(midnight > key && midnight.contains("/2024/03/01/") && midnight.ends_with("20240301T0000"));
        let year = start_after(PREFIX, None, minute("x_20231231T2359Z_a").unwrap());
        assert_eq!(year, format!("{PREFIX}2023/12/31/"));
    }

    #[test]
    fn what_is_no_log_is_told_apart() {
        let at = minute(NAME).unwrap();
        assert_eq!(object(&format!("{PREFIX}2024/02/29/{NAME}")), Object::Log(at));
        for other in ["AWSLogs/123456789012/", "a/vpcflow_20240229T2355Z_x.log.gz", "a/result_1.csv.gz"] {
            assert_eq!(object(other), Object::Other, "{other}");
        }
    }
}
