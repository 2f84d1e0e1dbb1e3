//! The plan that splits a wide partition into those of single periods while others write: rows are copied beside it, changes
//! are captured meanwhile, and one short transaction puts the copies in its place.
//!
//! The wide partition cannot be made narrower bit by bit: each new bound would have to be proved by a read of all that is left,
//! under a lock that stops everybody.

use super::super::backfill::copy_rows;
use super::super::bound::Bound;
use super::super::key::Key;
use super::super::name::{identifier, literal, qualified, suffixed};
use super::super::snapshot::{Parent, Partition};
use super::super::step::{Lock, Step};
use super::convert::{Dependents, ForeignKey};
use super::copies::{self, Storage};
use super::{attach, foreign_keys, like};
use crate::error::{Condition, Error, Result};

/// A table that takes the rows of a part of the wide partition.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What tells its indexes from those of others.
    pub digits: String,
    /// Its rows.
    pub bound: Bound,
    /// Whether it stands and holds its rows since a call that was stopped.
    pub filled: bool,
}

/// What stands already, and how the parts shall be stored.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Whether changes of the wide partition are captured.
    pub captured: bool,
    /// Whether the default partition has the CHECK that says that it holds none of the rows.
    pub excluded: bool,
    /// How the rows of the wide partition are stored.
    pub storage: Storage,
    /// The table that keeps the changes, quoted and qualified, where one stands: the wide partition may have had another name.
    pub log: Option<String>,
    /// The function that writes there, quoted and qualified, with its brackets.
    pub function: Option<String>,
    /// What tells the columns, constraints and indexes of the parent from others.
    pub structure: String,
}

/// The CHECK by which the default partition is proved to hold none of the rows of the wide one, before anybody waits.
const EXCLUDED: &str = "partition_excludes_split";

/// The name of the table that keeps the changes of a partition while it is split.
#[must_use]
pub fn log_name(wide: &Partition) -> String {
    log_of(&wide.name)
}

/// The triggers by which changes are captured.
pub(super) const TRIGGERS: [&str; 2] = ["eventkit_capture", "eventkit_truncate"];

/// The name of the table that keeps the changes of a table.
#[must_use]
pub fn log_of(name: &str) -> String {
    suffixed(name, "changes")
}

/// The function of those triggers, quoted and qualified.
#[must_use]
pub fn capture_of(schema: &str, name: &str) -> String {
    qualified(schema, &suffixed(name, "capture"))
}

/// The steps of a split, `COMMIT` behind each transaction. Takes the parent, what hangs on it, the wide partition, its parts in order of time,
/// and what stands already.
///
/// Raises what [`Key::constant`] and the reader of an index raise. Linear in parts times indexes; no lock.
pub fn split(
    parent: &Parent,
    found: &Dependents,
    key: &Key,
    wide: &Partition,
    parts: &[Part],
    standing: &Standing,
) -> Result<Vec<Step>> {
    let source = wide.qualified();
    let log = standing.log.clone().unwrap_or_else(|| qualified(&wide.schema, &log_name(wide)));
    let function = standing.function.clone().unwrap_or_else(|| capture_of(&wide.schema, &wide.name) + "()");
    if let Some(foreign) = found.referencing.iter().find(|foreign| foreign.at_once) {
        return Err(proved_at_once(&source, &parent.qualified(), foreign));
    }
    let mut steps = Vec::new();
    if !standing.captured {
        steps.extend(capture(parent, &wide.schema, &wide.name, &source));
    }
    let mut like_parts = parent.clone();
    like_parts.access_method = standing.storage.method(parent);
    for part in parts.iter().rev() {
        steps.extend(fill(&like_parts, key, &source, &log, part, standing)?);
    }
    for pass in ["first", "second"] {
        for part in parts.iter().rev() {
            let child = qualified(&parent.schema, &part.name);
            let reason =
                format!("what was changed since the copy, so that little is left for the exchange; {pass} pass");
            steps.push(Step::unseen(apply(key, &log, &child, part.bound)?, &child, reason));
            if pass == "second" {
                steps.push(counted(key, &source, &child, &log, &part.bound.inside(key)?));
            }
            steps.push(Step::commit(&child));
        }
    }
    steps.extend(exclude(parent, key, wide, standing.excluded)?);
    steps.extend(exchange(parent, found, key, wide, parts, (&log, &function, &standing.structure))?);
    if parent.waiting.is_some() || found.foreign_keys.iter().any(|key| key.loose) {
        let names: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
        let keys = foreign_keys::held(parent, found, (&wide.schema, &wide.name), &names);
        steps.extend(foreign_keys::tighten(parent, &keys));
    }
    steps.extend(proofs(parent, found));
    Ok(steps)
}

