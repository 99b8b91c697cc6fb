//! Finds shards and has them read, where checkpoints are our own: every shard is ours, each after those it came of.

use std::sync::Arc;
use std::time::Duration;

use super::keep::{Keep, Known};
use super::mark::Checkpoint;
use super::reader::{Means, Reader};
use super::shards::Tree;
use crate::pipeline::fetch::jittered;

/// Between two looks for new shards, at most.
pub(super) const LOOK: Duration = Duration::from_secs(30);
/// Between two looks, at least.
pub(super) const SOON: Duration = Duration::from_millis(250);
/// Longest pause after shards could not be listed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whoever has shards read.
pub(super) struct Overseer {
    pub(super) means: Means,
    /// What is known of shards from the runs before.
    pub(super) known: Known,
}

impl Overseer {
    /// Works until nobody wants anything, or everything was read that was asked for.
    pub(super) async fn run(mut self) {
        let desk = self.means.desk.clone();
        for (shard, _) in self.known.iter().filter(|(_, checkpoint)| checkpoint.is_ended()) {
            desk.has_ended(shard);
        }
        loop {
            let tree = list(&self.means).await;
            self.forget(&tree).await;
            let ready = tree.ready(&desk.ended());
            let new: Vec<_> = ready.into_iter().filter(|shard| !desk.holds(shard)).collect();
            let is_idle = new.is_empty() && desk.is_idle();
            for shard in new {
                let from = self.known.get(&shard).cloned().unwrap_or_default();
                start(&self.means, &shard, &from, None);
            }
            if is_idle && self.means.once.is_some() {
                return;
            }
            tokio::select! {
                () = desk.news.notified() => tokio::time::sleep(SOON).await,
                () = tokio::time::sleep(LOOK) => {}
                () = self.means.to.closed() => return,
            }
        }
    }

    /// Forgets shards that the stream has no more, also those that are being read.
    async fn forget(&mut self, tree: &Tree) {
        let desk = &self.means.desk;
        let (held, ended) = (desk.held(), desk.ended());
        for shard in held.iter().filter(|shard| !tree.has(shard)) {
            tracing::warn!(source = desk.name, shard = %shard, "the stream has this shard no more: what was not read of it is lost");
            desk.lose(shard);
        }
        let gone = self.known.keys().chain(&held).chain(&ended).filter(|shard| !tree.has(shard));
        let gone: Vec<Arc<str>> = gone.cloned().collect();
        if gone.is_empty() {
            return;
        }
        for shard in &gone {
            desk.forget(shard);
            self.known.remove(shard);
        }
        let Keep::State(ledger) = &desk.keep else { return };
        if let Err(error) = ledger.forget(&gone).await {
            tracing::warn!(source = desk.name, "forgetting shards that are gone: {error}");
        }
    }
}

/// Lists the shards of a stream, for as long as it takes.
pub(super) async fn list(means: &Means) -> Tree {
    let (desk, mut pause) = (&means.desk, Duration::from_millis(500));
    loop {
        match means.stream.shards().await {
            Ok(tree) => {
                desk.over("shards");
                return tree;
            }
            Err(text) => {
                tracing::warn!(source = desk.name, "{text}: trying again");
                desk.trouble("shards", text);
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Has a shard read.
pub(super) fn start(means: &Means, shard: &Arc<str>, from: &Checkpoint, valid: Option<tokio::time::Instant>) {
    let held = means.desk.hold(shard, from, valid);
    tracing::info!(source = means.desk.name, shard = %shard, behind = from.shown(), "reading a shard");
    let reader = Reader::new(means.clone(), shard.clone(), from, held);
    let task = tokio::spawn(reader.run());
    means.desk.read_by(shard, task.abort_handle());
}
