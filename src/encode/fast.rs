//! The flat shape, fast: what an edge writes is made once and copied afterwards.
//!
//! An edge is known by the leaf before it and its text, so all it means for the output is known, too: the end of
//! a value that is kept as JSON text, the key of the next field, the beginning of another kept value. That text is
//! kept by edge ([`Plan`]), and a record is: for each leaf, the edge's text, the leaf's bytes. Where the edge's own
//! text is what is written (most fields at the top), the run is not even interrupted.
//!
//! What is rare goes the slow and obvious road instead: names that could collide, keys over the limit, more leaves than
//! fields, removed fields, joined arrays. Whether two fields have one name is seen by a stamp on each name's path.

use super::flat::{Arrays, Flatten, unquoted};
use super::text::{breaks_lines, escape, strip};
use super::tree::is_container;
use crate::record::{EdgeId, Leaf, PathId, Paths, Record, Segment};

/// Bytes of learned texts and plans; over this they are all dropped and made again.
const ROOM: usize = 256 * 1024;

/// What an edge and the leaf behind it write.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// Where its text starts.
    start: u32,
    /// How long that is.
    len: u16,
    mode: Mode,
    containers: Containers,
    /// The path whose name it writes, or [`NO_NAME`].
    name: u32,
}

const NO_NAME: u32 = u32::MAX;

/// What to do with a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Not made yet.
    #[default]
    Unknown,
    /// The edge's text is what is written, and so is the leaf's.
    Verbatim,
    /// The text, then the leaf as it is.
    Field,
    /// The text, then the leaf as it is unless it is an empty container.
    Look,
    /// The text, then the leaf as part of a JSON string.
    Inside,
    /// The slow road for the whole record.
    Slow,
}

/// How empty containers are written.
#[derive(Clone, Copy, Debug, Default)]
struct Containers {
    object: Empty,
    array: Empty,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Empty {
    /// As it is.
    #[default]
    Plain,
    /// As JSON text.
    Json,
    /// As an empty text.
    Joined,
}

/// What is learned of one scanner's edges for one flat shape.
#[derive(Debug, Default)]
pub(crate) struct Fast {
    generation: u64,
    /// Whether the plans are for records whose blanks go.
    compact: bool,
    plans: Vec<Plan>,
    text: Vec<u8>,
    /// By lasting path: the number of the last record that wrote its name.
    stamps: Vec<u32>,
    /// The same for temporary paths.
    temporary_stamps: Vec<u32>,
    record: u32,
    /// The text of an edge that is met once.
    once: Vec<u8>,
    scratch: Vec<u8>,
}

/// Where a path's value goes.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Names from the root to the value.
    depth: usize,
    /// The container it is written within, if any: how deep that stands, and whether as JSON text.
    within: Option<(usize, bool)>,
    /// The path whose name is written: the container's, or its own.
    name: PathId,
    containers: Containers,
    slow: bool,
}

impl Fast {
    /// Appends the record's members, `{` first and no brace last; `false`: it has to go the slow road, and what was
    /// appended is of no use.
    pub(crate) fn members(&mut self, shape: &Flatten, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
        let leaves = record.index.leaves();
        let own = record.span.of(record.buffer);
        let rare = shape.lossless
            || !record.overlay.removed.is_empty()
            || leaves.len() > shape.max_fields
            || leaves.is_empty()
            || record.index.truncated_index()
            || record.overlay.replaced.iter().any(|(_, text)| is_container(text));
        if rare {
            return false;
        }
        self.begin(record.index.generation(), breaks_lines(own));
        if record.overlay.replaced.is_empty() {
            self.run::<false>(shape, record, leaves, out)
        } else {
            self.run::<true>(shape, record, leaves, out)
        }
    }

