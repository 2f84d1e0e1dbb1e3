//! `funnel_times`: when one user matched each step, in the attempt that counts.

use eventkit_core::error::Result;
use eventkit_core::funnel::ordered::NONE;
use eventkit_core::time::to_timestamptz;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compile::{Compiled, Short, compile_definition};
use super::level::level_of;
use crate::pg::raise::OrRaise;
use crate::raw::types::{EventArray, HstoreArray, JsonbArray, JsonbValue, TextArray};

/// One time for each step up to the user's level; NULL for an optional step that was left out.
type Times = Vec<Option<TimestampWithTimeZone>>;

fn times<A: EventArray>(events: Option<A>, compiled: Result<&mut Compiled<true>>) -> Result<Option<Times>> {
    let compiled = compiled?;
    let Some(events) = events else { return Ok(None) };
    level_of(compiled, events)?;
    let time = |time: &i64| match *time {
        NONE => None,
        time => TimestampWithTimeZone::try_from(to_timestamptz(time)).ok(),
    };
    Ok(Some(compiled.scanner.times().iter().map(time).collect()))
}

macro_rules! declare {
    ($module:ident, $array:ty, $short:ident, $full:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "funnel_times", immutable, parallel_safe, cost = 500)]
            fn $short(
                events: Option<$array>,
                steps: Option<TextArray>,
                conversion_window: Option<Interval>,
                name_key: default!(Option<&str>, "'event'"),
                time_key: default!(Option<&str>, "'time'"),
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<Times> {
                times(events, Short { steps, conversion_window, name_key, time_key }.compile(fcinfo)).or_raise()
            }

            #[pg_extern(name = "funnel_times", immutable, parallel_safe, cost = 500)]
            fn $full(
                events: Option<$array>,
                definition: Option<JsonbValue>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<Times> {
                times(events, compile_definition(fcinfo, definition)).or_raise()
            }
        }
    };
}

declare!(hstore_array, HstoreArray, funnel_times_hstore_array, funnel_times_hstore_array_definition);
declare!(jsonb_array, JsonbArray, funnel_times_jsonb_array, funnel_times_jsonb_array_definition);
declare!(jsonb_document, JsonbValue, funnel_times_jsonb_document, funnel_times_jsonb_document_definition);
