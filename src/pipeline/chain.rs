//! The chain of a pipeline without its pipeline: one record in, what becomes of it out. For `explain`, `test` and the tests
//! here; it takes the steps of a run ([`through`](super::through)), and opens no source and no sink.

use std::path::Path;
use std::sync::Arc;

use super::engine::StartError;
use super::line::Step;
use super::origin;
use super::parts::{Part, Parts};
use super::protector::Protector;
use super::through::{Onlooker, Way, through};
use crate::ack::DeliveryId;
use crate::clock::Timestamp;
use crate::config::{self, Problems, Resolved, Surroundings};
use crate::decode::{Limits, Marks};
use crate::encode::frame::Frame;
use crate::encode::{Encoder, Shape};
use crate::pattern::compile::{MatchScratch, PatternSet};
use crate::pattern::family::{self, Family};
use crate::pattern::view::View;
use crate::record::identity::{IdentitySlots, ObjectFacts};
use crate::record::overlay::Overlay;
use crate::record::protect::Protection;
use crate::record::scan::ScanLimits;
use crate::record::{Record, Scan, Scanner, Slots, Span};
use crate::sink::AnySink;
use crate::sink::template::{PartitionCache, Partitions};
use crate::source::Origin;
use crate::transform::{Decision, Local, Transform as _};

/// What holds where there is no configuration: signal families are tagged, session tokens are removed, nothing is thinned.
const DEFAULT: &str = "[sources.none]\ntype = \"files\"\npath = \"/nonexistent/trail\"\n\n[transforms.signals]\ntype = \"signals\"\n";

/// The configuration of the chain that is used where there is none.
///
/// # Errors
/// None: tests read it.
pub fn default_configuration() -> Result<Resolved, Problems> {
    let around = Surroundings {
        variable: &|_| None,
        file: &|path| std::fs::read_to_string(path),
        data_dir: &|| Some("/nonexistent/data".into()),
        now: &|| crate::clock::Timestamp::from_seconds(1_780_272_000),
        canonical: &Path::to_path_buf,
    };
    config::read_str("the default chain", DEFAULT, &around)
}

/// A pipeline's chain.
pub struct Chain {
    /// The pipeline's name.
    pub name: Arc<str>,
    /// The top-level key of what is added.
    pub field: Arc<str>,
    /// What may not be thinned.
    pub protector: Protector,
    /// The transforms.
    pub steps: Vec<Step>,
    /// What an object may be.
    pub limits: Limits,
    sinks: Vec<End>,
    routes: PatternSet,
    identity: IdentitySlots,
    origin: bool,
    scanner: Scanner,
    overlay: Overlay,
    matching: MatchScratch,
    locals: Vec<Local>,
}

/// One sink, as far as a record sees it.
struct End {
    name: Arc<str>,
    route: Option<u32>,
    encoder: Encoder,
    frame: Frame,
    partitions: Option<Partitions>,
    cache: PartitionCache,
}

/// Where a record comes from, as far as it matters on its way.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The object.
    pub origin: Origin,
    /// Its number in the object.
    pub number: u64,
    /// The marks it got when it was read.
    pub marks: Marks,
}

/// What became of one record.
#[derive(Debug)]
pub struct Became {
    /// The transform that ended its way, and how; `None`: it went through.
    pub ended: Option<(Arc<str>, Decision)>,
    /// Why it may not be thinned.
    pub protection: Protection,
    /// Records that transforms made of it.
    pub added: usize,
    /// What the sinks get, in the order of the configuration. Written also where it did not go through.
    pub sinks: Vec<Written>,
}

/// What one sink gets.
#[derive(Debug)]
pub struct Written {
    /// The sink.
    pub sink: Arc<str>,
    /// Whether its `match` lets the record through.
    pub matched: bool,
    /// Where: a path, an index; empty where it has one place.
    pub place: String,
    /// The text: one JSON object, without the line break behind it.
    pub text: String,
}

/// Looks on at everything that happens to a record here.
pub trait Witness: Onlooker {
    /// The record was recognised, and is judged next.
    fn recognised(&mut self, record: &Record<'_>, protector: &Protector, matching: &mut MatchScratch) {
        let _ = (record, protector, matching);
    }
}

impl Witness for () {}

impl Chain {
    /// The chains of a configuration, one for each pipeline.
    ///
    /// # Errors
    /// Problems of the configuration that only show now.
    pub fn all(resolved: &Resolved) -> Result<Vec<Chain>, StartError> {
        let families = family::shipped().map_err(|error| StartError::Start(error.to_string()))?;
        Chain::with(resolved, &families)
    }

