//! The plan that turns a live table into a partitioned one under its own name: the old table is proved, then handed over in
//! one short transaction as the first partition; no row is copied.

mod carry;
mod dependents;
mod refuse;

pub(super) use carry::{Indexes, away, dependents, over};
pub use dependents::{Dependents, ForeignKey};
pub use refuse::rows_far_ahead;

use super::super::bound::Bound;
use super::super::key::{Key, KeyUnit};
use super::super::name::{identifier, literal, qualified, suffixed_apart};
use super::super::snapshot::Parent;
use super::super::step::{Lock, Step};
use super::{BOUND_CHECK, like};
use crate::error::Result;

/// What stands behind the names of the adopted table and of what belongs to it.
pub(super) const ADOPTED: &str = "adopted";

/// Checks that a table can be converted by this caller, and gives its key.
///
/// Takes the snapshot of the table, what hangs on it, the key's name, its unit, and whether keys may be extended. Raises `42501` for somebody else's table,
/// `42809` for what is no plain table, `42703` and `0A000` for the key, `0A000` for what cannot be carried, `55000` for unique keys
/// without the partition column. Linear in dependents; no lock.
pub fn convertible(
    table: &Parent,
    found: &Dependents,
    key: &str,
    unit: Option<KeyUnit>,
    extend_keys: bool,
) -> Result<Key> {
    let name = table.qualified();
    if !table.caller_owns {
        return Err(refuse::not_owner(&name, &identifier(&table.caller), &identifier(&table.owner)));
    }
    if let Some((what, why, hint)) = found.refusals.first()
        && what.starts_with("it is ")
    {
        return Err(refuse::wrong_kind(&name, what, why, hint));
    }
    let column = found.key.as_ref().ok_or_else(|| refuse::no_key(&name, key))?;
    let quoted = identifier(&column.column);
    let shown = if column.generated { "generated from others" } else { &column.shown };
    let key_type = column.key_type.filter(|_| !column.generated);
    let key_type = key_type.ok_or_else(|| refuse::unsupported_key(&name, &quoted, shown))?;
    if let Some((what, why, hint)) = found.refusals.first() {
        return Err(refuse::not_carried(&name, what, why, hint));
    }
    for index in found.indexes.iter().filter(|index| index.lacks_key) {
        let wanted = index.wanted().unwrap_or_else(|| "which is there".to_owned());
        if !extend_keys {
            return Err(refuse::keys_lack_column(&name, &identifier(&index.name), &quoted, &wanted));
        }
        if index.longer.is_none() {
            return Err(refuse::longer_missing(&name, &identifier(&index.name), &quoted, &wanted));
        }
    }
    Ok(Key { column: column.column.clone(), key_type, unit })
}

/// What is told beside the two snapshots.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The key, as [`convertible`] gives it.
    pub key: &'a Key,
    /// The bound of the adopted partition.
    pub bound: Bound,
    /// The statement that refuses to go on when what hangs on the table is no longer what was planned.
    pub guard: &'a str,
    /// The statement that manages the new parent.
    pub manage: &'a str,
}

/// The steps of a conversion, `COMMIT` behind each transaction. Takes what [`convertible`] has found good.
///
/// Raises what [`Key::constant`] and the reader of an index raise. Linear in dependents; no lock.
pub fn convert(table: &Parent, found: &Dependents, told: Told<'_>) -> Result<Vec<Step>> {
    let name = table.qualified();
    let mut taken = found.taken.clone();
    let adopted = apart(&table.name, &mut taken);
    let adopted = qualified(&table.schema, &adopted);
    let mut steps = proofs(found, told, &name)?;
    steps.extend(locks(table, found, &name));
    steps.push(Step::unseen(
        told.guard.to_owned(),
        &name,
        "under the locks all is still as it was when this was planned",
    ));
    steps.extend(away(table, found, &name, &adopted, &mut taken));
    steps.extend(parent(table, found, told.key, &name, &adopted));
    steps.extend(over(table, found, &name, &adopted, Indexes::ToMake)?);
    steps.push(Step::unseen(
        format!("ALTER TABLE {name} ATTACH PARTITION {adopted} {}", told.bound.for_values(told.key)?),
        &name,
        "the old rows as they lie; the CHECK proves the bound, indexes and foreign keys equal those of the parent: no row is read",
    ));
    steps.push(Step::unseen(
        format!("ALTER TABLE {adopted} DROP CONSTRAINT {}", identifier(BOUND_CHECK)),
        &adopted,
        "the bound says the same now",
    ));
    steps.extend(dependents(found));
    steps.push(Step::commit(&name));
    steps.extend(rest(found, told.manage, &name));
    Ok(steps)
}

