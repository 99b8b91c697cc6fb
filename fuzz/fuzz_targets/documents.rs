//! Documents for a cluster: both roads, and rules of the server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::sink::opensearch::document::fuzz::documents;

fuzz_target!(|data: &[u8]| {
    documents(data);
});
