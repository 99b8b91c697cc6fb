//! Compiled patterns against the slow, obvious evaluator.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::pattern::fuzz::pattern;

fuzz_target!(|data: &[u8]| {
    pattern(data);
});
