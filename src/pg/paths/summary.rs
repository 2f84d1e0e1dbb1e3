//! The type `paths_summary`: its text form, and putting such values together.

use std::ffi::{CStr, CString};

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::paths::summary::{Summary, together};
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::state::State;
use crate::raw::types::{PathsSummary, Varlena};
use crate::raw::varlena::Detoasted;

pgrx::extension_sql!("CREATE TYPE paths_summary;", name = "paths_summary_shell");

/// The bytes after the length word.
fn payload(opened: &Detoasted) -> &[u8] {
    opened.bytes().get(4..).unwrap_or_default()
}

/// Reads a value.
pub fn decode(value: PathsSummary) -> Result<Summary> {
    Summary::decode(payload(&value.open()))
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["paths_summary_shell"])]
fn paths_summary_in(input: &CStr) -> PathsSummary {
    let read = || -> Result<PathsSummary> {
        let text = input.to_str().map_err(|_| {
            Error::new(Condition::InvalidTextRepresentation, "invalid input syntax for type paths_summary")
                .detail("The text is not UTF-8.")
                .hint("Summaries are made by paths_agg and written by casting them to text.")
        })?;
        Ok(State::new(&Summary::from_text(text)?.encode())?.into_value())
    };
    read().or_raise()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["paths_summary_shell"])]
fn paths_summary_out(summary: PathsSummary) -> CString {
    let text = decode(summary).map(|summary| summary.to_text()).or_raise();
    // JSON escapes the zero byte, so there is none.
    CString::new(text).unwrap_or_default()
}

#[pg_extern(immutable, parallel_safe, cost = 100, requires = ["paths_summary_type"])]
fn paths_summary_combine(state: Option<PathsSummary>, other: Option<PathsSummary>) -> Option<PathsSummary> {
    let (state, other) = match (state, other) {
        (Some(state), Some(other)) => (state, other),
        (state, other) => return state.or(other),
    };
    let (state, other) = (state.open(), other.open());
    let both = together(payload(&state), payload(&other)).and_then(|bytes| State::new(&bytes));
    Some(both.or_raise().into_value())
}

/// The room that the aggregate kept for more users goes.
#[pg_extern(immutable, strict, parallel_safe, cost = 100, requires = ["paths_summary_type"])]
fn paths_summary_finish(state: PathsSummary) -> PathsSummary {
    decode(state).and_then(|summary| State::new(&summary.encode())).or_raise().into_value()
}

pgrx::extension_sql!(
    r#"
CREATE TYPE paths_summary (
    INPUT = paths_summary_in,
    OUTPUT = paths_summary_out,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "paths_summary_type",
    requires = [paths_summary_in, paths_summary_out],
);
