//! The byte budget.

/// Bytes held; given back on drop.
#[derive(Debug)]
pub struct Permit;
