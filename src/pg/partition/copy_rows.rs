//! The copy of a query's rows into a new table, as plans of backfill and split_partition name it.

use std::ffi::CString;

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::partition::error;
use eventkit_core::partition::name::identifier;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::{catalog, given};
use crate::pg::raise::OrRaise;
use crate::raw::load::load;

/// Copies the rows of a query into columns of a table; the number of rows.
///
/// Takes the table, its columns in the order of the query's, and one query; none may be NULL. It does what `INSERT INTO target
/// (columns) query` does, many rows at a time where the table is a plain one: no index, trigger, rule, generated column or row
/// security, no partition, and the query gives just its columns. Linear in rows; holds 64 kB of them. `ROW EXCLUSIVE` on the
/// table, `ACCESS SHARE` on what the query reads. Raises `22004` and `22023` for an argument, else what that statement raises.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.copy_rows(target regclass, columns text[], query text) RETURNS bigint
VOLATILE PARALLEL UNSAFE COST 100 LANGUAGE c
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn copy_rows(target: Option<Oid>, columns: Option<Vec<Option<String>>>, query: Option<&str>) -> i64 {
    let copied = || -> Result<u64> {
        let (target, query) = (given(target, "target")?, given(query, "query")?);
        let columns: Option<Vec<String>> = given(columns, "columns")?.into_iter().collect();
        let columns = columns.filter(|columns| !columns.is_empty()).ok_or_else(|| {
            Error::new(Condition::InvalidParameterValue, "argument \"columns\" must name columns")
                .detail("It is empty or holds a NULL.")
                .hint("Name the columns that the query gives, in its order: ARRAY['id', 'at'].")
        })?;
        let name = catalog::one::<String>(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.oid OPERATOR(pg_catalog.=) $1",
            &[target.into()],
        )?;
        let name = name.ok_or_else(|| error::no_such_table("target"))?;
        let quoted: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
        let insert = format!("INSERT INTO {name} ({}) {query}", quoted.join(", "));
        let text = |text: &str| CString::new(text).unwrap_or_default();
        Ok(load(target, &text(&insert), &columns, &text(query)))
    };
    copied().or_raise().cast_signed()
}
