//! What the procedure `backfill` asks of its source.

use super::maintain::brief;
use super::target::Target;
use super::{Micros, catalog, given, shown};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::backfill::{self, OLDEST};
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::period::Period;
use eventkit_core::partition::plan;
use eventkit_core::partition::snapshot::Source;
use eventkit_core::partition::step::Step;
use pgrx::datum::{Timestamp, TimestampWithTimeZone};
use pgrx::iter::{SetOfIterator, TableIterator};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

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

    /// The same for one who has read the pair already and looks for its next period: what only a plan needs is left out, and what
    /// speaks against the pair.
    fn read_again(source: Option<Oid>, parent: Option<Oid>) -> Result<Self> {
        let (source, parent) = (given(source, "source")?, given(parent, "parent")?);
        Ok(Self { target: brief(parent)?, source: catalog::source(source, parent)? })
    }

    /// The steps of one period: into a partition of its own, or into those that stand there empty. Errors as [`plan::backfill_period`].
    pub fn steps(&self, period: &Period) -> Result<Vec<Step>> {
        if self.target.meeting(period)?.covered {
            let (parent, bound) = (&self.target.parent, Bound::of(period, self.target.key()?));
            let query = backfill::any_row_query(parent, &parent.qualified(), bound)?;
            if catalog::one::<bool>(&query, &[])? == Some(false) {
                return backfill::fill_steps(parent, &self.source, period);
            }
        }
        self.target.steps(period, |parent, found| plan::backfill_period(parent, &self.source, period, found))
    }

    /// The newest period that is moved: that of ten years from now.
    pub fn newest(&self) -> Result<Period> {
        self.target.calendar()?.of_instant(catalog::newest_instant()?)
    }

    /// Where the periods lie that are moved, in the key's own time: those that share a time with a range of the caller's, from
    /// 1970 to ten years ahead.
    pub fn moved(&self, from: Option<TimestampWithTimeZone>, to: Option<TimestampWithTimeZone>) -> Result<Bound> {
        let key = self.target.key()?;
        let mut moved = Bound { from: OLDEST, to: key.range_of(&self.newest()?).1 };
        if let Some(from) = from.map(|time| self.target.key_time(time.into_inner())).transpose()?
            && from > moved.from
        {
            moved.from = if from >= moved.to { moved.to } else { key.range_of(&self.target.period_of_key(from)?).0 };
        }
        if let Some(to) = to.map(|time| self.target.key_time(time.into_inner())).transpose()?
            && to < moved.to
        {
            moved.to = if to <= moved.from { moved.from } else { key.range_of(&self.target.period_of_key(to - 1)?).1 };
        }
        Ok(moved)
    }

    /// The period of the newest or oldest row in a range of the key's own time.
    fn end_of(&self, range: Bound, newest: bool) -> Result<Option<Period>> {
        if range.from >= range.to {
            return Ok(None);
        }
        let query = backfill::end_key_query(&self.target.parent, &self.source, range, newest)?;
        catalog::one::<i64>(&query, &[])?.map(|time| self.target.period_of_key(time)).transpose()
    }

    /// The next period with a row in a range, and the range without it and what lies before it in that order.
    pub fn next(&self, range: Bound, newest_first: bool) -> Result<Option<(Period, Bound)>> {
        let Some(period) = self.end_of(range, newest_first)? else { return Ok(None) };
        let of_period = Bound::of(&period, self.target.key()?);
        let rest = if newest_first {
            Bound { from: range.from, to: of_period.from }
        } else {
            Bound { from: of_period.to, to: range.to }
        };
        Ok(Some((period, rest)))
    }

    /// The periods that hours (numbers since 1970 in the key's own time) meet, by what the clocks show at their beginning.
    fn periods_of_hours(&self, hours: impl Iterator<Item = i64>) -> Result<BTreeMap<i64, Period>> {
        const HOUR: i64 = 3_600_000_000;
        // Where a zone is half an hour off, an hour belongs to two periods; none is shorter than an hour.
        let mut met = BTreeMap::new();
        for hour in hours {
            for time in [hour.saturating_mul(HOUR), hour.saturating_mul(HOUR).saturating_add(HOUR - 1)] {
                let period = self.target.period_of_key(time)?;
                met.insert(period.shown_from, period);
            }
        }
        Ok(met)
    }
}

/// Raises the error that a backfill of this pair would raise before its first row; a NOTICE when the source has no
/// index that finds a period.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.check_backfill(source regclass, parent regclass) RETURNS void
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
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

/// What the clocks show at the beginning of the next period of the source beside another one; NULL when there is none.
///
/// Takes source, parent, the other period (NULL: none yet), whether the newest comes first, the range that the periods
/// share a time with, and periods to pass by. An index probe for each that it meets. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.next_backfill_period(
  source regclass, parent regclass, beside timestamp, newest_first boolean DEFAULT true,
  from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL, skip timestamp[] DEFAULT '{}') RETURNS timestamp
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn next_backfill_period(
    source: Option<Oid>,
    parent: Option<Oid>,
    beside: Option<Timestamp>,
    newest_first: Option<bool>,
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
    skip: Option<Vec<Option<Timestamp>>>,
) -> Option<Timestamp> {
    let next = || -> Result<Option<Period>> {
        let pair = if beside.is_none() { Pair::read(source, parent)? } else { Pair::read_again(source, parent)? };
        let newest_first = given(newest_first, "newest_first")?;
        let mut range = pair.moved(from_time, to_time)?;
        if let Some(beside) = beside {
            let period = pair.target.calendar()?.of_shown(beside.micros("beside")?)?;
            let of_period = Bound::of(&period, pair.target.key()?);
            if newest_first {
                range.to = range.to.min(of_period.from);
            } else {
                range.from = range.from.max(of_period.to);
            }
        }
        let skip = skip.into_iter().flatten().flatten().map(|period| period.micros("skip"));
        let skip = skip.collect::<Result<BTreeSet<i64>>>()?;
        while let Some((period, rest)) = pair.next(range, newest_first)? {
            if !skip.contains(&period.shown_from) {
                return Ok(Some(period));
            }
            range = rest;
            pgrx::check_for_interrupts!();
        }
        Ok(None)
    };
    next().or_raise().and_then(|period| shown(period.shown_from))
}

