//! Bodies of Firehose's requests: read where they stand, whatever they hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::source::firehose::fuzz::firehose;

fuzz_target!(|data: &[u8]| {
    firehose(data);
});
