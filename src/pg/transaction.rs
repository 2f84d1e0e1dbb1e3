//! What a procedure that commits asks first: `refuse_transaction_block`, or whether it may at all.

use eventkit_core::error::{Condition, Error};
use pgrx::prelude::*;

use super::raise::raise;
use crate::raw::server::in_transaction_block;

#[pg_extern(stable, parallel_unsafe, strict, cost = 1)]
fn refuse_transaction_block(procedure: &str) {
    if in_transaction_block() {
        raise(
            Error::new(Condition::ActiveSqlTransaction, format!("{procedure} cannot run inside a transaction block"))
                .detail("It commits after each batch, so that nobody waits for the whole and nothing done is lost.")
                .hint("End the transaction with COMMIT or ROLLBACK, switch autocommit on, and CALL it again."),
        );
    }
}

/// Whether the client has begun a transaction block, in which a procedure leaves the COMMIT to him.
#[pg_extern(name = "in_transaction_block", stable, parallel_unsafe, cost = 1)]
fn transaction_block_is_open() -> bool {
    in_transaction_block()
}
