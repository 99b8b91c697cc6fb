//! `generate`: a seeded CloudTrail tree in the layout of a bucket.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::progress::Progress;
use super::text::{bytes, count, percent};
use super::{Outcome, Surroundings};
use crate::config::{ByteSize, Duration, ValueError};
use crate::generate::{self, Generator, Options, Profile, Summary};

/// Generates a CloudTrail tree: the same seed and options give the same bytes on any machine
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship generate --bytes '1 GB' --out trail
  trailship generate --damaged 5% --late 1% --seed 7
  trailship generate --bytes '10 MB' --out - | trailship cat - --limit 3")]
pub(super) struct Args {
    /// Directory to write below, made where it is missing; - writes the JSON of the files to standard output
    #[arg(long, value_name = "DIR", default_value = "trail")]
    out: PathBuf,
    /// Where the accounts file goes, for account_tags [default: accounts.csv beside the tree]
    #[arg(long, value_name = "FILE")]
    accounts_file: Option<PathBuf>,
    /// Names the tree
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// What the accounts' trails look like
    #[arg(long, value_enum, default_value_t = ProfileArg::Mixed)]
    profile: ProfileArg,
    /// JSON to make in total, before compression
    #[arg(long, value_name = "SIZE", default_value = "64 MB", value_parser = size)]
    bytes: u64,
    /// Number of accounts, 1 to 1000; the accounts file leaves the last one out
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    accounts: usize,
    /// Number of regions, 1 to 16
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    regions: usize,
    /// Organization id (o-…), for the layout of an organization's trail
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Prefix of the keys
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Delivery time of the first files
    #[arg(long, value_name = "TIME", default_value = "2026-01-15T00:00:00Z")]
    start: jiff::Timestamp,
    /// Time over which the files are spread
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    span: std::time::Duration,
    /// Share of data events, in place of the profile's: 0.4 or 40%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    data_event_share: Option<f64>,
    /// Share of files delivered hours after their events
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    late: f64,
    /// Share of files that a second trail delivers again
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    duplicate: f64,
    /// Share of files that are damaged, in eight ways in turn
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    damaged: f64,
    /// Records in every file, in place of the profile's
    #[arg(long, value_name = "NUMBER")]
    records_per_file: Option<usize>,
    /// JSON at which a file is full, in place of the profile's
    #[arg(long, value_name = "SIZE", value_parser = size)]
    file_bytes: Option<u64>,
    /// Keys in each record that no other record has
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    fresh_keys: usize,
    /// Share of records above 30 kB
    #[arg(long, value_name = "SHARE", default_value = "0.5%", value_parser = share)]
    large: f64,
    /// Leave out Insights, network activity, aggregated events and digests
    #[arg(long)]
    no_kinds: bool,
    /// Whether there are events worth an alarm [default: with the profile mixed]
    #[arg(long, value_name = "BOOL")]
    rare: Option<bool>,
    /// Level of gzip, 1 to 12
    #[arg(long, value_name = "LEVEL", default_value_t = 6)]
    level: i32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ProfileArg {
    /// Management events only
    Management,
    /// Data and management events
    Mixed,
}

/// Reads a size.
pub(super) fn size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(ByteSize::get).map_err(said)
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<Duration>().map(Duration::get).map_err(said)
}

fn said(error: ValueError) -> String {
    format!("{}: {}", error.message, error.hint)
}

/// Reads a share: `0.05` or `5%`.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number.trim(), 100.0));
    match number.parse::<f64>() {
        Ok(number) if (0.0..=whole).contains(&number) => Ok(number / whole),
        _ => Err("write a share between 0 and 1, or a percentage: 0.05 or 5%".to_owned()),
    }
}

impl Args {
    fn options(&self) -> Options {
        let profile = match self.profile {
            ProfileArg::Management => Profile::Management,
            ProfileArg::Mixed => Profile::Mixed,
        };
        let usual = Options::new(profile);
        Options {
            seed: self.seed,
            profile,
            bytes: self.bytes,
            accounts: self.accounts,
            regions: self.regions,
            organization: self.organization.clone(),
            prefix: self.prefix.clone(),
            start: self.start,
            span: self.span,
            data_event_share: self.data_event_share,
            late: self.late,
            duplicate: self.duplicate,
            damaged: self.damaged,
            records_per_file: self.records_per_file,
            file_bytes: self.file_bytes,
            fresh_keys: self.fresh_keys,
            large: self.large,
            kinds: !self.no_kinds,
            rare: self.rare.unwrap_or(usual.rare),
            level: self.level,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let options = args.options();
    if args.out == Path::new("-") {
        return stream(&options);
    }
    let mut progress = Progress::new("generating", Some(options.bytes), &around.console, &around.clock);
    let summary = generate::write_tree(&args.out, &options, |at| {
        progress.at(at.summary.raw_bytes, || {
            format!("{} in {} files", bytes(at.summary.raw_bytes), count(at.summary.files))
        });
    })?;
    drop(progress);
    let accounts = accounts_file(args, &options)?;
    io::stdout().lock().write_all(summary_text(&args.out, &accounts, &summary).as_bytes())?;
    Ok(Outcome::Done)
}

/// Writes the JSON of each file, one after the other, a line each.
fn stream(options: &Options) -> anyhow::Result<Outcome> {
    let mut generator = Generator::new(options)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    while let Some(object) = generator.next_object() {
        out.write_all(object.body)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// Writes the accounts file. One that nobody asked for replaces nothing; returns what to say about it.
fn accounts_file(args: &Args, options: &Options) -> anyhow::Result<String> {
    let text = generate::accounts_csv(options);
    let path = match &args.accounts_file {
        Some(path) => path.clone(),
        None => args.out.parent().unwrap_or(Path::new("")).join("accounts.csv"),
    };
    if args.accounts_file.is_none() && fs::read(&path).is_ok_and(|there| there != text.as_bytes()) {
        return Ok(format!(
            "not written: {} is there and differs; name one with --accounts-file",
            path.display()
        ));
    }
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path.display().to_string())
}

fn summary_text(root: &Path, accounts: &str, summary: &Summary) -> String {
    let mut out = String::new();
    let mut row = |what: &str, value: String| _ = writeln!(out, "{what:<10} {value}");
    row("tree", root.display().to_string());
    row("accounts", accounts.to_owned());
    row("files", count(summary.files));
    row("records", count(summary.records));
    row("json", bytes(summary.raw_bytes));
    row(
        "stored",
        format!("{} ({})", bytes(summary.gzip_bytes), percent(summary.gzip_bytes, summary.raw_bytes)),
    );
    for (what, number) in [
        ("digests", summary.digests),
        ("kinds", summary.other_kinds),
        ("large", summary.large),
        ("late", summary.late),
        ("doubled", summary.duplicates),
    ] {
        if number > 0 {
            row(what, count(number));
        }
    }
    if !summary.rare.is_empty() {
        let (names, events) = (summary.rare.len() as u64, summary.rare.values().sum());
        row("rare", format!("{} worth an alarm, of {} names", count(events), count(names)));
    }
    for (path, damage) in &summary.damaged {
        row("damaged", format!("{} ({damage:?})", path.display()));
    }
    out
}
