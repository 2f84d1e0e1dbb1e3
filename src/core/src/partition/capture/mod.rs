//! Capturing what changes in a source while it is copied: the table that notes whose rows changed, the triggers that fill
//! it, the statements that make the parent agree with the source again.
//!
//! A change is noted as the identity of a row (the source's key and the partition key), never as its values. Applying
//! one means: whatever the source holds under that identity now, the parent shall hold. So the order of changes does not
//! matter, applying twice does no harm, and a row that moved to another period is two identities.

pub mod error;

use super::backfill::copied_columns;
use super::bound::Bound;
use super::name::{identifier, literal, qualified, suffixed, suffixed_apart};
use super::plan::key_of;
use super::snapshot::{Parent, Source};
use super::step::{Lock, Step};
use crate::error::Result;
use serde::Deserialize;

/// The longest beginning of a name that leaves room for `_changes_99_truncate`.
const STEM: usize = 40;

/// What the triggers are called behind the name of the table of changes.
const TRIGGERS: [&str; 4] = ["delete", "insert", "move", "truncate"];

/// What capturing has to know of a source and a parent.
#[derive(Clone, Debug, Deserialize)]
pub struct Capture {
    /// The role that owns the source.
    pub source_owner: String,
    /// Whether the caller has the rights of that role.
    pub caller_owns: bool,
    /// Whether other tables inherit from the source.
    pub inherited: bool,
    /// The source's primary key, or else its replica identity; empty without either.
    pub key: Vec<KeyColumn>,
    /// The source's partition key.
    pub at: KeyColumn,
    /// Columns of the parent that nobody but the server may update.
    pub always: Vec<String>,
    /// Names of tables of changes that are in use.
    pub taken: Vec<String>,
    /// The table of changes, when a backfill of this pair has one.
    pub changes: Option<Changes>,
    /// Trigger functions of captures on the source whose table of changes no backfill has, or that is gone: quoted, qualified names.
    #[serde(default)]
    pub strays: Vec<String>,
    /// When a backfill of this pair was finished.
    #[serde(default)]
    pub finished_at: Option<String>,
}

/// A column by which rows are told apart.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// The operator that says when two values of the source are one.
    pub equal: String,
    /// The operator that says so of values of the parent.
    pub parent_equal: String,
    /// The type of the parent's column.
    pub parent_type: String,
    /// Whether no function of anybody's is called when a value is stored: neither a domain nor made of others.
    #[serde(default)]
    pub plain: bool,
}

/// A table of changes.
#[derive(Clone, Debug, Deserialize)]
pub struct Changes {
    /// Its schema.
    pub schema: String,
    /// Its name, which is that of the trigger function too.
    pub name: String,
    /// Whether its table, its function and its triggers stand as they were made, on the source's partitions too.
    pub whole: bool,
    /// Whether all was applied and only the removal is left.
    #[serde(default)]
    pub finished: bool,
    /// The triggers on the source that call its function.
    pub triggers: Vec<String>,
    /// Whether its function is there.
    pub has_function: bool,
    /// Whether the table itself is there.
    #[serde(default = "is_there")]
    pub has_table: bool,
}

const fn is_there() -> bool {
    true
}

impl Changes {
    /// The quoted, qualified name.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

impl Capture {
    /// Reads the snapshot from JSON. Raises `XX001` for a document of another shape. Linear in its length.
    pub fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| super::error::unreadable_catalog(&e.to_string()))
    }

    /// The columns by which rows are told apart: the key, and the partition key unless it is one of them.
    fn identity(&self) -> Vec<&KeyColumn> {
        let mut columns: Vec<&KeyColumn> = self.key.iter().collect();
        if !columns.iter().any(|c| c.name == self.at.name) {
            columns.push(&self.at);
        }
        columns
    }

    /// The table that changes are noted in. Raises `55000` when there is none any more, and when somebody took the capture apart: what
    /// was written since may not be there.
    pub fn changes(&self, parent: &Parent, source: &Source) -> Result<&Changes> {
        let (table, from) = (parent.qualified(), source.qualified());
        match &self.changes {
            Some(changes) if changes.whole && !changes.finished => Ok(changes),
            Some(changes) if !changes.finished => Err(error::broken(&from, &table, &changes.qualified())),
            _ => Err(match (self.strays.first(), &self.finished_at) {
                (Some(stray), _) => error::stray(&from, &table, stray),
                (None, Some(at)) => error::finished(&from, &table, at),
                (None, None) => error::nothing(&from, &table),
            }),
        }
    }
}

