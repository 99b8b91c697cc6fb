//! One value's text held against what is wanted of it, without a copy where the text has no escapes.

use std::cmp::Ordering;

use foldhash::HashSet;
use memchr::{memchr, memmem};

use super::number::Decimal;
use super::value::{Bound, Matcher, address, address_in_any_spelling, fold};

/// A value's text by kind.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    /// Without quotes, escapes undone.
    Text(&'a [u8]),
    /// As written.
    Number(&'a [u8]),
    /// `null`, `true`, `false`.
    Literal(&'a [u8]),
}

impl<'a> Content<'a> {
    /// Reads a leaf's JSON text; `scratch` takes a string that has escapes, where there may be `escapes`.
    #[inline]
    pub(super) fn of(raw: &'a [u8], escapes: bool, scratch: &'a mut Vec<u8>) -> Content<'a> {
        match raw {
            [b'"', inner @ .., b'"'] if !escapes => Content::Text(inner),
            [b'"', inner @ .., b'"'] => match memchr(b'\\', inner) {
                None => Content::Text(inner),
                Some(first) => {
                    unescape(inner, first, scratch);
                    Content::Text(scratch)
                }
            },
            [b'n' | b't' | b'f', ..] => Content::Literal(raw),
            _ => Content::Number(raw),
        }
    }
}

/// Undoes a string's escapes. Half of a surrogate pair becomes U+FFFD; what is no escape stays as it is.
fn unescape(text: &[u8], first: usize, out: &mut Vec<u8>) {
    out.clear();
    let mut rest = text;
    let mut next = Some(first);
    while let Some(at) = next {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        rest = match rest {
            [b'\\', b'u', hex @ ..] => match unit(hex) {
                Some(high @ 0xD800..=0xDBFF) => match &hex[4..] {
                    [b'\\', b'u', low @ ..] if matches!(unit(low), Some(0xDC00..=0xDFFF)) => {
                        let low_unit = unit(low).unwrap_or(0xDC00);
                        push(out, 0x10000 + ((high - 0xD800) << 10) + (low_unit - 0xDC00));
                        &low[4..]
                    }
                    other => {
                        push(out, 0xFFFD);
                        other
                    }
                },
                Some(unit) => {
                    push(out, unit);
                    &hex[4..]
                }
                None => {
                    out.extend_from_slice(b"\\u");
                    hex
                }
            },
            [b'\\', escaped, after @ ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'f' => 12,
                    plain => *plain,
                });
                after
            }
            [_, after @ ..] => after,
            [] => rest,
        };
        next = memchr(b'\\', rest);
    }
    out.extend_from_slice(rest);
}

