//! How what hangs on the old table comes to hang on the new one of its name.

use super::super::super::error;
use super::super::super::name::{identifier, literal, qualified};
use super::super::super::snapshot::Parent;
use super::super::super::step::{Lock, Step};
use super::super::like;
use super::apart;
use super::dependents::{Dependents, ForeignKey, Index};
use crate::error::Result;

/// What leaves the old table, so that its names are free: foreign keys to it, triggers, the names of indexes, statistics and identity sequences,
/// and the table's own name. Names made are added to `taken`.
pub(in super::super) fn away(
    table: &Parent,
    found: &Dependents,
    name: &str,
    adopted: &str,
    taken: &mut Vec<String>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let exclusive =
        |statement: String, target: &str, reason: &str| Step::locking(statement, Lock::AccessExclusive, target, reason);
    for key in &found.referencing {
        let other = qualified(&key.schema, &key.table);
        steps.push(exclusive(
            format!("ALTER TABLE {other} DROP CONSTRAINT {}", identifier(&key.name)),
            &other,
            "added again below, referring to the new parent",
        ));
    }
    for trigger in &found.triggers {
        steps.push(exclusive(
            format!("DROP TRIGGER {} ON {name}", identifier(&trigger.name)),
            name,
            "made on the new parent, which gives it to its partitions",
        ));
    }
    let new_name = adopted_name(adopted, table);
    steps.push(exclusive(format!("ALTER TABLE {name} RENAME TO {new_name}"), name, "its name is for the new parent"));
    for index in &found.indexes {
        steps.extend(index_away(table, index, adopted, taken));
    }
    for statistics in &found.statistics {
        let made = identifier(&apart(&statistics.name, taken));
        let statistics = qualified(&statistics.schema, &statistics.name);
        steps.push(exclusive(
            format!("ALTER STATISTICS {statistics} RENAME TO {made}"),
            adopted,
            "its name is for the new parent's",
        ));
    }
    steps
}

/// The quoted name without the schema.
fn adopted_name(adopted: &str, table: &Parent) -> String {
    adopted.strip_prefix(&format!("{}.", identifier(&table.schema))).unwrap_or(adopted).to_owned()
}

/// An index of the old table gives its name away; one without the key makes place for the longer one.
fn index_away(table: &Parent, index: &Index, adopted: &str, taken: &mut Vec<String>) -> Vec<Step> {
    let exclusive = |statement: String, reason: &str| Step::locking(statement, Lock::AccessExclusive, adopted, reason);
    let made = identifier(&apart(&index.name, taken));
    let quoted = qualified(&table.schema, &index.name);
    let Some(longer) = &index.longer else {
        return vec![exclusive(format!("ALTER INDEX {quoted} RENAME TO {made}"), "its name is for the new parent's")];
    };
    let mut steps = vec![
        exclusive(
            match &index.constraint {
                Some(_) => format!("ALTER TABLE {adopted} DROP CONSTRAINT {}", identifier(&index.name)),
                None => format!("DROP INDEX {quoted}"),
            },
            "lacks the partition column: the longer index takes its place",
        ),
        exclusive(
            format!("ALTER INDEX {} RENAME TO {made}", qualified(&table.schema, longer)),
            "named as the index whose place it takes",
        ),
    ];
    if let Some(kind) = &index.constraint {
        steps.push(exclusive(
            format!("ALTER TABLE {adopted} ADD CONSTRAINT {made} {kind} USING INDEX {made}{}", index.deferrable),
            "the key with the partition column at its end; the index is there",
        ));
    }
    steps
}

/// What the table that takes the name has of its indexes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Indexes {
    /// Nothing: it is empty, they are made here.
    ToMake,
    /// They are there, under their names: it is filled, and its foreign keys are proved later.
    Made,
}

