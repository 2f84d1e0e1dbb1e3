//! Entry points that the server calls without the guard around other functions, for calls that have nothing to do.
//!
//! The guard catches errors and panics and costs more than such a call itself. What is done here can raise neither.

use pgrx::pg_sys;

use super::place;

unsafe extern "C-unwind" {
    /// The guarded function that does the work.
    fn window_funnel_add_separate_wrapper(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
}

/// The transition of `window_funnel` without a mode, its conditions as arguments of their own. A row that meets no
/// condition leaves a state as it is; every other row goes on to the guarded function.
///
/// # Safety
/// Called by the server, with a valid call frame of at least the three arguments before the conditions.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn window_funnel_add_row(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the frame is valid, and the guarded function takes the same one.
    unsafe {
        let state = (*fcinfo).args.as_ptr();
        if !(*state).isnull && place::bools(fcinfo, 3).1 == 0 {
            return (*state).value;
        }
        window_funnel_add_separate_wrapper(fcinfo)
    }
}

/// Tells the server how the function above is called.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_window_funnel_add_row() -> &'static pg_sys::Pg_finfo_record {
    const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &VERSION_1
}
