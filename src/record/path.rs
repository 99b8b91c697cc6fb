//! Paths from a record's root to its leaves, interned per scanner.
//!
//! Paths of learned edges stay; those of edges met once live until the next record and carry [`PathId::TEMPORARY`].

use std::hash::{BuildHasher, Hasher};

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

/// Array elements from this one on share one state: what is learned of one holds for all that follow.
pub(crate) const FAR: u32 = 32;
/// Marks a row whose segment is an array index, in place of a key's length.
const INDEX: u32 = u32::MAX;
/// Marks a row without a slot.
const NO_SLOT: u32 = u32::MAX;
/// Marks a row without a twin.
const NO_TWIN: PathId = PathId(u32::MAX);

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
    depth: u16,
    /// Whether an index of [`FAR`] or more is on the way.
    far: bool,
    /// A hash of the steps from the root, indices cut to [`FAR`]: the same for every id of one path.
    print: u64,
    /// The lasting path with every index cut to [`FAR`]: itself, for lasting ones. A temporary key with a twin is the twin's.
    twin: PathId,
}

const ROOT: Row = Row {
    parent: PathId::ROOT,
    value: 0,
    len: 0,
    slot: NO_SLOT,
    tree: TreeNode::NONE,
    depth: 0,
    far: false,
    print: 0,
    twin: PathId::ROOT,
};

/// The tree of paths a scanner knows.
#[derive(Debug)]
pub struct Paths {
    lasting: Vec<Row>,
    keys: Vec<u8>,
    by_hash: HashMap<u64, u32>,
    temporary: Vec<Row>,
    temporary_keys: Vec<u8>,
    tree: SlotTree,
    hasher: RandomState,
}

/// The lasting paths of before.
#[derive(Debug)]
pub(super) struct OldPaths {
    rows: Vec<Row>,
    keys: Vec<u8>,
}

impl Paths {
    pub(super) fn new(tree: SlotTree) -> Paths {
        let mut paths = Paths {
            lasting: Vec::new(),
            keys: Vec::new(),
            by_hash: HashMap::new(),
            temporary: Vec::new(),
            temporary_keys: Vec::new(),
            tree,
            hasher: RandomState::default(),
        };
        paths.reset();
        paths
    }

    /// Forgets every path but the root; what there was.
    pub(super) fn reset(&mut self) -> OldPaths {
        self.forget_temporary();
        self.by_hash = HashMap::new();
        let root = vec![Row { tree: self.tree.root(), ..ROOT }];
        OldPaths { rows: std::mem::replace(&mut self.lasting, root), keys: std::mem::take(&mut self.keys) }
    }

    /// Enters again a path of before.
    pub(super) fn again(&mut self, old: &OldPaths, path: PathId) -> PathId {
        let Some(&row) = old.rows.get(path.0 as usize).filter(|_| path != PathId::ROOT) else {
            return PathId::ROOT;
        };
        let parent = self.again(old, row.parent);
        let start = row.value as usize;
        let segment = match row.len {
            INDEX => Segment::Index(row.value),
            len => Segment::Key(old.keys.get(start..start + len as usize).unwrap_or_default()),
        };
        self.enter(parent, segment)
    }

    /// Forgets what was valid for one record only.
    pub(super) fn forget_temporary(&mut self) {
        self.temporary.clear();
        self.temporary.shrink_to(8192);
        self.temporary_keys.clear();
        self.temporary_keys.shrink_to(64 * 1024);
    }

    /// Bytes of lasting tables in use.
    pub(super) fn bytes(&self) -> usize {
        self.lasting.len() * size_of::<Row>()
            + self.keys.len()
            + self.by_hash.len() * 2 * size_of::<(u64, u32)>()
    }

    /// The lasting path that this one is but for high indices.
    pub(super) fn twin(&self, path: PathId) -> Option<PathId> {
        if path.is_temporary() {
            Some(self.row(path).twin).filter(|&twin| twin != NO_TWIN)
        } else {
            Some(path)
        }
    }

    /// The lasting path that stands for a member of a lasting object that nothing was learned of: what follows such a member
    /// does not depend on its name, so what was learned behind one holds behind all. `None` where the path is no such member.
    pub(super) fn stranger(&mut self, path: PathId) -> Option<PathId> {
        let row = self.row(path);
        let is_member = row.twin == NO_TWIN && row.len != INDEX && !row.far && !row.parent.is_temporary();
        // No key is written like this, so it is no member's path.
        is_member.then(|| self.enter(row.parent, Segment::Key(b"\"")))
    }

