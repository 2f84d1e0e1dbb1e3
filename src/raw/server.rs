//! What differs between server versions, and the server's calls that any loop needs.

use eventkit_core::value::IntegerSyntax;

/// How this server reads a `bigint`.
pub const INTEGER_SYNTAX: IntegerSyntax =
    if cfg!(feature = "pg15") { IntegerSyntax::Decimal } else { IntegerSyntax::WithRadix };

/// Lets the server cancel the statement: does not return then, but unwinds.
pub fn poll() {
    pgrx::check_for_interrupts!();
}
