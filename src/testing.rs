//! What tests share: the runner of `cases.toml` (which `trailship test` runs, too), a chain built from configuration text
//! and run on single events, and the contract checkers that every source, sink and transform must pass.

pub mod cases;
pub mod chain;
pub mod contract;
