//! Stored bytes become text, a window at a time: gzip members and zstd frames one after another, or plain bytes.
//!
//! Text comes in segments: it ends where the object ends, where it stops inflating, or at a limit. Stored bytes that do not
//! inflate (garbage between members, a damaged member's rest) come as pieces of their own, up to the next thing that
//! looks like a member or frame.
//!
//! A member whose checksum does not match has already been read when that is known, at least in the streaming road; so in
//! both roads its whole, valid records are shipped and one damage says that they may have been altered.

mod bounds;

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use self::bounds::remaining;
use super::gzip::{self, Header, TRAILER};
use super::magic;
use super::shape;
use super::stored::{STEP, Stored};
use super::{Buffer, Damage, Input, Limits, Packing, Space, Tools};

/// Text produced at a time: limits are looked at between steps.
const OUT: usize = 512 << 10;
/// The ratio is looked at after this much text.
const RATIO_FROM: u64 = 1 << 20;
/// Largest zstd window, as a power of two: 8 MiB, what RFC 8878 (3.1.1.1.2) asks of every decoder, and level 19's.
const ZSTD_WINDOW: u32 = 23;

/// How a segment of text ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    /// Why, where it is not the ordinary end.
    pub(super) reason: Option<String>,
    /// A stored piece follows that belongs to the same damage.
    pub(super) follows: bool,
}

/// Stored bytes that do not inflate, standing alone in the buffer.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) damage: Damage,
    pub(super) more: bool,
}

enum Phase {
    Sniff,
    Plain,
    Header,
    Body,
    Trailer,
    Between,
    Frame,
    /// Looking for the next member or frame; `first`: nothing of this damage was handed out yet.
    Hunt {
        reason: &'static str,
        first: bool,
    },
    Done,
}

/// The state of one object's decompression.
pub(super) struct Inflate {
    limits: Limits,
    /// Windows end with what one read gave, if a line ends in it.
    pub(super) live: bool,
    phase: Phase,
    stored: Stored,
    packing: Packing,
    members: u64,
    second_member_at: Option<u64>,
    produced: u64,
    deflate: Option<Box<Decompress>>,
    zstd: Option<Decoder<'static>>,
    /// Stored bytes that zstd took and gave no text for so far: should they be damaged, they are told with the rest.
    fed: usize,
    crc: crc32fast::Hasher,
    member_length: u64,
    ending: Option<Ending>,
    note: Option<Damage>,
    piece: Option<Piece>,
    torn: bool,
    /// See [`crate::decode::Summary::unread`].
    unread: bool,
    /// Text before this offset is not wanted.
    pass: u64,
    /// How much text there was when a segment ended, or something was told that is wrong with the stored bytes.
    told_at: u64,
    /// The object is not what its size field claims: nothing was read yet, the next window is a whole one.
    misjudged: bool,
}

impl Inflate {
    pub(super) fn new(limits: Limits) -> Inflate {
        Inflate {
            limits,
            live: false,
            phase: Phase::Sniff,
            stored: Stored::default(),
            packing: Packing::Plain,
            members: 0,
            second_member_at: None,
            produced: 0,
            deflate: None,
            zstd: None,
            fed: 0,
            crc: crc32fast::Hasher::new(),
            member_length: 0,
            ending: None,
            note: None,
            piece: None,
            torn: false,
            unread: false,
            pass: 0,
            told_at: 0,
            misjudged: false,
        }
    }

    /// How much text there was when a segment ended last, or something was told that is wrong with the stored bytes.
    pub(super) fn told_at(&self) -> u64 {
        self.told_at
    }

    pub(super) fn packing(&self) -> Packing {
        self.packing
    }

    pub(super) fn members(&self) -> u64 {
        self.members
    }

    pub(super) fn produced(&self) -> u64 {
        self.produced
    }

    /// Offset into the text where the second member's begins.
    pub(super) fn second_member_at(&self) -> Option<u64> {
        self.second_member_at
    }

