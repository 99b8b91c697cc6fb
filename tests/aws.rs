//! The sources that read from AWS as black boxes: the binary against moto, an AWS server of somebody else's, and against a fake
//! of our own where a server has to misbehave, or to hold more than a real one could.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::print_stderr, reason = "a test that leaves something out says so")]
#![allow(clippy::disallowed_methods, reason = "the servers' clock is the real one")]

#[allow(dead_code, reason = "shared with the tests of the sources")]
#[path = "support/fake_history.rs"]
mod fake_history;
#[allow(dead_code, reason = "shared with the tests of the sources")]
#[path = "support/fake_json.rs"]
mod fake_json;
#[allow(dead_code, reason = "shared with the tests of the source")]
#[path = "support/fake_logs.rs"]
mod fake_logs;
#[allow(dead_code, reason = "shared with the tests of the source")]
#[path = "support/fake_s3.rs"]
mod fake_s3;
#[allow(dead_code, reason = "shared with the tests of the source")]
#[path = "support/firehose.rs"]
mod firehose;
#[allow(dead_code, reason = "shared with the tests of files")]
#[path = "black_box/here.rs"]
mod here;
#[allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shared with the bench; times are positive and small"
)]
#[path = "support/fake_kinesis.rs"]
mod fake_kinesis;
#[path = "support/kinesis_local.rs"]
mod kinesis_local;
#[path = "support/moto.rs"]
mod moto;
#[path = "support/sigv4.rs"]
mod sigv4;

#[path = "aws/bodies.rs"]
mod bodies;
#[path = "aws/bucket.rs"]
mod bucket;
#[path = "aws/commands.rs"]
mod commands;
#[path = "aws/faults.rs"]
mod faults;
#[path = "aws/kinesis.rs"]
mod kinesis;
#[path = "aws/leases.rs"]
mod leases;
#[path = "aws/local.rs"]
mod local;
#[path = "aws/history.rs"]
mod history;
#[path = "aws/logs.rs"]
mod logs;
#[path = "aws/owners.rs"]
mod owners;
#[path = "aws/queue.rs"]
mod queue;
#[path = "aws/roads.rs"]
mod roads;
#[path = "aws/scene.rs"]
mod scene;
#[path = "aws/shards.rs"]
mod shards;
