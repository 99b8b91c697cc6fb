//! `cat`: the records of files and buckets as NDJSON, without configuration or state.

mod bucket;
mod fields;
pub(super) mod whereabouts;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use super::progress::Progress;
use super::style::Style;
use super::text::{bytes, count};
use super::{Outcome, Surroundings, Wrong};
use crate::clock::Timestamp;
use crate::config::{Duration, Since};
use crate::decode::{Buffer, Decode, Input, Item, Limits, Space, Tools};
use crate::encode::{Encoder, Nested, Shape};
use crate::pattern::compile::{MatchScratch, PatternSet};
use crate::pattern::{Pattern, Written};
use crate::record::identity::{IdentitySlots, ObjectFacts};
use crate::record::overlay::Overlay;
use crate::record::scan::ScanLimits;
use crate::record::{Identity, Kind, Record, Scanner, SlotId, Slots, Span, protect::Protection};
use crate::telemetry::{escaped, escaped_json};
use fields::Fields;

/// Where some records hold a live credential.
const TOKEN: &str = "responseElements.credentials.sessionToken";
/// What stands in its place.
const REDACTED: &[u8] = b"\"REDACTED\"";
/// A stored file up to this size is read at once, in bytes.
const AT_ONCE: u64 = 8 << 20;
/// Problems that are shown; the others are counted.
const SHOWN: u64 = 20;

/// Prints the records of files and buckets as NDJSON: no configuration, no state
///
/// gzip, zstd or plain; log files, arrays, NDJSON, EventBridge events, subscription payloads: told apart by content.
/// A record is printed as it was written, but for session tokens, which are live credentials: REDACTED stands in their
/// place. On a terminal, a line for people; `--json` prints records there, too. What is damaged is told on standard error, with its address, and the exit code is 3.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship cat trail/ --match '{\"eventName\": [\"ConsoleLogin\"]}'
  trailship cat 'trail/**/us-east-1/**/*.json.gz' --since 1h --limit 10
  trailship cat trail/ --fields eventTime,eventName,userIdentity.arn
  trailship cat s3://acme-org-trail --since 6h --match '{\"errorCode\": [{\"exists\": true}]}'")]
pub(super) struct Args {
    /// A file, a directory with everything below it, a glob, s3://BUCKET[/PREFIX], or - for standard input
    #[arg(value_name = "WHERE", required = true)]
    places: Vec<String>,
    /// Only records that match this EventBridge event pattern, as JSON
    #[arg(short, long, value_name = "PATTERN")]
    r#match: Option<String>,
    /// Only records of events since: a duration (1h) or a time (2026-01-15T10:00:00Z); what has no time is printed
    #[arg(short, long, value_name = "WHEN", value_parser = crate::cli::text::since)]
    since: Option<Since>,
    /// Only these fields, as dotted paths
    #[arg(short, long, value_name = "A,B.C")]
    fields: Option<Fields>,
    /// Records as JSON, also on a terminal
    #[arg(long)]
    json: bool,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "NUMBER")]
    limit: Option<u64>,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let mut slots = Slots::default();
    let selected = match &args.r#match {
        Some(text) => Some(PatternSet::compile(&[&pattern(text)?], &mut slots)),
        None => None,
    };
    let token = slots.want(TOKEN);
    let since = args.since.map(|since| (IdentitySlots::want(&mut slots), since.time(around.clock.now())));
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut cat = Cat {
        around,
        selected,
        since,
        named_since: args.since,
        fields: args.fields.clone(),
        pretty: terminal && !args.json && args.fields.is_none(),
        style: Style::of_stdout(),
        token,
        scanner: Scanner::new(Arc::new(slots), ScanLimits::default()),
        encoder: Encoder::new(Arc::new(Shape::Nested(Nested::default()))),
        tools: Tools::default(),
        buffer: Buffer::default(),
        overlay: Overlay::default(),
        matching: MatchScratch::default(),
        line: Vec::new(),
        out: io::BufWriter::with_capacity(1 << 16, stdout.lock()),
        terminal,
        left: args.limit.unwrap_or(u64::MAX),
        problems: 0,
        damaged: false,
        failed: false,
        progress: (!terminal && is_regular_file(&stdout))
            .then(|| Progress::new("reading", None, &around.console, &around.clock)),
        files: 0,
        read: 0,
    };
    cat.places(&args.places)?;
    cat.end()
}

