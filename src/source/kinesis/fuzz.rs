//! Records of a stream under a fuzzer: whatever they hold, each body is of records in order, and nothing is made up.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::Record;
use md5::{Digest as _, Md5};

use super::{cut, kpl};

/// What a fuzzer calls: the input as a record, and as the message of an aggregated one. Panics when a promise is broken.
pub fn kinesis(data: &[u8]) {
    let aggregated = [&kpl::MAGIC[..], data, &Md5::digest(data)].concat();
    let all = [data.to_vec(), aggregated, data.to_vec()];
    let size: usize = all.iter().map(|data| data.len() + 1).sum();
    let record = |data: Vec<u8>| Record::builder().sequence_number("1").data(Blob::new(data)).build().ok();
    let mut records: Vec<Record> = all.into_iter().filter_map(record).collect();
    let (buffer, cuts) = cut::cut(&mut records, None, None);
    assert!(buffer.capacity() <= size, "more memory than was there");
    let (mut end, mut last) = (0, None);
    for cut in &cuts {
        assert!(cut.bytes.start >= end && cut.bytes.end <= buffer.len(), "a body stands in another");
        assert!(Some(cut.first) > last && cut.first <= cut.last && cut.last <= cut.to, "out of order");
        assert!(cut.to(&records).is_some(), "a record that is not there");
        (end, last) = (cut.bytes.end, Some(cut.to));
    }
}
