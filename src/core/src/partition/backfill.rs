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
pub const OLDEST: i64 = 0;

/// How the copied rows of a period are verified against the source, as one snapshot shows both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// As many rows.
    #[default]
    Count,
    /// The same values, by a sum of hashes over the text of each row.
    Content,
    /// Not at all.
    None,
}

impl Verify {
    /// The way of this name. Raises `22023` for another.
    pub fn read(name: &str) -> Result<Self> {
        match name {
            "count" => Ok(Self::Count),
            "content" => Ok(Self::Content),
            "none" => Ok(Self::None),
            _ => Err(super::capture::error::unknown_verify(name)),
        }
    }
}

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

/// The statement that copies the rows of a query into these columns of a new table. O(columns).
pub(super) fn copy_rows(table: &str, columns: &[&str], rows: &str) -> String {
    let columns: Vec<String> = columns.iter().map(|column| literal(column)).collect();
    format!("SELECT eventkit.copy_rows({}, ARRAY[{}], {})", literal(table), columns.join(", "), literal(rows))
}

/// The copy of a period and what verifies it, both by the key's own range, so that the source's index serves. O(columns²).
pub(super) fn copy_steps(parent: &Parent, source: &Source, key: &Key, bound: Bound, child: &str) -> Result<Vec<Step>> {
    let names = copied_columns(parent, source)?;
    let columns: Vec<String> = names.iter().copied().map(identifier).collect();
    let (columns, from, range) = (columns.join(", "), source.qualified(), bound.inside(key)?);
    let rows = format!("SELECT {columns} FROM {from} WHERE {range} ORDER BY {}", identifier(&key.column));
    // An identity belongs to the parent alone.
    let copy = if child == parent.qualified() {
        format!("INSERT INTO {child} ({columns}) OVERRIDING SYSTEM VALUE {rows}")
    } else {
        copy_rows(child, &names, &rows)
    };
    let mut steps = vec![Step::locking(
        copy,
        Lock::AccessShare,
        &from,
        "the period's rows in the order of the key, into a table without indexes",
    )];
    match source.verify {
        Verify::None => {}
        Verify::Count => steps.push(Step::locking(
            format!("SELECT pg_catalog.count(*) FROM {from} WHERE {range}"),
            Lock::AccessShare,
            &from,
            "as many rows as the same snapshot shows in the source; otherwise the period is given up",
        )),
        Verify::Content => {
            let hashes = |table: &str, converted: bool| {
                let column = |name: &&str| {
                    let of_type =
                        source.columns.iter().find(|c| c.name == **name).and_then(|c| c.parent_type.as_deref());
                    let of_type = of_type.filter(|_| converted).map(|t| format!("::{t}")).unwrap_or_default();
                    identifier(name) + &of_type
                };
                format!(
                    "SELECT pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended(ROW({})::pg_catalog.text, 0)) FROM {table} WHERE {range}",
                    names.iter().map(column).collect::<Vec<_>>().join(", ")
                )
            };
            steps.push(Step::locking(
                format!(
                    "SELECT eventkit.verify_content({}, {}, {})",
                    literal(child),
                    literal(&hashes(&from, true)),
                    literal(&hashes(child, false))
                ),
                Lock::AccessShare,
                &from,
                "the values that the same snapshot shows in the source; otherwise the period is given up",
            ));
        }
    }
    Ok(steps)
}

/// The steps that fill a period whose partitions stand empty: the rows go through the parent, into indexes that exist.
/// Errors as [`copied_columns`]. O(columns²).
pub fn fill_steps(parent: &Parent, source: &Source, period: &Period) -> Result<Vec<Step>> {
    let key = key_of(parent)?;
    let mut steps = copy_steps(parent, source, key, Bound::of(period, key), &parent.qualified())?;
    if let Some(step) = steps.first_mut() {
        step.lock = Some(Lock::RowExclusive);
        step.target = parent.qualified();
        step.reason = "the period's rows into the partition that stands there empty, through the parent".into();
    }
    Ok(steps)
}

/// The query that tells whether a table holds a row of a range. Errors as [`key_of`]. O(1).
pub fn any_row_query(parent: &Parent, table: &str, bound: Bound) -> Result<String> {
    Ok(format!("SELECT EXISTS (SELECT FROM {table} WHERE {})", bound.inside(key_of(parent)?)?))
}

