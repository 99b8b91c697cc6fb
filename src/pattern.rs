//! Event patterns: AWS's Event Ruler language, the one selection language everywhere.
//!
//! A pattern is an object shaped like the events it selects; its leaves are lists of values, any of which may hold:
//!
//! ```json
//! {
//!   "eventSource": ["s3.amazonaws.com"],
//!   "eventName": [{"prefix": "Put"}, "DeleteObject"],
//!   "userIdentity": {"type": [{"anything-but": "AWSService"}]},
//!   "$or": [{"errorCode": [{"exists": true}]}, {"sourceIPAddress": [{"cidr": "10.0.0.0/8"}]}]
//! }
//! ```
//!
//! Three rooms: [`Pattern::parse`] reads and judges (`parse`), [`slow`] matches one pattern against the text of one
//! event in the obvious way, [`compile`] makes many patterns into one [`compile::PatternSet`] that matches them all
//! against a scanned record. The second is the oracle of the third, and AWS's own Event Ruler 2.1.0 the oracle of both.
//!
//! What is accepted and what matches is what Event Ruler 2.1.0 says, but for these, each a row of the fixed table in
//! `tests/event_ruler/`:
//!
//! | subject | here |
//! | --- | --- |
//! | `cidr` | `/32` of IPv4 and `/128` of IPv6 are accepted, `/08`, `/+8` and a second slash are not; a v4 range holds v4 addresses and v4-mapped v6 ones in either spelling, a v6 range v6 addresses; numbers are never addresses |
//! | strings | do not carry their quotes: `{"prefix": "x\""}` does not match `x` |
//! | `equals-ignore-case` | simple case folding, both ways, over all of Unicode |
//! | numbers | compared as decimals, exactly, whatever their size |
//! | `$or` | each alternative is judged on its own, and siblings always hold |
//! | `$or` that is no list of objects | refused; Event Ruler takes it for a field named `$or` |
//! | values of one list | each is judged on its own; there, some that ignore case or have stars disturb each other |
//! | empty lists | are refused everywhere; there, not inside `anything-but` with an operator beside another value |
//! | empty keys in an event | are never entered; there, they are where the pattern has one too, but not last |
//! | repeated keys that hold arrays | count as one array, their elements tied by position, in a scanned record |
//! | text after the closing brace | refused |

#[doc(hidden)]
pub mod choices;
pub mod compile;
pub mod family;
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod json;
mod number;
mod operator;
mod parse;
pub mod predicate;
#[cfg(test)]
mod property;
pub mod slow;
mod ties;
mod value;
pub mod view;
mod wanted;

pub use compile::{MatchScratch, PatternSet};
pub use view::{View, Written};

use std::fmt;

use serde_json::Value;

use value::Matcher;

/// The longest chain of objects and lists in a pattern, and in an event as far as [`slow`] looks into it.
pub(crate) const MAX_DEPTH: usize = 100;

/// The most fields one alternative of a pattern may name.
///
/// Source: `MAXIMUM_RULE_SIZE` of Event Ruler 2.1.0.
pub(crate) const MAX_FIELDS: usize = 256;

/// A pattern that was judged: what it says can match something, and means what it says.
#[derive(Clone, Debug)]
pub struct Pattern {
    root: Node,
}

/// A part of a pattern that holds or does not.
#[derive(Clone, Debug)]
enum Node {
    /// All of these hold.
    All(Vec<Node>),
    /// One of these holds (`$or`).
    Any(Vec<Node>),
    /// One of the values matches at the path.
    Field(Field),
}

/// A path and the values wanted there.
#[derive(Clone, Debug)]
struct Field {
    /// Dotted text, without array indices.
    path: String,
    /// Any of these; never empty.
    values: Vec<Matcher>,
}

/// Why a pattern is not accepted, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Keys and list positions (from 0, as decimal text) from the pattern's root to the place.
    pub path: Vec<String>,
    /// What is wrong, lowercase, one sentence without a full stop.
    pub message: String,
    /// What to write instead, where that can be said.
    pub hint: Option<String>,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "at {}: ", self.path.join("."))?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Reads a pattern from a value, as configuration files give it.
    ///
    /// `{ null = true }` stands for JSON's `null`, which TOML has not.
    ///
    /// # Errors
    /// Everything that is wrong with it, in reading order; never empty.
    pub fn parse(pattern: &Value) -> Result<Pattern, Vec<PatternError>> {
        parse::pattern(&json::Json::from_value(pattern), true)
    }

    /// Reads a pattern from JSON text, keeping numbers as they are written.
    ///
    /// # Errors
    /// Everything that is wrong with it, in reading order; never empty.
    pub fn parse_json(text: &str) -> Result<Pattern, Vec<PatternError>> {
        match json::Json::parse(text) {
            Ok(json) => parse::pattern(&json, false),
            Err(message) => Err(vec![PatternError {
                path: Vec::new(),
                message: format!("not valid json: {message}"),
                hint: None,
            }]),
        }
    }

    /// The dotted paths this pattern looks at, in reading order, repeated where it does.
    pub fn paths(&self) -> Vec<&str> {
        fn walk<'a>(node: &'a Node, paths: &mut Vec<&'a str>) {
            match node {
                Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| walk(part, paths)),
                Node::Field(field) => paths.push(&field.path),
            }
        }
        let mut paths = Vec::new();
        walk(&self.root, &mut paths);
        paths
    }
}

/// Event Ruler's order of paths: by UTF-16 units, as Java compares strings. It decides what `exists: false` is tied to.
fn path_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
