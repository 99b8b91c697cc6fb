//! Path templates: which file a record goes to, from what the record is.
//!
//! `out/{account}/{date}.ndjson`: names in single braces, out of a fixed list ([`Variable`]). The part before the first
//! name, up to its last `/`, is the **root**; nothing is ever written above it, whatever an event says.
//!
//! Text from events is made harmless: characters outside `[A-Za-z0-9._-]`, `.`, `..`, nothing at all and more than
//! 64 bytes become `_invalid`; a value that is absent is `_unknown`; after 10,000 distinct values of one name the rest
//! are `_overflow`; an event time outside the accepted range is `out-of-range`. All but `_unknown` are counted.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::record::identity::{Account, EventKind};

mod cache;
#[doc(hidden)]
pub mod fuzz;
mod language;
mod times;

pub use cache::PartitionCache;
pub use language::{Template, Variable, Words};
pub use times::{Oldest, TimeRange};

use language::Piece;

/// What stands for a value that cannot be used.
pub const INVALID: &str = "_invalid";
/// What stands for a value that is absent.
pub const UNKNOWN: &str = "_unknown";
/// What stands for one value too many.
pub const OVERFLOW: &str = "_overflow";
/// What stands for an event time that cannot be right.
pub const OUT_OF_RANGE: &str = "out-of-range";

/// Distinct values of one name before the rest are [`OVERFLOW`].
const MOST_VALUES: usize = 10_000;
/// Longest text of an event that is used as it is, bytes.
const LONGEST_VALUE: usize = 64;

/// What a path is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values<'a> {
    /// Seconds since 1970-01-01T00:00:00Z of the event.
    pub time: Option<i64>,
    /// The account.
    pub account: Option<Account>,
    /// The region, as it stands in the event.
    pub region: Option<&'a [u8]>,
    /// The environment, un-escaped.
    pub environment: Option<&'a str>,
    /// The kind of event.
    pub kind: EventKind,
}

/// How often something else was written than the event said, records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `_invalid` stands in the path.
    pub invalid: u64,
    /// `_overflow` stands in the path.
    pub overflow: u64,
    /// `out-of-range` stands in the path.
    pub out_of_range: u64,
}

/// What was replaced in one path, as bits.
type Marks = u8;
const MARK_INVALID: Marks = 1;
const MARK_OVERFLOW: Marks = 2;
const MARK_OUT_OF_RANGE: Marks = 4;

/// A template at work: knows its sink's name, and the values it has seen. Shared by threads.
#[derive(Debug)]
pub struct Partitions {
    template: Template,
    sink: Box<str>,
    oldest: Option<Oldest>,
    by_day: bool,
    by_hour: bool,
    by_account: bool,
    by_region: bool,
    by_environment: bool,
    by_kind: bool,
    /// Accounts, regions, environments.
    seen: Mutex<[HashSet<Box<str>>; 3]>,
    invalid: AtomicU64,
    overflow: AtomicU64,
    out_of_range: AtomicU64,
}

impl Partitions {
    /// Puts a template to work for the sink of this name.
    pub fn new(template: Template, sink: &str) -> Partitions {
        let mut marks = 0;
        Partitions {
            sink: harmless(sink, &mut marks).into(),
            oldest: None,
            by_day: template.uses(Variable::of_time),
            by_hour: template.uses(|variable| variable == Variable::Hour),
            by_account: template.uses(|variable| variable == Variable::Account),
            by_region: template.uses(|variable| variable == Variable::Region),
            by_environment: template.uses(|variable| variable == Variable::Environment),
            by_kind: template.uses(|variable| variable == Variable::Kind),
            template,
            seen: Mutex::default(),
            invalid: AtomicU64::new(0),
            overflow: AtomicU64::new(0),
            out_of_range: AtomicU64::new(0),
        }
    }

    /// The same with event times believed back to here; `None`: as the source says.
    #[must_use]
    pub fn believing(self, oldest: Option<Oldest>) -> Partitions {
        Partitions { oldest, ..self }
    }

    /// Event times that get a date of their own at `now`. `live`: nothing old is to be expected.
    pub fn range(&self, live: bool, now: Timestamp) -> TimeRange {
        TimeRange::new(self.oldest, live, now)
    }

    /// The folder that paths begin in.
    pub fn root(&self) -> &str {
        self.template.root()
    }

