//! The plan that gives a plain table back: all rows are copied beside the partitions, changes are captured meanwhile, and the
//! plain table takes over the name and what hangs on it in one short transaction.

use super::super::key::Key;
use super::super::name::{identifier, literal, qualified, suffixed, suffixed_apart};
use super::super::snapshot::Parent;
use super::super::step::{Lock, Step};
use super::convert::{self, Dependents, Indexes};
use super::copies::{self, Storage};
use super::{like, split};
use crate::error::{Condition, Error, Result};

/// What stands behind the names of the new table and of its indexes until it has its own.
const PLAIN: &str = "plain";

/// The name that the new table has until it takes the parent's.
#[must_use]
pub fn plain_name(parent: &Parent) -> String {
    suffixed(&parent.name, PLAIN)
}

/// The name of the table that keeps the changes meanwhile.
#[must_use]
pub fn log_name(parent: &Parent) -> String {
    split::log_of(&parent.name)
}

/// What a call that was stopped has left, quoted and qualified where it has a name.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Whether triggers capture changes.
    pub captured: bool,
    /// The table of changes.
    pub log: Option<String>,
    /// The function of the triggers.
    pub function: Option<String>,
    /// The copy.
    pub plain: Option<String>,
}

/// The steps that make a plain table of a partitioned one, `COMMIT` behind each transaction. Takes the snapshots of the parent, its key, the statement that
/// refuses to go on when it was changed meanwhile, and whether a call that was stopped has left something.
///
/// Raises `0A000` for what cannot be carried, and what the reader of an index raises. Linear in dependents; no lock.
pub fn unpartition(
    parent: &Parent,
    found: &Dependents,
    key: &Key,
    (guard, known): (&str, &str),
    left: &Left,
    storage: &Storage,
) -> Result<Vec<Step>> {
    let (name, schema) = (parent.qualified(), &parent.schema);
    if let Some((what, why, hint)) = found.refusals.first() {
        return Err(Error::new(Condition::FeatureNotSupported, format!("table {name} cannot be made plain: {what}"))
            .detail(why.clone())
            .hint(hint.replace("convert", "make it plain")));
    }
    let plain_name = plain_name(parent);
    let (plain, log) = (qualified(schema, &plain_name), qualified(schema, &log_name(parent)));
    let function = split::capture_of(schema, &parent.name);
    let exclusive =
        |statement: String, target: &str, reason: &str| Step::locking(statement, Lock::AccessExclusive, target, reason);
    let mut steps = Vec::new();
    let reason = "left by a call that was stopped; begun anew";
    for trigger in split::TRIGGERS.iter().filter(|_| left.captured) {
        steps.push(exclusive(format!("DROP TRIGGER IF EXISTS {trigger} ON {name}"), &name, reason));
    }
    let tables = [&left.log, &left.plain].into_iter().flatten();
    for (thing, drop) in tables
        .map(|table| (table, format!("DROP TABLE {table}")))
        .chain(left.function.iter().map(|function| (function, format!("DROP FUNCTION {function}"))))
    {
        steps.push(exclusive(drop, thing, reason));
    }
    if !steps.is_empty() {
        steps.push(Step::commit(&name));
    }
    steps.extend(split::capture(parent, schema, &parent.name, &name));
    steps.extend(fill(parent, &name, &plain, &plain_name, &log, storage)?);
    let apply = |reason: &str| {
        let statement = format!(
            "SELECT eventkit.apply_captured({}::pg_catalog.regclass, {}::pg_catalog.regclass, {}, 'true')",
            literal(&log),
            literal(&plain),
            literal(&key.column)
        );
        Step::unseen(statement, &plain, reason)
    };
    for pass in ["first", "second"] {
        steps.push(apply(&format!(
            "what was changed since the copy, so that little is left for the exchange; {pass} pass"
        )));
        if pass == "second" {
            steps.push(split::counted(key, &name, &plain, &log, "true"));
        }
        steps.push(Step::commit(&plain));
    }
    steps.extend(convert::locks(parent, found, &name));
    steps.push(exclusive(
        format!("LOCK TABLE {name} IN {} MODE", Lock::AccessExclusive.sql()),
        &name,
        "with all its partitions: nobody changes a row any more that would have to be captured",
    ));
    steps.push(Step::unseen(guard.to_owned(), &name, "under the locks all is still as it was when this was planned"));
    steps.push(split::still_captured(&name));
    steps.push(apply("the last changes"));
    steps.push(Step::unseen(
        format!(
            "SELECT eventkit.expect_partitions({}::pg_catalog.regclass, {}::pg_catalog.regclass, {})",
            literal(&name),
            literal(&plain),
            literal(known)
        ),
        &name,
        "no partition has left with its rows, none has come with rows that are not in the copy",
    ));
    for trigger in split::TRIGGERS {
        steps.push(exclusive(format!("DROP TRIGGER {trigger} ON {name}"), &name, "nothing is left to capture"));
    }
    let mut taken = found.taken.clone();
    let old = suffixed_apart(&parent.name, convert::ADOPTED, &taken);
    taken.push(old.clone());
    let old = qualified(schema, &old);
    steps.extend(convert::away(parent, found, &name, &old, &mut taken));
    steps.push(exclusive(
        format!("ALTER TABLE {plain} RENAME TO {}", identifier(&parent.name)),
        &plain,
        "takes the name",
    ));
    steps.push(copies::described(parent, &name));
    let mut made = vec![plain_name];
    for index in &parent.indexes {
        let index_name = suffixed_apart(&index.name, PLAIN, &made);
        steps.push(exclusive(
            format!("ALTER INDEX {} RENAME TO {}", qualified(schema, &index_name), identifier(&index.name)),
            &name,
            "takes the name, with its constraint",
        ));
        made.push(index_name);
    }
    steps.extend(convert::over(parent, found, &name, &old, Indexes::Made)?);
    steps.extend(convert::dependents(found));
    if parent.settings.is_some() {
        steps.push(Step::unseen(
            format!(
                "DELETE FROM eventkit.partition_settings WHERE parent OPERATOR(pg_catalog.=) {}::pg_catalog.regclass",
                literal(&old)
            ),
            &old,
            "a plain table has none; until here a call that failed has left it managed",
        ));
    }
    let drop = |statement: String, target: &str| exclusive(statement, target, "all rows are in the plain table");
    steps.push(drop(format!("DROP TABLE {log}"), &log));
    steps.push(drop(format!("DROP TABLE {old}"), &old));
    steps.push(drop(format!("DROP FUNCTION {function}()"), &function));
    steps.push(Step::commit(&name));
    steps.extend(proofs(parent, found));
    Ok(steps)
}

