//! The scan: validates, indexes and finds every leaf in one pass, by learned shapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::leaves::Leaves;
use super::block::{BLOCK, Block, block, special};
use super::gap::Gap;
use super::hits::SlotTable;
use super::path::{PathId, Paths, Segment};
use super::shape::{Edge, NONE, Shapes, Way};
use super::slots::SlotTree;
use super::{EdgeId, Leaf, Slots, string};

/// How a scan of one record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// A whole valid object ends before this offset. (What follows it is the caller's to judge.)
    Record {
        /// One past the closing brace.
        end: usize,
    },
    /// The buffer ends inside the object; so far it is valid. Scan again from the start when there is more.
    Incomplete,
    /// Not JSON from this offset on, or over a limit.
    Invalid {
        /// Where, offset into the buffer.
        at: usize,
        /// What is wrong, in words.
        reason: &'static str,
    },
}

/// What a scan accepts and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// Containers open at once, the record's own included. Deeper: invalid. Default 128.
    pub depth: usize,
    /// A record has fewer leaves than this; of one that has more, the containers at the top with many leaves are kept
    /// whole. Default 65,536.
    pub leaves: usize,
    /// Bytes of learned tables; beyond it the less used half is forgotten. Default 1.5 MiB.
    pub tables: usize,
}

impl Default for ScanLimits {
    fn default() -> ScanLimits {
        ScanLimits { depth: 128, leaves: 65_536, tables: 3 << 19 }
    }
}

/// Scans records one at a time. One per thread and pipeline; holds the learned tables (bounded) and the index of the last record.
pub struct Scanner {
    slots: Arc<Slots>,
    limits: ScanLimits,
    pub(super) shapes: Shapes,
    paths: Paths,
    gap: Gap,
    leaves: Leaves,
    hits: SlotTable,
    tail: EdgeId,
    generation: u64,
    truncated: bool,
    /// Whether a leaf is a container of more than its brackets.
    blanks: bool,
    escaped: bool,
    elements: Vec<Element>,
    parsed: Parsed,
}

/// An element of an array, from [`FAR`](super::path::FAR) on: what a leaf's learned edge does not tell.
#[derive(Clone, Copy, Debug)]
struct Element {
    /// Its first leaf: it holds for all that follow, up to the next one.
    leaf: u32,
    /// Its path, with true indices.
    path: PathId,
}

/// Why the fast road ended.
enum Exit {
    /// The text after the last leaf is not in the chain.
    Unknown,
    /// Something else than a usual leaf is next, or was.
    Switch,
    /// The record is over.
    Tail {
        edge: EdgeId,
        end: usize,
    },
    Ended(Scan),
}

/// Where the scan stands: after a leaf.
#[derive(Clone, Copy)]
struct State {
    at: usize,
    /// The leaf's path, or what stands for it: see [`Paths::stranger`].
    path: PathId,
}

/// What the slow road did last.
#[derive(Clone, Copy)]
struct Parsed {
    /// The end of its leaf.
    at: usize,
    /// Its edge was learned, having come for the second time.
    learned: bool,
    /// The print of the leaf's own path, where it is a stranger.
    stranger: Option<u64>,
}

impl Parsed {
    const NOTHING: Parsed = Parsed { at: usize::MAX, learned: false, stranger: None };
}

impl Scanner {
    /// Makes a scanner that knows which paths are wanted.
    pub fn new(slots: Arc<Slots>, limits: ScanLimits) -> Scanner {
        // What was learned by one scanner's edges means nothing to another: their generations are never the same.
        static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
        Scanner {
            shapes: Shapes::new(),
            paths: Paths::new(SlotTree::new(&slots)),
            gap: Gap::default(),
            leaves: Leaves::new(),
            hits: SlotTable::new(slots.len()),
            tail: EdgeId(EdgeId::TEMPORARY),
            generation: NEXT.fetch_add(1 << 32, Ordering::Relaxed),
            truncated: false,
            blanks: false,
            escaped: false,
            elements: Vec::new(),
            parsed: Parsed::NOTHING,
            slots,
            limits,
        }
    }

