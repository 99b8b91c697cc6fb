//! Tests of decoding: shapes, bad input, and the property that how the input is cut changes nothing.

use std::io::{Read, Write};
use std::sync::Arc;

use super::*;
use crate::record::scan::ScanLimits;

mod corpus;
mod damage;
mod packing;
mod property;
mod resume;
mod shapes;

/// Everything one object gave.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Out {
    pub(super) records: Vec<String>,
    pub(super) numbers: Vec<u64>,
    pub(super) later: Vec<bool>,
    pub(super) left_out: Vec<&'static str>,
    /// Whole damages: the bytes of all pieces, and the reason of the last.
    pub(super) damages: Vec<(Vec<u8>, String)>,
    pub(super) addresses: Vec<Damage>,
    pub(super) summary: Summary,
    pub(super) capacity: usize,
    pub(super) windows: usize,
    pub(super) items: usize,
}

/// Reads at most `step` bytes at a time.
pub(super) struct Steps<'a>(pub(super) &'a [u8], pub(super) usize);

impl Read for Steps<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = out.len().min(self.1).min(self.0.len());
        out[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

/// Decodes with these limits; `step` 0: whole.
pub(super) fn run(limits: Limits, stored: &[u8], step: usize) -> Out {
    let mut reader = Steps(stored, step);
    let input = if step == 0 { Input::Whole(stored) } else { Input::Read(&mut reader) };
    drive(limits, input)
}

pub(super) fn drive(limits: Limits, mut input: Input<'_>) -> Out {
    let mut scanner = Scanner::new(Arc::default(), ScanLimits::default());
    let (mut tools, mut buffer) = (Tools::default(), Buffer::default());
    let mut decode = Decode::new(limits);
    let mut out = Out::default();
    let mut open: Option<Vec<u8>> = None;
    let mut next_number = 0;
    'object: loop {
        let need = decode.need(&input);
        decode.fill(&mut tools, &mut input, &mut buffer).unwrap();
        assert!(buffer.len() <= need, "{} bytes where {need} were asked for", buffer.len());
        out.windows += 1;
        loop {
            let item = decode.next(&mut scanner, &mut buffer);
            out.capacity = out.capacity.max(buffer.capacity());
            out.items += 1;
            assert!(out.items < 1_000_000, "no progress: {item:?}");
            if !matches!(item, Item::Damage { .. } | Item::WindowEnd) {
                assert!(open.is_none(), "damage left open");
            }
            match item {
                Item::Record { span, number } => {
                    let text = String::from_utf8(span.of(&buffer).to_vec()).unwrap();
                    serde_json::from_str::<serde::de::IgnoredAny>(&text).unwrap();
                    assert_eq!(number, next_number);
                    next_number += 1;
                    out.records.push(text);
                    out.numbers.push(number);
                    out.later.push(decode.marks().later_member);
                }
                Item::LeftOut { what } => {
                    next_number += 1;
                    out.left_out.push(what);
                }
                Item::Damage { number, damage, bytes, more } => {
                    assert_eq!(number, next_number);
                    let mut held = open.take().unwrap_or_default();
                    held.extend_from_slice(bytes.of(&buffer));
                    if more {
                        open = Some(held);
                    } else {
                        next_number += 1;
                        out.damages.push((held, damage.reason.clone()));
                    }
                    out.addresses.push(damage);
                }
                Item::WindowEnd => break,
                Item::End => break 'object,
            }
        }
        assert!(out.windows < 100_000, "no progress");
    }
    out.summary = decode.summary();
    out
}

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

pub(super) fn gz(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Small windows and records.
pub(super) fn small() -> Limits {
    Limits { window: 4 << 10, record: 16 << 10, ..Limits::default() }
}
