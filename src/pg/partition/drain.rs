//! What the procedure `drain_default` asks of the default partition, and its plans.

use super::backfill::Pair;
use super::plans::{plan_function, plan_rows};
use super::target::Target;
use super::{Micros, catalog, given, shown};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::backfill;
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::drain::{self, Trigger};
use eventkit_core::partition::error;
use eventkit_core::partition::name::{literal, qualified};
use eventkit_core::partition::period::Period;
use eventkit_core::partition::step::Step;
use pgrx::datum::Timestamp;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// The default partition beside its parent, read like the source of a backfill; `None` without one.
fn pair(table: Oid) -> Result<Option<Pair>> {
    let target = Target::read(table)?;
    let default = catalog::one::<Oid>(
        "SELECT p.partdefid FROM pg_partitioned_table p WHERE p.partrelid = $1 AND p.partdefid <> 0",
        &[table.into()],
    )?;
    let Some(default) = default else { return Ok(None) };
    Ok(Some(Pair { source: catalog::source(default, table)?, target }))
}

/// The triggers of the user's on the default partition that a DELETE fires.
fn quiet(pair: &Pair) -> Result<Vec<Trigger>> {
    let table = pair.source.qualified();
    let text = catalog::one::<String>(
        "SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.tgname, 'always', t.tgenabled = 'A') ORDER BY t.tgname), '[]')::text \
         FROM pg_trigger t WHERE t.tgrelid = $1::regclass AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 8 <> 0",
        &[table.into()],
    )?;
    serde_json::from_str(&text.unwrap_or_else(|| "[]".into())).map_err(|e| error::unreadable_catalog(&e.to_string()))
}

/// The foreign keys of the parent, and those to it, that are proved at the end of a transaction unless told otherwise. The server takes a
/// name for all constraints that have it in its schema: none that another kind has too.
fn deferred(pair: &Pair) -> Result<Vec<String>> {
    let table = pair.target.parent.qualified();
    let query = format!(
        "SELECT DISTINCT n.nspname::text, k.conname::text FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace \
         WHERE {}::regclass IN (k.conrelid, k.confrelid) AND k.contype = 'f' AND k.condeferred \
         AND NOT EXISTS (SELECT FROM pg_constraint o WHERE o.connamespace = k.connamespace AND o.conname = k.conname AND NOT o.condeferred) ORDER BY 1, 2",
        literal(&table)
    );
    let names = catalog::all(&query, |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)))?;
    Ok(names.into_iter().filter_map(|(schema, name)| Some(qualified(&schema?, &name?))).collect())
}

/// Raises `0A000` for a default partition that is no plain table.
fn plain(pair: &Pair) -> Result<()> {
    match pair.source.kind.as_str() {
        "r" => Ok(()),
        kind => Err(error::default_is_no_table(&pair.source.qualified(), &pair.target.parent.qualified(), kind == "p")),
    }
}

fn steps(pair: &Pair, period: &Period, copy_first: bool) -> Result<Vec<Step>> {
    plain(pair)?;
    let (quiet, deferred) = (quiet(pair)?, deferred(pair)?);
    pair.target.steps(period, |parent, found| drain::period(parent, period, found, &quiet, &deferred, copy_first))
}

fn rows_of(pair: &Pair, period: &Period) -> Result<i64> {
    catalog::default_rows(&pair.target.parent, Bound::of(period, pair.target.key()?))
}

/// What the clocks show at the beginning of the newest period with rows in the default partition before another one; NULL when there is none.
///
/// Takes the parent and the other period (NULL: none yet); rows before 1970 or more than ten years ahead do not count. One index probe, or
/// one read of the default partition. Raises what `plan::key_of` raises, `42501` when policies hide rows of the default partition.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.next_default_period(parent regclass, before timestamp DEFAULT NULL) RETURNS timestamp
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
pub fn next_default_period(parent: Option<Oid>, before: Option<Timestamp>) -> Option<Timestamp> {
    let next = || -> Result<Option<Period>> {
        let Some(pair) = pair(given(parent, "parent")?)? else { return Ok(None) };
        let default =
            format!("SELECT eventkit.refuse_hidden_rows({}::regclass) IS NULL", literal(&pair.source.qualified()));
        catalog::one::<bool>(&default, &[])?;
        let mut range = pair.moved(None, None)?;
        if let Some(before) = before {
            let period = pair.target.calendar()?.of_shown(before.micros("before")?)?;
            range.to = range.to.min(pair.target.key()?.range_of(&period).0);
        }
        let found = pair.next(range, true)?.map(|(period, _)| period);
        if found.is_some() {
            plain(&pair)?;
        }
        Ok(found)
    };
    next().or_raise().and_then(|period| shown(period.shown_from))
}

