//! The body of a request under a fuzzer.

use super::body::{Wrong, read};

/// Reads a body. Panics when what it leaves is not what it says, or when it reads what a JSON parser does not.
pub fn firehose(body: &[u8]) {
    let mut buffer = body.to_vec();
    let brought = match read(&mut buffer, "one") {
        Ok(brought) => brought,
        Err(Wrong(why)) => return assert!(!why.is_empty() && why.len() < 200, "{why}"),
    };
    assert!(buffer.len() <= body.len(), "it grew");
    let mut end = 0;
    for body in &brought.bodies {
        assert!(
            body.range.start >= end && !body.range.is_empty() && body.first < brought.records,
            "{brought:?}"
        );
        end = body.range.end;
    }
    assert_eq!(end, buffer.len(), "{brought:?}");
}