/// What a split that was stopped after the exchange has left to do.
#[must_use]
pub fn finish(parent: &Parent, found: &Dependents) -> Vec<Step> {
    let name = parent.qualified();
    let mut found = found.clone();
    found.referencing.retain(ForeignKey::unproved);
    if found.referencing.is_empty() && parent.waiting.is_none() {
        return vec![Step::nothing(&name, format!("no partition of {name} holds rows of several periods"))];
    }
    let mut steps = parent.waiting.as_ref().map_or_else(Vec::new, |keys| foreign_keys::tighten(parent, keys));
    steps.extend(proofs(parent, &found));
    steps
}

/// From its end on, each change of a row of the wide partition is kept.
pub(super) fn capture(parent: &Parent, schema: &str, name: &str, source: &str) -> Vec<Step> {
    let (function, log) = (capture_of(schema, name), &qualified(schema, &log_of(name)));
    let mut steps = vec![
        Step::unseen(
            format!(
                "CREATE TABLE {log} (seq pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, added pg_catalog.bool NOT NULL, changed {source})"
            ),
            log,
            "keeps the rows that are taken away and put in while they are copied",
        ),
        Step::unseen(
            format!("COMMENT ON TABLE {log} IS {}", literal(&copies::log_mark(source))),
            log,
            "tells a later call whose it is",
        ),
        // A writer needs no right on the table of changes.
        Step::unseen(
            format!(
                "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $capture$ \
                 BEGIN \
                 IF TG_OP = 'TRUNCATE' THEN RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = pg_catalog.format('%I.%I is being split', TG_TABLE_SCHEMA, TG_TABLE_NAME), \
                 DETAIL = 'Rows are captured one by one.', HINT = 'Use DELETE, or wait until eventkit.split_partition has ended.'; END IF; \
                 IF TG_OP <> 'INSERT' THEN INSERT INTO {log} (added, changed) VALUES (false, OLD); END IF; \
                 IF TG_OP <> 'DELETE' THEN INSERT INTO {log} (added, changed) VALUES (true, NEW); END IF; \
                 RETURN NULL; END $capture$"
            ),
            &function,
            "writes with the rights of the owner, so that a writer needs none of his own",
        ),
    ];
    let mut roles: Vec<String> = parent
        .default_grantees
        .iter()
        .map(|role| role.as_deref().map_or_else(|| "PUBLIC".to_owned(), identifier))
        .collect();
    roles.dedup();
    if !roles.is_empty() {
        steps.push(Step::unseen(
            format!("REVOKE ALL ON TABLE {log} FROM {}", roles.join(", ")),
            log,
            "as closed as the rows themselves",
        ));
    }
    if parent.caller != parent.owner {
        let owner = identifier(&parent.owner);
        steps.push(Step::unseen(
            format!("ALTER TABLE {log} OWNER TO {owner}"),
            log,
            "belongs to the owner of the parent",
        ));
        steps.push(Step::unseen(
            format!("ALTER FUNCTION {function}() OWNER TO {owner}"),
            &function,
            "belongs to the owner of the parent",
        ));
    }
    for (trigger, when) in TRIGGERS.into_iter().zip(["AFTER INSERT OR UPDATE OR DELETE", "BEFORE TRUNCATE"]) {
        let each = if when.starts_with("AFTER") { "ROW" } else { "STATEMENT" };
        steps.push(Step::locking(
            format!("CREATE TRIGGER {trigger} {when} ON {source} FOR EACH {each} EXECUTE FUNCTION {function}()"),
            Lock::ShareRowExclusive,
            source,
            "waits for those who write now; whoever writes later is captured",
        ));
        steps.push(Step::locking(
            format!("ALTER TABLE {source} ENABLE ALWAYS TRIGGER {trigger}"),
            Lock::ShareRowExclusive,
            source,
            "what a subscription applies is captured too",
        ));
    }
    steps.push(Step::commit(source));
    steps
}

