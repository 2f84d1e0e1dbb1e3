//! The type `funnel_trend`: its text form, and putting such values together.

use std::ffi::{CStr, CString};

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::funnel::trend::summary::{Trend, together};
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::state::State;
use crate::raw::types::{FunnelTrend, Varlena};
use crate::raw::varlena::Detoasted;

pgrx::extension_sql!("CREATE TYPE funnel_trend;", name = "funnel_trend_shell");

/// The bytes after the length word.
fn payload(opened: &Detoasted) -> &[u8] {
    opened.bytes().get(4..).unwrap_or_default()
}

/// Reads a value.
pub fn decode(value: FunnelTrend) -> Result<Trend> {
    Trend::decode(payload(&value.open()))
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_trend_shell"])]
fn funnel_trend_in(input: &CStr) -> FunnelTrend {
    let read = || -> Result<FunnelTrend> {
        let text = input.to_str().map_err(|_| {
            Error::new(Condition::InvalidTextRepresentation, "invalid input syntax for type funnel_trend")
                .detail("The text is not UTF-8.")
                .hint("Trends are made by funnel_trend_agg and written by casting them to text.")
        })?;
        Ok(State::new(&Trend::from_text(text)?.encode())?.into_value())
    };
    read().or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_trend_shell"])]
fn funnel_trend_out(trend: FunnelTrend) -> CString {
    let text = decode(trend).and_then(|trend| trend.to_text()).or_raise();
    // JSON escapes the zero byte, so there is none.
    CString::new(text).unwrap_or_default()
}

#[pg_extern(immutable, parallel_safe, cost = 100, requires = ["funnel_trend_type"])]
fn funnel_trend_combine(state: Option<FunnelTrend>, other: Option<FunnelTrend>) -> Option<FunnelTrend> {
    let (state, other) = match (state, other) {
        (Some(state), Some(other)) => (state, other),
        (state, other) => return state.or(other),
    };
    let (state, other) = (state.open(), other.open());
    let both = together(payload(&state), payload(&other)).and_then(|bytes| State::new(&bytes));
    Some(both.or_raise().into_value())
}

/// The room that the aggregate kept for more users goes.
#[pg_extern(immutable, strict, parallel_safe, cost = 100, requires = ["funnel_trend_type"])]
fn funnel_trend_finish(state: FunnelTrend) -> FunnelTrend {
    decode(state).and_then(|trend| State::new(&trend.encode())).or_raise().into_value()
}

pgrx::extension_sql!(
    r#"
CREATE TYPE funnel_trend (
    INPUT = funnel_trend_in,
    OUTPUT = funnel_trend_out,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "funnel_trend_type",
    requires = [funnel_trend_in, funnel_trend_out],
);
