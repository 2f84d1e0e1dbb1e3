//! The plan that attaches a table which somebody filled: everything proved while others read and write it, the attach itself short.

use super::super::bound::Bound;
use super::super::error;
use super::super::key::Key;
use super::super::name::{identifier, literal, qualified, suffixed_apart};
use super::super::snapshot::{CheckState, Child, ChildColumn, ChildKey, Column, Parent, Partition, Policy};
use super::super::step::{Lock, Step};
use super::{BOUND_CHECK, attach, key_of, like, overlapping};
use crate::error::Result;

/// The name of the CHECK that stands for the NOT NULLs of the parent until they are set.
const NOT_NULL_CHECK: &str = "partition_not_null";

/// How the server writes a constraint of which there is nothing to prove.
const NOT_ENFORCED: &str = " NOT ENFORCED";

/// The name of the CHECK by which the default partition is proved to hold none of the rows, without a period's digits.
const ADOPTED: &str = "adopted";

/// The steps that make a table a partition for a bound, `COMMIT` between those that are transactions of their own; one step
/// without a statement when it is that partition already. Takes the bound in the key's own time, what to call it, and the
/// rows of the range in the default partition, and whether each of these transactions is one of its own.
///
/// Raises what [`key_of`] raises; `42501` for a table of somebody else, `42809` for what cannot be a partition, `42804`
/// for columns that differ, `0A000` for an identity of its own, `42P17` for a CHECK of the same name that differs and for an overlap, `23514` for rows in
/// the default partition. Linear in columns, constraints and indexes; no lock.
pub fn adopt(
    parent: &Parent,
    child: &Child,
    bound: Bound,
    label: &str,
    default_rows: i64,
    alone: bool,
) -> Result<Vec<Step>> {
    let (key, table, name) = (key_of(parent)?, parent.qualified(), child.qualified());
    let same = |p: &&Partition| p.schema == child.schema && p.name == child.name;
    if child.attached
        && let Some(found) = parent.partitions.iter().find(same)
        && !found.odd
        && found.bound == bound
    {
        return Ok(vec![Step::nothing(&name, format!("{name} is the partition of {table} for {label} already"))]);
    }
    fits(parent, child)?;
    if let Some(other) = overlapping(parent, bound) {
        return Err(error::overlap(label, &other.qualified(), &table));
    }
    if let Some(default) = parent.default_partition()
        && default_rows > 0
    {
        return Err(error::default_holds_rows(label, &default, default_rows, &bound.inside(key)?));
    }
    let mut steps = proofs(child, key, bound, &name)?;
    steps.extend(indexes(parent, child, &name)?);
    steps.push(Step::locking(
        format!("ANALYZE {name}"),
        Lock::ShareUpdateExclusive,
        &name,
        "statistics are there when the first query comes; its readers and writers go on",
    ));
    steps.push(Step::commit(&name));
    let proved = alone && proved_before(parent, child);
    if proved {
        steps.extend(foreign_keys(child, &name));
    }
    let taken_over = |schema: &str, table: &str| {
        let mut keys = child.foreign_keys.iter().filter(|key| key.schema == schema && key.table == table);
        keys.any(|key| proved || key.state == CheckState::There || left_over(key))
    };
    steps.extend(attach::locks(parent, &table, taken_over));
    steps.push(Step::locking(
        format!("LOCK TABLE {name} IN {} MODE", Lock::AccessExclusive.sql()),
        Lock::AccessExclusive,
        &name,
        "the table becomes a partition; last, so that nobody waits for it while others are waited for",
    ));
    steps.extend(properties(parent, child, &name));
    for key in &child.foreign_keys {
        let quoted = identifier(&key.name);
        let (statement, reason) = if !proved && left_over(key) {
            (
                format!("ALTER TABLE {name} DROP CONSTRAINT {quoted}"),
                "left by a call that was stopped; the attach makes its own",
            )
        } else if key.marked || proved && key.state == CheckState::Missing {
            (format!("COMMENT ON CONSTRAINT {quoted} ON {name} IS NULL"), "the foreign key is the parent's from now on")
        } else {
            continue;
        };
        steps.push(Step::unseen(statement, &name, reason));
    }
    steps.extend(attach::attach_by_itself(parent, key, bound, ADOPTED, &name)?);
    if parent.publications.iter().any(|publication| publication.inserts) {
        steps.push(Step::unseen(
            format!(
                "SELECT eventkit.warn_unsent_rows({}::pg_catalog.regclass, {}::pg_catalog.regclass)",
                literal(&table),
                literal(&name)
            ),
            &name,
            "the parent is published: rows that are in the table already are sent to no subscriber; says so if there are any",
        ));
    }
    steps.push(Step::commit(&name));
    // Here others see the table, unlike one that is made.
    for step in &mut steps {
        if step.lock.is_none() && step.target == name && step.statement.as_deref() != Some("COMMIT") {
            step.lock = Some(Lock::AccessExclusive);
        }
    }
    Ok(steps)
}

