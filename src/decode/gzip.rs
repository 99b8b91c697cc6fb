//! gzip by hand: the header, the one-shot road and the trailer. Source: RFC 1952.

use super::Tools;
use super::magic::is_gzip;

/// Bytes of the trailer: CRC-32 and length.
pub(super) const TRAILER: usize = 8;
/// A header longer than this is none of ours: 64 KiB of extra field, and names.
const LONGEST_HEADER: usize = 128 << 10;

/// What a header at the front of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It ends here; deflate data follows.
    Ends(usize),
    /// It does not end in these bytes.
    Short,
    /// It is none.
    Invalid(&'static str),
}

/// Reads a member's header: ten bytes, then an extra field, a name, a comment and a checksum where the flags say so.
pub(super) fn header(bytes: &[u8]) -> Header {
    if bytes.len() < 10 {
        return Header::Short;
    }
    if !is_gzip(bytes) {
        return Header::Invalid("not a gzip header");
    }
    let flags = bytes[3];
    let mut at = 10;
    if flags & 4 != 0 {
        let Some(&[low, high]) = bytes.get(at..at + 2) else { return Header::Short };
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let rest = bytes.get(at..).unwrap_or_default();
            match memchr::memchr(0, rest) {
                Some(end) => at += end + 1,
                None if bytes.len() > LONGEST_HEADER => return Header::Invalid("gzip header over 128 KiB"),
                None => return Header::Short,
            }
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    if at <= bytes.len() { Header::Ends(at) } else { Header::Short }
}

/// The length field at the end of a gzip file: a hint, never trusted.
pub(super) fn length_hint(stored: &[u8]) -> Option<usize> {
    let field = *stored.last_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(field)).ok()
}

/// Inflates a file of one member in one go into the front of `out`, which has the length the file claims.
///
/// `None`: not exactly one whole, right member of that length. Then the streaming road says what it is. A second member
/// cannot hide: libdeflate stops at the first one's end without telling where that was, so the whole file must end with
/// *this* text's checksum and length, and no other place in it may look like a member's beginning.
pub(super) fn one_shot(tools: &mut Tools, stored: &[u8], out: &mut [u8]) -> Option<usize> {
    let Header::Ends(start) = header(stored) else { return None };
    let end = stored.len().checked_sub(TRAILER)?;
    let data = stored.get(start..end)?;
    let claimed = stored.last_chunk::<TRAILER>()?;
    if memchr::memmem::find_iter(data, &[0x1f, 0x8b, 8]).any(|at| is_gzip(data.get(at..).unwrap_or_default()))
    {
        return None;
    }
    let length = tools.inflate.deflate_decompress(data, out).ok()?;
    let text = out.get(..length)?;
    (trailer(libdeflater::crc32(text), length as u64) == *claimed).then_some(length)
}

/// The trailer of a member with this checksum and length.
pub(super) fn trailer(crc: u32, length: u64) -> [u8; TRAILER] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field holds the length modulo 2^32 (RFC 1952, 2.3.1)"
    )]
    let length = (length as u32).to_le_bytes();
    let [a, b, c, d] = crc.to_le_bytes();
    let [e, f, g, h] = length;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_may_carry_extra_name_comment_and_checksum() {
        let mut bytes = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 255, 3, 0, 1, 2, 3];
        bytes.extend_from_slice(b"name\0comment\0\x11\x22data");
        assert_eq!(header(&bytes), Header::Ends(bytes.len() - 4));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(header(&bytes[..cut]), Header::Short, "{cut}");
        }
        bytes[3] = 0x20;
        assert!(matches!(header(&bytes), Header::Invalid(_)));
    }
}
