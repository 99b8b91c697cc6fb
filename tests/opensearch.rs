//! The `opensearch` sink as a black box: the binary against real OpenSearch nodes, where they can be had, and against a fake of
//! our own where a server has to misbehave.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::print_stderr, reason = "a test that leaves something out says so")]
#![allow(clippy::disallowed_methods, reason = "the program's clock is the real one")]

#[allow(dead_code, reason = "shared with the tests of other sinks")]
#[path = "support/fake_http.rs"]
mod fake_http;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/fake_opensearch.rs"]
mod fake_opensearch;
#[allow(dead_code, reason = "shared with the tests of files")]
#[path = "black_box/here.rs"]
mod here;
#[path = "support/opensearch.rs"]
mod server;
#[path = "support/sigv4.rs"]
mod sigv4;

#[path = "opensearch/documents.rs"]
mod documents;
#[path = "opensearch/faults.rs"]
mod faults;
#[path = "opensearch/real.rs"]
mod real;
