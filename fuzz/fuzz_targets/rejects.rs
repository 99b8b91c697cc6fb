//! Entries of rejects: what was stored comes back, and nothing else is believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::pipeline::rejects::fuzz::rejects;

fuzz_target!(|data: &[u8]| {
    rejects(data);
});
