//! The workers of a backfill, which copy periods beside the session that has started it.

use super::{catalog, given};
use crate::pg::raise::OrRaise;
use crate::raw::server::has_borrowed_rights;
use crate::raw::worker::{self, Workers};
use eventkit_core::error::Result;
use eventkit_core::partition::error;
use pgrx::prelude::*;

/// What the session has set for itself and a worker has to be told: those of the database and the role it has by itself.
const SETTINGS: &str = "SELECT s.name, s.setting FROM pg_settings s WHERE s.source IN ('session', 'client') \
    AND (s.context = 'user' OR s.context = 'superuser' AND (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)) \
    AND s.name NOT IN ('application_name', 'client_encoding', 'transaction_isolation', 'transaction_read_only', 'transaction_deferrable')";

/// Whether the caller may call the procedure whose work the workers do.
const MAY_BACKFILL: &str = "SELECT bool_and(has_function_privilege(p.oid, 'EXECUTE')) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE n.nspname = 'eventkit' AND p.proname = 'backfill'";

/// Starts workers that run `run_backfill_job`, and returns how many the server had a place for.
///
/// Takes the arguments of that procedure as texts (an element that is NULL is an argument that is NULL) and the number of workers. They run
/// as the caller, with his session's settings, until they have no more to do or the transaction is aborted. Takes no lock. Raises `42501` for one who may
/// not call `backfill`, and where the rights are borrowed (`SECURITY DEFINER`, maintenance of another's table): a worker would have those of the session.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.start_backfill_workers(arguments text[], workers int) RETURNS int
VOLATILE PARALLEL UNSAFE COST 100000 LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
pub fn start_backfill_workers(arguments: Option<Vec<Option<String>>>, workers: Option<i32>) -> i32 {
    let start = || -> Result<Workers> {
        let (arguments, workers) = (given(arguments, "arguments")?, given(workers, "workers")?);
        if has_borrowed_rights() || catalog::one::<bool>(MAY_BACKFILL, &[])? != Some(true) {
            return Err(error::no_workers());
        }
        let quoted =
            "SELECT string_agg(quote_nullable(u.a), ', ' ORDER BY u.n) FROM unnest($1) WITH ORDINALITY u (a, n)";
        let arguments = catalog::one::<String>(quoted, &[arguments.into()])?.unwrap_or_default();
        let settings = catalog::all(SETTINGS, |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)))?;
        let settings: Vec<_> = settings.into_iter().filter_map(|(name, value)| Some((name?, value?))).collect();
        let statement = format!("CALL eventkit.run_backfill_job({arguments})");
        Ok(Workers::start(usize::try_from(workers).unwrap_or(0), &settings, &statement))
    };
    let workers = start().or_raise();
    let started = i32::try_from(workers.count()).unwrap_or(i32::MAX);
    if started > 0 {
        worker::keep(workers);
    }
    started
}

/// Waits for the workers that `start_backfill_workers` has started in this session, if there are any, and returns how many have failed. Takes no lock.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.await_backfill_workers() RETURNS int
VOLATILE PARALLEL UNSAFE COST 100000 LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
pub fn await_backfill_workers() -> i32 {
    i32::try_from(worker::wait_for_kept()).unwrap_or(i32::MAX)
}