/// The steps that begin to capture; none when a backfill of this pair does so already.
///
/// Nothing is lost between the capture and the first copy. The lock waits until every transaction that wrote to the source
/// has ended, for a writer keeps its `ROW EXCLUSIVE` lock to the end; whoever writes later sees the triggers, for a
/// backend reads what was changed in the catalog when it takes its own lock. The snapshots of all periods are
/// taken after the transaction of these steps has been committed. So a change is either visible to each of them, or noted.
///
/// Raises what [`copied_columns`] raises, `42809` for a source that has no triggers, `42501` for a caller without the rights of its
/// owner or a parent of another owner, `55000` for a source without a key, for a capture that somebody took apart and for the triggers of one that no backfill knows. Linear in the number of columns.
pub fn install(parent: &Parent, source: &Source, capture: &Capture) -> Result<Vec<Step>> {
    copied_columns(parent, source)?;
    let (table, from) = (parent.qualified(), source.qualified());
    if !matches!(source.kind.as_str(), "r" | "p") {
        return Err(error::kind(&from, &table));
    }
    if !capture.caller_owns {
        return Err(error::owner(&from, &identifier(&parent.caller), &identifier(&capture.source_owner)));
    }
    if capture.source_owner != parent.owner {
        return Err(error::owners(&from, &identifier(&capture.source_owner), &table, &identifier(&parent.owner)));
    }
    if capture.inherited {
        return Err(error::inherited(&from, &table));
    }
    if capture.key.is_empty() {
        return Err(error::without_key(&from, &table));
    }
    if let Some(stray) = capture.strays.first() {
        return Err(error::stray(&from, &table, stray));
    }
    let mut steps = match &capture.changes {
        // What a call of finish_backfill has left makes room.
        Some(changes) if changes.finished => remove(&from, changes),
        Some(_) => return capture.changes(parent, source).map(|_| Vec::new()),
        None => Vec::new(),
    };
    let mut stem = source.name.as_str();
    while stem.len() > STEM {
        stem = &stem[..stem.char_indices().next_back().map_or(0, |(at, _)| at)];
    }
    let free = capture.changes.as_ref().map(|changes| changes.name.as_str());
    let taken: Vec<String> = capture.taken.iter().filter(|name| Some(name.as_str()) != free).cloned().collect();
    let name = suffixed_apart(stem, "changes", &taken);
    let changes = qualified(&parent.schema, &name);
    let columns = |of: &str| -> String {
        capture.identity().iter().map(|c| format!("{of}{}", identifier(&c.name))).collect::<Vec<_>>().join(", ")
    };
    steps.push(Step::locking(
        format!("CREATE TABLE {changes} AS SELECT {} FROM {from} WITH NO DATA", columns("")),
        Lock::AccessShare,
        &from,
        "notes which rows change: the key and the partition key of each",
    ));
    steps.push(Step::unseen(
        format!("ALTER TABLE {changes} REPLICA IDENTITY FULL"),
        &changes,
        "a publication of all tables lets nothing be deleted from a table without a replica identity; a key would cost each writer",
    ));
    if parent.publications.iter().any(|publication| publication.inserts || publication.deletes) {
        steps.push(Step::unseen(
            format!("SELECT eventkit.warn_sent_changes({}::pg_catalog.regclass)", literal(&changes)),
            &changes,
            "the parent is published: where what is noted is sent to subscribers too, says what they need",
        ));
    }
    let grantees: Vec<String> =
        parent.default_grantees.iter().map(|r| r.as_deref().map_or_else(|| "PUBLIC".into(), identifier)).collect();
    if !grantees.is_empty() {
        steps.push(Step::unseen(
            format!("REVOKE ALL ON TABLE {changes} FROM {}", grantees.join(", ")),
            &changes,
            "default privileges let nobody forget a change",
        ));
    }
    steps.push(Step::unseen(
        function(parent, source, &changes, &columns, !capture.key.iter().all(|column| column.plain)),
        &changes,
        FUNCTION_REASON,
    ));
    steps.push(Step::unseen(
        format!("REVOKE ALL ON FUNCTION {changes}() FROM PUBLIC"),
        &changes,
        "nobody else makes a trigger of it; those that write to the source need no right on it",
    ));
    if parent.caller != parent.owner {
        for kind in ["TABLE ", "FUNCTION "] {
            let arguments = if kind == "TABLE " { "" } else { "()" };
            steps.push(Step::unseen(
                format!("ALTER {kind}{changes}{arguments} OWNER TO {}", identifier(&parent.owner)),
                &changes,
                "both belong to the owner of the source, whoever calls",
            ));
        }
    }
    steps.push(Step::locking(
        format!("LOCK TABLE {from} IN {} MODE", Lock::ShareRowExclusive.sql()),
        Lock::ShareRowExclusive,
        &from,
        "waits for all that have written: whoever writes from now on is captured; readers go on",
    ));
    // Of NULLs it is not known that they are the same: such a row is noted once more, which does no harm.
    let same = |c: &&KeyColumn| format!("(OLD.{0} {1} NEW.{0}) IS NOT TRUE", identifier(&c.name), c.equal);
    let moved: Vec<String> = capture.identity().iter().map(same).collect();
    let trigger = |index: usize| identifier(&suffixed(&name, TRIGGERS[index]));
    for (index, when, arguments) in [
        (0, "AFTER UPDATE OR DELETE", ("FOR EACH ROW", "'old'")),
        (1, "AFTER INSERT", ("FOR EACH ROW", "'new'")),
        (2, "AFTER UPDATE", (&*format!("FOR EACH ROW WHEN ({})", moved.join(" OR ")), "'new'")),
        // Says nothing of a row; but so the server knows that the triggers need the table, and refuses to drop it.
        (3, "BEFORE TRUNCATE", (&*format!("FOR EACH STATEMENT WHEN (NULL::{changes} IS NULL)"), "")),
    ] {
        steps.push(Step::locking(
            format!(
                "CREATE TRIGGER {} {when} ON {from} {} EXECUTE FUNCTION {changes}({})",
                trigger(index),
                arguments.0,
                arguments.1
            ),
            Lock::ShareRowExclusive,
            &from,
            [
                "the row that was there",
                "the row that came",
                "the row under its new key",
                "a source that is copied is not emptied",
            ][index],
        ));
    }
    let always: Vec<String> = (0..TRIGGERS.len()).map(|i| format!("ENABLE ALWAYS TRIGGER {}", trigger(i))).collect();
    steps.push(Step::locking(
        format!("ALTER TABLE {from} {}", always.join(", ")),
        Lock::ShareRowExclusive,
        &from,
        "replicated rows and loads without triggers are captured too",
    ));
    steps.push(Step::unseen(
        format!(
            "UPDATE eventkit.backfills AS b SET changes = {}::pg_catalog.regclass \
             WHERE b.source OPERATOR(pg_catalog.=) {}::pg_catalog.regclass::pg_catalog.oid \
             AND b.parent OPERATOR(pg_catalog.=) {}::pg_catalog.regclass::pg_catalog.oid",
            literal(&changes),
            literal(&from),
            literal(&table)
        ),
        &changes,
        "the next call finds it",
    ));
    Ok(steps)
}

