//! Flatten, both roads, and un-flatten.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::encode::fuzz::flatten;

fuzz_target!(|data: &[u8]| {
    flatten(data);
});
