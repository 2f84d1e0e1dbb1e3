//! Reads the catalog and the tables of a plan by Spi; the callers' functions pin `search_path`, `TimeZone` and `DateStyle`.

use crate::raw::bounds::{Attached, partitions_of};
use crate::raw::zone::ServerClock;
use eventkit_core::error::{Error, Result};
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::capture::{Capture, Removal};
use eventkit_core::partition::error;
use eventkit_core::partition::key::Key;
use eventkit_core::partition::period::Period;
use eventkit_core::partition::plan;
use eventkit_core::partition::snapshot::{Child, Parent, Partition, Source};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{Oid, PgOid};
use pgrx::spi::{self, OwnedPreparedStatement, Spi, SpiHeapTupleData};
use std::cell::RefCell;
use std::collections::HashMap;

/// The snapshot of a parent, without its partitions. Raises `42P01` when the relation is gone. Takes no lock; the
/// number of partitions does not matter.
pub fn parent(table: Oid) -> Result<Parent> {
    let text = kept_text(concat!(include_str!("rights.sql"), include_str!("parent.sql")), &[table.into()])?;
    Parent::read(&text.ok_or_else(|| error::no_such_table("parent"))?)
}

/// The snapshot of a source beside its parent. Raises `42P01` when the relation is gone. Takes no lock.
pub fn source(table: Oid, parent: Oid) -> Result<Source> {
    let text = kept_text(include_str!("source.sql"), &[table.into(), parent.into()])?;
    Source::read(&text.ok_or_else(|| error::no_such_table("source"))?)
}

/// What capturing has to know of a source beside its parent. Raises `42P01` when one of them is gone. Takes no lock.
pub fn capture(table: Oid, parent: Oid) -> Result<Capture> {
    let text = kept_text(include_str!("capture.sql"), &[table.into(), parent.into()])?;
    Capture::read(&text.ok_or_else(|| error::no_such_table("source"))?)
}

/// What the captures of a source consist of, of one parent or of all. Takes no lock.
pub fn removals(source: Oid, parent: Option<Oid>) -> Result<Vec<Removal>> {
    let text = one::<String>(include_str!("removals.sql"), &[source.into(), parent.into()])?;
    Removal::read(&text.unwrap_or_else(|| "[]".to_owned()))
}

/// A partition and where it lies.
pub struct Placed {
    /// The partition.
    pub table: Oid,
    /// Its bound in the key's own time.
    pub bound: Bound,
    /// Whether the bound lies between two microseconds.
    pub odd: bool,
}

/// Where all partitions of a parent but the default one lie, in order. A walk over numbers, once the server has read its catalog.
pub fn placed(parent: Oid, key: &Key) -> Vec<Placed> {
    let place = |attached: Attached| {
        let ((from, exact), (to, exact_to)) = (key.time_of(attached.low), key.time_of(attached.high));
        let bound = Bound { from, to: to.saturating_add(i64::from(!exact_to)) };
        Placed { table: attached.table, bound, odd: !(exact && exact_to) }
    };
    partitions_of(parent, key.key_type).into_iter().map(place).collect()
}

/// The schema and the name of a table; `None` when it is gone.
pub fn names(table: Oid) -> Result<Option<(String, String)>> {
    let names = one_row(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[table.into()],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    )?;
    Ok(names.and_then(|(schema, name)| Some((schema?, name?))))
}

/// Those that meet a range, with their names.
pub fn partitions(placed: &[Placed], range: Bound) -> Result<Vec<Partition>> {
    let named = |p: &Placed| -> Result<Option<Partition>> {
        let names = names(p.table)?;
        Ok(names.map(|(schema, name)| Partition { schema, name, bound: p.bound, odd: p.odd }))
    };
    placed.iter().filter(|p| p.bound.overlaps(range)).filter_map(|p| named(p).transpose()).collect()
}

/// Whether a relation has the name of a period's partition.
pub fn name_taken(parent: &Parent, period: &Period) -> Result<bool> {
    let taken = one::<bool>(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)",
        &[parent.schema.as_str().into(), plan::partition_name(parent, period).into()],
    )?;
    Ok(taken.unwrap_or(false))
}

/// Which of these names relations or statistics of the parent's schema have.
pub fn taken(parent: &Parent, names: Vec<String>) -> Result<Vec<String>> {
    let taken = one::<Vec<String>>(
        "SELECT array_agg(o.name) FROM (SELECT c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = ANY ($2::name[]) UNION SELECT x.stxname::text FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace \
         WHERE n.nspname = $1 AND x.stxname = ANY ($2::name[])) o",
        &[parent.schema.as_str().into(), names.into()],
    )?;
    Ok(taken.unwrap_or_default())
}

