//! Values that carry their unit as text: sizes, durations; and secrets, which are never text.

use super::masked::SECRET_AS_TEXT;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Parts the message from the words under the caret in an error text on its way through serde.
pub(super) const LABEL: char = '\u{1f}';

/// Why a value was refused: what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{LABEL}{hint}")]
pub struct ValueError {
    /// What is wrong, for the head line.
    pub message: String,
    /// What to write instead, for the words under the caret.
    pub hint: String,
}

impl ValueError {
    /// Makes an error of what is wrong and what to write instead.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// A number of bytes, written with its unit: `"64 MiB"`, `"1 GiB"`, `"10 MB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Units of a size, largest first within each family, with their number of bytes.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Makes a size of `bytes` bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Makes a size of `n` KiB (1,024 bytes each).
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// Makes a size of `n` MiB (1,048,576 bytes each).
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Makes a size of `n` GiB (1,073,741,824 bytes each).
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// Returns the size in bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the size in bytes for memory; `usize::MAX` where the machine cannot address as much.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        let bad = || {
            ValueError::new(
                format!("`{text}` is not a size"),
                "write a number and its unit, as in \"64 MiB\"",
            )
        };
        if number.is_empty() {
            return Err(if text.starts_with('-') {
                ValueError::new("a size cannot be negative", "write a number and its unit, as in \"64 MiB\"")
            } else {
                bad()
            });
        }
        if unit.is_empty() {
            let hint = match number.parse::<u64>() {
                Ok(bytes) if bytes >= 1024 => format!("write \"{}\"", Self(bytes)),
                _ => format!("write \"{number} MiB\", or another unit: B, KiB, GiB, kB, MB, GB"),
            };
            return Err(ValueError::new("a size needs its unit", hint));
        }
        let known = SIZES
            .iter()
            .find(|(name, _)| *name == unit)
            .or_else(|| SIZES.iter().find(|(name, _)| name.len() > 1 && name.eq_ignore_ascii_case(unit)));
        let Some((_, factor)) = known else {
            let letter = unit.chars().next().map_or('M', |c| c.to_ascii_uppercase());
            return Err(if unit.len() == 1 && "KMGT".contains(letter) {
                ValueError::new(
                    format!("`{unit}` is not a unit of size"),
                    format!(
                        "write \"{number} {letter}iB\" (powers of 1024) or \"{number} {letter}B\" (powers of 1000)"
                    ),
                )
            } else {
                ValueError::new(
                    format!("`{unit}` is not a unit of size"),
                    "units are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
                )
            });
        };
        // The whole and the fraction apart, in integers: a float would round large sizes.
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let too_large = || {
            ValueError::new(format!("`{text}` is too large a size"), "the largest size is \"16777215 TiB\"")
        };
        if fraction.len() > 6 || fraction.contains('.') || whole.is_empty() {
            return Err(bad());
        }
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let scale = 10u64.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| bad())? };
        let bytes = whole
            .checked_mul(*factor)
            .and_then(|bytes| bytes.checked_add(fraction.checked_mul(*factor)? / scale))
            .ok_or_else(too_large)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZES
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{} {unit}", self.0 / factor)
    }
}