    /// Whether an array index of 32 or more is on the way: in a lasting path all of them stand as 32.
    pub fn is_far(&self, path: PathId) -> bool {
        self.row(path).far
    }

    /// Whether this is an array's element of 32 or more.
    pub fn is_far_element(&self, path: PathId) -> bool {
        let row = self.row(path);
        row.len == INDEX && row.value >= FAR
    }

    /// A hash of the steps from the root, the same for every id of one path.
    pub(super) fn print(&self, path: PathId) -> u64 {
        self.row(path).print
    }

    /// What [`Paths::print`] is of a child.
    fn print_below(&self, parent: PathId, segment: Segment<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(self.print(parent));
        match shared(segment) {
            Segment::Key(text) => hasher.write(text),
            Segment::Index(index) => hasher.write_u32(index),
        }
        hasher.finish()
    }

    fn find(&self, parent: PathId, segment: Segment<'_>) -> Result<PathId, Missing> {
        let print = self.print_below(parent, segment);
        let mut free = print;
        while let Some(&at) = self.by_hash.get(&free) {
            let path = PathId(at);
            if self.parent(path) == parent && self.last(path) == Some(segment) {
                return Ok(path);
            }
            free = free.wrapping_add(1);
        }
        Err(Missing { print, free })
    }

    /// The lasting child of a lasting parent.
    ///
    /// # Errors
    /// There is none; its print would be this.
    pub(super) fn known(&self, parent: PathId, segment: Segment<'_>) -> Result<PathId, u64> {
        self.find(parent, shared(segment)).map_err(|missing| missing.print)
    }

    /// The lasting child of a lasting parent, known or entered.
    pub(super) fn enter(&mut self, parent: PathId, segment: Segment<'_>) -> PathId {
        let segment = shared(segment);
        let Missing { print, free } = match self.find(parent, segment) {
            Ok(path) => return path,
            Err(missing) => missing,
        };
        let row = self.below(parent, segment, print);
        let path = PathId(offset(self.lasting.len()));
        let value = match segment {
            Segment::Key(text) => {
                let start = offset(self.keys.len());
                self.keys.extend_from_slice(text);
                start
            }
            Segment::Index(index) => index,
        };
        self.lasting.push(Row { value, twin: path, ..row });
        self.by_hash.insert(free, path.0);
        path
    }

    /// A child for this record only; `twin` is the lasting path that it is but for high indices, where there is one, or
    /// else its print, where that is known.
    pub(super) fn temporary(
        &mut self,
        parent: PathId,
        segment: Segment<'_>,
        twin: Result<PathId, Option<u64>>,
    ) -> PathId {
        let path = PathId(offset(self.temporary.len()) | PathId::TEMPORARY);
        let row = match (twin, segment) {
            (Ok(twin), Segment::Index(value)) => Row { parent, value, ..self.row(twin) },
            (Ok(twin), Segment::Key(_)) => Row { parent, ..self.row(twin) },
            (Err(print), _) => {
                let print = print.unwrap_or_else(|| self.print_below(parent, segment));
                let row = self.below(parent, segment, print);
                match segment {
                    Segment::Index(value) => Row { value, ..row },
                    Segment::Key(text) => {
                        let value = offset(self.temporary_keys.len());
                        self.temporary_keys.extend_from_slice(text);
                        Row { value, ..row }
                    }
                }
            }
        };
        self.temporary.push(row);
        path
    }

    /// The row of a child, its place and twin still open.
    fn below(&self, parent: PathId, segment: Segment<'_>, print: u64) -> Row {
        let above = self.row(parent);
        let (len, tree, far) = match segment {
            Segment::Key(text) => (offset(text.len()), self.tree.below(above.tree, text), above.far),
            Segment::Index(index) => (INDEX, above.tree, above.far || index >= FAR),
        };
        let slot = self.tree.slot(tree).map_or(NO_SLOT, |slot| u32::from(slot.0));
        Row {
            parent,
            value: 0,
            len,
            slot,
            tree,
            depth: above.depth.saturating_add(1),
            far,
            print,
            twin: NO_TWIN,
        }
    }

