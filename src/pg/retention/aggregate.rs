//! `retention_agg`: the summary of retention over many users.

use eventkit_core::error::Result;
use eventkit_core::retention::scan::Visits;
use eventkit_core::retention::summary::{add_user, check_settings, empty};
use eventkit_core::time::from_timestamptz;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compile::{Common, OverEvents, OverTimes, compile_definition, compile_names, compile_times};
use crate::pg::raise::OrRaise;
use crate::raw::form::Form;
use crate::raw::server::poll;
use crate::raw::state::State;
use crate::raw::types::{EventArray, HstoreArray, JsonbArray, JsonbValue, RetentionSummary};

/// The state to add to.
fn begin(fcinfo: pg_sys::FunctionCallInfo, state: Option<RetentionSummary>, common: &Common) -> Result<State> {
    let mut state = match state {
        Some(state) => State::of_argument(fcinfo, state),
        None => State::new(&empty(&common.settings))?,
    };
    check_settings(state.bytes(), common.fingerprint)?;
    Ok(state)
}

fn add(mut state: State, visits: &Visits) -> Result<State> {
    match add_user(state.bytes(), visits)? {
        Some(larger) => State::new(&larger),
        None => Ok(state),
    }
}

/// Adds one user. A user without events (NULL) is no user, but a group of such has a summary of nobody.
fn add_events<A: EventArray>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<RetentionSummary>,
    events: Option<A>,
    compiled: Result<&mut OverEvents>,
) -> Result<RetentionSummary> {
    let compiled = compiled?;
    let mut state = begin(fcinfo, state, &compiled.common)?;
    if let Some(events) = events {
        let opened = events.open();
        let view = A::Form::view(&opened, "events")?;
        let visits = compiled.scanner.visits(|| A::Form::walk(view), "events", &mut poll)?;
        state = add(state, visits)?;
    }
    Ok(state.into_value())
}

/// Adds one user: the time of the first event, NULL for one who never began, and the times of possible returns.
fn add_times(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<RetentionSummary>,
    first_time: Option<TimestampWithTimeZone>,
    return_times: Option<Array<'_, TimestampWithTimeZone>>,
    compiled: Result<&mut OverTimes>,
) -> Result<RetentionSummary> {
    let OverTimes { common, calendar, times, visits } = compiled?;
    let state = begin(fcinfo, state, common)?;
    let micros = |time: TimestampWithTimeZone| from_timestamptz(i64::from(time));
    times.clear();
    times.extend(return_times.iter().flat_map(Array::iter).flatten().map(micros));
    visits.of_times(calendar, first_time.map(micros), times)?;
    Ok(add(state, visits)?.into_value())
}

macro_rules! declare {
    ($module:ident, $array:ty, $short:ident, $zoned:ident, $full:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "retention_agg_add", immutable, parallel_safe, cost = 500, requires = ["retention_summary_type"])]
            fn $short(
                state: Option<RetentionSummary>,
                events: Option<$array>,
                first_event: Option<&str>,
                return_event: Option<&str>,
                period: Option<Interval>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<RetentionSummary> {
                let compiled = compile_names(fcinfo, first_event, return_event, period, Some("UTC"));
                Some(add_events(fcinfo, state, events, compiled).or_raise())
            }

            #[pg_extern(name = "retention_agg_add", immutable, parallel_safe, cost = 500, requires = ["retention_summary_type"])]
            fn $zoned(
                state: Option<RetentionSummary>,
                events: Option<$array>,
                first_event: Option<&str>,
                return_event: Option<&str>,
                period: Option<Interval>,
                time_zone: Option<&str>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<RetentionSummary> {
                let compiled = compile_names(fcinfo, first_event, return_event, period, time_zone);
                Some(add_events(fcinfo, state, events, compiled).or_raise())
            }

            #[pg_extern(name = "retention_agg_add", immutable, parallel_safe, cost = 500, requires = ["retention_summary_type"])]
            fn $full(
                state: Option<RetentionSummary>,
                events: Option<$array>,
                definition: Option<JsonbValue>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<RetentionSummary> {
                Some(add_events(fcinfo, state, events, compile_definition(fcinfo, definition)).or_raise())
            }
        }
    };
}

declare!(
    hstore_array,
    HstoreArray,
    retention_agg_add_hstore_array,
    retention_agg_add_hstore_array_zone,
    retention_agg_add_hstore_array_definition
);
declare!(
    jsonb_array,
    JsonbArray,
    retention_agg_add_jsonb_array,
    retention_agg_add_jsonb_array_zone,
    retention_agg_add_jsonb_array_definition
);
declare!(
    jsonb_document,
    JsonbValue,
    retention_agg_add_jsonb_document,
    retention_agg_add_jsonb_document_zone,
    retention_agg_add_jsonb_document_definition
);

#[pg_extern(name = "retention_agg_add", immutable, parallel_safe, cost = 500, requires = ["retention_summary_type"])]
fn retention_agg_add_times(
    state: Option<RetentionSummary>,
    first_time: Option<TimestampWithTimeZone>,
    return_times: Option<Array<'_, TimestampWithTimeZone>>,
    period: Option<Interval>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<RetentionSummary> {
    let compiled = compile_times(fcinfo, period, Some("UTC"));
    Some(add_times(fcinfo, state, first_time, return_times, compiled).or_raise())
}

#[pg_extern(name = "retention_agg_add", immutable, parallel_safe, cost = 500, requires = ["retention_summary_type"])]
fn retention_agg_add_times_zone(
    state: Option<RetentionSummary>,
    first_time: Option<TimestampWithTimeZone>,
    return_times: Option<Array<'_, TimestampWithTimeZone>>,
    period: Option<Interval>,
    time_zone: Option<&str>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Option<RetentionSummary> {
    let compiled = compile_times(fcinfo, period, time_zone);
    Some(add_times(fcinfo, state, first_time, return_times, compiled).or_raise())
}

pgrx::extension_sql_file!(
    "../../../sql/retention_aggregates.sql",
    name = "retention_aggregates",
    requires = [
        retention_summary_combine,
        retention_summary_finish,
        retention_agg_add_hstore_array,
        retention_agg_add_hstore_array_zone,
        retention_agg_add_hstore_array_definition,
        retention_agg_add_jsonb_array,
        retention_agg_add_jsonb_array_zone,
        retention_agg_add_jsonb_array_definition,
        retention_agg_add_jsonb_document,
        retention_agg_add_jsonb_document_zone,
        retention_agg_add_jsonb_document_definition,
        retention_agg_add_times,
        retention_agg_add_times_zone,
    ],
);
