//! The value of one property of an event, seen where it lies, and the text that `->>` gives for it.

use crate::error::{Condition, Error, Result, quoted};

/// One property's value. Borrowed from the array; nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// The event has no such key.
    Absent,
    /// The key is there, its value is SQL NULL or JSON null.
    Null,
    /// An hstore value or a JSON string, unescaped.
    Text(&'a [u8]),
    /// A JSON number.
    Number(Number<'a>),
    /// A JSON boolean.
    Bool(bool),
    /// A JSON object or array.
    Document(Document<'a>),
}

/// A nested JSON value: its bytes, and the function of their owner that writes them as text.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The bytes in the layout of whoever made this value.
    pub bytes: &'a [u8],
    /// Appends the text form of such bytes.
    pub write: fn(&[u8], &mut Vec<u8>) -> Result<()>,
}

/// A decimal number as PostgreSQL's `numeric` stores it: `Σ digit[i] · 10000^(weight − i)`.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    /// Below zero.
    pub negative: bool,
    /// The power of 10000 of the first digit.
    pub weight: i16,
    /// Digits after the decimal point that the text form shows.
    pub scale: u16,
    /// Base-10000 digits, two bytes each in the machine's byte order.
    pub digits: &'a [u8],
}

impl Number<'_> {
    /// The digit at a position, 0 beyond those that are stored.
    #[inline]
    fn digit(&self, position: i32) -> u16 {
        let Ok(position) = usize::try_from(position) else { return 0 };
        match self.digits.get(position * 2..position * 2 + 2) {
            Some(&[a, b]) => u16::from_ne_bytes([a, b]),
            _ => 0,
        }
    }

    /// Appends the number as `numeric_out` writes it. O(digits shown).
    pub fn write_text(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        if self.weight < 0 {
            out.push(b'0');
        } else {
            for position in 0..=i32::from(self.weight) {
                let digit = self.digit(position);
                if position == 0 {
                    out.extend_from_slice(itoa::Buffer::new().format(digit).as_bytes());
                } else {
                    out.extend_from_slice(&four(digit));
                }
            }
        }
        if self.scale > 0 {
            out.push(b'.');
            let mut left = usize::from(self.scale);
            let mut position = i32::from(self.weight) + 1;
            while left > 0 {
                let take = left.min(4);
                out.extend_from_slice(&four(self.digit(position))[..take]);
                left -= take;
                position += 1;
            }
        }
    }

    /// The number times `10^places`, rounded half up, if that fits in 128 bits. O(digits).
    #[must_use]
    pub fn scaled(&self, places: u32) -> Option<i128> {
        let count = i32::try_from(self.digits.len() / 2).ok()?;
        let mut value: i128 = 0;
        // 10000^(weight-i) · 10^places: all positions whose power is not negative enter whole.
        let mut position = 0;
        while position < count.max(i32::from(self.weight) + 1) {
            let power = (i32::from(self.weight) - position) * 4 + places.cast_signed();
            let digit = i128::from(self.digit(position));
            if power >= 0 {
                if digit != 0 {
                    value = value.checked_add(digit.checked_mul(10i128.checked_pow(power.cast_unsigned())?)?)?;
                }
            } else if power > -4 {
                let unit = 10i128.pow(power.unsigned_abs());
                // Lower positions add less than one of this digit's last place, so they never change a half-up choice.
                value = value.checked_add((digit + unit / 2) / unit)?;
                break;
            } else {
                value = value.checked_add(i128::from(power == -4 && digit >= 5000))?;
                break;
            }
            position += 1;
        }
        Some(if self.negative { -value } else { value })
    }

    /// Whether two numbers are equal in value, whatever their scales. O(digits).
    #[must_use]
    pub fn same_value(&self, other: &Self) -> bool {
        let (a, b) = (self.stripped(), other.stripped());
        a.1.is_empty() && b.1.is_empty() || (self.negative == other.negative && a == b)
    }

    /// Weight and digits without leading and trailing zero digits.
    fn stripped(&self) -> (i32, &[u8]) {
        let mut digits = &self.digits[..self.digits.len() / 2 * 2];
        let mut weight = i32::from(self.weight);
        while let Some(rest) = digits.strip_prefix(&[0, 0]) {
            digits = rest;
            weight -= 1;
        }
        while let Some(rest) = digits.strip_suffix(&[0, 0]) {
            if rest.len() % 2 == 0 { digits = rest } else { break }
        }
        (if digits.is_empty() { 0 } else { weight }, digits)
    }
}