    /// The same, with the shipped families at hand.
    ///
    /// # Errors
    /// Problems of the configuration that only show now.
    pub fn with(resolved: &Resolved, families: &[Family]) -> Result<Vec<Chain>, StartError> {
        let mut slots = Slots::default();
        let Parts { pipelines, shapes } = Parts::build(resolved, families, &mut slots)?;
        let slots = Arc::new(slots);
        let chain = |(number, part): (usize, Part)| {
            let configured = &resolved.pipelines[number];
            let sinks = part.sinks.iter().zip(&configured.sinks).map(|(sink, configured)| {
                let component = &resolved.sinks[configured.sink];
                End {
                    name: component.name.value().as_str().into(),
                    route: sink.route,
                    encoder: Encoder::new(shapes[sink.shape].clone()),
                    frame: sink.packing.frame.clone(),
                    partitions: AnySink::places(component.name.value(), &component.config),
                    cache: PartitionCache::default(),
                }
            });
            let steps = part.steps.into_iter().enumerate();
            let steps = steps.map(|(global, (name, transform))| Step { name, global, transform });
            let (sinks, steps): (Vec<End>, Vec<Step>) = (sinks.collect(), steps.collect());
            let limits = ScanLimits { depth: part.limits.depth, ..ScanLimits::default() };
            Chain {
                name: configured.name.value().as_str().into(),
                field: resolved.globals.field.value().as_str().into(),
                protector: part.protector,
                locals: steps.iter().map(|_| Local::default()).collect(),
                steps,
                limits: part.limits,
                sinks,
                routes: part.routes,
                identity: part.identity,
                origin: resolved.globals.origin,
                scanner: Scanner::new(slots.clone(), limits),
                overlay: Overlay::default(),
                matching: MatchScratch::default(),
            }
        };
        Ok(pipelines.into_iter().enumerate().map(chain).collect())
    }

    /// The shape the first sink is written in.
    pub fn shape(&self) -> Option<&Shape> {
        self.sinks.first().map(|sink| &**sink.encoder.shape())
    }

    /// Takes one record through. `event`: the text of one JSON object, and nothing else.
    ///
    /// # Errors
    /// It is not; what the scanner says.
    pub fn run(&mut self, event: &[u8], place: &Place, witness: &mut impl Witness) -> Result<Became, Scan> {
        let end = match self.scanner.scan(event, 0) {
            Scan::Record { end } if end == event.len() => u32::try_from(end).unwrap_or(u32::MAX),
            other => return Err(other),
        };
        let span = Span { start: 0, end };
        self.overlay.clear();
        let account = place.origin.account.as_ref();
        let facts = ObjectFacts {
            account: account.and_then(|account| crate::record::identity::Account::parse(account.as_bytes())),
        };
        let mut record = Record {
            buffer: event,
            span,
            identity: self.identity.read(&self.scanner, event, span, &facts),
            index: &self.scanner,
            overlay: &mut self.overlay,
            protection: Protection::default(),
            families: 0,
        };
        witness.recognised(&record, &self.protector, &mut self.matching);
        self.protector.judge(&mut record, &mut self.matching);
        let mut added = Vec::new();
        let mut way = Way {
            loan: None,
            delivery: DeliveryId(1),
            now: Timestamp::default(),
            field: &self.field,
            added: &mut added,
            matching: &mut self.matching,
            locals: &mut self.locals,
        };
        let ended = through(&self.steps, 0, &mut record, &mut way, witness);
        if ended.is_none() && (self.origin || origin::is_marked(&record, place.marks)) {
            origin::add(&mut record, &place.origin, place.number, place.marks);
        }
        let routed = self.routes.matches(&View::of(&record, &self.field), &mut self.matching);
        let routed = routed.first().copied().unwrap_or(0);
        let mut sinks = Vec::with_capacity(self.sinks.len());
        for sink in &mut self.sinks {
            let mut text = Vec::new();
            let end = sink.frame.write(&mut sink.encoder, &record, &mut text, 0);
            text.truncate(end - sink.frame.separator.len());
            let place = match &sink.partitions {
                Some(partitions) => {
                    let below = partitions.partition(&record, &mut sink.cache);
                    format!("{}/{below}", partitions.root().trim_end_matches('/'))
                }
                None => String::new(),
            };
            sinks.push(Written {
                sink: sink.name.clone(),
                matched: sink.route.is_none_or(|bit| routed >> bit & 1 == 1),
                place,
                text: String::from_utf8_lossy(&text).into_owned(),
            });
        }
        let protection = record.protection;
        let ended = ended.map(|(at, decision)| (self.steps[at].name.clone(), decision));
        Ok(Became { ended, protection, added: added.len(), sinks })
    }

    /// Tells the transforms the time.
    pub fn tick(&self, now: Timestamp) {
        for step in &self.steps {
            step.transform.tick(now);
        }
    }
}
