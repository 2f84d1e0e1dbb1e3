//! Whole numbers in few bytes: 7 bits a byte, low ones first, the top bit of a byte saying that another follows.

/// The longest number of 64 bits.
pub(crate) const LONGEST: usize = 10;

/// Writes a number in front of `place`; the caller has reserved [`LONGEST`] bytes. Gives the bytes written.
#[inline]
pub(crate) fn put(place: &mut [u8], mut number: u64) -> usize {
    let mut at = 0;
    for byte in place {
        at += 1;
        if number < 0x80 {
            *byte = number as u8;
            break;
        }
        *byte = number as u8 | 0x80;
        number >>= 7;
    }
    at
}

/// Reads a number and moves behind it; `None` if the bytes end within it or it does not end where 64 bits do.
#[inline]
pub(crate) fn take(walk: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = walk.split_first()?;
        *walk = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A signed number with its sign in the lowest bit, so that small ones of either sign are short.
#[inline]
pub(crate) const fn fold(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

/// What [`fold`] folded.
#[inline]
pub(crate) const fn unfold(folded: u64) -> i64 {
    (folded >> 1).cast_signed() ^ -((folded & 1).cast_signed())
}
