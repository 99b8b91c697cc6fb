//! A pipeline's chain for tests: built from configuration text, and one event in, what became of it out.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::{self, Surroundings};
use crate::encode::Shape;
use crate::pipeline::chain;
use crate::record::protect::Protection;
use crate::transform::Decision;

/// The transforms and the first sink's shape of a configuration's first pipeline.
pub struct Chain(chain::Chain);

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
            now: &|| crate::clock::Timestamp::from_seconds(1_780_272_000),
            canonical: &Path::to_path_buf,
        };
        let resolved = match config::read_str("test.toml", &text, &around) {
            Ok(resolved) => resolved,
            Err(problems) => panic!("{}", problems.render(false)),
        };
        match chain::Chain::all(&resolved) {
            Ok(mut chains) => Chain(chains.remove(0)),
            Err(error) => panic!("{error}"),
        }
    }

    /// The shape it writes.
    ///
    /// # Panics
    /// When there is no sink; there always is.
    pub fn shape(&self) -> &Shape {
        self.0.shape().unwrap_or_else(|| panic!("there is no sink"))
    }

    /// Runs one event through.
    ///
    /// # Panics
    /// When it is not one JSON object.
    pub fn run(&mut self, event: &str) -> Became {
        let event = event.trim();
        let mut became = match self.0.run(event.as_bytes(), &chain::Place::default(), &mut ()) {
            Ok(became) => became,
            Err(scan) => panic!("not a record: {scan:?}: {event}"),
        };
        Became { ended: became.ended, protection: became.protection, written: became.sinks.remove(0).text }
    }

    /// Tells the transforms the time.
    pub fn tick(&self, now: Timestamp) {
        self.0.tick(now);
    }
}
