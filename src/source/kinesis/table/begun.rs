//! Whose checkpoints a table holds.
//!
//! A table may be deleted and made anew, emptied, or be another one than before; without its checkpoints a stream would be
//! read from where it is configured, and what came meanwhile would be lost. So the checkpoints of a source have a random
//! id: it stands in the row `PIPELINE/SOURCE` and in the state of everybody who reads. Whoever knows of checkpoints that a
//! table does not hold has the stream read again from when on it was read the first time: copies rather than a loss.
//!
//! Others may have begun with such a table before, and know nothing of the one before it: their checkpoints are deleted, for
//! they say nothing of what came before them. That takes several requests. The row says that it is to be done (`pending`)
//! before it is, so whoever sees that finishes it; and which ids it stands for (`instead`), so that it is done once.

use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Item, Table, number, read_number};
use crate::pipeline::fetch::jittered;
use crate::source::kinesis::keep::{Begun, Kept};

/// Others that change the row at the same time, at most.
const TRIES: u32 = 20;

/// From where a stream is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::kinesis) struct Joined {
    pub(in crate::source::kinesis) begun: Begun,
    /// Checkpoints of before are not in the table: much may be read again.
    pub(in crate::source::kinesis) lost: bool,
}

/// The row of a source.
struct Row {
    begun: Begun,
    id: Option<String>,
    instead: Vec<String>,
    pending: bool,
}

impl Table {
    /// Finds out from when on the stream is read, and writes that where it is not written yet. `known`: what the state
    /// says, or the configuration where it says nothing (`remembered`).
    pub(in crate::source::kinesis) async fn join(
        &self,
        known: &Begun,
        remembered: bool,
    ) -> Result<Joined, String> {
        let mut lost = false;
        let ids: &[String] = known.table.as_ref().map_or(&[], |kept| &kept.ids);
        for _ in 0..TRIES {
            let Some(row) = self.begun().await? else {
                lost |= remembered;
                self.put_begun(known, ids).await?;
                continue;
            };
            if row.begun.stream != known.stream {
                return Ok(Joined { begun: row.begun, lost });
            }
            if row.pending {
                self.forget(&row).await?;
                continue;
            }
            let is_ours = |id: &String| ids.contains(id) || row.instead.iter().any(|id| ids.contains(id));
            match &row.id {
                Some(id) if ids.is_empty() || is_ours(id) => {
                    let kept = Kept::of(&self.table, ids, id);
                    return Ok(Joined { begun: Begun { table: Some(kept), ..row.begun }, lost });
                }
                // It was written by a version that gave no ids.
                None if ids.is_empty() => self.change(&row, &row.begun, &[], false).await?,
                _ => {
                    lost = true;
                    self.change(&row, known, ids, true).await?;
                }
            }
            tokio::time::sleep(jittered(Duration::from_millis(50))).await;
        }
        Err(format!("the table of leases {}: others change it all the time", self.table))
    }

    async fn begun(&self) -> Result<Option<Row>, String> {
        let Some(item) = self.get("").await? else { return Ok(None) };
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        let instead = item.get("instead").and_then(|value| value.as_ss().ok()).cloned();
        Ok(Some(Row {
            begun: Begun {
                stream: text("stream").unwrap_or_default(),
                from: read_number(&item, "from"),
                table: None,
            },
            id: text("id"),
            instead: instead.unwrap_or_default(),
            pending: item.contains_key("pending"),
        }))
    }

    /// Writes the row, unless there is one.
    async fn put_begun(&self, begun: &Begun, instead: &[String]) -> Result<(), String> {
        let mut item = Item::from([
            ("shard".to_owned(), self.key("")),
            ("stream".to_owned(), AttributeValue::S(begun.stream.clone())),
            ("id".to_owned(), AttributeValue::S(self.new_id())),
        ]);
        if let Some(from) = begun.from {
            item.insert("from".to_owned(), number(from));
        }
        if !instead.is_empty() {
            item.insert("instead".to_owned(), AttributeValue::Ss(instead.to_vec()));
        }
        let asked = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let asked = asked
            .condition_expression("attribute_not_exists(#shard)")
            .expression_attribute_names("#shard", "shard");
        match asked.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(()),
            Err(error) => Err(self.refused(&error, "dynamodb:PutItem")),
        }
    }

    /// Gives the row a new id, if it still has the one that was seen; `pending`: its checkpoints are to be deleted, and the
    /// stream is read from the earlier of both times.
    async fn change(&self, row: &Row, known: &Begun, ids: &[String], pending: bool) -> Result<(), String> {
        let asked = self.client.update_item().table_name(&self.table).key("shard", self.key(""));
        let mut set = "SET #id = :new".to_owned();
        let mut asked = asked
            .expression_attribute_names("#id", "id")
            .expression_attribute_values(":new", AttributeValue::S(self.new_id()));
        asked = match &row.id {
            Some(id) => asked
                .condition_expression("#id = :id")
                .expression_attribute_values(":id", AttributeValue::S(id.clone())),
            None => asked.condition_expression("attribute_not_exists(#id)"),
        };
        if pending {
            let mut instead: Vec<String> = row.instead.iter().chain(&row.id).chain(ids).cloned().collect();
            instead.sort();
            instead.dedup();
            set.push_str(", #pending = :yes");
            asked = asked
                .expression_attribute_names("#pending", "pending")
                .expression_attribute_values(":yes", AttributeValue::Bool(true));
            if !instead.is_empty() {
                set.push_str(", #instead = :instead");
                asked = asked
                    .expression_attribute_names("#instead", "instead")
                    .expression_attribute_values(":instead", AttributeValue::Ss(instead));
            }
            asked = asked.expression_attribute_names("#from", "from");
            match row.begun.from.min(known.from) {
                Some(from) => {
                    set.push_str(", #from = :from");
                    asked = asked.expression_attribute_values(":from", number(from));
                }
                None => set.push_str(" REMOVE #from"),
            }
        }
        match asked.update_expression(set).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(()),
            Err(error) => Err(self.refused(&error, "dynamodb:UpdateItem")),
        }
    }

    /// Deletes the rows of all shards, and then the word that this is to be done.
    async fn forget(&self, row: &Row) -> Result<(), String> {
        for row in self.rows().await?.map(|rows| rows.shards).unwrap_or_default() {
            self.delete(&row.lease.shard).await?;
        }
        let Some(id) = &row.id else { return Ok(()) };
        let asked = self.client.update_item().table_name(&self.table).key("shard", self.key(""));
        let asked = asked
            .update_expression("REMOVE #pending")
            .condition_expression("#id = :id")
            .expression_attribute_names("#pending", "pending")
            .expression_attribute_names("#id", "id")
            .expression_attribute_values(":id", AttributeValue::S(id.clone()));
        match asked.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(()),
            Err(error) => Err(self.refused(&error, "dynamodb:UpdateItem")),
        }
    }

    fn new_id(&self) -> String {
        let random = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &self.me);
        format!("{:016x}{:016x}", random(), random())
    }
}
