//! Running a query with the rights of another role, so that nothing in it can reach beyond them: as the server itself
//! does for REFRESH MATERIALIZED VIEW.

use std::ffi::{CStr, CString};

use eventkit_core::error::{Condition, Error, Result};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};

use super::types::{JsonbValue, Varlena};
use super::varlena::Detoasted;

/// Whether the current user is this role or may become it by SET ROLE.
pub fn may_become(role: pg_sys::Oid) -> bool {
    // SAFETY: both only read the catalog; a role that does not exist has no members.
    unsafe {
        let user = pg_sys::GetUserId();
        #[cfg(feature = "pg15")]
        let may = pg_sys::is_member_of_role(user, role);
        #[cfg(not(feature = "pg15"))]
        let may = pg_sys::member_can_set_role(user, role);
        may
    }
}

/// The name of a role; none when there is no such role.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: with `noerr` the server gives a zero-terminated name or NULL.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// What every restricted run is given, whatever the session has: the reader's own path comes on top.
const SETTINGS: [(&CStr, &CStr); 4] =
    [(c"row_security", c"on"), (c"TimeZone", c"UTC"), (c"DateStyle", c"ISO, YMD"), (c"transaction_read_only", c"on")];

/// Runs `work` as a role, with a search path, times in UTC, in a read-only transaction, and in a security-restricted
/// operation: code that is met on the way can neither become somebody else nor leave anything with the session. All is as
/// it was afterwards; when an error is raised, the server restores it as it rolls back. The caller has made sure that the
/// current user may become the role.
pub fn restricted<T>(role: pg_sys::Oid, search_path: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let path = CString::new(search_path).unwrap_or_default();
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    let set = |name: &CStr, value: &CStr| {
        // SAFETY: both are zero-terminated; at the level made below the setting goes with it.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
        }
    };
    // SAFETY: user, context and level are given back in the reverse order of taking them, and by the server's own
    // rollback where the work raises an error.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let restriction = i32::try_from(pg_sys::SECURITY_RESTRICTED_OPERATION).unwrap_or(0);
        pg_sys::SetUserIdAndSecContext(role, context | restriction);
        let level = pg_sys::NewGUCNestLevel();
        set(c"search_path", &path);
        for (name, value) in SETTINGS {
            set(name, value);
        }
        let done = work();
        pg_sys::AtEOXact_GUC(false, level);
        pg_sys::SetUserIdAndSecContext(user, context);
        done
    }
}

/// Runs `work`. A cancel that the server itself raised goes on; code that raises its SQLSTATE does not pass for one.
fn without_false_cancel<T>(work: impl FnOnce() -> Result<T> + std::panic::UnwindSafe) -> Result<T> {
    PgTryBuilder::new(work)
        .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, |cause| match &cause {
            CaughtError::PostgresError(report) if report.function_name() != Some("ProcessInterrupts") => {
                Err(Error::new(Condition::ObjectNotInPrerequisiteState, report.message().to_owned())
                    .detail("What the query calls raised SQLSTATE 57014 itself; nobody cancelled it.")
                    .hint("Run the query by itself to see where."))
            }
            _ => cause.rethrow(),
        })
        .execute()
}

/// Runs one query whose only parameter is `$1 jsonb` and which yields a text and a value of a variable-length type:
/// each row's text, and the bytes of the value behind its length word. The query limits its rows itself: a limit from
/// outside would keep the server from running it in parallel.
pub fn rows(query: &str, parameter: &JsonbValue) -> Result<Vec<(Option<String>, Vec<u8>)>> {
    let query = CString::new(query).unwrap_or_default();
    let failed = |code: i32| {
        Error::new(Condition::ObjectNotInPrerequisiteState, "the saved query cannot be run")
            .detail(format!("The server's SPI gives {code}."))
            .hint("Run the query by itself to see why.")
    };
    let run = || {
        let mut found = Vec::new();
        // SAFETY: the arrays of one parameter live during the call. After a SELECT the server's table of results has as many
        // tuples as it says, of two columns, the second of which is a varlena; they are copied before SPI_finish frees them.
        unsafe {
            let connected = pg_sys::SPI_connect();
            if connected != i32::try_from(pg_sys::SPI_OK_CONNECT).unwrap_or(0) {
                return Err(failed(connected));
            }
            let (mut types, mut values) = ([pg_sys::JSONBOID], [parameter.datum()]);
            let code = pg_sys::SPI_execute_with_args(
                query.as_ptr(),
                1,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                std::ptr::null(),
                true,
                0,
            );
            if code != i32::try_from(pg_sys::SPI_OK_SELECT).unwrap_or(0) {
                pg_sys::SPI_finish();
                return Err(failed(code));
            }
            let table = pg_sys::SPI_tuptable;
            for at in 0..usize::try_from(pg_sys::SPI_processed).unwrap_or(0) {
                let tuple = *(*table).vals.add(at);
                let text = pg_sys::SPI_getvalue(tuple, (*table).tupdesc, 1);
                let text = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
                let mut none = true;
                let value = pg_sys::SPI_getbinval(tuple, (*table).tupdesc, 2, &mut none);
                if !none {
                    found.push((text, Detoasted::open(value).payload().to_vec()));
                }
            }
            pg_sys::SPI_finish();
        }
        Ok(found)
    };
    without_false_cancel(std::panic::AssertUnwindSafe(run))
}
