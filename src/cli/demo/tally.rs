//! Counts what went in and what came out, by event name, and the signals of each account.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use walkdir::WalkDir;

use crate::decode::{Buffer, Decode, Input, Item, Limits, Tools};
use crate::pipeline::dry::{Change, Flow, NAMELESS, change};
use crate::record::identity::{IdentitySlots, ObjectFacts};
use crate::record::scan::ScanLimits;
use crate::record::{Scanner, SlotId, Slots, unquoted};

/// What was counted.
pub(super) struct Tally {
    /// By event name.
    pub(super) names: BTreeMap<String, Change>,
    /// Events of each signal, by account: what the output calls it.
    pub(super) signals: BTreeMap<String, BTreeMap<String, u64>>,
    /// Events by environment, as shipped.
    pub(super) environments: BTreeMap<String, u64>,
    /// Bytes that the shipped events had when they came in.
    pub(super) kept_bytes: u64,
    /// Files of the output, and their bytes as stored.
    pub(super) files: Flow,
    /// The length of every event that came in, by id.
    lengths: HashMap<Box<[u8]>, usize>,
    reader: Reader,
}

/// Finds the records of files.
struct Reader {
    scanner: Scanner,
    identity: IdentitySlots,
    ids: [SlotId; 2],
    tools: Tools,
    buffer: Buffer,
}

/// The fields of a shipped event that are counted, as the configuration writes them.
#[derive(Deserialize)]
struct Shipped {
    #[serde(rename = "eventID", alias = "eventId")]
    id: Option<String>,
    #[serde(rename = "eventName", alias = "insightDetails.eventName")]
    name: Option<String>,
    #[serde(rename = "trailship.account.id")]
    account: Option<String>,
    #[serde(rename = "trailship.account.name")]
    account_name: Option<String>,
    #[serde(rename = "trailship.account.environment")]
    environment: Option<String>,
    #[serde(rename = "trailship.signals", default)]
    signals: Vec<String>,
}

impl Default for Tally {
    fn default() -> Tally {
        let mut slots = Slots::default();
        let identity = IdentitySlots::want(&mut slots);
        let ids = ["eventID", "eventId"].map(|path| slots.want(path));
        let scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
        Tally {
            names: BTreeMap::new(),
            signals: BTreeMap::new(),
            environments: BTreeMap::new(),
            kept_bytes: 0,
            files: Flow::default(),
            lengths: HashMap::new(),
            reader: Reader { scanner, identity, ids, tools: Tools::default(), buffer: Buffer::default() },
        }
    }
}

impl Tally {
    /// Everything that came in, and everything that went out.
    pub(super) fn total(&self) -> Change {
        Change::sum(self.names.values())
    }

    /// Counts the records of a file that is about to be read. `body`: its JSON.
    pub(super) fn came_in(&mut self, body: &[u8]) {
        let Reader { scanner, identity, ids, tools, buffer } = &mut self.reader;
        buffer.clear();
        let mut decode = Decode::new(Limits::default());
        let mut input = Input::Whole(body);
        let facts = ObjectFacts::default();
        while decode.fill(tools, &mut input, buffer).is_ok() {
            loop {
                match decode.next(scanner, buffer) {
                    Item::Record { span, .. } => {
                        let name = identity.read(scanner, buffer, span, &facts).name;
                        let name = name.map_or(NAMELESS.as_bytes(), |name| name.of(buffer));
                        let name = String::from_utf8_lossy(name);
                        let length = span.of(buffer).len();
                        change(&mut self.names, &name).came_in.add(length);
                        if let Some(id) = ids.iter().find_map(|id| scanner.last(*id)) {
                            let id = buffer.get(id.start as usize..id.end as usize).unwrap_or_default();
                            self.lengths.insert(unquoted(id).into(), length);
                        }
                    }
                    Item::LeftOut { .. } | Item::Damage { .. } => {}
                    Item::WindowEnd => break,
                    Item::End => return,
                }
            }
        }
    }

    /// Counts what was shipped below `root`.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else than events.
    pub(super) fn went_out(&mut self, root: &Path) -> io::Result<()> {
        for entry in WalkDir::new(root).sort_by_file_name() {
            let entry = entry?;
            if !entry.file_type().is_file() {
                continue;
            }
            self.files = self.files.with(Flow { events: 1, bytes: entry.metadata()?.len() });
            let text = zstd::Decoder::new(File::open(entry.path())?)?;
            let mut lines = BufReader::with_capacity(1 << 18, text);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line)? > 0 {
                let event = line.strip_suffix(b"\n").unwrap_or(&line);
                self.shipped(&serde_json::from_slice(event)?, event.len());
                line.clear();
            }
        }
        Ok(())
    }

    fn shipped(&mut self, event: &Shipped, length: usize) {
        change(&mut self.names, event.name.as_deref().unwrap_or(NAMELESS)).went_out.add(length);
        if let Some(before) = event.id.as_ref().and_then(|id| self.lengths.get(id.as_bytes())) {
            self.kept_bytes += *before as u64;
        }
        let environment = event.environment.as_deref().unwrap_or("none");
        *self.environments.entry(environment.to_owned()).or_default() += 1;
        let account = event.account_name.as_ref().or(event.account.as_ref());
        for signal in &event.signals {
            let accounts = self.signals.entry(signal.clone()).or_default();
            *accounts.entry(account.cloned().unwrap_or_else(|| "no account".to_owned())).or_default() += 1;
        }
    }
}