    fn begin(&mut self, generation: u64, compact: bool) {
        let used =
            self.text.len() + self.plans.len() * size_of::<Plan>() + self.stamps.len() * size_of::<u32>();
        if self.generation != generation || self.compact != compact || used > ROOM || self.record == u32::MAX
        {
            *self = Fast {
                generation,
                compact,
                once: std::mem::take(&mut self.once),
                scratch: std::mem::take(&mut self.scratch),
                ..Fast::default()
            };
        }
        self.record += 1;
    }

    fn run<const EDITED: bool>(
        &mut self,
        shape: &Flatten,
        record: &Record<'_>,
        leaves: &[Leaf],
        out: &mut Vec<u8>,
    ) -> bool {
        let buffer = record.buffer;
        let mut replaced = record.overlay.replaced.iter().peekable();
        let (mut run_start, mut run_end) = (record.span.start as usize, record.span.start as usize);
        let mut from = EdgeId(EdgeId::TEMPORARY);
        let (mut learned, mut once) = (false, false);
        for (position, leaf) in leaves.iter().enumerate() {
            let mut plan = self.plans.get(leaf.edge.0 as usize).copied().unwrap_or_default();
            if plan.mode == Mode::Unknown {
                let is_first = position == 0;
                plan = self.plan(shape, record, (!is_first).then_some(from), leaf.edge);
                learned |= !leaf.edge.is_temporary();
                once |= leaf.edge.is_temporary() && plan.name != NO_NAME && PathId(plan.name).is_temporary();
            }
            if plan.mode == Mode::Slow || !self.is_new_name(plan.name) {
                return false;
            }
            from = leaf.edge;
            let (start, end) = (leaf.start as usize, leaf.end as usize);
            let new = if EDITED {
                replaced.next_if(|(at, _)| *at as usize == position).map(|(_, text)| text.as_ref())
            } else {
                None
            };
            if plan.mode == Mode::Verbatim && new.is_none() {
                run_end = end;
                continue;
            }
            out.extend_from_slice(buffer.get(run_start..run_end).unwrap_or_default());
            let texts = if leaf.edge.is_temporary() { &self.once } else { &self.text };
            out.extend_from_slice(
                texts
                    .get(plan.start as usize..plan.start as usize + usize::from(plan.len))
                    .unwrap_or_default(),
            );
            let value = new.unwrap_or_else(|| buffer.get(start..end).unwrap_or_default());
            (run_start, run_end) = (end, end);
            match plan.mode {
                Mode::Inside => self.inside(value, out),
                Mode::Look if is_container(value) => self.empty(plan.containers, value, out),
                _ if new.is_none() => run_start = start,
                _ => out.extend_from_slice(value),
            }
        }
        out.extend_from_slice(buffer.get(run_start..run_end).unwrap_or_default());
        if learned && once {
            return false; // one path may have had two ids
        }
        self.tail(shape, record, from, out)
    }

    /// A leaf within JSON text.
    fn inside(&mut self, value: &[u8], out: &mut Vec<u8>) {
        match value.first() {
            Some(b'"') => {
                out.extend_from_slice(b"\\\"");
                escape(unquoted(value), out);
                out.extend_from_slice(b"\\\"");
            }
            Some(b'{' | b'[') => {
                self.scratch.clear();
                escape(stripped(self.compact, value, &mut self.scratch), out);
            }
            _ => out.extend_from_slice(value),
        }
    }

    /// An empty container.
    fn empty(&mut self, containers: Containers, value: &[u8], out: &mut Vec<u8>) {
        self.scratch.clear();
        let text = stripped(self.compact, value, &mut self.scratch);
        match if value.first() == Some(&b'{') { containers.object } else { containers.array } {
            Empty::Plain => out.extend_from_slice(text),
            Empty::Joined => out.extend_from_slice(b"\"\""),
            Empty::Json => {
                out.push(b'"');
                escape(text, out);
                out.push(b'"');
            }
        }
    }

