//! Crashes: the program is killed at moments that chance picks (`crash/rounds.rs`; `crash/buckets.rs` for buckets and queues, `crash/pulled.rs` for log groups and the event history) and ended at each place that matters
//! (`crash/points.rs`, with the feature `failpoints`), while whole, late, duplicate and damaged files arrive. What went in
//! and what came out is kept by `crash/oracle.rs`.
//!
//! `TRAILSHIP_CRASH_ROUNDS=2000` and `TRAILSHIP_CRASH_BUCKET_ROUNDS=200` ask for more rounds, `TRAILSHIP_CRASH_SEED` for those of an earlier run, and
//! `TRAILSHIP_TEST_PROGRAM` for another build of the program than that of the tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::print_stderr, reason = "the seed and the figures are told")]
#![allow(clippy::disallowed_methods, reason = "files of another process are old or young by the real clock")]

#[path = "black_box/here.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod here;

#[path = "support/fake_history.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod fake_history;
#[path = "support/fake_json.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod fake_json;
#[path = "support/fake_logs.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod fake_logs;
#[path = "support/fake_kinesis.rs"]
#[allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "other tests need more of it; times are positive and small"
)]
mod fake_kinesis;
#[path = "support/fake_s3.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod fake_s3;
#[path = "support/moto.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod moto;

#[path = "crash/arrivals.rs"]
mod arrivals;
#[path = "crash/buckets.rs"]
mod buckets;
#[path = "crash/oracle.rs"]
mod oracle;
#[cfg(feature = "failpoints")]
#[path = "crash/points.rs"]
mod points;
#[path = "crash/pulled.rs"]
mod pulled;
#[path = "crash/rounds.rs"]
mod rounds;
#[path = "crash/streams.rs"]
mod streams;