    /// Whether the stored bytes are used up; the last segment may still be in the buffer.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// Whether the stored object ends before its packing does.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// How the segment ends, once its last text is in the buffer.
    pub(super) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The segment was used up.
    pub(super) fn next_segment(&mut self) {
        self.ending = None;
        self.told_at = self.produced;
    }

    /// Whether there is nothing to tell but the text.
    pub(super) fn is_quiet(&self) -> bool {
        self.note.is_none() && self.piece.is_none()
    }

    /// Something wrong that takes no text away.
    pub(super) fn take_note(&mut self) -> Option<Damage> {
        self.note.take().inspect(|_| self.told_at = self.produced)
    }

    /// The stored piece that is in the buffer.
    pub(super) fn take_piece(&mut self) -> Option<Piece> {
        self.piece.take().inspect(|_| self.told_at = self.produced)
    }

    /// Adds text to the buffer until it holds `target` bytes, the segment ends, or something is to be told first. `lines`:
    /// whether these are lines, which have no limits; `None`: nobody has looked at the text yet.
    pub(super) fn fill(
        &mut self,
        tools: &mut Tools,
        input: &mut Input<'_>,
        buffer: &mut Buffer,
        target: usize,
        mut lines: Option<bool>,
    ) -> io::Result<()> {
        let (reads, held) = (self.stored.reads(), buffer.filled);
        while self.ending.is_none() && self.note.is_none() && self.piece.is_none() && buffer.filled < target {
            let more = buffer.get(held..).unwrap_or_default();
            if self.live && self.stored.reads() > reads && memchr::memrchr(b'\n', more).is_some() {
                break;
            }
            self.step(tools, input, buffer, target)?;
            if std::mem::take(&mut self.misjudged) {
                break;
            }
            if lines != Some(true)
                && !self.is_done()
                && let Some(reason) = self.over_limit()
            {
                lines = lines.or_else(|| shape::begins_lines(buffer, self.limits.record));
                if lines == Some(false) {
                    self.stop(Some(reason));
                }
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        tools: &mut Tools,
        input: &mut Input<'_>,
        buffer: &mut Buffer,
        target: usize,
    ) -> io::Result<()> {
        match self.phase {
            Phase::Sniff => self.sniff(tools, input, buffer, target),
            Phase::Plain => self.plain(input, buffer, target),
            Phase::Header => self.header(input),
            Phase::Body => self.body(input, buffer, target),
            Phase::Trailer => self.trailer(input),
            Phase::Between => self.between(input),
            Phase::Frame => self.frame(input, buffer, target),
            Phase::Hunt { reason, first } => self.hunt(input, buffer, target, reason, first),
            Phase::Done => {
                self.ending = Some(Ending::default());
                Ok(())
            }
        }
    }

    fn sniff(
        &mut self,
        tools: &mut Tools,
        input: &mut Input<'_>,
        buffer: &mut Buffer,
        target: usize,
    ) -> io::Result<()> {
        if let Input::Whole(stored) = input
            && magic::is_gzip(stored)
            && let Some(hint) = gzip::length_hint(stored)
            && hint <= target
            && hint as u64 <= self.limits.object
            && (hint as u64 <= RATIO_FROM
                || hint as u64 <= self.limits.ratio.saturating_mul(stored.len() as u64))
        {
            buffer.filled = 0;
            let out = buffer.room(hint, hint);
            if let Some(length) = gzip::one_shot(tools, stored, out) {
                buffer.filled = length;
                self.packing = Packing::Gzip;
                self.members = 1;
                self.produced = length as u64;
                self.stored.consume(stored.len());
                self.finish(None);
                return Ok(());
            }
        }
        let bytes = self.stored.available(input, 4)?;
        // A file that ends within the magic number is still being written.
        self.torn = !bytes.is_empty() && bytes.len() < 4 && [0x1f, 0x8b, 8].starts_with(bytes);
        self.phase = if magic::is_gzip(bytes) {
            self.packing = Packing::Gzip;
            // A window that grew while it holds text would wait for memory while it holds memory of the same kind.
            self.misjudged = self.pass == 0 && target < self.limits.window;
            Phase::Header
        } else if magic::is_zstd(bytes) {
            self.packing = Packing::Zstd;
            Phase::Frame
        } else {
            Phase::Plain
        };
        Ok(())
    }

    fn plain(&mut self, input: &mut Input<'_>, buffer: &mut Buffer, target: usize) -> io::Result<()> {
        let bytes = self.stored.available(input, 1)?;
        let room = target.saturating_sub(buffer.filled).min(remaining(self.limits.object, self.produced));
        let bytes = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        let length = bytes.len();
        buffer.room(length, target).copy_from_slice(bytes);
        buffer.filled += length;
        self.produced += length as u64;
        self.stored.consume(length);
        if length == 0 {
            self.finish(None);
        }
        Ok(())
    }

    fn header(&mut self, input: &mut Input<'_>) -> io::Result<()> {
        let mut want = 10;
        loop {
            let bytes = self.stored.available(input, want)?;
            match gzip::header(bytes) {
                Header::Ends(length) => {
                    self.stored.consume(length);
                    self.members += 1;
                    if self.members == 2 {
                        self.second_member_at = Some(self.produced);
                    }
                    match &mut self.deflate {
                        Some(deflate) => deflate.reset(false),
                        None => self.deflate = Some(Box::new(Decompress::new(false))),
                    }
                    self.crc = crc32fast::Hasher::new();
                    self.member_length = 0;
                    self.phase = Phase::Body;
                    return Ok(());
                }
                Header::Short if bytes.len() < want => {
                    self.cut("the stored object ends inside a gzip header");
                    return Ok(());
                }
                Header::Short => want = bytes.len() + 1,
                Header::Invalid(reason) => {
                    self.begin_hunt(reason);
                    return Ok(());
                }
            }
        }
    }

    fn body(&mut self, input: &mut Input<'_>, buffer: &mut Buffer, target: usize) -> io::Result<()> {
        let Some(deflate) = self.deflate.as_mut() else {
            self.begin_hunt("gzip data without a header");
            return Ok(());
        };
        let bytes = self.stored.available(input, 1)?;
        let room =
            OUT.min(target.saturating_sub(buffer.filled)).min(remaining(self.limits.object, self.produced));
        let out = buffer.room(room, target);
        let (read, written) = (deflate.total_in(), deflate.total_out());
        let bytes = bytes.get(..bytes.len().min(STEP)).unwrap_or_default();
        let ended = bytes.is_empty();
        let status = deflate.decompress(bytes, out, FlushDecompress::None);
        let read = usize::try_from(deflate.total_in() - read).unwrap_or(0);
        let written = usize::try_from(deflate.total_out() - written).unwrap_or(0);
        self.crc.update(out.get(..written).unwrap_or_default());
        self.member_length += written as u64;
        self.produced += written as u64;
        buffer.filled += written;
        self.stored.consume(read);
        match status {
            Ok(Status::StreamEnd) => self.phase = Phase::Trailer,
            Ok(_) if read + written > 0 => {}
            _ if ended => self.cut("the stored object ends inside its gzip data"),
            _ => self.begin_hunt("gzip data is damaged"),
        }
        Ok(())
    }

    fn trailer(&mut self, input: &mut Input<'_>) -> io::Result<()> {
        let bytes = self.stored.available(input, TRAILER)?;
        let Some(&found) = bytes.first_chunk::<TRAILER>() else {
            self.cut("the stored object ends before its gzip checksum");
            return Ok(());
        };
        if found != gzip::trailer(self.crc.clone().finalize(), self.member_length) {
            let reason = "gzip checksum does not match: records of this member were shipped where they are whole, \
                          and may have been altered";
            let offset = self.produced - self.member_length;
            self.note = Some(Damage {
                space: Space::Decompressed,
                offset,
                length: self.member_length,
                reason: reason.into(),
            });
        }
        self.stored.consume(TRAILER);
        self.phase = Phase::Between;
        Ok(())
    }

    fn between(&mut self, input: &mut Input<'_>) -> io::Result<()> {
        let bytes = self.stored.available(input, 4)?;
        if bytes.is_empty() {
            self.finish(None);
        } else if magic::is_gzip(bytes) {
            self.phase = Phase::Header;
        } else if magic::is_zstd(bytes) {
            self.phase = Phase::Frame;
        } else {
            // The text before it is judged on its own: it may well be whole.
            self.ending = Some(Ending::default());
            self.phase = Phase::Hunt { reason: "bytes behind the end of the compressed data", first: true };
        }
        Ok(())
    }

    fn frame(&mut self, input: &mut Input<'_>, buffer: &mut Buffer, target: usize) -> io::Result<()> {
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            None => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
                self.members += 1;
                self.zstd.insert(decoder)
            }
        };
        let bytes = self.stored.available(input, self.fed + 1)?.get(self.fed..).unwrap_or_default();
        let room =
            OUT.min(target.saturating_sub(buffer.filled)).min(remaining(self.limits.object, self.produced));
        let out = buffer.room(room, target);
        let bytes = bytes.get(..bytes.len().min(STEP)).unwrap_or_default();
        let ended = bytes.is_empty();
        let status = decoder.run_on_buffers(bytes, out).ok();
        let moved = status.as_ref().is_some_and(|status| status.bytes_read + status.bytes_written > 0);
        let Some(status) = status.filter(|_| moved || ended) else {
            (self.zstd, self.fed) = (None, 0);
            self.begin_hunt("zstd data is damaged, or needs a window over 8 MiB");
            return Ok(());
        };
        self.produced += status.bytes_written as u64;
        buffer.filled += status.bytes_written;
        self.fed += status.bytes_read;
        // A block has at most 128 KiB: what stays without text for longer is made of empty ones.
        if status.bytes_written > 0 || status.remaining == 0 || !moved || self.fed > STEP {
            self.stored.consume(std::mem::take(&mut self.fed));
        }
        if status.remaining == 0 {
            self.zstd = None;
            self.phase = Phase::Between;
        } else if !moved {
            self.zstd = None;
            self.cut("the stored object ends inside a zstd frame");
        }
        Ok(())
    }