/// The periods of the source's rows, by what the clocks show at their beginning, newest first.
///
/// Takes source, parent and the range that the periods share a time with. One index probe a period. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.source_periods(
  source regclass, parent regclass, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL) RETURNS SETOF timestamp
STABLE PARALLEL RESTRICTED COST 100000 ROWS 300 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn source_periods(
    source: Option<Oid>,
    parent: Option<Oid>,
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
) -> SetOfIterator<'static, Timestamp> {
    let periods = || -> Result<Vec<Timestamp>> {
        let pair = Pair::read(source, parent)?;
        let (mut range, mut periods) = (pair.moved(from_time, to_time)?, Vec::new());
        while let Some((period, rest)) = pair.next(range, true)? {
            periods.extend(shown(period.shown_from));
            range = rest;
            pgrx::check_for_interrupts!();
        }
        Ok(periods)
    };
    SetOfIterator::new(periods().or_raise())
}

/// The periods of some hours in which the source has rows, by what the clocks show at their beginning.
///
/// Takes source, parent and numbers of hours since 1970 in the key's own time. An index probe for each period that they meet.
/// Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.source_periods_of_hours(source regclass, parent regclass, hours bigint[]) RETURNS SETOF timestamp
STABLE PARALLEL RESTRICTED COST 10000 ROWS 10 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn source_periods_of_hours(
    source: Option<Oid>,
    parent: Option<Oid>,
    hours: Option<Vec<Option<i64>>>,
) -> SetOfIterator<'static, Timestamp> {
    let periods = || -> Result<Vec<Timestamp>> {
        let pair = Pair::read(source, parent)?;
        let (key, table) = (pair.target.key()?, pair.source.qualified());
        let met = pair.periods_of_hours(hours.into_iter().flatten().flatten())?;
        let mut periods = Vec::new();
        for (shown_from, period) in met {
            let query = backfill::any_row_query(&pair.target.parent, &table, Bound::of(&period, key))?;
            if catalog::one::<bool>(&query, &[])? == Some(true) {
                periods.extend(shown(shown_from));
            }
        }
        Ok(periods)
    };
    SetOfIterator::new(periods().or_raise())
}

/// The rows of the source that a backfill leaves where they are: NULL, infinite, before 1970, more than ten years ahead.
///
/// Takes source and parent; gives a row for each kind that occurs. Reads the ends of the index, or the whole source.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.backfill_left_behind(source regclass, parent regclass)
RETURNS TABLE (kind text, row_count bigint)
STABLE PARALLEL RESTRICTED COST 100000 ROWS 5 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
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

/// The periods whose number of rows differs between source and parent.
///
/// Takes source and parent; gives what the clocks of the parent's zone show at the beginning of the period and both counts, newest first, for periods
/// of the source only. Reads the source twice and the parent once. Raises what `plan::key_of` raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.backfill_differences(source regclass, parent regclass)
RETURNS TABLE (period timestamp, source_rows bigint, parent_rows bigint)
STABLE PARALLEL RESTRICTED COST 1000000 ROWS 10 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn backfill_differences(
    source: Option<Oid>,
    parent: Option<Oid>,
) -> TableIterator<
    'static,
    (name!(period, Option<Timestamp>), name!(source_rows, Option<i64>), name!(parent_rows, Option<i64>)),
> {
    let periods = || -> Result<Vec<_>> {
        let pair = Pair::read(source, parent)?;
        let query = backfill::hours_query(&pair.target.parent, &pair.source, &pair.newest()?)?;
        let hours = catalog::all(&query, |row| row.get::<i64>(1))?;
        let (key, met) = (pair.target.key()?, pair.periods_of_hours(hours.into_iter().flatten())?);
        if met.is_empty() {
            return Ok(Vec::new());
        }
        let bounds: BTreeSet<i64> =
            met.values().map(|period| Bound::of(period, key)).flat_map(|bound| [bound.from, bound.to]).collect();
        let bounds: Vec<i64> = bounds.into_iter().collect();
        let begins: BTreeMap<i64, i64> = met.values().map(|p| (Bound::of(p, key).from, p.shown_from)).collect();
        let begin = |place: Option<i32>| {
            let place = usize::try_from(place?).ok()?.checked_sub(1)?;
            begins.get(bounds.get(place)?).copied().and_then(shown)
        };
        let query = backfill::differing_periods_query(&pair.target.parent, &pair.source, &bounds)?;
        catalog::all(&query, |row| Ok((begin(row.get::<i32>(1)?), row.get::<i64>(2)?, row.get::<i64>(3)?)))
    };
    TableIterator::new(periods().or_raise())
}
