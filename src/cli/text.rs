//! Numbers as people read them, and times as they write them.

use crate::config::{Since, ValueError};

/// Writes a count with thousands separators: `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a number of bytes in units of a thousand, with three digits or so: `812 B`, `64.0 MB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut unit = 1u64;
    let mut name = "B";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if bytes < unit.saturating_mul(1000) {
            break;
        }
        unit *= 1000;
        name = next;
    }
    if unit == 1 || bytes / unit >= 100 {
        return format!("{} {name}", bytes / unit);
    }
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// Writes the share of a whole in percent: `97.4 %`; of nothing, `–`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Reads a point in time from the command line.
pub(super) fn since(text: &str) -> Result<Since, String> {
    text.parse().map_err(|error: ValueError| format!("{}: {}", error.message, error.hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        let counts = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, expected) in counts {
            assert_eq!(count(number), expected);
        }
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (64_049_000, "64.0 MB"),
            (999_999, "999 kB"),
            (u64::MAX, "18446 PB"),
        ];
        for (number, expected) in sizes {
            assert_eq!(bytes(number), expected);
        }
        assert_eq!((percent(1, 3).as_str(), percent(0, 0).as_str()), ("33.3 %", "–"));
    }
}