    /// Hands out stored bytes up to the next member, frame or the end. The buffer holds nothing else.
    fn hunt(
        &mut self,
        input: &mut Input<'_>,
        buffer: &mut Buffer,
        target: usize,
        reason: &'static str,
        first: bool,
    ) -> io::Result<()> {
        let offset = self.stored.used();
        let mut skip = usize::from(first);
        let more = loop {
            let bytes = self.stored.available(input, 8)?;
            let ended = bytes.len() < 8;
            let room = target.saturating_sub(buffer.filled);
            let bytes = bytes.get(..bytes.len().min(room.saturating_add(8))).unwrap_or_default();
            let found = magic::next(bytes, skip);
            let (length, next) = match found {
                Some((at, true)) => (at, Some(Phase::Header)),
                Some((at, false)) => (at, Some(Phase::Frame)),
                None if ended => (bytes.len(), Some(Phase::Done)),
                None => (bytes.len() - 3, None),
            };
            let taken = length.min(room);
            buffer.room(taken, target).copy_from_slice(bytes.get(..taken).unwrap_or_default());
            buffer.filled += taken;
            self.stored.consume(taken);
            skip = 0;
            match next {
                _ if taken < length => break true,
                Some(next) => {
                    self.phase = next;
                    break false;
                }
                None if taken == room => break true,
                None => {}
            }
        };
        if more {
            self.phase = Phase::Hunt { reason, first: false };
        }
        let length = self.stored.used() - offset;
        let damage = Damage { space: Space::Stored, offset, length, reason: reason.into() };
        self.piece = Some(Piece { damage, more });
        Ok(())
    }

    fn begin_hunt(&mut self, reason: &'static str) {
        self.ending = Some(Ending { reason: Some(reason.into()), follows: true });
        self.phase = Phase::Hunt { reason, first: true };
    }

    fn cut(&mut self, reason: &str) {
        self.torn = true;
        self.finish(Some(reason.into()));
    }

    fn finish(&mut self, reason: Option<String>) {
        self.ending = Some(Ending { reason, follows: false });
        self.phase = Phase::Done;
    }
}
