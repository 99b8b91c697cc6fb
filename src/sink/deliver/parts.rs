//! Parts of a payload: after a partial refusal only what was refused is sent again, and what is too large, in halves.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::encode::compress::Compression;
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

/// Bytes of parts that are copies, at a time: those of one sink. A larger one goes alone.
const COPIES: usize = 8 << 20;
/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;

/// What the copies of one sink may take beside the budget. Whoever waits here holds nothing that another needs to end:
/// a copy goes as soon as its request has ended.
#[derive(Clone, Debug)]
pub struct Copies(Arc<Semaphore>);

impl Default for Copies {
    fn default() -> Copies {
        Copies(Arc::new(Semaphore::new(COPIES / UNIT)))
    }
}

/// A copy; its room is free when no request holds it any more.
struct Copied {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Copies {
    async fn room(&self, bytes: usize) -> io::Result<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.clamp(UNIT, COPIES) / UNIT).unwrap_or(u32::MAX);
        self.0.clone().acquire_many_owned(units).await.map_err(io::Error::other)
    }
}

/// Makes a part of the records at these positions (ascending). Lines that are not compressed and follow each other are
/// where they were; anything else is copied, decompressed and compressed again as it streams by, beside the reactor.
///
/// # Errors
/// The payload's body cannot be read back: it was damaged in memory.
pub async fn part(
    payload: &Payload,
    whole: Lent,
    packing: (Compression, Frame),
    positions: Vec<u32>,
    copies: &Copies,
) -> io::Result<Part> {
    let partition = payload.partition.clone();
    let records = u32::try_from(positions.len()).unwrap_or(u32::MAX);
    let (compression, frame) = packing;
    let raw = framed(&payload.lengths, &frame, &positions);
    let raw_bytes = raw as u64;
    let part = |body| Part { body, compression, raw_bytes, records, partition };
    let is_bare = frame.open.is_empty() && frame.close.is_empty();
    if compression == Compression::None && is_bare && positions.is_sorted_by(|one, next| one + 1 == *next) {
        let before = positions.first().map_or(0, |first| *first as usize);
        let start = payload.lengths.iter().take(before).map(|&length| length as usize).sum::<usize>();
        let whole = whole.bytes();
        if start + raw > whole.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        return Ok(part(whole.slice(start..start + raw)));
    }
    let _room =
        copies.room(if compression == Compression::None { raw } else { whole.as_ref().len() }).await?;
    let lengths = payload.lengths.clone();
    let copy = move || copied(whole.as_ref(), compression, &lengths, &frame, &positions);
    let bytes = tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)??;
    Ok(part(Bytes::from_owner(Copied { bytes, _room })))
}

/// Bytes of the records at these positions as a payload of their own.
fn framed(lengths: &[u32], frame: &Frame, positions: &[u32]) -> usize {
    let of = |position: &u32| lengths.get(*position as usize).map_or(0, |length| *length as usize);
    let separators = if frame.close.is_empty() { 0 } else { frame.separator.len() };
    let records = positions.iter().map(of).sum::<usize>().saturating_sub(separators);
    frame.open.len() + records + frame.close.len()
}

fn copied(
    body: &[u8],
    compression: Compression,
    lengths: &[u32],
    frame: &Frame,
    positions: &[u32],
) -> io::Result<Vec<u8>> {
    let raw = framed(lengths, frame, positions);
    match compression {
        Compression::None => {
            let mut out = Vec::with_capacity(raw);
            select(body, lengths, frame, positions, &mut out)?;
            Ok(out)
        }
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            select(flate2::read::GzDecoder::new(body), lengths, frame, positions, &mut out)?;
            out.finish()
        }
        Compression::Zstd => {
            let mut out = zstd::Encoder::new(Vec::new(), 3)?;
            out.set_pledged_src_size(Some(raw as u64))?;
            select(zstd::Decoder::with_buffer(body)?, lengths, frame, positions, &mut out)?;
            out.finish()
        }
    }
}