/// Refuses a table that cannot be attached as it is.
fn fits(parent: &Parent, child: &Child) -> Result<()> {
    let (name, table) = (child.qualified(), parent.qualified());
    if let Some(found) = &child.refusal {
        return Err(error::child_kind(&name, found));
    }
    if !child.caller_owns {
        return Err(error::child_not_owned(&name, &identifier(&parent.caller), &identifier(&child.owner)));
    }
    if let Some(constraint) = child.in_the_way.first() {
        return Err(error::constraint_in_the_way(&name, &identifier(constraint)));
    }
    if child.less_kept {
        return Err(error::child_unlogged(&name, &table));
    }
    if let Some(column) = child.extra.first() {
        return Err(error::child_column_extra(&name, &identifier(column), &table));
    }
    if let Some(column) = child.missing.first() {
        return Err(error::child_column_missing(&name, &identifier(column), &table));
    }
    if let Some((column, found, wanted)) = child.different.first() {
        return Err(error::child_column_type(&name, &identifier(column), found, wanted));
    }
    if let Some(column) = child.identity.first() {
        return Err(error::child_identity(&name, &identifier(column)));
    }
    if let Some(check) = child.checks.iter().find(|check| check.state == CheckState::Different) {
        return Err(error::child_check(&name, &identifier(&check.name), &check.definition));
    }
    Ok(())
}

/// The CHECKs that spare the attach every scan: added without a look at the rows, then proved while others go on.
fn proofs(child: &Child, key: &Key, bound: Bound, name: &str) -> Result<Vec<Step>> {
    let exclusive = |statement: String, reason: &str| Step::locking(statement, Lock::AccessExclusive, name, reason);
    let mut steps: Vec<Step> = child
        .left_over
        .iter()
        .map(|left| {
            exclusive(
                format!("ALTER TABLE {name} DROP CONSTRAINT {}", identifier(left)),
                "left by a call that was stopped",
            )
        })
        .collect();
    let add = |constraint: &str, definition: &str| {
        let definition = definition.trim_end_matches(" NOT VALID");
        let unproven = if definition.ends_with(NOT_ENFORCED) { "" } else { " NOT VALID" };
        format!("ALTER TABLE {name} ADD CONSTRAINT {} {definition}{unproven}", identifier(constraint))
    };
    let bound = format!("CHECK ({})", bound.check(key)?);
    steps.push(exclusive(add(BOUND_CHECK, &bound), "equals the bound; no row is read, new ones are checked"));
    let mut unproven = vec![BOUND_CHECK];
    let not_null: Vec<String> =
        child.nullable.iter().map(|column| format!("{} IS NOT NULL", identifier(column))).collect();
    if !not_null.is_empty() {
        let check = format!("CHECK ({})", not_null.join(" AND "));
        steps.push(exclusive(add(NOT_NULL_CHECK, &check), "columns that are NOT NULL in the parent"));
        unproven.push(NOT_NULL_CHECK);
    }
    for check in &child.checks {
        if check.state == CheckState::Missing {
            steps.push(exclusive(add(&check.name, &check.definition), "a CHECK of the parent"));
        }
        if check.state != CheckState::There && !check.definition.ends_with(NOT_ENFORCED) {
            unproven.push(&check.name);
        }
    }
    steps.push(Step::commit(name));
    for constraint in unproven {
        steps.push(Step::locking(
            format!("ALTER TABLE {name} VALIDATE CONSTRAINT {}", identifier(constraint)),
            Lock::ShareUpdateExclusive,
            name,
            "proved in one read of the table; its readers and writers go on",
        ));
        steps.push(Step::commit(name));
    }
    if !child.nullable.is_empty() {
        for column in &child.nullable {
            steps.push(exclusive(
                format!("ALTER TABLE {name} ALTER COLUMN {} SET NOT NULL", identifier(column)),
                "as in the parent; the CHECK proves it, no row is read",
            ));
        }
        steps.push(exclusive(
            format!("ALTER TABLE {name} DROP CONSTRAINT {}", identifier(NOT_NULL_CHECK)),
            "NOT NULL says the same now",
        ));
        steps.push(Step::commit(name));
    }
    Ok(steps)
}

