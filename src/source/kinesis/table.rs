//! Leases of shards in a DynamoDB table, which several processes share.
//!
//! | attribute | type | says |
//! |---|---|---|
//! | `shard` | S, the partition key | `PIPELINE/SOURCE/SHARD`; `PIPELINE/SOURCE` alone: from when on the stream is read |
//! | `owner` | S | who reads it; missing: nobody |
//! | `counter` | N | grows with every change: a lease that does not grow for as long as it lasts is anybody's |
//! | `sequence`, `sub` | S, N | the record up to which everything is settled, and the part of it |
//! | `arrival`, `tip` | N | when that record came, and when everything was last settled, milliseconds since 1970 |
//! | `ended` | BOOL | the shard is closed, and everything in it is settled |
//! | `stream`, `from` | S, N | of `PIPELINE/SOURCE`: the stream, and the time, milliseconds since 1970 (missing: the oldest) |
//! | `id`, `instead`, `pending` | S, SS, BOOL | of `PIPELINE/SOURCE`: whose checkpoints these are (`table/begun.rs`) |
//!
//! Every change is made only if owner and counter are what whoever makes it has seen last: so nobody writes over a lease that
//! was taken from him, and a checkpoint never goes back.

mod begun;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableStatus,
};

pub(super) use self::begun::Joined;
use super::balance::Lease;
use super::mark::Checkpoint;
use crate::aws::{Kind, Refusal};
use crate::source::SourceError;

/// How long a table may take to be there after it was made.
const MADE: Duration = Duration::from_secs(120);

type Item = HashMap<String, AttributeValue>;

/// The table, as one source of one process sees it.
pub(super) struct Table {
    client: Client,
    pub(super) table: String,
    prefix: String,
    /// Who we are: no other process has the same.
    pub(super) me: String,
    who: String,
    /// How long a lease lasts.
    pub(super) lasts: Duration,
    /// The counters of the leases that are ours.
    counters: Mutex<HashMap<Arc<str>, u64>>,
}

/// A row of a shard.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) lease: Lease,
    pub(super) checkpoint: Checkpoint,
}

/// The rows of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Whose checkpoints they are.
    pub(super) id: Option<String>,
    pub(super) shards: Vec<Row>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Made,
    /// The lease is somebody else's.
    Lost,
}

