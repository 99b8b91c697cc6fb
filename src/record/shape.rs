//! Learned shapes: the text between one leaf and the next, kept in tables so that it is parsed once and compared afterwards.
//!
//! A state is the path of the last leaf. From each state lead edges, in short [`chains`]; what is in none of them is found
//! by hash. What is met for the first time is kept for one record only.

pub(super) mod chains;

use std::hash::BuildHasher;

use foldhash::{HashMap, HashMapExt, fast::RandomState};

use self::chains::Chains;
use super::block::{BLOCK, Block, equal};
use super::path::{PathId, Paths};
use super::{EdgeId, Mark};

/// Ends a chain.
pub(super) const NONE: u32 = u32::MAX;
/// Groups of places for what was met once: few, so that little is forgotten by chance and much by age.
const SEEN: usize = 4 * 1024;
/// Places in a group.
const GROUP: usize = 4;

/// What the scan touches of an edge: one cache line, and for a text that is longer than a block the one beside it.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
pub(super) struct Hot {
    /// The first [`BLOCK`] bytes, then zeros.
    pub(super) text: Block,
    /// One bit for each byte of `text` that counts.
    pub(super) mask: u32,
    /// The state it leaves: a [`PathId`].
    pub(super) state: u32,
    /// The state it leads to: a [`PathId`]; [`PathId::ROOT`] for tails.
    pub(super) target: u32,
    /// The next edge of its chain, or [`NONE`].
    pub(super) next: u32,
    /// The slot of the path it leads to, or [`NONE`].
    pub(super) slot: u32,
    /// How often it was taken, wrapping.
    pub(super) uses: u32,
    /// Length of the whole text in bytes.
    pub(super) len: u16,
    /// Steps up from the state's path before it goes down to the target.
    pub(super) pops: u16,
    /// Whether it goes from one element of an array to the next.
    pub(super) advance: bool,
    /// Whether it is a tail, or leads to another element among an array's far ones.
    pub(super) odd: bool,
    /// Whether an empty container there is one level too many.
    pub(super) deep: bool,
    /// The bytes behind `text`, then zeros: in the second line.
    more: Second,
}

/// The second line of an edge.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Second([Block; 2]);

impl Hot {
    /// How much of a text stands here.
    pub(super) const HELD: usize = 3 * BLOCK;

    /// Whether this is what the edge's text begins with.
    #[inline(always)]
    pub(super) fn starts(&self, text: &Block) -> bool {
        equal(text, &self.text) & self.mask == self.mask
    }

    /// Whether what follows a block is the rest of the text: for texts of more than a block and [`Hot::HELD`] at most.
    #[inline(always)]
    pub(super) fn goes_on(&self, near: &[u8; Hot::HELD]) -> bool {
        let (mut left, mut same) = (usize::from(self.len), true);
        for (text, more) in near.as_chunks::<BLOCK>().0.iter().skip(1).zip(&self.more.0) {
            left = left.saturating_sub(BLOCK);
            let differs = u64::from(!equal(text, more));
            same &= differs.trailing_zeros() as usize >= left.min(BLOCK);
        }
        same
    }
}

/// What others ask about an edge.
#[derive(Clone, Copy, Debug)]
struct Row {
    path: PathId,
    /// Lasting: the state it leaves. Temporary: the learned edge whose text it shares, or [`NONE`].
    link: u32,
    text: u32,
    text_len: u32,
    marks: u32,
    marks_len: u16,
    has_newline: bool,
    escaped_key: bool,
}

/// Rows of edges with their text; lasting or temporary.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    text: Vec<u8>,
    marks: Vec<Mark>,
}

/// A piece of text between two leaves and what it means.
#[derive(Clone, Copy, Debug)]
pub struct Edge<'a> {
    /// The path of the leaf it leads to; the root for tails (text from the last leaf up to the record's closing brace).
    pub path: PathId,
    /// The bytes as written: punctuation, keys, blanks.
    pub text: &'a [u8],
    /// The brackets that stand outside keys, in order. The record's own braces are among them. An empty container is
    /// a leaf: its brackets are not.
    pub marks: &'a [Mark],
    /// Whether a line feed or a carriage return stands in it.
    pub has_newline: bool,
    /// Whether a key in it has escapes.
    pub escaped_key: bool,
}

