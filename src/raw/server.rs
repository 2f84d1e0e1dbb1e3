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

/// Whether the server is a standby, which gets all it has from a primary.
pub fn in_recovery() -> bool {
    // SAFETY: reads the state of the server.
    unsafe { pgrx::pg_sys::RecoveryInProgress() }
}

/// Whether the transaction may write nothing.
pub fn is_read_only() -> bool {
    // SAFETY: reads the state of this backend's transaction.
    unsafe { pgrx::pg_sys::XactReadOnly }
}

/// Whether what runs has other rights than the session for a while: in a function of another's rights, or in maintenance of another's table.
pub fn has_borrowed_rights() -> bool {
    // SAFETY: reads the state of this backend.
    unsafe { pgrx::pg_sys::InLocalUserIdChange() || pgrx::pg_sys::InSecurityRestrictedOperation() }
}

/// Lets the server cancel the statement: does not return then, but unwinds.
pub fn poll() {
    pgrx::check_for_interrupts!();
}

/// Runs `work` with the rights of another role and none to change roles, as the server does in maintenance of others' tables:
/// functions that the role has put into its tables cannot use the rights of the one who calls.
pub fn as_role<T>(role: pgrx::pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    use pgrx::pg_sys;
    const RESTRICTED: i32 = pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
    let (mut before, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: reads and sets two variables of this backend. After an error the end of the transaction or subtransaction,
    // without which nobody goes on, puts them back.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | RESTRICTED);
    }
    let done = work();
    // SAFETY: as above.
    unsafe { pg_sys::SetUserIdAndSecContext(before, context) }
    done
}