/// Writes the records at these positions as a payload of their own.
fn select(
    mut whole: impl Read,
    lengths: &[u32],
    frame: &Frame,
    positions: &[u32],
    out: &mut impl Write,
) -> io::Result<()> {
    let separator = frame.separator.len();
    let mut pass =
        |bytes: usize, out: &mut dyn Write| match io::copy(&mut whole.by_ref().take(bytes as u64), out)? {
            passed if passed == bytes as u64 => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        };
    pass(frame.open.len(), out)?;
    let (mut wanted, mut is_first) = (positions.iter().peekable(), true);
    for (position, &length) in (0u32..).zip(lengths) {
        // A separator belongs to the next record: after the last there may be none.
        if position > 0 {
            pass(separator, &mut io::sink())?;
        }
        let text = (length as usize).saturating_sub(separator);
        if wanted.next_if(|&&wanted| wanted == position).is_none() {
            pass(text, &mut io::sink())?;
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.write_all(&frame.separator)?;
        }
        pass(text, out)?;
        if wanted.peek().is_none() {
            break;
        }
    }
    out.write_all(if frame.close.is_empty() { &frame.separator } else { &frame.close })
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use crate::encode::compress::Compressor;

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

    fn payload(records: &[impl AsRef<str>], frame: &Frame) -> Payload {
        let (mut body, mut lengths) = (frame.open.to_vec(), Vec::new());
        for record in records.iter().map(AsRef::as_ref) {
            body.extend_from_slice(record.as_bytes());
            body.extend_from_slice(&frame.separator);
            lengths.push(u32::try_from(record.len() + frame.separator.len()).unwrap());
        }
        frame.end(&mut body);
        Payload {
            partition: "p".into(),
            body,
            lengths,
            records: u32::try_from(records.len()).unwrap(),
            raw_bytes: 0,
            shares: Vec::new(),
            permit: None,
            spare: None,
            progress: Progress::default(),
        }
    }

    #[tokio::test]
    async fn lines_that_follow_each_other_are_not_copied() {
        let whole = payload(&["aa", "bbb", "c", "dd"], &Frame::lines());
        let lent = Lent::new(whole.body.clone());
        let copies = Copies::default();
        let packing = || (Compression::None, Frame::lines());
        let of = async |positions: &[u32]| {
            part(&whole, lent.clone(), packing(), positions.to_vec(), &copies).await
        };
        let middle = of(&[1, 2]).await.unwrap();
        assert_eq!((&middle.body[..], middle.raw_bytes, middle.records), (&b"bbb\nc\n"[..], 6, 2));
        assert!(lent.as_ref().as_ptr_range().contains(&middle.body.as_ptr()));
        let apart = of(&[0, 3]).await.unwrap();
        assert_eq!(&apart.body[..], b"aa\ndd\n");
        assert!(!lent.as_ref().as_ptr_range().contains(&apart.body.as_ptr()));
    }

    #[tokio::test]
    async fn copies_wait_for_room_and_give_it_back() {
        let frame = Frame::array();
        let whole = payload(&["1".repeat(5 << 20), "2".repeat(5 << 20), "3".to_owned()], &frame);
        let lent = Lent::new(whole.body.clone());
        let copies = Copies::default();
        let of = |position| {
            part(&whole, lent.clone(), (Compression::None, frame.clone()), vec![position], &copies)
        };
        let first = of(0).await.unwrap();
        let small = of(2).await.unwrap();
        assert_eq!(&small.body[..], b"[3]");
        let mut second = std::pin::pin!(of(1));
        assert!(second.as_mut().now_or_never().is_none());
        let on_its_way = first.body.clone();
        drop(first);
        assert!(second.as_mut().now_or_never().is_none(), "a connection holds it");
        drop(on_its_way);
        assert_eq!(second.await.unwrap().raw_bytes, (5 << 20) + 2);
        assert_eq!(copies.0.available_permits(), COPIES / UNIT - 1);
        drop(small);
        assert_eq!(copies.0.available_permits(), COPIES / UNIT);
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
            let whole = payload(&records, &frame);
            let compressed = |raw: Vec<u8>| Compressor::default().compress(compression, &raw).unwrap().unwrap_or(raw);
            let positions: Vec<u32> =
                (0u32..).zip(&records).zip(&chosen).filter(|(_, chosen)| **chosen).map(|((at, _), _)| at).collect();
            prop_assume!(!positions.is_empty());
            let wanted: Vec<&String> = positions.iter().map(|at| &records[*at as usize]).collect();
            let expected = payload(&wanted, &frame).body;
            prop_assert_eq!(framed(&whole.lengths, &frame, &positions), expected.len());
            let copy = copied(&compressed(whole.body), compression, &whole.lengths, &frame, &positions).unwrap();
            let text = match compression {
                Compression::None => copy,
                Compression::Gzip => {
                    let mut text = Vec::new();
                    flate2::read::GzDecoder::new(&copy[..]).read_to_end(&mut text).unwrap();
                    text
                }
                Compression::Zstd => zstd::bulk::decompress(&copy, expected.len()).unwrap(),
            };
            prop_assert_eq!(text, expected);
        }
    }
}
