//! Path templates: values of events never lead out of the root.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trailship::sink::template::fuzz::template;

fuzz_target!(|data: &[u8]| {
    template(data);
});
