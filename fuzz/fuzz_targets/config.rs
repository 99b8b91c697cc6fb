//! The configuration: read, resolved, or refused with problems that can be drawn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::config::fuzz::config;

fuzz_target!(|data: &[u8]| {
    config(data);
});
