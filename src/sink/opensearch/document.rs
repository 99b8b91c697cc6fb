//! Documents: records as an index takes them.
//!
//! A record that needs nothing, nearly every one, is written as its shape writes it, byte for byte. Whether it needs something
//! is learned by edge: what the value behind it may be and how long, and which members it opens. A record is then checked by
//! one look at each leaf, while nothing is parsed. What is met for the first time and whatever does not fit go the slow and
//! obvious road, which reads what the shape has written ([`rewrite`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashMap;

use super::mapping::{DEEPEST_ARRAY, LONGEST_NAME, LONGEST_NUMBER, Mapping, Place, kind};
use crate::encode::Shape;
use crate::encode::flat::Flatten;
use crate::encode::{FlatPut, flat_put, nested};
use crate::record::path::{FAR, unescape};
use crate::record::{EdgeId, Leaf, PathId, Record, Segment};

#[doc(hidden)]
pub mod fuzz;
mod rewrite;
mod server;

/// Combinations of additions whose verdict is kept.
const MOST_ADDED: usize = 4_096;

/// A shape within documents.
#[derive(Clone, Debug)]
pub struct Document {
    /// What is written.
    pub inner: Box<Shape>,
    mapping: Arc<Mapping>,
    counts: Arc<Counts>,
}

/// What was done to documents so that they were taken; how often.
#[derive(Debug, Default)]
pub struct Counts {
    /// A value was put into an object, because its field takes only those.
    pub wrapped: AtomicU64,
    /// A value was moved, because it is too long to be indexed.
    pub too_long: AtomicU64,
    /// A value was moved, because its field is of another type, or its name is none.
    pub other_type: AtomicU64,
    /// A member got another name, because there was one of that name before.
    pub same_name: AtomicU64,
}

impl Counts {
    /// The counts now, with their names.
    pub fn read(&self) -> [(&'static str, u64); 4] {
        let Counts { wrapped, too_long, other_type, same_name } = self;
        [("wrapped", wrapped), ("too_long", too_long), ("other_type", other_type), ("same_name", same_name)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.inner == other.inner && self.mapping == other.mapping && Arc::ptr_eq(&self.counts, &other.counts)
    }
}

impl Eq for Document {}

impl Document {
    /// Documents of this shape in an index with these fields.
    pub fn new(inner: Shape, mapping: Arc<Mapping>, counts: Arc<Counts>) -> Document {
        Document { inner: Box::new(inner), mapping, counts }
    }

    /// The index that they fit.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// What was done so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Makes a document of a record's text, which begins at `start` and ends the buffer: what the server would refuse is
    /// wrapped, moved or renamed.
    pub(crate) fn rewrite(&self, out: &mut Vec<u8>, start: usize) {
        let Some(text) = out.get(start..) else { return };
        if let Some((new, made)) = rewrite::rewrite(&self.mapping, text) {
            let add = |to: &AtomicU64, made: u64| to.fetch_add(made, Ordering::Relaxed);
            add(&self.counts.wrapped, made.wrapped);
            add(&self.counts.too_long, made.too_long);
            add(&self.counts.other_type, made.other_type);
            add(&self.counts.same_name, made.same_name);
            out.truncate(start);
            out.extend_from_slice(&new);
        }
    }

    /// What stands before the record's own members, in place of its first brace: the time that a data stream wants.
    pub(crate) fn head(&self, record: &Record<'_>) -> Option<String> {
        if !self.mapping.stream {
            return None;
        }
        // A record without a time is there all the same, at the beginning of time.
        let time = jiff::Timestamp::from_second(record.identity.time.unwrap_or(0))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Some(format!("{{\"@timestamp\":\"{time}\""))
    }
}

/// What an edge and the leaf behind it need.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// What the leaf may be; 0: the record has to be looked at.
    accepts: u8,
    /// The same where nothing else is asked than which members are opened, if the leaf is short; else 0.
    usual: u8,
    /// What the nested shape has to know of the edge.
    nested: u8,
    /// How many members the edge opens, each known by its path; without an element that it enters.
    opens: u8,
    /// Whether it was looked at.
    known: bool,
    /// Whether it enters an element of an array whose far elements share one path, before all of them.
    enters: bool,
    /// The path of the last of them.
    path: u32,
    /// Where those of the others stand among [`Needs::above`].
    above: u32,
    /// The path of the innermost such element around it; the root: there is none.
    far: u32,
    /// Bytes of the leaf, at most.
    limit: u32,
}

impl Need {
    /// The paths of the members that are opened with the last of them in them.
    fn above(self, all: &[u32]) -> &[u32] {
        let start = self.above as usize;
        all.get(start..start + usize::from(self.opens.saturating_sub(1))).unwrap_or_default()
    }
}

/// What was learned of one scanner's edges.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    generation: u64,
    known: Vec<Need>,
    /// Paths of members that are opened with another in them.
    above: Vec<u32>,
    /// By path: the number of the record that opened it last, or of the far element that it was opened in; of such an element
    /// its own.
    stamps: Vec<u32>,
    /// The number of this record.
    record: u32,
    /// The last number that was given away.
    number: u32,
    /// What the nested shape has to know of this record's edges.
    nested: u8,
    /// Whether additions fit, by what they are made of.
    added: HashMap<Box<[u64]>, bool>,
    /// That of the last record.
    last: (Vec<u64>, bool),
    key: Vec<u64>,
}

