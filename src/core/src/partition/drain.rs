//! The plan by which rows of one period leave the default partition for a partition of their own, nobody ever seeing a wrong count.
//!
//! A reader who finds the default partition locked has chosen his partitions already, without the new one; so the
//! parent itself is locked first, for the moment of the move. A big period is copied before that moment: rows of
//! transactions that had ended by then cannot change but by vanishing, which their number shows.

use super::bound::Bound;
use super::error;
use super::name::{identifier, literal, qualified};
use super::period::Period;
use super::plan::{self, Found, key_of, partition_name};
use super::retire::exclusive_locks;
use super::snapshot::Parent;
use super::step::{Lock, Step};
use crate::error::Result;
use serde::Deserialize;

/// A trigger of the user's on the default partition that a DELETE would fire.
#[derive(Clone, Debug, Deserialize)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Whether it fires in replicas too.
    pub always: bool,
}

/// The setting that holds from which transaction on rows count as late.
const SINCE: &str = "eventkit.drain_since";

/// The steps that move the rows of a period out of the default partition; one step without a statement when there is a
/// partition for it or no default partition.
///
/// Takes the triggers to keep quiet, the foreign keys (quoted, qualified) that are proved at the end of a transaction unless told
/// otherwise, and whether rows are copied before the lock. Raises what [`plan::create`] raises but
/// for rows in the default partition, and `55000` when subscribers would be sent the deletes alone. Linear in columns, indexes and grants; no lock.
pub fn period(
    parent: &Parent,
    period: &Period,
    found: Found,
    quiet: &[Trigger],
    deferred: &[String],
    copy_first: bool,
) -> Result<Vec<Step>> {
    let rests = plan::rests(parent, period)?;
    if let ([_, _, ..], Some(other)) = (rests.as_slice(), parent.partitions.first()) {
        // Rows that go to several partitions are no one step.
        return Err(error::overlap(&period.label, &other.qualified(), &parent.qualified()));
    }
    let steps = plan::create(parent, period, Found { default_rows: 0, ..found })?;
    let Some(default) = parent.default_partition().filter(|_| steps.iter().all(|s| s.statement.is_some())) else {
        return Ok(vec![Step::nothing(parent.qualified(), format!("no row of {} to move", period.label))]);
    };
    if let Some(publication) = parent.publications.iter().find(|p| p.deletes) {
        return Err(error::drain_is_published(&parent.qualified(), publication));
    }
    let key = key_of(parent)?;
    let inside = Bound::of(period, key).inside(key)?;
    let child = qualified(&parent.schema, &partition_name(parent, rests.first().unwrap_or(period)));
    let columns: Vec<String> = parent.columns.iter().filter(|c| !c.generated).map(|c| identifier(&c.name)).collect();
    let columns = columns.join(", ");
    let (order, age) = (identifier(&key.column), "OPERATOR(pg_catalog.>) pg_catalog.age(pg_catalog.current_setting(");
    let settled = format!("pg_catalog.age(xmin) {age}{})::pg_catalog.xid)", literal(SINCE));
    let insert = |which: &str| {
        format!(
            "INSERT INTO {child} ({columns}) SELECT {columns} FROM ONLY {default} WHERE {inside}{which} ORDER BY {order}"
        )
    };
    let is_lock = |step: &Step| step.statement.as_ref().is_some_and(|s| s.starts_with("LOCK TABLE "));
    let is_build = |step: &Step| {
        step.statement.as_ref().is_some_and(|s| {
            s.starts_with("CREATE INDEX ")
                || s.starts_with("CREATE UNIQUE INDEX ")
                || s.starts_with("ANALYZE ")
                || s.contains("ROW LEVEL SECURITY")
                || s.contains(" ADD CONSTRAINT ")
        })
    };
    let table = parent.qualified();
    let mut moved = vec![Step::locking(
        format!("LOCK TABLE ONLY {table} IN {} MODE", Lock::AccessShare.sql()),
        Lock::AccessShare,
        &table,
        "before the default partition, as whoever alters the parent takes them",
    )];
    let (mut copied, mut locked) = (!copy_first, false);
    for step in steps {
        if !copied && (is_build(&step) || is_lock(&step)) {
            copied = true;
            moved.push(Step::unseen(
                format!("SELECT pg_catalog.set_config({}, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid::pg_catalog.text, true)", literal(SINCE)),
                &child,
                "rows of transactions from this one on are moved under the lock",
            ));
            moved.push(Step::locking(
                insert(&format!(" AND {settled}")),
                Lock::AccessShare,
                &default,
                "most rows, while others read and write; they stay in the default partition until the lock",
            ));
        }
        if is_lock(&step) {
            if !locked {
                locked = true;
                moved.extend(exclusive_locks(parent));
                let waiting = |mode: &str, reason: &str| {
                    let names = deferred.join(", ");
                    (!names.is_empty()).then(|| {
                        Step::locking(format!("SET CONSTRAINTS {names} {mode}"), Lock::AccessShare, &default, reason)
                    })
                };
                moved.extend(waiting(
                    "IMMEDIATE",
                    "no row that a key needs is moved, so that nothing has to wait for the end of the transaction",
                ));
                moved.extend(under_lock(parent, &default, &inside, quiet, copy_first.then_some(&settled), &insert));
                moved.extend(waiting("DEFERRED", "as it was"));
            }
        } else {
            moved.push(step);
        }
    }
    Ok(moved)
}

/// The move itself, while nobody reads or writes the parent.
fn under_lock(
    parent: &Parent,
    default: &str,
    inside: &str,
    quiet: &[Trigger],
    settled: Option<&String>,
    insert: &dyn Fn(&str) -> String,
) -> Vec<Step> {
    let exclusive = |statement: String, reason: &str| Step::locking(statement, Lock::AccessExclusive, default, reason);
    let mut steps = Vec::new();
    if parent.linked.iter().any(|l| l.referencing) {
        steps.push(exclusive(
            format!(
                "SELECT eventkit.check_unreferenced({}::pg_catalog.regclass, {}::pg_catalog.regclass, {})",
                literal(&parent.qualified()),
                literal(default),
                literal(inside)
            ),
            "a row that a foreign key needs cannot be deleted, not even to be put elsewhere",
        ));
    }
    let each = |verb: &dyn Fn(&Trigger) -> &'static str, reason: &str| -> Vec<Step> {
        let alter = |t: &Trigger| format!("ALTER TABLE {default} {} TRIGGER {}", verb(t), identifier(&t.name));
        quiet.iter().map(|t| exclusive(alter(t), reason)).collect()
    };
    steps.extend(each(&|_| "DISABLE", "a row that moves is not deleted for the user"));
    let late = settled.map(|s| format!(" AND ({s}) IS NOT TRUE")).unwrap_or_default();
    steps.push(exclusive(
        insert(&late),
        if settled.is_some() { "the rows that came since" } else { "the rows of the period" },
    ));
    steps.push(exclusive(format!("DELETE FROM ONLY {default} WHERE {inside}"), "the same rows, in the same moment"));
    steps.extend(each(&|t| if t.always { "ENABLE ALWAYS" } else { "ENABLE" }, "as it was"));
    steps
}
