//! The sink `splunk_hec` as a black box: the binary, and a collector of our own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "the program's clock is the real one")]

#[path = "support/fake_hec.rs"]
mod hec;
#[allow(dead_code, reason = "shared with the tests of files")]
#[path = "black_box/here.rs"]
mod here;

#[path = "splunk_hec/acks.rs"]
mod acks;
#[path = "splunk_hec/answers.rs"]
mod answers;
#[path = "splunk_hec/chance.rs"]
mod chance;
#[path = "splunk_hec/events.rs"]
mod events;
#[path = "splunk_hec/several.rs"]
mod several;
