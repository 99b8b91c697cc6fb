//! A seeded generator of CloudTrail trees: the demo's data, the benchmarks' load and the tests' oracle.
//!
//! The same seed and options give the same bytes, on any machine. Two profiles are set by measured trails:
//! `management` (an account where infrastructure is built) and `mixed` (busy buckets, more than half of the records
//! data events); a test holds them to the sizes, shares and orders of members of those trails. On top of the
//! profile come records above 30 kB, other kinds of files, events worth an alarm, and files that are late, doubled
//! or damaged, each by a share of its own.
//!
//! [`Generator`] lends one object after the other without a disk; [`write_tree`] writes them in the layout of a
//! bucket. Every object comes with its [`Facts`], so a test knows which event ids exist.

mod callers;
mod catalog;
mod chance;
mod flow;
mod kinds;
mod large;
mod management;
mod mixed;
mod rare;
mod template;
mod tree;
mod world;
#[cfg(test)]
mod calibration;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

pub use flow::Generator;
pub use tree::{Packer, Progress, Summary, write_tree};

/// Names what a generated account's trail looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// Management events only: 1.26 kB a record, 50 records a file, four of five read-only.
    Management,
    /// Data and management events: 1.45 kB a record, 8 records a file, one of three failed.
    #[default]
    Mixed,
}

/// Says what to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the tree: same seed and options, same bytes.
    pub seed: u64,
    /// What the accounts' trails look like.
    pub profile: Profile,
    /// JSON bytes to make in total, before compression; the last object may go past it.
    pub bytes: u64,
    /// Number of accounts, 1 to 1,000.
    pub accounts: usize,
    /// Number of regions, 1 to 16; half of the files or more are of the first, us-east-1.
    pub regions: usize,
    /// Organisation id (`o-…`) for the layout of an organisation's trail.
    pub organization: Option<String>,
    /// Prefix of the keys, without a slash at either end.
    pub prefix: Option<String>,
    /// Delivery time of the first files.
    pub start: Timestamp,
    /// Time over which the files are spread.
    pub span: Duration,
    /// Share of data events, 0 to 1, in place of the profile's.
    pub data_event_share: Option<f64>,
    /// Share of files delivered hours after their events.
    pub late: f64,
    /// Share of files that a second trail delivers again, five minutes later.
    pub duplicate: f64,
    /// Share of files that are damaged, in all the ways of [`Damage`] in turn.
    pub damaged: f64,
    /// Records in every file, in place of the profile's distribution.
    pub records_per_file: Option<usize>,
    /// JSON bytes at which a file is full, in place of the profile's distribution.
    pub file_bytes: Option<u64>,
    /// Keys in each record that no other record has; for measurements hostile to caches.
    pub fresh_keys: usize,
    /// Share of records above 30 kB.
    pub large: f64,
    /// Whether there are files of other kinds: Insights, network activity, aggregated events, digests.
    pub kinds: bool,
    /// Whether 0.4 % of the records are events worth an alarm.
    pub rare: bool,
    /// Level of gzip, 1 to 12.
    pub level: i32,
}

impl Options {
    /// The options of a profile, with a day of 64 MB in eight accounts and three regions.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            seed: 1,
            profile,
            bytes: 64_000_000,
            accounts: 8,
            regions: 3,
            organization: None,
            prefix: None,
            start: Timestamp::constant(1_768_435_200, 0), // 2026-01-15T00:00:00Z
            span: Duration::from_secs(86_400),
            data_event_share: None,
            late: 0.0,
            duplicate: 0.0,
            damaged: 0.0,
            records_per_file: None,
            file_bytes: None,
            fresh_keys: 0,
            large: 0.005,
            kinds: true,
            rare: profile == Profile::Mixed,
            level: 6,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let shares = [
            ("late", self.late),
            ("duplicate", self.duplicate),
            ("damaged", self.damaged),
            ("large", self.large),
            ("data_event_share", self.data_event_share.unwrap_or(0.0)),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::Option { name, wanted: "a share between 0 and 1" });
            }
        }
        if self.profile == Profile::Management && self.data_event_share.is_some_and(|share| share > 0.0) {
            return Err(Error::Option { name: "data_event_share", wanted: "the profile mixed" });
        }
        if !(1..=1_000).contains(&self.accounts) {
            return Err(Error::Option { name: "accounts", wanted: "a number from 1 to 1000" });
        }
        if !(1..=world::REGIONS.len()).contains(&self.regions) {
            return Err(Error::Option { name: "regions", wanted: "a number from 1 to 16" });
        }
        if self.records_per_file == Some(0) {
            return Err(Error::Option { name: "records_per_file", wanted: "at least 1" });
        }
        if !(1..=12).contains(&self.level) {
            return Err(Error::Option { name: "level", wanted: "a number from 1 to 12" });
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new(Profile::default())
    }
}

