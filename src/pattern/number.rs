//! Numbers compared as decimals, exactly, from their text.

use std::cmp::Ordering;

/// A JSON number, split so that it can be compared without arithmetic: ± 0.d₁d₂… × 10^point, d₁ not zero.
///
/// Zero has no digits. Borrowed from the number's text; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal<'a> {
    negative: bool,
    /// The digits before the point and those behind it; together without leading zeros.
    digits: (&'a [u8], &'a [u8]),
    /// The power of ten; clamped to ± 2^62, far beyond any text's length.
    point: i64,
}

const FAR: i64 = 1 << 62;

impl<'a> Decimal<'a> {
    /// Reads the text of a JSON number; `None` for anything else.
    pub(super) fn parse(text: &'a [u8]) -> Option<Decimal<'a>> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (whole, rest) = digits(rest);
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with(b"0")) {
            return None;
        }
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => match digits(rest) {
                ([], _) => return None,
                found => found,
            },
            _ => (&rest[..0], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        let (whole, mut fraction, mut point) = match whole {
            b"0" => (&whole[..0], fraction, 0),
            _ => (whole, fraction, i64::try_from(whole.len()).unwrap_or(FAR)),
        };
        if whole.is_empty() {
            let zeros = fraction.iter().take_while(|&&digit| digit == b'0').count();
            fraction = &fraction[zeros..];
            point = -i64::try_from(zeros).unwrap_or(FAR);
        }
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Decimal {
            negative: negative && !zero,
            digits: (whole, fraction),
            point: if zero { 0 } else { point.saturating_add(exponent).clamp(-FAR, FAR) },
        })
    }

    fn is_zero(&self) -> bool {
        self.digits.0.is_empty() && self.digits.1.is_empty()
    }

    fn magnitude(&self, other: &Decimal<'_>) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        self.point.cmp(&other.point).then_with(|| {
            let mine = self.digits.0.iter().chain(self.digits.1);
            let mut theirs = other.digits.0.iter().chain(other.digits.1);
            for digit in mine {
                match digit.cmp(theirs.next().unwrap_or(&b'0')) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                }
            }
            if theirs.any(|&digit| digit != b'0') { Ordering::Less } else { Ordering::Equal }
        })
    }

    /// Compares the values: `5.0` equals `5`, `-0` equals `0`.
    pub(super) fn compare(&self, other: &Decimal<'_>) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (digits, []) = digits(rest) else { return None };
    if digits.is_empty() {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(FAR));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(a: &str, b: &str) -> Ordering {
        Decimal::parse(a.as_bytes()).unwrap().compare(&Decimal::parse(b.as_bytes()).unwrap())
    }

    #[test]
    fn one_value_has_many_spellings() {
        for (a, b) in [
            ("5", "5.0"),
            ("5", "5e0"),
            ("5", "0.5E+1"),
            ("50e-1", "5.000"),
            ("0", "-0.0"),
            ("0", "0e999"),
            ("0.0e5", "-0"),
            ("100", "1e2"),
            ("0.001", "1e-3"),
            ("1200", "12e2"),
            ("0.00120", "12e-4"),
            ("-5", "-5.0"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn order_is_exact_whatever_the_size() {
        let rising = [
            "-1e400",
            "-9007199254740993",
            "-9007199254740992",
            "-5.1",
            "-5",
            "-0.001",
            "-1e-400",
            "0",
            "1e-400",
            "0.001",
            "0.1234567890123456788",
            "0.1234567890123456789",
            "1",
            "9.99",
            "10",
            "9007199254740992",
            "9007199254740993",
            "1e309",
            "1e400",
            "1e99999999999999999999",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_no_json_number_is_none() {
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "0x1", "1 ", "NaN", "\"1\"", "true"] {
            assert!(Decimal::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
