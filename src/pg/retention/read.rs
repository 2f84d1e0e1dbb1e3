//! What reads a summary: `retention_table`, `retention_chart`.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::options::required;
use eventkit_core::retention::{chart, table};
use eventkit_core::time::to_timestamptz;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::summary::decode;
use crate::pg::raise::OrRaise;
use crate::raw::types::RetentionSummary;

/// The last period that is asked for.
fn last(periods: i32) -> Result<i32> {
    if periods >= 0 {
        return Ok(periods);
    }
    Err(Error::new(Condition::InvalidParameterValue, format!("invalid value for argument \"periods\": {periods}"))
        .detail("It is the number of periods after a cohort's own, 0 or more.")
        .hint("Leave periods out to get its default."))
}

#[pg_extern(immutable, parallel_safe, cost = 10, requires = ["retention_summary_type"])]
#[allow(clippy::type_complexity, reason = "the columns of a table")]
fn retention_table(
    summary: Option<RetentionSummary>,
    periods: default!(Option<i32>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(cohort, TimestampWithTimeZone),
        name!(period, i32),
        name!(users, i64),
        name!(returned, i64),
        name!(share, f64),
    ),
> {
    let read = || -> Result<_> {
        let periods = periods.map(last).transpose()?;
        summary.map(|summary| table::rows(decode(summary)?, periods)).transpose()
    };
    let rows = read().or_raise().into_iter().flatten();
    TableIterator::new(rows.filter_map(|row| {
        let cohort = TimestampWithTimeZone::try_from(to_timestamptz(row.cohort)).ok()?;
        Some((cohort, row.period, row.users, row.returned, row.share))
    }))
}

#[pg_extern(immutable, parallel_safe, cost = 10, requires = ["retention_summary_type"])]
fn retention_chart(summary: Option<RetentionSummary>, periods: default!(Option<i32>, 12)) -> Option<String> {
    let draw = || -> Result<Option<String>> {
        let periods = last(required("periods", periods)?)?;
        summary.map(|summary| chart::text(&decode(summary)?, periods)).transpose()
    };
    draw().or_raise()
}
