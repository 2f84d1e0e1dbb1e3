//! What a procedure asks first: whether it may write (`refuse_read_only`), and commit (`refuse_transaction_block`, or whether it may at all); the
//! locks that it keeps through its COMMITs.

use eventkit_core::error::{Condition, Error};
use pgrx::prelude::*;

use super::raise::raise;
use crate::raw::server::{in_recovery, in_transaction_block, is_read_only};
use crate::raw::session_locks::remember;

#[pg_extern(stable, parallel_unsafe, strict, cost = 1)]
fn refuse_transaction_block(procedure: &str) {
    refuse_read_only(procedure);
    if in_transaction_block() {
        raise(
            Error::new(Condition::ActiveSqlTransaction, format!("{procedure} cannot run inside a transaction block"))
                .detail("It commits after each batch, so that nobody waits for the whole and nothing done is lost.")
                .hint("End the transaction with COMMIT or ROLLBACK, switch autocommit on, and CALL it again."),
        );
    }
}

#[pg_extern(stable, parallel_unsafe, strict, cost = 1)]
fn refuse_read_only(procedure: &str) {
    let (what, detail, hint) = if in_recovery() {
        (
            "on a standby",
            "It writes, and a standby has nothing but what the primary wrote.",
            "CALL it on the primary; what it does arrives here.",
        )
    } else if is_read_only() {
        (
            "in a read-only transaction",
            "It writes.",
            "Begin with: BEGIN READ WRITE; for a whole session: SET default_transaction_read_only = off.",
        )
    } else {
        return;
    };
    raise(
        Error::new(Condition::ReadOnlySqlTransaction, format!("{procedure} cannot run {what}"))
            .detail(detail)
            .hint(hint),
    );
}

/// Whether the client has begun a transaction block, in which a procedure leaves the COMMIT to him.
#[pg_extern(name = "in_transaction_block", stable, parallel_unsafe, cost = 1)]
fn transaction_block_is_open() -> bool {
    in_transaction_block()
}

/// Remembers that this session holds an advisory lock through its COMMITs, or that it does no more: an abort gives back what it holds.
#[pg_extern(volatile, parallel_unsafe, strict, cost = 1)]
fn remember_session_lock(key: i64, held: bool) {
    remember(key, held);
}
