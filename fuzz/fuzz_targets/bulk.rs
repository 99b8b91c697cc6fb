//! Answers of a cluster to bulk requests: each event has one verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::sink::opensearch::bulk::fuzz::bulk;

fuzz_target!(|data: &[u8]| {
    bulk(data);
});
