//! What a call site compiled from its arguments, kept for the length of the query.

use eventkit_core::error::Result;
use pgrx::pg_sys;

struct Slot<T> {
    key: Vec<u8>,
    value: T,
}

/// The value that was built from these arguments at this call site, or built now. The bytes of the arguments are
/// compared on each call, so an argument that changes from row to row is right, only slower.
///
/// The caller asks for one type only at a given function: the slot is the function's own.
pub fn cached<'q, T: 'static>(
    fcinfo: pg_sys::FunctionCallInfo,
    key: &[&[u8]],
    build: impl FnOnce() -> Result<T>,
) -> Result<&'q mut T> {
    // SAFETY: the server calls functions with a valid call frame and FmgrInfo, and sets `fn_extra` to null at first;
    // what is found there was put there below by the same function, hence of the same type. The reference ends with
    // the call: nothing else reaches the slot before.
    let (info, slot) = unsafe {
        let info = (*fcinfo).flinfo;
        (info, (*info).fn_extra.cast::<Slot<T>>().as_mut())
    };
    if let Some(slot) = slot {
        if !is_key(&slot.key, key) {
            slot.value = build()?;
            slot.key = joined(key);
        }
        return Ok(&mut slot.value);
    }
    let slot = Box::into_raw(Box::new(Slot { key: joined(key), value: build()? }));
    // SAFETY: the callback lives in the context that calls it, once, when the query ends; the slot is not used after.
    unsafe {
        let context = (*info).fn_mcxt;
        let callback = pg_sys::MemoryContextAllocZero(context, size_of::<pg_sys::MemoryContextCallback>())
            .cast::<pg_sys::MemoryContextCallback>();
        (*callback).func = Some(free::<T>);
        (*callback).arg = slot.cast();
        pg_sys::MemoryContextRegisterResetCallback(context, callback);
        (*info).fn_extra = slot.cast();
        Ok(&mut (*slot).value)
    }
}

/// Frees a slot when its query's memory goes.
unsafe extern "C-unwind" fn free<T>(slot: *mut std::ffi::c_void) {
    // SAFETY: made by `Box::into_raw` above and freed here only.
    drop(unsafe { Box::from_raw(slot.cast::<Slot<T>>()) });
}

/// The parts behind one another, each with its length, so that no two lists of parts look alike.
fn joined(key: &[&[u8]]) -> Vec<u8> {
    key.iter().flat_map(|part| part.len().to_ne_bytes().into_iter().chain(part.iter().copied())).collect()
}

fn is_key(known: &[u8], key: &[&[u8]]) -> bool {
    let mut rest = known;
    for part in key {
        let Some(after) = rest.strip_prefix(&part.len().to_ne_bytes()).and_then(|rest| rest.strip_prefix(*part)) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}
