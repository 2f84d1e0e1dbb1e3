//! What a backfill asks of its source: which columns, which days, which rows stay behind, what differs afterwards.

use super::bound::Bound;
use super::error;
use super::key::{Key, KeyType};
use super::name::{identifier, literal, qualified};
use super::period::Period;
use super::plan::key_of;
use super::snapshot::{Parent, Source};
use super::step::{Lock, Step};
use crate::error::Result;

/// The time before which rows stay behind: 1970-01-01, as the key tells it.
const OLDEST: i64 = 0;

/// Checks the source and gives the columns that are copied: those of both tables, by name, in the parent's order,
/// without generated ones.
///
/// Raises `42809` for what is no table, `22023` for the parent itself, `42501` for a source that the caller cannot
/// read whole, `42703` for a column without a place in the parent, `42804` for types that differ too much. O(columns²).
pub fn copied_columns<'a>(parent: &'a Parent, source: &Source) -> Result<Vec<&'a str>> {
    let (key, table, from) = (key_of(parent)?, parent.qualified(), source.qualified());
    if !matches!(source.kind.as_str(), "r" | "p" | "f" | "m") {
        let found = match source.kind.as_str() {
            "v" => "a view",
            "S" => "a sequence",
            "i" | "I" => "an index",
            "c" => "a composite type",
            _ => "another kind of relation",
        };
        return Err(error::source_kind(&from, found));
    }
    if source.in_parent {
        return Err(error::source_is_target(&from, &table));
    }
    if !source.readable {
        return Err(error::source_unreadable(&from, &identifier(&parent.caller)));
    }
    if source.row_security {
        return Err(error::source_row_security(&from, &identifier(&parent.caller)));
    }
    if !source.columns.iter().any(|c| c.name == key.column) {
        return Err(error::source_key_missing(&from, &identifier(&key.column), &table));
    }
    for column in &source.columns {
        let name = identifier(&column.name);
        let Some(wanted) = &column.parent_type else {
            return Err(error::source_column_homeless(&from, &name, &table));
        };
        let generated = parent.columns.iter().any(|c| c.name == column.name && c.generated);
        let fits = column.same_type || column.castable && column.name != key.column;
        if !fits && !generated {
            return Err(error::source_column_type(&from, &name, &column.column_type, wanted));
        }
    }
    let has = |name: &str| source.columns.iter().any(|c| c.name == name);
    Ok(parent.columns.iter().filter(|c| !c.generated && has(&c.name)).map(|c| c.name.as_str()).collect())
}

/// The copy of a period and the count that it must equal, both by the key's own range, so that the source's index serves. O(columns²).
pub(super) fn copy_steps(parent: &Parent, source: &Source, key: &Key, bound: Bound, child: &str) -> Result<Vec<Step>> {
    let columns: Vec<String> = copied_columns(parent, source)?.into_iter().map(identifier).collect();
    let (columns, from, range) = (columns.join(", "), source.qualified(), bound.inside(key)?);
    Ok(vec![
        Step::locking(
            format!(
                "INSERT INTO {child} ({columns}) SELECT {columns} FROM {from} WHERE {range} ORDER BY {}",
                identifier(&key.column)
            ),
            Lock::AccessShare,
            &from,
            "the period's rows in the order of the key, into a table without indexes",
        ),
        Step::locking(
            format!("SELECT pg_catalog.count(*) FROM {from} WHERE {range}"),
            Lock::AccessShare,
            &from,
            "as many rows as the same snapshot shows in the source; otherwise the period is given up",
        ),
    ])
}

/// The query for the newest key of the source from 1970 on and before `before`, in microseconds of the key's own time.
/// One probe of an index on the key; without an index one read of the table. Errors as [`key_of`].
pub fn newest_key_query(parent: &Parent, source: &Source, before: i64) -> Result<String> {
    let key = key_of(parent)?;
    let range = Bound { from: OLDEST, to: before };
    Ok(format!(
        "SELECT {} FROM {} WHERE {} ORDER BY {} DESC LIMIT 1",
        key.time_expression()?,
        source.qualified(),
        range.inside(key)?,
        identifier(&key.column)
    ))
}

/// The query for the rows that no backfill moves: `(what, rows)`, a row for each kind that occurs. Takes the end of
/// the newest period. Errors as [`key_of`].
pub fn left_behind_query(parent: &Parent, source: &Source, newest: &Period) -> Result<String> {
    let key = key_of(parent)?;
    let column = identifier(&key.column);
    let (first, last) = (key.constant(OLDEST)?, key.constant(Bound::of(newest, key).to)?);
    let of_type = key.key_type.sql();
    let infinities = if matches!(key.key_type, KeyType::Bigint | KeyType::Uuid) {
        String::new()
    } else {
        format!(
            "WHEN k OPERATOR(pg_catalog.=) 'infinity'::{of_type} THEN 'infinity' \
             WHEN k OPERATOR(pg_catalog.=) '-infinity'::{of_type} THEN '-infinity' "
        )
    };
    Ok(format!(
        "SELECT CASE WHEN k IS NULL THEN 'NULL' {infinities}\
         WHEN k OPERATOR(pg_catalog.<) {first} THEN 'before 1970-01-01' ELSE 'after {}' END, pg_catalog.count(*) \
         FROM (SELECT {column} AS k FROM {} WHERE {column} IS NULL OR {column} OPERATOR(pg_catalog.<) {first} \
         OR {column} OPERATOR(pg_catalog.>=) {last}) r GROUP BY 1 ORDER BY 1",
        newest.label,
        source.qualified()
    ))
}

/// The query for the days whose row counts differ: `(day number, rows of the source, rows of the parent)`, for days
/// of the source only, as the key tells them without a zone. Reads both tables once. Errors as [`key_of`].
pub fn differing_days_query(parent: &Parent, source: &Source, newest: &Period) -> Result<String> {
    let key = key_of(parent)?;
    let range = Bound { from: OLDEST, to: Bound::of(newest, key).to };
    let side = |table: String| -> Result<String> {
        Ok(format!(
            "SELECT {} AS day, pg_catalog.count(*) AS n FROM {table} WHERE {} GROUP BY 1",
            key.day_expression()?,
            range.inside(key)?
        ))
    };
    Ok(format!(
        "SELECT s.day, s.n, coalesce(p.n, 0) \
         FROM ({}) s LEFT JOIN ({}) p ON p.day OPERATOR(pg_catalog.=) s.day \
         WHERE s.n OPERATOR(pg_catalog.<>) coalesce(p.n, 0) ORDER BY s.day DESC",
        side(source.qualified())?,
        side(parent.qualified())?
    ))
}

/// The steps that bring every sequence of the parent to the extreme value of the source's column or beyond. Errors
/// as [`copied_columns`].
pub fn sequence_steps(parent: &Parent, source: &Source) -> Result<Vec<Step>> {
    let copied = copied_columns(parent, source)?;
    let steps = parent.sequences.iter().filter(|s| copied.contains(&s.column.as_str())).map(|sequence| {
        let name = qualified(&sequence.schema, &sequence.name);
        let extreme = if sequence.ascending { "max" } else { "min" };
        Step::locking(
            format!(
                "SELECT eventkit.advance_sequence({}::pg_catalog.regclass, \
                 (SELECT pg_catalog.{extreme}({}) FROM {})::pg_catalog.int8)",
                literal(&name),
                identifier(&sequence.column),
                source.qualified()
            ),
            Lock::ShareRowExclusive,
            name,
            "new rows of the parent get numbers that no copied row has; locked only while it is behind",
        )
    });
    Ok(steps.collect())
}