    fn tail(&mut self, shape: &Flatten, record: &Record<'_>, from: EdgeId, out: &mut Vec<u8>) -> bool {
        let tail = record.index.tail();
        let mut plan = self.plans.get(tail.0 as usize).copied().unwrap_or_default();
        if plan.mode == Mode::Unknown {
            plan = self.plan(shape, record, Some(from), tail);
        }
        let texts = if tail.is_temporary() { &self.once } else { &self.text };
        out.extend_from_slice(
            texts.get(plan.start as usize..plan.start as usize + usize::from(plan.len)).unwrap_or_default(),
        );
        plan.mode != Mode::Slow
    }

    /// Whether this record has not written the name before.
    fn is_new_name(&mut self, name: u32) -> bool {
        if name == NO_NAME {
            return true;
        }
        let stamps = if name < PathId::TEMPORARY { &mut self.stamps } else { &mut self.temporary_stamps };
        let at = (name & !PathId::TEMPORARY) as usize;
        if at >= stamps.len() {
            stamps.resize(at + 1, 0);
        }
        match stamps.get_mut(at) {
            Some(stamp) if *stamp != self.record => {
                *stamp = self.record;
                true
            }
            _ => false,
        }
    }

    /// Makes the plan of an edge and keeps it where the edge is kept.
    #[cold]
    #[inline(never)]
    fn plan(&mut self, shape: &Flatten, record: &Record<'_>, from: Option<EdgeId>, to: EdgeId) -> Plan {
        let mut text = Vec::new();
        let mut plan = self.made(shape, record, from, to, &mut text);
        let Ok(len) = u16::try_from(text.len()) else { return Plan { mode: Mode::Slow, ..plan } };
        plan.len = len;
        if to.is_temporary() {
            self.once = text;
            return plan;
        }
        plan.start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.extend_from_slice(&text);
        let at = to.0 as usize;
        if at >= self.plans.len() {
            self.plans.resize(at + 1, Plan::default());
        }
        if let Some(place) = self.plans.get_mut(at) {
            *place = plan;
        }
        plan
    }

    fn made(
        &self,
        shape: &Flatten,
        record: &Record<'_>,
        from: Option<EdgeId>,
        to: EdgeId,
        text: &mut Vec<u8>,
    ) -> Plan {
        let paths = record.index.paths();
        let edge = record.index.edge(to);
        let mut key = Vec::new();
        let closings = edge.marks.iter().take_while(|mark| matches!(mark.bracket, b'}' | b']')).count();
        if let Some(from) = from {
            let before = place(shape, paths, record.index.edge(from).path, &mut key);
            if let Some((depth, json)) = before.within {
                let needed = before.depth - depth;
                if closings < needed {
                    self.piece(edge.text, json, text);
                    let mode = match json {
                        true => Mode::Inside,
                        false if text == edge.text && !self.compact => Mode::Verbatim,
                        false => Mode::Look,
                    };
                    return Plan { mode, name: NO_NAME, ..Plan::default() };
                }
                let end = needed
                    .checked_sub(1)
                    .and_then(|last| edge.marks.get(last))
                    .map_or(0, |mark| mark.at as usize + 1);
                self.piece(edge.text.get(..end).unwrap_or_default(), json, text);
                if json {
                    text.push(b'"');
                }
            }
        }
        if edge.path == PathId::ROOT {
            return Plan { mode: Mode::Field, name: NO_NAME, ..Plan::default() };
        }
        let after = place(shape, paths, edge.path, &mut key);
        text.push(if from.is_some() { b',' } else { b'{' });
        text.push(b'"');
        text.extend_from_slice(&key);
        text.extend_from_slice(b"\":");
        let mut mode = if after.containers.is_plain() && !self.compact { Mode::Field } else { Mode::Look };
        if let Some((depth, json)) = after.within {
            let opened = (after.depth - depth)
                .checked_sub(1)
                .and_then(|inner| edge.marks.len().checked_sub(1 + inner));
            let start = opened.and_then(|at| edge.marks.get(at)).map_or(0, |mark| mark.at as usize);
            if json {
                text.push(b'"');
                mode = Mode::Inside;
            }
            self.piece(edge.text.get(start..).unwrap_or_default(), json, text);
        }
        if mode == Mode::Field && text == edge.text {
            mode = Mode::Verbatim;
        }
        if after.slow {
            mode = Mode::Slow;
        }
        Plan { mode, name: after.name.0, containers: after.containers, ..Plan::default() }
    }

