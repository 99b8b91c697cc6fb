//! Inflate and split: all shapes, any packing, any cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::decode::fuzz::decode;

fuzz_target!(|data: &[u8]| {
    decode(data);
});
