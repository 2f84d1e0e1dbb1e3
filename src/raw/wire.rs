//! What a client sends in binary: the message that a receive function is given.

use pgrx::{Internal, pg_sys};

/// The bytes of a message that are not read yet; they count as read now. Empty for no message.
pub fn rest_of(message: &mut Internal) -> &[u8] {
    // SAFETY: the server calls receive functions alone with an argument of type `internal`, and it is a message of this
    // type then, whose cursor lies within its length.
    unsafe {
        let Some(message) = message.get_mut::<pg_sys::StringInfoData>() else { return &[] };
        let (Ok(from), Ok(len)) = (usize::try_from(message.cursor), usize::try_from(message.len)) else { return &[] };
        message.cursor = message.len;
        std::slice::from_raw_parts(message.data.cast::<u8>().add(from), len.saturating_sub(from))
    }
}