/// The rows of a range in the default partition, if there is one. Reads the range.
pub fn default_rows(parent: &Parent, bound: Bound) -> Result<i64> {
    match plan::default_rows_query(parent, bound)? {
        Some(query) => Ok(one::<i64>(&query, &[])?.unwrap_or(0)),
        None => Ok(0),
    }
}

/// The snapshot of a table beside the parent that it is to be attached to. Raises `42P01` when it is gone. Takes no lock.
pub fn child(table: Oid, parent: Oid) -> Result<Child> {
    let text =
        one::<String>(concat!(include_str!("rights.sql"), include_str!("child.sql")), &[table.into(), parent.into()])?;
    Child::read(&text.ok_or_else(|| error::no_such_table("child"))?)
}

/// The clocks that a parent's periods go by.
pub fn clock_of(parent: &Parent) -> ServerClock {
    ServerClock::of(parent.settings.as_ref().map_or("UTC", |settings| &settings.time_zone))
}

/// The zone's name as the server spells it. Raises `22023` for one that it does not have.
pub fn zone_name(name: &str) -> Result<String> {
    one::<String>("SELECT name FROM pg_timezone_names WHERE lower(name) = lower($1) LIMIT 1", &[name.into()])?
        .ok_or_else(|| error::unknown_zone(name))
}

/// Raises `3F000` for a schema that does not exist.
pub fn check_schema(name: &str) -> Result<()> {
    match one::<i32>("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[name.into()])? {
        Some(_) => Ok(()),
        None => Err(error::no_such_schema(name)),
    }
}

/// The instant up to which a backfill moves rows: ten years from now.
pub fn newest_instant() -> Result<i64> {
    let micros =
        one::<i64>("SELECT (extract(epoch FROM statement_timestamp() + interval '10 years') * 1000000)::int8", &[])?;
    Ok(micros.unwrap_or(0))
}

/// Now, as of the beginning of the statement.
pub fn now() -> Result<i64> {
    Ok(one::<i64>("SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8", &[])?.unwrap_or(0))
}

/// The first column of the first row of a query; `None` for no row or NULL.
pub fn one<T: pgrx::FromDatum + pgrx::IntoDatum>(query: &str, args: &[DatumWithOid<'_>]) -> Result<Option<T>> {
    // `select` reads with the snapshot of the caller and assigns no transaction id: it works on a standby too.
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), args)?;
        if rows.is_empty() { Ok(None) } else { rows.first().get_one::<T>() }
    })
    .map_err(|e: spi::Error| unreadable(&e))
}

thread_local! {
    /// The plans that [`kept_text`] keeps, by the text of their query.
    static KEPT: RefCell<HashMap<&'static str, &'static OwnedPreparedStatement>> = RefCell::default();
}

/// The text that a query about one or two relations gives; `None` for no row or NULL. The backend keeps its plan: these
/// queries take the server several times as long to plan as to run, and one call asks them once or twice a period. The
/// server plans a kept query again when what it depends on has changed, the role and the search path included.
pub fn kept_text(query: &'static str, args: &[DatumWithOid<'_>]) -> Result<Option<String>> {
    Spi::connect(|client| {
        let known = KEPT.with(|kept| kept.borrow().get(query).copied());
        let statement = match known {
            Some(statement) => statement,
            None => {
                let types: Vec<PgOid> = args.iter().map(|arg| PgOid::from(arg.oid())).collect();
                // Never freed: the server must not be asked to free it when the process ends.
                let statement: &'static OwnedPreparedStatement =
                    Box::leak(Box::new(client.prepare(query, &types)?.keep()));
                KEPT.with(|kept| kept.borrow_mut().insert(query, statement));
                statement
            }
        };
        let rows = client.select(statement, Some(1), args)?;
        if rows.is_empty() { Ok(None) } else { rows.first().get_one::<String>() }
    })
    .map_err(|e: spi::Error| unreadable(&e))
}

/// The first row of a query, made into `T`; `None` for no row.
pub fn one_row<T>(
    query: &str,
    args: &[DatumWithOid<'_>],
    make: impl Fn(&SpiHeapTupleData<'_>) -> spi::Result<T>,
) -> Result<Option<T>> {
    Spi::connect(|client| client.select(query, Some(1), args)?.next().map(|row| make(&row)).transpose())
        .map_err(|e: spi::Error| unreadable(&e))
}

/// All rows of a query, each made into `T`.
pub fn all<T>(query: &str, make: impl Fn(&SpiHeapTupleData<'_>) -> spi::Result<T>) -> Result<Vec<T>> {
    Spi::connect(|client| {
        let mut made = Vec::new();
        for row in client.select(query, None, &[])? {
            made.push(make(&row)?);
        }
        Ok(made)
    })
    .map_err(|e: spi::Error| unreadable(&e))
}

fn unreadable(cause: &dyn std::fmt::Display) -> Error {
    error::unreadable_catalog(&cause.to_string())
}
