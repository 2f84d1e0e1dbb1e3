//! Funnels, sequences and retention over plain rows in SQL.

use eventkit_core::error::{Condition, Error, Result};

use crate::raw::bools;
use crate::raw::place;
use crate::raw::types::{BoolArray, Varlena};

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
