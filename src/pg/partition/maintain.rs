//! The periods that a managed parent needs at a given instant, read once for premake and health.

use super::target::Target;
use super::{Micros, catalog, given, shown};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use pgrx::datum::{Timestamp, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// The periods of a managed parent from that of an instant to `premake` ahead that have no partition for each of their times, in order.
///
/// Takes the parent and the instant (NULL: now). Gives what the clocks show at the period's beginning, its place (0: the present one) and the first partition that
/// shares a time with it; nothing for a parent that is not managed. A walk over numbers. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.upcoming_partitions(parent regclass, as_of timestamptz DEFAULT NULL)
RETURNS TABLE (period timestamp, ahead int, partition regclass)
STABLE PARALLEL RESTRICTED COST 10000 ROWS 2 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
pub fn upcoming_partitions(
    parent: Option<Oid>,
    as_of: Option<TimestampWithTimeZone>,
) -> TableIterator<'static, (name!(period, Option<Timestamp>), name!(ahead, i32), name!(partition, Option<Oid>))> {
    let lacking = || -> Result<Vec<_>> {
        let table = given(parent, "parent")?;
        let premake = catalog::one::<i32>(
            "SELECT s.premake FROM eventkit.partition_settings s WHERE s.parent = $1",
            &[table.into()],
        )?;
        let Some(premake) = premake else { return Ok(Vec::new()) };
        let target = Target::read(table)?;
        let from = match as_of {
            Some(as_of) => as_of.micros("as_of")?,
            None => catalog::now()?,
        };
        let mut lacking = Vec::new();
        for (ahead, period) in (0..).zip(target.periods(from, target.horizon(from, premake)?)?) {
            let met = target.meeting(&period)?;
            if !met.covered {
                lacking.push((shown(period.shown_from), ahead, met.first));
            }
        }
        Ok(lacking)
    };
    TableIterator::new(lacking().or_raise())
}