/// A part with its rows and indexes, attached to nothing yet. It gets no foreign key: rows that are gone since the copy would hold up
/// those who delete what they refer to.
fn fill(parent: &Parent, key: &Key, source: &str, log: &str, part: &Part, standing: &Standing) -> Result<Vec<Step>> {
    let child = qualified(&parent.schema, &part.name);
    let mut steps = Vec::new();
    if !part.filled {
        let range = part.bound.inside(key)?;
        let names: Vec<&str> = parent.columns.iter().filter(|c| !c.generated).map(|c| c.name.as_str()).collect();
        let columns = names.iter().copied().map(identifier).collect::<Vec<_>>().join(", ");
        let rows = format!("SELECT {columns} FROM {source} WHERE {range} ORDER BY {}", identifier(&key.column));
        steps.push(Step::unseen(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ".into(),
            &child,
            "rows and captured changes are seen as of one moment",
        ));
        steps.push(like::table(parent, key, part.bound, &child)?);
        steps.extend(like::closed_to_others(parent, &child));
        steps.extend(like::columns(parent, &child));
        steps.extend(standing.storage.set(&child, copies::AS_BEFORE));
        steps.push(copies::marked(&child, source, Some((part.bound, &standing.structure))));
        steps.push(Step::locking(
            copy_rows(&child, &names, &rows),
            Lock::AccessShare,
            source,
            "the period's rows in the order of the key, into a table without indexes; readers and writers go on",
        ));
        steps.push(Step::locking(
            format!("SELECT pg_catalog.count(*) FROM {source} WHERE {range}"),
            Lock::AccessShare,
            source,
            "as many rows as the same snapshot shows in the source; otherwise the period is given up",
        ));
        steps.push(Step::unseen(
            format!("DELETE FROM {log} WHERE EXISTS (SELECT FROM (SELECT (changed).*) r WHERE {range})"),
            log,
            "the changes that this moment shows are in the copy",
        ));
        steps.extend(like::indexes(parent, &part.digits, &part.name, &child)?);
        steps.extend(like::statistics(parent, &part.digits, &child));
        steps.push(Step::unseen(format!("ANALYZE {child}"), &child, "statistics are there when the first query comes"));
        steps.push(Step::commit(&child));
    }
    Ok(steps)
}

/// Applies what was captured of a part.
fn apply(key: &Key, log: &str, child: &str, bound: Bound) -> Result<String> {
    let range = bound.inside(key)?;
    Ok(format!(
        "SELECT eventkit.apply_captured({}::pg_catalog.regclass, {}::pg_catalog.regclass, {}, {})",
        literal(log),
        literal(child),
        literal(&key.column),
        literal(&range)
    ))
}

/// Sees that a copy, with what was captured since, has all rows.
pub(super) fn counted(key: &Key, source: &str, copy: &str, log: &str, range: &str) -> Step {
    let statement = format!(
        "SELECT eventkit.expect_copied({}::pg_catalog.regclass, {}::pg_catalog.regclass, {}::pg_catalog.regclass, {}, {})",
        literal(source),
        literal(copy),
        literal(log),
        literal(&key.column),
        literal(range)
    );
    Step::locking(
        statement,
        Lock::AccessShare,
        source,
        "as many rows as the source, with those captured since; otherwise changes have gone past the triggers, and it is given up",
    )
}

/// Refuses to go on when the capture was touched.
pub(super) fn still_captured(source: &str) -> Step {
    Step::unseen(
        format!("SELECT eventkit.expect_captured({}::pg_catalog.regclass)", literal(source)),
        source,
        "the triggers are as they were made: no change has gone past them",
    )
}

