//! What retirement asks of the catalog, its plans, and the two ways to do what SQL alone cannot: a worker, an owner's rights.

use super::plans::{plan_function, plan_rows};
use super::target::Target;
use super::{catalog, given, maintain};
use crate::pg::raise::OrRaise;
use crate::raw::server::{as_role, in_recovery, in_transaction_block};
use crate::raw::worker::{self, Workers};
use eventkit_core::error::Result;
use eventkit_core::partition::retire::{self, Expiry, Leaving};
use eventkit_core::partition::step::Step;
use eventkit_core::partition::{error, name};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::{SetOfIterator, TableIterator};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;

/// The partitions that end at an instant or before, in order of time.
fn expired(target: &Target, limit: TimestampWithTimeZone) -> Result<Vec<Oid>> {
    let limit = target.key_time(limit.into_inner())?;
    Ok(target.placed.iter().filter(|p| p.bound.to <= limit && p.bound.to != i64::MAX).map(|p| p.table).collect())
}

/// The instant before which partitions are expired: the one given, or that of the parent's retention as of another
/// instant, at most now. Raises `55000` for a parent that has none, `22023` for a limit that is still to come.
fn limit(
    parent: Oid,
    target: &Target,
    older_than: Option<TimestampWithTimeZone>,
    as_of: Option<TimestampWithTimeZone>,
) -> Result<TimestampWithTimeZone> {
    if let Some(limit) = older_than {
        if catalog::one::<bool>("SELECT $1 > clock_timestamp()", &[limit.into()])? == Some(true) {
            return Err(error::limit_to_come(&target.parent.qualified()));
        }
        return Ok(limit);
    }
    // What is made ahead as of a later time is no reason to lose what is in use today.
    let told = catalog::one::<TimestampWithTimeZone>(
        "SELECT (least($2, statement_timestamp()) AT TIME ZONE s.time_zone - s.retention) AT TIME ZONE s.time_zone \
         FROM eventkit.partition_settings s WHERE s.parent = $1",
        &[parent.into(), as_of.into()],
    )?;
    told.ok_or_else(|| error::no_retention(&target.parent.qualified()))
}

/// The partitions of a parent that are wholly before a limit, in order of time; never the default partition.
///
/// Takes the parent, the limit (NULL: by the parent's retention), and the instant that the retention counts from (NULL:
/// now; a later one counts as now). A walk over numbers. Raises what `plan::key_of` raises, `55000` for a parent without a retention, `22023` for a
/// limit that is still to come.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.expired_partitions(parent regclass, older_than timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL)
RETURNS SETOF regclass
STABLE PARALLEL RESTRICTED COST 10000 ROWS 10 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_settings"])]
pub fn expired_partitions(
    parent: Option<Oid>,
    older_than: Option<TimestampWithTimeZone>,
    as_of: Option<TimestampWithTimeZone>,
) -> SetOfIterator<'static, Oid> {
    let found = || -> Result<Vec<Oid>> {
        let parent = given(parent, "parent")?;
        let target = maintain::brief(parent)?;
        let limit = limit(parent, &target, older_than, as_of)?;
        expired(&target, limit)
    };
    SetOfIterator::new(found().or_raise())
}

/// Detaches a partition by a background worker; true when one ran to its end. The catalog says whether it succeeded.
///
/// Takes parent, partition and the wait in milliseconds. Holds no lock itself. Raises `42501` for a caller without the rights of
/// the parent's owner.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.detach_concurrently(parent regclass, partition regclass, milliseconds int) RETURNS boolean
VOLATILE PARALLEL UNSAFE COST 100000 LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
pub fn detach_concurrently(parent: Option<Oid>, partition: Option<Oid>, milliseconds: Option<i32>) -> bool {
    let order = || -> Result<(Option<String>, i32)> {
        let (parent, partition) = (given(parent, "parent")?, given(partition, "partition")?);
        owner(parent)?;
        let name = |table: Oid| -> Result<Option<String>> {
            Ok(catalog::names(table)?.map(|(schema, name)| name::qualified(&schema, &name)))
        };
        let names = name(parent)?.zip(name(partition)?);
        let statement =
            names.map(|(parent, partition)| format!("ALTER TABLE {parent} DETACH PARTITION {partition} CONCURRENTLY"));
        let milliseconds = given(milliseconds, "milliseconds")?;
        Ok((statement, milliseconds))
    };
    let (Some(statement), milliseconds) = order().or_raise() else { return false };
    let settings = [("lock_timeout", milliseconds.to_string()), ("search_path", "pg_catalog, pg_temp".into())]
        .map(|(n, v)| (n.into(), v));
    let workers = Workers::start(1, &settings, &statement);
    let ran = workers.count() > 0;
    worker::keep(workers);
    worker::wait_for_kept();
    ran
}

