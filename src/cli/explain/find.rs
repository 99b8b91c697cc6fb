//! Finds the one event that is meant: the only one of a file, or the one with an id in a file or below a directory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::cli::Wrong;
use crate::cli::cat::whereabouts;
use crate::cli::text::count;
use crate::decode::{Buffer, Decode, Format, Input, Item, Limits, Packing, Tools};
use crate::pipeline::chain::Place;
use crate::record::identity::{IdentitySlots, ObjectFacts};
use crate::record::scan::ScanLimits;
use crate::record::{Scanner, SlotId, Slots, Span, unquoted};
use crate::source::layout::Origins;

/// A stored file up to this size is read at once, in bytes.
const AT_ONCE: u64 = 8 << 20;
/// Ids that are named where there are several events.
const NAMED: usize = 3;

/// An event and where it was.
pub(super) struct Found {
    /// The text of one JSON object.
    pub(super) text: Vec<u8>,
    pub(super) place: Place,
    /// First byte in the decompressed object.
    pub(super) offset: u64,
    pub(super) format: Format,
    pub(super) packing: Packing,
}

/// What was looked at so far.
#[derive(Default)]
struct Seen {
    files: u64,
    records: u64,
    /// The ids of the first records.
    ids: Vec<String>,
    /// What is no record, in words.
    others: Vec<String>,
}

struct Finder<'i> {
    id: Option<&'i str>,
    scanner: Scanner,
    identity: IdentitySlots,
    slots: [SlotId; 2],
    tools: Tools,
    buffer: Buffer,
    found: Option<Found>,
    seen: Seen,
}

/// Finds the event.
///
/// # Errors
/// There is none, or more than one, or it cannot be read; what to do about it.
pub(super) fn event(place: &str, id: Option<&str>) -> anyhow::Result<Found> {
    let mut slots = Slots::default();
    let identity = IdentitySlots::want(&mut slots);
    let ids = ["eventID", "eventId"].map(|path| slots.want(path));
    let mut finder = Finder {
        id,
        scanner: Scanner::new(Arc::new(slots), ScanLimits::default()),
        identity,
        slots: ids,
        tools: Tools::default(),
        buffer: Buffer::default(),
        found: None,
        seen: Seen::default(),
    };
    if place == "-" {
        finder.object("-", &mut Input::Read(&mut io::stdin().lock())).context("reading standard input")?;
        return finder.end(place);
    }
    if id.is_none() && Path::new(place).is_dir() {
        let what = format!("{place} is a directory: say which of its events with --id EVENTID");
        return Err(Wrong(what).into());
    }
    let mut any = Path::new(place).exists();
    for path in whereabouts::files(place)? {
        let path = path.map_err(anyhow::Error::msg)?;
        any = true;
        finder.file(&path).with_context(|| format!("reading {}", path.display()))?;
        if id.is_some() && finder.found.is_some() {
            break;
        }
    }
    if !any {
        bail!("{place}: there is no such file");
    }
    finder.end(place)
}

impl Finder<'_> {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let (name, mut file) = (path.display().to_string(), File::open(path)?);
        if file.metadata()?.len() > AT_ONCE {
            return self.object(&name, &mut Input::Read(&mut file));
        }
        let mut stored = Vec::new();
        file.take(AT_ONCE + 1).read_to_end(&mut stored)?;
        self.object(&name, &mut Input::Whole(&stored))
    }

    fn object(&mut self, name: &str, input: &mut Input<'_>) -> io::Result<()> {
        let mut decode = Decode::new(Limits::default());
        let origin = Origins::default().of(Path::new(name).as_os_str().as_bytes(), name.into());
        self.seen.files += 1;
        self.buffer.clear();
        loop {
            decode.fill(&mut self.tools, input, &mut self.buffer)?;
            loop {
                match decode.next(&mut self.scanner, &mut self.buffer) {
                    Item::Record { span, number } => {
                        self.seen.records += 1;
                        let id = self.id_of(span);
                        if self.seen.ids.len() < NAMED {
                            self.seen.ids.push(id.clone());
                        }
                        if self.found.is_none() && self.is_meant(&id, span) {
                            self.found = Some(Found {
                                text: span.of(&self.buffer).to_vec(),
                                place: Place { origin: origin.clone(), number, marks: decode.marks() },
                                offset: decode.offset(span),
                                format: Format::default(),
                                packing: Packing::default(),
                            });
                            if self.id.is_some() {
                                self.recognised(&decode);
                                return Ok(());
                            }
                        }
                    }
                    Item::LeftOut { what } => {
                        self.other(format!("a {what}, which is recognised and left out"));
                    }
                    Item::Damage { damage, more: false, .. } => {
                        self.other(format!(
                            "{} bytes at {}: {}",
                            damage.length, damage.offset, damage.reason
                        ));
                    }
                    Item::Damage { .. } => {}
                    Item::WindowEnd => break,
                    Item::End => {
                        self.recognised(&decode);
                        return Ok(());
                    }
                }
            }
        }
    }

    fn other(&mut self, what: String) {
        if self.seen.others.len() < NAMED {
            self.seen.others.push(what);
        }
    }

    /// What the object was, known once it was read.
    fn recognised(&mut self, decode: &Decode) {
        let summary = decode.summary();
        if let Some(found) = &mut self.found {
            (found.format, found.packing) = (summary.format, summary.packing);
        }
    }

    /// The event's own id; empty where it has none.
    fn id_of(&self, span: Span) -> String {
        let leaf = self.slots.iter().find_map(|slot| self.scanner.last(*slot));
        let text = leaf.and_then(|leaf| self.buffer.get(leaf.start as usize..leaf.end as usize));
        let text = text.filter(|_| span.end > span.start).unwrap_or_default();
        String::from_utf8_lossy(unquoted(text)).into_owned()
    }

    fn is_meant(&self, own: &str, span: Span) -> bool {
        let Some(id) = self.id else { return true };
        // Either id will do: AWS's, or the record id that explanations and keys show.
        own.eq_ignore_ascii_case(id)
            || id.len() == 32 && {
                let identity = self.identity.read(&self.scanner, &self.buffer, span, &ObjectFacts::default());
                identity.id.to_string().eq_ignore_ascii_case(id)
            }
    }

    fn end(self, place: &str) -> anyhow::Result<Found> {
        let Finder { id, found, seen, .. } = self;
        match (found, id) {
            (Some(found), Some(_)) => Ok(found),
            (Some(found), None) if seen.records == 1 => Ok(found),
            (Some(_), None) => {
                let first: Vec<&str> =
                    seen.ids.iter().map(String::as_str).filter(|id| !id.is_empty()).collect();
                let first = if first.is_empty() {
                    String::new()
                } else {
                    format!("; the first are {}", first.join(", "))
                };
                let records = count(seen.records);
                Err(Wrong(format!("{place} holds {records} events: say which with --id EVENTID{first}"))
                    .into())
            }
            (None, Some(id)) => bail!(
                "{place}: no event has the id {id} ({} events in {} {} were looked at)",
                count(seen.records),
                count(seen.files),
                if seen.files == 1 { "file" } else { "files" },
            ),
            (None, None) if seen.others.is_empty() => bail!("{place} is empty: there is no event in it"),
            (None, None) => bail!("{place} holds no event: {}", seen.others.join("; ")),
        }
    }
}
