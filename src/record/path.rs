//! Paths from a record's root to its leaves, interned per scanner.
//!
//! Paths of learned edges stay; those of edges met once live until the next record and carry [`PathId::TEMPORARY`].

use std::hash::BuildHasher;

use foldhash::{HashMap, HashMapExt, fast::RandomState};

use super::slots::{SlotId, SlotTree, TreeNode};

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Segment<'a> {
    /// A member of an object: the key's text as written between its quotes (escapes kept).
    Key(&'a [u8]),
    /// An element of an array, from 0.
    Index(u32),
}

/// A path, dense, local to one [`Paths`]; [`PathId::ROOT`] is the record itself.
///
/// Ids at or above [`PathId::TEMPORARY`] hold for the current record only. The same path may have a temporary and a
/// lasting id within one record (it was learned in between): compare segments where that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl PathId {
    /// The record itself.
    pub const ROOT: PathId = PathId(0);
    /// Ids from here on are valid for the current record only.
    pub const TEMPORARY: u32 = 1 << 31;

    /// Whether this id is valid for the current record only.
    pub const fn is_temporary(self) -> bool {
        self.0 >= PathId::TEMPORARY
    }
}

/// Marks a row whose segment is an array index, in place of a key's length.
const INDEX: u32 = u32::MAX;
/// Marks a row without a slot.
const NO_SLOT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Row {
    parent: PathId,
    /// Key: offset into `keys`; index: the index.
    value: u32,
    /// Key: its length; index: [`INDEX`].
    len: u32,
    slot: u32,
    /// Where the dotted text stands in the tree of wanted paths.
    tree: TreeNode,
    depth: u32,
}

/// One of the two halves: lasting or temporary.
#[derive(Debug, Default)]
struct Half {
    rows: Vec<Row>,
    keys: Vec<u8>,
    by_hash: HashMap<u64, u32>,
}

impl Half {
    fn segment(&self, row: Row) -> Segment<'_> {
        if row.len == INDEX {
            return Segment::Index(row.value);
        }
        let start = row.value as usize;
        Segment::Key(self.keys.get(start..start + row.len as usize).unwrap_or_default())
    }

    /// Finds a child, or the hash under which it is to be entered.
    fn find(&self, mut hash: u64, parent: PathId, segment: Segment<'_>) -> Result<u32, u64> {
        while let Some(&at) = self.by_hash.get(&hash) {
            match self.rows.get(at as usize) {
                Some(&row) if row.parent == parent && self.segment(row) == segment => return Ok(at),
                _ => hash = hash.wrapping_add(1),
            }
        }
        Err(hash)
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.keys.clear();
        self.by_hash.clear();
        if self.by_hash.capacity() > 4096 {
            *self = Half::default();
        }
    }

    /// Bytes in use, tables' spare room not counted.
    fn bytes(&self) -> usize {
        self.rows.len() * size_of::<Row>()
            + self.keys.len()
            + self.by_hash.len() * 2 * size_of::<(u64, u32)>()
    }
}

/// The tree of paths a scanner knows.
#[derive(Debug)]
pub struct Paths {
    lasting: Half,
    temporary: Half,
    tree: SlotTree,
    hasher: RandomState,
}

impl Paths {
    pub(super) fn new(tree: SlotTree) -> Paths {
        let mut paths = Paths {
            lasting: Half::default(),
            temporary: Half::default(),
            tree,
            hasher: RandomState::default(),
        };
        paths.reset();
        paths
    }

    /// Forgets every path but the root.
    pub(super) fn reset(&mut self) {
        self.temporary.clear();
        let tree = self.tree.root();
        let root = Row { parent: PathId::ROOT, value: 0, len: 0, slot: NO_SLOT, tree, depth: 0 };
        self.lasting = Half { rows: vec![root], keys: Vec::new(), by_hash: HashMap::new() };
    }

    /// Forgets what was valid for one record only.
    pub(super) fn forget_temporary(&mut self) {
        if !self.temporary.rows.is_empty() {
            self.temporary.clear();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lasting.bytes()
    }

    /// The child of `parent`: known, or entered (temporarily if asked so, or if the parent is).
    pub(super) fn child(&mut self, parent: PathId, segment: Segment<'_>, temporary: bool) -> PathId {
        let hash = self.hasher.hash_one((parent, segment));
        let mut entry = hash;
        if !parent.is_temporary() {
            match self.lasting.find(hash, parent, segment) {
                Ok(at) => return PathId(at),
                Err(free) => entry = free,
            }
        }
        let temporary = temporary || parent.is_temporary();
        if temporary {
            match self.temporary.find(hash, parent, segment) {
                Ok(at) => return PathId(at | PathId::TEMPORARY),
                Err(free) => entry = free,
            }
        }
        let above = self.row(parent);
        let tree = match segment {
            Segment::Key(text) => self.tree.below(above.tree, text),
            Segment::Index(_) => above.tree,
        };
        let slot = self.tree.slot(tree).map_or(NO_SLOT, |slot| u32::from(slot.0));
        let half = if temporary { &mut self.temporary } else { &mut self.lasting };
        let (value, len) = match segment {
            Segment::Key(text) => {
                let start = offset(half.keys.len());
                half.keys.extend_from_slice(text);
                (start, offset(text.len()))
            }
            Segment::Index(index) => (index, INDEX),
        };
        let at = offset(half.rows.len());
        half.rows.push(Row { parent, value, len, slot, tree, depth: above.depth + 1 });
        half.by_hash.insert(entry, at);
        PathId(if temporary { at | PathId::TEMPORARY } else { at })
    }

    fn half(&self, path: PathId) -> &Half {
        if path.is_temporary() { &self.temporary } else { &self.lasting }
    }

    fn row(&self, path: PathId) -> Row {
        let at = (path.0 & !PathId::TEMPORARY) as usize;
        let root =
            Row { parent: PathId::ROOT, value: 0, len: 0, slot: NO_SLOT, tree: TreeNode::NONE, depth: 0 };
        self.half(path).rows.get(at).copied().unwrap_or(root)
    }

    /// The path one step up; the root's is the root.
    pub fn parent(&self, path: PathId) -> PathId {
        self.row(path).parent
    }

    /// The last step; the root has none.
    pub fn last(&self, path: PathId) -> Option<Segment<'_>> {
        (path != PathId::ROOT).then(|| self.half(path).segment(self.row(path)))
    }

