//! The plan of one period: from a plain table that nobody sees to an attached partition, in the order that never blocks.

mod adopt;
mod attach;
pub mod convert;
pub mod copies;
mod foreign_keys;
mod like;
pub mod split;
pub mod unpartition;

pub use adopt::adopt;

use super::backfill;
use super::bound::Bound;
use super::error;
use super::key::{Key, KeyType};
use super::name::{identifier, qualified, suffixed};
use super::period::Period;
use super::snapshot::{Parent, Partition, Refusal, Source};
use super::step::Step;
use crate::error::Result;

/// The name of the CHECK that stands for the bound until the attach.
const BOUND_CHECK: &str = "partition_bound";

/// What is found in the database beside the catalog snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// A relation with the partition's name exists.
    pub name_taken: bool,
    /// Rows of the period in the default partition.
    pub default_rows: i64,
}

/// The partition's name: that of the parent and the period's digits, cut to fit. O(n).
#[must_use]
pub fn partition_name(parent: &Parent, period: &Period) -> String {
    suffixed(&parent.name, &period.digits)
}

/// The names that a partition with this ending, its indexes and statistics have, or would have if nobody else had them. O(indexes).
pub fn names(parent: &Parent, ending: &str) -> impl Iterator<Item = String> {
    let indexes = parent.indexes.iter().map(|index| &index.name);
    let all = indexes.chain(parent.statistics.iter().map(|statistics| &statistics.name)).chain([&parent.name]);
    all.map(move |name| suffixed(name, ending))
}

/// The key of a parent on which periods can be made by this caller.
///
/// Raises `42809` for a table not partitioned by range, `0A000` for a key or parent that is not supported, `42501`
/// for a caller without the owner's rights. O(1).
pub fn key_of(parent: &Parent) -> Result<&Key> {
    let table = parent.qualified();
    match &parent.refusal {
        Some(Refusal::NotRange(found)) => return Err(error::not_range_partitioned(&table, found)),
        Some(Refusal::Key(found)) => return Err(error::unsupported_key(&table, found)),
        Some(Refusal::SubPartition(above)) => {
            return Err(error::unsupported_parent(
                &table,
                &format!("itself a partition of {above}"),
                &format!(
                    "Make partitions on the table above: CALL eventkit.create_partition('{}', current_date).",
                    above.replace('\'', "''")
                ),
            ));
        }
        Some(Refusal::Temporary) => {
            return Err(error::unsupported_parent(
                &table,
                "a temporary table",
                "Use a permanent table: CREATE TABLE … PARTITION BY RANGE (…).",
            ));
        }
        None => {}
    }
    if !parent.caller_owns {
        return Err(error::not_owner(&table, &identifier(&parent.caller), &identifier(&parent.owner)));
    }
    parent.key.as_ref().ok_or_else(|| error::unsupported_key(&table, "unknown"))
}

/// The same, of a key that tells the time. Raises `22023` besides, for a number whose unit is not known. O(1).
pub fn clock_key_of(parent: &Parent) -> Result<&Key> {
    let key = key_of(parent)?;
    if key.key_type == KeyType::Bigint && key.unit.is_none() {
        return Err(error::unit_missing(&identifier(&key.column), &parent.qualified()));
    }
    Ok(key)
}

/// The query that counts the rows of a range in the default partition; `None` without one. Errors as [`key_of`]. O(1).
pub fn default_rows_query(parent: &Parent, bound: Bound) -> Result<Option<String>> {
    let key = key_of(parent)?;
    let Some(default) = parent.default_partition() else { return Ok(None) };
    let range = bound.inside(key)?;
    Ok(Some(format!("SELECT pg_catalog.count(*) FROM {} WHERE {range}", default)))
}

/// The steps that make and attach an empty partition for a period, or for each part of one that other partitions have left, as after
/// a change of the period's length; one step without a statement when it exists.
///
/// Raises what [`key_of`] raises, `42P07` for a stranger with the partition's name, `42P17` for a period that lies within a longer
/// partition, `23514` when the default partition holds rows of the period. Linear in columns, indexes and grants; no lock.
pub fn create(parent: &Parent, period: &Period, found: Found) -> Result<Vec<Step>> {
    let bound = Bound::of(period, key_of(parent)?);
    if let Some(same) = parent.partitions.iter().find(|p| !p.odd && p.bound == bound) {
        let name = same.qualified();
        let reason = format!("partition {name} of {} holds {} already", parent.qualified(), period.label);
        return Ok(vec![Step::nothing(name, reason)]);
    }
    let Some(other) = overlapping(parent, bound) else { return period_steps(parent, None, period, found) };
    let table = parent.qualified();
    let rests = rests(parent, period)?;
    if rests.is_empty() {
        let own = partition_name(parent, period);
        if !parent.partitions.iter().any(|p| p.bound.overlaps(bound) && p.name == own) {
            return Err(error::overlap(&period.label, &other.qualified(), &table));
        }
        let reason = format!("partitions of {table} hold all of {} already", period.label);
        return Ok(vec![Step::nothing(table, reason)]);
    }
    let mut steps = Vec::new();
    for rest in rests {
        let found = Found { name_taken: found.name_taken && rest.digits == period.digits, ..found };
        steps.extend(period_steps(parent, None, &rest, found)?);
    }
    Ok(steps)
}