impl Needs {
    /// Whether the record's document is what its shape writes, and certainly so.
    pub(crate) fn fits(&mut self, document: &Document, record: &Record<'_>) -> bool {
        // A record has fewer elements than half of all numbers.
        if self.generation != record.index.generation() || self.number > u32::MAX / 2 {
            let (added, last) = (std::mem::take(&mut self.added), std::mem::take(&mut self.last));
            *self = Needs { generation: record.index.generation(), added, last, ..Needs::default() };
        }
        self.number += 1;
        (self.record, self.nested) = (self.number, 0);
        !record.index.truncated_index()
            && !record.index.has_wide_container()
            && self.leaves_fit(document, record)
            && self.replaced_fit(record)
            && self.added_fit(document, record)
    }

    /// What the nested shape has to know of the edges of the leaves of the record that fits.
    pub(crate) fn of_nested(&self) -> u8 {
        self.nested
    }

    fn leaves_fit(&mut self, document: &Document, record: &Record<'_>) -> bool {
        let leaves = record.index.leaves();
        let mut at = 0;
        loop {
            at += self.usual(record.buffer, leaves.get(at..).unwrap_or_default());
            match leaves.get(at) {
                Some(leaf) if !self.leaf_fits(document, record, at, *leaf) => return false,
                Some(_) => at += 1,
                None => return true,
            }
        }
    }

    /// How many of these leaves, from the first on, certainly fit: nearly always all of them.
    fn usual(&mut self, buffer: &[u8], leaves: &[Leaf]) -> usize {
        let (known, above, record) = (self.known.as_slice(), self.above.as_slice(), self.record);
        let stamps = self.stamps.as_mut_slice();
        let mut opens = |path: u32| stamp(stamps, path, record);
        let fits = |leaf: &&Leaf| {
            let need = known.get(leaf.edge.0 as usize);
            let (Some(need), Some(&first)) = (need, buffer.get(leaf.start as usize)) else { return false };
            need.usual & kind::begins(first) != 0
                && (leaf.end - leaf.start) as usize <= LONGEST_NUMBER
                && (need.opens == 0 || opens(need.path))
                && (need.opens <= 1 || need.above(above).iter().all(|&path| opens(path)))
        };
        leaves.iter().take_while(fits).count()
    }

    fn leaf_fits(&mut self, document: &Document, record: &Record<'_>, position: usize, leaf: Leaf) -> bool {
        let mut need = self.known.get(leaf.edge.0 as usize).copied().unwrap_or_default();
        if !need.known {
            need = self.look(document, record, position, leaf.edge);
        }
        self.nested |= need.nested;
        let text = record.buffer.get(leaf.start as usize..leaf.end as usize).unwrap_or_default();
        if need.accepts & kind::of(text) == 0 || (text.len() > LONGEST_NUMBER && !short(need, text)) {
            return false;
        }
        let mut opened_in = self.record;
        if need.far != PathId::ROOT.0 {
            let Some(stamp) = self.stamps.get_mut(need.far as usize) else { return false };
            if need.enters {
                self.number += 1;
                *stamp = self.number;
            }
            opened_in = *stamp;
        }
        let mut opens = |path: u32| stamp(&mut self.stamps, path, opened_in);
        (need.opens == 0 || opens(need.path)) && need.above(&self.above).iter().all(|&path| opens(path))
    }