const FUNCTION_REASON: &str =
    "writes with the rights of the source's owner, so that those who may write to the source need none of their own";

/// The trigger function. It belongs to the owner of the source, so that the definer's rights are those of the one who could
/// change the source's triggers anyway: values of a column whose type somebody alters meet no casts of anybody else.
fn function(parent: &Parent, source: &Source, changes: &str, columns: &dyn Fn(&str) -> String, pinned: bool) -> String {
    let body = format!(
        "BEGIN\n  \
         IF TG_ARGV[0] OPERATOR(pg_catalog.=) 'new' THEN\n    \
         INSERT INTO {changes} ({cols}) VALUES ({new});\n  \
         ELSIF TG_ARGV[0] OPERATOR(pg_catalog.=) 'old' THEN\n    \
         INSERT INTO {changes} ({cols}) VALUES ({old});\n  \
         ELSE\n    \
         RAISE EXCEPTION USING ERRCODE = 'object_in_use',\n      \
         MESSAGE = {},\n      \
         DETAIL = 'A backfill notes each row that changes; TRUNCATE has no rows.',\n      \
         HINT = {};\n  \
         END IF;\n  \
         RETURN NULL;\nEND",
        literal(&format!("cannot truncate {} while its changes are captured", source.qualified())),
        literal(&format!(
            "DELETE the rows, or give the backfill up first: CALL eventkit.abandon_backfill({}, {}).",
            literal(&source.qualified()),
            literal(&parent.qualified())
        )),
        new = columns("NEW."),
        old = columns("OLD."),
        cols = columns(""),
    );
    // To set a path for each row is about a fifth of the cost. All names and operators are qualified, so only the functions of a domain's
    // CHECK could be found along the writer's path.
    let path = if pinned { "SET search_path = pg_catalog, pg_temp " } else { "" };
    format!(
        "CREATE FUNCTION {changes}() RETURNS pg_catalog.trigger VOLATILE SECURITY DEFINER \
         {path}LANGUAGE plpgsql AS {}",
        literal(&body)
    )
}

