//! (to be written)
pub mod compress;
pub mod packer;
