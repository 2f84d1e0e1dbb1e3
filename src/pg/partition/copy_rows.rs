//! The copy of a query's rows into a new table, as plans of backfill and split_partition name it.

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::partition::error;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::given;
use crate::pg::raise::OrRaise;
use crate::raw::load::load;

/// Copies the rows of a query into columns of a table; the number of rows.
///
/// Takes the table, its columns in the order of the query's, and one SELECT; none may be NULL. It does what `INSERT INTO target
/// (columns) query` does, many rows at a time where the table is a plain one: no index, trigger, rule, generated column or row
/// security, no partition, and the query gives just its columns, by nothing volatile. Linear in rows; holds 64 kB of them. `ROW
/// EXCLUSIVE` on the table, `ACCESS SHARE` on what the query reads. Raises `22004` and `22023` for an argument, `42P01`
/// for a table that is gone, else what that statement raises.
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
        load(target, &columns, query)?.ok_or_else(|| error::no_such_table("target"))
    };
    copied().or_raise().cast_signed()
}
