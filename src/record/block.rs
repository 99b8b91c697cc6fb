//! Thirty-two bytes at a time, in safe code.

use wide::bytemuck::cast;
use wide::{i8x32, u8x32};

/// Bytes looked at together.
pub(super) const BLOCK: usize = 32;

/// The bytes of one look.
pub(super) type Block = [u8; BLOCK];

/// The block at `at`; `None` where the buffer ends before that.
#[inline(always)]
pub(super) fn block(buffer: &[u8], at: usize) -> Option<&Block> {
    buffer.get(at..)?.first_chunk()
}

/// The block at `at`; zeros stand for what is beyond the buffer.
#[cold]
#[inline(never)]
pub(super) fn last_block(buffer: &[u8], at: usize) -> Block {
    let mut block = [0; BLOCK];
    for (to, &from) in block.iter_mut().zip(buffer.get(at..).unwrap_or_default()) {
        *to = from;
    }
    block
}

/// One bit for each byte in which two blocks are equal.
#[inline(always)]
pub(super) fn equal(one: &Block, other: &Block) -> u32 {
    let (one, other): (u8x32, u8x32) = (cast(*one), cast(*other));
    one.simd_eq(other).to_bitmask()
}

/// One bit for each byte that ends a plain stretch of a string: quote, backslash, control character, high bit.
#[inline(always)]
pub(super) fn special(block: &Block) -> u32 {
    let bytes: i8x32 = cast(*block);
    // A quote (0x22) with its second bit turned is 0x20, and no other byte is then between 0x20 and the control
    // characters; bytes with the high bit are negative.
    let low = (bytes ^ i8x32::splat(2)).simd_lt(i8x32::splat(0x21));
    let backslash = bytes.simd_eq(i8x32::splat(0x5c));
    (low | backslash).to_bitmask()
}

/// One bit for each byte of a kind.
pub(super) struct Marks {
    pub(super) quote: u32,
    pub(super) backslash: u32,
    /// Control characters, and bytes with the high bit.
    pub(super) other: u32,
}

/// Tells apart what [`special`] finds.
#[inline(always)]
pub(super) fn marks(block: &Block) -> Marks {
    let bytes: i8x32 = cast(*block);
    Marks {
        quote: bytes.simd_eq(i8x32::splat(0x22)).to_bitmask(),
        backslash: bytes.simd_eq(i8x32::splat(0x5c)).to_bitmask(),
        other: bytes.simd_lt(i8x32::splat(0x20)).to_bitmask(),
    }
}

/// One bit for each byte with the high bit.
#[inline(always)]
pub(super) fn high(block: &Block) -> u32 {
    cast::<Block, i8x32>(*block).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bytes_are_quote_backslash_control_and_not_ascii() {
        for byte in 0..=u8::MAX {
            let expected = !(0x20..0x80).contains(&byte) || byte == b'"' || byte == b'\\';
            for place in [0, 7, 16, 31] {
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                assert_eq!(special(&block), u32::from(expected) << place, "{byte}");
                let marks = marks(&block);
                let all = [marks.quote, marks.backslash, marks.other, high(&block)];
                let kinds = [byte == b'"', byte == b'\\', !(0x20..0x80).contains(&byte), byte >= 0x80];
                assert_eq!(all, kinds.map(|is| u32::from(is) << place), "{byte}");
            }
        }
    }

    #[test]
    fn equal_bytes_are_told_by_place() {
        let mut other = [b'a'; BLOCK];
        other[5] = b'b';
        assert_eq!(equal(&[b'a'; BLOCK], &other), !(1 << 5));
    }
}
