//! A scanned record as patterns see it: AWS's fields, with or without the edits and what was added under the one
//! top-level key.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;

use super::compile::{Leaves, Tie};
use crate::record::overlay::{Overlay, Parent};
use crate::record::{Alone, PathId, Record, Scanner, Segment, SlotId};

/// The fields of a record as AWS wrote it.
///
/// Two arrays under one path (a key that repeats) count as one array: their elements are tied by position.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    buffer: &'a [u8],
    index: &'a Scanner,
}

/// The fields of a record with what transforms did to it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    written: Written<'a>,
    overlay: &'a Overlay,
    /// The top-level key of what was added.
    added: &'a str,
}

/// One scalar of a record.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    text: &'a [u8],
    /// Which of the record's leaves; `None`: it was added.
    position: Option<u32>,
}

impl<'a> Written<'a> {
    /// The record a scanner has just scanned in this buffer.
    pub fn new(buffer: &'a [u8], index: &'a Scanner) -> Written<'a> {
        Written { buffer, index }
    }
}

impl<'a> View<'a> {
    /// A record with what transforms did to it. `added` is the top-level key of what they add (`trailship`).
    pub fn of(record: &'a Record<'_>, added: &'a str) -> View<'a> {
        let written = Written::new(record.buffer, record.index);
        View { written, overlay: record.overlay, added }
    }

    /// Whether nothing was added under a path, as is plain to see.
    #[inline]
    fn is_not_added(&self, slot: SlotId) -> bool {
        let path = self.written.index.slots().path(slot);
        self.overlay.added.is_empty() || path.as_bytes().first() != self.added.as_bytes().first()
    }

    /// Shows what was added under a path until `visit` returns `false`.
    #[cold]
    fn each_added(&self, slot: SlotId, mut visit: impl FnMut(Found<'a>) -> bool) {
        let path = self.written.index.slots().path(slot);
        let Some(rest) = path.strip_prefix(self.added).and_then(|path| path.strip_prefix('.')) else {
            return;
        };
        for (parent, fragment) in &self.overlay.added {
            let below = match parent {
                Parent::Root => Some(rest),
                Parent::Account => rest.strip_prefix("account."),
                Parent::Caller => rest.strip_prefix("caller."),
            };
            let Some(below) = below else { continue };
            for leaf in &fragment.leaves {
                let text: &'a [u8] = &leaf.value;
                if is(&leaf.keys, below) && scalar(text) && !visit(Found { text, position: None }) {
                    return;
                }
            }
        }
    }
}

/// Whether the keys joined by dots are this path.
fn is(keys: &[Box<str>], path: &str) -> bool {
    let mut rest = Some(path);
    for (position, key) in keys.iter().enumerate() {
        rest = rest
            .and_then(|rest| if position == 0 { Some(rest) } else { rest.strip_prefix('.') })
            .and_then(|rest| rest.strip_prefix(&**key));
    }
    rest == Some("")
}

#[inline]
fn scalar(text: &[u8]) -> bool {
    !matches!(text.first(), Some(b'{' | b'['))
}

impl<'a> Leaves for Written<'a> {
    type Leaf = Found<'a>;

    #[inline]
    fn each(&self, slot: SlotId, mut visit: impl FnMut(Found<'a>) -> bool) {
        for position in self.index.hits(slot) {
            let Some(leaf) = self.index.leaves().get(position as usize) else { continue };
            let text = leaf.text(self.buffer);
            if scalar(text) && !visit(Found { text, position: Some(position) }) {
                return;
            }
        }
    }

    #[inline(always)]
    fn is_bare(&self, slot: SlotId) -> bool {
        matches!(self.index.alone(slot), Alone::None)
    }

    #[inline(always)]
    fn only(&self, slot: SlotId) -> Alone<Found<'a>> {
        match self.index.alone(slot) {
            Alone::One((position, leaf)) => {
                let text = leaf.text(self.buffer);
                if scalar(text) { Alone::One(Found { text, position: Some(position) }) } else { Alone::None }
            }
            Alone::None => Alone::None,
            Alone::Several => Alone::Several,
        }
    }

    #[inline]
    fn text(&self, leaf: Found<'a>) -> &[u8] {
        leaf.text
    }

    #[inline]
    fn may_escape(&self, _leaf: Found<'a>) -> bool {
        self.index.escaped()
    }

    fn is_tied(&self, leaf: Found<'a>) -> bool {
        let leaf = leaf.position.and_then(|position| self.index.leaves().get(position as usize));
        let path = leaf.map_or(PathId::ROOT, |leaf| self.index.path(*leaf));
        let paths = self.index.paths();
        let mut at = paths.parent(path);
        while let Some(segment) = paths.last(at) {
            if matches!(segment, Segment::Index(_)) {
                return true;
            }
            at = paths.parent(at);
        }
        false
    }

    fn ties(&self, leaf: Found<'a>, ties: &mut Vec<Tie>) {
        // An array is named by a hash of the steps that lead to it: path ids may be two for one path.
        let mut hasher = FixedState::default().build_hasher();
        let steps = leaf.position.map(|position| self.index.steps(position as usize)).unwrap_or_default();
        let mut segments = steps.into_iter().peekable();
        while let Some(segment) = segments.next() {
            if let Segment::Index(index) = segment
                && segments.peek().is_some()
            {
                ties.push(Tie { array: hasher.finish(), index });
            }
            segment.hash(&mut hasher);
        }
    }
}

impl<'a> Leaves for View<'a> {
    type Leaf = Found<'a>;

    #[inline]
    fn each(&self, slot: SlotId, mut visit: impl FnMut(Found<'a>) -> bool) {
        let Written { buffer, index } = self.written;
        let edited = !self.overlay.leaves_untouched();
        for position in index.hits(slot) {
            let Some(leaf) = index.leaves().get(position as usize) else { continue };
            let mut text = leaf.text(buffer);
            if edited {
                if self.overlay.removed.binary_search(&position).is_ok() {
                    continue;
                }
                let replaced = &self.overlay.replaced;
                if let Ok(at) = replaced.binary_search_by_key(&position, |(position, _)| *position) {
                    text = &replaced[at].1;
                }
            }
            if scalar(text) && !visit(Found { text, position: Some(position) }) {
                return;
            }
        }
        if !self.is_not_added(slot) {
            self.each_added(slot, visit);
        }
    }

    #[inline(always)]
    fn is_bare(&self, slot: SlotId) -> bool {
        self.written.is_bare(slot) && self.overlay.added.is_empty()
    }

    #[inline]
    fn only(&self, slot: SlotId) -> Alone<Found<'a>> {
        if self.overlay.leaves_untouched() && self.is_not_added(slot) {
            self.written.only(slot)
        } else {
            Alone::Several
        }
    }

    fn text(&self, leaf: Found<'a>) -> &[u8] {
        leaf.text
    }

    fn may_escape(&self, leaf: Found<'a>) -> bool {
        self.written.may_escape(leaf) || leaf.position.is_none() || !self.overlay.leaves_untouched()
    }

    fn is_tied(&self, leaf: Found<'a>) -> bool {
        self.written.is_tied(leaf)
    }

    fn ties(&self, leaf: Found<'a>, ties: &mut Vec<Tie>) {
        self.written.ties(leaf, ties);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::pattern::Pattern;
    use crate::pattern::compile::{MatchScratch, PatternSet};
    use crate::record::overlay::{Fragment, FragmentLeaf};
    use crate::record::scan::ScanLimits;
    use crate::record::{Identity, Slots, protect::Protection};

    fn leaf(keys: &[&str], index: Option<u32>, value: &str) -> FragmentLeaf {
        let keys = keys.iter().map(|key| Box::from(*key)).collect();
        FragmentLeaf { keys, index, value: value.as_bytes().into() }
    }

    #[test]
    fn edits_and_additions_are_seen_and_removed_fields_are_not() {
        let patterns: Vec<Pattern> = [
            r#"{"a":["new"]}"#,
            r#"{"a":["old"]}"#,
            r#"{"b":[{"exists":true}]}"#,
            r#"{"trailship":{"account":{"tags":{"env":["prod"]}}}}"#,
            r#"{"trailship.signals":["root"]}"#,
            r#"{"trailship":{"account":{"tags":{"env":[{"exists":false}]}}}}"#,
            r#"{"trailship":{"caller":{"tags":{"env":[{"exists":true}]}}}}"#,
        ]
        .iter()
        .map(|text| Pattern::parse_json(text).unwrap())
        .collect();
        let mut slots = Slots::default();
        let set = PatternSet::compile(&patterns.iter().collect::<Vec<_>>(), &mut slots);
        let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
        let text = br#"{"a":"old","b":1}"#;
        scanner.scan(text, 0);
        let mut scratch = MatchScratch::default();
        assert_eq!(set.matches(&Written::new(text, &scanner), &mut scratch), [0b10_0110]);

        let fragment = |leaves| Rc::new(Fragment { id: 0, members: Box::default(), leaves });
        let mut overlay = Overlay {
            replaced: vec![(0, Box::from(br#""new""# as &[u8]))],
            removed: vec![1],
            added: vec![
                (Parent::Account, fragment(vec![leaf(&["tags", "env"], None, "\"prod\"")])),
                (
                    Parent::Root,
                    fragment(vec![
                        leaf(&["signals"], Some(0), "\"sts\""),
                        leaf(&["signals"], Some(1), "\"root\""),
                    ]),
                ),
            ],
        };
        let end = u32::try_from(text.len()).unwrap();
        let record = Record {
            buffer: text,
            span: crate::record::Span { start: 0, end },
            index: &scanner,
            overlay: &mut overlay,
            identity: Identity::default(),
            protection: Protection::default(),
            families: 0,
        };
        assert_eq!(set.matches(&View::of(&record, "trailship"), &mut scratch), [0b1_1001]);
    }

    #[test]
    fn joining_large_arrays_takes_no_time_to_speak_of() {
        let element = |number: u32| format!(r#"{{"t":"A","s":[{{"x":{number}}},{{"y":1}}],"n":{number}}}"#);
        let elements: Vec<String> = (0..8_000).map(element).collect();
        let text = format!(r#"{{"q":[{0}],"r":[{0}]}}"#, elements.join(","));
        let of = |array: &str, number: u32| {
            format!(r#""{array}":{{"t":["A"],"n":[{number}],"s":{{"x":[{number}],"y":[1,2]}}}}"#)
        };
        for (pattern, expected) in [
            (format!("{{{},{}}}", of("q", 7_999), of("r", 7_998)), false),
            (r#"{"q":{"t":["A"],"s":{"x":[7999]}},"r":{"t":["A"],"s":{"x":[7999]}}}"#.to_owned(), true),
            (r#"{"q":{"t":["A"]},"r":{"t":["A"],"z":[{"exists":false}],"n":[7999]}}"#.to_owned(), true),
            (r#"{"q":{"t":["A"]},"r":{"n":[{"exists":false}],"t":["A"],"$or":[{"s":{"x":[5]}},{"n":[5]}]}}"#.to_owned(), false),
        ] {
            let pattern = Pattern::parse_json(&pattern).unwrap();
            let mut slots = Slots::default();
            let set = PatternSet::compile(&[&pattern], &mut slots);
            let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
            scanner.scan(text.as_bytes(), 0);
            assert_eq!(set.any(&Written::new(text.as_bytes(), &scanner), &mut MatchScratch::default()), expected, "{pattern:?}");
        }
    }
}
