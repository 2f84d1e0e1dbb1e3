//! The layout of `numeric`, as JSON numbers have it.

use eventkit_core::error::Result;
use eventkit_core::value::Number;

use super::varlena::{corrupted, element};

/// Reads a `numeric` at the start of these bytes. Source: the format comment of `numeric.c`.
#[inline(always)]
pub fn read(bytes: &[u8]) -> Result<Number<'_>> {
    let (payload, _) = element("numeric", bytes, 0)?;
    let short = || corrupted("numeric", "The number ends within its header.");
    let half = |at: usize| match payload.0.get(at..at + 2) {
        Some(&[a, b]) => Ok(u16::from_ne_bytes([a, b])),
        _ => Err(short()),
    };
    let header = half(0)?;
    let (negative, weight, scale, start) = match header & 0xC000 {
        0x8000 => {
            let weight = (header & 0x3F).cast_signed() | if header & 0x40 == 0 { 0 } else { !0x3F };
            (header & 0x2000 != 0, weight, (header & 0x1F80) >> 7, 2)
        }
        0xC000 => return Err(corrupted("numeric", "A JSON number is neither NaN nor infinite.")),
        sign => (sign == 0x4000, half(2)?.cast_signed(), header & 0x3FFF, 4),
    };
    let digits = payload.0.get(start..).unwrap_or_default();
    if digits.len() % 2 != 0 || digits.chunks_exact(2).any(|d| u16::from_ne_bytes([d[0], d[1]]) > 9999) {
        return Err(corrupted("numeric", "A digit is above 9999."));
    }
    Ok(Number { negative, weight, scale, digits })
}
