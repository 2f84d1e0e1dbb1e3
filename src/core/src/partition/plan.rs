//! The plan of one day: from a plain table that nobody sees to an attached partition, in the order that never blocks.

use super::backfill;
use super::bound::{Bound, Key};
use super::calendar::{Calendar, Day};
use super::error;
use super::name::{identifier, qualified, suffixed, suffixed_apart};
use super::snapshot::{Column, Grant, Index, Parent, Policy, Refusal, Source};
use super::step::{Lock, Step};
use crate::error::Result;

/// The name of the CHECK that stands for the bound until the attach.
const BOUND_CHECK: &str = "partition_bound";

/// What is found in the database beside the catalog snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// A relation with the partition's name exists.
    pub name_taken: bool,
    /// Rows of the day in the default partition.
    pub default_rows: i64,
}

/// The day's name: that of the parent and the day's digits, cut to fit. O(n).
#[must_use]
pub fn partition_name(parent: &Parent, day: Day) -> String {
    suffixed(&parent.name, &day.digits())
}

/// The key of a parent on which days can be made by this caller.
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
                    "Make days on the table above: CALL eventkit.create_partition('{}', current_date).",
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

/// The bound of a day: a UTC day, whatever the session's settings. Raises `22008` outside of the supported years. O(1).
pub fn bound_of(day: Day) -> Result<Bound> {
    let (from, to) = Calendar::utc().range_of(day)?;
    Ok(Bound { from, to })
}

/// The query that counts the day's rows in the default partition; `None` without one. Errors as [`key_of`]. O(1).
pub fn default_rows_query(parent: &Parent, day: Day) -> Result<Option<String>> {
    let (key, bound) = (key_of(parent)?, bound_of(day)?);
    let Some(default) = parent.default_partition() else { return Ok(None) };
    Ok(Some(format!("SELECT pg_catalog.count(*) FROM {} WHERE {}", default.qualified(), bound.inside(key)?)))
}

/// The steps that make and attach an empty partition for a day; one step without a statement when it exists.
///
/// Raises what [`key_of`] raises, `42P07` for a stranger with the partition's name, `42P17` for an overlap, `23514`
/// when the default partition holds rows of the day. Linear in columns, indexes, partitions and grants; no lock.
pub fn create(parent: &Parent, day: Day, found: Found) -> Result<Vec<Step>> {
    let (_, bound) = (key_of(parent)?, bound_of(day)?);
    if let Some(same) = parent.partitions.iter().find(|p| !p.default && p.bound() == bound) {
        let name = same.qualified();
        let reason = format!("partition {name} of {} holds {day} already", parent.qualified());
        return Ok(vec![Step::nothing(name, reason)]);
    }
    if let Some(other) = parent.partitions.iter().find(|p| !p.default && p.bound().overlaps(bound)) {
        return Err(error::overlap(&day.to_string(), &other.qualified(), &parent.qualified()));
    }
    day_steps(parent, None, day, found)
}

/// The steps that move a day of the source into a partition of its own; one step without a statement when a
/// partition covers a part of the day already.
///
/// Raises what [`create`] raises (but for the overlap) and what [`backfill::copied_columns`] raises. Linear as [`create`]; no lock.
pub fn backfill_day(parent: &Parent, source: &Source, day: Day, found: Found) -> Result<Vec<Step>> {
    let (_, bound) = (key_of(parent)?, bound_of(day)?);
    backfill::copied_columns(parent, source)?;
    if let Some(other) = parent.partitions.iter().find(|p| !p.default && p.bound().overlaps(bound)) {
        let name = other.qualified();
        let reason = format!("{day} is left as it is: partition {name} of {} covers it", parent.qualified());
        return Ok(vec![Step::nothing(name, reason)]);
    }
    day_steps(parent, Some(source), day, found)
}

/// All steps of a day that has no partition yet.
fn day_steps(parent: &Parent, source: Option<&Source>, day: Day, found: Found) -> Result<Vec<Step>> {
    let (key, bound, table) = (key_of(parent)?, bound_of(day)?, parent.qualified());
    let name = partition_name(parent, day);
    let child = qualified(&parent.schema, &name);
    if found.name_taken {
        return Err(error::name_taken(&child, &table));
    }
    if let Some(default) = parent.default_partition()
        && found.default_rows > 0
    {
        let range = bound.inside(key)?;
        return Err(error::default_holds_rows(&day.to_string(), &default.qualified(), found.default_rows, &range));
    }
    let mut steps = vec![table_like_parent(parent, key, bound, &child)?];
    steps.extend(closed_to_others(parent, &child));
    steps.extend(parent.columns.iter().flat_map(|column| column_settings(column, &child)));
    if let Some(source) = source {
        steps.extend(backfill::copy_steps(parent, source, key, bound, &child)?);
    }
    steps.extend(indexes(parent, day, &child)?);
    steps.extend(row_security(parent, &child));
    steps.push(Step::unseen(
        format!("ANALYZE {child}"),
        &child,
        "statistics are there when the first query comes; before the locks, so that nobody waits for it",
    ));
    steps.extend(locks(parent, &table));
    steps.extend(attach(parent, key, bound, day, &child)?);
    steps.extend(grants(parent, &child));
    Ok(steps)
}

