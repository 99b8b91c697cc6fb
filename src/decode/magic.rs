//! What begins a gzip member or a zstd frame.

/// Whether these bytes begin a gzip member that anybody can read: magic, deflate, no reserved flag. Source: RFC 1952.
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    matches!(bytes, [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0)
}

/// Whether these bytes begin a zstd frame, or a skippable one. Source: RFC 8878, 3.1.
pub(super) fn is_zstd(bytes: &[u8]) -> bool {
    matches!(bytes, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The next place from `from` on where a gzip member (`true`) or a zstd frame may begin.
pub(super) fn next(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let rest = bytes.get(from..)?;
    let gzip = memchr::memmem::find_iter(rest, &[0x1f, 0x8b, 8])
        .map(|at| at + from)
        .find(|&at| is_gzip(bytes.get(at..).unwrap_or_default()));
    let zstd = memchr::memmem::find(rest, &[0x28, 0xb5, 0x2f, 0xfd]).map(|at| at + from);
    match (gzip, zstd) {
        (Some(gzip), zstd) if zstd.is_none_or(|zstd| gzip < zstd) => Some((gzip, true)),
        (_, zstd) => zstd.map(|at| (at, false)),
    }
}
