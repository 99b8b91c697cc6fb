//! Pipelines: the engine that carries deliveries from sources through transforms to sinks.

pub mod books;
pub mod budget;
pub mod chain;
pub mod dry;
pub mod engine;
pub mod explain;
pub mod feed;
pub mod fetch;
pub mod hands;
pub mod job;
pub mod line;
pub mod loans;
pub mod meter;
pub mod origin;
pub mod outcomes;
pub(crate) mod parts;
pub mod pool;
pub mod protector;
pub mod refused;
pub mod rejects;
pub mod replay;
pub mod room;
pub mod runner;
#[cfg(test)]
mod simulation;
pub mod watched;
pub mod through;