/// The rows of a period in the default partition. Takes the parent and any shown time of the period. Reads the range.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.default_period_rows(parent regclass, period timestamp) RETURNS bigint
STABLE PARALLEL RESTRICTED COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
pub fn default_period_rows(parent: Option<Oid>, period: Option<Timestamp>) -> i64 {
    let counted = || -> Result<i64> {
        let Some(pair) = pair(given(parent, "parent")?)? else { return Ok(0) };
        let period = pair.target.calendar()?.of_shown(given(period, "period")?.micros("period")?)?;
        rows_of(&pair, &period)
    };
    counted().or_raise()
}

/// The rows of the default partition that no drain moves: NULL, infinite, before 1970, more than ten years ahead.
///
/// Takes the parent; gives a row for each kind that occurs. Reads the ends of the index, or the whole default partition.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.default_left_behind(parent regclass) RETURNS TABLE (kind text, row_count bigint)
STABLE PARALLEL RESTRICTED COST 100000 ROWS 5 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
pub fn default_left_behind(
    parent: Option<Oid>,
) -> TableIterator<'static, (name!(kind, Option<String>), name!(row_count, Option<i64>))> {
    let kinds = || -> Result<_> {
        let Some(pair) = pair(given(parent, "parent")?)? else { return Ok(Vec::new()) };
        let query = backfill::left_behind_query(&pair.target.parent, &pair.source, &pair.newest()?)?;
        catalog::all(&query, |row| Ok((row.get::<String>(1)?, row.get::<i64>(2)?)))
    };
    TableIterator::new(kinds().or_raise())
}

plan_function! {
/// The steps that move one period out of the default partition, without doing them.
///
/// Takes the parent, any shown time of the period, and whether rows are copied before the lock. Takes no lock but `ACCESS SHARE`. Raises
/// what `drain::period` raises.
r#"
CREATE FUNCTION eventkit.plan_drain_period(parent regclass, period timestamp, copy_first boolean DEFAULT true) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 20 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_drain_period(parent: Oid, period: Timestamp, copy_first: bool) {
    let Some(pair) = pair(given(parent, "parent")?)? else { return Ok(Vec::new()) };
    let period = pair.target.calendar()?.of_shown(given(period, "period")?.micros("period")?)?;
    steps(&pair, &period, given(copy_first, "copy_first")?)
}
}

plan_function! {
/// The steps of `drain_default`, without doing them: the periods from the newest on, `COMMIT` behind each.
///
/// Takes what the procedure takes. Reads each period's range once. Raises what `drain::period` raises.
r#"
CREATE FUNCTION eventkit.plan_drain_default(parent regclass, batch_rows int DEFAULT 10000) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 200 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_drain_default(parent: Oid, batch_rows: i32) {
    let Some(pair) = pair(given(parent, "parent")?)? else { return Ok(Vec::new()) };
    let checked = catalog::one::<i32>("SELECT eventkit.check_batch_rows($1)", &[batch_rows.into()])?;
    let batch = i64::from(given(checked, "batch_rows")?);
    let (mut planned, mut range) = (Vec::new(), pair.moved(None, None)?);
    while let Some((period, rest)) = pair.next(range, true)? {
        planned.extend(steps(&pair, &period, rows_of(&pair, &period)? > batch)?);
        planned.push(Step::commit(pair.target.parent.qualified()));
        range = rest;
    }
    Ok(planned)
}
}
