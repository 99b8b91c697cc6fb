//! The main job as a black box: the binary is given trees of files, and what it wrote, what it put into rejects, what it
//! said and its exit code are looked at. In every case good records around bad ones come out, the bad ones are in rejects
//! with their address, and the books balance.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics, in its helpers too")]
#![allow(clippy::print_stderr, reason = "a test that leaves something out says so")]
#![allow(clippy::disallowed_methods, reason = "files of another process are old or young by the real clock")]

#[path = "black_box/here.rs"]
mod here;

#[path = "black_box/copies.rs"]
mod copies;
#[path = "black_box/corpus.rs"]
mod corpus;
#[path = "black_box/damage.rs"]
mod damage;
#[path = "black_box/leaving.rs"]
mod leaving;
#[path = "black_box/lines.rs"]
mod lines;
#[path = "black_box/load.rs"]
mod load;
#[path = "black_box/output.rs"]
mod output;
#[path = "black_box/promises.rs"]
mod promises;
#[path = "black_box/rejects.rs"]
mod rejects;
#[path = "black_box/replay.rs"]
mod replay;
#[path = "black_box/state.rs"]
mod state;
#[path = "black_box/service.rs"]
mod service;
#[path = "black_box/stops.rs"]
mod stops;
#[path = "black_box/surroundings.rs"]
mod surroundings;
#[path = "black_box/watched.rs"]
mod watched;
