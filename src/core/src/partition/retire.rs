//! The plan by which a partition leaves its parent: an archive hook, the detach, what becomes of the table.

use super::name::{identifier, literal, qualified};
use super::snapshot::Parent;
use super::step::{Lock, Step};

/// The locks of a change that nobody may see half-done, in the order in which everybody takes them: tables tied by
/// foreign keys and the parent by Oid, the default partition last. O(tables).
#[must_use]
pub fn exclusive_locks(parent: &Parent) -> Vec<Step> {
    let mut steps = Vec::new();
    for linked in parent.linked.iter().filter(|l| l.lockable || l.is_parent) {
        let target = qualified(&linked.schema, &linked.name);
        let (lock, reason) = if linked.is_parent {
            (
                Lock::AccessExclusive,
                "whoever reads or writes the parent waits for the short moment, and then sees all of it",
            )
        } else {
            (Lock::ShareRowExclusive, "the foreign key changes on this side too; taken in one order by everybody")
        };
        let only = if linked.referenced && !linked.is_parent { "" } else { "ONLY " };
        steps.push(Step::locking(format!("LOCK TABLE {only}{target} IN {} MODE", lock.sql()), lock, target, reason));
    }
    if let Some(target) = parent.default_partition() {
        let lock = Lock::AccessExclusive;
        let statement = format!("LOCK TABLE {target} IN {} MODE", lock.sql());
        steps.push(Step::locking(
            statement,
            lock,
            target,
            "the bound of the default partition changes; last, after all others",
        ));
    }
    steps
}

/// A partition that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its quoted, qualified name.
    pub name: String,
    /// Whether it is a foreign table, which the server locks for nobody who asks, and which has a DROP of its own.
    pub foreign: bool,
    /// The tables that its foreign keys refer to, in the order of Oid, quoted and qualified: those that may be locked.
    pub references: Vec<String>,
}

/// The steps that detach a partition, each wait under `lock_timeout`. O(tables).
#[must_use]
pub fn detach(parent: &Parent, leaving: &Leaving) -> Vec<Step> {
    let partition = leaving.name.as_str();
    let mut steps = exclusive_locks(parent);
    let before_default = steps.len() - usize::from(parent.default_partition().is_some());
    if !leaving.foreign {
        steps.insert(
            before_default,
            Step::locking(
                format!("LOCK TABLE {partition} IN {} MODE", Lock::AccessExclusive.sql()),
                Lock::AccessExclusive,
                partition,
                "who uses it by its own name is waited for together with the others, and not while they wait",
            ),
        );
    }
    steps.push(Step::locking(
        format!("ALTER TABLE {} DETACH PARTITION {partition}", parent.qualified()),
        Lock::AccessExclusive,
        parent.qualified(),
        "changes the catalog only",
    ));
    steps
}

/// The step that ends a detach which was interrupted. O(1).
#[must_use]
pub fn finalize(parent: &Parent, partition: &str) -> Step {
    Step::locking(
        format!("ALTER TABLE {} DETACH PARTITION {partition} FINALIZE", parent.qualified()),
        Lock::ShareUpdateExclusive,
        parent.qualified(),
        "ends a detach that was interrupted, when those who may still see the partition have ended",
    )
}

/// What is done with a partition that has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It stays as a table.
    Detach,
    /// It is dropped.
    Drop,
    /// It is moved to this schema.
    Move(String),
}

impl Expiry {
    /// Of `on_expiry` and `expired_schema`; what is not understood stays as a table. O(1).
    #[must_use]
    pub fn of(on_expiry: &str, expired_schema: Option<String>) -> Self {
        match (on_expiry, expired_schema) {
            ("drop", _) => Self::Drop,
            ("move", Some(schema)) => Self::Move(schema),
            _ => Self::Detach,
        }
    }

    /// The steps that do it to a detached table. One whose rows are archived before it is dropped is closed to writers first. O(1).
    #[must_use]
    pub fn steps(&self, leaving: &Leaving, archived: bool) -> Vec<Step> {
        let table = leaving.name.as_str();
        let (statement, reason) = match self {
            Self::Detach => return Vec::new(),
            Self::Drop if leaving.foreign => {
                (format!("DROP FOREIGN TABLE {table}"), "the period expired; the rows stay where they are kept")
            }
            Self::Drop => (format!("DROP TABLE {table}"), "the rows expired with their period"),
            Self::Move(schema) => {
                (format!("ALTER TABLE {table} SET SCHEMA {}", identifier(schema)), "expired partitions are kept there")
            }
        };
        let mut steps = Vec::new();
        if archived && *self == Self::Drop && !leaving.foreign {
            let lock = Lock::ShareRowExclusive;
            steps.push(Step::locking(
                format!("LOCK TABLE {table} IN {} MODE", lock.sql()),
                lock,
                table,
                "who has rights in the table may write to it by its name; rows that came since the archive hook are archived behind this, by the hook again",
            ));
        }
        if *self == Self::Drop {
            // By Oid, as everybody takes them: the server itself would take them as they come.
            steps.extend(leaving.references.iter().map(|referenced| {
                Step::locking(
                    format!("LOCK TABLE {referenced} IN {} MODE", Lock::AccessExclusive.sql()),
                    Lock::AccessExclusive,
                    referenced,
                    "triggers of the foreign key go from there; all who use it wait for this moment",
                )
            }));
        }
        steps.push(Step::locking(statement, Lock::AccessExclusive, table, reason));
        steps
    }
}

/// All steps for one partition that has expired; `archive` is `CALL app.hook`, say; `alone` is a call outside of a transaction block. O(tables).
#[must_use]
pub fn plan(
    parent: &Parent,
    leaving: &Leaving,
    pending: bool,
    expiry: &Expiry,
    archive: Option<&str>,
    alone: bool,
) -> Vec<Step> {
    let partition = leaving.name.as_str();
    let mut steps = Vec::new();
    if let Some(archive) = archive {
        steps.push(Step::locking(
            format!("{archive}({}::pg_catalog.regclass)", literal(partition)),
            Lock::AccessShare,
            partition,
            "the archive hook; when it fails the partition stays",
        ));
        end(&mut steps, parent, alone);
    }
    if !pending {
        if alone && parent.default.is_none() {
            steps.push(concurrently(parent, partition));
        } else {
            steps.extend(detach(parent, leaving));
        }
        end(&mut steps, parent, alone);
    }
    steps.extend(plan_rest(parent, leaving, pending, expiry, archive.is_some(), alone));
    steps
}

/// The steps that are left for a partition whose detach is pending or done; `archived` when an archive hook has got it. O(1).
#[must_use]
pub fn plan_rest(
    parent: &Parent,
    leaving: &Leaving,
    pending: bool,
    expiry: &Expiry,
    archived: bool,
    alone: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if pending {
        steps.push(finalize(parent, &leaving.name));
        end(&mut steps, parent, alone);
    }
    let last = expiry.steps(leaving, archived);
    if !last.is_empty() {
        steps.extend(last);
        end(&mut steps, parent, alone);
    }
    steps
}

/// Ends the transaction of a call that may.
fn end(steps: &mut Vec<Step>, parent: &Parent, alone: bool) {
    if alone {
        steps.push(Step::commit(parent.qualified()));
    }
}

fn concurrently(parent: &Parent, partition: &str) -> Step {
    Step::locking(
        format!("ALTER TABLE {} DETACH PARTITION {partition} CONCURRENTLY", parent.qualified()),
        Lock::ShareUpdateExclusive,
        parent.qualified(),
        "readers and writers go on; by a background worker, since it cannot run in a function",
    )
}
