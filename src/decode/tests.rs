//! Tests of decoding: shapes, bad input, and the property that how the input is cut changes nothing.

use std::io::{Read, Write};
use std::sync::Arc;

use super::fuzz::{self, Out, Steps, drive, gz, pack, run};
use super::*;
use crate::record::scan::ScanLimits;

mod corpus;
mod damage;
mod packing;
mod property;
mod resume;
mod shapes;

/// Decodes whole with the default limits.
pub(super) fn whole(stored: &[u8]) -> Out {
    run(Limits::default(), stored, 0)
}

/// A record with this id; `extra` is more members, with their comma.
pub(super) fn record(id: u32, extra: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/a"}},"eventTime":"2024-05-01T00:00:00Z","eventID":"{id:08}","eventName":"GetObject","resources":[{{"ARN":"arn:a"}},{{"ARN":"arn:b","n":1.0E+2}}]{extra}}}"#
    )
}

/// A log file of these records.
pub(super) fn file(records: &[String]) -> String {
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

/// Small windows and records.
pub(super) fn small() -> Limits {
    Limits { window: 4 << 10, record: 16 << 10, ..Limits::default() }
}