/// The proof that the default partition holds no row of the parts. While the wide partition is there nobody can put one in.
fn exclude(parent: &Parent, key: &Key, wide: &Partition, left: bool) -> Result<Vec<Step>> {
    let Some(default) = parent.default_partition() else { return Ok(Vec::new()) };
    let check = identifier(EXCLUDED);
    let drop = if left { format!("DROP CONSTRAINT {check}, ") } else { String::new() };
    Ok(vec![
        Step::locking(
            format!(
                "ALTER TABLE {default} {drop}ADD CONSTRAINT {check} CHECK ({}) NOT VALID",
                wide.bound.outside(key)?
            ),
            Lock::AccessExclusive,
            &default,
            "says that the default partition holds no row of the parts; no row is read",
        ),
        Step::commit(&default),
        Step::locking(
            format!("ALTER TABLE {default} VALIDATE CONSTRAINT {check}"),
            Lock::ShareUpdateExclusive,
            &default,
            "proves it in one read of the default partition while others go on, so that no attach reads it",
        ),
        Step::commit(&default),
    ])
}

/// The one short transaction in which others wait: the last changes, the wide partition out, its parts in.
fn exchange(
    parent: &Parent,
    found: &Dependents,
    key: &Key,
    wide: &Partition,
    parts: &[Part],
    (log, function, structure): (&str, &str, &str),
) -> Result<Vec<Step>> {
    let (table, source) = (parent.qualified(), wide.qualified());
    let mut steps = Vec::new();
    let exclusive =
        |statement: String, target: &str, reason: &str| Step::locking(statement, Lock::AccessExclusive, target, reason);
    let loosened = foreign_keys::loosen(found, &table);
    let mut linked: Vec<_> = parent.linked.iter().filter(|l| l.lockable || l.is_parent).collect();
    linked.sort_by_key(|linked| (!linked.is_parent, linked.referenced));
    for linked in linked {
        let target = qualified(&linked.schema, &linked.name);
        let only = if linked.referenced && !linked.is_parent { "" } else { "ONLY " };
        steps.push(exclusive(
            format!("LOCK TABLE {only}{target} IN {} MODE", Lock::AccessExclusive.sql()),
            &target,
            if linked.referenced && !linked.is_parent {
                if loosened.is_some() || parent.waiting.is_some() {
                    "the foreign key to it changes hands; no row is read"
                } else {
                    "the attach of each part checks the foreign key of all its rows: about a second for a million"
                }
            } else {
                "everybody waits for this one transaction, and sees the rows before or after it"
            },
        ));
    }
    steps.push(exclusive(
        format!("LOCK TABLE {source} IN {} MODE", Lock::AccessExclusive.sql()),
        &source,
        "nobody changes a row any more that would have to be captured",
    ));
    if let Some(target) = parent.default_partition() {
        steps.push(exclusive(
            format!("LOCK TABLE {target} IN {} MODE", Lock::AccessExclusive.sql()),
            &target,
            "the bound of the default partition changes",
        ));
    }
    steps.push(still_captured(&source));
    steps.push(Step::unseen(
        format!(
            "SELECT eventkit.expect_structure({}::pg_catalog.regclass, {}::pg_catalog.regclass, {})",
            literal(&table),
            literal(&source),
            literal(structure)
        ),
        &table,
        "columns, constraints and indexes are those that the copies were made like",
    ));
    for part in parts {
        let child = qualified(&parent.schema, &part.name);
        steps.push(Step::unseen(apply(key, log, &child, part.bound)?, &child, "the last changes"));
    }
    let holds = loosened.is_some() || parent.waiting.is_some();
    steps.extend(loosened);
    for foreign in &found.referencing {
        let other = qualified(&foreign.schema, &foreign.table);
        steps.push(exclusive(
            format!("ALTER TABLE {other} DROP CONSTRAINT {}", identifier(&foreign.name)),
            &other,
            "the server lets no partition go that rows refer to; added again below",
        ));
    }
    steps.push(exclusive(
        format!("ALTER TABLE {table} DETACH PARTITION {source}"),
        &table,
        "makes place for its parts",
    ));
    // The CHECK proves each of them.
    let mut proved = parent.clone();
    proved.default = None;
    for part in parts {
        let child = qualified(&parent.schema, &part.name);
        steps.push(copies::described(parent, &child));
        steps.extend(like::row_security(parent, &child));
        steps.extend(attach::attach(&proved, key, part.bound, &part.digits, &child)?);
        steps.extend(like::grants(parent, &child));
    }
    if let Some(default) = parent.default_partition() {
        steps.push(exclusive(
            format!("ALTER TABLE {default} DROP CONSTRAINT {}", identifier(EXCLUDED)),
            &default,
            "the bound of the default partition says the same now",
        ));
    }
    if holds {
        steps.push(foreign_keys::hold(&table, &source, "the parts have the foreign keys like the other partitions"));
    }
    for foreign in &found.referencing {
        let other = qualified(&foreign.schema, &foreign.table);
        steps.push(exclusive(
            add_back(foreign, &other),
            &other,
            if foreign.enforced {
                "holds for every change from now on, and is proved for the rest below"
            } else {
                "as it was: the server does not hold it"
            },
        ));
    }
    let drop = |statement: String, target: &str| exclusive(statement, target, "all its rows are in the parts");
    steps.push(drop(format!("DROP TABLE {log}"), log));
    steps.push(drop(format!("DROP TABLE {source}"), &source));
    steps.push(drop(format!("DROP FUNCTION {function}"), function));
    steps.push(Step::commit(&table));
    Ok(steps)
}

