//! The attach: locks in one order, the proof that nothing has to be read, the statement itself.

use super::super::bound::Bound;
use super::super::key::Key;
use super::super::name::{identifier, qualified, suffixed};
use super::super::snapshot::Parent;
use super::super::step::{Lock, Step};
use super::{BOUND_CHECK, foreign_keys};
use crate::error::Result;

/// The locks of an attach, in the order in which everybody takes them: tables tied by foreign keys and the parent by
/// Oid, the default partition last. Takes which referenced tables (schema and name) the table has a proved foreign key to.
pub(super) fn locks(parent: &Parent, table: &str, taken_over: impl Fn(&str, &str) -> bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for linked in parent.linked.iter().filter(|l| l.lockable || l.is_parent) {
        let target = qualified(&linked.schema, &linked.name);
        let taken_over = linked.referenced && !linked.is_parent && taken_over(&linked.schema, &linked.name);
        let lock = match (taken_over, linked.referenced || linked.referencing) {
            (true, _) => Lock::AccessExclusive,
            (false, true) => Lock::ShareRowExclusive,
            (false, false) => Lock::ShareUpdateExclusive,
        };
        // A referenced table is locked with its partitions, as the attach does; a referencing one alone.
        let only = if linked.referenced && !linked.is_parent { "" } else { "ONLY " };
        let reason = if linked.is_parent {
            "readers and writers of the parent go on; taken before the attach, in one order by everybody"
        } else if taken_over {
            "the attach replaces triggers of the foreign key, which is proved; all who use the referenced table wait for this moment"
        } else if linked.referenced {
            "the attach checks the foreign key of all new rows; writers of the referenced table wait meanwhile"
        } else {
            "the attach lets a foreign key refer to the new partition; writers of the referencing table wait meanwhile"
        };
        steps.push(Step::locking(format!("LOCK TABLE {only}{target} IN {} MODE", lock.sql()), lock, target, reason));
    }
    if let Some(target) = parent.default_partition() {
        let lock = Lock::AccessExclusive;
        let reason = format!("the bound of the default partition of {table} changes; last, after all others");
        steps.push(Step::locking(format!("LOCK TABLE {target} IN {} MODE", lock.sql()), lock, target, reason));
    }
    steps
}

/// How the attach shall check a foreign key to a partitioned table with few keys. The server has no statistics of a
/// partitioned table as a whole, so it takes a hash join for ten times as dear as it is, and reads all new rows through an
/// index, for a merge join.
pub(super) fn join_of_foreign_keys(parent: &Parent, table: &str) -> Option<Step> {
    let mut referenced = parent.linked.iter().filter(|l| l.referenced && !l.is_parent).peekable();
    referenced.peek()?;
    referenced.all(|l| l.few_keys).then(|| {
        Step::unseen(
            "SET LOCAL enable_mergejoin = off".to_owned(),
            table,
            "the attach checks the foreign key by a hash of the few referenced keys, in one read of the new rows",
        )
    })
}

/// The attach of a table whose CHECK proves the bound, with the default partition's proof around it.
pub(super) fn attach(parent: &Parent, key: &Key, bound: Bound, digits: &str, child: &str) -> Result<Vec<Step>> {
    let table = parent.qualified();
    let excluded = identifier(&suffixed("partition_excludes", digits));
    let mut steps = Vec::new();
    let default = parent.default_partition();
    if let Some(default) = &default {
        steps.push(Step::locking(
            format!("ALTER TABLE {default} ADD CONSTRAINT {excluded} CHECK ({}) NOT VALID", bound.outside(key)?),
            Lock::AccessExclusive,
            default,
            "says that the default partition holds no row of the period",
        ));
        steps.push(Step::locking(
            format!("ALTER TABLE {default} VALIDATE CONSTRAINT {excluded}"),
            Lock::AccessExclusive,
            default,
            "proves it in one read of the default partition, so that the attach need not",
        ));
    }
    steps.push(Step::locking(
        format!("ALTER TABLE {table} ATTACH PARTITION {child} {}", bound.for_values(key)?),
        if parent.linked.iter().any(|l| l.is_parent && (l.referenced || l.referencing)) {
            Lock::ShareRowExclusive
        } else {
            Lock::ShareUpdateExclusive
        },
        &table,
        "the CHECK proves the bound: no row is read; triggers and foreign keys are made by the server",
    ));
    if let Some(default) = &default {
        steps.push(Step::locking(
            format!("ALTER TABLE {default} DROP CONSTRAINT {excluded}"),
            Lock::AccessExclusive,
            default,
            "the bound of the default partition says the same now",
        ));
    }
    steps.push(Step::unseen(
        format!("ALTER TABLE {child} DROP CONSTRAINT {}", identifier(BOUND_CHECK)),
        child,
        "the bound says the same now",
    ));
    Ok(steps)
}

/// The same for a partition that comes by itself: a split may have given the parent's foreign keys to its partitions, also since the
/// plan was made.
pub(super) fn attach_by_itself(
    parent: &Parent,
    key: &Key,
    bound: Bound,
    digits: &str,
    child: &str,
) -> Result<Vec<Step>> {
    let mut steps = attach(parent, key, bound, digits, child)?;
    if parent.waiting.is_some() || parent.linked.iter().any(|linked| linked.referenced && !linked.is_parent) {
        steps.push(foreign_keys::hold_in_one(parent));
    }
    Ok(steps)
}
