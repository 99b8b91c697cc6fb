//! Index and overlay against a slow parser and a DOM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::record::fuzz::record;

fuzz_target!(|data: &[u8]| {
    record(data);
});
