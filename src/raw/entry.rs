//! Entry points of `window_funnel` that the server calls without the guard around other functions.
//!
//! The guard catches errors and panics, and costs as much as adding a row does. What is done here raises neither: all
//! that is not the usual row goes on to the guarded functions, untouched.

use eventkit_core::funnel::duration;
use eventkit_core::funnel::rows::Mode;
use eventkit_core::funnel::rows::state::{Settings, check_same, push};
use pgrx::pg_sys;

use super::place;
use super::types::{Bytes, Text, Varlena};

unsafe extern "C-unwind" {
    /// The guarded function that does all the work; the conditions follow three arguments.
    fn window_funnel_add_separate_wrapper(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    /// The same with a mode in front of the time.
    fn window_funnel_add_mode_separate_wrapper(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
}

/// Has the processor fetch what lies behind the head of a state, where the row will go: with many groups in turn neither
/// is in a cache, and the head has to come before the row's place is known.
#[inline(always)]
fn fetch_ahead(state: pg_sys::Datum) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = state.cast_mut_ptr::<i8>();
        // SAFETY: fetching ahead reads nothing and cannot fail, wherever the address leads.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(64));
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(128));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = state;
}

/// Adds a row to a state that has room for it; gives the state, `None` where the guarded function has to look. O(1).
///
/// # Safety
/// Called by the server, with a valid call frame: state, window, mode if `MODE` says so, time, conditions.
#[inline(always)]
unsafe fn add<const MODE: bool>(fcinfo: pg_sys::FunctionCallInfo) -> Option<pg_sys::Datum> {
    // SAFETY: the frame is valid and has as many arguments as it says, each of its declared type.
    unsafe {
        let given = (*fcinfo).args.as_slice(usize::try_from((*fcinfo).nargs).ok()?);
        let argument = |at: usize| given.get(at).filter(|argument| !argument.isnull).map(|argument| argument.value);
        let state = argument(0)?;
        let (steps, matched) = place::bools(fcinfo, 3 + usize::from(MODE));
        let mode = if MODE { Mode::read(place::payload(&Text::wrap(argument(2)?))?).ok()? } else { Mode::Ordered };
        if matched == 0 && !mode.needs_misses() {
            return Some(state);
        }
        fetch_ahead(state);
        let time = argument(2 + usize::from(MODE))?.value().cast_signed() as i64;
        if matches!(time, i64::MIN | i64::MAX) {
            return None;
        }
        let window = match argument(1) {
            Some(window) => {
                let window = &*window.cast_mut_ptr::<pg_sys::Interval>();
                Some(duration::of_interval("conversion_window", window.month, window.day, window.time).ok()?)
            }
            None => None,
        };
        let mut value = Bytes::wrap(state);
        let bytes = place::state(fcinfo, &mut value)?;
        check_same(bytes, Settings { mode, steps, window }).ok()?;
        push(bytes, time, matched).ok()?.then_some(state)
    }
}

/// The transition of `window_funnel` with its conditions as arguments of their own.
///
/// # Safety
/// Called by the server, with a valid call frame.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn window_funnel_add_row(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the frame is as these two functions expect it.
    unsafe { add::<false>(fcinfo).unwrap_or_else(|| window_funnel_add_separate_wrapper(fcinfo)) }
}

/// The same with a mode.
///
/// # Safety
/// Called by the server, with a valid call frame.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn window_funnel_add_mode_row(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the frame is as these two functions expect it.
    unsafe { add::<true>(fcinfo).unwrap_or_else(|| window_funnel_add_mode_separate_wrapper(fcinfo)) }
}

const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };

/// Tells the server how the function is called.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_window_funnel_add_row() -> &'static pg_sys::Pg_finfo_record {
    &VERSION_1
}

/// Tells the server how the function is called.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_window_funnel_add_mode_row() -> &'static pg_sys::Pg_finfo_record {
    &VERSION_1
}
