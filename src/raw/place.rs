//! Values read and changed where they lie, without a call into the server: for what runs once a row.
//!
//! A call into the server costs about as much as a small transition function does, because an error that it raises has
//! to be caught. So these two answer `None` where the server would have work to do, and the caller goes the long way.

use pgrx::pg_sys;

use super::types::Varlena;

/// The bytes of a value after its length word, if it is neither compressed nor stored elsewhere.
#[inline]
pub fn payload<V: Varlena>(value: &V) -> Option<&[u8]> {
    let start = value.datum().cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: a value of this trait is a varlena that is not NULL; one with a plain header is as long as that says, and
    // lives as long as the call whose argument it is.
    unsafe {
        if pgrx::varatt_is_4b_u(start) {
            return Some(std::slice::from_raw_parts(start.cast::<u8>().add(4), pgrx::varsize_4b(start) - 4));
        }
        (pgrx::varatt_is_1b(start) && !pgrx::varatt_is_1b_e(start))
            .then(|| std::slice::from_raw_parts(start.cast::<u8>().add(1), pgrx::varsize_1b(start) - 1))
    }
}

/// The bytes of a whole value with a plain 4-byte length word, that included.
#[inline]
pub fn whole<V: Varlena>(value: &V) -> Option<&[u8]> {
    let start = value.datum().cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: as above.
    unsafe {
        pgrx::varatt_is_4b_u(start).then(|| std::slice::from_raw_parts(start.cast::<u8>(), pgrx::varsize_4b(start)))
    }
}

/// The bytes of an aggregate's state after the length word, if they are ours to change: in an aggregate's transition,
/// and not packed on the way from a parallel worker.
#[inline]
pub fn state<V: Varlena>(fcinfo: pg_sys::FunctionCallInfo, value: &mut V) -> Option<&mut [u8]> {
    let start = value.datum().cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: the server calls with a valid call frame, whose context is NULL or a node; the state of an aggregate
    // belongs to the transition while that runs, and its length is as above.
    unsafe {
        let context = (*fcinfo).context;
        let in_aggregate = !context.is_null()
            && matches!((*context).type_, pg_sys::NodeTag::T_AggState | pg_sys::NodeTag::T_WindowAggState);
        (in_aggregate && pgrx::varatt_is_4b_u(start))
            .then(|| std::slice::from_raw_parts_mut(start.cast::<u8>().add(4), pgrx::varsize_4b(start) - 4))
    }
}

/// How many arguments there are from one on (0-based), all of them of type `bool`, and which of those are true, one bit
/// each; NULL is not.
#[inline]
pub fn bools(fcinfo: pg_sys::FunctionCallInfo, from: usize) -> (usize, u64) {
    // SAFETY: the server calls with a valid call frame, which has as many arguments as it says.
    let given = unsafe { (*fcinfo).args.as_slice(usize::try_from((*fcinfo).nargs).unwrap_or(0)) };
    let given = given.get(from..).unwrap_or_default();
    // The server reads the lowest byte of a bool's datum alone.
    let holds = |argument: &pg_sys::NullableDatum| !argument.isnull && argument.value.value() as u8 != 0;
    (given.len(), given.iter().take(64).rev().fold(0, |mask, argument| mask << 1 | u64::from(holds(argument))))
}
