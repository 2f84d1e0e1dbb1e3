//! What a partition takes over from its parent, since `LIKE` and the attach leave it out.

use super::super::bound::Bound;
use super::super::error;
use super::super::key::Key;
use super::super::name::{identifier, literal, qualified, suffixed_apart};
use super::super::snapshot::{Column, Grant, Index, Parent, Policy};
use super::super::step::{Lock, Step};
use super::BOUND_CHECK;
use crate::error::Result;

/// The table itself, closed by the CHECK that equals its bound.
pub(super) fn table(parent: &Parent, key: &Key, bound: Bound, child: &str) -> Result<Step> {
    let table = parent.qualified();
    let method = parent.access_method.as_ref().map(|m| format!(" USING {}", identifier(m))).unwrap_or_default();
    let space = parent.tablespace.as_ref().map(|t| format!(" TABLESPACE {}", identifier(t))).unwrap_or_default();
    let unlogged = if parent.unlogged { "UNLOGGED " } else { "" };
    // No identity: it is the parent's alone. No indexes: they come after the rows. No statistics: they get an owner.
    let statement = format!(
        "CREATE {unlogged}TABLE {child} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED \
         INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS, \
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

/// The owner of the parent, and nobody whom default privileges would let in.
pub(super) fn closed_to_others(parent: &Parent, child: &str) -> Vec<Step> {
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

/// How statistics of a column are gathered.
pub(super) fn column_settings(column: &Column, child: &str) -> Vec<Step> {
    let name = identifier(&column.name);
    let reason = "statistics are gathered as on the parent";
    let target = column.statistics.map(|target| {
        Step::unseen(format!("ALTER TABLE {child} ALTER COLUMN {name} SET STATISTICS {target}"), child, reason)
    });
    let options: Vec<String> = column
        .options
        .iter()
        .filter_map(|option| option.split_once('='))
        .map(|(option, value)| format!("{} = {}", identifier(option), literal(value)))
        .collect();
    let options = (!options.is_empty()).then(|| {
        Step::unseen(format!("ALTER TABLE {child} ALTER COLUMN {name} SET ({})", options.join(", ")), child, reason)
    });
    target.into_iter().chain(options).collect()
}

/// What a table is described as, and how statistics of its columns are gathered.
pub(super) fn columns(parent: &Parent, child: &str) -> Vec<Step> {
    let comment = parent.comment.as_ref().map(|comment| {
        Step::unseen(format!("COMMENT ON TABLE {child} IS {}", literal(comment)), child, "described as the parent")
    });
    comment.into_iter().chain(parent.columns.iter().flat_map(|column| column_settings(column, child))).collect()
}

/// Indexes with their constraints, equal to the parent's, and the replica identity.
pub(super) fn indexes(parent: &Parent, digits: &str, name: &str, child: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut taken = parent.taken.clone();
    taken.push(name.to_owned());
    for index in &parent.indexes {
        let name = suffixed_apart(&index.name, digits, &taken);
        steps.extend(self::index(index, &name, &qualified(&parent.schema, &name), child, parent)?);
        taken.push(name);
    }
    steps.extend(replica_identity(parent, child));
    Ok(steps)
}

/// The replica identity of a parent that names no index.
pub(super) fn replica_identity(parent: &Parent, child: &str) -> Option<Step> {
    let kind = match parent.replica_identity.as_str() {
        "f" => "FULL",
        "n" => "NOTHING",
        _ => return None,
    };
    let statement = format!("ALTER TABLE {child} REPLICA IDENTITY {kind}");
    Some(Step::unseen(statement, child, "replica identity as on the parent"))
}

/// Statistics over several columns, of the parent's owner.
pub(super) fn statistics(parent: &Parent, digits: &str, child: &str) -> Vec<Step> {
    let (mut steps, mut taken) = (Vec::new(), parent.taken.clone());
    for statistics in &parent.statistics {
        let name = suffixed_apart(&statistics.name, digits, &taken);
        let quoted = qualified(&parent.schema, &name);
        let kinds =
            if statistics.kinds.is_empty() { String::new() } else { format!(" ({})", statistics.kinds.join(", ")) };
        let mut add = |statement: String, reason: &str| steps.push(Step::unseen(statement, child, reason));
        add(
            format!("CREATE STATISTICS {quoted}{kinds} ON {} FROM {child}", statistics.columns),
            "statistics over several columns are gathered as on the parent",
        );
        if let Some(target) = statistics.target {
            add(format!("ALTER STATISTICS {quoted} SET STATISTICS {target}"), "as exact as on the parent");
        }
        if let Some(comment) = &statistics.comment {
            add(format!("COMMENT ON STATISTICS {quoted} IS {}", literal(comment)), "described as on the parent");
        }
        if parent.caller != parent.owner {
            add(
                format!("ALTER STATISTICS {quoted} OWNER TO {}", identifier(&parent.owner)),
                "statistics belong to the owner of the parent, whoever makes them",
            );
        }
        taken.push(name);
    }
    steps
}

/// One index with its constraint under a name, which is also given qualified.
pub(super) fn index(index: &Index, name: &str, made: &str, child: &str, parent: &Parent) -> Result<Vec<Step>> {
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
    for (column, target) in &index.targets {
        steps.push(Step::unseen(
            format!("ALTER INDEX {made} ALTER COLUMN {column} SET STATISTICS {target}"),
            child,
            "statistics are gathered as on the parent",
        ));
    }
    if let Some(comment) = &index.comment {
        steps.push(Step::unseen(
            format!("COMMENT ON INDEX {made} IS {}", literal(comment)),
            child,
            "described as on the parent",
        ));
    }
    if let Some(comment) = &index.constraint_comment {
        steps.push(Step::unseen(
            format!("COMMENT ON CONSTRAINT {quoted} ON {child} IS {}", literal(comment)),
            child,
            "described as on the parent",
        ));
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

/// Row-level security with its policies.
pub(super) fn row_security(parent: &Parent, child: &str) -> Vec<Step> {
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
        steps.extend(parent.policies.iter().flat_map(|policy| policy_steps(policy, child)));
    }
    steps
}

fn policies_fit(parent: &Parent) -> bool {
    parent.policies.iter().all(|policy| !policy.correlated)
}

fn policy_steps(policy: &Policy, child: &str) -> Vec<Step> {
    let kind = if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
    let roles: Vec<String> = policy.roles.iter().map(|r| role(r.as_deref())).collect();
    let using = policy.using.as_ref().map(|e| format!(" USING ({e})")).unwrap_or_default();
    let check = policy.check.as_ref().map(|e| format!(" WITH CHECK ({e})")).unwrap_or_default();
    let name = identifier(&policy.name);
    let made = Step::unseen(
        format!(
            "CREATE POLICY {name} ON {child} AS {kind} FOR {} TO {}{using}{check}",
            policy.command,
            roles.join(", ")
        ),
        child,
        "a policy of the parent",
    );
    let comment = policy.comment.as_ref().map(|comment| {
        let statement = format!("COMMENT ON POLICY {name} ON {child} IS {}", literal(comment));
        Step::unseen(statement, child, "described as on the parent")
    });
    std::iter::once(made).chain(comment).collect()
}

/// The rights that the parent gives; last, since a row could be seen before the attach otherwise.
pub(super) fn grants(parent: &Parent, child: &str) -> Vec<Step> {
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