/// The owner of a table. Raises `42501` for a caller who has not his rights, `42P01` for a table that is gone.
fn owner(table: Oid) -> Result<Oid> {
    let row = catalog::one_row(
        "SELECT c.relowner, pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner)::text, current_user::text, c.oid::regclass::text \
         FROM pg_class c WHERE c.oid = $1",
        &[table.into()],
        |row| {
            Ok((
                row.get::<Oid>(1)?,
                row.get::<bool>(2)?,
                row.get::<String>(3)?,
                row.get::<String>(4)?,
                row.get::<String>(5)?,
            ))
        },
    )?;
    match row {
        Some((Some(owner), Some(true), ..)) => Ok(owner),
        Some((_, _, Some(owner), Some(caller), Some(table))) => {
            Err(error::not_owner(&table, &name::identifier(&caller), &name::identifier(&owner)))
        }
        _ => Err(error::no_such_table("parent")),
    }
}

/// Runs one statement with the rights of a table's owner and no more, and gives the first column of its first row as text.
///
/// Takes the table and the statement. Raises what the statement raises, `42804` for a result that is no text, `42501` for a caller without the owner's rights.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.run_as_owner("table" regclass, statement text) RETURNS text
VOLATILE PARALLEL UNSAFE COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
pub fn run_as_owner(table: Option<Oid>, statement: Option<String>) -> Option<String> {
    let told = || -> Result<(Oid, String)> { Ok((owner(given(table, "table")?)?, given(statement, "statement")?)) };
    let (owner, statement) = told().or_raise();
    let first = |rows: SpiTupleTable<'_>| if rows.is_empty() { Ok(None) } else { rows.first().get_one::<String>() };
    let run = || -> std::result::Result<Option<String>, spi::Error> {
        if in_recovery() {
            // What may write is given a transaction's number, which a standby has none of.
            return Spi::connect(|client| first(client.select(&statement, Some(1), &[])?));
        }
        Spi::connect_mut(|client| first(client.update(&statement, Some(1), &[])?))
    };
    as_role(owner, run).map_err(|e| error::no_text(&e.to_string())).or_raise()
}

/// What is known of a table that leaves; `None` when it is gone.
fn found(table: Oid) -> Result<Option<Leaving>> {
    let facts = catalog::one_row(
        // Of referenced tables that lie within each other the outermost is locked with all of them.
        "WITH r AS (SELECT DISTINCT k.confrelid AS oid FROM pg_constraint k \
           WHERE k.conrelid = $1 AND k.contype = 'f' AND coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true') \
         SELECT n.nspname::text, c.relname::text, c.relkind = 'f', ( \
           SELECT coalesce(jsonb_agg(jsonb_build_array(rn.nspname, rc.relname) ORDER BY r.oid), '[]')::text \
           FROM r JOIN pg_class rc ON rc.oid = r.oid JOIN pg_namespace rn ON rn.oid = rc.relnamespace \
           WHERE has_table_privilege(r.oid, 'UPDATE, DELETE, TRUNCATE') AND NOT EXISTS ( \
             SELECT FROM pg_partition_ancestors(r.oid) a JOIN r o ON o.oid = a.relid WHERE o.oid <> r.oid)) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[table.into()],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?, row.get::<bool>(3)?, row.get::<String>(4)?)),
    )?;
    let Some((Some(schema), Some(table), foreign, references)) = facts else { return Ok(None) };
    let references: Vec<(String, String)> = serde_json::from_str(references.as_deref().unwrap_or("[]"))
        .map_err(|e| error::unreadable_catalog(&e.to_string()))?;
    Ok(Some(Leaving {
        name: name::qualified(&schema, &table),
        foreign: foreign == Some(true),
        references: references.iter().map(|(schema, table)| name::qualified(schema, table)).collect(),
    }))
}

/// What is known of a table that leaves. Raises `42P01` when it is gone.
fn named(table: Oid) -> Result<Leaving> {
    found(table)?.ok_or_else(|| error::no_such_table("partition"))
}