    /// How many records went elsewhere than their text said.
    pub fn counts(&self) -> Counts {
        Counts {
            invalid: self.invalid.load(Ordering::Relaxed),
            overflow: self.overflow.load(Ordering::Relaxed),
            out_of_range: self.out_of_range.load(Ordering::Relaxed),
        }
    }

    /// The path below the root, for one record, counted.
    ///
    /// Cost: formats and locks; per record use [`Partitions::partition`].
    pub fn render(&self, values: &Values<'_>, range: TimeRange) -> String {
        let (path, marks) = self.path(values, range);
        self.count(marks);
        path
    }

    fn count(&self, marks: Marks) {
        for (mark, counter) in [
            (MARK_INVALID, &self.invalid),
            (MARK_OVERFLOW, &self.overflow),
            (MARK_OUT_OF_RANGE, &self.out_of_range),
        ] {
            if marks & mark != 0 {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn path(&self, values: &Values<'_>, range: TimeRange) -> (String, Marks) {
        use fmt::Write as _;
        let mut path = String::with_capacity(64);
        let mut marks = 0;
        // `None`: out of range.
        let civil = values.time.map(|time| {
            let stamp = range.holds(time).then(|| jiff::Timestamp::from_second(time).ok())?;
            stamp.map(|stamp| jiff::tz::Offset::UTC.to_datetime(stamp))
        });
        for piece in &self.template.pieces {
            let variable = match piece {
                Piece::Text(text) => {
                    path.push_str(text);
                    continue;
                }
                Piece::Value(variable) => *variable,
            };
            let written = match (variable, &civil) {
                (Variable::Account, _) => match values.account {
                    Some(account) => {
                        let text = account.to_string();
                        path.push_str(self.admit(0, &text, &mut marks));
                        Ok(())
                    }
                    None => path.write_str(UNKNOWN),
                },
                (Variable::Region, _) => {
                    let text = values.region.map(|text| std::str::from_utf8(text).unwrap_or(""));
                    path.write_str(self.value(1, text, &mut marks))
                }
                (Variable::Environment, _) => path.write_str(self.value(2, values.environment, &mut marks)),
                (Variable::Kind, _) => path.write_str(values.kind.name()),
                (Variable::Sink, _) => path.write_str(&self.sink),
                (_, None) => path.write_str(UNKNOWN),
                (_, Some(None)) => {
                    marks |= MARK_OUT_OF_RANGE;
                    path.write_str(OUT_OF_RANGE)
                }
                (Variable::Hour, Some(Some(civil))) => write!(path, "{:02}", civil.hour()),
                (Variable::Year, Some(Some(civil))) => write!(path, "{:04}", civil.year()),
                (Variable::Month, Some(Some(civil))) => write!(path, "{:02}", civil.month()),
                (Variable::Day, Some(Some(civil))) => write!(path, "{:02}", civil.day()),
                (Variable::Date, Some(Some(civil))) => write!(path, "{}", civil.date()),
            };
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        (path, marks)
    }

    fn value<'a>(&self, which: usize, text: Option<&'a str>, marks: &mut Marks) -> &'a str {
        let Some(text) = text else { return UNKNOWN };
        let text = harmless(text, marks);
        if text == INVALID { text } else { self.admit(which, text, marks) }
    }

    /// The text while there are few of its sort, then [`OVERFLOW`].
    fn admit<'a>(&self, which: usize, text: &'a str, marks: &mut Marks) -> &'a str {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut all[which];
        if seen.contains(text) {
            return text;
        }
        if seen.len() >= MOST_VALUES {
            *marks |= MARK_OVERFLOW;
            return OVERFLOW;
        }
        seen.insert(text.into());
        text
    }
}

/// The text, where it can stand in a path as it is; else [`INVALID`].
pub(crate) fn harmless<'a>(text: &'a str, marks: &mut Marks) -> &'a str {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let bad = text.is_empty() || text.len() > LONGEST_VALUE || text == "." || text == "..";
    if bad || !text.as_bytes().iter().all(fine) {
        *marks |= MARK_INVALID;
        return INVALID;
    }
    text
}

/// Whether a relative path is made of plain names only.
pub(crate) fn stays_below(path: &str) -> bool {
    !path.is_empty()
        && path
            .split('/')
            .all(|name| !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains('\0'))
}

#[cfg(test)]
mod tests;