/// A length of time, written with its unit: `"30s"`, `"10 min"`, `"1h30m"`, `"7 d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// Makes a duration of `n` seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(std::time::Duration::from_secs(n))
    }

    /// Makes a duration of `n` minutes.
    pub const fn minutes(n: u64) -> Self {
        Self::seconds(n * 60)
    }

    /// Makes a duration of `n` days of 24 hours.
    pub const fn days(n: u64) -> Self {
        Self::seconds(n * 86_400)
    }

    /// Returns the duration.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Duration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        const HINT: &str = "write a number and its unit, as in \"30s\", \"10 min\" or \"7 d\"";
        if text.starts_with('-') {
            return Err(ValueError::new("a duration cannot be negative", HINT));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(ValueError::new(
                "a duration needs its unit",
                format!("write \"{text}s\" for seconds, or another unit: \"ms\", \"min\", \"h\", \"d\""),
            ));
        }
        let bad = || ValueError::new(format!("`{text}` is not a duration"), HINT);
        let span = jiff::fmt::friendly::SpanParser::new().parse_span(text).map_err(|_| bad())?;
        if span.get_months() != 0 || span.get_years() != 0 {
            return Err(ValueError::new("months and years differ in length", "write days, as in \"30 d\""));
        }
        let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
        std::time::Duration::try_from(duration).map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if nanos != 0 {
            return match nanos % 1_000_000 {
                0 => write!(f, "{}ms", self.0.as_millis()),
                _ => write!(f, "{}ns", self.0.as_nanos()),
            };
        }
        // Up to 90 seconds, 90 minutes and 48 hours read better in the smaller unit.
        match seconds {
            s if s >= 2 * 86_400 && s.is_multiple_of(86_400) => write!(f, "{} d", s / 86_400),
            s if s >= 2 * 3_600 && s.is_multiple_of(3_600) => write!(f, "{} h", s / 3_600),
            s if s >= 2 * 60 && s.is_multiple_of(60) => write!(f, "{} min", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

/// Text that must not be seen: only `{ env = "NAME" }` or `{ file = "path" }`, never text in the configuration.
///
/// `Debug` prints `***`; there is no `Display` and no `Serialize` of the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The key of the table by which the reader hands a resolved secret to [`Secret`]; no TOML file can spell it by accident.
pub(super) const SECRET_KEY: &str = "\u{0}secret";

impl Secret {
    /// Makes a secret of text that did not come from a configuration file.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text. Whoever calls this must not log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{ env = \"NAME\" }` or `{ file = \"path\" }`")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
                Err(E::custom(ValueError::new(
                    SECRET_AS_TEXT,
                    "write { env = \"NAME\" } or { file = \"path\" }",
                )))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                match map.next_entry::<Cow<'_, str>, String>()? {
                    Some((key, text)) if key == SECRET_KEY => Ok(Secret(text)),
                    _ => Err(de::Error::custom(ValueError::new(
                        SECRET_AS_TEXT,
                        "write { env = \"NAME\" } or { file = \"path\" }",
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret: `{ env = \"NAME\" }` or `{ file = \"path\" }`, never text.",
            "$ref": "#/$defs/Reference"
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Gives a type that is read from text its serde and schema sides.
macro_rules! read_from_text {
    ($type:ident, $expected:literal, [$($example:literal),*]) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;
                impl ::serde::de::Visitor<'_> for Reader {
                    type Value = $type;

                    fn expecting(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        formatter.write_str($expected)
                    }

                    fn visit_str<E: ::serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Reader)
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string", "examples": [$($example),*] })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}
pub(crate) use read_from_text;

/// Gives a type that is written as text with a unit its serde and schema sides.
macro_rules! text_with_unit {
    ($type:ident, $what:literal, $hint:literal, $pattern:literal, [$($example:literal),*]) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;
                impl Visitor<'_> for Reader {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($what, " with its unit, as in ", $hint))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        // The text road has the better words: it knows the number.
                        number.to_string().parse().map_err(E::custom)
                    }

                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Reader)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$($example),*] })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}

text_with_unit!(
    ByteSize,
    "a size",
    "\"64 MiB\"",
    "^ *[0-9]+(\\.[0-9]+)? *([KMGT]iB|[kKMGT]B|B) *$",
    ["64 MiB", "1 GiB", "10 MB"]
);
text_with_unit!(Duration, "a duration", "\"30s\"", "^ *[0-9].*[a-zµ] *$", ["30s", "10 min", "7 d"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, bytes) in [
            ("64 MiB", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1.5 GiB", 3 << 29),
            ("10 MB", 10_000_000),
            ("1 kB", 1000),
            ("1 KB", 1000),
            ("512 B", 512),
            ("0 B", 0),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize::bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_without_a_sensible_unit_are_refused() {
        for text in [
            "",
            "64",
            "64M",
            "MiB",
            "-1 MiB",
            "64 XB",
            "1..5 MiB",
            ".5 MiB",
            "1.0000001 B",
            "99999999999999 TiB",
            "64 b",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, seconds) in [
            ("30s", 30),
            ("10 min", 600),
            ("7 d", 604_800),
            ("1h30m", 5_400),
            ("1 h", 3_600),
            ("2 weeks", 1_209_600),
        ] {
            assert_eq!(text.parse(), Ok(Duration::seconds(seconds)), "{text}");
        }
        assert_eq!("250ms".parse(), Ok(Duration::from(std::time::Duration::from_millis(250))));
    }

    #[test]
    fn durations_without_a_sensible_unit_are_refused() {
        for text in ["", "30", "-5s", "soon", "1 month", "2 years", "s", "1 fortnight", "99999999999999999 d"]
        {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same() {
        for size in [0, 1, 1000, 1024, 1536, 64 << 20, 10_000_000, u64::MAX] {
            let size = ByteSize::bytes(size);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for seconds in [0, 1, 30, 90, 120, 3_600, 5_400, 86_400, 30 * 86_400] {
            let duration = Duration::seconds(seconds);
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
        assert_eq!(serde_json::to_string(&Secret::new("hunter2")).unwrap(), "\"***\"");
        assert!(toml::from_str::<std::collections::BTreeMap<String, Secret>>("token = \"hunter2\"").is_err());
    }
}
