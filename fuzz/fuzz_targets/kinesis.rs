//! Records of a stream, plain and aggregated, in layers of base64.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::source::kinesis::fuzz::kinesis;

fuzz_target!(|data: &[u8]| {
    kinesis(data);
});