/// Names what a file holds: the directory below the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Management and data events.
    CloudTrail,
    /// Insights events.
    Insight,
    /// Network activity events of VPC endpoints.
    NetworkActivity,
    /// Data events summed up over five minutes.
    Aggregated,
    /// Hashes of the log files of one hour; carries no signature that verifies.
    Digest,
}

impl Kind {
    /// The directory in the key, also the part of the file's name.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::CloudTrail => "CloudTrail",
            Self::Insight => "CloudTrail-Insight",
            Self::NetworkActivity => "CloudTrail-NetworkActivity",
            Self::Aggregated => "CloudTrail-Aggregated",
            Self::Digest => "CloudTrail-Digest",
        }
    }
}

/// Names what is wrong with a file on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// The gzip stream stops at two thirds.
    Truncated,
    /// One record in the middle is not JSON; the others are whole.
    BrokenJson,
    /// Bytes that are no gzip member follow the member.
    TrailingGarbage,
    /// A second gzip member with one more record follows the first.
    SecondMember,
    /// The file has no bytes.
    Empty,
    /// A key that ends in a slash, without bytes; on a disk a directory.
    Folder,
    /// A good file whose name does not end in `.json.gz`.
    WrongExtension,
    /// A good file with an empty list of records.
    NoRecords,
}

/// What is in an object: the oracle of tests.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the file holds.
    pub kind: Kind,
    /// Account of the key and of the records, 12 digits.
    pub account: String,
    /// Region of the key and of the records.
    pub region: &'static str,
    /// Delivery time, the stamp in the name, in seconds since 1970.
    pub delivered: i64,
    /// The event ids in order, as the 128 bits of the GUID; [`event_id`] gives their text.
    pub ids: Vec<u128>,
    /// Earliest and latest event time in seconds since 1970; both 0 without records.
    pub times: (i64, i64),
    /// Number of records above 30 kB.
    pub large: u32,
    /// Event names of the records worth an alarm.
    pub rare: Vec<&'static str>,
    /// Whether it came hours after its events.
    pub late: bool,
    /// Key of the object whose records this one repeats.
    pub copy_of: Option<String>,
    /// What is wrong with it.
    pub damage: Option<Damage>,
    /// The record that is not JSON, of [`Damage::BrokenJson`]; also among `ids`.
    pub broken: Option<u128>,
    /// The record in the second member, of [`Damage::SecondMember`]; not among `ids`.
    pub injected: Option<u128>,
}

/// One object of the tree, lent by [`Generator::next_object`].
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// Key in the bucket, relative path in a directory.
    pub key: &'a str,
    /// JSON, before compression.
    pub body: &'a [u8],
    /// JSON of the second gzip member, of [`Damage::SecondMember`]; else empty.
    pub second: &'a [u8],
    /// What is in it.
    pub facts: &'a Facts,
}

/// Writes an event id as records hold it: 36 characters, lower case.
#[must_use]
pub fn event_id(id: u128) -> String {
    let mut text = Vec::with_capacity(36);
    template::guid(id, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Writes the accounts file of a tree: CSV with `account_id,name,ou_path,env,owner,cost_center`.
///
/// The last account is left out, where there is more than one, as an account nobody has told about.
#[must_use]
pub fn accounts_csv(options: &Options) -> String {
    let mut text = String::from("account_id,name,ou_path,env,owner,cost_center\n");
    let known = options.accounts.clamp(1, 1_000).saturating_sub(1).max(1);
    for account in world::accounts(options.seed, known, 1) {
        text.push_str(&format!(
            "{},{},{},{},{},{}\n",
            account.id, account.name, account.ou, account.env, account.owner, account.cost_center
        ));
    }
    text
}

/// Why a tree cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is out of range.
    #[error("cannot generate with this {name}: give {wanted}")]
    Option {
        /// The option's name.
        name: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {path}: check that the directory exists, may be written and has room")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
