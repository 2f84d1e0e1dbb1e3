//! The plans of a backfill and of what captures and applies the changes made meanwhile.

use super::backfill::Pair;
use super::plans::{plan_function, plan_rows};
use super::{Micros, catalog, given};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::backfill::{self, Verify};
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::capture::{self, Batch, Capture};
use eventkit_core::partition::step::Step;
use pgrx::datum::{Timestamp, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

plan_function! {
/// The steps of one period of a backfill, without doing them.
///
/// Takes source, parent, any shown time of the period, and how its rows are verified; gives the steps in order, or one without a
/// statement when partitions that hold rows cover it. Takes no lock but `ACCESS SHARE`. Raises what `plan::backfill_period` raises.
r#"
CREATE FUNCTION eventkit.plan_backfill_period(source regclass, parent regclass, period timestamp, verify text DEFAULT 'count')
RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_backfill_period(source: Oid, parent: Oid, period: Timestamp, verify: String) {
    let mut pair = Pair::read(source, parent)?;
    pair.source.verify = Verify::read(&given(verify, "verify")?)?;
    let period = pair.target.calendar()?.of_shown(given(period, "period")?.micros("period")?)?;
    pair.steps(&period)
}
}

plan_function! {
/// The steps by which a backfill carries sequences, without doing them.
///
/// Takes source and parent; gives a step for each sequence that feeds a copied column. Raises what
/// `backfill::copied_columns` raises. Takes no lock but `ACCESS SHARE`.
r#"
CREATE FUNCTION eventkit.plan_backfill_sequences(source regclass, parent regclass) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 2 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_backfill_sequences(source: Oid, parent: Oid) {
    let pair = Pair::read(source, parent)?;
    backfill::sequence_steps(&pair.target.parent, &pair.source)
}
}

plan_function! {
/// The steps that begin to capture a source's changes, without doing them; none when they are captured already.
///
/// Takes source and parent. Raises what `capture::install` raises. Takes no lock but `ACCESS SHARE`.
r#"
CREATE FUNCTION eventkit.plan_backfill_capture(source regclass, parent regclass) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 10 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_backfill_capture(source: Oid, parent: Oid) {
    let (pair, captured) = read(source, parent)?;
    capture::install(&pair.target.parent, &pair.source, &captured)
}
}

plan_function! {
/// The steps of a whole `backfill`, without doing them: the capture, sequences, the periods, sequences again.
///
/// Takes what the procedure takes. Probes the source's index once a period. Raises what `backfill::copied_columns`,
/// `capture::install` and `plan::backfill_period` raise. Takes no lock but `ACCESS SHARE`.
r#"
CREATE FUNCTION eventkit.plan_backfill(
  source regclass, parent regclass, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL,
  newest_first boolean DEFAULT true, verify text DEFAULT 'count', capture boolean DEFAULT true)
RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 1000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_backfill(
    source: Oid,
    parent: Oid,
    from_time: TimestampWithTimeZone,
    to_time: TimestampWithTimeZone,
    newest_first: bool,
    verify: String,
    capture: bool,
) {
    let (mut pair, captured) = read(source, parent)?;
    pair.source.verify = Verify::read(&given(verify, "verify")?)?;
    let newest_first = given(newest_first, "newest_first")?;
    let sequences = backfill::sequence_steps(&pair.target.parent, &pair.source)?;
    let mut steps = Vec::new();
    if given(capture, "capture")? {
        steps.extend(capture::install(&pair.target.parent, &pair.source, &captured)?);
    }
    let mut range = pair.moved(from_time, to_time)?;
    let mut transactions = vec![sequences.clone()];
    while let Some((period, rest)) = pair.next(range, newest_first)? {
        transactions.push(pair.steps(&period)?);
        range = rest;
        pgrx::check_for_interrupts!();
    }
    transactions.push(sequences);
    for transaction in transactions.into_iter().filter(|t| !t.is_empty()) {
        if !steps.is_empty() {
            steps.push(Step::commit(pair.target.parent.qualified()));
        }
        steps.extend(transaction);
    }
    Ok(steps)
}
}

plan_function! {
/// The steps of one transaction of `catch_up`, without doing them; `$1` stands for what the first one gives.
///
/// Takes source, parent, the most changes of a transaction, whether rows that left the source are deleted, whether changed rows are
/// deleted and inserted rather than updated, the range that the periods share a time with, periods whose changes wait on, and one
/// whose changes alone are applied; a period is given by any shown time of it. Raises what `capture::apply` raises. Takes no lock but `ACCESS SHARE`.
r#"
CREATE FUNCTION eventkit.plan_catch_up(
  source regclass, parent regclass, batch_rows bigint DEFAULT 10000, deletes boolean DEFAULT true, replace boolean DEFAULT false,
  from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL, passed_over timestamp[] DEFAULT '{}', alone timestamp DEFAULT NULL)
RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 6 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_catch_up(
    source: Oid,
    parent: Oid,
    batch_rows: i64,
    deletes: bool,
    replace: bool,
    from_time: TimestampWithTimeZone,
    to_time: TimestampWithTimeZone,
    passed_over: Vec<Option<Timestamp>>,
    alone: Timestamp,
) {
    let (pair, captured) = read(source, parent)?;
    let rows = given(batch_rows, "batch_rows")?;
    if rows < 1 {
        return Err(capture::error::batch_rows(rows));
    }
    let moved = pair.moved(from_time, to_time)?;
    let key = pair.target.key()?;
    let bound = |shown: Timestamp, argument: &str| -> Result<Bound> {
        Ok(Bound::of(&pair.target.calendar()?.of_shown(shown.micros(argument)?)?, key))
    };
    let passed_over = passed_over.into_iter().flatten().flatten().map(|period| bound(period, "passed_over"));
    let batch = Batch {
        moved,
        rows,
        deletes: given(deletes, "deletes")?,
        replace: given(replace, "replace")?,
        passed_over: passed_over.collect::<Result<_>>()?,
        alone: alone.map(|period| bound(period, "alone")).transpose()?,
    };
    capture::apply(&pair.target.parent, &pair.source, &captured, batch)
}
}

plan_function! {
/// The steps of `finish_backfill` after its last call of `catch_up`, without doing them: the lock, the last changes, sequences, the end
/// of the capture; then, in a transaction of its own, its removal, which is all when a call was stopped before it.
///
/// Takes source and parent. Raises what `capture::finish` raises. Takes no lock but `ACCESS SHARE`.
r#"
CREATE FUNCTION eventkit.plan_finish_backfill(source regclass, parent regclass) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_finish_backfill(source: Oid, parent: Oid) {
    let (pair, captured) = read(source, parent)?;
    let (table, from) = (&pair.target.parent, &pair.source);
    let batch = Batch {
        moved: pair.moved(None, None)?,
        rows: i64::MAX,
        deletes: true,
        replace: false,
        passed_over: Vec::new(),
        alone: None,
    };
    capture::finish(table, from, &captured, batch, backfill::sequence_steps(table, from)?)
}
}

plan_function! {
/// The steps of `abandon_backfill`, without doing them: the removal of the capture.
///
/// Takes source and parent; without a parent, of all backfills of the source. The parent may be gone. Gives nothing where nothing is
/// captured. Takes no lock but `ACCESS SHARE`. Raises `22004` without a source.
r#"
CREATE FUNCTION eventkit.plan_abandon_backfill(source regclass, parent regclass DEFAULT NULL) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 10 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_abandon_backfill(source: Oid, parent: Oid) {
    let removals = catalog::removals(given(source, "source")?, parent)?;
    Ok(removals.iter().flat_map(capture::Removal::steps).collect())
}
}

/// A pair and what capturing has to know of it.
fn read(source: Option<Oid>, parent: Option<Oid>) -> Result<(Pair, Capture)> {
    let pair = Pair::read(source, parent)?;
    let captured = catalog::capture(given(source, "source")?, given(parent, "parent")?)?;
    Ok((pair, captured))
}
