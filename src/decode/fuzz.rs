//! Decoding under a fuzzer, and the loop that tests share with it: one object driven to its end, with its books checked.

use std::io::{self, Read, Write as _};
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Damage, Decode, Input, Item, Limits, Space, Summary, Tools};
use crate::record::Scanner;
use crate::record::scan::ScanLimits;

/// Everything one object gave.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Out {
    pub(crate) records: Vec<String>,
    pub(crate) numbers: Vec<u64>,
    pub(crate) later: Vec<bool>,
    pub(crate) left_out: Vec<&'static str>,
    /// Whole damages: the bytes of all pieces, and the reason of the last.
    pub(crate) damages: Vec<(Vec<u8>, String)>,
    pub(crate) addresses: Vec<Damage>,
    /// Where each whole damage begins.
    pub(crate) begins: Vec<(Space, u64)>,
    pub(crate) summary: Summary,
    pub(crate) capacity: usize,
    pub(crate) windows: usize,
    pub(crate) items: usize,
}

/// Reads at most `step` bytes at a time.
pub(super) struct Steps<'a>(pub(super) &'a [u8], pub(super) usize);

impl Read for Steps<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = out.len().min(self.1).min(self.0.len());
        out[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

/// Decodes with these limits; `step` 0: whole.
pub(crate) fn run(limits: Limits, stored: &[u8], step: usize) -> Out {
    let mut reader = Steps(stored, step);
    let input = if step == 0 { Input::Whole(stored) } else { Input::Read(&mut reader) };
    drive(limits, input)
}

/// Decodes everything. Panics when it does not come to an end, asks for more memory than it said, miscounts, or gives
/// a record that is not one whole JSON object.
pub(super) fn drive(limits: Limits, mut input: Input<'_>) -> Out {
    let mut scanner = Scanner::new(Arc::default(), ScanLimits::default());
    let (mut tools, mut buffer) = (Tools::default(), super::Buffer::default());
    let mut decode = Decode::new(limits);
    let mut out = Out::default();
    let mut open: Option<Vec<u8>> = None;
    let mut next_number = 0;
    'object: loop {
        let need = decode.need(&input);
        assert!(decode.fill(&mut tools, &mut input, &mut buffer).is_ok(), "the input cannot fail");
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
                    let text = String::from_utf8_lossy(span.of(&buffer)).into_owned();
                    assert!(text.as_bytes() == span.of(&buffer), "not UTF-8: {text}");
                    let valid = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                    assert!(valid && text.starts_with('{'), "no JSON object: {text}");
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
                    if open.is_none() {
                        out.begins.push((damage.space, damage.offset));
                    }
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

/// One gzip member.
pub(super) fn gz(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let written = encoder.write_all(text).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

/// Packs text: plain, one or two gzip members, one or two zstd frames.
pub(super) fn pack(text: &[u8], packing: u8, cut: usize) -> Vec<u8> {
    let (front, back) = text.split_at(cut.min(text.len()));
    let zstd = |text| zstd::encode_all(text, 1).unwrap_or_default();
    match packing {
        0 => text.to_vec(),
        1 => gz(text),
        2 => [gz(front), gz(back)].concat(),
        3 => zstd(text),
        _ => [zstd(front), zstd(back)].concat(),
    }
}

/// Three bytes of settings (packing, window, step), then an object. However it is read and in windows of any size it
/// holds the same; packed it holds the same as plain; and a plain log file holds what a DOM says it holds.
///
/// # Panics
/// When that is not so.
pub fn decode(data: &[u8]) {
    let Some((&[packing, window, step], object)) = data.split_first_chunk() else { return };
    let record = 16 << 10;
    let limits = Limits { record, object: 1 << 20, ..Limits::default() };
    let small = Limits { window: 16 << (window % 10), ..limits };
    let cut = object.len() * usize::from(packing / 5) / 52;
    let stored = pack(object, packing % 5, cut);
    let whole = run(limits, &stored, 0);
    let steps = usize::from(step) * usize::from(step) + 1;
    assert_same(&whole, &run(limits, &stored, steps));
    let windows = run(small, &stored, 0);
    assert_same(&windows, &run(small, &stored, steps));
    assert_eq!(whole.records, windows.records, "the same records, in windows of any size");
    assert_eq!(damages(&whole), damages(&windows), "the same damage, in windows of any size");
    assert_eq!(
        (&whole.numbers, &whole.later, &whole.begins),
        (&windows.numbers, &windows.later, &windows.begins)
    );
    let is_plain = |object: &[u8]| !object.starts_with(&[0x1f]) && !object.starts_with(&[0x28]);
    if packing % 5 != 0 && is_plain(object) {
        let plain = run(limits, object, 0);
        assert_eq!(whole.records, plain.records, "packing changes nothing");
        assert_eq!(damages(&whole), damages(&plain), "packing changes nothing");
    }
    if let Some(expected) = log_file(object)
        && expected.iter().all(|text| text.len() <= record)
    {
        assert_eq!(whole.records, expected, "a log file's records are what a DOM says they are");
        assert_eq!(whole.damages, []);
    }
}

/// What is found does not depend on whether the object lies there or is read in steps. (How many pieces long damage
/// comes in does, and which of several faults is named.)
fn assert_same(lies: &Out, read: &Out) {
    assert_eq!(lies.records, read.records, "the same records, however it is read");
    assert_eq!((&lies.numbers, &lies.later), (&read.numbers, &read.later));
    assert_eq!(lies.left_out, read.left_out);
    assert_eq!(damages(lies), damages(read), "the same damage, however it is read");
    assert_eq!(lies.begins, read.begins, "at the same places, however it is read");
    assert_eq!(lies.summary, read.summary);
}

/// What was damaged. Blanks and a comma behind it are part of it or not, as windows end.
fn damages(out: &Out) -> Vec<String> {
    let blank = |byte: char| matches!(byte, ' ' | '\t' | '\r' | '\n' | ',');
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(blank).to_owned();
    out.damages.iter().map(|(bytes, _)| text(bytes)).collect()
}

/// The records of a log file that has nothing but records; `None`: it is something else.
fn log_file(object: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(object).ok()?;
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File<'a> {
        #[serde(rename = "Records", borrow)]
        records: Vec<&'a RawValue>,
    }
    let File { records } = serde_json::from_str(text).ok()?;
    let deep = |text: &&RawValue| text.get().bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() > 100;
    if records.iter().any(|text| !text.get().starts_with('{')) || records.iter().any(deep) {
        return None;
    }
    Some(records.iter().map(|text| text.get().to_owned()).collect())
}