    /// A part of an edge's text, as it is or as part of a JSON string.
    fn piece(&self, part: &[u8], json: bool, out: &mut Vec<u8>) {
        let mut scratch = Vec::new();
        let part = stripped(self.compact, part, &mut scratch);
        if json {
            escape(part, out);
        } else {
            out.extend_from_slice(part);
        }
    }
}

impl Containers {
    fn is_plain(self) -> bool {
        self.object == Empty::Plain && self.array == Empty::Plain
    }
}

fn stripped<'t>(compact: bool, text: &'t [u8], scratch: &'t mut Vec<u8>) -> &'t [u8] {
    if !compact {
        return text;
    }
    strip(text, scratch);
    scratch
}

/// Finds where a path's value goes, by the rules in their order; `key` becomes the key it is written under.
fn place(shape: &Flatten, paths: &Paths, path: PathId, key: &mut Vec<u8>) -> Place {
    let depth = paths.depth(path);
    let mut place = Place { depth, within: None, name: path, containers: Containers::default(), slow: false };
    key.clear();
    let mut dotted = Vec::new();
    let mut segments = paths.segments(path).peekable();
    let mut at = 0;
    while let Some(segment) = segments.next() {
        at += 1;
        if at > 1 {
            key.extend_from_slice(shape.separator.as_bytes());
        }
        match segment {
            Segment::Key(name) => {
                key.extend_from_slice(name);
                if !dotted.is_empty() {
                    dotted.push(b'.');
                }
                dotted.extend_from_slice(name);
                place.slow |= may_collide(shape, name);
            }
            Segment::Index(index) => key.extend_from_slice(index.to_string().as_bytes()),
        }
        place.slow |= at > 1 && key.len() > shape.max_key;
        let keeps = matches!(segment, Segment::Key(_)) && shape.keeps_json(&dotted);
        let json = |is_array: bool| match shape.arrays {
            _ if keeps => Some(true),
            Arrays::Json if is_array => Some(true),
            Arrays::Keep if is_array => Some(false),
            _ => (at >= shape.max_depth).then_some(true),
        };
        match segments.peek() {
            Some(next) => {
                let is_array = matches!(next, Segment::Index(_));
                if is_array && shape.arrays == Arrays::Join && !keeps {
                    place.slow = true;
                }
                if let Some(json) = json(is_array) {
                    place.within = Some((at, json));
                    for _ in at..depth {
                        place.name = paths.parent(place.name);
                    }
                    break;
                }
            }
            None => {
                let empty = |is_array| if json(is_array) == Some(true) { Empty::Json } else { Empty::Plain };
                place.containers = Containers { object: empty(false), array: empty(true) };
                if shape.arrays == Arrays::Join && !keeps {
                    place.containers.array = Empty::Joined;
                }
            }
        }
    }
    place.slow |= key.starts_with(shape.name.as_bytes());
    place
}

/// Whether a key with this name in it may equal a key of other names.
fn may_collide(shape: &Flatten, name: &[u8]) -> bool {
    let separator = shape.separator.as_bytes();
    let of_separator =
        |byte: Option<&u8>| separator.len() > 1 && byte.is_some_and(|byte| separator.contains(byte));
    name.contains(&b'\\')
        || of_separator(name.first())
        || of_separator(name.last())
        || memchr::memmem::find(name, separator).is_some()
        || (shape.arrays == Arrays::Index && name.first().is_some_and(u8::is_ascii_digit))
}
