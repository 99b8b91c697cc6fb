//! What can be asked of the record that was scanned last.

use std::sync::Arc;

use super::Scanner;
use crate::record::hits::{Alone, Hits};
use crate::record::path::{PathId, Paths, Segment};
use crate::record::shape::Edge;
use crate::record::{EdgeId, Leaf, SlotId, Slots};

impl Scanner {
    /// The leaves of the record, in order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The edge after the last leaf: up to and with the record's closing brace.
    pub fn tail(&self) -> EdgeId {
        self.tail
    }

    /// The positions in [`Scanner::leaves`] of the leaves at a wanted path, in order: none, one, or several where keys
    /// repeat or arrays are on the way.
    pub fn hits(&self, slot: SlotId) -> Hits<'_> {
        self.hits.all(slot)
    }

    /// What there is at a wanted path: the position in [`Scanner::leaves`] and the leaf, where there is but one.
    #[inline]
    pub fn alone(&self, slot: SlotId) -> Alone<(u32, Leaf)> {
        match self.hits.alone(slot) {
            Alone::None => Alone::None,
            Alone::One(position) => {
                self.leaves.get(position as usize).map_or(Alone::None, |leaf| Alone::One((position, *leaf)))
            }
            Alone::Several => Alone::Several,
        }
    }

    /// The first leaf at a wanted path.
    #[inline]
    pub fn first(&self, slot: SlotId) -> Option<Leaf> {
        self.leaves.get(self.hits.first(slot)? as usize).copied()
    }

    /// The last leaf at a wanted path: of repeated keys the one that counts.
    #[inline]
    pub fn last(&self, slot: SlotId) -> Option<Leaf> {
        self.leaves.get(self.hits.last(slot)? as usize).copied()
    }

    /// What is known of an edge.
    pub fn edge(&self, id: EdgeId) -> Edge<'_> {
        self.shapes.edge(id)
    }

    /// The learned edge that a temporary one repeats: the same text and path but for array indices of 32 and more.
    pub fn like(&self, id: EdgeId) -> Option<EdgeId> {
        self.shapes.like(id)
    }

    /// The path of a leaf. Array indices of 32 and more stand in it as 32: [`Scanner::steps`] tells the true ones.
    pub fn path(&self, leaf: Leaf) -> PathId {
        self.edge(leaf.edge).path
    }

    /// The steps to the leaf at this position, with true array indices.
    pub fn steps(&self, position: usize) -> Vec<Segment<'_>> {
        let Some(leaf) = self.leaves.get(position) else { return Vec::new() };
        let path = self.path(*leaf);
        let held = self.elements.partition_point(|element| element.leaf as usize <= position);
        let element = held.checked_sub(1).and_then(|at| self.elements.get(at));
        match element {
            Some(element) if !path.is_temporary() && self.paths.is_far(path) => {
                let above = self.paths.above_both(element.path, path);
                let below = self.paths.segments(path).skip(self.paths.depth(above));
                self.paths.segments(above).chain(below).collect()
            }
            _ => self.paths.segments(path).collect(),
        }
    }

    /// Whether a leaf's path has array indices of 32 and more that do not stand in it.
    pub fn is_far(&self, leaf: Leaf) -> bool {
        let path = self.path(leaf);
        !path.is_temporary() && self.paths.is_far(path)
    }

    /// The paths of all edges.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The wanted paths.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Changes whenever edge and path ids (below the temporary ones) are given to something else.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a leaf of this record has blanks between its brackets, or more: what no edge tells.
    pub fn has_wide_container(&self) -> bool {
        self.blanks || self.truncated
    }

    /// Whether a string value of this record may have escapes: if not, the text between quotes is the value.
    pub fn escaped(&self) -> bool {
        self.escaped
    }

    /// Whether containers of this record were kept whole as one leaf because it has too many leaves: fields may be missing from the slots.
    pub fn truncated_index(&self) -> bool {
        self.truncated
    }
}
