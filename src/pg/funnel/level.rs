//! `funnel_level`: how far one user gets.

use eventkit_core::error::Result;
use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compile::{Compiled, Short, compile_definition};
use crate::pg::raise::OrRaise;
use crate::raw::form::Form;
use crate::raw::server::poll;
use crate::raw::types::{EventArray, HstoreArray, JsonbArray, JsonbValue, TextArray};

/// The level of one user's events; the scanner keeps the times.
pub fn level_of<A: EventArray, const TIMES: bool>(compiled: &mut Compiled<TIMES>, events: A) -> Result<usize> {
    let opened = events.open();
    let view = A::Form::view(&opened, "events")?;
    compiled.scanner.level(|| A::Form::walk(view), "events", &mut poll)
}

fn level<A: EventArray>(events: Option<A>, compiled: Result<&mut Compiled<false>>) -> Result<Option<i32>> {
    let compiled = compiled?;
    let Some(events) = events else { return Ok(None) };
    Ok(i32::try_from(level_of(compiled, events)?).ok())
}

macro_rules! declare {
    ($module:ident, $array:ty, $short:ident, $full:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "funnel_level", immutable, parallel_safe, cost = 500)]
            fn $short(
                events: Option<$array>,
                steps: Option<TextArray>,
                conversion_window: Option<Interval>,
                name_key: default!(Option<&str>, "'event'"),
                time_key: default!(Option<&str>, "'time'"),
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<i32> {
                level(events, Short { steps, conversion_window, name_key, time_key }.compile(fcinfo)).or_raise()
            }

            #[pg_extern(name = "funnel_level", immutable, parallel_safe, cost = 500)]
            fn $full(
                events: Option<$array>,
                definition: Option<JsonbValue>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<i32> {
                level(events, compile_definition(fcinfo, definition)).or_raise()
            }
        }
    };
}

declare!(hstore_array, HstoreArray, funnel_level_hstore_array, funnel_level_hstore_array_definition);
declare!(jsonb_array, JsonbArray, funnel_level_jsonb_array, funnel_level_jsonb_array_definition);
declare!(jsonb_document, JsonbValue, funnel_level_jsonb_document, funnel_level_jsonb_document_definition);
