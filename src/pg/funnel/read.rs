//! What reads a summary: `funnel_table`, `conversion_rate`, `funnel_chart`.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::funnel::{chart, table};
use eventkit_core::options::required;
use pgrx::datum::Interval;
use pgrx::prelude::*;

use super::summary::decode;
use crate::pg::raise::OrRaise;
use crate::raw::types::FunnelSummary;

/// A duration as SQL shows it.
#[expect(clippy::cast_possible_truncation, reason = "a duration is below 64 bits")]
pub(super) fn interval(micros: f64) -> Option<Interval> {
    let micros = micros.round() as i64;
    let day = 86_400_000_000;
    Interval::new(0, i32::try_from(micros / day).ok()?, micros % day).ok()
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_type"])]
#[allow(clippy::type_complexity, reason = "the columns of a table")]
fn funnel_table(
    summary: FunnelSummary,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(label, String),
        name!(users, i64),
        name!(share_of_first, Option<f64>),
        name!(share_of_previous, Option<f64>),
        name!(drop_off, Option<i64>),
        name!(median_from_previous, Option<Interval>),
        name!(p90_from_previous, Option<Interval>),
        name!(mean_from_previous, Option<Interval>),
        name!(median_from_start, Option<Interval>),
        name!(p90_from_start, Option<Interval>),
        name!(mean_from_start, Option<Interval>),
    ),
> {
    let rows = decode(summary).map(|summary| table::rows(&summary)).or_raise();
    TableIterator::new(rows.into_iter().map(|row| {
        (
            row.step,
            row.label,
            row.users,
            row.share_of_first,
            row.share_of_previous,
            row.drop_off,
            row.from_previous.and_then(|took| interval(took.median)),
            row.from_previous.and_then(|took| interval(took.p90)),
            row.from_previous.and_then(|took| interval(took.mean)),
            row.from_start.and_then(|took| interval(took.median)),
            row.from_start.and_then(|took| interval(took.p90)),
            row.from_start.and_then(|took| interval(took.mean)),
        )
    }))
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_type"])]
fn conversion_rate(summary: FunnelSummary) -> Option<f64> {
    let rows = decode(summary).map(|summary| table::rows(&summary)).or_raise();
    rows.last().and_then(|row| row.share_of_first)
}

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_summary_type"])]
fn excluded_users(summary: FunnelSummary) -> i64 {
    decode(summary).map(|summary| summary.excluded).or_raise()
}

/// The length of the longest bar. Errors: `22004`, `22023`.
pub(super) fn chart_width(width: Option<i32>) -> Result<usize> {
    let width = required("width", width)?;
    usize::try_from(width).ok().filter(|width| (1..=1000).contains(width)).ok_or_else(|| {
        Error::new(Condition::InvalidParameterValue, format!("invalid value for argument \"width\": {width}"))
            .detail("The longest bar has 1 to 1000 characters.")
            .hint("Leave width out to get its default.")
    })
}

#[pg_extern(immutable, parallel_safe, cost = 10, requires = ["funnel_summary_type"])]
fn funnel_chart(summary: Option<FunnelSummary>, width: default!(Option<i32>, 40)) -> Option<String> {
    let draw = || -> Result<Option<String>> {
        let width = chart_width(width)?;
        summary.map(|summary| decode(summary).map(|summary| chart::text(&summary, width))).transpose()
    };
    draw().or_raise()
}
