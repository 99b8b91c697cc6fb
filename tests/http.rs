//! The sink `http` as a black box: the binary, and a server that does what a test says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "the program's clock is the real one")]

#[allow(dead_code, reason = "shared with the tests of other sinks")]
#[path = "support/fake_http.rs"]
mod fake_http;
#[allow(dead_code, reason = "shared with the tests of files")]
#[path = "black_box/here.rs"]
mod here;
#[path = "support/sigv4.rs"]
mod sigv4;

#[path = "http/answers.rs"]
mod answers;
#[path = "http/authorised.rs"]
mod authorised;
#[path = "http/bodies.rs"]
mod bodies;
#[path = "http/connection.rs"]
mod connection;
#[path = "http/formats.rs"]
mod formats;