    /// Scans the object that starts at `buffer[at]`; blanks before it are the caller's. The buffer may end anywhere.
    ///
    /// After [`Scan::Record`] the index of this record can be read until the next call; after anything else it is of no use.
    pub fn scan(&mut self, buffer: &[u8], at: usize) -> Scan {
        if u32::try_from(buffer.len()).is_err() {
            return Scan::Invalid { at, reason: "buffer over 4 GiB" };
        }
        self.begin();
        let mut state = State { at, path: PathId::ROOT };
        loop {
            let exit = if self.truncated {
                Exit::Unknown
            } else {
                match self.dash(buffer, &mut state) {
                    Exit::Switch => self.run(buffer, &mut state),
                    exit => exit,
                }
            };
            let exit = if matches!(exit, Exit::Unknown) { self.parse(buffer, &mut state) } else { exit };
            match exit {
                Exit::Unknown | Exit::Switch => {}
                Exit::Tail { edge, end } => {
                    self.tail = edge;
                    return Scan::Record { end };
                }
                Exit::Ended(scan) => return scan,
            }
            if self.leaves.len() >= self.limits.leaves {
                if self.truncated {
                    return Scan::Invalid { at: state.at, reason: "too many members" };
                }
                // Once more from the start, with what is large kept whole.
                self.begin();
                self.truncated = true;
                state = State { at, path: PathId::ROOT };
            }
        }
    }

    fn begin(&mut self) {
        self.leaves.clear();
        self.hits.begin();
        self.shapes.forget_temporary();
        self.paths.forget_temporary();
        self.truncated = false;
        self.blanks = false;
        self.escaped = false;
        self.parsed = Parsed::NOTHING;
        self.elements.clear();
        self.elements.shrink_to(1024);
        if self.shapes.bytes() + self.paths.bytes() > self.limits.tables {
            self.shapes.halve(&mut self.paths, self.limits.tables / 2);
            self.generation += 1;
        }
    }

    /// The fast road: follows one learned edge, whatever it leads to.
    ///
    /// It stops a block before the buffer's end: the slow road goes on from there.
    #[inline(never)]
    fn run(&mut self, buffer: &[u8], state: &mut State) -> Exit {
        let at = state.at;
        let (Some(path), Some(text)) = (self.lasting(state.path), block(buffer, at)) else {
            return Exit::Unknown;
        };
        let [mut edge, mut other] = self.shapes.chains.of(path, buffer.get(at..).unwrap_or_default());
        let mut before = NONE;
        loop {
            let Some(hot) = self.shapes.hot.get_mut(edge as usize) else {
                if other == NONE {
                    return Exit::Unknown;
                }
                (edge, other, before) = (other, NONE, NONE);
                continue;
            };
            let next = hot.next;
            let len = hot.len as usize;
            if hot.starts(text)
                && hot.state == path.0
                && (len <= BLOCK || self.shapes.rows.starts(edge, buffer.get(at..).unwrap_or_default()))
            {
                let (target, slot, odd) = (PathId(hot.target), hot.slot, hot.odd);
                let (pops, advance) = (hot.pops, hot.advance);
                hot.uses = hot.uses.wrapping_add(1);
                let start = at + len;
                if odd && target == PathId::ROOT {
                    if before != NONE {
                        self.shapes.promote(path, before, edge);
                    }
                    return Exit::Tail { edge: EdgeId(edge), end: start };
                }
                let Some(first) = block(buffer, start) else { return Exit::Unknown };
                let found = if first[0] == b'"' {
                    self.string_end(buffer, start, first)
                } else {
                    self.other_end(buffer, start, target)
                };
                match found {
                    Ok(end) => {
                        if before != NONE {
                            self.shapes.promote(path, before, edge);
                        }
                        if odd {
                            self.step(path, target, pops, advance);
                        }
                        self.push(EdgeId(edge), start, end, slot);
                        *state = State { at: end, path: target };
                        return Exit::Switch;
                    }
                    Err(None) => {}
                    Err(Some(scan)) => return Exit::Ended(scan),
                }
            }
            before = edge;
            edge = next;
        }
    }

