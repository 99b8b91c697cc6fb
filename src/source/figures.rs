//! What a source counts of the place it reads from.

use std::sync::Arc;

/// Figures of one source, for the metrics and for progress. `None`: it has no such thing, or does not know it yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Partitions (account, kind, region) that are listed.
    pub partitions: Option<u64>,
    /// LIST requests made.
    pub lists: Option<u64>,
    /// LIST requests a month at the pace of now.
    pub lists_a_month: Option<f64>,
    /// Keys listed that are no log objects; a count.
    pub others: Option<u64>,
    /// Objects that came later than they were looked for, and were found by a sweep; a count.
    pub late: Option<u64>,
    /// The largest lateness seen, seconds.
    pub lateness: Option<u64>,
    /// Messages that are ours now.
    pub held: Option<u64>,
    /// Times a message was left on the queue because it is not understood or names a bucket that is not read; a count.
    pub left: Option<u64>,
    /// Requests made for events.
    pub requests: Option<u64>,
    /// How long ago everything that had happened was settled, seconds.
    pub behind: Option<u64>,
    /// Events that were read again, and left out.
    pub seen_again: Option<u64>,
    /// Events that appeared after they were looked for, and were found all the same.
    pub late_events: Option<u64>,
    /// Ids that were forgotten too early: their events may be shipped again.
    pub ids_forgotten: Option<u64>,
    /// Of an endpoint: what came in.
    pub endpoint: Option<Requests>,
    /// How far a range of time was listed, and how long it is, minutes of all partitions together.
    pub way: Option<(u64, u64)>,
    /// Shards of a stream that are read.
    pub shards: Option<u64>,
    /// How far behind each of these is.
    pub shard_lags: Vec<ShardLag>,
    /// Records of a stream that were read, aggregated ones as one; a count.
    pub stream_records: Option<u64>,
    /// Times that records of a stream were trimmed before they were read; a count.
    pub trimmed: Option<u64>,
    /// Requests refused because too much was asked; a count.
    pub throttled: Option<u64>,
}

/// How far behind a shard is.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardLag {
    /// Its id.
    pub shard: Arc<str>,
    /// From its newest record to what is settled, seconds.
    pub seconds: f64,
}

impl Figures {
    /// How far behind the shard is that is farthest behind, seconds.
    pub fn shard_lag(&self) -> Option<f64> {
        self.shard_lags.iter().map(|lag| lag.seconds).reduce(f64::max)
    }

    /// The shards that are farthest behind, so many at most, by their ids.
    pub fn farthest_behind(&self, most: usize) -> Vec<&ShardLag> {
        let mut lags: Vec<&ShardLag> = self.shard_lags.iter().collect();
        lags.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        lags.truncate(most);
        lags.sort_by(|one, other| one.shard.cmp(&other.shard));
        lags
    }
}

/// What came in at an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests by how they ended, in the order of [`super::firehose::Outcome::ALL`].
    pub outcomes: [u64; super::firehose::Outcome::ALL.len()],
    /// Bytes of bodies that were read, as sent; a count.
    pub bytes: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were closed because their peer had too many; a count.
    pub turned_away: u64,
    /// Requests forgotten before their time, because there were too many; a count.
    pub forgotten: u64,
}

/// Dollars for a LIST request (S3 standard, us-east-1; an estimate).
pub const LIST_PRICE: f64 = 0.005 / 1000.0;
