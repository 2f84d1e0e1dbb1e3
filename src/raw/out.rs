//! Memory for a result, filled once from front to back and given to the server.

use eventkit_core::error::{Condition, Error, Result};
use pgrx::pg_sys;

/// The server refuses values from here on.
pub const LARGEST: usize = 0x3FFF_FFFF;

/// A value under construction, in the current memory context.
pub struct Out {
    start: *mut u8,
    len: usize,
    capacity: usize,
}

impl Out {
    /// Memory for a value of at most this size, its length word included. Errors: `54000` beyond 1 GB.
    pub fn with_capacity(capacity: usize) -> Result<Self> {
        if capacity > LARGEST {
            return Err(Error::new(Condition::ProgramLimitExceeded, "event array too large")
                .detail(format!("The result would take {capacity} bytes; a value may have {LARGEST}."))
                .hint("Keep the events of a user in several arrays, one a day for example."));
        }
        let capacity = capacity.max(4);
        // SAFETY: palloc gives memory of this size or raises an error.
        let start = unsafe { pg_sys::palloc(capacity) }.cast::<u8>();
        let mut out = Self { start, len: 0, capacity };
        out.word(0);
        Ok(out)
    }

    /// How many bytes are written, the length word included.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Appends bytes; the caller has reserved room for them.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.capacity - self.len, "a result outgrew the room computed for it");
        // SAFETY: there is room, and a fresh allocation overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(self.len), bytes.len()) };
        self.len += bytes.len();
    }

    /// Appends a word.
    #[inline]
    pub fn word(&mut self, word: u32) {
        self.bytes(&word.to_ne_bytes());
    }

    /// Appends zeros up to a length.
    pub fn zeros_to(&mut self, len: usize) {
        let Some(more) = len.checked_sub(self.len) else { return };
        assert!(more <= self.capacity - self.len, "a result outgrew the room computed for it");
        // SAFETY: there is room.
        unsafe { std::ptr::write_bytes(self.start.add(self.len), 0, more) };
        self.len = len;
    }

    /// Overwrites bytes that were appended before.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len, "only what was written is overwritten");
        // SAFETY: within what was written.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
    }

    /// Overwrites a word that was appended before.
    #[inline]
    pub fn patch(&mut self, at: usize, word: u32) {
        self.overwrite(at, &word.to_ne_bytes());
    }

    /// Sets the length word and gives the value away.
    pub fn into_datum(self) -> pg_sys::Datum {
        // SAFETY: the allocation has at least the 4 bytes of the length word and `len` bytes are initialised.
        unsafe { pgrx::set_varsize_4b(self.start.cast(), i32::try_from(self.len).unwrap_or(i32::MAX)) };
        pg_sys::Datum::from(self.start)
    }
}
