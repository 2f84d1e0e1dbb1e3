//! `funnel_trend_agg`: a funnel over many users by the period of their entry.

use eventkit_core::error::Result;
use eventkit_core::funnel::definition::Funnel;
use eventkit_core::funnel::duration;
use eventkit_core::funnel::summary::empty as nobody;
use eventkit_core::funnel::trend::summary::{Settings, add_user, check_settings, empty, fingerprint};
use eventkit_core::options::needed;
use eventkit_core::zone::Calendar;
use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::super::compile::Compiled as CompiledFunnel;
use super::super::level::level_of;
use crate::pg::calendar::CalendarArguments;
use crate::pg::raise::OrRaise;
use crate::raw::cache::cached;
use crate::raw::jsonb::json_text;
use crate::raw::state::State;
use crate::raw::types::{EventArray, FunnelTrend, HstoreArray, JsonbArray, JsonbValue, TextArray, Varlena};

/// A funnel and a calendar, compiled, with their working memory.
struct Compiled {
    funnel: CompiledFunnel<true>,
    calendar: Calendar,
    settings: Settings,
    fingerprint: u64,
    /// The summary of nobody, which each period begins with.
    fresh: Vec<u8>,
}

impl Compiled {
    fn new(funnel: Funnel, calendar: Calendar) -> Self {
        let funnel = CompiledFunnel::new(funnel);
        let settings = Settings::new(funnel.fingerprint, &calendar);
        Self {
            fingerprint: fingerprint(&settings),
            fresh: nobody(funnel.fingerprint, funnel.funnel.steps()),
            settings,
            calendar,
            funnel,
        }
    }
}

/// The short form of the arguments. Errors: those of [`Funnel::of_names`], [`duration::of_interval`] and
/// [`CalendarArguments`], and NULLs.
fn compile_short<'q>(
    fcinfo: pg_sys::FunctionCallInfo,
    steps: Option<TextArray>,
    window: Option<Interval>,
    calendar: Result<CalendarArguments<'_>>,
) -> Result<&'q mut Compiled> {
    let calendar = calendar?;
    let steps = needed("steps", steps, "ARRAY['view', 'pay']")?.open();
    let window = window.map(|window| (window.months(), window.days(), window.micros()));
    let window_key = window.map_or_else(Vec::new, |(months, days, micros)| {
        [i64::from(months), i64::from(days), micros].iter().flat_map(|part| part.to_ne_bytes()).collect()
    });
    cached(fcinfo, &[steps.bytes(), &window_key, &calendar.key(), calendar.zone().as_bytes()], || {
        let window = window
            .map(|(months, days, micros)| duration::of_interval("conversion_window", months, days, micros))
            .transpose()?;
        let funnel = Funnel::of_names(&TextArray::read(&steps, "steps")?, window, "event", "time")?;
        Ok(Compiled::new(funnel, calendar.calendar()?))
    })
}

/// The full form of the arguments. Errors: those of [`Funnel::of_json`] and [`CalendarArguments`], and NULL.
fn compile_full<'q>(
    fcinfo: pg_sys::FunctionCallInfo,
    definition: Option<JsonbValue>,
    calendar: Result<CalendarArguments<'_>>,
) -> Result<&'q mut Compiled> {
    let calendar = calendar?;
    let definition = needed("definition", definition, "'{\"steps\": [\"view\", \"pay\"]}'")?.open();
    cached(fcinfo, &[definition.bytes(), &calendar.key(), calendar.zone().as_bytes()], || {
        let funnel = Funnel::of_json(&json_text(definition.payload())?)?;
        Ok(Compiled::new(funnel, calendar.calendar()?))
    })
}

/// Adds one user, to the period of the first of the times of the attempt that counts; one who did not enter belongs to
/// no period. A user without events (NULL) is no user, but a group of such has a trend of nobody.
fn add<A: EventArray>(
    fcinfo: pg_sys::FunctionCallInfo,
    state: Option<FunnelTrend>,
    events: Option<A>,
    compiled: Result<&mut Compiled>,
) -> Result<FunnelTrend> {
    let Compiled { funnel, calendar, settings, fingerprint, fresh } = compiled?;
    let mut state = match state {
        Some(state) => State::of_argument(fcinfo, state),
        None => State::new(&empty(settings))?,
    };
    check_settings(state.bytes(), *fingerprint)?;
    if let Some(events) = events {
        level_of(funnel, events)?;
        funnel.scanner.each_counted(|times, _| {
            let period = times.first().map(|entry| calendar.number(*entry)).transpose()?;
            if let Some(larger) = add_user(state.bytes(), period, times, fresh)? {
                state = State::new(&larger)?;
            }
            Ok(())
        })?;
    }
    Ok(state.into_value())
}

