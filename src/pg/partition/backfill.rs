//! What the procedure `backfill` asks of its source.

use super::target::Target;
use super::{EPOCH_SHIFT, Micros, catalog, given, shown};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::backfill;
use eventkit_core::partition::period::Period;
use eventkit_core::partition::plan;
use eventkit_core::partition::snapshot::Source;
use eventkit_core::partition::step::Step;
use pgrx::datum::{Date, Timestamp};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// A source and the parent that its rows go to.
pub struct Pair {
    pub source: Source,
    pub target: Target,
}

impl Pair {
    pub fn read(source: Option<Oid>, parent: Option<Oid>) -> Result<Self> {
        let (source, parent) = (given(source, "source")?, given(parent, "parent")?);
        let pair = Self { target: Target::read(parent)?, source: catalog::source(source, parent)? };
        // Before anything is read: may the caller, and do the two fit?
        backfill::copied_columns(&pair.target.parent, &pair.source)?;
        Ok(pair)
    }

    /// The steps of one period. Errors as [`plan::backfill_period`].
    pub fn steps(&self, period: &Period) -> Result<Vec<Step>> {
        self.target.steps(period, |parent, found| plan::backfill_period(parent, &self.source, period, found))
    }

    /// The newest period that is moved: that of ten years from now.
    pub fn newest(&self) -> Result<Period> {
        self.target.calendar()?.of_instant(catalog::newest_instant()?)
    }

    /// Where the newest period that is moved ends, in the key's own time.
    pub fn end(&self) -> Result<i64> {
        Ok(self.target.key()?.range_of(&self.newest()?).1)
    }

    /// The newest period with a row before a time of the key's own.
    pub fn newest_before(&self, before: i64) -> Result<Option<Period>> {
        let query = backfill::newest_key_query(&self.target.parent, &self.source, before)?;
        catalog::one::<i64>(&query, &[])?.map(|time| self.target.period_of_key(time)).transpose()
    }
}

/// Raises the error that a backfill of this pair would raise before its first row; a NOTICE when the source has no
/// index that finds a period.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.check_backfill(source regclass, parent regclass) RETURNS void
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn check_backfill(source: Option<Oid>, parent: Option<Oid>) {
    let checked = || -> Result<Option<String>> {
        let pair = Pair::read(source, parent)?;
        Ok((!pair.source.key_indexed).then(|| pair.source.qualified()))
    };
    if let Some(source) = checked().or_raise() {
        notice!("{source} has no index that begins with the partition key: it is read whole for each period");
    }
}

/// What the clocks show at the beginning of the newest period of the source before another one; NULL when there is none.
///
/// Takes source, parent and the other period (NULL: none yet). One index probe. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.next_backfill_period(source regclass, parent regclass, before timestamp) RETURNS timestamp
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD'
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn next_backfill_period(source: Option<Oid>, parent: Option<Oid>, before: Option<Timestamp>) -> Option<Timestamp> {
    let next = || -> Result<Option<Period>> {
        let pair = Pair::read(source, parent)?;
        let before = match before {
            Some(before) => {
                let period = pair.target.calendar()?.of_shown(before.micros("before")?)?;
                pair.target.key()?.range_of(&period).0
            }
            None => pair.end()?,
        };
        pair.newest_before(before)
    };
    next().or_raise().and_then(|period| shown(period.shown_from))
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
        let query = backfill::left_behind_query(&pair.target.parent, &pair.source, &pair.newest()?)?;
        catalog::all(&query, |row| Ok((row.get::<String>(1)?, row.get::<i64>(2)?)))
    };
    TableIterator::new(kinds().or_raise())
}

/// The days whose number of rows differs between source and parent.
///
/// Takes source and parent; gives the day (of UTC; as stored for a key without a zone) and both counts, newest first. Reads both tables once.
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
        let query = backfill::differing_days_query(&pair.target.parent, &pair.source, &pair.newest()?)?;
        catalog::all(&query, |row| Ok((row.get::<i64>(1)?.and_then(date), row.get::<i64>(2)?, row.get::<i64>(3)?)))
    };
    TableIterator::new(days().or_raise())
}

/// The date of a day number since 1970-01-01.
fn date(days: i64) -> Option<Date> {
    let since_2000 = days - EPOCH_SHIFT / 86_400_000_000;
    i32::try_from(since_2000).ok().map(Date::saturating_from_raw)
}
