//! `funnel_agg`: the summary of a funnel over many users.

use eventkit_core::error::Result;
use eventkit_core::funnel::summary::{add_excluded, add_user, check_funnel, empty};
use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compile::{Compiled, Short, compile_definition};
use super::level::level_of;
use crate::pg::raise::OrRaise;
use crate::raw::state::State;
use crate::raw::types::{EventChunks, FunnelSummary, HstoreArray, JsonbArray, JsonbValue, TextArray};
use crate::raw::user_events::UserEvents;

/// Adds one user. A user without events (NULL) is no user, but a group of such has a summary of nobody.
fn add<U: UserEvents>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<FunnelSummary>,
    events: Option<U>,
    compiled: Result<&mut Compiled<true>>,
) -> Result<FunnelSummary> {
    let compiled = compiled?;
    let mut state = match state {
        Some(state) => State::of_argument(fcinfo, state),
        None => State::new(&empty(compiled.fingerprint, compiled.funnel.steps()))?,
    };
    check_funnel(state.bytes(), compiled.fingerprint)?;
    if let Some(events) = events {
        level_of(compiled, events)?;
        compiled.scanner.each_counted(|times, excluded| {
            if let Some(larger) = add_user(state.bytes(), times)? {
                state = State::new(&larger)?;
            }
            if excluded { add_excluded(state.bytes()) } else { Ok(()) }
        })?;
    }
    Ok(state.into_value())
}

macro_rules! declare {
    ($module:ident, $array:ty, $short:ident, $full:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "funnel_agg_add", immutable, parallel_safe, cost = 500, requires = ["funnel_summary_type", "event_chunks_type"])]
            fn $short(
                state: Option<FunnelSummary>,
                events: Option<$array>,
                steps: Option<TextArray>,
                conversion_window: Option<Interval>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<FunnelSummary> {
                let short = Short { steps, conversion_window, name_key: Some("event"), time_key: Some("time") };
                Some(add(fcinfo, state, events, short.compile(fcinfo)).or_raise())
            }

            #[pg_extern(name = "funnel_agg_add", immutable, parallel_safe, cost = 500, requires = ["funnel_summary_type", "event_chunks_type"])]
            fn $full(
                state: Option<FunnelSummary>,
                events: Option<$array>,
                definition: Option<JsonbValue>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<FunnelSummary> {
                Some(add(fcinfo, state, events, compile_definition(fcinfo, definition)).or_raise())
            }
        }
    };
}

declare!(hstore_array, HstoreArray, funnel_agg_add_hstore_array, funnel_agg_add_hstore_array_definition);
declare!(jsonb_array, JsonbArray, funnel_agg_add_jsonb_array, funnel_agg_add_jsonb_array_definition);
declare!(jsonb_document, JsonbValue, funnel_agg_add_jsonb_document, funnel_agg_add_jsonb_document_definition);
declare!(chunks, EventChunks, funnel_agg_add_chunks, funnel_agg_add_chunks_definition);

pgrx::extension_sql_file!(
    "../../../sql/funnel_aggregates.sql",
    name = "funnel_aggregates",
    requires = [
        funnel_summary_combine,
        funnel_summary_finish,
        funnel_agg_add_hstore_array,
        funnel_agg_add_hstore_array_definition,
        funnel_agg_add_jsonb_array,
        funnel_agg_add_jsonb_array_definition,
        funnel_agg_add_jsonb_document,
        funnel_agg_add_jsonb_document_definition,
        funnel_agg_add_chunks,
        funnel_agg_add_chunks_definition,
    ],
);
