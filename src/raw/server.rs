//! What differs between server versions, and the server's calls that any loop needs.

use eventkit_core::value::IntegerSyntax;

/// How this server reads a `bigint`.
pub const INTEGER_SYNTAX: IntegerSyntax =
    if cfg!(feature = "pg15") { IntegerSyntax::Decimal } else { IntegerSyntax::WithRadix };

/// Whether the client has begun a transaction block, so that nothing may commit before he does.
pub fn in_transaction_block() -> bool {
    // SAFETY: reads the state of this backend's transaction.
    unsafe { pgrx::pg_sys::IsTransactionBlock() }
}

/// Lets the server cancel the statement: does not return then, but unwinds.
pub fn poll() {
    pgrx::check_for_interrupts!();
}
