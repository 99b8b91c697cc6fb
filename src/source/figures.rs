//! What a source counts of the place it reads from.

/// Figures of one source, for the metrics and for progress. `None`: it has no such thing, or does not know it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// How far a range of time was listed, and how long it is, minutes of all partitions together.
    pub way: Option<(u64, u64)>,
}

/// Dollars for a LIST request (S3 standard, us-east-1; an estimate).
pub const LIST_PRICE: f64 = 0.005 / 1000.0;
