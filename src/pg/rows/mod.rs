//! Funnels, sequences and retention over plain rows in SQL.

use eventkit_core::error::{Condition, Error, Result};

use crate::pg::raise::OrRaise;
use crate::raw::bools;
use crate::raw::place;
use crate::raw::state::State;
use crate::raw::types::{BoolArray, Bytes, Varlena};

mod retention;
mod sequence;
mod window_funnel;

/// How many conditions a row has and which hold.
#[inline]
fn conditions(given: Option<BoolArray>) -> Result<(usize, u64)> {
    let given = given.ok_or_else(without_conditions)?;
    match place::whole(&given) {
        Some(bytes) => bools::mask(bytes, "conditions"),
        None => bools::mask(given.open().bytes(), "conditions"),
    }
}

#[cold]
fn without_conditions() -> Error {
    Error::new(Condition::NullValueNotAllowed, "argument \"conditions\" must not be NULL")
        .detail("A single condition may be NULL, and then does not hold; the array of them may not.")
        .hint("Write VARIADIC ARRAY[event = 'view', event = 'pay'].")
}

/// The error of a row that meets a condition and has no finite time; `of` follows the argument's name.
#[cold]
fn without_time(of: &str, infinite: bool, matched: u64) -> Error {
    let (condition, what) = if infinite {
        (Condition::DatetimeFieldOverflow, "infinite")
    } else {
        (Condition::NullValueNotAllowed, "NULL")
    };
    Error::new(condition, format!("argument \"time\"{of} is {what}"))
        .detail(format!("The row meets condition {}, so its time is needed.", matched.trailing_zeros() + 1))
        .hint("Leave such rows out with FILTER (WHERE isfinite(time)) behind the call, time being the column's name.")
}

/// A new state made from the bytes of another: the long way, when that one is full, or not ours to change.
fn replace(state: Bytes, make: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Bytes> {
    Ok(State::new(&make(state.open().payload())?)?.into_value())
}

/// What a combine function does.
fn combine(
    state: Option<Bytes>,
    other: Option<Bytes>,
    together: impl FnOnce(&[u8], &[u8]) -> Result<Vec<u8>>,
) -> Option<Bytes> {
    let (state, other) = match (state, other) {
        (Some(state), Some(other)) => (state, other),
        (state, other) => return state.or(other),
    };
    Some(replace(state, |state| together(state, other.open().payload())).or_raise())
}

pgrx::extension_sql_file!(
    "../../../sql/row_aggregates.sql",
    name = "row_aggregates",
    requires = [
        window_funnel::window_funnel_add,
        window_funnel::window_funnel_add_mode,
        window_funnel::window_funnel_add_separate,
        window_funnel::window_funnel_add_mode_separate,
        window_funnel::window_funnel_combine,
        window_funnel::window_funnel_finish,
        retention::retention_add,
        retention::retention_combine,
        retention::retention_finish,
    ],
);
