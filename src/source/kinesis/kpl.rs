//! Aggregated records: the Kinesis Producer Library puts many records of its users into one of the stream.
//!
//! ```text
//! F3 89 9A C2 | AggregatedRecord { partition_key_table = 1, explicit_hash_key_table = 2, records = 3 } | MD5 of that message
//! ```
//!
//! Source: `aggregation-format.md` of the library. What has the magic but not the checksum is a plain record.

use bytes::{Buf as _, Bytes};
use md5::{Digest as _, Md5};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What an aggregated record begins with.
pub(super) const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const CHECKSUM: usize = 16;
/// The number of the field that holds the records.
const RECORDS: u32 = 3;

/// One of the records in an aggregated one; the keys are of no use here.
#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
}

/// The records in an aggregated one, in order; `None`: it is none. What it holds is not copied, and nothing is held for
/// those that were not asked for: a record of 10 MiB may have more than a million.
pub(super) fn parts(data: &Bytes) -> Option<impl Iterator<Item = Bytes>> {
    let message = message(data)?;
    // All of it is readable, or it is none: the checksum does not say that the message makes sense.
    let mut rest = message.clone();
    while let Some(part) = next(&mut rest) {
        part?;
    }
    let mut rest = message;
    Some(std::iter::from_fn(move || next(&mut rest)?))
}

/// The message between magic and checksum.
fn message(data: &Bytes) -> Option<Bytes> {
    let body = data.strip_prefix(&MAGIC)?;
    let (message, checksum) = body.split_at_checked(body.len().checked_sub(CHECKSUM)?)?;
    (Md5::digest(message).as_slice() == checksum).then(|| data.slice_ref(message))
}

/// The next record's data; `Some(None)`: the rest cannot be read.
#[expect(clippy::option_option, reason = "the end, and what is broken")]
fn next(rest: &mut Bytes) -> Option<Option<Bytes>> {
    while rest.has_remaining() {
        let Ok((field, wire)) = decode_key(rest) else { return Some(None) };
        if field != RECORDS || wire != WireType::LengthDelimited {
            match skip_field(wire, field, rest, DecodeContext::default()) {
                Ok(()) => continue,
                Err(_) => return Some(None),
            }
        }
        let length = decode_varint(rest).ok().and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|length| *length <= rest.len()) else { return Some(None) };
        return Some(Part::decode(rest.split_to(length)).ok().map(|part| part.data));
    }
    None
}

/// An aggregated record of these.
#[cfg(test)]
pub(super) fn aggregated(records: &[&[u8]]) -> Bytes {
    #[derive(Clone, PartialEq, Message)]
    struct Aggregated {
        #[prost(string, repeated, tag = "1")]
        keys: Vec<String>,
        #[prost(message, repeated, tag = "3")]
        records: Vec<Record>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Record {
        #[prost(uint64, required, tag = "1")]
        key: u64,
        #[prost(bytes = "vec", required, tag = "3")]
        data: Vec<u8>,
    }
    let records = records.iter().map(|data| Record { key: 0, data: data.to_vec() }).collect();
    let message = Aggregated { keys: vec!["key".to_owned()], records }.encode_to_vec();
    [&MAGIC[..], &message, &Md5::digest(&message)].concat().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_together_comes_apart(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let got: Vec<Bytes> = parts(&aggregated(&slices)).unwrap().collect();
            prop_assert_eq!(got, slices);
        }

        #[test]
        fn a_changed_byte_makes_it_a_plain_record(at in 0_usize..60, bit in 0_u32..8) {
            let mut data = aggregated(&[b"one", b"two and a little more", b"three of them"]).to_vec();
            let at = at % data.len();
            data[at] ^= 1 << bit;
            prop_assert!(parts(&data.into()).is_none());
        }

        /// Any message with a good checksum: an answer, and no more bytes than came in.
        #[test]
        fn any_message_has_an_answer(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let data: Bytes = [&MAGIC[..], &message, &Md5::digest(&message)].concat().into();
            if let Some(parts) = parts(&data) {
                prop_assert!(parts.map(|part| part.len()).sum::<usize>() <= message.len());
            }
        }
    }

    #[test]
    fn what_is_short_or_else_is_none() {
        for data in [&b""[..], &MAGIC, &[0xf3, 0x89, 0x9a, 0xc2, 0, 0, 0], b"{}", &[0x1f, 0x8b, 8, 0]] {
            assert!(parts(&Bytes::copy_from_slice(data)).is_none());
        }
        // A record without data, which the format wants, is an empty one.
        let message = [0x1a, 0x02, 0x08, 0x00];
        let data: Bytes = [&MAGIC[..], &message, &Md5::digest(message)].concat().into();
        assert_eq!(parts(&data).unwrap().collect::<Vec<_>>(), [Bytes::new()]);
        // A length beyond its end.
        let message = [0x1a, 0x7f, 0x08, 0x00];
        let data: Bytes = [&MAGIC[..], &message, &Md5::digest(message)].concat().into();
        assert!(parts(&data).is_none());
    }
}
