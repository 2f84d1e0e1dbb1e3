//! The periods of a parent, as functions and procedures of every later step see them.

use super::target::Target;
use super::{Micros, catalog, given, instant, shown};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::period::Period;
use eventkit_core::partition::{error, plan};
use pgrx::datum::{Date, Timestamp, TimestampWithTimeZone};
use pgrx::iter::{SetOfIterator, TableIterator};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// The periods of a parent that share a time with `[from_time, to_time)`, in order.
///
/// Takes the parent and two instants. Gives for each period what the zone's clocks show at its beginning (which tells it from
/// every other), its first instant and the first one after it, the name that its partition has or would have, the
/// first partition that shares a time with it, whether one is exactly the period's, and whether each of its times has a partition. Linear in periods times
/// partitions; takes `ACCESS SHARE` on the parent. Raises what `plan::key_of` raises, `22023` for a range that ends before it begins,
/// `54000` for more than 20,000 periods.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.partition_periods(parent regclass, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (period timestamp, first_time timestamptz, end_time timestamptz, partition_name text, partition regclass, exact boolean, covered boolean)
STABLE PARALLEL RESTRICTED COST 10000 ROWS 30 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
fn partition_periods(
    parent: Option<Oid>,
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(period, Option<Timestamp>),
        name!(first_time, Option<TimestampWithTimeZone>),
        name!(end_time, Option<TimestampWithTimeZone>),
        name!(partition_name, String),
        name!(partition, Option<Oid>),
        name!(exact, bool),
        name!(covered, bool),
    ),
> {
    let listed = || -> Result<Vec<_>> {
        let (from, to) = range(from_time, to_time)?;
        let target = Target::read(given(parent, "parent")?)?;
        let row = |period: Period| {
            let met = target.meeting(&period)?;
            let name = plan::partition_name(&target.parent, &period);
            let (from, to) = (instant(period.from), instant(period.to));
            Ok((shown(period.shown_from), from, to, name, met.first, met.exact, met.covered))
        };
        target.periods(from, to)?.into_iter().map(row).collect()
    };
    TableIterator::new(listed().or_raise())
}

/// Two instants, the second after the first.
pub fn range(from: Option<TimestampWithTimeZone>, to: Option<TimestampWithTimeZone>) -> Result<(i64, i64)> {
    let (from, to) = (given(from, "from_time")?.micros("from_time")?, given(to, "to_time")?.micros("to_time")?);
    if from < to { Ok((from, to)) } else { Err(error::empty_range()) }
}

/// What the clocks show at the beginning of each period of a day; one, unless periods are shorter than a day.
///
/// Takes the parent and a day. Raises what `plan::key_of` raises, `22008` for a day that the zone leaves out.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.partition_periods_of_day(parent regclass, day date) RETURNS SETOF timestamp
STABLE PARALLEL RESTRICTED COST 10000 ROWS 1 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
fn partition_periods_of_day(parent: Option<Oid>, day: Option<Date>) -> SetOfIterator<'static, Option<Timestamp>> {
    let listed = || -> Result<Vec<_>> {
        let (parent, day) = (given(parent, "parent")?, given(day, "day")?.micros("day")?);
        Ok(of_day(&Target::read(parent)?, day)?.into_iter().map(|period| shown(period.shown_from)).collect())
    };
    SetOfIterator::new(listed().or_raise())
}

/// The periods of a day. Raises `22008` for one that the zone leaves out.
pub fn of_day(target: &Target, day: i64) -> Result<Vec<Period>> {
    let periods = target.shown_periods(day, day.saturating_add(86_400_000_000))?;
    if periods.is_empty() {
        return Err(error::day_left_out(&target.calendar()?.of_shown(day)?.label));
    }
    Ok(periods)
}

/// The instant up to which partitions are made ahead: the end of the period that is so many after the present one.
///
/// Takes the parent and a number of periods. Raises what `plan::key_of` raises. Linear in the number.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.partition_horizon(parent regclass, premake int) RETURNS timestamptz
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
fn partition_horizon(parent: Option<Oid>, premake: Option<i32>) -> Option<TimestampWithTimeZone> {
    let horizon = || -> Result<i64> {
        Target::read(given(parent, "parent")?)?.horizon(catalog::now()?, given(premake, "premake")?)
    };
    instant(horizon().or_raise())
}
