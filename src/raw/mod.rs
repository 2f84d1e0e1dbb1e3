//! The only unsafe code: detoasting, array walking, byte layouts, memory of aggregate states, differences between server versions.
//!
//! The readers of byte layouts (`hstore`, `jsonb`, `numeric`, `array`) work on bounds-checked slices and have no unsafe
//! line themselves: a corrupt value is an error, never a read out of bounds. `pglz` copies by pointer, within bounds that
//! it checks for each copy.
#![allow(unsafe_code)]

pub mod array;
mod array_form;
pub mod bools;
pub mod bounds;
pub mod cache;
pub mod chunks;
mod document_form;
pub mod entry;
pub mod form;
pub mod gather;
pub mod hstore;
pub mod jsonb;
pub mod load;
pub mod numeric;
pub mod out;
pub mod parse;
pub mod pglz;
mod pieces;
pub mod place;
pub mod restricted;
pub mod server;
pub mod session_locks;
pub mod state;
pub mod types;
pub mod user_events;
pub mod varlena;
pub mod window;
pub mod wire;
pub mod worker;
pub mod zone;

#[cfg(target_endian = "big")]
compile_error!("the varlena headers are read as on little-endian machines");