/// The indexes that the attach would build otherwise, each in a transaction of its own.
fn indexes(parent: &Parent, child: &Child, name: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut taken: Vec<String> = child.indexes.iter().map(|index| index.name.clone()).collect();
    for (number, index) in (1..).zip(&parent.indexes) {
        let found = child.indexes.iter().find(|found| found.parent == index.name);
        let made =
            found.map_or_else(|| suffixed_apart(&child.name, &format!("index_{number}"), &taken), |f| f.name.clone());
        taken.push(made.clone());
        let build = like::index(index, &made, &qualified(&child.schema, &made), name, parent)?;
        let constrained = found.is_some_and(|found| found.constrained);
        let missing = build.into_iter().filter(|step| {
            let makes = step.statement.as_deref().is_some_and(|s| s.starts_with("CREATE "));
            let constrains = step.statement.as_deref().is_some_and(|s| s.contains(" ADD CONSTRAINT "));
            if constrains { !constrained } else { !makes || found.is_none() }
        });
        let missing: Vec<Step> = if found.is_some() && (constrained || index.constraint.is_none()) {
            missing.filter(|step| step.statement.as_deref().is_some_and(|s| s.contains(" REPLICA IDENTITY "))).collect()
        } else {
            missing.collect()
        };
        for mut step in missing {
            if step.statement.as_deref().is_some_and(|s| s.starts_with("CREATE ")) {
                step.lock = Some(Lock::Share);
                step.reason =
                    "an index equal to the parent's, so that the attach builds none; writers of the table wait \
                               (make it before with CREATE INDEX CONCURRENTLY, and none does)"
                        .into();
            }
            steps.push(step);
        }
        if steps.last().is_some_and(|step| step.statement.as_deref() != Some("COMMIT")) {
            steps.push(Step::commit(name));
        }
    }
    Ok(steps)
}

/// Whether the foreign keys of the parent are proved before the attach. Left to it, the check of all rows holds up who writes to a referenced
/// table; proved before, the attach stops its readers as well, for a moment, and each of its partitions costs a constraint: worth it
/// for a big table that refers to few, where the moment ends with a transaction of its own, by a caller who may make such a key.
fn proved_before(parent: &Parent, child: &Child) -> bool {
    const BIG: i64 = 16 << 20;
    const FEW: i64 = 64;
    child.bytes >= BIG
        && parent.waiting.is_none()
        && !child.foreign_keys.is_empty()
        && child.foreign_keys.iter().all(|key| {
            key.tables <= FEW && key.state != CheckState::Different && (key.allowed || key.state != CheckState::Missing)
        })
}

/// Whether a key is what a call that was stopped has added and not proved.
fn left_over(key: &ChildKey) -> bool {
    key.marked && key.state == CheckState::Unproven
}

