//! The shape of a function over one user's events: three forms of event array and the chunks of one, each with the short
//! and the full funnel.

/// Declares such a function: its SQL name, the generic body that takes the events, the compiled funnel and what further
/// arguments there are, the type it gives, those arguments as they are declared and by name, and the Rust names (symbols of the
/// library) of the two for each form.
macro_rules! per_user {
    ($name:literal, $body:path, $result:ty, $($module:ident $array:ty: $short:ident, $full:ident;)+) => {
        $(per_user!(@form $name, $body, $result, (), (), $module $array: $short, $full);)+
    };
    ($name:literal, $body:path, $result:ty, $more:tt, $names:tt, $($module:ident $array:ty: $short:ident, $full:ident;)+) => {
        $(per_user!(@form $name, $body, $result, $more, $names, $module $array: $short, $full);)+
    };
    (@form $name:literal, $body:path, $result:ty, ($($more:tt)*), ($($names:ident),*), $module:ident $array:ty: $short:ident, $full:ident) => {
        mod $module {
            use eventkit_core::error::Result;
            use pgrx::datum::Interval;
            use pgrx::pg_sys;
            use pgrx::prelude::*;

            use super::*;
            use crate::pg::funnel::compile::{Short, compile_definition};
            use crate::pg::raise::OrRaise;
            use crate::raw::types::{JsonbValue, TextArray};

            #[pg_extern(name = $name, immutable, parallel_safe, cost = 500, requires = ["event_chunks_type"])]
            #[allow(clippy::too_many_arguments, reason = "SQL names its arguments")]
            fn $short(
                events: Option<$array>,
                steps: Option<TextArray>,
                conversion_window: Option<Interval>,
                $($more)*
                name_key: default!(Option<&str>, "'event'"),
                time_key: default!(Option<&str>, "'time'"),
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> $result {
                let short = Short { steps, conversion_window, name_key, time_key };
                let result: Result<$result> = $body(events, short.compile(fcinfo), $($names),*);
                result.or_raise()
            }

            #[pg_extern(name = $name, immutable, parallel_safe, cost = 500, requires = ["event_chunks_type"])]
            fn $full(
                events: Option<$array>,
                definition: Option<JsonbValue>,
                $($more)*
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> $result {
                let result: Result<$result> = $body(events, compile_definition(fcinfo, definition), $($names),*);
                result.or_raise()
            }
        }
    };
}

pub(super) use per_user;