/// The query for the newest or the oldest key of the source in a range, in microseconds of the key's own time.
/// One probe of an index on the key; without an index one read of the table. Errors as [`key_of`].
pub fn end_key_query(parent: &Parent, source: &Source, range: Bound, newest: bool) -> Result<String> {
    let key = key_of(parent)?;
    Ok(format!(
        "SELECT {} FROM {} WHERE {} ORDER BY {}{} LIMIT 1",
        key.time_expression()?,
        source.qualified(),
        range.inside(key)?,
        identifier(&key.column),
        if newest { " DESC" } else { "" }
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

/// The query for the hours (numbers since 1970, in the key's own time) in which the source has rows that are moved. Reads it once. Errors as
/// [`key_of`].
pub fn hours_query(parent: &Parent, source: &Source, newest: &Period) -> Result<String> {
    let key = key_of(parent)?;
    let range = Bound { from: OLDEST, to: Bound::of(newest, key).to };
    Ok(format!(
        "SELECT DISTINCT ({}) OPERATOR(pg_catalog./) 3600000000::pg_catalog.int8 FROM {} WHERE {}",
        key.time_expression()?,
        source.qualified(),
        range.inside(key)?
    ))
}

/// The query for the periods whose row counts differ: `(number, rows of the source, rows of the parent)`, the last one first, where the
/// number is a place in the bounds (from 1 on) at which such a period begins. Takes the bounds of periods, in order and each once. Reads both
/// tables once. Errors as [`key_of`].
pub fn differing_periods_query(parent: &Parent, source: &Source, bounds: &[i64]) -> Result<String> {
    let key = key_of(parent)?;
    let constants = bounds.iter().map(|bound| key.constant(*bound)).collect::<Result<Vec<_>>>()?.join(", ");
    let range = Bound { from: bounds.first().copied().unwrap_or(OLDEST), to: bounds.last().copied().unwrap_or(OLDEST) };
    let side = |table: String| -> Result<String> {
        Ok(format!(
            "SELECT pg_catalog.width_bucket({}, ARRAY[{constants}]::{}[]) AS place, pg_catalog.count(*) AS n FROM {table} WHERE {} GROUP BY 1",
            identifier(&key.column),
            key.key_type.sql(),
            range.inside(key)?
        ))
    };
    Ok(format!(
        "SELECT s.place, s.n, coalesce(p.n, 0) \
         FROM ({}) s LEFT JOIN ({}) p ON p.place OPERATOR(pg_catalog.=) s.place \
         WHERE s.n OPERATOR(pg_catalog.<>) coalesce(p.n, 0) ORDER BY s.place DESC",
        side(source.qualified())?,
        side(parent.qualified())?
    ))
}

/// The steps that bring every sequence of the parent to the extreme value of the source's column, and of the sequences that feed it
/// there, or beyond. Errors
/// as [`copied_columns`].
pub fn sequence_steps(parent: &Parent, source: &Source) -> Result<Vec<Step>> {
    let copied = copied_columns(parent, source)?;
    let steps = parent.sequences.iter().filter(|s| copied.contains(&s.column.as_str())).map(|sequence| {
        let name = qualified(&sequence.schema, &sequence.name);
        let extreme = if sequence.ascending { "max" } else { "min" };
        let mut value = format!(
            "(SELECT pg_catalog.{extreme}({}) FROM {})::pg_catalog.int8",
            identifier(&sequence.column),
            source.qualified()
        );
        // Numbers of rows that were deleted are known outside, and are not given twice.
        let feeding = source.columns.iter().filter(|c| c.name == sequence.column).flat_map(|c| &c.sequences);
        let drawn: Vec<String> = feeding
            .filter(|s| s.ascending == sequence.ascending)
            .map(|s| qualified(&s.schema, &s.name))
            .filter(|s| *s != name)
            .map(|s| format!(" UNION ALL SELECT last_value FROM {s} WHERE is_called"))
            .collect();
        if !drawn.is_empty() {
            value = format!("(SELECT pg_catalog.{extreme}(u.value) FROM (SELECT {value}{}) u (value))", drawn.concat());
        }
        Step::locking(
            format!("SELECT eventkit.advance_sequence({}::pg_catalog.regclass, {value})", literal(&name)),
            Lock::ShareRowExclusive,
            name,
            "new rows of the parent get numbers that no copied row has; locked only while it is behind",
        )
    });
    Ok(steps.collect())
}
