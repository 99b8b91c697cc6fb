//! The slow and obvious parser: what the learned scan must agree with, and what parses an edge it has not seen.