/// What the new parent gets: sequences, indexes, foreign keys, policies, rights, statistics, triggers.
pub(in super::super) fn over(
    table: &Parent,
    found: &Dependents,
    name: &str,
    adopted: &str,
    indexes: Indexes,
) -> Result<Vec<Step>> {
    let mut steps = sequences(found, name, adopted);
    let filled = indexes == Indexes::Made;
    for index in found.indexes.iter().filter(|_| !filled) {
        steps.extend(index_over(table, index, name)?);
    }
    for index in found.indexes.iter().filter(|_| filled) {
        if let Some(comment) = &index.constraint_comment {
            let statement =
                format!("COMMENT ON CONSTRAINT {} ON {name} IS {}", identifier(&index.name), literal(comment));
            steps.push(Step::unseen(statement, name, "described as before"));
        }
    }
    for key in &found.foreign_keys {
        let definition = if filled { key.definition_unproved() } else { key.definition.clone() };
        steps.push(Step::locking(
            format!("ALTER TABLE {name} ADD CONSTRAINT {} {definition}", identifier(&key.name)),
            Lock::ShareRowExclusive,
            qualified(&key.schema, &key.table),
            if !key.enforced {
                "as it was: the server does not hold it"
            } else if filled {
                "holds for every change from now on, and is proved for the rest below"
            } else {
                "the new parent is empty: no row is checked; the attach takes over what the old table has proved"
            },
        ));
        steps.extend(constraint_comment(key, name));
    }
    steps.extend(like::replica_identity(table, name));
    // The subqueries of policies name the table as the parent is named now.
    let mut named = table.clone();
    for policy in &mut named.policies {
        policy.correlated = false;
    }
    steps.extend(like::row_security(&named, name));
    for (policy, comment) in &found.policy_comments {
        steps.push(Step::unseen(
            format!("COMMENT ON POLICY {} ON {name} IS {}", identifier(policy), literal(comment)),
            name,
            "described as on the old table",
        ));
    }
    steps.extend(statistics(table, found, name));
    for trigger in &found.triggers {
        let quoted = identifier(&trigger.name);
        steps.push(Step::unseen(
            trigger.definition.clone(),
            name,
            "the trigger of the old table; the attach gives it to the partition",
        ));
        if let Some(enabled) = &trigger.enabled {
            steps.push(Step::unseen(format!("ALTER TABLE {name} {enabled} TRIGGER {quoted}"), name, "fires as it did"));
        }
        if let Some(comment) = &trigger.comment {
            steps.push(Step::unseen(
                format!("COMMENT ON TRIGGER {quoted} ON {name} IS {}", literal(comment)),
                name,
                "described as on the old table",
            ));
        }
    }
    steps.extend(like::grants(&named, name));
    Ok(steps)
}

/// Sequences of serial columns belong to the new parent; identities are made anew and go on where the old ones are.
fn sequences(found: &Dependents, name: &str, adopted: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut taken = found.taken.clone();
    for sequence in &found.sequences {
        let (quoted, column) = (qualified(&sequence.schema, &sequence.name), identifier(&sequence.column));
        let Some(identity) = &sequence.identity else {
            steps.push(Step::locking(
                format!("ALTER SEQUENCE {quoted} OWNED BY {name}.{column}"),
                Lock::ShareRowExclusive,
                quoted,
                "the sequence goes with the parent's column",
            ));
            continue;
        };
        let old = apart(&format!("{}_old", sequence.name), &mut taken);
        let old_quoted = qualified(&sequence.schema, &old);
        let mut add = |statement: String, target: &str, reason: &str| {
            steps.push(Step::locking(statement, Lock::AccessExclusive, target, reason))
        };
        add(
            format!("ALTER SEQUENCE {quoted} RENAME TO {}", identifier(&old)),
            &quoted,
            "nobody draws a number until the new one stands",
        );
        add(
            format!(
                "ALTER TABLE {name} ALTER COLUMN {column} ADD GENERATED {identity} AS IDENTITY (SEQUENCE NAME {quoted} {})",
                sequence.options
            ),
            name,
            "an identity belongs to the parent alone",
        );
        add(
            format!(
                "SELECT pg_catalog.setval({}::pg_catalog.regclass, last_value, is_called) FROM {old_quoted}",
                literal(&quoted)
            ),
            &quoted,
            "goes on where the old one is",
        );
        add(
            format!("ALTER TABLE {adopted} ALTER COLUMN {column} DROP IDENTITY"),
            adopted,
            "an identity belongs to the parent alone",
        );
        if let Some(comment) = &sequence.comment {
            add(format!("COMMENT ON SEQUENCE {quoted} IS {}", literal(comment)), &quoted, "described as the old one");
        }
        for grant in &sequence.grants {
            let role = grant.role.as_deref().map_or_else(|| "PUBLIC".to_owned(), identifier);
            let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
            add(
                format!("GRANT {} ON SEQUENCE {quoted} TO {role}{option}", grant.privilege),
                &quoted,
                "the rights on the old one",
            );
        }
    }
    steps
}

