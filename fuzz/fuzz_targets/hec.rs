//! Answers of Splunk's HTTP Event Collector: nothing is believed that it does not say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::sink::splunk_hec::fuzz::hec;

fuzz_target!(|data: &[u8]| {
    hec(data);
});
