//! Pipelines: the engine that carries deliveries from sources through transforms to sinks.

pub mod books;
pub mod budget;
pub mod outcomes;
pub mod rejects;
pub mod runner;
