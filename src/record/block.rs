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

/// How long the number is that the block begins with; `None` where it is not digits alone, perhaps with a point between
/// them, or what ends a value does not stand behind it in the block: then something slower has to look.
#[inline(always)]
pub(super) fn plain_number(block: &Block) -> Option<usize> {
    let from_zero = cast::<Block, u8x32>(*block) - u8x32::splat(b'0');
    let others = !from_zero.simd_eq(from_zero.min(u8x32::splat(9))).to_bitmask();
    let whole = others.trailing_zeros();
    if whole == 0 || (whole > 1 && block[0] == b'0') {
        return None;
    }
    let mut end = whole as usize;
    if block.get(end) == Some(&b'.') {
        let fraction = others.checked_shr(whole + 1)?.trailing_zeros() as usize;
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    matches!(block.get(end), Some(b',' | b'}' | b']')).then_some(end)
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
    fn usual_numbers_are_told_from_what_is_none() {
        let length = |text: &str| {
            let mut block = [0; BLOCK];
            block.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            plain_number(&block)
        };
        for number in ["0", "7", "10", "0.5", "120.0625", "1234567890123456789012345678901"] {
            for behind in [",", "}", "]"] {
                assert_eq!(length(&format!("{number}{behind}")), Some(number.len()), "{number}{behind}");
            }
            for behind in ["", " ,", "e5,", "E+1,", "\",", "/,", ":,"] {
                assert_eq!(length(&format!("{number}{behind}")), None, "{number}{behind}");
            }
        }
        for text in ["", ",", ".5,", "5.,", "00,", "01.5,", "-1,", "+1,", "1.2.3,", "a,"] {
            assert_eq!(length(text), None, "{text}");
        }
        for digits in 29..BLOCK + 3 {
            let fits = digits < BLOCK;
            assert_eq!(length(&format!("{},", "1".repeat(digits))), fits.then_some(digits));
            let point = digits + 2 < BLOCK;
            assert_eq!(length(&format!("{}.5,", "1".repeat(digits))), point.then_some(digits + 2));
        }
    }

    #[test]
    fn equal_bytes_are_told_by_place() {
        let mut other = [b'a'; BLOCK];
        other[5] = b'b';
        assert_eq!(equal(&[b'a'; BLOCK], &other), !(1 << 5));
    }
}
