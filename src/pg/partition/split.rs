//! Splitting a wide partition: which one, into which parts, what an earlier call has left.

use super::EPOCH_SHIFT;
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
use eventkit_core::partition::plan::copies::Storage;
use eventkit_core::partition::plan::unpartition::Left;
use eventkit_core::partition::plan::{self, copies, split};
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
/// `42P07` for a name that is taken, `55000` for a capture that was taken apart, `54000` for more than 20,000 periods, or more than the server has locks for.
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
            None => first_wide(&target, table)?,
        };
        let Some(wide) = wide else { return Ok(split::finish(&target.parent, &found)) };
        let named = catalog::partitions(std::slice::from_ref(wide), wide.bound)?;
        let named = named.first().ok_or_else(|| error::no_such_table("partition"))?;
        if catalog::one::<i32>("SELECT 1 FROM pg_class c WHERE c.oid = $1 AND c.relkind = 'p'", &[wide.table.into()])?
            .is_some()
        {
            return Err(split::sub_partitioned(&named.qualified(), &target.parent.qualified()));
        }
        let state = capture_state(wide.table)?;
        let structure =
            catalog::one::<String>("SELECT eventkit.structure_of($1)", &[table.into()])?.unwrap_or_default();
        if state.captured && copied(wide)?.iter().any(|(_, _, copied_as)| *copied_as != structure) {
            return Err(split::altered(&target.parent.qualified(), &named.qualified()));
        }
        let parts = parts(&target, wide, state.captured)?;
        if parts.len() < 2 {
            return Ok(split::finish(&target.parent, &found));
        }
        let source = named.qualified();
        let room = catalog::one::<i64>(
            "SELECT current_setting('max_locks_per_transaction')::int8 * (SELECT sum(current_setting(s.name)::int8)::int8 FROM \
             unnest('{max_connections,max_prepared_transactions,max_worker_processes,autovacuum_max_workers,max_wal_senders}'::text[]) s (name))",
            &[],
        )?;
        let indexes = target.parent.indexes.len();
        split::room_for_locks(&source, &target.parent.qualified(), parts.len(), indexes, room.unwrap_or(i64::MAX))?;
        if let Some((_, what)) = bound_to(&[wide.table], table)? {
            return Err(split::not_carried(&source, &target.parent.qualified(), &what));
        }
        if capture_state(table)?.captured {
            return Err(split::captured_by_another(&source, &target.parent.qualified()));
        }
        if state.captured && !state.whole {
            return Err(split::taken_apart(&source));
        }
        let log = qualified(&named.schema, &split::log_name(named));
        let function = split::capture_of(&named.schema, &named.name);
        let left = Left { captured: state.captured, log: state.log, function: state.function, plain: None };
        names_are_free(&source, &[&log], &function, &left)?;
        let excluded = catalog::one::<i32>(
            "SELECT 1 FROM pg_partitioned_table p JOIN pg_constraint k ON k.conrelid = p.partdefid AND k.conname = 'partition_excludes_split' \
             WHERE p.partrelid = $1",
            &[table.into()],
        )?;
        let storage = storage_of(wide.table)?;
        let standing = split::Standing {
            captured: state.captured,
            excluded: excluded.is_some(),
            storage,
            log: left.log,
            function: left.function,
            structure,
        };
        let mut like = target.parent.clone();
        let new = parts.iter().filter(|part| !part.filled);
        like.taken = catalog::taken(&like, new.flat_map(|part| plan::names(&like, &part.digits)).collect())?;
        split::split(&like, &found, key, named, &parts, &standing)
    };
    plan_rows(steps().or_raise())
}

/// What captures the changes of a table.
pub struct Capture {
    /// Whether a trigger of ours is on it.
    pub captured: bool,
    /// The table that keeps the changes, quoted and qualified.
    pub log: Option<String>,
    /// The function that writes there, quoted and qualified, with its brackets.
    pub function: Option<String>,
    /// Whether nobody has touched it since.
    pub whole: bool,
}

/// How the changes of a table are captured. Takes no lock.
pub fn capture_state(table: Oid) -> Result<Capture> {
    let quoted = "'\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(%, '\"', '\"\"') || '\"'";
    let query = format!(
        "SELECT s.captured, (SELECT {} FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace WHERE o.oid = s.log), \
         (SELECT {} || '()' FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace WHERE o.oid = s.function), s.whole \
         FROM eventkit.capture_state($1) s",
        quoted.replace('%', "o.relname"),
        quoted.replace('%', "o.proname")
    );
    let state = catalog::one_row(&query, &[table.into()], |row| {
        Ok(Capture {
            captured: row.get(1)?.unwrap_or(false),
            log: row.get(2)?,
            function: row.get(3)?,
            whole: row.get(4)?.unwrap_or(false),
        })
    })?;
    Ok(state.unwrap_or(Capture { captured: false, log: None, function: None, whole: false }))
}