/// Whether the detach of a partition was begun and not ended; `None` for a table that is no partition of the parent.
fn pending(parent: Oid, partition: Oid) -> Result<Option<bool>> {
    catalog::one::<bool>(
        "SELECT i.inhdetachpending FROM pg_inherits i WHERE i.inhparent = $1 AND i.inhrelid = $2",
        &[parent.into(), partition.into()],
    )
}

plan_function! {
/// The steps that detach a partition in one transaction, or end the detach that was begun; one without a statement for a table
/// that is no partition of the parent.
///
/// Takes parent and partition. Takes no lock but `ACCESS SHARE`. Raises what `plan::key_of` raises.
r#"
CREATE FUNCTION eventkit.plan_detach_partition(parent regclass, partition regclass) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 10000 ROWS 5 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_detach_partition(parent: Oid, partition: Oid) {
    let (parent, partition) = (given(parent, "parent")?, given(partition, "partition")?);
    let target = Target::read_free(parent)?;
    let leaving = named(partition)?;
    Ok(match pending(parent, partition)? {
        Some(true) => vec![retire::finalize(&target.parent, &leaving.name)],
        Some(false) => retire::detach(&target.parent, &leaving),
        None => {
            let reason = format!("{} is no partition of {}", leaving.name, target.parent.qualified());
            vec![Step::nothing(leaving.name, reason)]
        }
    })
}
}

plan_function! {
/// The steps that drop or move a table that was detached; none where it stays.
///
/// Takes the table, `on_expiry`, `expired_schema` and whether an archive hook has got the rows. Raises `42P01` for a table that is gone.
r#"
CREATE FUNCTION eventkit.plan_expired_table("table" regclass, on_expiry text, expired_schema text, archived boolean DEFAULT false) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 1000 ROWS 2 LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_expired_table(table: Oid, on_expiry: String, expired_schema: String, archived: bool) {
    let leaving = named(given(table, "table")?)?;
    Ok(Expiry::of(&given(on_expiry, "on_expiry")?, expired_schema).steps(&leaving, given(archived, "archived")?))
}
}

/// What is known of a partition that has to leave.
struct Departing {
    table: Oid,
    /// Whether its detach is pending; `None` when it is no partition any more.
    pending: Option<bool>,
    /// What was written down when it was begun, and whether the archive hook has got it.
    begun: Option<(Expiry, bool)>,
}

/// What `departing_partitions` lists, in its order. Raises what `expired_partitions` raises.
fn departing(parent: Oid, older_than: Option<TimestampWithTimeZone>) -> Result<Vec<Departing>> {
    // The limit goes there as text, since queries of many rows take no arguments here.
    let limit = catalog::one::<String>("SELECT quote_nullable(eventkit.exact_time($1))", &[older_than.into()])?;
    let query = format!(
        "SELECT u.partition::oid, i.inhdetachpending, \
         CASE WHEN d.on_expiry = (SELECT s.on_expiry FROM eventkit.partition_settings s WHERE s.parent = {0}) OR d.on_expiry IS NULL THEN d.on_expiry ELSE 'detach' END, d.expired_schema::text, d.archived_since IS NOT NULL \
         FROM unnest(eventkit.departing_partitions({0}, {1})) WITH ORDINALITY u (partition, place) \
         LEFT JOIN pg_inherits i ON i.inhrelid = u.partition AND i.inhparent = {0} \
         LEFT JOIN eventkit.partition_departures d ON d.partition = u.partition AND d.parent = {0} ORDER BY u.place",
        u32::from(parent),
        limit.unwrap_or_else(|| "NULL".into())
    );
    let rows = catalog::all(&query, |row| {
        let expiry = row.get::<String>(3)?.map(|on_expiry| row.get::<String>(4).map(|s| Expiry::of(&on_expiry, s)));
        let begun = expiry.transpose()?.zip(row.get::<bool>(5)?);
        Ok((row.get::<Oid>(1)?, row.get::<bool>(2)?, begun))
    })?;
    Ok(rows
        .into_iter()
        .filter_map(|(table, pending, begun)| Some(Departing { table: table?, pending, begun }))
        .collect())
}

