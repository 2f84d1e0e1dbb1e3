//! Daily partitions as SQL sees them: the plans as sets of rows, what procedures ask of a source; SQL files do the rest.
#![allow(clippy::type_complexity, reason = "pgrx reads the names of the result's columns in the signature")]

mod catalog;
#[cfg(any(test, feature = "pg_test"))]
mod tests;

use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::calendar::Day;
use eventkit_core::partition::step::Step;
use eventkit_core::partition::{backfill, error, plan};
use pgrx::datum::Date;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// A plan's row: step, statement, lock, target, reason.
type Row = (i32, Option<String>, Option<String>, String, String);

pgrx::extension_sql_file!("../../../sql/partition_view.sql", name = "partition_view");
pgrx::extension_sql_file!(
    "../../../sql/partition_create.sql",
    name = "partition_create",
    requires = ["partition_view", plan_create_partition, plan_backfill_day]
);
pgrx::extension_sql_file!(
    "../../../sql/partition_backfill.sql",
    name = "partition_backfill",
    requires = [
        "partition_create",
        plan_backfill,
        plan_backfill_sequences,
        check_backfill,
        next_backfill_day,
        backfill_left_behind,
        backfill_differences
    ]
);

/// The steps of `create_partition`, without doing them.
///
/// Takes the parent and a day; gives the steps in order, or one without a statement when the partition exists.
/// Linear in the parent's partitions; takes no lock but `ACCESS SHARE`. Raises what `plan::create` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.plan_create_partition(parent regclass, day date)
RETURNS TABLE (step int, statement text, lock text, target text, reason text)
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn plan_create_partition(
    parent: Option<Oid>,
    day: Option<Date>,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(statement, Option<String>),
        name!(lock, Option<String>),
        name!(target, String),
        name!(reason, String),
    ),
> {
    let steps = || -> Result<Vec<Step>> {
        let (parent, day) = (given(parent, "parent")?, day_of(given(day, "day")?)?);
        let parent = catalog::parent(parent)?;
        plan::key_of(&parent)?;
        plan::create(&parent, day, catalog::found(&parent, day)?)
    };
    rows(steps().or_raise())
}

/// The steps of one day of a backfill, without doing them.
///
/// Takes source, parent and day; gives the steps in order, or one without a statement when a partition covers the
/// day. Linear in the parent's partitions; takes no lock but `ACCESS SHARE`. Raises what `plan::backfill_day` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.plan_backfill_day(source regclass, parent regclass, day date)
RETURNS TABLE (step int, statement text, lock text, target text, reason text)
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn plan_backfill_day(
    source: Option<Oid>,
    parent: Option<Oid>,
    day: Option<Date>,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(statement, Option<String>),
        name!(lock, Option<String>),
        name!(target, String),
        name!(reason, String),
    ),
> {
    let steps = || -> Result<Vec<Step>> {
        let (pair, day) = (Pair::read(source, parent)?, day_of(given(day, "day")?)?);
        pair.day(day)
    };
    rows(steps().or_raise())
}

/// The steps by which a backfill carries sequences, without doing them.
///
/// Takes source and parent; gives a step for each sequence that feeds a copied column. Raises what
/// `backfill::copied_columns` raises. Takes no lock but `ACCESS SHARE`.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.plan_backfill_sequences(source regclass, parent regclass)
RETURNS TABLE (step int, statement text, lock text, target text, reason text)
STABLE PARALLEL RESTRICTED COST 10000 ROWS 2 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn plan_backfill_sequences(
    source: Option<Oid>,
    parent: Option<Oid>,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(statement, Option<String>),
        name!(lock, Option<String>),
        name!(target, String),
        name!(reason, String),
    ),
> {
    let steps = || -> Result<Vec<Step>> {
        let pair = Pair::read(source, parent)?;
        backfill::sequence_steps(&pair.parent, &pair.source)
    };
    rows(steps().or_raise())
}

/// The steps of a whole `backfill`, without doing them: sequences, the days from the newest on, sequences again.
///
/// Takes source and parent. Probes the source's index once a day. Raises what `backfill::copied_columns` and
/// `plan::backfill_day` raise. Takes no lock but `ACCESS SHARE`.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.plan_backfill(source regclass, parent regclass)
RETURNS TABLE (step int, statement text, lock text, target text, reason text)
STABLE PARALLEL RESTRICTED COST 100000 ROWS 1000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn plan_backfill(
    source: Option<Oid>,
    parent: Option<Oid>,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(statement, Option<String>),
        name!(lock, Option<String>),
        name!(target, String),
        name!(reason, String),
    ),
> {
    let steps = || -> Result<Vec<Step>> {
        let pair = Pair::read(source, parent)?;
        let sequences = backfill::sequence_steps(&pair.parent, &pair.source)?;
        let newest = catalog::newest_day()?;
        let mut steps = sequences.clone();
        let mut before = None;
        while let Some(day) = pair.newest_before(before, newest)? {
            steps.extend(pair.day(day)?);
            before = Some(day);
        }
        steps.extend(sequences);
        Ok(steps)
    };
    rows(steps().or_raise())
}

