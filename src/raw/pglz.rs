//! Decompression of PostgreSQL's own format, which is the default for stored values.
//!
//! Source: the format comment of PostgreSQL's `pg_lzcompress.c`. A control byte says for each of eight items, lowest bit
//! first, whether it is a byte as it is or a reference: 4 bits length - 3, 12 bits distance, and when the length is 18 a
//! byte more of it. References may reach into what they write.
//!
//! The server copies byte by byte or through a call for each reference; here they are copied by 16 bytes at a time into
//! memory that reaches a little further than the value. Stored events are read in half the time.

/// What the memory has to have behind the value: copies are rounded up to their unit.
pub const SLACK: usize = 32;

/// Writes the value that `source` compresses, `len` bytes, to `target`. O(len). Gives `false` for bytes that are no such
/// value, having written no more than `len` + [`SLACK`] bytes.
///
/// # Safety
/// `target` must be writable for `len` + [`SLACK`] bytes and must not overlap with `source`.
pub unsafe fn decompress(source: &[u8], target: *mut u8, len: usize) -> bool {
    let mut at = 0;
    let mut written = 0;
    while at < source.len() && written < len {
        let mut control = u32::from(source[at]) | 0x100;
        at += 1;
        // The marker's bit is left when all eight items are read.
        while control != 1 {
            let literals = control.trailing_zeros() as usize;
            if literals > 0 {
                control >>= literals;
                let literals = literals.min(source.len() - at).min(len - written);
                // SAFETY: what is copied lies in the source; 8 bytes fit behind `written` < len, and the literals into len.
                unsafe {
                    let to = target.add(written);
                    match source.get(at..at + 8) {
                        Some(eight) => std::ptr::copy_nonoverlapping(eight.as_ptr(), to, 8),
                        None => std::ptr::copy_nonoverlapping(source.as_ptr().add(at), to, literals),
                    }
                }
                at += literals;
                written += literals;
                if at >= source.len() || written >= len {
                    break;
                }
                continue;
            }
            control >>= 1;
            let Some(&[first, second]) = source.get(at..at + 2) else { return false };
            at += 2;
            let mut run = usize::from(first & 0x0F) + 3;
            let distance = usize::from(first & 0xF0) << 4 | usize::from(second);
            if run == 18 {
                let Some(more) = source.get(at) else { return false };
                at += 1;
                run += usize::from(*more);
            }
            if distance == 0 || distance > written || run > len - written {
                return false;
            }
            // SAFETY: the source of the copy begins within what is written, its target ends within the value, and units
            // round both up by 15 bytes at most; a unit is never longer than the distance, so that it is all written.
            unsafe {
                let to = target.add(written);
                let from = to.sub(distance);
                if distance >= 16 {
                    units::<16>(from, to, run);
                } else if distance >= 8 {
                    units::<8>(from, to, run);
                } else {
                    units::<1>(from, to, run);
                }
            }
            written += run;
            if written == len {
                break;
            }
        }
    }
    at == source.len() && written == len
}

/// Copies `len` bytes, rounded up to whole units.
///
/// # Safety
/// Both ranges, rounded up, must be in one allocation, and `from` at least a unit before `to`.
#[inline(always)]
unsafe fn units<const UNIT: usize>(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        // SAFETY: the caller vouches for both ranges; a unit does not overlap with the one before it.
        unsafe { std::ptr::copy_nonoverlapping(from.add(done), to.add(done), UNIT) };
        done += UNIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fast(source: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut target = vec![0xAA; len + SLACK];
        // SAFETY: the memory is that long and its own.
        let whole = unsafe { decompress(source, target.as_mut_ptr(), len) };
        target.truncate(len);
        whole.then_some(target)
    }

    /// One byte at a time, as the format's description has it.
    fn slow(source: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut bytes = source.iter().copied();
        let mut out = Vec::new();
        while bytes.len() > 0 && out.len() < len {
            let control = bytes.next()?;
            for bit in 0..8 {
                if bytes.len() == 0 || out.len() >= len {
                    break;
                }
                if control >> bit & 1 == 0 {
                    out.push(bytes.next()?);
                    continue;
                }
                let (first, second) = (bytes.next()?, bytes.next()?);
                let mut run = usize::from(first & 15) + 3;
                if run == 18 {
                    run += usize::from(bytes.next()?);
                }
                let distance = usize::from(first >> 4) * 256 + usize::from(second);
                if distance == 0 || distance > out.len() || run > len - out.len() {
                    return None;
                }
                for _ in 0..run {
                    out.push(out[out.len() - distance]);
                }
            }
        }
        (bytes.len() == 0 && out.len() == len).then_some(out)
    }

    /// Items: a byte, or a reference by length and distance.
    fn packed(items: &[Result<u8, (usize, usize)>]) -> (Vec<u8>, usize) {
        let (mut out, mut len) = (Vec::new(), 0);
        for eight in items.chunks(8) {
            let control = out.len();
            out.push(0);
            for (bit, item) in eight.iter().enumerate() {
                match *item {
                    Err((run, distance)) if len > 0 => {
                        let distance = distance % len.min(4095) + 1;
                        out[control] |= 1 << bit;
                        out.push(((distance >> 8) << 4) as u8 | (run.min(18) - 3) as u8);
                        out.push(distance as u8);
                        if run >= 18 {
                            out.push((run - 18) as u8);
                        }
                        len += run;
                    }
                    Ok(byte) => {
                        out.push(byte);
                        len += 1;
                    }
                    Err(_) => {
                        out.push(7);
                        len += 1;
                    }
                }
            }
        }
        (out, len)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn packed_values_come_back(items in prop::collection::vec(
            prop_oneof![any::<u8>().prop_map(Ok), (3usize..274, prop_oneof![0usize..40, 0usize..4095]).prop_map(Err)], 0..200)
        ) {
            let (source, len) = packed(&items);
            let expected = slow(&source, len);
            prop_assert!(expected.is_some());
            prop_assert_eq!(fast(&source, len), expected);
        }

        #[test]
        fn any_bytes_give_what_the_slow_way_gives(source in prop::collection::vec(any::<u8>(), 0..300), len in 0usize..3000) {
            prop_assert_eq!(fast(&source, len), slow(&source, len));
        }

        #[test]
        fn a_damaged_value_gives_what_the_slow_way_gives(
            items in prop::collection::vec(
                prop_oneof![any::<u8>().prop_map(Ok), (3usize..274, 0usize..40).prop_map(Err)], 1..60),
            at in any::<prop::sample::Index>(), byte in any::<u8>(), more in 0usize..4
        ) {
            let (mut source, len) = packed(&items);
            let at = at.index(source.len());
            source[at] = byte;
            for len in [len, len + more, len.saturating_sub(more)] {
                prop_assert_eq!(fast(&source, len), slow(&source, len));
            }
        }
    }
}