/// The foreign keys of the parent, added without a look at the rows, then proved while others go on.
fn foreign_keys(child: &Child, name: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let waiting = || child.foreign_keys.iter().filter(|key| key.state != CheckState::There);
    for key in waiting().filter(|key| key.state == CheckState::Missing) {
        let (quoted, referenced) = (identifier(&key.name), qualified(&key.schema, &key.table));
        steps.push(Step::locking(
            format!("ALTER TABLE {name} ADD CONSTRAINT {quoted} {} NOT VALID", key.definition),
            Lock::ShareRowExclusive,
            &referenced,
            "the foreign key of the parent; no row is read, writers of the referenced table wait for a moment",
        ));
        steps.push(Step::locking(
            format!("COMMENT ON CONSTRAINT {quoted} ON {name} IS 'waits for eventkit.attach_partition'"),
            Lock::ShareUpdateExclusive,
            name,
            "tells whose it is, should this be stopped",
        ));
        steps.push(Step::commit(name));
    }
    for key in waiting() {
        steps.push(Step::locking(
            format!("ALTER TABLE {name} VALIDATE CONSTRAINT {}", identifier(&key.name)),
            Lock::ShareUpdateExclusive,
            name,
            "the rows are proved while readers and writers of both tables go on: the attach need not",
        ));
        steps.push(Step::commit(name));
    }
    steps
}

/// What the table takes over from the parent beside CHECKs and indexes: owner, columns, statistics, row-level security, replica
/// identity, rights. What it has of its own stays, but for a policy that has the name of one of the parent's and says something else.
fn properties(parent: &Parent, child: &Child, name: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if child.owner != parent.owner {
        steps.push(Step::unseen(
            format!("ALTER TABLE {name} OWNER TO {}", identifier(&parent.owner)),
            name,
            "a partition belongs to the owner of its parent",
        ));
    }
    let mut wanted = parent.clone();
    wanted.comment = wanted.comment.filter(|_| child.comment.is_none());
    wanted.columns.clear();
    steps.extend(like::columns(&wanted, name));
    steps.extend(child.columns.iter().flat_map(|column| of_column(column, name)));
    wanted.statistics.retain(|statistics| !child.statistics.contains(&statistics.name));
    steps.extend(like::statistics(&wanted, &child.name, name));
    wanted.row_security &= !child.row_security;
    wanted.force_row_security &= !child.force_row_security;
    // Policies that cannot be carried leave the table closed.
    if wanted.policies.iter().all(|policy| !policy.correlated) {
        wanted.policies.retain(|policy| !child.policies.contains(policy));
        let differs = |policy: &&Policy| child.policies.iter().any(|found| found.name == policy.name);
        steps.extend(wanted.policies.iter().filter(differs).map(|policy| {
            Step::unseen(
                format!("DROP POLICY {} ON {name}", identifier(&policy.name)),
                name,
                "it says something else than the policy of that name of the parent",
            )
        }));
    }
    steps.extend(like::row_security(&wanted, name));
    if parent.replica_identity != child.replica_identity {
        steps.extend(like::replica_identity(parent, name));
    }
    wanted.grants.retain(|grant| !child.grants.contains(grant));
    steps.extend(like::grants(&wanted, name));
    steps
}

/// What a column takes over from the parent's.
fn of_column(column: &ChildColumn, name: &str) -> Vec<Step> {
    let quoted = identifier(&column.name);
    let alter = |change: String| {
        Step::unseen(format!("ALTER TABLE {name} ALTER COLUMN {quoted} {change}"), name, "as in the parent")
    };
    let mut steps: Vec<Step> = [
        column.default.as_ref().map(|default| format!("SET DEFAULT {default}")),
        column.storage.as_ref().map(|storage| format!("SET STORAGE {storage}")),
        column.compression.as_ref().map(|compression| format!("SET COMPRESSION {compression}")),
    ]
    .into_iter()
    .flatten()
    .map(alter)
    .collect();
    let settings = Column {
        name: column.name.clone(),
        generated: false,
        statistics: column.statistics,
        options: column.options.clone(),
    };
    steps.extend(like::column_settings(&settings, name));
    steps.extend(column.comment.as_ref().map(|comment| {
        let statement = format!("COMMENT ON COLUMN {name}.{quoted} IS {}", literal(comment));
        Step::unseen(statement, name, "described as in the parent")
    }));
    steps
}
