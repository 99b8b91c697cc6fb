//! The `trailship` program.
fn main() {}
