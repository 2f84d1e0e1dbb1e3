//! The periods that a managed parent needs at a given instant, read once for premake and health.

use super::catalog::Placed;
use super::target::Target;
use super::{Micros, catalog, given, instant, shown};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::snapshot::Parent;
use eventkit_core::partition::{error, plan};
use pgrx::datum::{Timestamp, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// A parent with its calendar and its partitions, without what a plan needs beside. Raises what [`Target::read`] raises.
pub fn brief(table: Oid) -> Result<Target> {
    let text = catalog::kept_text(include_str!("brief.sql"), &[table.into()])?;
    Target::of(table, Parent::read(&text.ok_or_else(|| error::no_such_table("parent"))?)?)
}

/// The times between the partitions of a parent that have none, in order; a key without a zone is read as UTC.
///
/// Takes the parent. A walk over numbers. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.partition_gaps(parent regclass) RETURNS TABLE (from_time timestamptz, to_time timestamptz)
STABLE PARALLEL RESTRICTED COST 10000 ROWS 1 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
pub fn partition_gaps(
    parent: Option<Oid>,
) -> TableIterator<
    'static,
    (name!(from_time, Option<TimestampWithTimeZone>), name!(to_time, Option<TimestampWithTimeZone>)),
> {
    let gaps = || -> Result<Vec<_>> {
        let target = brief(given(parent, "parent")?)?;
        let between = |pair: &[Placed]| match pair {
            [before, after] if before.bound.to < after.bound.from => {
                Some((instant(before.bound.to), instant(after.bound.from)))
            }
            _ => None,
        };
        Ok(target.placed.windows(2).filter_map(between).collect())
    };
    TableIterator::new(gaps().or_raise())
}

/// The periods of a managed parent from that of an instant to `premake` ahead that have no partition for each of their times, in order.
///
/// Takes the parent and the instant (NULL: now). Gives what the clocks show at the period's beginning, its place (0: the present one) and the first partition that
/// shares a time with it, the name that its partition would have and whether another relation has it; nothing for a parent that is not managed. A walk over numbers. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.upcoming_partitions(parent regclass, as_of timestamptz DEFAULT NULL)
RETURNS TABLE (period timestamp, ahead int, partition regclass, partition_name text, taken boolean)
STABLE PARALLEL RESTRICTED COST 10000 ROWS 2 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
pub fn upcoming_partitions(
    parent: Option<Oid>,
    as_of: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(period, Option<Timestamp>),
        name!(ahead, i32),
        name!(partition, Option<Oid>),
        name!(partition_name, String),
        name!(taken, bool),
    ),
> {
    let lacking = || -> Result<Vec<_>> {
        let table = given(parent, "parent")?;
        let premake = catalog::one::<i32>(
            "SELECT s.premake FROM eventkit.partition_settings s WHERE s.parent = $1",
            &[table.into()],
        )?;
        let Some(premake) = premake else { return Ok(Vec::new()) };
        let target = brief(table)?;
        let from = match as_of {
            Some(as_of) => as_of.micros("as_of")?,
            None => catalog::now()?,
        };
        let mut lacking = Vec::new();
        for (ahead, period) in (0..).zip(target.periods(from, target.horizon(from, premake)?)?) {
            let met = target.meeting(&period)?;
            if !met.covered {
                let taken = met.first.is_none() && target.is_taken(&period)?;
                let name = plan::partition_name(&target.parent, &period);
                lacking.push((shown(period.shown_from), ahead, met.first, name, taken));
            }
        }
        Ok(lacking)
    };
    TableIterator::new(lacking().or_raise())
}
