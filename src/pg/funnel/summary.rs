//! The type `funnel_summary`: its text and binary forms, and putting summaries together.

use std::ffi::{CStr, CString};

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::funnel::summary::{Summary, together};
use pgrx::Internal;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::state::State;
use crate::raw::types::{FunnelSummary, Varlena};
use crate::raw::varlena::Detoasted;
use crate::raw::wire;

pgrx::extension_sql!("CREATE TYPE funnel_summary;", name = "funnel_summary_shell");

/// Reads a summary's value.
pub fn decode(value: FunnelSummary) -> Result<Summary> {
    Summary::decode(value.open().bytes().get(4..).unwrap_or_default())
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_shell"])]
fn funnel_summary_in(input: &CStr) -> FunnelSummary {
    let read = || -> Result<FunnelSummary> {
        let text = input.to_str().map_err(|_| {
            Error::new(Condition::InvalidTextRepresentation, "invalid input syntax for type funnel_summary")
                .detail("The text is not UTF-8.")
                .hint("Summaries are made by funnel_agg and written by casting them to text.")
        })?;
        Ok(State::new(&Summary::from_text(text)?.encode())?.into_value())
    };
    read().or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_shell"])]
fn funnel_summary_out(summary: FunnelSummary) -> CString {
    let text = decode(summary).map(|summary| summary.to_text()).or_raise();
    // JSON escapes the zero byte, so there is none.
    CString::new(text).unwrap_or_default()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_shell"])]
fn funnel_summary_recv(mut message: Internal) -> FunnelSummary {
    let mut read = || -> Result<FunnelSummary> {
        Ok(State::new(&Summary::from_binary(wire::rest_of(&mut message))?.encode())?.into_value())
    };
    read().or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_shell"])]
fn funnel_summary_send(summary: FunnelSummary) -> Vec<u8> {
    decode(summary).map(|summary| summary.encode()).or_raise()
}

#[pg_extern(immutable, parallel_safe, cost = 100, requires = ["funnel_summary_type"])]
fn funnel_summary_combine(state: Option<FunnelSummary>, other: Option<FunnelSummary>) -> Option<FunnelSummary> {
    let (state, other) = match (state, other) {
        (Some(state), Some(other)) => (state, other),
        (state, other) => return state.or(other),
    };
    let bytes = |opened: &Detoasted| opened.bytes().get(4..).unwrap_or_default().to_vec();
    let both = together(&bytes(&state.open()), &bytes(&other.open())).and_then(|bytes| State::new(&bytes));
    Some(both.or_raise().into_value())
}

/// The room that the aggregate kept for more users goes.
#[pg_extern(immutable, strict, parallel_safe, cost = 100, requires = ["funnel_summary_type"])]
fn funnel_summary_finish(state: FunnelSummary) -> FunnelSummary {
    decode(state).and_then(|summary| State::new(&summary.encode())).or_raise().into_value()
}

pgrx::extension_sql!(
    r#"
CREATE TYPE funnel_summary (
    INPUT = funnel_summary_in,
    OUTPUT = funnel_summary_out,
    RECEIVE = funnel_summary_recv,
    SEND = funnel_summary_send,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "funnel_summary_type",
    requires = [funnel_summary_in, funnel_summary_out, funnel_summary_recv, funnel_summary_send],
);