/// An index of the new parent, under the name that the old table's had.
fn index_over(table: &Parent, index: &Index, name: &str) -> Result<Vec<Step>> {
    let (quoted, full) = (identifier(&index.name), qualified(&table.schema, &index.name));
    let mut steps = Vec::new();
    let mut add = |statement: String, reason: &str| steps.push(Step::unseen(statement, name, reason));
    if let Some(space) = &index.tablespace {
        add(
            format!("SET LOCAL default_tablespace TO {}", identifier(space)),
            "the index lies where the old table's does",
        );
    }
    if let Some(definition) = &index.constraint_definition {
        let reason = if index.lacks_key {
            "the key with the partition column at its end: rows may now share the rest of it where that column differs"
        } else {
            "the key of the old table, whose index the attach takes over"
        };
        add(format!("ALTER TABLE {name} ADD CONSTRAINT {quoted} {definition}"), reason);
    } else {
        let definition = index.definition.as_ref().ok_or_else(|| error::unreadable_index(&full, name))?;
        let unique = if index.unique { "UNIQUE " } else { "" };
        add(
            format!("CREATE {unique}INDEX {quoted} ON {name} {definition}"),
            "the index of the old table, which the attach takes over",
        );
    }
    if index.tablespace.is_some() {
        add("SET LOCAL default_tablespace TO ''".to_owned(), "the index lies where the old table's does");
    }
    if let Some(comment) = &index.comment {
        add(format!("COMMENT ON INDEX {full} IS {}", literal(comment)), "described as on the old table");
    }
    if let Some(comment) = &index.constraint_comment {
        add(
            format!("COMMENT ON CONSTRAINT {quoted} ON {name} IS {}", literal(comment)),
            "described as on the old table",
        );
    }
    if index.replica_identity {
        add(
            format!("ALTER TABLE {name} REPLICA IDENTITY USING INDEX {quoted}"),
            "replica identity as on the old table",
        );
    }
    Ok(steps)
}

fn constraint_comment(key: &ForeignKey, name: &str) -> Option<Step> {
    key.comment.as_ref().map(|comment| {
        Step::unseen(
            format!("COMMENT ON CONSTRAINT {} ON {name} IS {}", identifier(&key.name), literal(comment)),
            name,
            "described as before",
        )
    })
}

/// Extended statistics of the new parent, under the names that the old table's had.
fn statistics(table: &Parent, found: &Dependents, name: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for statistics in &found.statistics {
        let quoted = qualified(&statistics.schema, &statistics.name);
        let kinds =
            if statistics.kinds.is_empty() { String::new() } else { format!(" ({})", statistics.kinds.join(", ")) };
        let mut add = |statement: String| {
            steps.push(Step::unseen(statement, name, "statistics over several columns are gathered as before"))
        };
        add(format!("CREATE STATISTICS {quoted}{kinds} ON {} FROM {name}", statistics.columns));
        if let Some(target) = statistics.target {
            add(format!("ALTER STATISTICS {quoted} SET STATISTICS {target}"));
        }
        if let Some(comment) = &statistics.comment {
            add(format!("COMMENT ON STATISTICS {quoted} IS {}", literal(comment)));
        }
        if table.caller != table.owner {
            add(format!("ALTER STATISTICS {quoted} OWNER TO {}", identifier(&table.owner)));
        }
    }
    steps
}

/// What refers to the table by its address is made to see the one that has its name now.
pub(in super::super) fn dependents(found: &Dependents) -> Vec<Step> {
    let mut steps = Vec::new();
    for view in &found.views {
        let quoted = qualified(&view.schema, &view.name);
        let options: Vec<String> = view
            .options
            .iter()
            .filter_map(|option| option.split_once('='))
            .map(|(option, value)| format!("{} = {}", identifier(option), literal(value)))
            .collect();
        let options = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
        steps.push(Step::locking(
            format!("CREATE OR REPLACE VIEW {quoted}{options} AS{}{}", if view.definition.starts_with(' ') { "" } else { " " }, view.definition),
            Lock::AccessExclusive,
            &quoted,
            "the same query, whose names are looked up again: it reads the new parent; rights and what depends on the view stay",
        ));
    }
    for function in &found.functions {
        steps.push(Step::locking(
            function.definition.clone(),
            Lock::AccessExclusive,
            &function.name,
            "the same body, whose names are looked up again; rights stay",
        ));
    }
    for policy in &found.policies {
        let table = qualified(&policy.schema, &policy.table);
        let using = policy.using.as_ref().map(|e| format!(" USING ({e})")).unwrap_or_default();
        let check = policy.check.as_ref().map(|e| format!(" WITH CHECK ({e})")).unwrap_or_default();
        steps.push(Step::locking(
            format!("ALTER POLICY {} ON {table}{using}{check}", identifier(&policy.name)),
            Lock::AccessExclusive,
            table,
            "the same conditions, whose names are looked up again",
        ));
    }
    for key in &found.referencing {
        let table = qualified(&key.schema, &key.table);
        steps.push(Step::locking(
            format!("ALTER TABLE {table} ADD CONSTRAINT {} {}", identifier(&key.name), key.definition_unproved()),
            Lock::AccessExclusive,
            &table,
            if key.enforced {
                "refers to the new parent; holds for every change from now on, and is proved for the rest below"
            } else {
                "refers to the new parent; the server does not hold it"
            },
        ));
        steps.extend(constraint_comment(key, &table));
    }
    steps
}
