//! (to be written)
pub mod files;
