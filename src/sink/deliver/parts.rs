//! Parts of a payload: after a partial refusal only what was refused is sent again, and what is too large, in halves.

use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;

use crate::encode::compress::{Compression, Compressor};
use crate::encode::frame::Frame;
use crate::sink::Payload;
use crate::sink::refusals::Refusals;

/// Some records of a payload as one request sends them.
#[derive(Clone, Debug)]
pub struct Part {
    /// The bytes, compressed as the sink wants them.
    pub body: Bytes,
    /// How they are compressed.
    pub compression: Compression,
    /// Their size before compression.
    pub raw_bytes: u64,
    /// How many records.
    pub records: u32,
    /// Where within the sink.
    pub partition: Arc<str>,
}

/// What is still to be done of a payload, and what was refused for good.
#[derive(Debug, Default)]
pub struct Progress {
    /// Positions that have not been answered for; `None`: none has.
    pub left: Option<Vec<u32>>,
    /// Refused for good, and why.
    pub refused: Box<Refusals>,
    /// Times that the connection was closed instead of an answer.
    pub closed: u32,
}

impl Progress {
    /// The pieces in which what is left is sent, the first last. Who refuses what is too large by closing the connection may
    /// never be heard to say so: after three times it is sent in halves, later in quarters and eighths.
    pub fn pieces(&self, records: u32) -> Vec<std::ops::Range<u32>> {
        let pieces = (1 << (self.closed / 3).min(3)).min(records.max(1));
        let start = |piece: u32| {
            u32::try_from(u64::from(records) * u64::from(piece) / u64::from(pieces)).unwrap_or(0)
        };
        (0..pieces).rev().map(|piece| start(piece)..start(piece + 1)).collect()
    }
}

/// A body that is sent without being copied, and comes back.
#[derive(Clone, Debug)]
pub struct Lent(Arc<Vec<u8>>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Lent {
    /// Lends bytes.
    pub fn new(bytes: Vec<u8>) -> Lent {
        Lent(Arc::new(bytes))
    }

    /// The bytes, for a request.
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Takes them back; copied where a connection still holds them.
    pub fn back(self) -> Vec<u8> {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| shared.to_vec())
    }
}

/// The records at these positions (ascending) as a payload of their own, before compression.
///
/// # Errors
/// The payload's body cannot be read back: it was damaged in memory.
pub fn select(
    body: &[u8],
    compression: Compression,
    lengths: &[u32],
    frame: &Frame,
    positions: &[u32],
) -> io::Result<Vec<u8>> {
    let whole = inflated(body, compression, lengths, frame)?;
    let mut selected = frame.open.to_vec();
    let (mut wanted, mut at) = (positions.iter().peekable(), frame.open.len());
    for (position, &length) in (0u32..).zip(lengths) {
        let end = at + length as usize;
        if wanted.next_if(|&&wanted| wanted == position).is_some() {
            // The last record's separator went when the payload was closed.
            let written = (end - frame.separator.len()).min(whole.len());
            selected.extend_from_slice(whole.get(at..written).ok_or(io::ErrorKind::InvalidData)?);
            selected.extend_from_slice(&frame.separator);
        }
        at = end;
    }
    frame.end(&mut selected);
    Ok(selected)
}

fn inflated(body: &[u8], compression: Compression, lengths: &[u32], frame: &Frame) -> io::Result<Vec<u8>> {
    let size = lengths.iter().map(|&length| length as usize).sum::<usize>();
    let size = frame.open.len() + size + frame.close.len();
    match compression {
        Compression::None => Ok(body.to_vec()),
        Compression::Gzip => {
            let mut text = Vec::with_capacity(size);
            flate2::read::GzDecoder::new(body).take(size as u64).read_to_end(&mut text)?;
            Ok(text)
        }
        Compression::Zstd => zstd::bulk::decompress(body, size),
    }
}

/// Makes a part of the records at these positions. Cost: decompresses and compresses; runs beside the reactor.
///
/// # Errors
/// As [`select`].
pub async fn part(
    payload: &Payload,
    whole: Lent,
    packing: (Compression, Frame),
    positions: Vec<u32>,
) -> io::Result<Part> {
    let (lengths, partition) = (payload.lengths.clone(), payload.partition.clone());
    let records = u32::try_from(positions.len()).unwrap_or(u32::MAX);
    let (compression, frame) = packing;
    let work = move || {
        let raw = select(whole.as_ref(), compression, &lengths, &frame, &positions)?;
        let raw_bytes = raw.len() as u64;
        let body = Compressor::default().compress(compression, &raw)?.unwrap_or(raw);
        Ok(Part { body: body.into(), compression, raw_bytes, records, partition })
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn what_is_closed_on_again_and_again_goes_in_smaller_pieces() {
        let ends = |closed, records| -> Vec<u32> {
            let pieces = Progress { closed, ..Progress::default() }.pieces(records);
            assert!(pieces.windows(2).all(|two| two[1].end == two[0].start) && pieces[0].end == records);
            pieces.iter().rev().map(|piece| piece.end).collect()
        };
        assert_eq!(ends(0, 10), [10]);
        assert_eq!(ends(2, 10), [10]);
        assert_eq!(ends(3, 10), [5, 10]);
        assert_eq!(ends(6, 10), [2, 5, 7, 10]);
        assert_eq!(ends(1000, 10).len(), 8);
        assert_eq!(ends(1000, 3), [1, 2, 3]);
        assert_eq!(ends(1000, 1), [1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is selected of whatever payload in whatever frame: it is those records, framed.
        #[test]
        fn a_selection_is_a_payload_of_its_own(
            records in prop::collection::vec("[a-z]{0,40}", 1..20),
            chosen in prop::collection::vec(any::<bool>(), 20),
            frame in prop::sample::select(vec![Frame::lines(), Frame::array(), Frame::bare()]),
            compression in prop::sample::select(vec![Compression::None, Compression::Gzip, Compression::Zstd]),
        ) {
            let written = |chosen: &dyn Fn(usize) -> bool| {
                let (mut body, mut lengths) = (frame.open.to_vec(), Vec::new());
                for (_, record) in records.iter().enumerate().filter(|(at, _)| chosen(*at)) {
                    body.extend_from_slice(record.as_bytes());
                    body.extend_from_slice(&frame.separator);
                    lengths.push(u32::try_from(record.len() + frame.separator.len()).unwrap());
                }
                frame.end(&mut body);
                (body, lengths)
            };
            let (whole, lengths) = written(&|_| true);
            let body = Compressor::default().compress(compression, &whole).unwrap().unwrap_or(whole);
            let positions: Vec<u32> =
                (0u32..).zip(&records).zip(&chosen).filter(|(_, chosen)| **chosen).map(|((at, _), _)| at).collect();
            prop_assume!(!positions.is_empty());
            let expected = written(&|at| chosen[at]).0;
            prop_assert_eq!(select(&body, compression, &lengths, &frame, &positions).unwrap(), expected);
        }
    }
}