/// The parts of a period that no partition holds, in order, each with an ending of its own for names: that of the period, then with
/// numbers. The period itself when no partition meets it. Errors as [`key_of`]. O(partitions that meet it, squared).
pub fn rests(parent: &Parent, period: &Period) -> Result<Vec<Period>> {
    let key = key_of(parent)?;
    let bound = Bound::of(period, key);
    let free = bound.free_of(parent.partitions.iter().map(|p| p.bound));
    Ok(free
        .into_iter()
        .zip(endings(&parent.name, &parent.partitions, &period.digits))
        .map(|(rest, digits)| key.cut(period, rest, digits))
        .collect())
}

/// The endings of names of a parent's partitions that none of these has, for parts of a period: the first that is asked for, then with numbers.
pub fn endings<'a>(parent: &'a str, others: &'a [Partition], first: &'a str) -> impl Iterator<Item = String> + 'a {
    (1_u32..)
        .map(move |n| if n == 1 { first.to_owned() } else { format!("{first}_{n}") })
        .filter(|digits| !others.iter().any(|other| other.name == suffixed(parent, digits)))
}

/// The steps that move a period of the source into a partition of its own; one step without a statement when
/// partitions cover the period already. For a parent that is published the rows come after the attach, so that they are sent.
///
/// Raises what [`create`] raises, and what [`backfill::copied_columns`] raises. Linear as [`create`]; no lock.
pub fn backfill_period(parent: &Parent, source: &Source, period: &Period, found: Found) -> Result<Vec<Step>> {
    let bound = Bound::of(period, key_of(parent)?);
    backfill::copied_columns(parent, source)?;
    if let Some(other) = overlapping(parent, bound) {
        let name = other.qualified();
        if !bound.free_of(parent.partitions.iter().map(|p| p.bound)).is_empty() {
            return Err(error::covered_in_part(&period.label, &name, &parent.qualified()));
        }
        let reason = format!("{} is left as it is: partition {name} of {} covers it", period.label, parent.qualified());
        return Ok(vec![Step::nothing(name, reason)]);
    }
    if parent.publications.iter().any(|p| p.inserts) {
        // What is written to a table before it is attached is sent to no subscriber.
        let mut steps = period_steps(parent, None, period, found)?;
        steps.extend(backfill::fill_steps(parent, source, period)?);
        return Ok(steps);
    }
    period_steps(parent, Some(source), period, found)
}

/// A partition that shares a part of the bound.
fn overlapping(parent: &Parent, bound: Bound) -> Option<&Partition> {
    parent.partitions.iter().find(|p| p.bound.overlaps(bound))
}

/// All steps of a period that has no partition yet.
fn period_steps(parent: &Parent, source: Option<&Source>, period: &Period, found: Found) -> Result<Vec<Step>> {
    let (key, table) = (key_of(parent)?, parent.qualified());
    let bound = Bound::of(period, key);
    let name = partition_name(parent, period);
    let child = qualified(&parent.schema, &name);
    if found.name_taken {
        return Err(error::name_taken(&child, &table));
    }
    if let Some(default) = parent.default_partition()
        && found.default_rows > 0
    {
        let range = bound.inside(key)?;
        return Err(error::default_holds_rows(&period.label, &default, found.default_rows, &range));
    }
    let mut steps = vec![like::table(parent, key, bound, &child)?];
    steps.extend(like::closed_to_others(parent, &child));
    steps.extend(like::columns(parent, &child));
    let storage = copies::Storage { access_method: None, options: parent.options.clone() };
    steps.extend(storage.set(&child, "stored and vacuumed as the youngest partition is: the parent cannot say how"));
    if let Some(source) = source {
        steps.extend(backfill::copy_steps(parent, source, key, bound, &child)?);
    }
    steps.extend(like::indexes(parent, &period.digits, &name, &child)?);
    steps.extend(like::statistics(parent, &period.digits, &child));
    steps.extend(like::row_security(parent, &child));
    if source.is_some() && parent.autovacuum {
        steps.push(Step::unseen(
            "SET LOCAL default_statistics_target = 5".to_owned(),
            &child,
            "a small sample serves the first queries; to autovacuum the rows count as new, so that it takes the usual one soon",
        ));
    }
    steps.push(Step::unseen(
        format!("ANALYZE {child}"),
        &child,
        "statistics are there when the first query comes; before the locks, so that nobody waits for it",
    ));
    if source.is_some() {
        steps.extend(attach::join_of_foreign_keys(parent, &table));
    }
    steps.extend(attach::locks(parent, &table, |_, _| false));
    steps.extend(attach::attach_by_itself(parent, key, bound, &period.digits, &child)?);
    steps.extend(like::grants(parent, &child));
    Ok(steps)
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
