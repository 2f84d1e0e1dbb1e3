//! The layout of `bool[]`, read as a mask: one bit for each element, set where it is true.
//!
//! Elements take a byte each, NULLs none; see `array.rs` for the head.

use eventkit_core::error::{Condition, Error, Result};

use super::array::head_size;
use super::varlena::{corrupted, word};

/// Elements that a mask has bits for.
const MOST: usize = 64;

/// How many elements an array has and which of them are true; NULL is not. Takes the whole value, length word included.
/// O(elements).
/// Errors: `2202E` for more than one dimension, `54000` for more than 64 elements, both naming the argument; `XX001`.
#[inline]
pub fn mask(bytes: &[u8], argument: &str) -> Result<(usize, u64)> {
    let Some(head) = bytes.first_chunk::<24>() else { return empty_or_corrupted(bytes) };
    let at = |index: usize| word(head, index * 4).unwrap_or(0);
    let (dimensions, offset, len) = (at(1), at(2) as usize, at(4) as usize);
    if dimensions != 1 || len > MOST {
        return refused(dimensions, len, argument);
    }
    let start = if offset == 0 { head_size(1, 0) } else { offset };
    let data = bytes.get(start..).ok_or_else(ends)?;
    if offset != 0 {
        return with_nulls(bytes, data, len);
    }
    let data = data.get(..len).ok_or_else(ends)?;
    Ok((len, data.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(*byte != 0))))
}

#[cold]
fn ends() -> Error {
    corrupted("bool[]", "The value ends before its last element.")
}

#[cold]
fn empty_or_corrupted(bytes: &[u8]) -> Result<(usize, u64)> {
    match word(bytes, 4) {
        Some(0) => Ok((0, 0)),
        _ => Err(ends()),
    }
}

#[cold]
fn refused(dimensions: u32, len: usize, argument: &str) -> Result<(usize, u64)> {
    match dimensions {
        0 => Ok((0, 0)),
        1 => Err(Error::new(Condition::ProgramLimitExceeded, format!("argument \"{argument}\" has {len} elements"))
            .detail("There can be 64 conditions at most.")
            .hint("Leave conditions out, or put some together with OR.")),
        many => Err(Error::new(
            Condition::ArraySubscript,
            format!("argument \"{argument}\" has {many} dimensions, not one"),
        )
        .detail("It is a list of conditions.")
        .hint("Write VARIADIC ARRAY[event = 'view', event = 'pay'].")),
    }
}

fn with_nulls(bytes: &[u8], data: &[u8], len: usize) -> Result<(usize, u64)> {
    let bits = bytes.get(24..24 + len.div_ceil(8)).ok_or_else(ends)?;
    let mut present = data.iter();
    let mut mask = 0;
    for at in 0..len {
        if bits[at / 8] >> (at % 8) & 1 == 1 {
            mask |= u64::from(*present.next().ok_or_else(ends)? != 0) << at;
        }
    }
    Ok((len, mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An array as the server builds it.
    fn array(elements: &[Option<bool>]) -> Vec<u8> {
        let nulls = elements.iter().any(Option::is_none);
        let head = head_size(1, if nulls { elements.len() } else { 0 });
        let words = [0, 1, if nulls { head } else { 0 }, 16, elements.len(), 1];
        let mut bytes: Vec<u8> =
            words.iter().flat_map(|word| u32::try_from(*word).unwrap_or(0).to_ne_bytes()).collect();
        bytes.resize(head, 0);
        for (at, element) in elements.iter().enumerate() {
            if let Some(value) = element {
                if nulls {
                    bytes[24 + at / 8] |= 1 << (at % 8);
                }
                bytes.push(u8::from(*value));
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn each_element_is_a_bit(elements in prop::collection::vec(prop::option::of(any::<bool>()), 1..=64)) {
            let (len, mask) = mask(&array(&elements), "conditions").unwrap();
            prop_assert_eq!(len, elements.len());
            for (at, element) in elements.iter().enumerate() {
                prop_assert_eq!(mask >> at & 1 == 1, *element == Some(true));
            }
        }

        #[test]
        fn any_bytes_give_a_mask_or_an_error(
            head in (0u32..3, prop_oneof![Just(0u32), 0u32..60], 0u32..70), data in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            let (dimensions, offset, len) = head;
            let mut bytes: Vec<u8> = [0, dimensions, offset, 16, len, 1].iter().flat_map(|w| w.to_ne_bytes()).collect();
            bytes.extend(data);
            let _ = mask(&bytes, "conditions");
            let _ = mask(&bytes[..bytes.len().min(20)], "conditions");
        }
    }
}