fn table_like_parent(parent: &Parent, key: &Key, bound: Bound, child: &str) -> Result<Step> {
    let table = parent.qualified();
    let method = parent.access_method.as_ref().map(|m| format!(" USING {}", identifier(m))).unwrap_or_default();
    let space = parent.tablespace.as_ref().map(|t| format!(" TABLESPACE {}", identifier(t))).unwrap_or_default();
    // No identity: it is the parent's alone. No indexes: they come after the rows.
    let statement = format!(
        "CREATE TABLE {child} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED \
         INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS INCLUDING STATISTICS, \
         CONSTRAINT {} CHECK ({})){method}{space}",
        identifier(BOUND_CHECK),
        bound.check(key)?
    );
    Ok(Step::locking(
        statement,
        Lock::AccessShare,
        table,
        "a plain table like the parent; its CHECK equals the bound, so that the rows prove it while they are loaded",
    ))
}

fn closed_to_others(parent: &Parent, child: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if parent.caller != parent.owner {
        steps.push(Step::unseen(
            format!("ALTER TABLE {child} OWNER TO {}", identifier(&parent.owner)),
            child,
            "a partition belongs to the owner of its parent, whoever makes it",
        ));
    }
    if !parent.default_grantees.is_empty() {
        let roles: Vec<String> = parent.default_grantees.iter().map(|r| role(r.as_deref())).collect();
        steps.push(Step::unseen(
            format!("REVOKE ALL ON TABLE {child} FROM {}", roles.join(", ")),
            child,
            "default privileges do not open a partition that the parent keeps closed",
        ));
    }
    steps
}

fn column_settings(column: &Column, child: &str) -> Vec<Step> {
    let name = identifier(&column.name);
    let reason = "statistics are gathered as on the parent";
    let target = column.statistics.map(|target| {
        Step::unseen(format!("ALTER TABLE {child} ALTER COLUMN {name} SET STATISTICS {target}"), child, reason)
    });
    let options: Vec<String> = column
        .options
        .iter()
        .filter_map(|option| option.split_once('='))
        .map(|(option, value)| format!("{} = {}", identifier(option), super::name::literal(value)))
        .collect();
    let options = (!options.is_empty()).then(|| {
        Step::unseen(format!("ALTER TABLE {child} ALTER COLUMN {name} SET ({})", options.join(", ")), child, reason)
    });
    target.into_iter().chain(options).collect()
}

fn indexes(parent: &Parent, day: Day, child: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut taken = vec![partition_name(parent, day)];
    for index in &parent.indexes {
        let name = suffixed_apart(&index.name, &day.digits(), &taken);
        steps.extend(index_steps(parent, index, &name, child)?);
        taken.push(name);
    }
    match parent.replica_identity.as_str() {
        "f" => steps.push(Step::unseen(
            format!("ALTER TABLE {child} REPLICA IDENTITY FULL"),
            child,
            "replica identity as on the parent",
        )),
        "n" => steps.push(Step::unseen(
            format!("ALTER TABLE {child} REPLICA IDENTITY NOTHING"),
            child,
            "replica identity as on the parent",
        )),
        _ => {}
    }
    Ok(steps)
}

fn index_steps(parent: &Parent, index: &Index, name: &str, child: &str) -> Result<Vec<Step>> {
    let quoted = identifier(name);
    let mut steps = Vec::new();
    let space = index.tablespace.as_ref().map(|space| {
        (
            format!("SET LOCAL default_tablespace TO {}", identifier(space)),
            "SET LOCAL default_tablespace TO ''".to_owned(),
        )
    });
    let place = "the index lies where the parent's does";
    if let Some((enter, _)) = &space {
        steps.push(Step::unseen(enter.clone(), child, place));
    }
    if let Some(IndexForm::Definition(definition)) = form(index) {
        steps.push(Step::unseen(
            format!("ALTER TABLE {child} ADD CONSTRAINT {quoted} {definition}"),
            child,
            "the constraint of the parent, after the rows, so that the attach builds nothing",
        ));
    } else {
        let definition = index
            .definition
            .as_ref()
            .ok_or_else(|| error::unreadable_index(&qualified(&parent.schema, &index.name), &parent.qualified()))?;
        let unique = if index.unique { "UNIQUE " } else { "" };
        steps.push(Step::unseen(
            format!("CREATE {unique}INDEX {quoted} ON {child} {definition}"),
            child,
            "an index equal to the parent's, after the rows, so that the attach builds none",
        ));
    }
    if let Some(IndexForm::FromIndex(kind, when)) = form(index) {
        steps.push(Step::unseen(
            format!("ALTER TABLE {child} ADD CONSTRAINT {quoted} {kind} USING INDEX {quoted}{when}"),
            child,
            "the constraint of the parent, on the finished index",
        ));
    }
    if let Some((_, leave)) = space {
        steps.push(Step::unseen(leave, child, place));
    }
    if index.replica_identity {
        steps.push(Step::unseen(
            format!("ALTER TABLE {child} REPLICA IDENTITY USING INDEX {quoted}"),
            child,
            "replica identity as on the parent",
        ));
    }
    Ok(steps)
}

