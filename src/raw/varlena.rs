//! Variable-length values: detoasting with the copy freed at the end, and the length headers of elements.

use eventkit_core::error::{Condition, Error, Result};
use pgrx::pg_sys;

use super::pglz;

/// The bytes of a value as they lie in memory, after its length word.
#[derive(Clone, Copy)]
pub struct Payload<'a>(pub &'a [u8]);

/// A detoasted value; a copy that detoasting made is freed when this goes.
pub struct Detoasted {
    value: *mut pg_sys::varlena,
    owned: bool,
}

impl Detoasted {
    /// Brings a value into memory, decompressed and with a 4-byte header.
    ///
    /// # Safety
    /// The datum must be a variable-length value that is not NULL.
    pub unsafe fn open(datum: pg_sys::Datum) -> Self {
        let given = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the caller vouches for the datum; what is fetched is ours, and a value in memory.
        unsafe {
            if pgrx::varatt_is_1b_e(given) {
                let fetched = pg_sys::detoast_external_attr(given);
                let value = in_memory(fetched);
                if value != fetched {
                    pg_sys::pfree(fetched.cast());
                }
                return Self { value, owned: true };
            }
            let value = in_memory(given);
            Self { value, owned: value != given }
        }
    }

    /// Brings a value into memory as it was stored, compressed if it was, with a 4-byte header.
    ///
    /// # Safety
    /// The datum must be a variable-length value that is not NULL.
    pub unsafe fn open_packed(datum: pg_sys::Datum) -> Self {
        let given = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the caller vouches for the datum; an external value becomes a copy in memory, which may have a short
        // header as any other may.
        unsafe {
            let mut value = given;
            if pgrx::varatt_is_1b_e(value) {
                value = pg_sys::detoast_external_attr(value);
            }
            if pgrx::varatt_is_1b(value) {
                value = pg_sys::pg_detoast_datum(value);
            }
            Self { value, owned: value != given }
        }
    }

    /// The whole value, length word included.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a detoasted value is as long as its header says and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.value.cast::<u8>(), pgrx::varsize_4b(self.value)) }
    }

    /// The bytes after the length word.
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(4..).unwrap_or_default()
    }

    /// The length word and the four bytes after it, decompressed.
    pub fn head(&self) -> [u8; 8] {
        let mut head = [0; 8];
        // SAFETY: the value is a varlena with a 4-byte header; a slice of it is a copy with one, as long as that says.
        unsafe {
            let slice = if pgrx::varatt_is_4b_c(self.value) {
                pg_sys::pg_detoast_datum_slice(self.value, 0, 4)
            } else {
                self.value
            };
            let bytes = std::slice::from_raw_parts(slice.cast::<u8>(), pgrx::varsize_4b(slice));
            let len = bytes.len().min(8);
            head[..len].copy_from_slice(&bytes[..len]);
            if slice != self.value {
                pg_sys::pfree(slice.cast());
            }
        }
        head
    }

    /// The whole value to change, if it is our own copy.
    pub fn own_bytes(&mut self) -> Option<&mut [u8]> {
        if !self.owned {
            return None;
        }
        // SAFETY: as above, and nobody else has seen the copy.
        Some(unsafe { std::slice::from_raw_parts_mut(self.value.cast::<u8>(), pgrx::varsize_4b(self.value)) })
    }

    /// Makes our own copy shorter.
    pub fn shorten(&mut self, len: usize) {
        debug_assert!(self.owned && len <= self.bytes().len());
        // SAFETY: the copy is ours, and its allocation stays as long as it was.
        unsafe { pgrx::set_varsize_4b(self.value, i32::try_from(len).unwrap_or(i32::MAX)) };
    }

    /// Makes our own copy longer by so many zero bytes, where it lies if there is room behind it. The caller has checked
    /// that the server allows that length.
    pub fn lengthen(&mut self, more: usize) {
        if !self.owned {
            return;
        }
        let old = self.bytes().len();
        // SAFETY: the copy is ours and was allocated by the server; what is added is initialised before it is seen.
        unsafe {
            self.value = pg_sys::repalloc(self.value.cast(), old + more).cast();
            std::ptr::write_bytes(self.value.cast::<u8>().add(old), 0, more);
            pgrx::set_varsize_4b(self.value, i32::try_from(old + more).unwrap_or(i32::MAX));
        }
    }

    /// The value itself, no longer freed.
    pub fn into_datum(mut self) -> pg_sys::Datum {
        self.owned = false;
        pg_sys::Datum::from(self.value)
    }
}

