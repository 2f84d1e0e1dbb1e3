//! The shape of a function over one user's events: three forms of event array and the chunks of one, each with the short
//! and the full funnel.

/// Declares such a function: its SQL name, the generic body that takes the events and the compiled funnel, the type it
/// gives, and the Rust names (symbols of the library) of the two for each form.
macro_rules! per_user {
    ($name:literal, $body:path, $result:ty, $($module:ident $array:ty: $short:ident, $full:ident;)+) => {
        $(mod $module {
            use eventkit_core::error::Result;
            use pgrx::datum::Interval;
            use pgrx::pg_sys;
            use pgrx::prelude::*;

            use super::*;
            use crate::pg::funnel::compile::{Short, compile_definition};
            use crate::pg::raise::OrRaise;
            use crate::raw::types::{JsonbValue, TextArray};

            #[pg_extern(name = $name, immutable, parallel_safe, cost = 500, requires = ["event_chunks_type"])]
            fn $short(
                events: Option<$array>,
                steps: Option<TextArray>,
                conversion_window: Option<Interval>,
                name_key: default!(Option<&str>, "'event'"),
                time_key: default!(Option<&str>, "'time'"),
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> $result {
                let short = Short { steps, conversion_window, name_key, time_key };
                let result: Result<$result> = $body(events, short.compile(fcinfo));
                result.or_raise()
            }

            #[pg_extern(name = $name, immutable, parallel_safe, cost = 500, requires = ["event_chunks_type"])]
            fn $full(
                events: Option<$array>,
                definition: Option<JsonbValue>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> $result {
                let result: Result<$result> = $body(events, compile_definition(fcinfo, definition));
                result.or_raise()
            }
        })+
    };
}

pub(super) use per_user;