    /// What a replaced leaf is now has to fit, too.
    fn replaced_fit(&self, record: &Record<'_>) -> bool {
        record.overlay.replaced.iter().all(|(position, text)| {
            let leaf = record.index.leaves().get(*position as usize);
            let need =
                leaf.and_then(|leaf| self.known.get(leaf.edge.0 as usize)).copied().unwrap_or_default();
            let kind = kind::of(text);
            need.accepts & kind != 0 && kind & (kind::OBJECT | kind::ARRAY) == 0 && short(need, text)
        })
    }

    fn added_fit(&mut self, document: &Document, record: &Record<'_>) -> bool {
        let added = &record.overlay.added;
        if added.is_empty() {
            return true;
        }
        let fits = || {
            let mut text = Vec::new();
            match &*document.inner {
                Shape::Flat(flat) => crate::encode::added::flat(flat, record.overlay, &mut text),
                Shape::Nested(nested) => {
                    crate::encode::added::nested(&nested.name, record.overlay, &mut text)
                }
                Shape::Document(_) => return false,
            }
            if let Some(first) = text.first_mut() {
                *first = b'{';
            }
            text.push(b'}');
            rewrite::rewrite(&document.mapping, &text).is_none()
        };
        if added.iter().any(|(_, fragment)| fragment.id == 0) {
            return fits();
        }
        self.key.clear();
        self.key.extend(added.iter().map(|(parent, fragment)| u64::from(fragment.id) << 2 | *parent as u64));
        if self.key != self.last.0 {
            let verdict = match self.added.get(self.key.as_slice()) {
                Some(&verdict) => verdict,
                None => {
                    if self.added.len() >= MOST_ADDED {
                        self.added.clear();
                    }
                    let verdict = fits();
                    self.added.insert(self.key.as_slice().into(), verdict);
                    verdict
                }
            };
            self.last.0.clone_from(&self.key);
            self.last.1 = verdict;
        }
        self.last.1
    }

    #[inline(never)]
    fn look(&mut self, document: &Document, record: &Record<'_>, position: usize, id: EdgeId) -> Need {
        let nothing = Need { known: true, ..Need::default() };
        // Far elements are alike in this.
        let id = record.index.like(id).unwrap_or(id);
        if id.is_temporary() {
            return nothing;
        }
        if let Some(&need) = self.known.get(id.0 as usize).filter(|need| need.known) {
            return need;
        }
        let mut need = learn(document, record, position, id).unwrap_or(nothing);
        need.above = u32::try_from(self.above.len()).unwrap_or(u32::MAX);
        if let Shape::Nested(shape) = &*document.inner {
            need.nested = nested::learn(record, id, &shape.name);
        }
        need.usual = if need.far == PathId::ROOT.0 && need.nested == 0 { need.accepts } else { 0 };
        let mut path = PathId(need.path);
        for _ in 1..need.opens {
            path = record.index.paths().parent(path);
            self.above.push(path.0);
        }
        let (at, path) = (id.0 as usize, need.path.max(need.far) as usize);
        if at >= self.known.len() {
            self.known.resize(at + 1, Need::default());
        }
        if path >= self.stamps.len() {
            self.stamps.resize(path + 1, 0);
        }
        if let Some(known) = self.known.get_mut(at) {
            *known = need;
        }
        need
    }
}

/// Opens a member; `false`: there was one of its name.
#[inline]
fn stamp(stamps: &mut [u32], path: u32, opened_in: u32) -> bool {
    match stamps.get_mut(path as usize) {
        Some(stamp) if *stamp != opened_in => {
            *stamp = opened_in;
            true
        }
        _ => false,
    }
}

/// Whether a value is as short as it has to be. Its text is never shorter than what it says.
fn short(need: Need, text: &[u8]) -> bool {
    let digits = kind::of(text) == kind::NUMBER && text.len() > LONGEST_NUMBER;
    text.len() <= need.limit as usize && !digits
}

