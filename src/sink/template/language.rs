//! The template language: reading, checking, and telling people of other template languages what to write.

use std::fmt;
use std::str::FromStr;

use super::{LONGEST_VALUE, OUT_OF_RANGE};
use crate::config::ValueError;

/// Longest component of a path with every value at its longest, bytes. File systems allow 255; the rest is for the
/// sequence, the extension, and the name of a part.
const LONGEST_COMPONENT: usize = 200;
/// Longest template, bytes.
const LONGEST_TEMPLATE: usize = 1024;

/// A name that may stand in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    /// Day of the event time, UTC: `2026-01-15`.
    Date,
    /// Hour of the event time, UTC: `00` to `23`.
    Hour,
    /// Year of the event time, UTC: `2026`.
    Year,
    /// Month of the event time, UTC: `01` to `12`.
    Month,
    /// Day of the month of the event time, UTC: `01` to `31`.
    Day,
    /// The account the event was recorded in: 12 digits.
    Account,
    /// The region, as in `eu-west-1`.
    Region,
    /// What the `environment` transform said of the account.
    Environment,
    /// `management`, `data`, `insight`, `network_activity`, `aggregated` or `other`.
    Kind,
    /// The sink's name.
    Sink,
}

/// Names in braces, in the order they are shown.
const VARIABLES: [(&str, Variable); 10] = [
    ("date", Variable::Date),
    ("hour", Variable::Hour),
    ("year", Variable::Year),
    ("month", Variable::Month),
    ("day", Variable::Day),
    ("account", Variable::Account),
    ("region", Variable::Region),
    ("environment", Variable::Environment),
    ("kind", Variable::Kind),
    ("sink", Variable::Sink),
];

/// What people write instead, from the events' own fields and from other shippers.
const MISNOMERS: [(&str, &str); 14] = [
    ("recipientaccountid", "account"),
    ("accountid", "account"),
    ("account_id", "account"),
    ("awsregion", "region"),
    ("aws_region", "region"),
    ("env", "environment"),
    ("eventcategory", "kind"),
    ("eventtype", "kind"),
    ("category", "kind"),
    ("eventtime", "date"),
    ("time", "date"),
    ("timestamp", "date"),
    ("name", "sink"),
    ("minute", "hour"),
];

/// What a template is for, where one is refused.
#[derive(Debug)]
pub struct Words {
    /// What is made of it, with its article.
    pub one: &'static str,
    /// What is said of nothing at all, and what to write.
    pub empty: (&'static str, &'static str),
    /// What is said where a part can become too long.
    pub too_long: &'static str,
    /// What to do then.
    pub shorter: &'static str,
}

/// A file.
const PATH: Words = Words {
    one: "a path",
    empty: (
        "the path names no file",
        "write a path that ends with a file's name, as in \"out/{account}/{date}.ndjson\"",
    ),
    too_long: "a part of the path can become too long for a file's name",
    shorter: "use more folders",
};

impl Variable {
    fn named(name: &str, words: &Words) -> Result<Variable, ValueError> {
        if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
            return Ok(*variable);
        }
        let plain = name.trim().trim_start_matches('.').to_ascii_lowercase();
        let meant = VARIABLES
            .iter()
            .map(|(known, _)| (*known, *known))
            .chain(MISNOMERS)
            .find(|(wrong, _)| *wrong == plain)
            .map(|(_, right)| right);
        let shown: String = name.escape_default().take(40).collect();
        let hint = match meant {
            Some(right) => format!("write {{{right}}}"),
            None => {
                let all: Vec<String> = VARIABLES.iter().map(|(known, _)| format!("{{{known}}}")).collect();
                format!("{} may use {}", words.one, all.join(", "))
            }
        };
        Err(ValueError::new(format!("`{{{shown}}}` is not a name that {} may use", words.one), hint))
    }

    /// Length of its longest value, bytes.
    const fn longest(self) -> usize {
        match self {
            Variable::Region | Variable::Environment | Variable::Sink => LONGEST_VALUE,
            Variable::Kind => 16,
            _ => OUT_OF_RANGE.len(),
        }
    }

    pub(super) const fn of_time(self) -> bool {
        matches!(self, Variable::Date | Variable::Hour | Variable::Year | Variable::Month | Variable::Day)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Value(Variable),
}

/// A path with names in braces, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    root: Box<str>,
    pub(super) pieces: Vec<Piece>,
}

