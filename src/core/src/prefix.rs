//! The beginning of a name as one machine word: most names are told apart by it, without a call to compare them.

/// Names up to so many bytes are their prefix.
pub const WHOLE: usize = 8;

/// The first 8 bytes of a name, zeros behind a shorter one. Names of one length, up to [`WHOLE`], are equal just when
/// their prefixes are. O(1), a branch for each class of length.
#[inline]
#[must_use]
pub fn prefix(name: &[u8]) -> u64 {
    if let Some(eight) = name.first_chunk::<8>() {
        return u64::from_le_bytes(*eight);
    }
    // The bytes counted from the end overlap those from the front where the name is short; they agree there.
    match (name.first_chunk::<4>(), name.last_chunk::<4>(), name) {
        (Some(front), Some(back), _) => {
            u64::from(u32::from_le_bytes(*front)) | u64::from(u32::from_le_bytes(*back)) << (8 * (name.len() - 4))
        }
        (_, _, [first, .., last]) => {
            let middle = name.len() / 2;
            u64::from(*first) | u64::from(name[middle]) << (8 * middle) | u64::from(*last) << (8 * (name.len() - 1))
        }
        (_, _, [only]) => u64::from(*only),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_first_bytes_with_zeros_behind(name in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut eight = [0; 8];
            for (byte, place) in name.iter().zip(&mut eight) {
                *place = *byte;
            }
            prop_assert_eq!(prefix(&name), u64::from_le_bytes(eight));
        }
    }
}