/// Where the rows lie that captured changes are applied to: times of the key's own.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The range that is moved.
    pub moved: Bound,
    /// The most changes of one transaction.
    pub rows: i64,
    /// Whether rows that left the source are deleted; otherwise their changes wait.
    pub deletes: bool,
    /// Whether rows with other values are deleted and inserted, not updated: rows may then trade unique values. Never done
    /// while a foreign key refers to the parent, which could cascade.
    pub replace: bool,
    /// Periods whose changes wait on.
    pub passed_over: Vec<Bound>,
    /// The one period whose changes are applied, when it is one alone.
    pub alone: Option<Bound>,
}

/// The steps that apply a batch of changes, `$1` in all but the first being what the first one gives.
///
/// Gives, in order: the batch; the hours of its rows; deletes (if wanted), updates, inserts; forgetting the batch. All of them in
/// one transaction. A row whose period is not moved is forgotten only. Raises what [`Capture::changes`] and [`copied_columns`] raise.
/// Linear in the number of columns.
pub fn apply(parent: &Parent, source: &Source, capture: &Capture, batch: Batch) -> Result<Vec<Step>> {
    let key = key_of(parent)?;
    let copied = copied_columns(parent, source)?;
    let changes = capture.changes(parent, source)?.qualified();
    let (table, from) = (parent.qualified(), source.qualified());
    let identity = capture.identity();
    let named =
        |of: &str| identity.iter().map(|c| format!("{of}{}", identifier(&c.name))).collect::<Vec<_>>().join(", ");
    let numbered: Vec<String> = (1..=identity.len()).map(|n| format!("\"identity {n}\"")).collect();
    let chosen = "c.ctid OPERATOR(pg_catalog.=) ANY ($1)";
    let changed = format!(
        "(SELECT DISTINCT {} FROM {changes} c WHERE {chosen} AND {}) d ({})",
        named("c."),
        batch.moved.inside(key)?,
        numbered.join(", ")
    );
    let in_source = |of: &dyn Fn(usize, &KeyColumn) -> String| {
        let same = |(i, c): (usize, &&KeyColumn)| format!("s.{} {} {}", identifier(&c.name), c.equal, of(i, c));
        identity.iter().enumerate().map(same).collect::<Vec<_>>().join(" AND ")
    };
    let source_of_change = in_source(&|i, _| format!("d.{}", numbered[i]));
    let in_parent = |of: &dyn Fn(usize, &KeyColumn) -> String| {
        let same = |(i, c): (usize, &&KeyColumn)| {
            format!("p.{} {} {}::{}", identifier(&c.name), c.parent_equal, of(i, c), c.parent_type)
        };
        identity.iter().enumerate().map(same).collect::<Vec<_>>().join(" AND ")
    };
    let parent_of_change = in_parent(&|i, _| format!("d.{}", numbered[i]));

    let present = in_source(&|_, c| format!("c.{}", identifier(&c.name)));
    let mut chosen_by = Vec::new();
    if !batch.deletes {
        chosen_by.push(format!("EXISTS (SELECT FROM {from} s WHERE {present})"));
    }
    if let Some(period) = batch.alone {
        chosen_by.push(period.inside(key)?);
    }
    for period in &batch.passed_over {
        chosen_by.push(format!("({}) IS NOT TRUE", period.inside(key)?));
    }
    let chosen_by = if chosen_by.is_empty() { String::new() } else { format!(" WHERE {}", chosen_by.join(" AND ")) };
    let replace = batch.replace && !parent.linked.iter().any(|l| l.referencing);
    let mut steps = vec![
        Step::locking(
            format!(
                "SELECT pg_catalog.array_agg(b.ctid) FROM (SELECT c.ctid FROM {changes} c{chosen_by} LIMIT {}) b",
                batch.rows
            ),
            Lock::AccessShare,
            &changes,
            "the batch, $1 below: whose rows changed; what changes from now on stays for a later one",
        ),
        Step::locking(
            format!(
                "SELECT pg_catalog.array_agg(DISTINCT ({}) OPERATOR(pg_catalog./) 3600000000::pg_catalog.int8) FROM {changes} c WHERE {chosen} AND {}",
                key.time_expression()?,
                batch.moved.inside(key)?
            ),
            Lock::AccessShare,
            &changes,
            "the hours of the batch: a period that is not copied yet is copied first",
        ),
    ];
    let settable: Vec<&&str> = copied.iter().filter(|name| !capture.always.iter().any(|a| a == **name)).collect();
    let image = |of: &str, cast: bool| -> String {
        let column = |name: &&str| {
            let of_type = source.columns.iter().find(|c| c.name == **name).and_then(|c| c.parent_type.as_deref());
            let cast = of_type.filter(|_| cast).map(|t| format!("::{t}")).unwrap_or_default();
            format!("{of}.{}{cast}", identifier(name))
        };
        format!("(ROW({})::pg_catalog.record)", copied.iter().map(column).collect::<Vec<_>>().join(", "))
    };
    if batch.deletes {
        let same = if replace {
            format!(" AND {} OPERATOR(pg_catalog.*=) {}", image("p", false), image("s", true))
        } else {
            String::new()
        };
        steps.push(Step::locking(
            format!("DELETE FROM {table} p USING {changed} WHERE {parent_of_change} AND NOT EXISTS (SELECT FROM {from} s WHERE {source_of_change}{same})"),
            Lock::RowExclusive,
            &table,
            if replace { "rows that left the source or have other values now, which come back below" } else { "rows that left the source" },
        ));
    }
    if !settable.is_empty() && !replace {
        let set: Vec<String> = settable.iter().map(|name| format!("{0} = s.{0}", identifier(name))).collect();
        steps.push(Step::locking(
            format!(
                "UPDATE {table} p SET {} FROM {changed} JOIN {from} s ON {source_of_change} WHERE {parent_of_change} AND {} OPERATOR(pg_catalog.*<>) {}",
                set.join(", "),
                image("p", false),
                image("s", true)
            ),
            Lock::RowExclusive,
            &table,
            "rows whose values are others now; a row stays in its place, so that foreign keys to it hold",
        ));
    }
    let columns: Vec<String> = copied.iter().map(|c| identifier(c)).collect();
    let of_source: Vec<String> = columns.iter().map(|c| format!("s.{c}")).collect();
    steps.push(Step::locking(
        format!(
            "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {changed} JOIN {from} s ON {source_of_change} \
             WHERE NOT EXISTS (SELECT FROM {table} p WHERE {parent_of_change}) ORDER BY s.{}",
            columns.join(", "),
            of_source.join(", "),
            identifier(&key.column)
        ),
        Lock::RowExclusive,
        &table,
        "rows that came to the source",
    ));
    steps.push(Step::locking(
        format!("DELETE FROM {changes} c WHERE {chosen}"),
        Lock::RowExclusive,
        &changes,
        "the batch is done; with the rest or not at all",
    ));
    Ok(steps)
}

