//! What reads a summary: `event_paths`, `event_transitions`.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::paths::table;
use pgrx::prelude::*;

use super::summary::decode;
use crate::pg::raise::OrRaise;
use crate::raw::types::PathsSummary;

#[pg_extern(immutable, parallel_safe, cost = 10, requires = ["paths_summary_type"])]
#[allow(clippy::type_complexity, reason = "the columns of a table")]
fn event_paths(
    summary: Option<PathsSummary>,
    top: default!(Option<i32>, 10),
) -> TableIterator<'static, (name!(path, Vec<String>), name!(users, i64), name!(share, f64))> {
    let read = || -> Result<_> {
        let top = top.map(|top| {
            usize::try_from(top).map_err(|_| {
                Error::new(Condition::InvalidParameterValue, format!("invalid value for argument \"top\": {top}"))
                    .detail("It is a number of paths, 0 or more; NULL for all.")
                    .hint("Leave top out to get 10.")
            })
        });
        let top = top.transpose()?;
        Ok(summary.map(decode).transpose()?.map(|summary| table::paths(&summary, top)).unwrap_or_default())
    };
    TableIterator::new(read().or_raise().into_iter().map(|row| (row.path, row.users, row.share)))
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["paths_summary_type"])]
#[allow(clippy::type_complexity, reason = "the columns of a table")]
fn event_transitions(
    summary: PathsSummary,
) -> TableIterator<
    'static,
    (name!(step, i32), name!(source, Option<String>), name!(target, Option<String>), name!(count, i64)),
> {
    let rows = decode(summary).map(|summary| table::transitions(&summary)).or_raise();
    TableIterator::new(rows.into_iter().map(|row| (row.step, row.source, row.target, row.count)))
}
