//! Which shards may be read: a shard that came of a split or a merge waits for those it came of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A shard, as the stream lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) id: Arc<str>,
    /// Those it came of: one after a split, two after a merge.
    pub(super) parents: Vec<Arc<str>>,
}

/// The shards of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<Arc<str>, Shard>);

impl Tree {
    pub(super) fn new(shards: Vec<Shard>) -> Tree {
        Tree(shards.into_iter().map(|shard| (shard.id.clone(), shard)).collect())
    }

    /// Whether the stream still has a shard.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// All of them.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// Those that may be read now. `ended`: those of which everything is settled. A parent that the stream lists no more is
    /// over: everything in it was trimmed.
    pub(super) fn ready(&self, ended: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
        let is_over = |id: &Arc<str>| ended.contains(id) || !self.0.contains_key(id);
        let ready = self.0.values().filter(|shard| !ended.contains(&shard.id));
        ready
            .filter(|shard| shard.parents.iter().all(|parent| is_over(parent) || *parent == shard.id))
            .map(|shard| shard.id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> Arc<str> {
        format!("shardId-{number:012}").into()
    }

    #[test]
    fn a_child_waits_for_all_its_parents() {
        let shard = |number, parents: &[usize]| Shard {
            id: id(number),
            parents: parents.iter().map(|parent| id(*parent)).collect(),
        };
        // 1 and 2 are merged into 3, which is split into 4 and 5; 0 was trimmed long ago.
        let tree =
            Tree::new(vec![shard(1, &[0]), shard(2, &[]), shard(3, &[1, 2]), shard(4, &[3]), shard(5, &[3])]);
        let ready = |ended: &[usize]| tree.ready(&ended.iter().map(|number| id(*number)).collect());
        assert_eq!(ready(&[]), [id(1), id(2)]);
        assert_eq!(ready(&[1]), [id(2)]);
        assert_eq!(ready(&[1, 2]), [id(3)]);
        assert_eq!(ready(&[1, 2, 3]), [id(4), id(5)]);
        assert!(ready(&[1, 2, 3, 4, 5]).is_empty());
    }

    proptest! {
        /// Any history of splits and merges: each shard is read once, after those it came of, and all are read.
        #[test]
        fn every_shard_is_read_after_its_parents(choices in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..30)) {
            let mut shards = vec![Shard { id: id(0), parents: Vec::new() }, Shard { id: id(1), parents: Vec::new() }];
            let mut open = vec![0, 1];
            for (merges, which) in choices {
                let first = open.remove(which.index(open.len()));
                let parents = if merges && !open.is_empty() { vec![first, open.remove(0)] } else { vec![first] };
                for _ in 0..=usize::from(parents.len() == 1) {
                    open.push(shards.len());
                    shards.push(Shard { id: id(shards.len()), parents: parents.iter().map(|parent| id(*parent)).collect() });
                }
            }
            let (tree, mut ended) = (Tree::new(shards.clone()), BTreeSet::new());
            loop {
                let ready = tree.ready(&ended);
                let Some(next) = ready.last().cloned() else { break };
                let shard = shards.iter().find(|shard| shard.id == next).unwrap();
                prop_assert!(shard.parents.iter().all(|parent| ended.contains(parent)));
                prop_assert!(ended.insert(next));
            }
            prop_assert_eq!(ended.len(), shards.len());
        }
    }
}