/// The step that ends the capturing once all is applied, up to the end of that transaction: nobody writes to the source any more unseen.
fn end(parent: &Parent, source: &Source, capture: &Capture) -> Result<Vec<Step>> {
    let from = source.qualified();
    let changes = capture.changes(parent, source)?;
    let disabled: Vec<String> =
        changes.triggers.iter().map(|name| format!("DISABLE TRIGGER {}", identifier(name))).collect();
    Ok(vec![Step::locking(
        format!("ALTER TABLE {from} {}", disabled.join(", ")),
        Lock::ShareRowExclusive,
        &from,
        "nothing is captured any more; readers go on, which a DROP TRIGGER would not let them",
    )])
}

/// The lock under which the last changes are applied.
fn last_lock(source: &Source) -> Step {
    let from = source.qualified();
    Step::locking(
        format!("LOCK TABLE {from} IN {} MODE", Lock::ShareRowExclusive.sql()),
        Lock::ShareRowExclusive,
        from,
        "nobody writes to the source while the last changes are applied; readers go on",
    )
}

/// What a capture consists of, for its removal; nothing is asked of the parent, which may be gone.
#[derive(Clone, Debug, Deserialize)]
pub struct Removal {
    /// The source's schema.
    pub schema: String,
    /// The source.
    pub name: String,
    /// What is removed.
    pub changes: Changes,
}

