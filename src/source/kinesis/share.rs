//! Finds shards and has some of them read: those of which we have the lease, in a table that several processes share.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::balance::{Lease, Watch, choose};
use super::desk::Which;
use super::keep::Begun;
use super::oversee::{LOOK, SOON, list, start};
use super::reader::Means;
use super::shards::Tree;
use super::table::{Change, Joined, Row, Table};
use crate::pipeline::fetch::jittered;

/// Whoever has our part of the shards read.
pub(super) struct Sharer {
    means: Means,
    /// From when on the stream is read, and which checkpoints the table should hold.
    begun: Begun,
    watch: Watch,
    /// The stream's shards, and when they were listed.
    tree: Option<(Tree, Instant)>,
    ended: BTreeSet<Arc<str>>,
    /// Shards of the table that the stream did not list when it was looked last.
    missed: BTreeSet<Arc<str>>,
}

impl Sharer {
    pub(super) fn new(means: Means, begun: Begun) -> Sharer {
        Sharer {
            means,
            begun,
            watch: Watch::default(),
            tree: None,
            ended: BTreeSet::new(),
            missed: BTreeSet::new(),
        }
    }

    /// Works until nobody wants anything, or everything was read that was asked for and is not another's.
    pub(super) async fn run(mut self) {
        let desk = self.means.desk.clone();
        let Some(table) = desk.keep.table() else { return };
        let mut renewed = tokio::spawn({
            let desk = desk.clone();
            let every = table.lasts / 12;
            // Apart from the rest, which may wait for the stream.
            async move {
                loop {
                    tokio::time::sleep(every).await;
                    let _ = desk.keep(Which::Due).await;
                }
            }
        });
        let _ends = Ends(renewed.abort_handle());
        loop {
            match self.look(table).await {
                Ok(true) => return,
                Ok(false) => desk.over("table"),
                Err(text) => {
                    tracing::warn!(source = desk.name, "{text}: trying again");
                    desk.trouble("table", text);
                }
            }
            tokio::select! {
                () = desk.news.notified() => {
                    self.tree = None;
                    tokio::time::sleep(SOON).await;
                }
                () = tokio::time::sleep(jittered(table.lasts / 5)) => {}
                () = self.means.to.closed() => return,
                _ = &mut renewed => return,
            }
        }
    }

    /// One look at the shards and at the table. Returns whether there is nothing more to do.
    async fn look(&mut self, table: &Table) -> Result<bool, String> {
        let desk = self.means.desk.clone();
        let is_old = |at: &Instant| at.elapsed() > LOOK.min(table.lasts * 2);
        if self.tree.as_ref().is_none_or(|(_, at)| is_old(at)) {
            self.tree = Some((list(&self.means).await, Instant::now()));
        }
        let Some(tree) = self.tree.as_ref().map(|(tree, _)| tree.clone()) else { return Ok(false) };
        let Some(mut rows) = self.rows(table).await? else { return Ok(false) };
        let missing = tree.ids().filter(|id| !rows.iter().any(|row| row.lease.shard == **id));
        let mut is_new = false;
        for shard in missing {
            table.add(shard).await?;
            is_new = true;
        }
        if is_new {
            let Some(again) = self.rows(table).await? else { return Ok(false) };
            rows = again;
        }
        // Another process may know of a shard that is younger than our list: gone is what two lists in a row do not have, both
        // made after the table did.
        let mut missed = BTreeSet::new();
        let mut is_gone = |row: &mut Row| {
            let shard = &row.lease.shard;
            if tree.has(shard) {
                return false;
            }
            missed.insert(shard.clone());
            true
        };
        let gone: Vec<Row> = rows.extract_if(.., &mut is_gone).collect();
        let before = std::mem::replace(&mut self.missed, missed);
        for gone in gone.iter().filter(|gone| before.contains(&gone.lease.shard)) {
            let shard = &gone.lease.shard;
            if !gone.checkpoint.is_ended() {
                tracing::warn!(source = desk.name, shard = %shard, "the stream has this shard no more: what was not read of it is lost");
            }
            desk.lose(shard);
            table.delete(shard).await?;
        }
        let leases: Vec<Lease> = rows.iter().map(|row| row.lease.clone()).collect();
        let is_doubtful = !self.missed.is_empty();
        self.watch.look(&leases);
        let is_mine = |lease: &Lease| lease.owner.as_ref() == Some(&table.me);
        for lease in leases.iter().filter(|lease| !is_mine(lease) && desk.holds(&lease.shard)) {
            tracing::info!(source = desk.name, shard = %lease.shard, "another process reads this shard now");
            desk.lose(&lease.shard);
        }
        let ended = rows.iter().filter(|row| row.checkpoint.is_ended()).map(|row| row.lease.shard.clone());
        self.ended = ended.chain(desk.ended()).collect();
        let ready = tree.ready(&self.ended);
        let ready: Vec<Row> = rows.into_iter().filter(|row| ready.contains(&row.lease.shard)).collect();
        self.take(table, &ready).await?;
        if is_doubtful {
            self.tree = None;
        }
        let once = self.means.once.is_some();
        let others = |row: &Row| self.watch.is_alive(&row.lease.shard, table.lasts);
        Ok(once && desk.is_idle() && ready.iter().all(|row| desk.holds(&row.lease.shard) || others(row)))
    }

    /// The rows of all shards. `None`: the table was deleted, or has not our checkpoints any more; next time it has.
    async fn rows(&mut self, table: &Table) -> Result<Option<Vec<Row>>, String> {
        let desk = &self.means.desk;
        match table.rows().await? {
            Some(rows) if rows.id.is_some() && rows.id.as_ref() == self.begun.id() => {
                return Ok(Some(rows.shards));
            }
            Some(_) => {}
            None => {
                tracing::error!(
                    source = desk.name,
                    "the table of leases {} is gone: making it anew",
                    table.table
                );
                table.find().await.map_err(|error| error.to_string())?;
            }
        }
        let Joined { begun, lost } = table.join(&self.begun, true).await?;
        if begun.stream != self.begun.stream {
            return Err(format!("table {} tells of stream `{}` now", table.table, begun.stream));
        }
        if lost {
            desk.tell_lost(&begun, Some(&self.begun));
        }
        desk.keep.ledger().begin(&begun).await?;
        self.means.begin = begun.from;
        self.begun = begun;
        desk.news.notify_one();
        Ok(None)
    }

    /// Takes what is our part of the shards that may be read.
    async fn take(&self, table: &Table, ready: &[Row]) -> Result<(), String> {
        let desk = &self.means.desk;
        let leases: Vec<Lease> = ready.iter().map(|row| row.lease.clone()).collect();
        let is_free = |shard: &str| !desk.holds(shard) && self.watch.is_free(shard, table.lasts);
        for lease in choose(&table.me, &leases, is_free, self.means.once.is_some()) {
            let asked = Instant::now();
            let row = ready.iter().find(|row| row.lease == lease);
            if table.take(&lease).await? == Change::Made
                && let Some(row) = row
            {
                start(&self.means, &lease.shard, &row.checkpoint, Some(asked + table.lasts));
            }
        }
        // A lease that is ours by the table, of which we know nothing: an answer was lost on its way.
        for row in ready.iter().filter(|row| row.lease.owner.as_ref() == Some(&table.me)) {
            let asked = Instant::now();
            if !desk.holds(&row.lease.shard) && table.take(&row.lease).await? == Change::Made {
                start(&self.means, &row.lease.shard, &row.checkpoint, Some(asked + table.lasts));
            }
        }
        Ok(())
    }
}

/// Ends a task when it goes out of scope.
struct Ends(tokio::task::AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}
