//! Saved funnels: describing and running the query of one with the rights of its owner. The commands are SQL.

use eventkit_core::error::{Condition, Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::raise::OrRaise;
use crate::raw::parse;
use crate::raw::restricted::{self, restricted, role_name};
use crate::raw::state::State;
use crate::raw::types::{FunnelSummary, JsonbValue};

/// The most values that a breakdown may have: each is a summary in memory.
const MOST_VALUES: usize = 1000;

/// Refuses a role that the current user may not become. Errors: `55000` where there is none, `42501`.
fn check_role(role: pg_sys::Oid) -> Result<()> {
    let Some(name) = role_name(role) else {
        return Err(Error::new(Condition::ObjectNotInPrerequisiteState, "the owner of the saved funnel is gone")
            .detail(format!("There is no role with OID {}.", role.to_u32()))
            .hint("UPDATE eventkit.saved_funnels SET owner = '…' WHERE name = '…';"));
    };
    if restricted::may_become(role) {
        return Ok(());
    }
    Err(Error::new(Condition::InsufficientPrivilege, format!("permission denied to act as role \"{name}\""))
        .detail("A saved funnel runs with the rights of its owner, for those who may become that role.")
        .hint("Ask for a membership of the role."))
}

#[pg_extern(stable, strict, parallel_safe, cost = 10)]
fn may_become(role: pg_sys::Oid) -> bool {
    restricted::may_become(role)
}

#[pg_extern(stable, strict, parallel_safe, cost = 10)]
fn check_funnel_filter(filter: &str) {
    parse::check_condition(filter).or_raise();
}

#[pg_extern(stable, strict, parallel_unsafe, cost = 1000)]
fn describe_funnel_query(
    query: &str,
    owner: pg_sys::Oid,
    search_path: &str,
) -> TableIterator<'static, (name!(column_name, String), name!(column_type, pg_sys::Oid))> {
    let describe = || {
        check_role(owner)?;
        restricted(owner, search_path, || parse::reading(query))
    };
    TableIterator::new(describe().or_raise().columns)
}

/// The statement that summarises what a saved query yields, the query in parentheses: it was parsed by itself before,
/// so that nothing in it can close them. At most one row more than a breakdown may have.
fn summarising(query: &parse::Reading, limit: usize) -> String {
    let breakdown = query.columns.iter().any(|(name, _)| name == "breakdown");
    let (value, group) =
        if breakdown { ("q.breakdown::pg_catalog.text", " GROUP BY 1 ORDER BY 1") } else { ("NULL", "") };
    format!("SELECT {value}, eventkit.funnel_agg(q.events, $1) FROM (\n{}\n) AS q{group} LIMIT {limit}", query.text)
}

#[pg_extern(stable, strict, parallel_unsafe, cost = 1000000, requires = ["funnel_summary_type"])]
fn run_funnel_query(
    query: &str,
    definition: JsonbValue,
    owner: pg_sys::Oid,
    search_path: &str,
    dry: bool,
) -> TableIterator<'static, (name!(breakdown, Option<String>), name!(summary, FunnelSummary))> {
    let run = || -> Result<_> {
        check_role(owner)?;
        let most = if dry { 0 } else { MOST_VALUES + 1 };
        let rows = restricted(owner, search_path, || {
            restricted::rows(&summarising(&parse::reading(query)?, most), &definition)
        })?;
        if rows.len() > MOST_VALUES {
            return Err(Error::new(
                Condition::ProgramLimitExceeded,
                format!("the breakdown has more than {MOST_VALUES} values"),
            )
            .detail("Each value gets a summary of its own.")
            .hint("Break down by something coarser, or leave rare values out by a filter."));
        }
        Ok(rows)
    };
    let rows = run().or_raise();
    TableIterator::new(
        rows.into_iter().map(|(breakdown, bytes)| (breakdown, State::new(&bytes).or_raise().into_value())),
    )
}

pgrx::extension_sql_file!(
    "../../../sql/saved_funnels.sql",
    name = "saved_funnels",
    requires = [
        may_become,
        check_funnel_filter,
        describe_funnel_query,
        run_funnel_query,
        "funnel_aggregates",
        "funnel_summary_type"
    ],
);