fn unit(hex: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(hex.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

fn push(out: &mut Vec<u8>, code: u32) {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The values of one field, made ready: any of them may hold.
#[derive(Debug)]
pub(super) struct Wanted {
    /// `{"exists": false}` is among them.
    pub(super) absent: bool,
    exists: bool,
    texts: Texts,
    others: Box<[Test]>,
}

/// Exact strings: a few are compared one by one, many are looked up.
#[derive(Debug)]
enum Texts {
    Few(Box<[Box<[u8]>]>),
    Many(HashSet<Box<[u8]>>),
}

impl Texts {
    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Texts {
        let texts: Vec<Box<[u8]>> = texts.map(|text| text.as_bytes().into()).collect();
        if texts.len() > 6 { Texts::Many(texts.into_iter().collect()) } else { Texts::Few(texts.into()) }
    }

    fn contains(&self, text: &[u8]) -> bool {
        match self {
            Texts::Few(texts) => texts.iter().any(|wanted| **wanted == *text),
            Texts::Many(texts) => texts.contains(text),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Texts::Few(texts) if texts.is_empty())
    }
}

/// One value that is no plain string, made ready.
#[derive(Debug)]
enum Test {
    Wildcard(Wildcard),
    Not(Box<Wanted>),
    /// Everything that needs no making ready.
    Plain(Matcher),
}

impl Wanted {
    pub(super) fn new(values: &[Matcher]) -> Wanted {
        let texts = values.iter().filter_map(|matcher| match matcher {
            Matcher::Text(text) => Some(text.as_ref()),
            _ => None,
        });
        let others = values.iter().filter_map(|matcher| match matcher {
            Matcher::Text(_) | Matcher::Exists | Matcher::Absent => None,
            Matcher::Wildcard(parts) => Some(Test::Wildcard(Wildcard::new(parts))),
            Matcher::Not(refused) => Some(Test::Not(Box::new(Wanted::new(refused)))),
            plain => Some(Test::Plain(plain.clone())),
        });
        Wanted {
            absent: values.contains(&Matcher::Absent),
            exists: values.contains(&Matcher::Exists),
            texts: Texts::new(texts),
            others: others.collect(),
        }
    }

    /// How dear it is to judge, roughly.
    pub(super) fn cost(&self) -> u32 {
        u32::try_from(self.others.len()).unwrap_or(u32::MAX - 1).min(u32::MAX - 1)
    }

    /// Whether a leaf's JSON text is what is wanted; `escapes`: there may be some in it.
    pub(super) fn holds(&self, raw: &[u8], escapes: bool, scratch: &mut Vec<u8>) -> bool {
        self.exists || self.admits(Content::of(raw, escapes, scratch))
    }

    fn admits(&self, content: Content<'_>) -> bool {
        if let Content::Text(text) = content
            && !self.texts.is_empty()
            && self.texts.contains(text)
        {
            return true;
        }
        self.others.iter().any(|test| match (test, content) {
            (Test::Not(refused), _) => !refused.admits(content),
            (Test::Wildcard(wildcard), Content::Text(text)) => wildcard.matches(text),
            (Test::Wildcard(_), _) => false,
            (Test::Plain(matcher), Content::Text(text)) => text_holds(matcher, text),
            (Test::Plain(matcher), Content::Number(number)) => number_holds(matcher, number),
            (Test::Plain(matcher), Content::Literal(text)) => {
                matches!(matcher, Matcher::Literal(wanted) if wanted.as_bytes() == text)
            }
        })
    }
}

fn text_holds(matcher: &Matcher, text: &[u8]) -> bool {
    match matcher {
        Matcher::Prefix(wanted) => text.starts_with(wanted.as_bytes()),
        Matcher::Suffix(wanted) => text.ends_with(wanted.as_bytes()),
        Matcher::Address(wanted) => maybe_address(text).and_then(address) == Some(*wanted),
        Matcher::Cidr(net) => {
            maybe_address(text).and_then(address_in_any_spelling).is_some_and(|found| net.contains(&found))
        }
        Matcher::IgnoreCase(wanted) if text.is_ascii() => {
            text.len() == wanted.len() && text.iter().map(u8::to_ascii_lowercase).eq(wanted.bytes())
        }
        Matcher::IgnoreCase(wanted) => {
            utf8(text).is_some_and(|text| text.chars().map(fold).eq(wanted.chars()))
        }
        Matcher::PrefixIgnoreCase(wanted) => starts_with(folds(text), wanted.chars()),
        Matcher::SuffixIgnoreCase(wanted) => starts_with(folds(text).rev(), wanted.chars().rev()),
        _ => false,
    }
}

fn folds(text: &[u8]) -> impl DoubleEndedIterator<Item = char> {
    utf8(text).unwrap_or_default().chars().map(fold)
}

fn starts_with(mut text: impl Iterator<Item = char>, mut wanted: impl Iterator<Item = char>) -> bool {
    wanted.all(|character| text.next() == Some(character))
}

fn utf8(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

fn maybe_address(text: &[u8]) -> Option<&str> {
    let begins = text.first().is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':');
    if begins { utf8(text) } else { None }
}

fn number_holds(matcher: &Matcher, number: &[u8]) -> bool {
    let compare = |other: &str| Some(Decimal::parse(number)?.compare(&Decimal::parse(other.as_bytes())?));
    let within = |bound: Option<&Bound>, side: Ordering| {
        bound.is_none_or(|bound| match compare(&bound.number) {
            Some(Ordering::Equal) => bound.inclusive,
            other => other == Some(side),
        })
    };
    match matcher {
        Matcher::Number(wanted) => compare(wanted) == Some(Ordering::Equal),
        Matcher::Numeric { low, high } => {
            within(low.as_ref(), Ordering::Greater) && within(high.as_ref(), Ordering::Less)
        }
        _ => false,
    }
}

/// A text with stars: what stands before the first, between them, and behind the last. Takes time linear in the text.
#[derive(Debug)]
struct Wildcard {
    first: Box<[u8]>,
    between: Box<[memmem::Finder<'static>]>,
    /// `None`: there is no star.
    last: Option<Box<[u8]>>,
}

impl Wildcard {
    fn new(parts: &[Box<str>]) -> Wildcard {
        let (first, rest) =
            parts.split_first().map_or((&[] as &[u8], parts), |(first, rest)| (first.as_bytes(), rest));
        let (last, between) = match rest.split_last() {
            Some((last, between)) => (Some(last.as_bytes().into()), between),
            None => (None, rest),
        };
        Wildcard {
            first: first.into(),
            between: between.iter().map(|part| memmem::Finder::new(part.as_bytes()).into_owned()).collect(),
            last,
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        let Some(last) = &self.last else { return *text == *self.first };
        let Some(text) = without(text, &self.first, <[u8]>::strip_prefix) else { return false };
        let Some(mut text) = without(text, last, <[u8]>::strip_suffix) else { return false };
        // The leftmost place for each part leaves the most room for those behind it.
        for finder in &self.between {
            match finder.find(text) {
                Some(at) => text = &text[at + finder.needle().len()..],
                None => return false,
            }
        }
        true
    }
}

/// What is left of a text without an end of it. An empty end stands nowhere in memory: comparing with it, though there is
/// nothing to compare, faults within the processor and takes hundreds of cycles.
#[inline]
fn without<'t>(
    text: &'t [u8],
    end: &[u8],
    strip: fn(&'t [u8], &[u8]) -> Option<&'t [u8]>,
) -> Option<&'t [u8]> {
    if end.is_empty() { Some(text) } else { strip(text, end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_whatever_they_are() {
        for (raw, expected) in [
            (r#""a\nb\/c\\d\"""#, "a\nb/c\\d\""),
            (r#""\u0041\u00e9\ud83d\ude00!""#, "Aé😀!"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""plain""#, "plain"),
            (r#""\b\f\r\t""#, "\u{8}\u{c}\r\t"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
        ] {
            let mut scratch = Vec::new();
            let Content::Text(text) = Content::of(raw.as_bytes(), true, &mut scratch) else {
                panic!("{raw}")
            };
            assert_eq!(String::from_utf8_lossy(text), expected, "{raw}");
        }
    }

    #[test]
    fn parts_of_a_wildcard_do_not_overlap() {
        let matches = |parts: &[&str], text: &str| {
            Wildcard::new(&parts.iter().map(|part| (*part).into()).collect::<Vec<_>>())
                .matches(text.as_bytes())
        };
        assert!(!matches(&["a", "a"], "a"));
        assert!(matches(&["a", "a"], "aa"));
        assert!(matches(&["", ""], ""));
        assert!(matches(&["", "ab", "b"], "xabb"));
        assert!(!matches(&["", "ab", "b"], "xab"));
        assert!(matches(&["x"], "x"));
        assert!(!matches(&["x"], "xx"));
    }
}