/// What an edge needs; `None`: a record with it has to be looked at.
fn learn(document: &Document, record: &Record<'_>, position: usize, id: EdgeId) -> Option<Need> {
    let (paths, edge) = (record.index.paths(), record.index.edge(id));
    if edge.escaped_key || edge.text.len() > LONGEST_NAME {
        return None;
    }
    let steps: Vec<Segment<'_>> = paths.segments(edge.path).collect();
    let mapping = &document.mapping;
    // How many names from the root on are written as one, and where what is written so goes.
    let (taken, mut place, json, empty) = match &*document.inner {
        Shape::Flat(flat) => flat_place(mapping, flat, record, edge.path, &steps)?,
        Shape::Nested(_) => (0, mapping.root(), false, kind::OBJECT | kind::ARRAY),
        Shape::Document(_) => return None,
    };
    let named = steps.get(..taken).unwrap_or_default();
    if named.contains(&Segment::Index(FAR)) {
        return None; // its name is another in each record
    }
    let mut need = Need { known: true, limit: u32::MAX, ..Need::default() };
    if json {
        // A text, whatever the leaf is.
        need.accepts = if place.accepts() & kind::STRING != 0 { kind::ANY } else { 0 };
        return Some(need);
    }
    let (mut arrays, mut length) = (0u8, 0);
    for step in named {
        length += if let Segment::Key(name) = step { name.len() + 1 } else { 0 };
    }
    for step in steps.get(taken..).unwrap_or_default() {
        match step {
            Segment::Key(name) => {
                place = mapping.step(place, &unescape(name));
                length += name.len() + 1;
                arrays = 0;
            }
            Segment::Index(_) => {
                place = place.element();
                arrays = arrays.saturating_add(1);
            }
        }
        if arrays > DEEPEST_ARRAY || matches!(place, Place::Nowhere) {
            return None;
        }
    }
    need.accepts = place.accepts();
    if empty & kind::OBJECT == 0 {
        need.accepts = as_text(need.accepts, kind::OBJECT);
    }
    if empty & kind::ARRAY == 0 {
        need.accepts = as_text(need.accepts, kind::ARRAY);
    }
    need.limit = u32::try_from(place.limit(length)).unwrap_or(u32::MAX);
    if (need.limit as usize) < LONGEST_NUMBER {
        return None;
    }
    // What the flat shape names it names once.
    let before = position.checked_sub(1).and_then(|before| record.index.leaves().get(before));
    let opened = match before {
        None => steps.len(),
        Some(before) => {
            let from = paths.depth(record.index.edge(before.edge).path);
            let closings = edge.marks.iter().take_while(|mark| matches!(mark.bracket, b'}' | b']')).count();
            (steps.len() + 1 + closings).saturating_sub(from)
        }
    };
    let opens = opened.min(steps.len().saturating_sub(taken));
    need.path = edge.path.0;
    let mut far = edge.path;
    while far != PathId::ROOT && !paths.is_far_element(far) {
        far = paths.parent(far);
    }
    need.far = far.0;
    // An element of 32 or more is only ever entered from the one before it: nothing is opened above it.
    need.enters = far != PathId::ROOT && paths.depth(edge.path) - paths.depth(far) < opens;
    need.opens = u8::try_from(opens).ok()? - u8::from(need.enters);
    Some(need)
}

/// What is accepted where an empty container is written as text.
fn as_text(accepts: u8, container: u8) -> u8 {
    if accepts & kind::STRING != 0 { accepts | container } else { accepts & !container }
}

/// Where the flat shape puts a value: how many steps its key takes, the place of the key, whether the key holds JSON text, and
/// which empty containers it writes as they are.
fn flat_place<'m>(
    mapping: &'m Mapping,
    flat: &Flatten,
    record: &Record<'_>,
    path: PathId,
    steps: &[Segment<'_>],
) -> Option<(usize, Place<'m>, bool, u8)> {
    let FlatPut { key, within, json, object, array } = flat_put(flat, record.index.paths(), path, steps)?;
    let place = mapping.step(mapping.root(), &unescape(&key));
    if matches!(place, Place::Nowhere) {
        return None;
    }
    let empty = if object { kind::OBJECT } else { 0 } | if array { kind::ARRAY } else { 0 };
    Some((if within == 0 { steps.len() } else { within }, place, json, empty))
}

#[cfg(test)]
mod tests;
