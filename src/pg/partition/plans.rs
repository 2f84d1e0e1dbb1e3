//! The plans as sets of rows of `eventkit.plan_step`: what would be executed, in order.

use super::periods::{of_day, range};
use super::target::Target;
use super::{Micros, catalog, given};
use crate::pg::raise::OrRaise;
use crate::raw::server::in_transaction_block;
use eventkit_core::error::Result;
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::key::KeyUnit;
use eventkit_core::partition::settings::{self, Settings};
use eventkit_core::partition::step::Step;
use eventkit_core::partition::{error, plan};
use pgrx::datum::{Date, Interval, Timestamp, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// A plan's row: step, statement, lock, target, reason.
pub(super) type Row = (i32, Option<String>, Option<String>, String, String);

pub fn plan_rows(steps: Vec<Step>) -> TableIterator<'static, Row> {
    TableIterator::new((1..).zip(steps).map(|(number, step)| {
        (number, step.statement, step.lock.map(|l| l.sql().to_owned()), step.target, step.reason)
    }))
}

/// A function that shows a plan. This is the one place that spells the columns of its rows, as `eventkit.plan_step` has them.
macro_rules! plan_function {
    ($(#[$meta:meta])* $sql:literal fn $name:ident($($argument:ident: $of:ty),* $(,)?) $steps:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "SQL names them; each has its default there")]
        #[pg_extern(sql = $sql, requires = ["partition_plan"])]
        fn $name($($argument: Option<$of>),*) -> TableIterator<
            'static,
            (
                name!(step, i32),
                name!(statement, Option<String>),
                name!(lock, Option<String>),
                name!(target, String),
                name!(reason, String),
            ),
        > {
            let steps = || -> Result<Vec<Step>> { $steps };
            plan_rows(steps().or_raise())
        }
    };
}

pub(super) use plan_function;

plan_function! {
/// The steps of `create_partition`, without doing them.
///
/// Takes the parent and a day; gives the steps in order, or one without a statement when the partition exists; for
/// periods shorter than a day those of all its periods. Takes no lock but `ACCESS SHARE`. Raises what `plan::create` raises.
r#"
CREATE FUNCTION eventkit.plan_create_partition(parent regclass, day date) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_create_partition(parent: Oid, day: Date) {
    let (parent, day) = (given(parent, "parent")?, given(day, "day")?.micros("day")?);
    let target = Target::read(parent)?;
    let mut steps = Vec::new();
    for period in of_day(&target, day)? {
        steps.extend(target.create(&period)?);
    }
    Ok(steps)
}
}

plan_function! {
/// The steps of `create_partitions`, without doing them.
///
/// Takes the parent and two instants; gives the steps of each period that has no partition, in order of time, `COMMIT` behind
/// each. Periods that have one are left out. Takes no lock but `ACCESS SHARE`. Raises what `plan::create` raises.
r#"
CREATE FUNCTION eventkit.plan_create_partitions(parent regclass, from_time timestamptz, to_time timestamptz) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 200 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_create_partitions(parent: Oid, from_time: TimestampWithTimeZone, to_time: TimestampWithTimeZone) {
    let (from, to) = range(from_time, to_time)?;
    let target = Target::read(given(parent, "parent")?)?;
    let mut steps = Vec::new();
    for period in target.periods(from, to)? {
        if !target.meeting(&period)?.exact {
            steps.extend(target.create(&period)?);
            steps.push(Step::commit(target.parent.qualified()));
        }
    }
    Ok(steps)
}
}

plan_function! {
/// The steps that make the partition of one period, told by what the clocks show at its beginning, without doing them.
///
/// Takes the parent, any shown time of the period, and whether the caller has seen that no partition meets it, which spares
/// the server to read the bounds of all; gives the steps, or one without a statement when the partition exists. Takes no
/// lock but `ACCESS SHARE`. Raises what `plan::create` raises.
r#"
CREATE FUNCTION eventkit.plan_partition(parent regclass, period timestamp, seen_free boolean DEFAULT false) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_partition(parent: Oid, period: Timestamp, seen_free: bool) {
    let (parent, start) = (given(parent, "parent")?, given(period, "period")?.micros("period")?);
    let free = if seen_free == Some(true) {
        let target = Target::read_free(parent)?;
        let period = target.calendar()?.of_shown(start)?;
        if target.is_taken(&period)? { None } else { Some(target) }
    } else {
        None
    };
    let target = free.map_or_else(|| Target::read(parent), Ok)?;
    let period = target.calendar()?.of_shown(start)?;
    target.create(&period)
}
}

plan_function! {
/// The steps of `attach_partition`, without doing them.
///
/// Takes the parent, the table, and the range of time that it holds, infinity for an open end. Gives the steps, `COMMIT` behind
/// each transaction; one without a statement when the table is that partition already. Reads the range of the default
/// partition, if there is one. Takes no lock but `ACCESS SHARE`. Raises what `plan::adopt` raises.
r#"
CREATE FUNCTION eventkit.plan_attach_partition(parent regclass, child regclass, from_time timestamptz, to_time timestamptz)
RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_attach_partition(
    parent: Oid,
    child: Oid,
    from_time: TimestampWithTimeZone,
    to_time: TimestampWithTimeZone,
) {
    let (table, child) = (given(parent, "parent")?, given(child, "child")?);
    let (from, to) = (given(from_time, "from_time")?.into_inner(), given(to_time, "to_time")?.into_inner());
    if from >= to {
        return Err(error::empty_range());
    }
    let mut target = Target::read(table)?;
    let bound = Bound { from: target.key_time(from)?, to: target.key_time(to)? };
    target.parent.partitions = catalog::partitions(&target.placed, bound)?;
    let child = catalog::child(child, table)?;
    let label = bound.for_values(target.key()?)?.replace("FOR VALUES ", "");
    let rows = if child.attached { 0 } else { catalog::default_rows(&target.parent, bound)? };
    plan::adopt(&target.parent, &child, bound, &label, rows, !in_transaction_block())
}
}

plan_function! {
/// The steps of `manage_partitions`, without doing them: the settings, then the periods from now to `premake` ahead that lack a partition.
///
/// Takes what the procedure takes. Takes no lock but `ACCESS SHARE`. Raises what `plan::key_of` and `settings::check` raise.
r#"
CREATE FUNCTION eventkit.plan_manage_partitions(
  parent regclass, period interval DEFAULT '1 day', time_zone text DEFAULT 'UTC', premake int DEFAULT 7,
  retention interval DEFAULT NULL, on_expiry text DEFAULT 'detach', expired_schema text DEFAULT NULL, key_unit text DEFAULT NULL,
  archive_with regprocedure DEFAULT NULL)
RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 200 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_manage_partitions(
    parent: Oid,
    period: Interval,
    time_zone: String,
    premake: i32,
    retention: Interval,
    on_expiry: String,
    expired_schema: String,
    key_unit: String,
    archive_with: Oid,
) {
    let (table, period) = (given(parent, "parent")?, given(period, "period")?);
    let (time_zone, premake) = (given(time_zone, "time_zone")?, given(premake, "premake")?);
    let on_expiry = given(on_expiry, "on_expiry")?;
    let mut parent = catalog::parent(table)?;
    let told = Settings {
        months: period.months(),
        days: period.days(),
        micros: period.micros(),
        time_zone: catalog::zone_name(&time_zone)?,
    };
    if let Some(key) = parent.key.as_mut() {
        key.unit = key_unit.as_deref().map(KeyUnit::read).transpose()?;
    }
    let rest = settings::Rest {
        premake,
        retention: retention.map(|r| (r.months(), r.days(), r.micros())),
        on_expiry,
        expired_schema,
        archive: None,
    };
    if let Some(schema) = &rest.expired_schema {
        catalog::check_schema(schema)?;
    }
    plan::key_of(&parent)?;
    let archive = catalog::one::<String>("SELECT eventkit.check_archive($1, $2)", &[table.into(), archive_with.into()])?;
    let rest = settings::Rest { archive, ..rest };
    let mut steps = settings::steps(&parent, &told, &rest)?;
    parent.settings = Some(told);
    let target = Target::of(table, parent)?;
    let now = catalog::now()?;
    for period in target.periods(now, target.horizon(now, premake)?)? {
        if !target.meeting(&period)?.covered {
            steps.push(Step::commit(target.parent.qualified()));
            // What stands in the way of one period stops neither the settings nor the other periods.
            steps.extend(target.create(&period).unwrap_or_else(|e| vec![Step::nothing(period.label, e.to_string())]));
        }
    }
    Ok(steps)
}
}
