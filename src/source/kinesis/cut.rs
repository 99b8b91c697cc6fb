//! What a shard's answer is made into: bodies of deliveries, in one buffer, each with the records it is of.

use std::ops::Range;

use aws_sdk_kinesis::types::Record;
use bytes::Bytes;

use super::kpl;
use super::mark::Place;
use crate::source::carried::{self, Kind, Together};

/// A record of an answer and the part of it: `None` where it is not an aggregated one.
pub(super) type At = (usize, Option<u32>);

/// A body: where its bytes are in the buffer, and which records it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) bytes: Range<usize>,
    pub(super) first: At,
    pub(super) last: At,
    /// Up to where everything is settled with it: empty ones behind it, too.
    pub(super) to: At,
    /// That is the last part of its record.
    pub(super) whole: bool,
}

impl Cut {
    /// The place behind it.
    pub(super) fn to(&self, records: &[Record]) -> Option<Place> {
        let mut place = place(records.get(self.to.0)?);
        place.sub = self.to.1.filter(|_| !self.whole);
        Some(place)
    }
}

/// The place behind a record.
pub(super) fn place(record: &Record) -> Place {
    let arrival = record.approximate_arrival_timestamp.and_then(|time| time.to_millis().ok());
    Place { sequence: record.sequence_number.as_str().into(), sub: None, arrival: arrival.unwrap_or(0) }
}

/// Cuts the records of an answer. Parts of the first record up to `after` are left out, and those of the last record behind
/// `until`. Records that hold nothing are in no body.
///
/// The buffer is never larger than the data of the records and a byte for each part: what base64 is around is taken off
/// in its place.
pub(super) fn cut(records: &mut [Record], after: Option<u32>, until: Option<u32>) -> (Vec<u8>, Vec<Cut>) {
    let size = records.iter().map(|record| record.data.as_ref().len() + 1).sum();
    let mut buffer: Vec<u8> = Vec::with_capacity(size);
    let (mut cuts, mut together) = (Vec::new(), Together::default());
    let end = records.len().saturating_sub(1);
    for (at, record) in records.iter_mut().enumerate() {
        let data = std::mem::replace(&mut record.data, aws_sdk_kinesis::primitives::Blob::new(Vec::new()));
        let data: Bytes = data.into_inner().into();
        let Some(parts) = kpl::parts(&data) else {
            add(&mut buffer, &mut cuts, &mut together, &data, (at, None), true);
            continue;
        };
        let mut parts = (0_u32..).zip(parts).peekable();
        while let Some((sub, part)) = parts.next() {
            let before = at == 0 && after.is_some_and(|after| sub <= after);
            let behind = at == end && until.is_some_and(|until| sub > until);
            if !before && !behind {
                add(&mut buffer, &mut cuts, &mut together, &part, (at, Some(sub)), parts.peek().is_none());
            }
        }
    }
    (buffer, cuts)
}