/// The copies of a table that have not taken their place: name, quoted and qualified name, comment.
pub fn copies_of(table: Oid) -> Result<Vec<(String, String, String)>> {
    let read = |column: &str| {
        let query = format!(
            "SELECT array_agg({column} ORDER BY c.oid) FROM eventkit.copies_of($1) s JOIN pg_class c ON c.oid = s JOIN pg_namespace n ON n.oid = c.relnamespace"
        );
        Ok(catalog::one::<Vec<String>>(&query, &[table.into()])?.unwrap_or_default())
    };
    let names = read("c.relname::text")?;
    let schemas = read("n.nspname::text")?;
    let comments = read("obj_description(c.oid, 'pg_class')")?;
    let all = names.into_iter().zip(schemas).zip(comments);
    Ok(all.map(|((name, schema), comment)| (name.clone(), qualified(&schema, &name), comment)).collect())
}

/// How the rows of a table are stored.
pub fn storage_of(table: Oid) -> Result<Storage> {
    let storage = catalog::one_row(
        "SELECT m.amname::text, coalesce(c.reloptions, '{}') || ARRAY(SELECT 'toast.' || o.option FROM unnest(t.reloptions) o (option)) \
         FROM pg_class c LEFT JOIN pg_am m ON m.oid = c.relam LEFT JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = $1",
        &[table.into()],
        |row| Ok(Storage { access_method: row.get(1)?, options: row.get(2)?.unwrap_or_default() }),
    )?;
    Ok(storage.unwrap_or_default())
}

/// A partition, and what is bound to it rather than to its parent.
pub fn bound_to(partitions: &[Oid], parent: Oid) -> Result<Option<(String, String)>> {
    let found = catalog::one_row(
        include_str!("partition_dependents.sql"),
        &[partitions.to_vec().into(), parent.into()],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    )?;
    Ok(found.map(|(partition, what)| (partition.unwrap_or_default(), what.unwrap_or_default())))
}

/// The first partition whose own changes are captured, as SQL shows it.
pub fn captured_partition(parent: Oid) -> Result<Option<String>> {
    catalog::one::<String>(
        "SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_trigger t ON t.tgrelid = i.inhrelid \
         WHERE i.inhparent = $1 AND t.tgname = 'eventkit_capture' AND t.tgparentid = 0 ORDER BY i.inhrelid LIMIT 1",
        &[parent.into()],
    )
}

/// Raises `42P07` for a table or function of somebody else's under a name that is needed.
pub fn names_are_free(source: &str, tables: &[&str], function: &str, left: &Left) -> Result<()> {
    let with_brackets = format!("{function}()");
    for table in tables {
        let ours = [&left.log, &left.plain].into_iter().flatten().any(|ours| ours == table);
        if !ours && catalog::one::<bool>("SELECT to_regclass($1) IS NOT NULL", &[(*table).into()])? == Some(true) {
            return Err(split::name_in_use("table", table, source));
        }
    }
    let taken =
        catalog::one::<bool>("SELECT to_regprocedure($1) IS NOT NULL", &[with_brackets.as_str().into()])? == Some(true);
    if taken && left.function.as_ref() != Some(&with_brackets) {
        return Err(split::name_in_use("function", function, source));
    }
    Ok(())
}

