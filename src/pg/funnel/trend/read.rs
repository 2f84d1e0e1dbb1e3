//! What reads a trend: `funnel_trend_table`, `funnel_trend_chart`.

use eventkit_core::error::Result;
use eventkit_core::funnel::trend::{chart, table};
use eventkit_core::time::to_timestamptz;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use super::super::read::{chart_width, interval};
use super::summary::decode;
use crate::pg::raise::OrRaise;
use crate::raw::types::FunnelTrend;

#[pg_extern(immutable, strict, parallel_safe, cost = 10, requires = ["funnel_trend_type"])]
#[allow(clippy::type_complexity, reason = "the columns of a table")]
fn funnel_trend_table(
    trend: FunnelTrend,
) -> TableIterator<
    'static,
    (
        name!(period, TimestampWithTimeZone),
        name!(step, i32),
        name!(label, String),
        name!(users, i64),
        name!(share_of_first, Option<f64>),
        name!(share_of_previous, Option<f64>),
        name!(median_from_start, Option<Interval>),
    ),
> {
    let rows = decode(trend).and_then(|trend| table::rows(&trend)).or_raise();
    TableIterator::new(rows.into_iter().filter_map(|(start, row)| {
        Some((
            TimestampWithTimeZone::try_from(to_timestamptz(start)).ok()?,
            row.step,
            row.label,
            row.users,
            row.share_of_first,
            row.share_of_previous,
            row.from_start.and_then(|took| interval(took.median)),
        ))
    }))
}

#[pg_extern(immutable, parallel_safe, cost = 10, requires = ["funnel_trend_type"])]
fn funnel_trend_chart(trend: Option<FunnelTrend>, width: default!(Option<i32>, 40)) -> Option<String> {
    let draw = || -> Result<Option<String>> {
        let width = chart_width(width)?;
        trend.map(|trend| chart::text(&decode(trend)?, width)).transpose()
    };
    draw().or_raise()
}