/// How an edge's target is reached from its state, beyond its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The slot of the target, or [`NONE`].
    pub(super) slot: u32,
    /// See [`Hot::pops`].
    pub(super) pops: u16,
    /// See [`Hot::advance`].
    pub(super) advance: bool,
    /// Whether it leads to another element among an array's far ones.
    pub(super) steps: bool,
    /// See [`Hot::deep`].
    pub(super) deep: bool,
}

impl Rows {
    /// Whether the whole text of an edge stands at the start of `rest`: for texts longer than a block.
    #[inline(never)]
    pub(super) fn starts(&self, edge: u32, rest: &[u8]) -> bool {
        rest.starts_with(self.get(edge).text)
    }

    fn get(&self, at: u32) -> Edge<'_> {
        const NOTHING: Row = Row {
            path: PathId::ROOT,
            link: NONE,
            text: 0,
            text_len: 0,
            marks: 0,
            marks_len: 0,
            has_newline: false,
            escaped_key: false,
        };
        let row = self.rows.get(at as usize).copied().unwrap_or(NOTHING);
        let text = row.text as usize;
        let marks = row.marks as usize;
        Edge {
            path: row.path,
            text: self.text.get(text..text + row.text_len as usize).unwrap_or_default(),
            marks: self.marks.get(marks..marks + usize::from(row.marks_len)).unwrap_or_default(),
            has_newline: row.has_newline,
            escaped_key: row.escaped_key,
        }
    }

    fn push(&mut self, edge: &Edge<'_>, link: u32) -> u32 {
        let at = number(self.rows.len());
        self.rows.push(Row {
            path: edge.path,
            link,
            text: number(self.text.len()),
            text_len: number(edge.text.len()),
            marks: number(self.marks.len()),
            marks_len: u16::try_from(edge.marks.len()).unwrap_or(u16::MAX),
            has_newline: edge.has_newline,
            escaped_key: edge.escaped_key,
        });
        self.text.extend_from_slice(edge.text);
        self.marks.extend_from_slice(edge.marks);
        at
    }

    fn clear(&mut self) {
        if self.rows.capacity() > 8192 || self.text.capacity() > 256 * 1024 {
            *self = Rows::default();
        }
        self.rows.clear();
        self.text.clear();
        self.marks.clear();
    }

    fn bytes(&self) -> usize {
        self.rows.len() * size_of::<Row>() + self.text.len() + self.marks.len() * size_of::<Mark>()
    }
}

/// All edges of one scanner.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) hot: Vec<Hot>,
    pub(super) chains: Chains,
    pub(super) rows: Rows,
    temporary: Rows,
    by_hash: HashMap<u64, u32>,
    /// Fingerprints of what was met once.
    seen: Box<[[u32; GROUP]]>,
    hasher: RandomState,
}

impl Shapes {
    pub(super) fn new() -> Shapes {
        Shapes {
            hot: Vec::new(),
            chains: Chains::default(),
            rows: Rows::default(),
            temporary: Rows::default(),
            by_hash: HashMap::new(),
            seen: vec![[0; GROUP]; SEEN].into_boxed_slice(),
            hasher: RandomState::default(),
        }
    }

    /// Forgets the least used edges, and paths that nothing leads to, down to `bytes`. All ids change.
    pub(super) fn halve(&mut self, paths: &mut Paths, bytes: usize) {
        let fresh = Shapes { seen: std::mem::take(&mut self.seen), ..Shapes::new() };
        let old = std::mem::replace(self, fresh);
        let old_paths = paths.reset();
        let mut edges: Vec<u32> = (0..number(old.hot.len())).collect();
        edges.sort_by_key(|&at| std::cmp::Reverse(old.hot.get(at as usize).map(|hot| hot.uses)));
        for at in edges {
            let (Some(hot), Some(row)) = (old.hot.get(at as usize), old.rows.rows.get(at as usize)) else {
                continue;
            };
            let way =
                Way { slot: hot.slot, pops: hot.pops, advance: hot.advance, steps: hot.odd, deep: hot.deep };
            let state = paths.again(&old_paths, PathId(row.link));
            let path = paths.again(&old_paths, row.path);
            let edge = Edge { path, ..old.rows.get(at) };
            let learned = self.learn(self.hash(paths.print(state), edge.text), state, &edge, way);
            if let Some(new) = self.hot.get_mut(learned as usize) {
                new.uses = hot.uses / 2;
            }
            if self.bytes() + paths.bytes() > bytes {
                break;
            }
        }
    }