/// The steps that an interrupted conversion has left to do: the parent stands, and is not managed yet, or foreign keys to it are not proved.
/// One step without a statement when there are none. Linear; no lock.
#[must_use]
pub fn finish(table: &Parent, found: &Dependents, manage: &str) -> Vec<Step> {
    let name = table.qualified();
    let mut found = found.clone();
    found.referencing.retain(ForeignKey::unproved);
    if table.settings.is_some() && found.referencing.is_empty() {
        return vec![Step::nothing(&name, format!("{name} is partitioned and managed already"))];
    }
    if table.settings.is_some() { proofs_of_keys(&found) } else { rest(&found, manage, &name) }
}

fn apart(name: &str, taken: &mut Vec<String>) -> String {
    let made = suffixed_apart(name, ADOPTED, taken);
    taken.push(made.clone());
    made
}

/// What proves the bound while readers and writers go on.
fn proofs(found: &Dependents, told: Told<'_>, name: &str) -> Result<Vec<Step>> {
    let exclusive = |statement: String, reason: &str| Step::locking(statement, Lock::AccessExclusive, name, reason);
    let check = identifier(BOUND_CHECK);
    let mut steps = Vec::new();
    if found.bound_left {
        steps.push(exclusive(format!("ALTER TABLE {name} DROP CONSTRAINT {check}"), "left by a call that was stopped"));
    }
    steps.push(exclusive(
        format!("ALTER TABLE {name} ADD CONSTRAINT {check} CHECK ({}) NOT VALID", told.bound.check(told.key)?),
        &format!(
            "equals the bound of the adopted partition; no row is read; new ones from {} on are refused until the table is partitioned and has \
             partitions for them (adopt_until moves that limit)",
            told.key.constant(told.bound.to)?
        ),
    ));
    steps.push(Step::commit(name));
    steps.push(Step::locking(
        format!("ALTER TABLE {name} VALIDATE CONSTRAINT {check}"),
        Lock::ShareUpdateExclusive,
        name,
        "proved in one read of the table; its readers and writers go on",
    ));
    steps.push(Step::commit(name));
    if found.key.as_ref().is_some_and(|key| key.nullable) && found.indexes.iter().any(|index| index.longer.is_some()) {
        steps.push(exclusive(
            format!("ALTER TABLE {name} ALTER COLUMN {} SET NOT NULL", identifier(&told.key.column)),
            "a primary key needs it; the CHECK proves it, no row is read",
        ));
        steps.push(Step::commit(name));
    }
    Ok(steps)
}

