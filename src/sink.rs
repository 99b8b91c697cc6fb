//! (to be written)
pub mod file;
pub mod stdout;
