//! Names of indexes, data streams and index templates.

use std::fmt;
use std::str::FromStr;

use crate::config::{ValueError, read_from_text};
use crate::sink::template::{Template, Words};

/// What names may look like.
pub(super) const NAMES: &str =
    "write small letters, digits, `-`, `_` and `.`; begin with a letter or a digit; at most 200 bytes";

/// Which index an event goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index(Template);

impl Index {
    /// The names in it, for one event after the other.
    pub(super) fn template(&self) -> Template {
        self.0.clone()
    }

    /// Which indexes it can be, with `*`; without where it is one.
    pub(super) fn pattern(&self) -> String {
        let text = self.0.to_string();
        match text.split_once('{') {
            Some((before, _)) => format!("{before}*"),
            None => text,
        }
    }
}

impl FromStr for Index {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Index, ValueError> {
        let refused = |what| ValueError::new(format!("no index can be named so: {what}"), NAMES);
        if let Some(what) = bad_name(text).filter(|_| text.contains('/') || text.starts_with('.')) {
            return Err(refused(what));
        }
        let template = Template::parse_as(text, &INDEX)?;
        if text.starts_with('{') {
            let hint = "write it as in \"cloudtrail-{year}.{month}.{day}\": its beginning is what the index template is for";
            return Err(ValueError::new("the name of an index begins with text", hint));
        }
        // Every name in braces is replaced by what can stand there.
        match bad_name(&text.replace(['{', '}'], "")) {
            Some(what) => Err(refused(what)),
            None => Ok(Index(template)),
        }
    }
}

/// What an index is called where a template is refused.
const INDEX: Words = Words {
    one: "an index",
    empty: ("the name of the index is empty", "write it as in \"cloudtrail-{year}.{month}.{day}\""),
    too_long: "the name of the index can become too long",
    shorter: "leave names in braces out",
};

impl fmt::Display for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

read_from_text!(
    Index,
    "the name of an index, as in \"cloudtrail-{year}.{month}.{day}\"",
    ["cloudtrail-{year}.{month}.{day}"]
);

/// Why an index, a stream or a template cannot have this name.
pub(super) fn bad_name(name: &str) -> Option<String> {
    let bad = |letter: &char| !matches!(letter, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if let Some(letter) = name.chars().find(bad) {
        return Some(format!("`{}` cannot stand in it", letter.escape_debug()));
    }
    match name.bytes().next() {
        None => Some("it is empty".to_owned()),
        Some(b'-' | b'_' | b'.') => Some("it begins with a mark".to_owned()),
        _ if name.len() > 200 => Some("it is too long".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_index_can_have_is_refused_and_told_as_one_of_an_index() {
        for (bad, message) in [
            ("CloudTrail-{date}", "no index can be named so: `C` cannot stand in it"),
            ("a/b-{date}", "no index can be named so: `/` cannot stand in it"),
            ("-{date}", "no index can be named so: it begins with a mark"),
            ("..", "no index can be named so: it begins with a mark"),
            ("{date}", "the name of an index begins with text"),
            ("a-{user}", "`{user}` is not a name that an index may use"),
            ("", "the name of the index is empty"),
        ] {
            assert_eq!(bad.parse::<Index>().unwrap_err().message, message);
        }
        for bad in ["\\", "*", "?", "\"", "<", ">", "|", " ", ",", "#", ":"] {
            let told = format!("a{bad}b").parse::<Index>().unwrap_err();
            assert!(told.message.starts_with("no index can be named so"), "{bad}: {told}");
        }
        assert!("a".repeat(201).parse::<Index>().is_err());
    }

    #[test]
    fn the_pattern_is_what_all_its_indexes_begin_with() {
        let pattern = |text: &str| text.parse::<Index>().unwrap().pattern();
        assert_eq!(pattern("trail-{account}-{date}"), "trail-*");
        assert_eq!(pattern("trail"), "trail");
    }
}
