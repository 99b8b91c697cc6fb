//! What the sinks that speak HTTP stand on.

pub mod auth;