/// Raises the error that a backfill of this pair would raise before its first row; a NOTICE when the source has no
/// index that finds a day.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.check_backfill(source regclass, parent regclass) RETURNS void
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn check_backfill(source: Option<Oid>, parent: Option<Oid>) {
    let checked = || -> Result<Option<String>> {
        let pair = Pair::read(source, parent)?;
        backfill::copied_columns(&pair.parent, &pair.source)?;
        Ok((!pair.source.key_indexed).then(|| pair.source.qualified()))
    };
    if let Some(source) = checked().or_raise() {
        notice!("{source} has no index that begins with the partition key: it is read whole for each day");
    }
}

/// The newest day of the source before another one; NULL when there is none.
///
/// Takes source, parent and the day (NULL: none yet). One index probe. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.next_backfill_day(source regclass, parent regclass, before date) RETURNS date
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn next_backfill_day(source: Option<Oid>, parent: Option<Oid>, before: Option<Date>) -> Option<Date> {
    let next = || -> Result<Option<Day>> {
        let pair = Pair::read(source, parent)?;
        pair.newest_before(before.map(day_of).transpose()?, catalog::newest_day()?)
    };
    next().or_raise().and_then(date_of)
}

/// The rows of the source that a backfill leaves where they are: NULL, infinite, before 1970, more than ten years ahead.
///
/// Takes source and parent; gives a row for each kind that occurs. Reads the ends of the index, or the whole source.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.backfill_left_behind(source regclass, parent regclass)
RETURNS TABLE (kind text, row_count bigint)
STABLE PARALLEL RESTRICTED COST 100000 ROWS 5 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn backfill_left_behind(
    source: Option<Oid>,
    parent: Option<Oid>,
) -> TableIterator<'static, (name!(kind, Option<String>), name!(row_count, Option<i64>))> {
    let kinds = || -> Result<_> {
        let pair = Pair::read(source, parent)?;
        let query = backfill::left_behind_query(&pair.parent, &pair.source, catalog::newest_day()?)?;
        catalog::all(&query, |row| Ok((row.get::<String>(1)?, row.get::<i64>(2)?)))
    };
    TableIterator::new(kinds().or_raise())
}

/// The days whose number of rows differs between source and parent.
///
/// Takes source and parent; gives the day and both counts, newest first. Reads both tables once.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.backfill_differences(source regclass, parent regclass)
RETURNS TABLE (day date, source_rows bigint, parent_rows bigint)
STABLE PARALLEL RESTRICTED COST 1000000 ROWS 10 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn backfill_differences(
    source: Option<Oid>,
    parent: Option<Oid>,
) -> TableIterator<'static, (name!(day, Option<Date>), name!(source_rows, Option<i64>), name!(parent_rows, Option<i64>))>
{
    let days = || -> Result<_> {
        let pair = Pair::read(source, parent)?;
        let query = backfill::differing_days_query(&pair.parent, &pair.source, catalog::newest_day()?)?;
        catalog::all(&query, |row| {
            let day = row.get::<i32>(1)?.and_then(|days| Day::from_unix_days(days).ok()).and_then(date_of);
            Ok((day, row.get::<i64>(2)?, row.get::<i64>(3)?))
        })
    };
    TableIterator::new(days().or_raise())
}

/// A source and the parent that its rows go to.
struct Pair {
    source: eventkit_core::partition::snapshot::Source,
    parent: eventkit_core::partition::snapshot::Parent,
}

impl Pair {
    fn read(source: Option<Oid>, parent: Option<Oid>) -> Result<Self> {
        let (source, parent) = (given(source, "source")?, given(parent, "parent")?);
        let pair = Self { parent: catalog::parent(parent)?, source: catalog::source(source, parent)? };
        // Before anything is read: may the caller, and do the two fit?
        backfill::copied_columns(&pair.parent, &pair.source)?;
        Ok(pair)
    }

    fn day(&self, day: Day) -> Result<Vec<Step>> {
        plan::backfill_day(&self.parent, &self.source, day, catalog::found(&self.parent, day)?)
    }

    fn newest_before(&self, before: Option<Day>, newest: Day) -> Result<Option<Day>> {
        let query = backfill::newest_day_query(&self.parent, &self.source, before, newest)?;
        catalog::one::<i32>(&query, &[])?.map(Day::from_unix_days).transpose()
    }
}

fn given<T>(value: Option<T>, argument: &str) -> Result<T> {
    value.ok_or_else(|| error::null_argument(argument))
}

fn day_of(date: Date) -> Result<Day> {
    if date.is_infinity() || date.is_neg_infinity() {
        return Err(error::day_out_of_range("infinity"));
    }
    // The server's days begin in 2000; adding cannot overflow inside of its own range, saturating says so.
    Day::from_unix_days(date.to_pg_epoch_days().saturating_add(10_957))
}

fn date_of(day: Day) -> Option<Date> {
    let (year, month, day) = day.parts();
    Date::new(year, month, day).ok()
}

fn rows(steps: Vec<Step>) -> TableIterator<'static, Row> {
    TableIterator::new((1..).zip(steps).map(|(number, step)| {
        (number, step.statement, step.lock.map(|l| l.sql().to_owned()), step.target, step.reason)
    }))
}