fn add(buffer: &mut Vec<u8>, cuts: &mut Vec<Cut>, together: &mut Together, data: &[u8], at: At, whole: bool) {
    let before = buffer.len();
    buffer.push(b'\n');
    buffer.extend_from_slice(data);
    let start = before + 1;
    let (kind, range) = carried::open(buffer.get_mut(start..).unwrap_or_default());
    if kind == Kind::Empty {
        buffer.truncate(before);
        // What stands before it is settled with it.
        if let Some(cut) = cuts.last_mut() {
            (cut.to, cut.whole) = (at, whole);
        }
        return;
    }
    let length = range.len();
    buffer.copy_within(start + range.start..start + range.end, start);
    buffer.truncate(start + length);
    let joins = together.joins(kind, length);
    match cuts.last_mut() {
        Some(cut) if joins => {
            cut.bytes.end = start + length;
            (cut.last, cut.to, cut.whole) = (at, at, whole);
        }
        _ => cuts.push(Cut { bytes: start..start + length, first: at, last: at, to: at, whole }),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::{Blob, DateTime};
    use base64::Engine as _;

    use super::*;

    fn records(data: &[&[u8]]) -> Vec<Record> {
        let record = |(number, data): (u32, &&[u8])| {
            let record = Record::builder().sequence_number(number.to_string()).data(Blob::new(data.to_vec()));
            record.approximate_arrival_timestamp(DateTime::from_millis(5)).build().unwrap()
        };
        (100..).zip(data).map(record).collect()
    }

    fn bodies(
        mut records: Vec<Record>,
        after: Option<u32>,
        until: Option<u32>,
    ) -> Vec<(String, At, At, bool)> {
        let most: usize = records.iter().map(|record| record.data.as_ref().len() + 1).sum();
        let (buffer, cuts) = cut(&mut records, after, until);
        assert!(buffer.capacity() <= most);
        let text = |cut: &Cut| String::from_utf8_lossy(&buffer[cut.bytes.clone()]).into_owned();
        cuts.iter().map(|cut| (text(cut), cut.first, cut.last, cut.whole)).collect()
    }

    #[test]
    fn json_goes_together_and_what_is_packed_stays_alone() {
        let base64 = base64::engine::general_purpose::STANDARD.encode(br#"{"c":3}"#);
        let packed = b"\x1f\x8b\x08\0packed";
        let got = bodies(
            records(&[
                br#"{"a":1}"#,
                br#" {"b":2} "#,
                b"",
                base64.as_bytes(),
                packed,
                packed,
                b"junk",
                br#"{"d":4}"#,
            ]),
            None,
            None,
        );
        let one = |text: &[u8], at: usize| {
            (String::from_utf8_lossy(text).into_owned(), (at, None), (at, None), true)
        };
        let joined = "{\"a\":1}\n{\"b\":2}\n{\"c\":3}".to_owned();
        assert_eq!(
            got,
            [
                (joined, (0, None), (3, None), true),
                one(packed, 4),
                one(packed, 5),
                one(b"junk", 6),
                one(br#"{"d":4}"#, 7)
            ]
        );
    }

    #[test]
    fn parts_of_aggregated_records_are_counted_and_can_be_left_out() {
        let one = kpl::aggregated(&[br#"{"a":0}"#, b"\x1f\x8b\x08\0x", br#"{"a":2}"#, br#"{"a":3}"#]);
        let two = kpl::aggregated(&[br#"{"b":0}"#, br#"{"b":1}"#]);
        let all = || records(&[&one, &two]);
        let packed = "\x1f\u{fffd}\x08\0x".to_owned();
        let rest = "{\"a\":2}\n{\"a\":3}\n{\"b\":0}\n{\"b\":1}".to_owned();
        assert_eq!(
            bodies(all(), None, None),
            [
                (r#"{"a":0}"#.to_owned(), (0, Some(0)), (0, Some(0)), false),
                (packed, (0, Some(1)), (0, Some(1)), false),
                (rest.clone(), (0, Some(2)), (1, Some(1)), true),
            ]
        );
        assert_eq!(bodies(all(), Some(1), None), [(rest, (0, Some(2)), (1, Some(1)), true)]);
        let part = "{\"a\":2}\n{\"a\":3}\n{\"b\":0}".to_owned();
        assert_eq!(bodies(all(), Some(1), Some(0)), [(part, (0, Some(2)), (1, Some(0)), false)]);
        let mut some = all();
        let (_, cuts) = cut(&mut some, None, None);
        let to: Vec<_> = cuts.iter().map(|cut| cut.to(&some).unwrap()).collect();
        assert_eq!((&*to[1].sequence, to[1].sub), ("100", Some(1)));
        assert_eq!((&*to[2].sequence, to[2].sub), ("101", None));
        let mut records = records(&[br#"{"a":1}"#, b"", b" "]);
        let (_, cuts) = cut(&mut records, None, None);
        assert_eq!((cuts.len(), cuts[0].last, cuts[0].to), (1, (0, None), (2, None)));
    }
}
