//! Session-level advisory locks that procedures hold through their COMMITs: given back when a transaction is aborted, because then
//! the procedure is over, wherever the error or the cancel found it.

use pgrx::{IntoDatum, pg_sys};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;

thread_local! {
    /// The keys of the locks that this session holds.
    static HELD: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Remembers that the session holds the lock of a key, or that it does no more.
pub fn remember(key: i64, held: bool) {
    HELD.with_borrow_mut(|keys| {
        keys.retain(|other| *other != key);
        if held {
            keys.push(key);
        }
    });
    if !REGISTERED.replace(true) {
        // SAFETY: the callback is a function of this library, which the server never unloads.
        unsafe { pg_sys::RegisterXactCallback(Some(release), std::ptr::null_mut()) }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn release(event: pg_sys::XactEvent::Type, _nothing: *mut c_void) {
    if event != pg_sys::XactEvent::XACT_EVENT_ABORT {
        return;
    }
    for key in HELD.take() {
        // SAFETY: the server's own function with its one argument, a number. It works on the tables of locks alone, which are in order
        // while a transaction is aborted, and warns of a lock that somebody has given back already.
        unsafe {
            pgrx::direct_function_call::<bool>(pg_sys::pg_advisory_unlock_int8, &[key.into_datum()]);
        }
    }
}