/// How the constraint of an index is made.
enum IndexForm<'a> {
    FromIndex(&'a str, &'static str),
    Definition(&'a str),
}

fn form(index: &Index) -> Option<IndexForm<'_>> {
    let constraint = index.constraint.as_ref()?;
    let when = match (constraint.deferrable, constraint.deferred) {
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        _ => "",
    };
    Some(match &constraint.from_index {
        Some(kind) => IndexForm::FromIndex(kind, when),
        None => IndexForm::Definition(&constraint.definition),
    })
}

fn row_security(parent: &Parent, child: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if parent.row_security {
        steps.push(Step::unseen(
            format!("ALTER TABLE {child} ENABLE ROW LEVEL SECURITY"),
            child,
            if policies_fit(parent) {
                "the policies of the parent hold for a partition named directly"
            } else {
                "a subquery of a policy refers to the parent by name and cannot be carried: a partition named directly is \
                 closed to all but its owner"
            },
        ));
    }
    if parent.force_row_security {
        steps.push(Step::unseen(
            format!("ALTER TABLE {child} FORCE ROW LEVEL SECURITY"),
            child,
            "the policies bind the owner, as on the parent",
        ));
    }
    // A restrictive policy that cannot be carried would leave its table too open: then none is, and no right is either.
    if policies_fit(parent) {
        steps.extend(parent.policies.iter().map(|policy| policy_step(policy, child)));
    }
    steps
}

fn policies_fit(parent: &Parent) -> bool {
    parent.policies.iter().all(|policy| !policy.correlated)
}

fn policy_step(policy: &Policy, child: &str) -> Step {
    let kind = if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
    let roles: Vec<String> = policy.roles.iter().map(|r| role(r.as_deref())).collect();
    let using = policy.using.as_ref().map(|e| format!(" USING ({e})")).unwrap_or_default();
    let check = policy.check.as_ref().map(|e| format!(" WITH CHECK ({e})")).unwrap_or_default();
    Step::unseen(
        format!(
            "CREATE POLICY {} ON {child} AS {kind} FOR {} TO {}{using}{check}",
            identifier(&policy.name),
            policy.command,
            roles.join(", ")
        ),
        child,
        "a policy of the parent",
    )
}

fn locks(parent: &Parent, table: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for linked in parent.linked.iter().filter(|l| l.lockable || l.is_parent) {
        let target = qualified(&linked.schema, &linked.name);
        let lock =
            if linked.referenced || linked.referencing { Lock::ShareRowExclusive } else { Lock::ShareUpdateExclusive };
        // A referenced table is locked with its partitions, as the attach does; a referencing one alone.
        let only = if linked.referenced && !linked.is_parent { "" } else { "ONLY " };
        let reason = if linked.is_parent {
            "readers and writers of the parent go on; taken before the attach, in one order by everybody"
        } else if linked.referenced {
            "the attach checks the foreign key of all new rows; writers of the referenced table wait meanwhile"
        } else {
            "the attach lets a foreign key refer to the new partition; writers of the referencing table wait meanwhile"
        };
        steps.push(Step::locking(format!("LOCK TABLE {only}{target} IN {} MODE", lock.sql()), lock, target, reason));
    }
    if let Some(default) = parent.default_partition() {
        let target = default.qualified();
        let lock = Lock::AccessExclusive;
        let reason = format!("the bound of the default partition of {table} changes; last, after all others");
        steps.push(Step::locking(format!("LOCK TABLE {target} IN {} MODE", lock.sql()), lock, target, reason));
    }
    steps
}

fn attach(parent: &Parent, key: &Key, bound: Bound, day: Day, child: &str) -> Result<Vec<Step>> {
    let table = parent.qualified();
    let excluded = identifier(&suffixed("partition_excludes", &day.digits()));
    let mut steps = Vec::new();
    let default = parent.default_partition().map(super::snapshot::Partition::qualified);
    if let Some(default) = &default {
        steps.push(Step::locking(
            format!("ALTER TABLE {default} ADD CONSTRAINT {excluded} CHECK ({}) NOT VALID", bound.outside(key)?),
            Lock::AccessExclusive,
            default,
            "says that the default partition holds no row of the day",
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

fn grants(parent: &Parent, child: &str) -> Vec<Step> {
    if !policies_fit(parent) {
        return Vec::new();
    }
    parent.grants.iter().map(|grant| grant_step(grant, child)).collect()
}

fn grant_step(grant: &Grant, child: &str) -> Step {
    let column = grant.column.as_ref().map(|c| format!(" ({})", identifier(c))).unwrap_or_default();
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    Step::unseen(
        format!("GRANT {}{column} ON TABLE {child} TO {}{option}", grant.privilege, role(grant.role.as_deref())),
        child,
        "the rights that the parent gives",
    )
}

fn role(name: Option<&str>) -> String {
    name.map_or_else(|| "PUBLIC".to_owned(), identifier)
}

#[cfg(test)]
mod tests;
