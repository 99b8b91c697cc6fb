//! What may be wanted of one value, and the two readings of text that Event Ruler and we share: addresses and case.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use icu_casemap::CaseMapper;
use ipnet::IpNet;

/// One value of a field's list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matcher {
    /// This string.
    Text(Box<str>),
    /// A string that is this address, however it is written. Never a v4-mapped one.
    Address(IpAddr),
    /// A number of this value; the text is a JSON number.
    Number(Box<str>),
    /// `null`, `true` or `false`.
    Literal(&'static str),
    Prefix(Box<str>),
    Suffix(Box<str>),
    /// Folded.
    PrefixIgnoreCase(Box<str>),
    /// Folded.
    SuffixIgnoreCase(Box<str>),
    /// Folded.
    IgnoreCase(Box<str>),
    /// The literal parts between the stars: at least one; exactly one where there is no star.
    Wildcard(Vec<Box<str>>),
    /// A number within the range; at least one end is there.
    Numeric {
        low: Option<Bound>,
        high: Option<Bound>,
    },
    /// A string that is an address in this range. Never a v4-mapped one.
    Cidr(IpNet),
    /// There is a leaf, whatever it is.
    Exists,
    /// There is no leaf.
    Absent,
    /// There is a leaf, and none of these match it.
    Not(Vec<Matcher>),
}

/// An end of a range of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    /// A JSON number.
    pub(super) number: Box<str>,
    pub(super) inclusive: bool,
}

/// Reads an address the way Event Ruler does: dotted v4 with leading zeros (decimal, 15 bytes at most), or v6 in hex
/// digits and colons only. A v4-mapped v6 address is the v4 address.
///
/// Source: `Constants.IPv4_REGEX`, `IPv6_REGEX` of Event Ruler 2.1.0 and `java.net.InetAddress`.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let bytes = text.as_bytes();
    if bytes.len() < 2 || bytes.len() > 256 {
        return None;
    }
    if bytes.contains(&b':') {
        bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b':').then_some(())?;
        let v6: Ipv6Addr = match text.parse() {
            Ok(v6) => v6,
            // Java allows any number of leading zeros in a group.
            Err(_) => {
                let group = |group: &str| match group.trim_start_matches('0') {
                    "" if !group.is_empty() => "0".to_owned(),
                    short => short.to_owned(),
                };
                text.split(':').map(group).collect::<Vec<_>>().join(":").parse().ok()?
            }
        };
        return Some(IpAddr::V6(v6).to_canonical());
    }
    if bytes.len() > 15 {
        return None;
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// Reads an address as `cidr` does: also v6 addresses whose last four bytes are dotted (`::ffff:10.0.0.1`).
pub(super) fn address_in_any_spelling(text: &str) -> Option<IpAddr> {
    address(text).or_else(|| {
        let v6: Ipv6Addr = text.parse().ok()?;
        Some(IpAddr::V6(v6).to_canonical())
    })
}

/// The simple case folding of one character.
///
/// Source: Unicode `CaseFolding.txt`, statuses C and S.
pub(super) fn fold(character: char) -> char {
    const FOLDS: icu_casemap::CaseMapperBorrowed<'static> = CaseMapper::new();
    if character.is_ascii() { character.to_ascii_lowercase() } else { FOLDS.simple_fold(character) }
}

/// The same of a whole text.
pub(super) fn folded(text: &str) -> Box<str> {
    text.chars().map(fold).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_event_ruler_reads_them() {
        for (text, same) in [
            ("010.0.0.01", "10.0.0.1"),
            ("0000000.1.2.3", "0.1.2.3"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("00001::", "1::"),
            ("2001:DB8::1", "2001:db8:0::1"),
            ("::ffff:a00:1", "10.0.0.1"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ] {
            assert_eq!(address(text), Some(same.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ":",
            ":1",
            "1:",
            "1::2::3",
            "12345::",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1.",
            " 10.0.0.1",
            "+1.2.3.4",
            "::ffff:10.0.0.1",
            "00000000000.1.2.3",
            "1:2:3:4:5:6:7:8::",
            "fe80::1%eth0",
            "[::1]",
            "cafe",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
        assert_eq!(address_in_any_spelling("::FFFF:10.0.0.1"), Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn folding_is_simple_and_reaches_all_of_unicode() {
        assert_eq!(&*folded("ẞ"), "ß");
        assert_eq!(&*folded("𐐀K\u{212a}ſΣς"), "𐐨kksσσ");
        assert_eq!(&*folded("İ"), "İ");
    }
}