/// Reads a pattern.
fn pattern(text: &str) -> Result<Pattern, Wrong> {
    Pattern::parse_json(text).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Wrong(format!("`--match` is no event pattern: {}", errors.join("; ")))
    })
}

/// Whether nobody is reading along.
fn is_regular_file(stdout: &io::Stdout) -> bool {
    rustix::fs::fstat(stdout).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
    })
}

struct Cat<'s> {
    around: &'s Surroundings,
    selected: Option<PatternSet>,
    /// Where an event's time stands, and the oldest that is printed.
    since: Option<(IdentitySlots, Timestamp)>,
    /// The same, for the names of a bucket's objects.
    named_since: Option<Since>,
    fields: Option<Fields>,
    /// Whether a record is a line for people.
    pretty: bool,
    style: Style,
    token: SlotId,
    scanner: Scanner,
    encoder: Encoder,
    tools: Tools,
    buffer: Buffer,
    overlay: Overlay,
    matching: MatchScratch,
    line: Vec<u8>,
    out: io::BufWriter<io::StdoutLock<'static>>,
    /// Whether a person's terminal shows the records.
    terminal: bool,
    /// Records that may still be printed.
    left: u64,
    /// Lines that were, or would have been, shown on standard error.
    problems: u64,
    damaged: bool,
    failed: bool,
    progress: Option<Progress>,
    files: u64,
    /// Bytes read, decompressed.
    read: u64,
}