    /// Where an edge leads from a path that is its state but for high indices: up by `pops`, then down as `target` does.
    /// `advance`: by the next element of the array.
    pub(super) fn follow(&mut self, from: PathId, target: PathId, pops: u16, advance: bool) -> PathId {
        let (mut base, mut below) = (from, from);
        for _ in 0..pops {
            below = base;
            base = self.parent(base);
        }
        if !base.is_temporary() && !advance {
            return target;
        }
        let next = match self.last(below) {
            Some(Segment::Index(index)) if advance => Some(index.saturating_add(1)),
            _ => None,
        };
        self.descend(base, target, self.row(base).depth, next)
    }

    /// The next element of an array, where an edge that leaves `from`, a state, by `pops` steps leads there. `last`: the
    /// element that was entered last among far ones: `from` stands in it, or in what that stands in.
    pub(super) fn next_element(&mut self, last: PathId, from: PathId, pops: u16) -> Option<PathId> {
        let state = self.row(from);
        let depth = (state.depth + 1).checked_sub(pops)?;
        let (mut element, mut row) = (last, self.row(last));
        while row.depth > depth {
            element = row.parent;
            row = self.row(element);
        }
        let is_far = !from.is_temporary() && state.far && element.is_temporary();
        if !is_far || row.depth != depth || row.len != INDEX {
            return None;
        }
        let path = PathId(offset(self.temporary.len()) | PathId::TEMPORARY);
        self.temporary.push(Row { value: row.value.saturating_add(1), ..row });
        Some(path)
    }

    /// The deepest of an array's element and what it stands in that is also above a lasting path, but for high indices.
    pub(super) fn above_both(&self, element: PathId, path: PathId) -> PathId {
        let mut above = element;
        while above != PathId::ROOT && !self.twin(above).is_some_and(|twin| self.is_above(twin, path)) {
            above = self.parent(above);
        }
        above
    }

    fn is_above(&self, above: PathId, path: PathId) -> bool {
        let (depth, mut at) = (self.depth(above), path);
        while self.depth(at) > depth {
            at = self.parent(at);
        }
        at == above
    }

    /// A lasting path with its true indices, of which `element` has the high ones.
    pub(super) fn exact(&mut self, element: PathId, path: PathId) -> PathId {
        let base = self.above_both(element, path);
        if base.is_temporary() { self.descend(base, path, self.row(base).depth, None) } else { path }
    }

    /// The path below `base` that `target` is below a base `depth` deep; `next` is the index of the first step.
    fn descend(&mut self, base: PathId, target: PathId, depth: u16, next: Option<u32>) -> PathId {
        let row = self.row(target);
        if row.depth <= depth {
            return base;
        }
        let first = row.depth == depth + 1;
        let parent = if first { base } else { self.descend(base, row.parent, depth, next) };
        let value = match next {
            Some(next) if first => next,
            _ => row.value,
        };
        let path = PathId(offset(self.temporary.len()) | PathId::TEMPORARY);
        self.temporary.push(Row { parent, value, ..row });
        path
    }

    fn row(&self, path: PathId) -> Row {
        let at = (path.0 & !PathId::TEMPORARY) as usize;
        let rows = if path.is_temporary() { &self.temporary } else { &self.lasting };
        rows.get(at).copied().unwrap_or(ROOT)
    }

    /// The path one step up; the root's is the root.
    pub fn parent(&self, path: PathId) -> PathId {
        self.row(path).parent
    }

    /// The last step; the root has none.
    pub fn last(&self, path: PathId) -> Option<Segment<'_>> {
        if path == PathId::ROOT {
            return None;
        }
        let row = self.row(path);
        if row.len == INDEX {
            return Some(Segment::Index(row.value));
        }
        let keys = if row.twin == NO_TWIN { &self.temporary_keys } else { &self.keys };
        let start = row.value as usize;
        Some(Segment::Key(keys.get(start..start + row.len as usize).unwrap_or_default()))
    }

    /// How many steps lead there from the root.
    pub fn depth(&self, path: PathId) -> usize {
        usize::from(self.row(path).depth)
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
        let keys = self.segments(path).filter_map(|segment| match segment {
            Segment::Key(key) => Some(unescape(key)),
            Segment::Index(_) => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }
}

/// No lasting path: the print that it would have, and the hash under which it would be found.
struct Missing {
    print: u64,
    free: u64,
}

/// The step that all far elements share.
fn shared(segment: Segment<'_>) -> Segment<'_> {
    match segment {
        Segment::Index(index) => Segment::Index(index.min(FAR)),
        key => key,
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
mod tests;