impl Removal {
    /// Reads those of a source from JSON. Raises `XX001` for a document of another shape. Linear in its length.
    pub fn read(json: &str) -> Result<Vec<Self>> {
        serde_json::from_str(json).map_err(|e| super::error::unreadable_catalog(&e.to_string()))
    }

    /// The steps. Linear in the number of triggers.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        remove(&qualified(&self.schema, &self.name), &self.changes)
    }
}

/// The steps that remove what a capture is made of, in a transaction of its own, or what is left of it.
fn remove(from: &str, changes: &Changes) -> Vec<Step> {
    let mut steps = Vec::new();
    if !changes.triggers.is_empty() {
        steps.push(Step::locking(
            format!("LOCK TABLE {from} IN {} MODE", Lock::AccessExclusive.sql()),
            Lock::AccessExclusive,
            from,
            "a trigger is dropped when nobody reads the table; for a moment, and given up rather than waited for",
        ));
    }
    for name in &changes.triggers {
        steps.push(Step::locking(
            format!("DROP TRIGGER {} ON {from}", identifier(name)),
            Lock::AccessExclusive,
            from,
            "nothing is left on the source",
        ));
    }
    if changes.has_function {
        steps.push(Step::unseen(
            format!("DROP FUNCTION {}()", changes.qualified()),
            changes.qualified(),
            "used by nobody now",
        ));
    }
    if changes.has_table {
        steps.push(Step::locking(
            format!("DROP TABLE {}", changes.qualified()),
            Lock::AccessExclusive,
            changes.qualified(),
            "used by nobody now, but for whoever counts what waits",
        ));
    }
    steps
}

/// The steps of `finish_backfill` after its last call of `catch_up`: the lock, the last changes, sequences, the end of the capture, then, in a
/// transaction of its own, the removal; the removal alone when a call was stopped before it. Raises what [`apply`] raises.
pub fn finish(
    parent: &Parent,
    source: &Source,
    capture: &Capture,
    batch: Batch,
    sequences: Vec<Step>,
) -> Result<Vec<Step>> {
    let from = source.qualified();
    if let Some(changes) = capture.changes.as_ref().filter(|changes| changes.finished) {
        return Ok(remove(&from, changes));
    }
    let mut steps = vec![last_lock(source)];
    steps.extend(apply(parent, source, capture, batch)?);
    steps.extend(sequences);
    steps.extend(end(parent, source, capture)?);
    steps.push(Step::commit(parent.qualified()));
    steps.extend(remove(&from, capture.changes(parent, source)?));
    Ok(steps)
}

#[cfg(test)]
mod tests;