fn add_back(foreign: &ForeignKey, other: &str) -> String {
    format!("ALTER TABLE {other} ADD CONSTRAINT {} {}", identifier(&foreign.name), foreign.definition_unproved())
}

/// The foreign keys to the parent are proved again, and statistics gathered.
pub(super) fn proofs(parent: &Parent, found: &Dependents) -> Vec<Step> {
    let mut steps = Vec::new();
    for foreign in found.referencing.iter().filter(|key| key.enforced) {
        let other = qualified(&foreign.schema, &foreign.table);
        steps.push(Step::locking(
            format!("ALTER TABLE {other} VALIDATE CONSTRAINT {}", identifier(&foreign.name)),
            Lock::ShareUpdateExclusive,
            &other,
            "proved for the rows that were there; readers and writers go on",
        ));
        steps.push(Step::commit(other));
    }
    let table = parent.qualified();
    steps.push(Step::locking(
        format!("ANALYZE {table}"),
        Lock::ShareUpdateExclusive,
        &table,
        "statistics of the whole, which autovacuum does not gather for a partitioned table",
    ));
    steps.push(Step::commit(table));
    steps
}

/// `42809`: not a partition of the parent.
#[must_use]
pub fn not_a_partition(found: &str, parent: &str) -> Error {
    Error::new(
        Condition::WrongObjectType,
        format!("argument \"partition\": {found} is no partition of {parent} with a range"),
    )
    .detail("Only a partition that holds a range of the key can be split.".to_owned())
    .hint(format!("See them with: SELECT * FROM eventkit.partitions WHERE parent = {}::regclass.", literal(parent)))
}

/// Checks that the server has room for the locks of the exchange, which is one transaction. Takes the parts, the indexes of each, and the locks
/// that the server has room for. Raises `54000`. O(1).
pub fn room_for_locks(partition: &str, parent: &str, parts: usize, indexes: usize, room: i64) -> Result<()> {
    // Of each part the table, its indexes and the CHECK that goes.
    let needed = i64::try_from(parts.saturating_mul(indexes.saturating_add(2))).unwrap_or(i64::MAX);
    if needed <= room {
        return Ok(());
    }
    Err(Error::new(
        Condition::ProgramLimitExceeded,
        format!("partition {partition} has {parts} parts: their exchange takes about {needed} locks, and the server has room for {room}"),
    )
    .detail("All parts take their place in one transaction, so that nobody sees a row twice or not at all.")
    .hint(format!(
        "Raise max_locks_per_transaction {} times and restart the server, or split into longer periods: CALL eventkit.manage_partitions({}, period => '1 month').",
        needed.saturating_div(room.max(1)).saturating_add(1),
        literal(parent)
    )))
}

