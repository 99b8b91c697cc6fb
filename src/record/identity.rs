//! Identity: what a record is, read from its slots once.

/// 128 bits of XXH3 over the id text: the key of sampling and of dedupe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u128);

/// An AWS account: 12 digits, leading zeros kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(u64);

impl Account {
    /// Reads 12 ASCII digits; anything else is no account.
    pub fn parse(text: &[u8]) -> Option<Account> {
        if text.len() != 12 || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(Account(text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))))
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:012}", self.0)
    }
}

/// The kind of event, from `eventCategory`, else `eventType`, compared without case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Management events; also what has no category (files older than eventVersion 1.07).
    Management,
    /// Data events.
    Data,
    /// Insights.
    Insight,
    /// Network activity of VPC endpoints.
    NetworkActivity,
    /// AWS's own five-minute summaries.
    Aggregated,
    /// None of these.
    #[default]
    Other,
}
