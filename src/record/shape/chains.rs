//! In which order the edges that leave a state are tried.
//!
//! They stand in a chain, the most used first. Where there are many of them a chain gets too long: behind `userAgent` stand
//! the request parameters of every call there is. Such a state is a *fork*: eight bytes of the text, at the offset where
//! its texts differ most, say in which of many chains an edge stands. Texts that end before have a chain of their own.

use std::cmp::Reverse;

use super::{NONE, Shapes};
use crate::record::path::PathId;

/// Edges in one chain, at most; what does not get in is found by hash, more slowly.
const CHAIN: usize = 12;
/// A state that has so many edges becomes a fork if it can, or else when its chain is full. With four times as many it is looked
/// at again.
const MANY: usize = 4;
/// How many uses more an edge must have to move up past another: equals should not change places all the time.
pub(in crate::record) const LEAD: u32 = 32;
/// Chains of forks, a power of two.
const PLACES: usize = 4096;
/// Bytes that tell a fork's texts apart.
const WORD: usize = size_of::<u64>();
/// Where those bytes begin, at most.
const FARTHEST: usize = 56;

/// What the scan asks first behind a leaf.
#[derive(Clone, Copy, Debug)]
pub(in crate::record) struct Branch {
    /// The edge to try first: the head of the state's chain; of a fork the most used one that is not short.
    pub(in crate::record) first: u32,
    /// The state's fork, or [`NONE`].
    pub(in crate::record) fork: u32,
}

impl Branch {
    /// Nothing was learned behind this path.
    const BARE: Branch = Branch { first: NONE, fork: NONE };
}

/// A state with many edges.
#[derive(Clone, Copy, Debug)]
pub(in crate::record) struct Fork {
    /// Where its texts differ most: an offset, [`FARTHEST`] at most.
    at: usize,
    /// The chain of texts that end before `at` and a word.
    pub(in crate::record) short: u32,
    /// How many leave it, also those that found no room in a chain.
    edges: usize,
    /// With so many edges it is looked at again.
    again: usize,
}

impl Fork {
    /// The chain of what begins so. `None`: it is short.
    #[inline(always)]
    pub(in crate::record) fn place(&self, state: PathId, text: &[u8]) -> Option<usize> {
        let word = u64::from_le_bytes(*text.get(self.at..)?.first_chunk::<WORD>()?);
        // Fibonacci hashing: the bits that depend on all others are at the top.
        let mixed = (word ^ u64::from(state.0).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> (u64::BITS - PLACES.ilog2())).ok()
    }
}

/// The chains of all states; their links stand in the edges.
#[derive(Debug)]
pub(in crate::record) struct Chains {
    /// By lasting path.
    pub(in crate::record) branches: Vec<Branch>,
    pub(in crate::record) forks: Vec<Fork>,
    /// The heads of the chains of forks. Two may share one: an edge is only its state's.
    pub(in crate::record) places: Box<[u32; PLACES]>,
}

impl Default for Chains {
    fn default() -> Chains {
        Chains { branches: Vec::new(), forks: Vec::new(), places: Box::new([NONE; PLACES]) }
    }
}

impl Chains {
    pub(super) fn bytes(&self) -> usize {
        self.branches.len() * size_of::<Branch>()
            + self.forks.len() * size_of::<Fork>()
            + size_of::<[u32; PLACES]>()
    }

    /// Makes room for a path.
    pub(super) fn know(&mut self, path: PathId) {
        let paths = path.0 as usize + 1;
        if self.branches.len() < paths {
            self.branches.resize(paths, Branch::BARE);
        }
    }

    fn branch(&self, state: PathId) -> Branch {
        self.branches.get(state.0 as usize).copied().unwrap_or(Branch::BARE)
    }

    /// The chains in which a text behind this state may stand.
    pub(in crate::record) fn of(&self, state: PathId, text: &[u8]) -> [u32; 2] {
        let branch = self.branch(state);
        let Some(fork) = self.forks.get(branch.fork as usize) else { return [branch.first, NONE] };
        let head = fork.place(state, text).and_then(|place| self.places.get(place));
        [head.copied().unwrap_or(NONE), fork.short]
    }

    /// The head of the chain in which an edge stands, or should.
    fn head_mut(&mut self, state: PathId, text: &[u8]) -> Option<&mut u32> {
        let branch = self.branches.get_mut(state.0 as usize)?;
        let Some(fork) = self.forks.get_mut(branch.fork as usize) else { return Some(&mut branch.first) };
        match fork.place(state, text) {
            Some(place) => self.places.get_mut(place),
            None => Some(&mut fork.short),
        }
    }
}

