//! The stream itself: what it is, its shards, places in them, and what is read there. Every request is made once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;

use super::shards::{Shard, Tree};
use super::{Config, Counts};
use crate::aws::{Kind, Refusal};
use crate::source::SourceError;

/// Records in an answer, at most: the service's own limit.
pub(super) const MOST_RECORDS: i32 = 10_000;
/// Shards in a page of a listing.
const PAGE: i32 = 1000;

/// A stream.
pub(super) struct Stream {
    client: Client,
    /// Its name.
    pub(super) name: String,
    /// Asked for by its ARN: it may be another account's.
    by_arn: Option<String>,
    pub(super) arn: String,
    /// How long records are kept, at least.
    pub(super) retention: Duration,
    who: String,
    /// How AWS is reached, also for the table of leases.
    pub(super) loaded: SdkConfig,
}

/// Where in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// At its oldest record.
    Oldest,
    /// At the first record that came at this time or later, milliseconds since 1970.
    Time(i64),
    /// At a record.
    Record(Arc<str>),
}

/// Why something could not be read, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The iterator is too old.
    Expired,
    /// The record is not in the stream (any more).
    NoRecord(String),
    /// The shard or the stream is not there.
    Gone(String),
    /// Read too fast.
    Slow(String),
    /// Ask again.
    Retry(String),
}

/// A stream's name: the configuration may hold its ARN.
pub(super) fn name_of(stream: &str) -> &str {
    stream.rsplit_once(":stream/").map_or(stream, |(_, name)| name)
}

/// The region in an ARN.
fn region_of(stream: &str) -> Option<&str> {
    stream.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

impl Stream {
    /// A stream of a fake server.
    #[cfg(test)]
    pub(super) fn fake(endpoint: &str) -> Stream {
        use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
        let loaded = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "test", "test", None, None, "test",
            )))
            .build();
        Stream {
            client: crate::aws::Aws::default().kinesis(&loaded),
            name: "trail".to_owned(),
            by_arn: None,
            arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/trail".to_owned(),
            retention: Duration::from_secs(86_400),
            who: "a test".to_owned(),
            loaded,
        }
    }

    /// Finds the stream.
    pub(super) async fn find(config: &Config) -> Result<Stream, SourceError> {
        let stream = config.stream.value();
        let region = region_of(stream).filter(|_| config.aws.region.is_none());
        let loaded = config.aws.load(region).await;
        let client = config.aws.kinesis(&loaded);
        let by_arn = stream.starts_with("arn:").then(|| stream.clone());
        let name = name_of(stream).to_owned();
        let asked = client.describe_stream_summary();
        let asked = match &by_arn {
            Some(arn) => asked.stream_arn(arn),
            None => asked.stream_name(&name),
        };
        let who = config.aws.who();
        let output = asked.send().await.map_err(|error| {
            let refusal = Refusal::of(&error);
            let region = loaded.region().map_or("no region", |region| region.as_ref());
            let what = format!("stream {stream} in {region}");
            let text = refusal.advice(&what, &who, "kinesis:DescribeStreamSummary");
            if refusal.kind == Kind::NoPlace { SourceError::Stop(text) } else { SourceError::Retry(text) }
        })?;
        let Some(summary) = output.stream_description_summary else {
            return Err(SourceError::Retry(format!("stream {stream}: the answer tells nothing of it")));
        };
        let hours = u64::try_from(summary.retention_period_hours).unwrap_or(24).max(1);
        let arn = summary.stream_arn;
        Ok(Stream { client, name, by_arn, arn, retention: Duration::from_secs(hours * 3600), who, loaded })
    }

    /// All shards it has, closed ones too.
    pub(super) async fn shards(&self) -> Result<Tree, String> {
        let (mut shards, mut next) = (Vec::new(), None::<String>);
        loop {
            let asked = self.client.list_shards().max_results(PAGE);
            let asked = match (next.take(), &self.by_arn) {
                (Some(token), _) => asked.next_token(token),
                (None, Some(arn)) => asked.stream_arn(arn),
                (None, None) => asked.stream_name(&self.name),
            };
            let output = asked.send().await.map_err(|error| {
                let what = format!("listing the shards of {}", self.name);
                Refusal::of(&error).advice(&what, &self.who, "kinesis:ListShards")
            })?;
            for shard in output.shards.unwrap_or_default() {
                let parents = shard.parent_shard_id.into_iter().chain(shard.adjacent_parent_shard_id);
                let parents = parents.map(Arc::from).collect();
                shards.push(Shard { id: shard.shard_id.into(), parents });
            }
            next = output.next_token;
            if next.is_none() {
                return Ok(Tree::new(shards));
            }
        }
    }

    /// An iterator: a place in a shard, good for five minutes.
    pub(super) async fn iterator(&self, shard: &str, spot: &Spot) -> Result<String, Trouble> {
        let asked = self.client.get_shard_iterator().shard_id(shard);
        let asked = match &self.by_arn {
            Some(arn) => asked.stream_arn(arn),
            None => asked.stream_name(&self.name),
        };
        let asked = match spot {
            Spot::Oldest => asked.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Spot::Time(time) => asked
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(*time)),
            Spot::Record(sequence) => asked
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(&**sequence),
        };
        let sent = asked.send().await;
        let output = sent.map_err(|error| self.trouble(&error, shard, "kinesis:GetShardIterator"))?;
        output.shard_iterator.ok_or_else(|| Trouble::Retry(format!("{shard}: the answer has no iterator")))
    }

    /// What is behind an iterator, so many records at most.
    pub(super) async fn records(
        &self,
        shard: &str,
        iterator: &str,
        most: i32,
        counts: &Counts,
    ) -> Result<GetRecordsOutput, Trouble> {
        let asked = self.client.get_records().shard_iterator(iterator).limit(most.clamp(1, MOST_RECORDS));
        let asked = match &self.by_arn {
            Some(arn) => asked.stream_arn(arn),
            None => asked,
        };
        let answer = asked.send().await.map_err(|error| self.trouble(&error, shard, "kinesis:GetRecords"));
        if matches!(answer, Err(Trouble::Slow(_))) {
            counts.throttled.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn trouble<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        error: &SdkError<E, HttpResponse>,
        shard: &str,
        permission: &str,
    ) -> Trouble {
        let refusal = Refusal::of(error);
        let text = || refusal.advice(&format!("{} of stream {}", shard, self.name), &self.who, permission);
        match (error.code(), refusal.kind) {
            (Some("ExpiredIteratorException"), _) => Trouble::Expired,
            (Some("InvalidArgumentException"), _) => Trouble::NoRecord(text()),
            (Some("ResourceNotFoundException"), _) => Trouble::Gone(text()),
            (_, Kind::Slow) => Trouble::Slow(text()),
            _ => Trouble::Retry(text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_or_addressed() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/trail";
        assert_eq!((name_of(arn), region_of(arn)), ("trail", Some("eu-west-1")));
        assert_eq!((name_of("trail"), region_of("trail")), ("trail", None));
    }
}
