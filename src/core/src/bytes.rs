//! Numbers inside of a byte string, little-endian and bounds-checked, and an index from keys to records there.
//!
//! The index is open addressing over slots of four bytes: 0 = free, else 1 + the number of a record.

/// So many bytes from a place on.
#[inline]
#[must_use]
pub fn at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..place.checked_add(N)?)?.try_into().ok()
}

/// A number of 32 bits that counts something.
#[inline]
#[must_use]
pub fn count_at(bytes: &[u8], place: usize) -> Option<usize> {
    at(bytes, place).map(|number| u32::from_le_bytes(number) as usize)
}

/// A number of 32 bits.
#[inline]
#[must_use]
pub fn i32_at(bytes: &[u8], place: usize) -> Option<i32> {
    at(bytes, place).map(i32::from_le_bytes)
}

/// A number of 64 bits.
#[inline]
#[must_use]
pub fn i64_at(bytes: &[u8], place: usize) -> Option<i64> {
    at(bytes, place).map(i64::from_le_bytes)
}

/// Four bytes that count something; more than they can count counts as the most.
#[must_use]
pub fn count(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes bytes at a place. `None` when they have no room there.
#[inline]
pub fn put(bytes: &mut [u8], place: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(place..place.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

/// Adds to a number of 64 bits, up to the largest one.
#[inline]
pub fn add(bytes: &mut [u8], place: usize, amount: i64) -> Option<()> {
    let sum = i64_at(bytes, place)?.saturating_add(amount);
    put(bytes, place, &sum.to_le_bytes())
}

/// A hash that never changes: values that are stored hold it. Source: the FNV-1a hash of 64 bits.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

/// Bytes read one part after the other.
pub struct Reader<'b> {
    bytes: &'b [u8],
}

impl<'b> Reader<'b> {
    /// From the first byte.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    /// The next bytes; `None` when there are not so many.
    pub fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    /// The next four bytes as a number that counts something.
    pub fn count(&mut self) -> Option<usize> {
        count_at(self.take(4)?, 0)
    }

    /// The next four bytes as a number.
    pub fn i32(&mut self) -> Option<i32> {
        i32_at(self.take(4)?, 0)
    }

    /// The next eight bytes as a number.
    pub fn i64(&mut self) -> Option<i64> {
        i64_at(self.take(8)?, 0)
    }

    /// Whether all bytes were read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Bytes of an index with room for so many records: half of the slots stay free at least.
#[must_use]
pub fn index_size(records: usize) -> usize {
    (records * 2).next_power_of_two().max(8) * 4
}

/// What an index knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The number of its record.
    Record(usize),
    /// It has none; here goes the number of a new one.
    Free(usize),
}

/// Looks a key up: its hash, and whether the record of a number has it. O(1) on average.
/// `None` for bytes that are no index, or one without a free slot.
#[inline]
pub fn find(index: &[u8], hash: u64, mut has_key: impl FnMut(usize) -> bool) -> Option<Found> {
    let slots = index.len() / 4;
    if !slots.is_power_of_two() {
        return None;
    }
    // The multiplication moves what the low bits lack into the high ones.
    let start = (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
    for step in 0..slots {
        let slot = (start + step) & (slots - 1);
        match count_at(index, slot * 4)? {
            0 => return Some(Found::Free(slot)),
            number if has_key(number - 1) => return Some(Found::Record(number - 1)),
            _ => {}
        }
    }
    None
}

/// Writes the number of a new record into the slot that [`find`] gave.
#[inline]
pub fn enter(index: &mut [u8], slot: usize, record: usize) -> Option<()> {
    put(index, slot * 4, &count(record + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn the_index_is_a_map(keys in prop::collection::vec(0u64..200, 0..150)) {
            let mut index = vec![0; index_size(keys.len())];
            let (mut records, mut expected) = (Vec::new(), HashMap::new());
            for key in keys {
                // Few hashes, so that keys collide.
                match find(&index, key % 7, |record| records[record] == key).unwrap() {
                    Found::Record(record) => prop_assert_eq!(expected[&key], record),
                    Found::Free(slot) => {
                        prop_assert_eq!(expected.insert(key, records.len()), None);
                        enter(&mut index, slot, records.len()).unwrap();
                        records.push(key);
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_an_index_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64), hash: u64) {
            let _ = find(&bytes, hash, |record| record % 3 == 0);
        }
    }
}
