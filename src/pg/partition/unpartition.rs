//! Making a partitioned table plain again: what is read, and the plan as SQL shows it.

use super::convert::{dependents, guard};
use super::plans::plan_rows;
use super::{catalog, given, split};
use crate::pg::raise::OrRaise;
use eventkit_core::error::Result;
use eventkit_core::partition::name::qualified;
use eventkit_core::partition::plan::{self, unpartition};
use eventkit_core::partition::snapshot::Refusal;
use eventkit_core::partition::step::Step;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

/// The steps of `unpartition_table`, without doing them.
///
/// Takes the parent, or the plain table that an interrupted call has made of it. Takes no lock but `ACCESS SHARE`. Raises what `plan::key_of` raises, `0A000` for what cannot be carried, `42P07` when the name of
/// the new table is taken.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.plan_unpartition_table(parent regclass) RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 50 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_plan"])]
fn plan_unpartition_table(
    parent: Option<Oid>,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(statement, Option<String>),
        name!(lock, Option<String>),
        name!(target, String),
        name!(reason, String),
    ),
> {
    let steps = || -> Result<Vec<Step>> {
        let table = given(parent, "parent")?;
        let parent = catalog::parent(table)?;
        if matches!(parent.refusal, Some(Refusal::NotRange(_))) && parent.caller_owns {
            let left = unpartition::finish(&parent, &dependents(table, "", true)?.0);
            if !left.is_empty() {
                return Ok(left);
            }
        }
        let key = plan::key_of(&parent)?;
        let (found, seen) = dependents(table, &key.column, true)?;
        let name = parent.qualified();
        let partitions = catalog::one::<Vec<Oid>>(
            "SELECT array_agg(i.inhrelid ORDER BY i.inhrelid) FROM pg_inherits i WHERE i.inhparent = $1",
            &[table.into()],
        )?;
        if let Some((partition, what)) = split::bound_to(&partitions.unwrap_or_default(), table)? {
            return Err(plan::split::not_carried(&partition, &name, &what));
        }
        let state = split::capture_state(table)?;
        let plain = qualified(&parent.schema, &unpartition::plain_name(&parent));
        let copies = split::copies_of(table)?;
        let left = unpartition::Left {
            captured: state.captured,
            log: state.log,
            function: state.function,
            // The table may have had another name when it was made.
            plain: copies.first().map(|(_, copy, _)| copy.clone()),
        };
        if let Some(other) = split::captured_partition(table)? {
            return Err(plan::split::captured_by_another(&name, &other));
        }
        let log = qualified(&parent.schema, &unpartition::log_name(&parent));
        let function = plan::split::capture_of(&parent.schema, &parent.name);
        split::names_are_free(&name, &[&log, &plain], &function, &left)?;
        // The largest partition tells how the rows are stored; the parent cannot.
        let largest = catalog::one::<Oid>(
            "SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind = 'r' WHERE i.inhparent = $1 \
             ORDER BY pg_relation_size(c.oid) DESC, c.oid LIMIT 1",
            &[table.into()],
        )?;
        let storage = largest.map(split::storage_of).transpose()?.unwrap_or_default();
        let known = catalog::one::<String>(
            "SELECT array_agg(format('%s/%s', c.oid, c.relfilenode) ORDER BY c.oid)::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = $1",
            &[table.into()],
        )?;
        let known = known.unwrap_or_else(|| "{}".to_owned());
        let guard = guard(table, &parent, &key.column, &seen)?;
        unpartition::unpartition(&parent, &found, key, (&guard, &known), &left, &storage)
    };
    plan_rows(steps().or_raise())
}