/// The partition whose changes are captured, or the first that reaches beyond the period of its last moment.
fn first_wide(target: &Target, parent: Oid) -> Result<Option<&Placed>> {
    let captured = catalog::one::<Oid>(
        "SELECT t.tgrelid FROM pg_inherits i JOIN pg_trigger t ON t.tgrelid = i.inhrelid \
         WHERE i.inhparent = $1 AND t.tgname = 'eventkit_capture' AND t.tgparentid = 0 ORDER BY t.tgrelid LIMIT 1",
        &[parent.into()],
    )?;
    if let Some(found) = target.placed.iter().find(|placed| Some(placed.table) == captured) {
        return Ok(Some(found));
    }
    let divided = catalog::one::<Vec<Oid>>(
        "SELECT array_agg(i.inhrelid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind = 'p' WHERE i.inhparent = $1",
        &[parent.into()],
    )?
    .unwrap_or_default();
    for placed in target.placed.iter().filter(|placed| !divided.contains(&placed.table)) {
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

/// The oldest time from 1970 on in a partition. Raises `42501` where policies hide rows: they would neither be found nor copied.
fn oldest(target: &Target, placed: &Placed) -> Result<Option<i64>> {
    let key = target.key()?;
    catalog::one::<i32>("SELECT 1 FROM eventkit.refuse_hidden_rows($1)", &[placed.table.into()])?;
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

/// The parts in order of time: what is older than all periods, then each period from that of the oldest row on. What an earlier call has
/// copied stays as it was cut then, whatever rows have come or gone; the rest is cut around it.
fn parts(target: &Target, wide: &Placed, captured: bool) -> Result<Vec<split::Part>> {
    let (key, parent) = (target.key()?, &target.parent);
    let copied: Vec<(String, Bound)> =
        if captured { copied(wide)?.into_iter().map(|(name, bound, _)| (name, bound)).collect() } else { Vec::new() };
    let oldest = match oldest(target, wide)? {
        Some(oldest) => oldest,
        // The rows may have gone since the first call.
        None if captured && wide.bound.to != i64::MAX => wide.bound.to.saturating_sub(1),
        None if captured => target.key_time(catalog::now()?.saturating_sub(EPOCH_SHIFT))?,
        None => return Ok(Vec::new()),
    };
    // Where rows came late to a partition of such a name, that is the one that is split.
    let free_ending = |ending: &str| -> Result<String> {
        let others = catalog::partitions(&target.placed, Bound { from: i64::MIN, to: i64::MAX })?;
        Ok(plan::endings(&parent.name, &others, ending).next().unwrap_or_else(|| ending.to_owned()))
    };
    let mut parts: Vec<split::Part> = Vec::new();
    let mut at = wide.bound.from;
    while at < wide.bound.to {
        if let Some((name, bound)) = copied.iter().find(|(_, bound)| bound.from == at) {
            parts.push(split::Part { name: name.clone(), digits: String::new(), bound: *bound, filled: true });
            at = bound.to;
            continue;
        }
        let end = copied.iter().map(|(_, bound)| bound.from).find(|from| *from > at).unwrap_or(wide.bound.to);
        let mut add = |name: String, digits: String, to: i64| -> Result<i64> {
            let table = qualified(&parent.schema, &name);
            if catalog::one::<bool>("SELECT to_regclass($1) IS NOT NULL", &[table.as_str().into()])? == Some(true) {
                return Err(error::name_taken(&table, &parent.qualified()));
            }
            parts.push(split::Part { name, digits, bound: Bound { from: at, to }, filled: false });
            if parts.len() > MOST_PARTS { Err(error::too_many_periods(MOST_PARTS)) } else { Ok(to) }
        };
        let first = Bound::of(&target.period_of_key(oldest)?, key).from.min(end);
        at = if at == wide.bound.from && at < first {
            let digits = free_ending("older")?;
            add(suffixed(&parent.name, &digits), digits, first)?
        } else if end == i64::MAX && at > oldest && oldest_after(target, wide, at)?.is_none() {
            let digits = free_ending("newer")?;
            add(suffixed(&parent.name, &digits), digits, i64::MAX)?
        } else {
            let period = target.period_of_key(at)?;
            let whole = Bound::of(&period, key);
            // Where the wide partition ends within a period, the rest of that may have its name.
            let others = catalog::partitions(&target.placed, whole)?;
            let free = plan::endings(&parent.name, &others, &period.digits).next();
            let digits = free.unwrap_or_else(|| period.digits.clone());
            add(suffixed(&parent.name, &digits), digits, whole.to.min(end))?
        };
    }
    Ok(parts)
}

/// Whether a partition without an upper end has rows from a time on.
fn oldest_after(target: &Target, wide: &Placed, from: i64) -> Result<Option<i32>> {
    let named = catalog::partitions(std::slice::from_ref(wide), wide.bound)?;
    let Some(named) = named.first() else { return Ok(None) };
    let range = Bound { from, to: i64::MAX }.inside(target.key()?)?;
    catalog::one::<i32>(&format!("SELECT 1 FROM {} WHERE {range} LIMIT 1", named.qualified()), &[])
}

/// The tables that an earlier call has filled, in order of time, with the rows that they hold and the structure that they have by the mark
/// that it has set.
fn copied(wide: &Placed) -> Result<Vec<(String, Bound, String)>> {
    let copies = copies_of(wide.table)?.into_iter();
    let mut copied: Vec<_> = copies
        .filter_map(|(name, _, comment)| copies::told_by(&comment).map(|(bound, structure)| (name, bound, structure)))
        .filter(|(_, bound, _)| wide.bound.from <= bound.from && bound.to <= wide.bound.to)
        .collect();
    copied.sort_by_key(|(_, bound, _)| bound.from);
    Ok(copied)
}
