//! A pipeline's chain without its pipeline: one event in, what became of it out.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::{self, Surroundings};
use crate::encode::{Encoder, Shape};
use crate::pattern::compile::MatchScratch;
use crate::pattern::family;
use crate::pipeline::parts::Parts;
use crate::record::identity::ObjectFacts;
use crate::record::overlay::Overlay;
use crate::record::protect::Protection;
use crate::record::scan::ScanLimits;
use crate::record::{Record, Scan, Scanner, Slots, Span};
use crate::transform::{Context, Decision, Local, Transform as _};

/// The transforms and the first sink's shape of a configuration's first pipeline.
pub struct Chain {
    parts: Parts,
    scanner: Scanner,
    encoder: Encoder,
    overlay: Overlay,
    matching: MatchScratch,
    locals: Vec<Local>,
    field: String,
}

/// What became of one event.
#[derive(Debug)]
pub struct Became {
    /// The transform that decided, and what; `None`: it went through.
    pub ended: Option<(Arc<str>, Decision)>,
    /// Why it may not be thinned.
    pub protection: Protection,
    /// What would be written, had it gone through; the text of one JSON object.
    pub written: String,
}

impl Became {
    /// What would be written, as a tree.
    ///
    /// # Panics
    /// When it is not JSON: then the encoder is wrong.
    pub fn value(&self) -> Value {
        match serde_json::from_str(&self.written) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {}", self.written),
        }
    }

    /// Whether it went through.
    pub fn kept(&self) -> bool {
        self.ended.is_none()
    }
}

impl Chain {
    /// Builds the chain of a configuration's text. A source and a sink are added where it has none.
    ///
    /// # Panics
    /// When the configuration has problems; they are the message.
    pub fn new(text: &str) -> Chain {
        let mut text = text.to_owned();
        if !text.contains("[sources") {
            text.push_str("\n[sources.none]\ntype = \"files\"\npath = \"/nonexistent/trail\"\n");
        }
        let around = Surroundings {
            variable: &|name| std::env::var(name).ok(),
            file: &|path| std::fs::read_to_string(path),
            data_dir: &|| Some("/nonexistent/data".into()),
            canonical: &Path::to_path_buf,
        };
        let resolved = match config::read_str("test.toml", &text, &around) {
            Ok(resolved) => resolved,
            Err(problems) => panic!("{}", problems.render(false)),
        };
        let mut slots = Slots::default();
        let built = family::shipped().map_err(|error| error.to_string()).and_then(|families| {
            Parts::build(&resolved, &families, &mut slots).map_err(|error| error.to_string())
        });
        let parts = match built {
            Ok(parts) => parts,
            Err(error) => panic!("{error}"),
        };
        let shape = parts.pipelines[0].sinks[0].shape;
        let encoder = Encoder::new(parts.shapes[shape].clone());
        let locals = parts.pipelines[0].steps.iter().map(|_| Local::default()).collect();
        let field = resolved.globals.field.value().clone();
        let scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
        let (overlay, matching) = (Overlay::default(), MatchScratch::default());
        Chain { parts, scanner, encoder, overlay, matching, locals, field }
    }

    /// The shape it writes.
    pub fn shape(&self) -> &Shape {
        self.encoder.shape()
    }

    /// Runs one event through.
    ///
    /// # Panics
    /// When it is not one JSON object.
    pub fn run(&mut self, event: &str) -> Became {
        let event = event.trim();
        let scan = self.scanner.scan(event.as_bytes(), 0);
        let Scan::Record { end } = scan else { panic!("not a record: {scan:?}: {event}") };
        let part = &self.parts.pipelines[0];
        let span = Span { start: 0, end: u32::try_from(end).unwrap_or(u32::MAX) };
        let buffer = event.as_bytes();
        self.overlay.clear();
        let mut record = Record {
            buffer,
            span,
            identity: part.identity.read(&self.scanner, buffer, span, &ObjectFacts::default()),
            index: &self.scanner,
            overlay: &mut self.overlay,
            protection: Protection::default(),
            families: 0,
        };
        part.protector.judge(&mut record, &mut self.matching);
        let mut added = Vec::new();
        let mut ended = None;
        for ((name, transform), local) in part.steps.iter().zip(&mut self.locals) {
            let mut context = Context {
                delivery: crate::ack::DeliveryId(1),
                now: Timestamp::default(),
                field: &self.field,
                added: &mut added,
                matching: &mut self.matching,
                local,
            };
            let decision = transform.apply(&mut record, &mut context);
            if decision != Decision::Keep {
                ended = Some((name.clone(), decision));
                break;
            }
        }
        let mut written = Vec::new();
        self.encoder.encode(&record, &mut written);
        let protection = record.protection;
        Became { ended, protection, written: String::from_utf8_lossy(&written).into_owned() }
    }

    /// Tells the transforms the time.
    pub fn tick(&self, now: Timestamp) {
        for (_, transform) in &self.parts.pipelines[0].steps {
            transform.tick(now);
        }
    }
}