    /// Forgets what was valid for one record only.
    pub(super) fn forget_temporary(&mut self) {
        if !self.temporary.rows.is_empty() {
            self.temporary.clear();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.hot.len() * size_of::<Hot>()
            + self.chains.bytes()
            + self.rows.bytes()
            + self.by_hash.len() * 2 * size_of::<(u64, u32)>()
            + self.seen.len() * size_of::<[u32; GROUP]>()
    }

    pub(super) fn edge(&self, id: EdgeId) -> Edge<'_> {
        if !id.is_temporary() {
            return self.rows.get(id.0);
        }
        let own = self.temporary.get(id.0 & !EdgeId::TEMPORARY);
        match self.like(id) {
            Some(like) => Edge { path: own.path, ..self.rows.get(like.0) },
            None => own,
        }
    }

    /// The learned edge whose text a temporary edge shares.
    pub(super) fn like(&self, id: EdgeId) -> Option<EdgeId> {
        if !id.is_temporary() {
            return None;
        }
        let row = self.temporary.rows.get((id.0 & !EdgeId::TEMPORARY) as usize)?;
        (row.link != NONE).then_some(EdgeId(row.link))
    }

    /// The hash of an edge, from the print of the path it leaves.
    pub(super) fn hash(&self, print: u64, text: &[u8]) -> u64 {
        self.hasher.hash_one((print, text))
    }

    /// Finds a learned edge that is not in the chain.
    pub(super) fn find(&self, hash: u64, state: PathId, text: &[u8]) -> Option<u32> {
        let &at = self.by_hash.get(&hash)?;
        let leaves = self.rows.rows.get(at as usize)?.link == state.0;
        (leaves && self.rows.get(at).text == text).then_some(at)
    }

    /// Whether this was met before; remembers that it was met now.
    pub(super) fn met(&mut self, hash: u64) -> bool {
        let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
        let print = u32::from_le_bytes([e, f, g, h]) | 1;
        let Some(group) = self.seen.get_mut(u32::from_le_bytes([a, b, c, d]) as usize % SEEN) else {
            return false;
        };
        if group.contains(&print) {
            return true;
        }
        group.rotate_right(1);
        group[0] = print;
        false
    }

    /// Enters an edge for good.
    pub(super) fn learn(&mut self, hash: u64, state: PathId, edge: &Edge<'_>, way: Way) -> u32 {
        let at = self.rows.push(edge, state.0);
        let (text, mask) = piece(edge.text, 0);
        let more = Second([BLOCK, 2 * BLOCK].map(|start| piece(edge.text, start).0));
        self.hot.push(Hot {
            text,
            mask,
            state: state.0,
            len: u16::try_from(edge.text.len()).unwrap_or(u16::MAX),
            target: edge.path.0,
            next: NONE,
            slot: way.slot,
            uses: 0,
            pops: way.pops,
            advance: way.advance,
            odd: way.steps || edge.path == PathId::ROOT,
            deep: way.deep,
            more,
        });
        self.by_hash.insert(hash, at);
        self.chains.know(state);
        self.chains.know(edge.path);
        self.enter(state, at);
        at
    }

    /// Enters an edge for this record only.
    pub(super) fn keep(&mut self, edge: &Edge<'_>) -> EdgeId {
        EdgeId(self.temporary.push(edge, NONE) | EdgeId::TEMPORARY)
    }

    /// The id of a learned edge: its own where the path is its target, else one for this record only.
    #[inline]
    pub(super) fn placed(&mut self, edge: u32, target: PathId, path: PathId) -> EdgeId {
        if path == target { EdgeId(edge) } else { self.keep_like(edge, path) }
    }

    fn keep_like(&mut self, like: u32, path: PathId) -> EdgeId {
        let at = number(self.temporary.rows.len());
        self.temporary.rows.push(Row {
            path,
            link: like,
            text: 0,
            text_len: 0,
            marks: 0,
            marks_len: 0,
            has_newline: false,
            escaped_key: false,
        });
        EdgeId(at | EdgeId::TEMPORARY)
    }
}

/// The block of `text` from `start` on, and a bit for each byte of it.
fn piece(text: &[u8], start: usize) -> (Block, u32) {
    let text = text.get(start..).unwrap_or_default();
    let mut block = [0; BLOCK];
    for (to, &from) in block.iter_mut().zip(text) {
        *to = from;
    }
    let mask = if text.len() >= BLOCK { u32::MAX } else { (1 << text.len()) - 1 };
    (block, mask)
}

/// Tables are bounded far below 4 GiB, and so are the texts in them.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