/// Four decimal places of a base-10000 digit.
fn four(digit: u16) -> [u8; 4] {
    let place = |unit: u16| b'0' + u8::try_from(digit / unit % 10).unwrap_or(0);
    [place(1000), place(100), place(10), place(1)]
}

impl<'a> Value<'a> {
    /// Whether there is nothing to compare: the key is absent or its value NULL.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Absent | Self::Null)
    }

    /// The value as a 64-bit number if its text is just that number: no fraction shown, below 10^16 in size.
    #[inline]
    #[must_use]
    pub fn whole_number(&self) -> Option<i64> {
        let Self::Number(number) = self else { return None };
        if number.scale > 0 || number.weight > 3 {
            return None;
        }
        let mut value = 0;
        for position in 0..=i32::from(number.weight) {
            value = value * 10_000 + i64::from(number.digit(position));
        }
        Some(if number.negative { -value } else { value })
    }

    /// The text that `->>` gives, borrowed where the array holds it as such, else written into `scratch`.
    /// NULL and absent values give `None`. Errors: only those of a corrupt nested document.
    pub fn text<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<Option<&'s [u8]>>
    where
        'a: 's,
    {
        scratch.clear();
        match self {
            Self::Absent | Self::Null => return Ok(None),
            Self::Text(bytes) => return Ok(Some(bytes)),
            Self::Bool(value) => return Ok(Some(if *value { b"true" } else { b"false" })),
            Self::Number(number) => number.write_text(scratch),
            Self::Document(document) => (document.write)(document.bytes, scratch)?,
        }
        Ok(Some(scratch))
    }
}

/// Which texts the server's `bigint` input takes besides plain decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegerSyntax {
    /// Up to PostgreSQL 15: blanks around, sign, decimal digits.
    Decimal,
    /// From PostgreSQL 16: `0x`, `0o`, `0b` and `_` between digits as well.
    WithRadix,
}