    /// The state of a path; a temporary one's true indices are kept.
    fn lasting(&mut self, path: PathId) -> Option<PathId> {
        let twin = self.paths.twin(path)?;
        if path.is_temporary() && self.paths.is_far(twin) {
            self.enter(path);
        }
        Some(twin)
    }

    /// Goes to another of an array's far elements.
    #[inline(never)]
    fn step(&mut self, from: PathId, target: PathId, pops: u16, advance: bool) {
        // Mostly to the one behind that which was entered last, or behind one that this stands in.
        if advance
            && let Some(last) = self.elements.last()
            && let Some(path) = self.paths.next_element(last.path, from, pops)
        {
            self.elements.push(Element { leaf: small(self.leaves.len()), path });
            return;
        }
        let from = self.exact(from);
        let path = self.paths.follow(from, target, pops, advance);
        self.enter(path);
    }

    /// Keeps the element that a path is in.
    fn enter(&mut self, path: PathId) {
        let mut element = path;
        while matches!(self.paths.last(element), Some(Segment::Key(_))) {
            element = self.paths.parent(element);
        }
        self.elements.push(Element { leaf: small(self.leaves.len()), path: element });
    }

    /// The path of the last leaf with its true indices.
    fn exact(&mut self, path: PathId) -> PathId {
        match self.elements.last() {
            Some(element) if !path.is_temporary() && self.paths.is_far(path) => {
                self.paths.exact(element.path, path)
            }
            _ => path,
        }
    }

    /// Where the string ends that starts at `at`, with this block.
    #[inline(always)]
    fn string_end(&mut self, buffer: &[u8], at: usize, block: &Block) -> Result<usize, Option<Scan>> {
        let mask = special(block) & !1;
        if mask == 0 {
            return self.long_string(buffer, at, at + BLOCK);
        }
        let end = mask.trailing_zeros() as usize;
        if block[end % BLOCK] == b'"' {
            return Ok(at + end + 1);
        }
        self.long_string(buffer, at, at + end)
    }

    /// Where the string ends that starts at `at` and is plain up to `plain`.
    #[inline(never)]
    fn long_string(&mut self, buffer: &[u8], at: usize, plain: usize) -> Result<usize, Option<Scan>> {
        let found = string::whole(buffer, at, plain)?;
        self.escaped |= found.escaped;
        Ok(found.end)
    }

    /// Where a value that is no string ends; `Err(None)`: no leaf starts here.
    #[inline(never)]
    fn other_end(&mut self, buffer: &[u8], at: usize, path: PathId) -> Result<usize, Option<Scan>> {
        let end = string::other(buffer, at)?;
        if let Some(b'{' | b'[') = buffer.get(at) {
            if self.paths.depth(path) >= self.limits.depth {
                return Err(Some(Scan::Invalid { at, reason: TOO_DEEP }));
            }
            self.blanks |= end - at > 2;
        }
        Ok(end)
    }

    #[inline(always)]
    fn push(&mut self, edge: EdgeId, start: usize, end: usize, slot: u32) {
        if slot != NONE {
            self.hits.add(slot, small(self.leaves.len()));
        }
        self.leaves.push(Leaf { edge, start: small(start), end: small(end) });
    }

    /// The slow road for one leaf: parses the gap, finds it by hash, or keeps it: for good when it was met before.
    #[inline(never)]
    fn parse(&mut self, buffer: &[u8], state: &mut State) -> Exit {
        let mut gap = std::mem::take(&mut self.gap);
        let exit = self.parse_gap(&mut gap, buffer, state);
        self.gap = gap;
        exit
    }

