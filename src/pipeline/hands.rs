//! What a worker thread has at hand: tables that have learned, buffers that are reused. One per thread, never shared.

use std::sync::Arc;

use super::budget::{AccountId, Permit};
use crate::decode;
use crate::encode::compress::Compressor;
use crate::encode::packer::Chunk;
use crate::encode::{Encoder, Shape};
use crate::pattern::compile::MatchScratch;
use crate::record::overlay::Overlay;
use crate::record::scan::ScanLimits;
use crate::record::{Scanner, Slots};
use crate::sink::template::PartitionCache;
use crate::transform::Local;

/// Everything a worker reuses from job to job.
pub struct Hands {
    /// Finds records; holds the learned tables (1.5 MiB at most).
    pub scanner: Scanner,
    /// Inflates.
    pub tools: decode::Tools,
    /// The current record's changes.
    pub overlay: Overlay,
    /// For patterns.
    pub matching: MatchScratch,
    /// One for each shape of the program.
    pub encoders: Vec<Encoder>,
    /// Partitions seen lately, one cache for each sink of the program.
    pub partitions: Vec<PartitionCache>,
    /// What each transform of the program keeps on this thread.
    pub locals: Vec<Local>,
    /// Compresses payloads.
    pub compressor: Compressor,
    /// Open chunks this worker is writing into, of the current window.
    pub places: Vec<Place>,
    /// A window's buffer between two jobs, with its permit; given up when the worker rests.
    pub spare_window: Option<(decode::Buffer, Permit)>,
    /// An object's buffer between two jobs.
    pub spare_body: Option<(Vec<u8>, Permit)>,
    setup: Setup,
}

/// How to make hands.
#[derive(Clone)]
pub struct Setup {
    /// The paths anybody asked for.
    pub slots: Arc<Slots>,
    /// The scan's limits.
    pub limits: ScanLimits,
    /// The shapes of the program.
    pub shapes: Vec<Arc<Shape>>,
    /// How many sinks the program has, all pipelines together.
    pub sinks: usize,
    /// How many transforms the program has, all pipelines together.
    pub steps: usize,
}

/// An open chunk in use by this worker, or the memory that there was one.
pub struct Place {
    /// The sink's number in the pipeline.
    pub sink: usize,
    /// Where within the sink.
    pub partition: Arc<str>,
    /// The chunk; `None` when it was sent or checked in.
    pub chunk: Option<Chunk>,
    /// Records the chunk held before this window's.
    pub first: u32,
    /// Of this window's records for this sink and partition: the number of the chunk's first.
    pub share_ordinal: u32,
    /// The number of the next.
    pub ordinal: u32,
}

impl Hands {
    /// Empty hands.
    pub fn new(setup: Setup) -> Hands {
        let encoders = setup.shapes.iter().map(|shape| Encoder::new(shape.clone())).collect();
        let partitions = (0..setup.sinks).map(|_| PartitionCache::default()).collect();
        Hands {
            scanner: Scanner::new(setup.slots.clone(), setup.limits),
            tools: decode::Tools::default(),
            overlay: Overlay::default(),
            matching: MatchScratch::default(),
            encoders,
            partitions,
            locals: (0..setup.steps).map(|_| Local::default()).collect(),
            compressor: Compressor::default(),
            places: Vec::new(),
            spare_window: None,
            spare_body: None,
            setup,
        }
    }

    /// Gives back what is another pipeline's: in a job that waits it would wait with it.
    pub fn keep_for(&mut self, account: AccountId) {
        self.spare_window.take_if(|(_, permit)| permit.account() != account);
        self.spare_body.take_if(|(_, permit)| permit.account() != account);
    }

    /// Nothing to do: gives the buffers back to the budget.
    pub fn rest(&mut self) {
        self.spare_window = None;
        self.spare_body = None;
    }

    /// Throws everything away that a panic may have left half done.
    pub fn start_over(&mut self) {
        *self = Hands::new(self.setup.clone());
    }
}
