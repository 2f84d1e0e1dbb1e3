//! Splitting a wide partition: which one, into which parts, what an earlier call has left.

use super::catalog::{self, Placed};
use super::convert::dependents;
use super::given;
use super::plans::plan_rows;
use super::target::Target;
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::error;
use eventkit_core::partition::name::{identifier, qualified, suffixed};
use eventkit_core::partition::plan::{self, split};
use eventkit_core::partition::snapshot::{Parent, Partition};
use eventkit_core::partition::step::Step;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// The most parts of one split.
const MOST_PARTS: usize = 20_000;

/// The steps of `split_partition`, without doing them.
///
/// Takes the parent and the partition (NULL: the first that is wider than its first period). Reads the oldest row (one probe of an index on the
/// key, or the whole partition). Takes no lock but `ACCESS SHARE`. Raises what `plan::key_of` raises, `42809` for what is no partition of it,
/// `42P07` for a part's name that is taken, `54000` for more than 20,000 periods.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.plan_split_partition(parent regclass, partition regclass DEFAULT NULL) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 500 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_plan"])]
fn plan_split_partition(
    parent: Option<Oid>,
    partition: Option<Oid>,
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
        let table = given(parent, "parent")?;
        let target = Target::read(table)?;
        let key = target.key()?;
        let (found, _) = dependents(table, &key.column, false)?;
        let wide = match partition {
            Some(partition) => {
                let placed = target.placed.iter().find(|placed| placed.table == partition);
                let shown =
                    catalog::one::<String>("SELECT $1::regclass::text", &[partition.into()])?.unwrap_or_default();
                Some(placed.ok_or_else(|| split::not_a_partition(&shown, &target.parent.qualified()))?)
            }
            None => first_wide(&target)?,
        };
        let Some(wide) = wide else { return Ok(split::finish(&target.parent, &found)) };
        let named = catalog::partitions(std::slice::from_ref(wide), wide.bound)?;
        let named = named.first().ok_or_else(|| error::no_such_table("partition"))?;
        let parts = parts(&target, wide, named)?;
        if parts.len() < 2 {
            return Ok(split::finish(&target.parent, &found));
        }
        let log = qualified(&named.schema, &split::log_name(named));
        let captured = catalog::one::<bool>("SELECT to_regclass($1) IS NOT NULL", &[log.into()])?.unwrap_or(false);
        split::split(&target.parent, &found, key, named, &parts, captured)
    };
    plan_rows(steps().or_raise())
}

/// The first partition that reaches beyond the period of its last moment.
fn first_wide(target: &Target) -> Result<Option<&Placed>> {
    for placed in &target.placed {
        let Bound { from, to } = placed.bound;
        let last = if to == i64::MAX { from.saturating_add(1) } else { to.saturating_sub(1) };
        if from == i64::MIN && to == i64::MAX {
            return Ok(Some(placed));
        }
        if from == i64::MIN || Bound::of(&target.period_of_key(last)?, target.key()?).from > from {
            // One that holds what is older than all periods is as narrow as it can be.
            if from == i64::MIN && oldest(target, placed)?.is_none() {
                continue;
            }
            return Ok(Some(placed));
        }
    }
    Ok(None)
}

/// The oldest time from 1970 on in a partition.
fn oldest(target: &Target, placed: &Placed) -> Result<Option<i64>> {
    let key = target.key()?;
    let named = catalog::partitions(std::slice::from_ref(placed), placed.bound)?;
    let Some(named) = named.first() else { return Ok(None) };
    let range = Bound { from: 0, to: i64::MAX }.inside(key)?;
    catalog::one::<i64>(
        &format!(
            "SELECT {} FROM {} WHERE {range} ORDER BY {} LIMIT 1",
            key.time_expression()?,
            named.qualified(),
            identifier(&key.column)
        ),
        &[],
    )
}

/// The parts in order of time: what is older than all periods, then each period from that of the oldest row on.
fn parts(target: &Target, wide: &Placed, named: &Partition) -> Result<Vec<split::Part>> {
    let (key, calendar, parent) = (target.key()?, target.calendar()?, &target.parent);
    let Some(oldest) = oldest(target, wide)? else { return Ok(Vec::new()) };
    let mut period = target.period_of_key(oldest)?;
    let mut parts: Vec<split::Part> = Vec::new();
    let filled = filled(parent, named)?;
    let mut add = |name: String, digits: String, bound: Bound| -> Result<()> {
        let filled = filled.contains(&name);
        let table = qualified(&parent.schema, &name);
        if !filled
            && catalog::one::<bool>("SELECT to_regclass($1) IS NOT NULL", &[table.as_str().into()])? == Some(true)
        {
            return Err(error::name_taken(&table, &parent.qualified()));
        }
        parts.push(split::Part { name, digits, bound, filled });
        if parts.len() > MOST_PARTS { Err(error::too_many_periods(MOST_PARTS)) } else { Ok(()) }
    };
    let first = Bound::of(&period, key).from;
    if wide.bound.from < first {
        add(suffixed(&parent.name, "older"), "older".into(), Bound { from: wide.bound.from, to: first })?;
    }
    loop {
        let Bound { from, to } = Bound::of(&period, key);
        if from >= wide.bound.to {
            return Ok(parts);
        }
        let bound = Bound { from: from.max(wide.bound.from), to: to.min(wide.bound.to) };
        // A day that the clocks skip has no time.
        if from < to {
            add(plan::partition_name(parent, &period), period.digits.clone(), bound)?;
        }
        if wide.bound.to == i64::MAX && oldest_after(target, wide, to)?.is_none() {
            add(suffixed(&parent.name, "newer"), "newer".into(), Bound { from: to, to: i64::MAX })?;
            return Ok(parts);
        }
        period = calendar.next(&period)?;
    }
}

/// Whether a partition without an upper end has rows from a time on.
fn oldest_after(target: &Target, wide: &Placed, from: i64) -> Result<Option<i32>> {
    let named = catalog::partitions(std::slice::from_ref(wide), wide.bound)?;
    let Some(named) = named.first() else { return Ok(None) };
    let range = Bound { from, to: i64::MAX }.inside(target.key()?)?;
    catalog::one::<i32>(&format!("SELECT 1 FROM {} WHERE {range} LIMIT 1", named.qualified()), &[])
}

/// The tables that an earlier call has filled: they have the CHECK of their bound, stand alone, and the table of changes is there.
fn filled(parent: &Parent, named: &Partition) -> Result<Vec<String>> {
    let log = qualified(&named.schema, &split::log_name(named));
    let names = catalog::one::<Vec<String>>(
        "SELECT array_agg(c.relname::text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE to_regclass($2) IS NOT NULL AND n.nspname = $1 AND c.relkind = 'r' AND NOT c.relispartition \
         AND EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = 'partition_bound')",
        &[parent.schema.as_str().into(), log.into()],
    )?;
    Ok(names.unwrap_or_default())
}
