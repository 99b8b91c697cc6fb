//! (to be written)
pub mod account_tags;
pub mod environment;
pub mod filter;
pub mod flatten;
pub mod redact;
pub mod sample;
pub mod signals;
