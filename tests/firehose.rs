//! The source `firehose` as a black box: the binary, and a client of our own that delivers as Amazon Data Firehose does.
//!
//! `TRAILSHIP_FIREHOSE_REQUESTS=10000` asks for more requests in the large delivery, `TRAILSHIP_CRASH_BUCKET_ROUNDS=200` for
//! more rounds of `kill -9`, `TRAILSHIP_CRASH_SEED` for those of an earlier run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::print_stderr, reason = "the seed and the figures are told")]
#![allow(clippy::disallowed_methods, reason = "the program's clock is the real one")]

#[path = "support/firehose.rs"]
mod client;
#[allow(dead_code, reason = "shared with the tests of files")]
#[path = "black_box/here.rs"]
mod here;

#[path = "firehose/delivery.rs"]
mod delivery;
#[path = "firehose/encrypted.rs"]
mod encrypted;
#[path = "firehose/hostile.rs"]
mod hostile;
#[path = "firehose/rounds.rs"]
mod rounds;
#[path = "firehose/scene.rs"]
mod scene;
