//! What tests share: a chain built from configuration text and run on single events, and the contract checkers that
//! every source, sink and transform must pass.

pub mod chain;
pub mod contract;
