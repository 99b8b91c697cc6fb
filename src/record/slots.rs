//! Slots: the paths somebody asked for, numbered once at start.

use foldhash::HashMap;
use memchr::memchr2;

use super::path::unescape;

/// A path somebody asked for: dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u16);

/// The paths wanted by patterns, identity, protection and transforms. Filled at start, then shared and never changed.
///
/// A path is its dotted text without array indices (`resources.ARN`), after un-escaping keys: `{"a":{"b":1}}` and
/// `{"a.b":1}` are the same path, as in Event Ruler. An empty key is not entered: nothing below it has a slot.
#[derive(Debug, Default, Clone)]
pub struct Slots {
    by_path: HashMap<Box<str>, SlotId>,
    /// What is wanted below these paths, whatever it is.
    below: Vec<(Box<str>, SlotId)>,
    paths: Vec<Box<str>>,
}

impl Slots {
    /// Returns the slot of a dotted path, new or known. At most 65,535; beyond that the last slot is shared.
    ///
    /// An empty dotted text names nothing: its slot is never hit.
    pub fn want(&mut self, dotted: &str) -> SlotId {
        if let Some(&slot) = self.by_path.get(dotted) {
            return slot;
        }
        let slot = self.next(dotted);
        self.by_path.insert(dotted.into(), slot);
        slot
    }

    /// Returns the slot of whatever stands below a dotted path, at any depth, and has no slot of its own.
    pub fn want_below(&mut self, dotted: &str) -> SlotId {
        if let Some((_, slot)) = self.below.iter().find(|(known, _)| **known == *dotted) {
            return *slot;
        }
        let slot = self.next(dotted);
        self.below.push((dotted.into(), slot));
        slot
    }

    fn next(&mut self, dotted: &str) -> SlotId {
        match u16::try_from(self.paths.len()) {
            Ok(number) if number < u16::MAX => {
                self.paths.push(dotted.into());
                SlotId(number)
            }
            _ => SlotId(u16::MAX - 1),
        }
    }

    /// The slot of a dotted path, where somebody asked for it.
    pub fn find(&self, dotted: &str) -> Option<SlotId> {
        self.by_path.get(dotted).copied()
    }

    /// The dotted path of a slot.
    pub fn path(&self, slot: SlotId) -> &str {
        self.paths.get(usize::from(slot.0)).map_or("", |path| path)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nobody asked for anything.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// A place in a [`SlotTree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TreeNode(u32);

impl TreeNode {
    /// Nothing below here was asked for.
    pub(super) const NONE: TreeNode = TreeNode(u32::MAX);
}

/// The wanted paths as a tree of the pieces between their dots, so that a path finds its slot key by key.
#[derive(Debug, Default)]
pub(super) struct SlotTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    below: HashMap<Box<[u8]>, TreeNode>,
    /// Where all other keys lead.
    others: Option<TreeNode>,
    slot: Option<SlotId>,
}

impl SlotTree {
    pub(super) fn new(slots: &Slots) -> SlotTree {
        let mut tree = SlotTree { nodes: vec![Node::default()] };
        for (dotted, &slot) in &slots.by_path {
            let node = tree.enter(dotted);
            tree.set(node, |node| node.slot = Some(slot));
        }
        for (dotted, slot) in &slots.below {
            let (node, others) = (tree.enter(dotted), tree.next());
            tree.nodes.push(Node { others: Some(others), slot: Some(*slot), ..Node::default() });
            tree.set(node, |node| node.others = Some(others));
        }
        tree
    }

    fn next(&self) -> TreeNode {
        TreeNode(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX))
    }

    fn set(&mut self, node: TreeNode, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(node.0 as usize) {
            change(node);
        }
    }

    /// The place of a dotted path, made where it is missing.
    fn enter(&mut self, dotted: &str) -> TreeNode {
        let mut node = self.root();
        for piece in dotted.split('.') {
            let next = self.next();
            if let Some(above) = self.nodes.get_mut(node.0 as usize) {
                node = *above.below.entry(piece.as_bytes().into()).or_insert(next);
            }
            if node == next {
                self.nodes.push(Node::default());
            }
        }
        node
    }

    /// Where every path begins.
    #[expect(clippy::unused_self, reason = "a place means nothing without its tree")]
    pub(super) fn root(&self) -> TreeNode {
        TreeNode(0)
    }

    /// Goes down by one key, as written (escapes are undone here; a dot in a key separates like any dot).
    pub(super) fn below(&self, mut node: TreeNode, key: &[u8]) -> TreeNode {
        if node == TreeNode::NONE {
            return TreeNode::NONE;
        }
        if key.is_empty() {
            return self.others(node);
        }
        if memchr2(b'\\', b'.', key).is_none() {
            return self.step(node, key);
        }
        for piece in unescape(key).split('.') {
            node = self.step(node, piece.as_bytes());
        }
        node
    }

    fn step(&self, node: TreeNode, piece: &[u8]) -> TreeNode {
        let below = self.nodes.get(node.0 as usize).and_then(|node| node.below.get(piece));
        below.copied().unwrap_or_else(|| self.others(node))
    }

    fn others(&self, node: TreeNode) -> TreeNode {
        self.nodes.get(node.0 as usize).and_then(|node| node.others).unwrap_or(TreeNode::NONE)
    }

    /// The slot at this place.
    pub(super) fn slot(&self, node: TreeNode) -> Option<SlotId> {
        self.nodes.get(node.0 as usize).and_then(|node| node.slot)
    }
}