macro_rules! declare {
    ($module:ident, $array:ty, $short:ident, $short_zone:ident, $full:ident, $full_zone:ident) => {
        mod $module {
            use super::*;

            #[pg_extern(name = "funnel_trend_agg_add", immutable, parallel_safe, cost = 500, requires = ["funnel_trend_type"])]
            fn $short(
                state: Option<FunnelTrend>,
                events: Option<$array>,
                steps: Option<TextArray>,
                conversion_window: Option<Interval>,
                period: Option<Interval>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<FunnelTrend> {
                let calendar = CalendarArguments::new(period, Some("UTC"));
                let compiled = compile_short(fcinfo, steps, conversion_window, calendar);
                Some(add(fcinfo, state, events, compiled).or_raise())
            }

            #[pg_extern(name = "funnel_trend_agg_add", immutable, parallel_safe, cost = 500, requires = ["funnel_trend_type"])]
            fn $short_zone(
                state: Option<FunnelTrend>,
                events: Option<$array>,
                steps: Option<TextArray>,
                conversion_window: Option<Interval>,
                period: Option<Interval>,
                time_zone: Option<&str>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<FunnelTrend> {
                let calendar = CalendarArguments::new(period, time_zone);
                let compiled = compile_short(fcinfo, steps, conversion_window, calendar);
                Some(add(fcinfo, state, events, compiled).or_raise())
            }

            #[pg_extern(name = "funnel_trend_agg_add", immutable, parallel_safe, cost = 500, requires = ["funnel_trend_type"])]
            fn $full(
                state: Option<FunnelTrend>,
                events: Option<$array>,
                definition: Option<JsonbValue>,
                period: Option<Interval>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<FunnelTrend> {
                let compiled = compile_full(fcinfo, definition, CalendarArguments::new(period, Some("UTC")));
                Some(add(fcinfo, state, events, compiled).or_raise())
            }

            #[pg_extern(name = "funnel_trend_agg_add", immutable, parallel_safe, cost = 500, requires = ["funnel_trend_type"])]
            fn $full_zone(
                state: Option<FunnelTrend>,
                events: Option<$array>,
                definition: Option<JsonbValue>,
                period: Option<Interval>,
                time_zone: Option<&str>,
                fcinfo: pg_sys::FunctionCallInfo,
            ) -> Option<FunnelTrend> {
                let compiled = compile_full(fcinfo, definition, CalendarArguments::new(period, time_zone));
                Some(add(fcinfo, state, events, compiled).or_raise())
            }
        }
    };
}

declare!(
    hstore_array,
    HstoreArray,
    funnel_trend_agg_add_hstore_array,
    funnel_trend_agg_add_hstore_array_zone,
    funnel_trend_agg_add_hstore_array_definition,
    funnel_trend_agg_add_hstore_array_definition_zone
);
declare!(
    jsonb_array,
    JsonbArray,
    funnel_trend_agg_add_jsonb_array,
    funnel_trend_agg_add_jsonb_array_zone,
    funnel_trend_agg_add_jsonb_array_definition,
    funnel_trend_agg_add_jsonb_array_definition_zone
);
declare!(
    jsonb_document,
    JsonbValue,
    funnel_trend_agg_add_jsonb_document,
    funnel_trend_agg_add_jsonb_document_zone,
    funnel_trend_agg_add_jsonb_document_definition,
    funnel_trend_agg_add_jsonb_document_definition_zone
);

pgrx::extension_sql_file!(
    "../../../../sql/trend_aggregates.sql",
    name = "trend_aggregates",
    requires = [
        funnel_trend_combine,
        funnel_trend_finish,
        funnel_trend_agg_add_hstore_array,
        funnel_trend_agg_add_hstore_array_zone,
        funnel_trend_agg_add_hstore_array_definition,
        funnel_trend_agg_add_hstore_array_definition_zone,
        funnel_trend_agg_add_jsonb_array,
        funnel_trend_agg_add_jsonb_array_zone,
        funnel_trend_agg_add_jsonb_array_definition,
        funnel_trend_agg_add_jsonb_array_definition_zone,
        funnel_trend_agg_add_jsonb_document,
        funnel_trend_agg_add_jsonb_document_zone,
        funnel_trend_agg_add_jsonb_document_definition,
        funnel_trend_agg_add_jsonb_document_definition_zone,
    ],
);
