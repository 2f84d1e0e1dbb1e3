//! The steps by which foreign keys leave a parent while it is split: its partitions have them meanwhile, proved one by one.

use super::super::name::{literal, qualified};
use super::super::snapshot::{HeldKey, Parent};
use super::super::step::{Lock, Step};
use super::convert::Dependents;

fn call(function: &str, tables: &[&str], reason: &str) -> Step {
    let table = tables.first().copied().unwrap_or_default();
    let arguments: Vec<_> = tables.iter().map(|table| format!("{}::pg_catalog.regclass", literal(table))).collect();
    Step::locking(
        format!("SELECT eventkit.{function}({})", arguments.join(", ")),
        Lock::ShareRowExclusive,
        table,
        reason,
    )
}

/// Gives the keys that wait, which the partition that has just left has, to its parts; they are proved later.
pub(super) fn hold(table: &str, gone: &str, reason: &str) -> Step {
    call("hold_foreign_keys", &[table, gone], reason)
}

/// Gives the keys that wait, if any do, to a partition that has come by itself, and proves them as the attach would have.
pub(super) fn hold_in_one(parent: &Parent) -> Step {
    let mut step = call(
        "hold_foreign_keys",
        &[&parent.qualified()],
        "while a split proves foreign keys each partition has them for itself, the new one too; nothing at other times",
    );
    if parent.waiting.is_none() {
        step.lock = None;
    }
    step
}

/// Takes the keys that can be taken off the parent; nothing where there is none. Stands under the locks of the exchange.
pub(super) fn loosen(found: &Dependents, table: &str) -> Option<Step> {
    let mut step = call(
        "loosen_foreign_keys",
        &[table],
        "each partition gets its own, which holds for every change from now on: the attach has nothing to check",
    );
    step.lock = Some(Lock::AccessExclusive);
    found.foreign_keys.iter().any(|key| key.loose).then_some(step)
}

/// The keys that are to be proved after the parts have come: those of the parts and those of the partitions that stay.
pub(super) fn held(parent: &Parent, found: &Dependents, wide: (&str, &str), parts: &[String]) -> Vec<HeldKey> {
    let mut keys: Vec<HeldKey> = parent.waiting.iter().flatten().cloned().collect();
    let mut names: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
    names.extend(found.foreign_keys.iter().filter(|key| key.loose).map(|key| key.name.clone()));
    names.sort();
    names.dedup();
    let key = |schema: &str, table: &str, name: &String| HeldKey {
        schema: schema.to_owned(),
        table: table.to_owned(),
        name: name.clone(),
    };
    for name in &names {
        keys.extend(parts.iter().map(|part| key(&parent.schema, part, name)));
    }
    for new in found.foreign_keys.iter().filter(|key| key.loose) {
        keys.extend(found.partitions.iter().map(|(schema, table)| key(schema, table, &new.name)));
    }
    keys.retain(|key| (key.schema.as_str(), key.table.as_str()) != wide);
    keys
}

/// Proves the keys, a transaction each, and gives them back to the parent in a short one.
pub(super) fn tighten(parent: &Parent, keys: &[HeldKey]) -> Vec<Step> {
    let (table, mut steps) = (parent.qualified(), Vec::new());
    for key in keys {
        let partition = qualified(&key.schema, &key.table);
        steps.push(Step::locking(
            format!("SELECT eventkit.prove_foreign_key({}, {})", literal(&partition), literal(&key.name)),
            Lock::ShareUpdateExclusive,
            &partition,
            "proved for the rows that were there; readers and writers go on",
        ));
        steps.push(Step::commit(partition));
    }
    // Writers take the parent first, then what it refers to.
    for linked in parent.linked.iter().filter(|linked| linked.is_parent) {
        let target = qualified(&linked.schema, &linked.name);
        let lock = Lock::ShareRowExclusive;
        let statement = format!("LOCK TABLE ONLY {target} IN {} MODE", lock.sql());
        steps.push(Step::locking(statement, lock, target, "nobody writes while the keys change hands; readers go on"));
    }
    for linked in parent.linked.iter().filter(|linked| linked.referenced && !linked.is_parent && linked.lockable) {
        let target = qualified(&linked.schema, &linked.name);
        let lock = Lock::AccessExclusive;
        let statement = format!("LOCK TABLE {target} IN {} MODE", lock.sql());
        steps.push(Step::locking(
            statement,
            lock,
            target,
            "triggers on it are dropped, which the parent's replace; no row is read",
        ));
    }
    steps.push(call("tighten_foreign_keys", &[&table], "takes over what all partitions have proved: no row is read"));
    steps.push(Step::commit(table));
    steps
}
