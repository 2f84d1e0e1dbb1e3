//! What a window function sees: the arguments of its current row, and memory that lasts for the partition.

use std::ffi::{c_int, c_void};

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{FromDatum, pg_sys};

// The server's `windowapi.h`, which pgrx does not bind.
unsafe extern "C-unwind" {
    fn WinGetPartitionLocalMemory(window: *mut pg_sys::WindowObjectData, size: usize) -> *mut c_void;
    fn WinGetFuncArgCurrent(
        window: *mut pg_sys::WindowObjectData,
        argument: c_int,
        is_null: *mut bool,
    ) -> pg_sys::Datum;
}

/// A call of a window function.
pub struct Window(*mut pg_sys::WindowObjectData);

impl Window {
    /// The window of a call; `None` when the function was not called as a window function.
    pub fn of_call(fcinfo: pg_sys::FunctionCallInfo) -> Option<Self> {
        // SAFETY: the server calls with a valid call frame, whose context is NULL or a node.
        unsafe {
            let context = (*fcinfo).context;
            let in_window = !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_WindowObjectData;
            in_window.then(|| Self(context.cast()))
        }
    }

    /// The arguments of the current row: a time and an interval.
    pub fn time_and_interval(&self) -> (Option<TimestampWithTimeZone>, Option<Interval>) {
        // SAFETY: the one window function, in sql/session_window.sql, is declared with these arguments.
        unsafe { (self.argument(0), self.argument(1)) }
    }

    /// An argument (0-based) of the current row; `None` for NULL.
    ///
    /// # Safety
    /// The function must be declared with an argument of this type at this place.
    unsafe fn argument<T: FromDatum>(&self, at: c_int) -> Option<T> {
        let mut is_null = false;
        // SAFETY: the window is the one of this call, and the boundary turns an error of the server into one of Rust;
        // the caller vouches for the argument.
        unsafe {
            let datum = pg_guard_ffi_boundary(|| WinGetFuncArgCurrent(self.0, at, &raw mut is_null));
            T::from_datum(datum, is_null)
        }
    }

    /// Two numbers that are zero at the first row of a partition and then what the row before left.
    pub fn memory(&mut self) -> &mut [i64; 2] {
        // SAFETY: the server gives zeroed memory of this size, aligned for any type, for as long as the partition lasts;
        // nobody else uses it. The boundary is as above.
        unsafe {
            let memory = pg_guard_ffi_boundary(|| WinGetPartitionLocalMemory(self.0, size_of::<[i64; 2]>()));
            &mut *memory.cast::<[i64; 2]>()
        }
    }
}