impl Template {
    /// Reads a template.
    ///
    /// Errors: what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Template, ValueError> {
        Template::parse_as(text, &PATH)
    }

    /// Reads a template of something else than a path.
    ///
    /// # Errors
    /// What is wrong and what to write instead, in these words.
    pub fn parse_as(text: &str, words: &Words) -> Result<Template, ValueError> {
        look_for_other_languages(text, words)?;
        let first = text.find('{').unwrap_or(text.len());
        let below = text[..first].rfind('/').map_or(0, |slash| slash + 1);
        let root = match &text[..below] {
            "" => ".",
            "/" => "/",
            root => root.trim_end_matches('/'),
        };
        let pieces = pieces_of(&text[below..], words)?;
        check_components(&pieces, words)?;
        let root = if root.is_empty() { "/" } else { root };
        Ok(Template { text: text.into(), root: root.into(), pieces })
    }

    /// The folder nothing is written above: relative to the working folder unless it begins with `/`.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whether the path ends with this literal text.
    pub fn ends_with(&self, ending: &str) -> bool {
        matches!(self.pieces.last(), Some(Piece::Text(text)) if text.ends_with(ending))
    }

    /// The same path with this text after it (an extension).
    #[must_use]
    pub fn with_ending(mut self, ending: &str) -> Template {
        self.text = format!("{}{ending}", self.text).into();
        self.pieces.push(Piece::Text(ending.into()));
        self
    }

    pub(super) fn uses(&self, wanted: impl Fn(Variable) -> bool) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Value(variable) if wanted(*variable)))
    }
}

/// Finds what other template languages look like, before anything is said about braces.
fn look_for_other_languages(text: &str, words: &Words) -> Result<(), ValueError> {
    if text.is_empty() || text.ends_with('/') {
        return Err(ValueError::new(words.empty.0, words.empty.1));
    }
    if text.len() > LONGEST_TEMPLATE {
        return Err(ValueError::new(
            format!("{} cannot be so long", words.one),
            format!("at most {LONGEST_TEMPLATE} bytes, with the names in braces as written"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(ValueError::new(format!("{} cannot hold a control character", words.one), "remove it"));
    }
    if text.contains("{{") || text.contains("}}") {
        return Err(ValueError::new(
            "names stand in single braces",
            "write {account} instead of {{ account }}",
        ));
    }
    if text.contains("${") {
        return Err(ValueError::new(
            "`${…}` is not replaced",
            "write {account}; for the environment: { env = \"NAME\" }",
        ));
    }
    let after_percent = |(at, _): (usize, &str)| text[at + 1..].chars().next();
    if let Some(letter) = text.match_indices('%').filter_map(after_percent).find(char::is_ascii_alphabetic) {
        return Err(ValueError::new(
            format!("`%{letter}` is not replaced"),
            "write {date}, {hour}, {year}, {month} or {day}: the time of the event, UTC",
        ));
    }
    if text.starts_with("~/") {
        return Err(ValueError::new("`~` is not replaced", "write the folder in full"));
    }
    Ok(())
}

fn pieces_of(mut rest: &str, words: &Words) -> Result<Vec<Piece>, ValueError> {
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let open = rest.find(['{', '}']).unwrap_or(rest.len());
        if open > 0 {
            pieces.push(Piece::Text(rest[..open].into()));
        }
        rest = &rest[open..];
        if rest.starts_with('}') {
            return Err(ValueError::new("a brace is closed that was not opened", "write {account}"));
        }
        if rest.starts_with('{') {
            let Some(close) = rest.find('}') else {
                return Err(ValueError::new("a brace is opened and not closed", "write {account}"));
            };
            pieces.push(Piece::Value(Variable::named(&rest[1..close], words)?));
            rest = &rest[close + 1..];
        }
    }
    Ok(pieces)
}

/// Each component below the root must be a name, and short enough with every value at its longest.
fn check_components(pieces: &[Piece], words: &Words) -> Result<(), ValueError> {
    let mut longest = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => longest.push_str(text),
            Piece::Value(variable) => longest.extend(std::iter::repeat_n('x', variable.longest())),
        }
    }
    for component in longest.split('/') {
        if matches!(component, "" | "." | "..") {
            return Err(ValueError::new(
                format!("`{component}` cannot stand between the slashes of a path"),
                "after the first name in braces every part of the path needs a name of its own",
            ));
        }
        if component.len() > LONGEST_COMPONENT {
            return Err(ValueError::new(
                words.too_long,
                format!(
                    "{} bytes with every value at its longest; at most {LONGEST_COMPONENT}: {}",
                    component.len(),
                    words.shorter
                ),
            ));
        }
    }
    Ok(())
}

impl FromStr for Template {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Template, ValueError> {
        Template::parse(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