/// The locks of the hand-over: views first, as their readers take them, then the table, those that refer to it, those that it refers to.
pub(super) fn locks(table: &Parent, found: &Dependents, name: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = found
        .views
        .iter()
        .map(|view| {
            let view_name = qualified(&view.schema, &view.name);
            Step::locking(
                format!("ALTER VIEW {view_name} OWNER TO {}", identifier(&view.owner)),
                Lock::AccessExclusive,
                view_name,
                "changes nothing and locks the view alone (LOCK TABLE would lock all that it reads), before its table as its readers do",
            )
        })
        .collect();
    // Who waits for the table holds little else; what refers to it comes next, as its writers take it.
    let mut linked: Vec<_> = table.linked.iter().collect();
    linked.sort_by_key(|linked| (!linked.is_parent, linked.referenced));
    for linked in linked {
        let target = qualified(&linked.schema, &linked.name);
        if !linked.lockable && !linked.is_parent {
            continue;
        }
        let only = if linked.referenced && !linked.is_parent { "" } else { "ONLY " };
        let reason = if linked.is_parent {
            "the table becomes a partition of the one that takes its name; everybody waits for this one transaction"
        } else if linked.referenced {
            "the foreign key to it is handed over with the triggers on it"
        } else {
            "its foreign key is made to refer to the new parent"
        };
        steps.push(Step::locking(
            format!("LOCK TABLE {only}{target} IN {} MODE", Lock::AccessExclusive.sql()),
            Lock::AccessExclusive,
            target,
            reason,
        ));
    }
    if table.linked.is_empty() {
        steps.push(Step::locking(
            format!("LOCK TABLE ONLY {name} IN {} MODE", Lock::AccessExclusive.sql()),
            Lock::AccessExclusive,
            name,
            "the table becomes a partition of the one that takes its name; everybody waits for this one transaction",
        ));
    }
    steps
}

/// The partitioned table with columns, owner and rights of the old one.
fn parent(table: &Parent, found: &Dependents, key: &Key, name: &str, adopted: &str) -> Vec<Step> {
    let space = table.tablespace.as_ref().map(|t| format!(" TABLESPACE {}", identifier(t))).unwrap_or_default();
    let method = found.access_method.as_ref().map(|m| format!(" USING {}", identifier(m))).unwrap_or_default();
    let mut steps = vec![
        Step::unseen(
            format!(
                "CREATE TABLE {name} (LIKE {adopted} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE \
                 INCLUDING COMPRESSION INCLUDING COMMENTS) PARTITION BY RANGE ({}){method}{space}",
                identifier(&key.column)
            ),
            name,
            "the same columns in the same order, partitioned",
        ),
        Step::unseen(
            format!("ALTER TABLE {name} DROP CONSTRAINT {}", identifier(BOUND_CHECK)),
            name,
            "the bound is the adopted partition's alone",
        ),
    ];
    steps.extend(like::closed_to_others(table, name));
    steps.extend(like::columns(table, name));
    steps
}

/// What is done when the new parent stands and others use it: it is managed before anything that takes long.
fn rest(found: &Dependents, manage: &str, name: &str) -> Vec<Step> {
    let mut steps = vec![
        Step::locking(
            manage.to_owned(),
            Lock::ShareUpdateExclusive,
            name,
            "writes the settings down and makes the partitions behind the adopted one, each in a transaction",
        ),
        Step::commit(name),
    ];
    steps.extend(proofs_of_keys(found));
    steps.push(Step::locking(
        format!("ANALYZE {name}"),
        Lock::ShareUpdateExclusive,
        name,
        "statistics of the whole, which autovacuum does not gather for a partitioned table",
    ));
    steps.push(Step::commit(name));
    steps
}

fn proofs_of_keys(found: &Dependents) -> Vec<Step> {
    let mut steps = Vec::new();
    for key in found.referencing.iter().filter(|key| key.enforced) {
        let table = qualified(&key.schema, &key.table);
        steps.push(Step::locking(
            format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", identifier(&key.name)),
            Lock::ShareUpdateExclusive,
            &table,
            "proved for the rows that were there; readers and writers go on",
        ));
        steps.push(Step::commit(table));
    }
    steps
}

/// The statement that manages a parent, with all that it was told.
#[must_use]
pub fn manage_call(table: &Parent, arguments: &[(&str, Option<String>)]) -> String {
    let mut call = format!("CALL eventkit.manage_partitions({}", literal(&table.qualified()));
    for (name, value) in arguments {
        call.push_str(&format!(", {name} => {}", value.as_deref().unwrap_or("NULL")));
    }
    call.push(')');
    call
}
