//! The type `event_chunks`: its text and binary forms, and the aggregate that gathers a user's event arrays into one.

use std::ffi::{CStr, CString};

use eventkit_core::error::{Condition, Error, Result};
use pgrx::prelude::*;
use pgrx::{Internal, pg_sys};

use crate::pg::raise::OrRaise;
use crate::raw::chunks::{self, Chunk, Chunks};
use crate::raw::jsonb::read_json;
use crate::raw::types::{EventChunks, HstoreArray, JsonbArray, JsonbValue, Varlena};
use crate::raw::wire;

/// The first byte of the binary form; the text form follows it.
const BINARY_VERSION: u8 = 1;

pgrx::extension_sql!("CREATE TYPE event_chunks;", name = "event_chunks_shell");

fn text_of(chunks: EventChunks) -> Result<Vec<u8>> {
    Chunks::read(chunks.open().payload())?.to_text()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 1000, requires = ["event_chunks_shell"])]
fn event_chunks_in(input: &CStr) -> EventChunks {
    chunks::of_document(read_json(input)).or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 1000, requires = ["event_chunks_shell"])]
fn event_chunks_out(chunks: EventChunks) -> CString {
    // JSON escapes the zero byte, so there is none.
    CString::new(text_of(chunks).or_raise()).unwrap_or_default()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 1000, requires = ["event_chunks_shell"])]
fn event_chunks_recv(mut message: Internal) -> EventChunks {
    let wrong = |detail: &'static str| {
        Error::new(Condition::InvalidBinaryRepresentation, "invalid binary form of event_chunks")
            .detail(detail)
            .hint("Write it with COPY … (FORMAT binary), or use the text form.")
    };
    let mut read = || -> Result<EventChunks> {
        let [BINARY_VERSION, text @ ..] = wire::rest_of(&mut message) else {
            return Err(wrong("The first byte is not the version 1."));
        };
        let text = CString::new(std::str::from_utf8(text).map_err(|_| wrong("The text is not UTF-8."))?)
            .map_err(|_| wrong("The text holds a zero byte."))?;
        chunks::of_document(read_json(&text))
    };
    read().or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 1000, requires = ["event_chunks_shell"])]
fn event_chunks_send(chunks: EventChunks) -> Vec<u8> {
    let mut bytes = vec![BINARY_VERSION];
    bytes.extend(text_of(chunks).or_raise());
    bytes
}

pgrx::extension_sql!(
    r#"
CREATE TYPE event_chunks (
    INPUT = event_chunks_in,
    OUTPUT = event_chunks_out,
    RECEIVE = event_chunks_recv,
    SEND = event_chunks_send,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "event_chunks_type",
    requires = [event_chunks_in, event_chunks_out, event_chunks_recv, event_chunks_send],
);

fn add<C: Chunk>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<EventChunks>,
    events: Option<C>,
) -> Option<EventChunks> {
    match events {
        None => state,
        Some(events) => Some(chunks::add(fcinfo, state, events).or_raise()),
    }
}

macro_rules! declare {
    ($module:ident, $input:ty, $add:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "event_chunks_add", immutable, parallel_safe, cost = 10, requires = ["event_chunks_type"])]
            fn $add(
                state: Option<EventChunks>,
                events: Option<$input>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<EventChunks> {
                add(fcinfo, state, events)
            }
        }
    };
}

declare!(hstore_array, HstoreArray, event_chunks_add_hstore_array);
declare!(jsonb_array, JsonbArray, event_chunks_add_jsonb_array);
declare!(jsonb_document, JsonbValue, event_chunks_add_jsonb_document);

#[pg_extern(immutable, parallel_safe, cost = 10, requires = ["event_chunks_type"])]
fn event_chunks_combine(
    state: Option<EventChunks>,
    other: Option<EventChunks>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<EventChunks> {
    match (state, other) {
        (Some(state), Some(other)) => Some(chunks::combine(fcinfo, state, other).or_raise()),
        (state, other) => state.or(other),
    }
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["event_chunks_type"])]
fn event_chunks_finish(state: EventChunks) -> EventChunks {
    chunks::finish(state).or_raise()
}

pgrx::extension_sql_file!(
    "../../../sql/event_chunks.sql",
    name = "event_chunks_aggregates",
    requires = [
        event_chunks_combine,
        event_chunks_finish,
        event_chunks_add_hstore_array,
        event_chunks_add_jsonb_array,
        event_chunks_add_jsonb_document,
    ],
);