/// `0A000`: something is bound to the partition itself, which is dropped.
#[must_use]
pub fn not_carried(partition: &str, parent: &str, what: &str) -> Error {
    Error::new(
        Condition::FeatureNotSupported,
        format!("the rows of partition {partition} cannot get another place: {what} depends on it"),
    )
    .detail("The partition is dropped in the end; what is bound to it rather than to its parent cannot be carried.")
    .hint(format!("Let it depend on {parent} instead, or drop it, call again, and make it anew. To give up what was begun: SELECT eventkit.stop_capture({}).", literal(partition)))
}

/// `0A000`: a foreign key that would be proved under a lock.
fn proved_at_once(partition: &str, parent: &str, foreign: &ForeignKey) -> Error {
    let (table, key) = (qualified(&foreign.schema, &foreign.table), identifier(&foreign.name));
    Error::new(
        Condition::FeatureNotSupported,
        format!("partition {partition} cannot be split: foreign key {key} of the partitioned table {table} references {parent}"),
    )
    .detail("It has to leave for a moment and come back unproved, which the server allows for partitioned tables from version 18 on; otherwise all rows would be read under a lock that stops everybody.")
    .hint(format!("Drop it, split, and add it again: ALTER TABLE {table} DROP CONSTRAINT {key}; then ALTER TABLE {table} ADD CONSTRAINT {key} {}.", foreign.definition))
}

/// `42P07`: a name that a split or a way back needs for a while is somebody else's.
#[must_use]
pub fn name_in_use(kind: &str, name: &str, table: &str) -> Error {
    let arguments = if kind == "function" { "()" } else { "" };
    Error::new(
        Condition::DuplicateTable,
        format!("{kind} {name}{arguments} exists already and is not of this call's making"),
    )
    .detail(format!(
        "While rows of {table} are copied, the {kind} of that name is needed; what others keep there stays."
    ))
    .hint(format!(
        "Give it another name, then call again: ALTER {} {name}{arguments} RENAME TO ….",
        kind.to_uppercase()
    ))
}

/// `55000`: changes have gone past the capture, or may have.
#[must_use]
pub fn taken_apart(table: &str) -> Error {
    Error::new(Condition::ObjectNotInPrerequisiteState, format!("the capture of changes of {table} is not whole"))
        .detail("A trigger of it was disabled, changed or dropped, or what it writes to was: rows may have changed unseen since they were copied.")
        .hint(format!("Begin anew: SELECT eventkit.stop_capture({}); then call again.", literal(table)))
}

/// `55000`: the parent is not what the copies were made like.
#[must_use]
pub fn altered(parent: &str, table: &str) -> Error {
    Error::new(
        Condition::ObjectNotInPrerequisiteState,
        format!("{parent} was altered since rows of {table} were copied"),
    )
    .detail("Its columns, constraints or indexes are not those of the copies.")
    .hint(format!("Begin anew: SELECT eventkit.stop_capture({}); then call again.", literal(table)))
}

/// `0A000`: a partition that is partitioned itself.
#[must_use]
pub fn sub_partitioned(table: &str, parent: &str) -> Error {
    Error::new(Condition::FeatureNotSupported, format!("partition {table} of {parent} is partitioned itself"))
        .detail("Its own partitions would be lost in plain ones.")
        .hint(format!("Name another: SELECT * FROM eventkit.partitions WHERE parent = {}::regclass.", literal(parent)))
}

/// `55000`: another call has captures on it.
#[must_use]
pub fn captured_by_another(table: &str, other: &str) -> Error {
    Error::new(
        Condition::ObjectNotInPrerequisiteState,
        format!("changes of {other} are captured by a call that has not ended"),
    )
    .detail(format!("The rows of {table} cannot be copied for two purposes at once."))
    .hint(format!("End that call, or give it up: SELECT eventkit.stop_capture({}).", literal(other)))
}