    /// How many steps lead there from the root.
    pub fn depth(&self, path: PathId) -> usize {
        self.row(path).depth as usize
    }

    /// The slot somebody asked for under this path's dotted text.
    pub fn slot(&self, path: PathId) -> Option<SlotId> {
        u16::try_from(self.row(path).slot).ok().map(SlotId)
    }

    /// The steps from the root to here.
    pub fn segments(&self, path: PathId) -> impl Iterator<Item = Segment<'_>> {
        let mut steps = Vec::with_capacity(self.depth(path));
        let mut at = path;
        while let Some(segment) = self.last(at) {
            steps.push(segment);
            at = self.parent(at);
        }
        steps.into_iter().rev()
    }

    /// The keys joined by dots, escapes undone, array indices left out: `resources.ARN`.
    pub fn dotted(&self, path: PathId) -> String {
        let mut text = String::new();
        let mut first = true;
        for segment in self.segments(path) {
            if let Segment::Key(key) = segment {
                if !first {
                    text.push('.');
                }
                first = false;
                text.push_str(&unescape(key));
            }
        }
        text
    }
}

/// Table sizes are bounded far below 4 GiB; a larger number is a bug that shows as a wrong offset, never as a panic.
fn offset(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Undoes JSON escapes in the text between two quotes; half a surrogate pair becomes U+FFFD.
pub fn unescape(text: &[u8]) -> std::borrow::Cow<'_, str> {
    if !text.contains(&b'\\') {
        return String::from_utf8_lossy(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(&String::from_utf8_lossy(plain));
        let used = match escape.get(1) {
            Some(b'u') => {
                let (letter, used) = unicode_escape(escape);
                out.push(letter);
                used
            }
            Some(&letter) => {
                out.push(match letter {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    other => char::from(other),
                });
                2
            }
            None => 1,
        };
        rest = escape.get(used..).unwrap_or_default();
    }
    out.push_str(&String::from_utf8_lossy(rest));
    std::borrow::Cow::Owned(out)
}

/// Reads `\uXXXX`, or a pair of them, at the start of `text`: the character and the bytes used.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| -> Option<u32> {
        if text.get(at..at + 2)? != b"\\u" {
            return None;
        }
        let digits = std::str::from_utf8(text.get(at + 2..at + 6)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, text.len().min(6)) };
    if (0xD800..0xDC00).contains(&first)
        && let Some(second) = unit(6)
        && (0xDC00..0xE000).contains(&second)
    {
        let letter = char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
        return (letter.unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Slots;

    #[test]
    fn a_path_is_interned_once_and_knows_its_slot() {
        let mut slots = Slots::default();
        let wanted = slots.want("resources.ARN");
        let mut paths = Paths::new(SlotTree::new(&slots));
        let list = paths.child(PathId::ROOT, Segment::Key(b"resources"), false);
        let first = paths.child(list, Segment::Index(0), false);
        let leaf = paths.child(first, Segment::Key(b"ARN"), false);
        assert_eq!(paths.child(first, Segment::Key(b"ARN"), true), leaf);
        assert_eq!(paths.slot(leaf), Some(wanted));
        assert_eq!(paths.slot(list), None);
        assert_eq!(paths.dotted(leaf), "resources.ARN");
        assert_eq!(paths.depth(leaf), 3);
        let dotted = paths.child(PathId::ROOT, Segment::Key(b"resources.\\u0041RN"), true);
        assert!(dotted.is_temporary());
        assert_eq!(paths.slot(dotted), Some(wanted));
        let empty = paths.child(PathId::ROOT, Segment::Key(b""), false);
        let below = paths.child(empty, Segment::Key(b"resources.ARN"), false);
        assert_eq!(paths.slot(below), None);
    }

    #[test]
    fn escapes_are_undone_and_half_pairs_replaced() {
        assert_eq!(unescape(br"a\u0041\n\\\/\ud83d\ude00"), "aA\n\\/\u{1F600}");
        assert_eq!(unescape(br"\ud83d!"), "\u{FFFD}!");
        assert_eq!(unescape(br"\ude00\u00"), "\u{FFFD}\u{FFFD}");
    }
}