    fn parse_gap(&mut self, gap: &mut Gap, buffer: &[u8], state: &mut State) -> Exit {
        let room = self.truncated.then(|| self.limits.leaves.saturating_sub(self.leaves.len()).min(OPENED));
        state.path = self.exact(state.path);
        if let Err(scan) = gap.read(&self.paths, state.path, buffer, state.at, self.limits.depth, room) {
            return Exit::Ended(scan);
        }
        let start = gap.end;
        let end = if gap.tail {
            start
        } else {
            let found = match buffer.get(start) {
                _ if gap.whole.is_some() => gap.whole.ok_or(None),
                Some(b'"') => self.long_string(buffer, start, start + 1),
                _ => string::other(buffer, start),
            };
            match found {
                Ok(end) => end,
                Err(scan) => return Exit::Ended(scan.unwrap_or(Scan::Incomplete)),
            }
        };
        let text = buffer.get(state.at..start).unwrap_or_default();
        let (edge, path, learned) = self.edge_of(gap, buffer, *state, text);
        if gap.tail {
            return Exit::Tail { edge, end };
        }
        let slot = self.paths.slot(path).map_or(NONE, |slot| u32::from(slot.0));
        self.blanks |= matches!(buffer.get(start), Some(b'{' | b'[')) && end - start > 2;
        self.push(edge, start, end, slot);
        let stands_for_it = self.paths.stranger(path);
        self.parsed = Parsed { at: end, learned, stranger: stands_for_it.map(|_| self.paths.print(path)) };
        *state = State { at: end, path: stands_for_it.unwrap_or(path) };
        Exit::Unknown
    }

    /// The edge of a parsed gap, the path it leads to, and whether it was learned just now for having come again.
    fn edge_of(&mut self, gap: &Gap, buffer: &[u8], from: State, text: &[u8]) -> (EdgeId, PathId, bool) {
        let Gap { ref marks, has_newline, escaped_key, pops, advance, .. } = *gap;
        let hash = self.shapes.hash(self.paths.print(from.path), text);
        let state = self.paths.twin(from.path);
        if let Some(state) = state
            && let Some(found) = self.shapes.find(hash, state, text)
        {
            self.shapes.found(state, found);
            let target = self.shapes.edge(EdgeId(found)).path;
            let path = if gap.tail { target } else { self.paths.follow(from.path, target, pops, advance) };
            return (self.shapes.placed(found, target, path), path, false);
        }
        let before = if self.parsed.at == from.at { self.parsed } else { Parsed::NOTHING };
        let short = text.len() < LEARNED;
        // What is met for the second time is learned, where its state lasts. What leaves another path is remembered all the
        // same, what leaves a stranger also for its own: when it comes again that path lasts, and a record is learned as a
        // whole.
        let met = short && self.shapes.met(hash);
        if short && let Some(print) = before.stranger {
            let _ = self.shapes.met(self.shapes.hash(print, text));
        }
        // Behind what never comes again stands what does: its path is entered, so that one such member does not make
        // strangers of all its neighbours.
        let returns = match state {
            Some(_) => met,
            None => short && self.shapes.met(self.shapes.hash(self.paths.print(gap.base), text)),
        };
        let (path, target) = gap.place(&mut self.paths, buffer, returns, |print| self.shapes.met(print));
        // What is known behind what came again came with it, though a stranger may have hidden it then.
        let learn = met || (short && before.learned);
        if learn
            && let Some(state) = state
            && let Some(target) = target
        {
            let edge = Edge { path: target, text, marks, has_newline, escaped_key };
            let slot = self.paths.slot(target).map_or(NONE, |slot| u32::from(slot.0));
            let way = Way {
                slot,
                pops,
                advance,
                steps: self.paths.is_far(target) && gap.steps_into_an_element(),
                deep: self.paths.depth(target) >= self.limits.depth,
            };
            let learned = self.shapes.learn(hash, state, &edge, way);
            return (self.shapes.placed(learned, target, path), path, met);
        }
        (self.shapes.keep(&Edge { path, text, marks, has_newline, escaped_key }), path, false)
    }
}

/// In a record that has too many leaves, a container at the top with more leaves than this is kept whole.
const OPENED: usize = 1024;
/// Longer gaps, in bytes, are not learned.
const LEARNED: usize = 1024;
const TOO_DEEP: &str = "nested deeper than 128";

/// An offset into the buffer, or a number of leaves.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "scan() refuses buffers over 4 GiB, and a record has fewer leaves than bytes"
)]
fn small(number: usize) -> u32 {
    number as u32
}

mod dash;
mod index;
mod leaves;
#[cfg(test)]
mod tests;