impl Cat<'_> {
    fn places(&mut self, places: &[String]) -> anyhow::Result<()> {
        for place in places {
            if self.left == 0 {
                break;
            }
            if place == "-" {
                self.object("-", &mut Input::Read(&mut io::stdin().lock()))?;
                continue;
            }
            if let Some(place) = place.strip_prefix("s3://") {
                self.bucket(place)?;
                continue;
            }
            let mut found = false;
            for path in whereabouts::files(place)? {
                if self.left == 0 {
                    return Ok(());
                }
                found = true;
                match path {
                    Ok(path) => self.file(&path)?,
                    Err(error) => self.fail(&error),
                }
            }
            if !found {
                self.fail(&format!("{place}: there is no such file"));
            }
        }
        Ok(())
    }

    /// Prints what is named since the time that was asked for, else in the last hour, in a bucket.
    fn bucket(&mut self, place: &str) -> anyhow::Result<()> {
        let since = self.named_since.unwrap_or_else(|| {
            self.tell(&format!(
                "s3://{place}: what was delivered in the last hour; `--since` says another time"
            ));
            Since::Ago(Duration::minutes(60))
        });
        let mut bucket = bucket::Bucket::open(place, since, &self.around.clock)?;
        let mut found = false;
        while self.left > 0
            && let Some(object) = bucket.next()
        {
            found = true;
            let name = if object.address.is_empty() { format!("s3://{place}") } else { object.address };
            match object.bytes {
                Ok(bucket::Coming::Whole(bytes)) => self.object(&name, &mut Input::Whole(&bytes))?,
                Ok(bucket::Coming::Pieces(mut pieces)) => {
                    self.object(&name, &mut Input::Read(&mut pieces))?
                }
                Err(error) => self.fail(&error),
            }
        }
        if !found {
            self.fail(&format!("s3://{place}: no CloudTrail objects of that time"));
        }
        Ok(())
    }

    /// Prints a file. A file that cannot be read is told, and the next has its turn.
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, mut file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.fail(&format!("{name}: {error}"));
                return Ok(());
            }
        };
        if length > AT_ONCE {
            return self.object(&name, &mut Input::Read(&mut file));
        }
        let mut stored = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        match file.take(AT_ONCE + 1).read_to_end(&mut stored) {
            Ok(_) => self.object(&name, &mut Input::Whole(&stored)),
            Err(error) => {
                self.fail(&format!("{name}: {error}"));
                Ok(())
            }
        }
    }

    /// Prints one object.
    ///
    /// Errors: standard output cannot be written.
    fn object(&mut self, name: &str, input: &mut Input<'_>) -> io::Result<()> {
        let mut decode = Decode::new(Limits::default());
        let live = matches!(input, Input::Read(_)) && name == "-";
        if live {
            decode = decode.live();
        }
        let (mut later, mut before) = (false, 0);
        self.files += 1;
        self.buffer.clear();
        'windows: loop {
            if let Err(error) = decode.fill(&mut self.tools, input, &mut self.buffer) {
                self.fail(&format!("{name}: {error}"));
                break;
            }
            loop {
                match decode.next(&mut self.scanner, &mut self.buffer) {
                    Item::Record { span, .. } => {
                        later |= decode.marks().later_member;
                        self.record(span)?;
                        if self.left == 0 {
                            break 'windows;
                        }
                    }
                    Item::LeftOut { .. } => {}
                    Item::Damage { damage, more, .. } => {
                        self.damaged = true;
                        if !more {
                            let space = match damage.space {
                                Space::Decompressed => "",
                                Space::Stored => " as stored",
                            };
                            let (offset, length) = (damage.offset, damage.length);
                            self.tell(&format!(
                                "{name}: {length} bytes at {offset}{space}: {}",
                                damage.reason
                            ));
                        }
                    }
                    Item::WindowEnd => break,
                    Item::End => break 'windows,
                }
            }
            if live {
                self.out.flush()?;
            }
            let decompressed = decode.summary().decompressed;
            self.at(decompressed - before);
            before = decompressed;
        }
        self.at(decode.summary().decompressed.saturating_sub(before));
        if later {
            self.tell(&format!(
                "{name}: note: some records stand behind the first gzip member, where CloudTrail writes none"
            ));
        }
        Ok(())
    }

    fn record(&mut self, span: Span) -> io::Result<()> {
        if let Some(selected) = &self.selected {
            let view = Written::new(&self.buffer, &self.scanner);
            if selected.matches(&view, &mut self.matching).iter().all(|word| *word == 0) {
                return Ok(());
            }
        }
        if let Some((slots, since)) = &self.since {
            let identity = slots.read(&self.scanner, &self.buffer, span, &ObjectFacts::default());
            if identity.time.is_some_and(|time| time < since.seconds()) {
                return Ok(());
            }
        }
        self.overlay.clear();
        for position in self.scanner.hits(self.token) {
            let leaf = self.scanner.leaves().get(position as usize);
            let text = leaf.and_then(|leaf| self.buffer.get(leaf.start as usize..leaf.end as usize));
            if text.is_some_and(|text| Kind::of(text) == Kind::String && text.len() > 2) {
                self.overlay.replaced.push((position, REDACTED.into()));
            }
        }
        self.overlay.replaced.sort_by_key(|(position, _)| *position);
        let record = Record {
            buffer: &self.buffer,
            span,
            index: &self.scanner,
            overlay: &mut self.overlay,
            identity: Identity::default(),
            protection: Protection::default(),
            families: 0,
        };
        self.line.clear();
        self.encoder.encode(&record, &mut self.line);
        self.line.push(b'\n');
        self.left -= 1;
        if !self.terminal && self.fields.is_none() {
            return self.out.write_all(&self.line);
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = String::from_utf8_lossy(line);
        if self.pretty {
            return writeln!(self.out, "{}", fields::line(&line, self.style));
        }
        let line = match &self.fields {
            Some(fields) => fields.of(&line).into(),
            None => line,
        };
        let line = if self.terminal { escaped_json(&line) } else { line };
        writeln!(self.out, "{line}")
    }

    fn at(&mut self, more: u64) {
        self.read += more;
        let (read, files) = (self.read, self.files);
        if let Some(progress) = &mut self.progress {
            progress.at(read, || format!("{} in {} files", bytes(read), count(files)));
        }
    }

    fn fail(&mut self, problem: &str) {
        self.failed = true;
        self.tell(problem);
    }

    /// Shows a problem, unless there were many.
    fn tell(&mut self, problem: &str) {
        self.problems += 1;
        if self.problems <= SHOWN {
            self.around.console.line(&escaped(problem));
        }
    }

    fn end(mut self) -> anyhow::Result<Outcome> {
        self.out.flush()?;
        if self.problems > SHOWN {
            self.around.console.line(&format!("{} further problems", count(self.problems - SHOWN)));
        }
        Ok(match (self.failed, self.damaged) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Rejected,
            (false, false) => Outcome::Done,
        })
    }
}