/// What a call that was stopped after the exchange has left to do: the table is plain, and foreign keys are not proved. None when nothing is left.
#[must_use]
pub fn finish(parent: &Parent, found: &Dependents) -> Vec<Step> {
    let mut found = found.clone();
    found.foreign_keys.retain(convert::ForeignKey::unproved);
    found.referencing.retain(convert::ForeignKey::unproved);
    if found.foreign_keys.is_empty() && found.referencing.is_empty() { Vec::new() } else { proofs(parent, &found) }
}

/// The foreign keys of the table and to it are proved again, and statistics gathered.
fn proofs(parent: &Parent, found: &Dependents) -> Vec<Step> {
    let name = parent.qualified();
    let mut steps = Vec::new();
    for foreign in found.foreign_keys.iter().filter(|key| key.enforced) {
        steps.push(Step::locking(
            format!("ALTER TABLE {name} VALIDATE CONSTRAINT {}", identifier(&foreign.name)),
            Lock::ShareUpdateExclusive,
            &name,
            "proved for the rows that were there; readers and writers go on",
        ));
        steps.push(Step::commit(&name));
    }
    steps.extend(split::proofs(parent, found));
    steps
}

/// The plain table with all rows and indexes.
fn fill(parent: &Parent, name: &str, plain: &str, plain_name: &str, log: &str, storage: &Storage) -> Result<Vec<Step>> {
    let columns: Vec<String> = parent.columns.iter().filter(|c| !c.generated).map(|c| identifier(&c.name)).collect();
    let columns = columns.join(", ");
    let space = parent.tablespace.as_ref().map(|t| format!(" TABLESPACE {}", identifier(t))).unwrap_or_default();
    let method = storage.method(parent).map(|method| format!(" USING {}", identifier(&method))).unwrap_or_default();
    let mut steps = vec![
        Step::unseen(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ".into(),
            plain,
            "rows and captured changes are seen as of one moment",
        ),
        Step::unseen(
            format!(
                "CREATE TABLE {plain} (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE \
                 INCLUDING COMPRESSION INCLUDING COMMENTS){method}{space}"
            ),
            plain,
            "the same columns in the same order, not partitioned",
        ),
    ];
    steps.extend(like::closed_to_others(parent, plain));
    steps.extend(like::columns(parent, plain));
    steps.extend(storage.set(plain, copies::AS_BEFORE));
    steps.push(copies::marked(plain, name, None));
    steps.push(Step::locking(
        format!("INSERT INTO {plain} ({columns}) SELECT {columns} FROM {name}"),
        Lock::AccessShare,
        name,
        "all rows, into a table without indexes; readers and writers go on",
    ));
    steps.push(Step::locking(
        format!("SELECT pg_catalog.count(*) FROM {name}"),
        Lock::AccessShare,
        name,
        "as many rows as the same snapshot shows in the partitions; otherwise it is given up",
    ));
    steps.push(Step::unseen(format!("DELETE FROM {log}"), log, "the changes that this moment shows are in the copy"));
    steps.extend(like::indexes(parent, PLAIN, plain_name, plain)?);
    steps.push(Step::unseen(format!("ANALYZE {plain}"), plain, "statistics are there when the first query comes"));
    steps.push(Step::commit(plain));
    Ok(steps)
}