/// Reads a text as the server's `text::bigint` does. Errors: `22P02` for what is no integer, `22003` for one too large.
pub fn bigint(text: &[u8], syntax: IntegerSyntax) -> Result<i64> {
    let blank = |c: &u8| matches!(c, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let start = text.iter().position(|c| !blank(c)).unwrap_or(text.len());
    let end = text.iter().rposition(|c| !blank(c)).map_or(start, |last| last + 1);
    let (negative, digits) = match &text[start..end] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (radix, digits, underscore_first) = match (syntax, digits) {
        (IntegerSyntax::WithRadix, [b'0', b'x' | b'X', rest @ ..]) => (16, rest, true),
        (IntegerSyntax::WithRadix, [b'0', b'o' | b'O', rest @ ..]) => (8, rest, true),
        (IntegerSyntax::WithRadix, [b'0', b'b' | b'B', rest @ ..]) => (2, rest, true),
        _ => (10, digits, false),
    };
    let wrong = || {
        Error::new(
            Condition::InvalidTextRepresentation,
            format!("invalid input syntax for type bigint: {}", quoted(text)),
        )
        .detail("With id_type => 'bigint' every id is read as a whole number of 64 bits.")
        .hint("Use id_type => 'text' to compare ids as they are written.")
    };
    let large = || {
        Error::new(Condition::NumericValueOutOfRange, format!("value {} is out of range for type bigint", quoted(text)))
            .detail("With id_type => 'bigint' every id is read as a whole number of 64 bits.")
            .hint("Use id_type => 'text' to compare ids as they are written.")
    };
    let mut value: i64 = 0;
    let mut overflow = false;
    let mut after_digit = underscore_first;
    let mut any = false;
    for &c in digits {
        if c == b'_' && syntax == IntegerSyntax::WithRadix && after_digit {
            after_digit = false;
            continue;
        }
        let digit = match (c as char).to_digit(radix) {
            Some(digit) => i64::from(digit),
            None => return Err(wrong()),
        };
        after_digit = true;
        any = true;
        // Counted below zero, so that the smallest bigint is reached without a special case.
        match value.checked_mul(i64::from(radix)).and_then(|v| v.checked_sub(digit)) {
            Some(next) => value = next,
            None => overflow = true,
        }
    }
    if !any || !after_digit {
        return Err(wrong());
    }
    if overflow {
        return Err(large());
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or_else(large) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(negative: bool, weight: i16, scale: u16, digits: &[i16]) -> (Vec<u8>, bool, i16, u16) {
        (digits.iter().flat_map(|d| d.to_ne_bytes()).collect(), negative, weight, scale)
    }

    fn view(n: &(Vec<u8>, bool, i16, u16)) -> Number<'_> {
        Number { negative: n.1, weight: n.2, scale: n.3, digits: &n.0 }
    }

    fn text(n: &(Vec<u8>, bool, i16, u16)) -> String {
        let mut out = Vec::new();
        view(n).write_text(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_server_does() {
        assert_eq!(text(&number(false, 0, 0, &[])), "0");
        assert_eq!(text(&number(false, 0, 2, &[])), "0.00");
        assert_eq!(text(&number(true, 1, 0, &[1, 2])), "-10002");
        assert_eq!(text(&number(false, 1, 0, &[5])), "50000");
        assert_eq!(text(&number(false, -1, 5, &[12, 3000])), "0.00123");
        assert_eq!(text(&number(false, -2, 8, &[7])), "0.00000007");
    }

    #[test]
    fn equal_values_of_other_scales_are_equal() {
        assert!(view(&number(false, 0, 0, &[1])).same_value(&view(&number(false, 0, 2, &[1, 0]))));
        assert!(view(&number(false, 0, 0, &[])).same_value(&view(&number(false, 0, 3, &[0]))));
        assert!(!view(&number(true, 0, 0, &[1])).same_value(&view(&number(false, 0, 0, &[1]))));
        assert!(!view(&number(false, 1, 0, &[1])).same_value(&view(&number(false, 0, 0, &[1]))));
    }

    #[test]
    fn bigint_takes_what_the_server_takes() {
        use IntegerSyntax::*;
        assert_eq!(bigint(b" -9223372036854775808 ", Decimal), Ok(i64::MIN));
        assert_eq!(bigint(b"+01", Decimal), Ok(1));
        for bad in [&b""[..], b" ", b"1 2", b"1.0", b"1e3", b"0x10", b"1_000", b"--1", b"\xc3\xa9"] {
            assert_eq!(bigint(bad, Decimal).unwrap_err().condition, Condition::InvalidTextRepresentation, "{bad:?}");
        }
        for big in [&b"9223372036854775808"[..], b"-9223372036854775809", b"99999999999999999999999"] {
            assert_eq!(bigint(big, Decimal).unwrap_err().condition, Condition::NumericValueOutOfRange, "{big:?}");
        }
        assert_eq!(bigint(b"0x1F", WithRadix), Ok(31));
        assert_eq!(bigint(b"-0b1_01", WithRadix), Ok(-5));
        assert_eq!(bigint(b"0x_1", WithRadix), Ok(1));
        assert_eq!(bigint(b"1_000", WithRadix), Ok(1000));
        for bad in [&b"_1"[..], b"1_", b"1__0", b"0x", b"0xg"] {
            assert_eq!(bigint(bad, WithRadix).unwrap_err().condition, Condition::InvalidTextRepresentation, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn scaled_equals_arithmetic_on_the_text(
            negative: bool, weight in -3i16..4, digits in prop::collection::vec(0i16..10000, 0..6), places in 0u32..8
        ) {
            let scale = u16::try_from((i32::from(weight) + 1 - i32::try_from(digits.len()).unwrap()).min(0).unsigned_abs() * 4).unwrap();
            let n = number(negative, weight, scale, &digits);
            let text = text(&n);
            let text = text.trim_start_matches('-');
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let mut shown = format!("{whole}{fraction:0<40}");
            let cut = whole.len() + places as usize;
            let up = shown.as_bytes()[cut] >= b'5';
            shown.truncate(cut);
            let expected = shown.parse::<i128>().unwrap() + i128::from(up);
            prop_assert_eq!(view(&n).scaled(places), Some(if negative { -expected } else { expected }));
        }

        #[test]
        fn bigint_agrees_with_the_library(text in "[+-]?[0-9]{1,20}") {
            let expected = text.parse::<i64>().ok();
            prop_assert_eq!(bigint(text.as_bytes(), IntegerSyntax::Decimal).ok(), expected);
        }
    }
}