impl Table {
    pub(super) fn new(
        aws: &crate::aws::Aws,
        loaded: &SdkConfig,
        table: &str,
        lasts: Duration,
        names: (&str, &str),
    ) -> Table {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), table);
        Table {
            client: aws.dynamodb(loaded, lasts / 3),
            table: table.to_owned(),
            prefix: format!("{}/{}", names.0, names.1),
            me: format!("{}-{}-{random:016x}", host.trim(), std::process::id()),
            who: aws.who(),
            lasts,
            counters: Mutex::default(),
        }
    }

    fn counters(&self) -> MutexGuard<'_, HashMap<Arc<str>, u64>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        error: &SdkError<E, HttpResponse>,
        permission: &str,
    ) -> String {
        let what = format!("the table of leases {}", self.table);
        Refusal::of(error).advice(&what, &self.who, permission)
    }

    /// Makes the table where it is missing.
    pub(super) async fn find(&self) -> Result<(), SourceError> {
        let began = tokio::time::Instant::now();
        loop {
            let asked = self.client.describe_table().table_name(&self.table).send().await;
            match asked {
                Ok(output) => {
                    let status = output.table.and_then(|table| table.table_status);
                    if matches!(status, Some(TableStatus::Active | TableStatus::Updating)) {
                        return Ok(());
                    }
                    if began.elapsed() > MADE {
                        let text = format!("the table of leases {} is not active: {status:?}", self.table);
                        return Err(SourceError::Retry(text));
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) if Refusal::of(&error).kind == Kind::NoPlace => self.make().await?,
                Err(error) => {
                    return Err(SourceError::Retry(self.refused(&error, "dynamodb:DescribeTable")));
                }
            }
        }
    }

    async fn make(&self) -> Result<(), SourceError> {
        let bad = |error: aws_sdk_dynamodb::error::BuildError| SourceError::Stop(error.to_string());
        let key = KeySchemaElement::builder().attribute_name("shard").key_type(KeyType::Hash);
        let attribute =
            AttributeDefinition::builder().attribute_name("shard").attribute_type(ScalarAttributeType::S);
        let asked = self
            .client
            .create_table()
            .table_name(&self.table)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(key.build().map_err(bad)?)
            .attribute_definitions(attribute.build().map_err(bad)?);
        match asked.send().await {
            Ok(_) => {
                tracing::info!(table = self.table, "the table of leases was made");
                Ok(())
            }
            // Somebody else makes it at the same moment.
            Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
            Err(error) => {
                let text = self.refused(
                    &error,
                    "dynamodb:CreateTable, or make it with the partition key `shard` of type S",
                );
                Err(SourceError::Retry(text))
            }
        }
    }

    fn key(&self, shard: &str) -> AttributeValue {
        AttributeValue::S(if shard.is_empty() {
            self.prefix.clone()
        } else {
            format!("{}/{shard}", self.prefix)
        })
    }

    async fn get(&self, shard: &str) -> Result<Option<Item>, String> {
        let asked = self.client.get_item().table_name(&self.table).key("shard", self.key(shard));
        let sent = asked.consistent_read(true).send().await;
        Ok(sent.map_err(|error| self.refused(&error, "dynamodb:GetItem"))?.item)
    }

    /// All rows of this source; `None`: there is no table.
    pub(super) async fn rows(&self) -> Result<Option<Rows>, String> {
        let (mut rows, mut from) = (Rows::default(), None);
        let prefix = format!("{}/", self.prefix);
        loop {
            let asked = self
                .client
                .scan()
                .table_name(&self.table)
                .consistent_read(true)
                .filter_expression("begins_with(#shard, :prefix)")
                .expression_attribute_names("#shard", "shard")
                .expression_attribute_values(":prefix", AttributeValue::S(self.prefix.clone()))
                .set_exclusive_start_key(from.take());
            let output = match asked.send().await {
                Ok(output) => output,
                Err(error) if Refusal::of(&error).kind == Kind::NoPlace => return Ok(None),
                Err(error) => return Err(self.refused(&error, "dynamodb:Scan")),
            };
            for item in output.items.unwrap_or_default() {
                let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
                if text("shard") == Some(&self.prefix) {
                    rows.id = text("id").cloned();
                } else {
                    rows.shards.extend(row(&item, &prefix));
                }
            }
            from = output.last_evaluated_key;
            if from.is_none() {
                return Ok(Some(rows));
            }
        }
    }

    /// Adds a shard that the table does not have.
    pub(super) async fn add(&self, shard: &str) -> Result<(), String> {
        let asked = self.client.put_item().table_name(&self.table).item("shard", self.key(shard));
        let asked = asked
            .item("counter", number(0))
            .condition_expression("attribute_not_exists(#shard)")
            .expression_attribute_names("#shard", "shard");
        match asked.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(()),
            Err(error) => Err(self.refused(&error, "dynamodb:PutItem")),
        }
    }

    /// Deletes the row of a shard that the stream has no more.
    pub(super) async fn delete(&self, shard: &str) -> Result<(), String> {
        let asked = self.client.delete_item().table_name(&self.table).key("shard", self.key(shard));
        asked.send().await.map_err(|error| self.refused(&error, "dynamodb:DeleteItem"))?;
        Ok(())
    }

    /// Takes a lease, if it is still as it was seen.
    pub(super) async fn take(&self, lease: &Lease) -> Result<Change, String> {
        let owner = match &lease.owner {
            Some(_) => "#owner = :seen",
            None => "attribute_not_exists(#owner)",
        };
        let asked = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("shard", self.key(&lease.shard))
            .update_expression("SET #owner = :me, #counter = :next")
            .condition_expression(format!("#counter = :counter AND {owner}"))
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#counter", "counter")
            .expression_attribute_values(":me", AttributeValue::S(self.me.clone()))
            .expression_attribute_values(":counter", number(lease.counter))
            .expression_attribute_values(":next", number(lease.counter + 1));
        let asked = match &lease.owner {
            Some(owner) => asked.expression_attribute_values(":seen", AttributeValue::S(owner.clone())),
            None => asked,
        };
        match asked.send().await {
            Ok(_) => {
                self.counters().insert(lease.shard.clone(), lease.counter + 1);
                Ok(Change::Made)
            }
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(Change::Lost),
            Err(error) => Err(self.refused(&error, "dynamodb:UpdateItem")),
        }
    }

    /// Renews a lease and writes how far its shard is settled; `gives`: and gives it back. One call at a time for a shard.
    pub(super) async fn write(
        &self,
        shard: &Arc<str>,
        checkpoint: &Checkpoint,
        gives: bool,
    ) -> Result<Change, String> {
        for _ in 0..2 {
            let Some(counter) = self.counters().get(shard).copied() else { return Ok(Change::Lost) };
            match self.write_as(shard, checkpoint, gives, counter).await? {
                Change::Made => {
                    self.counters().insert(shard.clone(), counter + 1);
                    return Ok(Change::Made);
                }
                Change::Lost => {
                    // An answer of before may have been lost on its way, not the lease: then it is one further. Anything else is
                    // a lease that was taken anew, perhaps in a table that was made anew, where this checkpoint says nothing.
                    let item = self.get(shard).await?.unwrap_or_default();
                    let owner = item.get("owner").and_then(|owner| owner.as_s().ok());
                    let now = read_number(&item, "counter").and_then(|counter| u64::try_from(counter).ok());
                    match now.filter(|now| *now == counter + 1 && owner == Some(&self.me)) {
                        Some(now) => _ = self.counters().insert(shard.clone(), now),
                        None => break,
                    }
                }
            }
        }
        self.counters().remove(shard);
        Ok(Change::Lost)
    }

    async fn write_as(
        &self,
        shard: &str,
        checkpoint: &Checkpoint,
        gives: bool,
        counter: u64,
    ) -> Result<Change, String> {
        let mut set = "SET #counter = :next, #arrival = :arrival, #tip = :tip, #ended = :ended".to_owned();
        let mut remove = Vec::new();
        let mut asked = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("shard", self.key(shard))
            .condition_expression("#owner = :me AND #counter = :counter")
            .expression_attribute_values(":me", AttributeValue::S(self.me.clone()))
            .expression_attribute_values(":counter", number(counter))
            .expression_attribute_values(":next", number(counter + 1))
            .expression_attribute_values(":arrival", number(checkpoint.arrival))
            .expression_attribute_values(":tip", number(checkpoint.tip))
            .expression_attribute_values(":ended", AttributeValue::Bool(checkpoint.ended));
        for name in ["owner", "counter", "arrival", "tip", "ended"] {
            asked = asked.expression_attribute_names(format!("#{name}"), name);
        }
        if let Some(sequence) = &checkpoint.sequence {
            set.push_str(", #sequence = :sequence");
            asked = asked
                .expression_attribute_names("#sequence", "sequence")
                .expression_attribute_values(":sequence", AttributeValue::S(sequence.clone()));
            asked = asked.expression_attribute_names("#sub", "sub");
            match checkpoint.sub {
                Some(sub) => {
                    set.push_str(", #sub = :sub");
                    asked = asked.expression_attribute_values(":sub", number(sub));
                }
                None => remove.push("#sub"),
            }
        }
        if gives {
            remove.push("#owner");
        }
        if !remove.is_empty() {
            set.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        match asked.update_expression(set).send().await {
            Ok(_) => Ok(Change::Made),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(Change::Lost),
            Err(error) => Err(self.refused(&error, "dynamodb:UpdateItem")),
        }
    }
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn read_number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Reads a row.
fn row(item: &Item, prefix: &str) -> Option<Row> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let shard = text("shard")?.strip_prefix(prefix)?.into();
    let counter = read_number(item, "counter").and_then(|counter| u64::try_from(counter).ok()).unwrap_or(0);
    let checkpoint = Checkpoint {
        sequence: text("sequence"),
        sub: read_number(item, "sub").and_then(|sub| u32::try_from(sub).ok()),
        arrival: read_number(item, "arrival").unwrap_or(0),
        tip: read_number(item, "tip").unwrap_or(0),
        ended: item.get("ended").and_then(|ended| ended.as_bool().ok()).copied().unwrap_or(false),
        beyond: Vec::new(),
    };
    Some(Row { lease: Lease { shard, owner: text("owner"), counter }, checkpoint })
}

#[cfg(test)]
mod tests;