impl Shapes {
    /// Enters a new edge into its chain, where there is room.
    pub(super) fn enter(&mut self, state: PathId, edge: u32) {
        let before = self.append(state, edge);
        let branch = self.chains.branch(state);
        let many = match self.chains.forks.get_mut(branch.fork as usize) {
            Some(fork) => {
                fork.edges += 1;
                fork.edges == fork.again
            }
            None => matches!(before + 1, MANY | CHAIN),
        };
        if many {
            self.fork(state);
        }
    }

    /// Puts an edge at the end of its chain, where there is room; how many there were.
    fn append(&mut self, state: PathId, edge: u32) -> usize {
        let Some(head) = self.chains.head_mut(state, self.rows.get(edge).text) else { return 0 };
        if *head == NONE {
            *head = edge;
            return 0;
        }
        let (mut last, mut steps) = (*head, 1);
        while let Some(hot) = self.hot.get(last as usize)
            && hot.next != NONE
        {
            last = hot.next;
            steps += 1;
        }
        if steps < CHAIN
            && let Some(hot) = self.hot.get_mut(last as usize)
        {
            hot.next = edge;
        }
        steps
    }

    /// Takes an edge out of its chain, if it is in it.
    fn remove(&mut self, state: PathId, edge: u32) {
        let Some(next) = self.hot.get_mut(edge as usize).map(|hot| std::mem::replace(&mut hot.next, NONE))
        else {
            return;
        };
        self.replace(state, edge, edge, next);
    }

    /// Lets the link to `from`, in the chain of `edge`, lead to `to`.
    fn replace(&mut self, state: PathId, edge: u32, from: u32, to: u32) {
        let Some(head) = self.chains.head_mut(state, self.rows.get(edge).text) else { return };
        if *head == from {
            *head = to;
            return;
        }
        let mut link = *head;
        while let Some(hot) = self.hot.get_mut(link as usize) {
            if hot.next == from {
                hot.next = to;
                return;
            }
            link = hot.next;
        }
    }

    /// All edges that leave a state, the most used first.
    fn edges_of(&self, state: PathId) -> Vec<u32> {
        let branch = self.chains.branch(state);
        let next = |edge: &u32| Some(self.hot.get(*edge as usize)?.next).filter(|next| *next != NONE);
        let leaves_it = |edge: &u32| self.hot.get(*edge as usize).is_some_and(|hot| hot.state == state.0);
        let mut edges: Vec<u32> = match branch.fork {
            // They have all found room in its chain.
            NONE => std::iter::successors(Some(branch.first), next).collect(),
            _ => (0..super::number(self.hot.len())).filter(leaves_it).collect(),
        };
        edges.sort_by_key(|&edge| Reverse(self.hot.get(edge as usize).map(|hot| hot.uses)));
        edges
    }

