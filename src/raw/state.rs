//! Aggregate states: variable-length values that the server copies and frees, changed in place where that is allowed.

use eventkit_core::error::Result;
use pgrx::pg_sys;

use super::out::Out;
use super::types::Varlena;

/// A state that may be written to: the aggregate's own, or a fresh copy of an argument that is not ours.
pub struct State {
    start: *mut u8,
    len: usize,
}

impl State {
    /// The state argument of a transition. In an aggregate its bytes are ours to change, unless the server has packed
    /// it on the way from a parallel worker; then, and outside of an aggregate, a copy is.
    pub fn of_argument<V: Varlena>(fcinfo: pg_sys::FunctionCallInfo, value: V) -> Self {
        let given = value.datum().cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the server calls with a valid call frame; the argument is a varlena that is not NULL; a value with a
        // plain 4-byte header is as long as that says.
        unsafe {
            let in_aggregate = pg_sys::AggCheckCallContext(fcinfo, std::ptr::null_mut()) != 0;
            let value =
                if in_aggregate && pgrx::varatt_is_4b_u(given) { given } else { pg_sys::pg_detoast_datum_copy(given) };
            Self { start: value.cast(), len: pgrx::varsize_4b(value) }
        }
    }

    /// A state of these bytes.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let mut out = Out::with_capacity(4 + bytes.len())?;
        out.bytes(bytes);
        let len = out.len();
        Ok(Self { start: out.into_datum().cast_mut_ptr(), len })
    }

    /// The bytes after the length word.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `start` has `len` bytes, 4 of them the length word, and nobody else uses them during the call.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(4), self.len - 4) }
    }

    /// Gives the state back to the server.
    pub fn into_value<V: Varlena>(self) -> V {
        // SAFETY: the caller asks for the type that it read or built.
        unsafe { V::wrap(pg_sys::Datum::from(self.start)) }
    }
}
