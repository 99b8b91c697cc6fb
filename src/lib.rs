//! Trailship ships AWS CloudTrail into the tools a security team already has.
//!
//! ```text
//!  source ──lends──▶ delivery ─▶ fetch ─▶ decode ─▶ window ─▶ transforms ─▶ encode ─▶ packer ─▶ payload ─▶ sink
//!     ▲                                                                                                     │
//!     └───────────────────────────── settle (delivered │ rejected │ failed) ◀── ack ◀── its answer ─────────┘
//! ```
//!
//! The modules below stand in the order of that flow.

pub mod cli;
pub mod config;
pub mod source;
pub mod decode;
pub mod record;
pub mod pattern;
pub mod transform;
pub mod encode;
pub mod sink;
pub mod pipeline;
pub mod control;
pub mod ack;
pub mod aws;
pub mod state;
pub mod clock;
mod failpoint;
pub mod telemetry;
pub mod generate;
pub mod testing;