    /// Makes a state a fork, or one that looks elsewhere, where that tells its edges apart.
    fn fork(&mut self, state: PathId) {
        let edges = self.edges_of(state);
        let texts: Vec<&[u8]> = edges.iter().map(|&edge| self.rows.get(edge).text).collect();
        let mut words: Vec<u64> = Vec::with_capacity(texts.len());
        let mut told_apart = |at: usize| {
            let word = |text: &&[u8]| text.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word));
            words.clear();
            words.extend(texts.iter().filter_map(word));
            words.sort_unstable();
            words.dedup();
            words.len()
        };
        let best = (0..=FARTHEST).map(|at| (told_apart(at), Reverse(at))).max();
        let Some((_, Reverse(at))) = best.filter(|(chains, _)| *chains > 2) else { return };
        for &edge in &edges {
            self.remove(state, edge);
        }
        let Some(branch) = self.chains.branches.get_mut(state.0 as usize) else { return };
        let fork = Fork { at, short: NONE, edges: edges.len(), again: edges.len() * 4 };
        match self.chains.forks.get_mut(branch.fork as usize) {
            Some(known) => *known = fork,
            None => {
                branch.fork = super::number(self.chains.forks.len());
                self.chains.forks.push(fork);
            }
        }
        let usual = edges.iter().find(|&&edge| fork.place(state, self.rows.get(edge).text).is_some());
        branch.first = usual.copied().unwrap_or(NONE);
        for &edge in &edges {
            self.append(state, edge);
        }
    }

    /// Moves an edge that stands behind `before` in its chain up past it, where it is used more.
    #[inline(never)]
    pub(in crate::record) fn promote(&mut self, state: PathId, before: u32, edge: u32) {
        let uses = |edge: u32| self.hot.get(edge as usize).map(|hot| hot.uses);
        let (Some(own), Some(ahead)) = (uses(edge), uses(before)) else { return };
        if own <= ahead.saturating_add(LEAD) {
            return;
        }
        let after = self.hot.get(edge as usize).map_or(NONE, |hot| hot.next);
        self.replace(state, edge, before, edge);
        if let Some(hot) = self.hot.get_mut(before as usize) {
            hot.next = after;
        }
        if let Some(hot) = self.hot.get_mut(edge as usize) {
            hot.next = before;
        }
    }

    /// Counts a use of an edge found by hash: once it is used more than the last of the chain it takes its place.
    pub(in crate::record) fn found(&mut self, state: PathId, edge: u32) {
        let Some(hot) = self.hot.get_mut(edge as usize) else { return };
        hot.uses = hot.uses.wrapping_add(1);
        let uses = hot.uses;
        let head = self.chains.head_mut(state, self.rows.get(edge).text);
        let (mut before, mut last) = (NONE, head.map_or(NONE, |head| *head));
        while let Some(hot) = self.hot.get(last as usize)
            && hot.next != NONE
        {
            if last == edge || hot.next == edge {
                return; // it is in the chain: its value decided against it before
            }
            before = last;
            last = hot.next;
        }
        let Some(weakest) = self.hot.get(last as usize) else { return };
        if last == edge || before == NONE || uses <= weakest.uses {
            return;
        }
        if let Some(hot) = self.hot.get_mut(before as usize) {
            hot.next = edge;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Scan, ScanLimits, Scanner, Slots};

    /// Scans a record of an agent and what is asked for; whether the second leaf's edge stands in a chain of its state.
    #[track_caller]
    fn is_in_a_chain(scanner: &mut Scanner, asked: &str) -> bool {
        let text = format!(r#"{{"agent":"x",{asked}}}{}"#, " ".repeat(99));
        assert!(matches!(scanner.scan(text.as_bytes(), 0), Scan::Record { .. }), "{text}");
        let (first, second) = (scanner.leaves()[0], scanner.leaves()[1]);
        let rest = &text.as_bytes()[first.end as usize..];
        assert!(rest.starts_with(scanner.edge(second.edge).text), "{text}");
        let heads = scanner.shapes.chains.of(scanner.path(first), rest);
        let next = |edge: &u32| scanner.shapes.hot.get(*edge as usize).map(|hot| hot.next);
        heads
            .into_iter()
            .any(|head| std::iter::successors(Some(head), next).take(CHAIN).any(|edge| edge == second.edge.0))
    }

    fn learned(asked: impl Iterator<Item = String> + Clone) -> (Scanner, usize) {
        let mut scanner = Scanner::new(Arc::new(Slots::default()), ScanLimits::default());
        for asked in asked.clone().chain(asked.clone()) {
            is_in_a_chain(&mut scanner, &asked);
        }
        let count = asked.filter(|asked| is_in_a_chain(&mut scanner, asked)).count();
        (scanner, count)
    }

    #[test]
    fn however_many_edges_leave_a_state_each_is_in_a_chain_where_its_text_tells_them_apart() {
        let parameters = (0..500).map(|key| format!(r#""requestParameters":{{"{key:03}-parameter":"y"}}"#));
        let others = ["null", "{}", r#"{"x":1}"#].map(|value| format!(r#""requestParameters":{value}"#));
        let (scanner, count) = learned(parameters.chain(others));
        assert_eq!((count, scanner.shapes.chains.forks.len()), (503, 1));
    }

    #[test]
    fn where_texts_differ_too_little_a_chain_holds_some_and_the_others_are_found_all_the_same() {
        let short = (0..60).map(|key| format!(r#""{key}":1"#));
        let (scanner, count) = learned(short);
        assert_eq!((count, scanner.shapes.chains.forks.len()), (CHAIN, 0));
    }

    #[test]
    fn the_edge_that_is_used_most_is_tried_first() {
        let asked = |key: usize| format!(r#""requestParameters":{{"{key}-parameter":"y"}}"#);
        let (mut scanner, _) = learned((0..9).map(asked));
        for (key, times) in [(3, 50), (7, 100), (3, 100)] {
            for _ in 0..times {
                is_in_a_chain(&mut scanner, &asked(key));
            }
            let state = scanner.path(scanner.leaves()[0]);
            let first = scanner.shapes.chains.branch(state).first;
            assert_eq!(first, scanner.leaves()[1].edge.0);
        }
    }
}