/// Why an expired partition is kept, in the eyes of the parent's owner; `leaving` go before it.
fn kept(
    parent: Oid,
    departing: &Departing,
    archive: Option<&String>,
    leaving: &[Oid],
    alone: bool,
) -> Result<Option<String>> {
    let leaving: Vec<String> = leaving.iter().map(|table| u32::from(*table).to_string()).collect();
    let arguments = [
        parent.into(),
        departing.table.into(),
        departing.pending.into(),
        archive.cloned().into(),
        format!("{{{}}}", leaving.join(",")).into(),
        alone.into(),
    ];
    let owner = owner(parent)?;
    as_role(owner, || catalog::one::<String>("SELECT eventkit.kept_because($1, $2, $3, $4, $5::oid[], $6)", &arguments))
}

plan_function! {
/// The steps of `drop_old_partitions`, without doing them: first of what was begun, then for each expired partition the archive hook,
/// the detach, what becomes of the table; one without a statement for a partition that is kept.
///
/// Takes what the procedure takes; inside of a transaction block it shows what the procedure does there. Looks for rows that foreign
/// keys need, as the procedure does. Takes no lock but `ACCESS SHARE`. Raises what `expired_partitions` raises.
r#"
CREATE FUNCTION eventkit.plan_drop_old_partitions(parent regclass, older_than timestamptz DEFAULT NULL, archive regprocedure DEFAULT NULL)
RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 30 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_drop_old_partitions(parent: Oid, older_than: TimestampWithTimeZone, archive: Oid) {
    retirement(given(parent, "parent")?, older_than, archive, !in_transaction_block())
}
}

plan_function! {
/// The steps of `retire_partitions` as `maintain` calls it, which no block of the caller's is around.
///
/// Takes the parent and the limit. Raises what `plan_drop_old_partitions` raises.
r#"
CREATE FUNCTION eventkit.plan_retire_partitions(parent regclass, older_than timestamptz) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 30 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
fn plan_retire_partitions(parent: Oid, older_than: TimestampWithTimeZone) {
    retirement(given(parent, "parent")?, older_than, None, true)
}
}

/// The steps by which partitions are retired; `alone` by a call that commits them one by one.
fn retirement(
    parent: Oid,
    older_than: Option<TimestampWithTimeZone>,
    archive: Option<Oid>,
    alone: bool,
) -> Result<Vec<Step>> {
    let target = Target::read(parent)?;
    let told = catalog::one_row(
        "SELECT s.on_expiry, s.expired_schema::text FROM eventkit.partition_settings s WHERE s.parent = $1",
        &[parent.into()],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    )?;
    let (on_expiry, schema) = told.unwrap_or_default();
    let expiry = Expiry::of(on_expiry.as_deref().unwrap_or("detach"), schema);
    let hook = catalog::one::<String>("SELECT eventkit.archive_of($1, $2)", &[parent.into(), archive.into()])?;
    let trouble =
        catalog::one::<String>("SELECT eventkit.archive_trouble($1, $2)", &[parent.into(), hook.clone().into()])?;
    let call = catalog::one::<String>(
        "SELECT format('%s %I.%I', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.oid = CASE WHEN $2 IS NULL THEN to_regprocedure($1)::oid END",
        &[hook.clone().into(), trouble.clone().into()],
    )?;
    let (mut steps, mut leaving) = (Vec::new(), Vec::new());
    let expired = expired(&target, limit(parent, &target, older_than, None)?)?;
    for one in departing(parent, older_than)? {
        // Of one that is gone nothing is left to do.
        let Some(table) = found(one.table)? else { continue };
        let rest = match (one.pending, &one.begun) {
            (None, None) => continue,
            (None | Some(true), Some((expiry, archived))) => Some((expiry, *archived)),
            // Somebody else's detach is ended, and the table is his.
            (Some(_), _) if !expired.contains(&one.table) => Some((&Expiry::Detach, false)),
            (Some(_), _) => None,
        };
        if let Some((expiry, archived)) = rest {
            steps.extend(retire::plan_rest(&target.parent, &table, one.pending == Some(true), expiry, archived, alone));
        } else if trouble.is_some() {
            continue;
        } else if let Some(reason) = kept(parent, &one, hook.as_ref(), &leaving, alone)? {
            steps.push(Step::nothing(table.name, format!("it is kept: {reason}")));
            continue;
        } else {
            let pending = one.pending == Some(true);
            steps.extend(retire::plan(&target.parent, &table, pending, &expiry, call.as_deref(), alone));
        }
        leaving.push(one.table);
    }
    if let (Some(trouble), Some(hook)) = (trouble, hook) {
        let reason = format!("archive procedure {hook} {trouble}: no partition is retired");
        steps.push(Step::nothing(target.parent.qualified(), reason));
    }
    Ok(steps)
}
