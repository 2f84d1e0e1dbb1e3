//! Reads the catalog and the tables of a plan by Spi; the callers' functions pin `search_path`, `TimeZone` and `DateStyle`.

use eventkit_core::error::{Error, Result};
use eventkit_core::partition::calendar::Day;
use eventkit_core::partition::error;
use eventkit_core::partition::plan::{self, Found};
use eventkit_core::partition::snapshot::{Parent, Source};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;
use pgrx::spi::{self, Spi, SpiHeapTupleData};

/// The snapshot of a parent. Raises `42P01` when the relation is gone. Takes no lock; linear in the parent's partitions.
pub fn parent(table: Oid) -> Result<Parent> {
    let text = one::<String>(include_str!("parent.sql"), &[table.into()])?;
    Parent::read(&text.ok_or_else(|| error::no_such_table("parent"))?)
}

/// The snapshot of a source beside its parent. Raises `42P01` when the relation is gone. Takes no lock.
pub fn source(table: Oid, parent: Oid) -> Result<Source> {
    let text = one::<String>(include_str!("source.sql"), &[table.into(), parent.into()])?;
    Source::read(&text.ok_or_else(|| error::no_such_table("source"))?)
}

/// What stands in the way of a day. Reads the day's range of the default partition, if there is one.
pub fn found(parent: &Parent, day: Day) -> Result<Found> {
    let taken = one::<bool>(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)",
        &[parent.schema.as_str().into(), plan::partition_name(parent, day).into()],
    )?;
    let default_rows = match plan::default_rows_query(parent, day)? {
        Some(query) => one::<i64>(&query, &[])?.unwrap_or(0),
        None => 0,
    };
    Ok(Found { name_taken: taken.unwrap_or(false), default_rows })
}

/// The last day that a backfill moves: ten years from now.
pub fn newest_day() -> Result<Day> {
    let days = one::<i32>(
        "SELECT (timezone('UTC', statement_timestamp()) + interval '10 years')::date - '1970-01-01'::date",
        &[],
    )?;
    Day::from_unix_days(days.unwrap_or(0))
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