impl Drop for Detoasted {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: detoasting made this copy for us and nobody else has seen it.
            unsafe { pg_sys::pfree(self.value.cast()) };
        }
    }
}

/// Longer copies would not fit into what the server allocates at once; and with another method than pglz in its highest
/// bits the word is larger still.
const LARGEST_COPY: usize = 0x3FFF_FFFF - 4 - pglz::SLACK;

/// A value that is in memory, decompressed and with a 4-byte header: the same if it is so already, otherwise a copy.
///
/// # Safety
/// The value must be one that the server built, not NULL, and not stored elsewhere.
unsafe fn in_memory(value: *mut pg_sys::varlena) -> *mut pg_sys::varlena {
    // SAFETY: the caller vouches for the value. A compressed one has its length word, then a word with the length of
    // what it holds and its method (0 = pglz) in the two highest bits, then its bytes; the copy is as long as is said,
    // and a value that does not decompress is left to the server, which knows what to say of it.
    unsafe {
        if pgrx::varatt_is_4b_u(value) {
            return value;
        }
        if pgrx::varatt_is_4b_c(value) {
            let bytes = std::slice::from_raw_parts(value.cast::<u8>(), pgrx::varsize_4b(value));
            if let Some(info) = word(bytes, 4).filter(|info| (*info as usize) < LARGEST_COPY) {
                let len = info as usize;
                let copy = pg_sys::palloc(len + 4 + pglz::SLACK).cast::<pg_sys::varlena>();
                if pglz::decompress(&bytes[8..], copy.cast::<u8>().add(4), len) {
                    pgrx::set_varsize_4b(copy, i32::try_from(len + 4).unwrap_or(i32::MAX));
                    return copy;
                }
                pg_sys::pfree(copy.cast());
            }
        }
        pg_sys::pg_detoast_datum(value)
    }
}

/// Bytes that are no value of their type.
pub fn corrupted(kind: &'static str, what: &'static str) -> Error {
    Error::new(Condition::DataCorrupted, format!("corrupt {kind} value"))
        .detail(what)
        .hint("Restore the row from a backup; pg_amcheck finds damaged tables.")
}

/// Rounds up to the alignment of `hstore` and `jsonb` elements.
pub const fn aligned(offset: usize) -> usize {
    (offset + 3) & !3
}

/// Four bytes as an unsigned number, wherever they lie.
#[inline(always)]
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
}

/// The element at an offset: its bytes after the header, and the offset behind it.
/// Elements inside an array are neither compressed nor stored elsewhere; the 1-byte header may occur.
#[inline(always)]
pub fn element<'a>(kind: &'static str, data: &'a [u8], offset: usize) -> Result<(Payload<'a>, usize)> {
    let ends = || corrupted(kind, "An element reaches beyond the end of its array.");
    let first = *data.get(offset).ok_or_else(ends)?;
    let (start, len) = if first & 3 == 0 {
        (offset + 4, (word(data, offset).ok_or_else(ends)? >> 2) as usize)
    } else if first & 1 == 1 && first != 1 {
        (offset + 1, usize::from(first >> 1))
    } else {
        return Err(corrupted(kind, "An element inside of an array is compressed or stored elsewhere."));
    };
    let end = offset + len;
    if len < start - offset {
        return Err(corrupted(kind, "The length word of an element is impossible."));
    }
    data.get(start..end).map(|payload| (Payload(payload), end)).ok_or_else(ends)
}
