//! What is said when a source cannot be captured.

use super::super::name::literal;
use crate::error::{Condition, Error};

fn error(condition: Condition, message: String, detail: &str, hint: String) -> Error {
    Error::new(condition, message).detail(detail.to_owned()).hint(hint)
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// How a backfill is called that captures nothing.
fn without(from: &str, table: &str) -> String {
    format!("CALL eventkit.backfill('{}', '{}', capture => false)", quoted(from), quoted(table))
}

/// `42809`: a source without triggers.
#[must_use]
pub fn kind(from: &str, table: &str) -> Error {
    error(
        Condition::WrongObjectType,
        format!("argument \"source\": changes of {from} cannot be captured"),
        "Triggers that see each row exist on tables and partitioned tables only.",
        format!("When nobody writes to it meanwhile: {}.", without(from, table)),
    )
}

/// `42501`: the caller may not make triggers on the source.
#[must_use]
pub fn owner(from: &str, caller: &str, owner: &str) -> Error {
    error(
        Condition::InsufficientPrivilege,
        format!("argument \"source\": must be owner of {from} to capture its changes"),
        &format!("The current role is {caller}, the owner is {owner}."),
        format!(
            "Become the owner first: SET ROLE {owner}; or, when nobody writes to it meanwhile, say capture => false."
        ),
    )
}

/// `42501`: two owners.
#[must_use]
pub fn owners(from: &str, of_source: &str, table: &str, of_parent: &str) -> Error {
    error(
        Condition::InsufficientPrivilege,
        format!("{from} and {table} have different owners"),
        &format!(
            "They belong to {of_source} and {of_parent}. The triggers on the source run with the rights of its owner and write to a table beside the parent."
        ),
        format!(
            "Let one role own both: ALTER TABLE {table} OWNER TO {of_source}; or, when nobody writes to the source meanwhile: {}.",
            without(from, table)
        ),
    )
}

/// `0A000`: rows of other tables would go unseen.
#[must_use]
pub fn inherited(from: &str, table: &str) -> Error {
    error(
        Condition::FeatureNotSupported,
        format!("argument \"source\": other tables inherit from {from}"),
        "Triggers on it do not see the rows of those tables.",
        format!("Backfill each of them, or, when nobody writes to them meanwhile: {}.", without(from, table)),
    )
}

/// `55000`: a source whose rows cannot be told apart.
#[must_use]
pub fn without_key(from: &str, table: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("argument \"source\": {from} has neither a primary key nor an index as replica identity"),
        "Changes made meanwhile are captured by the key of their rows.",
        format!(
            "Give it a key: ALTER TABLE {from} ADD PRIMARY KEY (…); or, when nobody writes to it meanwhile: {}.",
            without(from, table)
        ),
    )
}

/// `55000`: triggers, function or table of a capture are gone.
#[must_use]
pub fn broken(from: &str, table: &str, changes: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("the capture of {from} for {table} is not whole"),
        &format!(
            "Triggers of {from} that write to {changes}, or their function, are gone or disabled, or were for a time; changes may have been missed."
        ),
        format!(
            "SELECT * FROM eventkit.backfill_differences({0}, {1}) shows the periods whose numbers of rows differ, not those where values alone do; when you know that no others have changed, empty only their partitions below. To copy all anew: CALL eventkit.abandon_backfill({0}, {1}); TRUNCATE {table}; CALL eventkit.backfill({0}, {1}).",
            literal(from),
            literal(table)
        ),
    )
}

/// `55000`: nothing is captured.
#[must_use]
pub fn nothing(from: &str, table: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("no changes of {from} are captured for {table}"),
        "No backfill of this pair with capture => true has begun, or it is finished.",
        format!("Begin one with: CALL eventkit.backfill('{}', '{}').", quoted(from), quoted(table)),
    )
}

/// `55000`: all is done already.
#[must_use]
pub fn finished(from: &str, table: &str, at: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("the backfill from {from} into {table} was finished at {at}"),
        "Nothing has been captured since then: there is nothing left to apply.",
        format!(
            "Nothing is to be done. Whether the source was written to afterwards show: SELECT * FROM eventkit.backfill_differences({}, {}).",
            literal(from),
            literal(table)
        ),
    )
}

/// `55000`: triggers on the source without a backfill.
#[must_use]
pub fn stray(from: &str, table: &str, function: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("argument \"source\": {from} has the triggers of a capture that no backfill knows"),
        &format!(
            "They call {function}(). The table that they note changes in was dropped, or the extension was, or the database was restored without its rows."
        ),
        format!(
            "Remove them: CALL eventkit.abandon_backfill({0}, {1}); what changed meanwhile is not known: drop the partitions of {table} that were copied already, then: CALL eventkit.backfill({0}, {1}).",
            literal(from),
            literal(table)
        ),
    )
}

/// `22023`: no such way to verify.
#[must_use]
pub fn unknown_verify(found: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"verify\": unknown value {}", crate::error::quoted(found.as_bytes())),
        "It is 'count' (as many rows), 'content' (the same values) or 'none'.",
        "Leave it out to have the rows counted.".into(),
    )
}

/// `22023`: no rows a batch.
#[must_use]
pub fn batch_rows(found: i64) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"batch_rows\" is out of range: {found}"),
        "A batch has at least one change; each batch is one transaction.",
        "Leave it out to get its default of 10000.".into(),
    )
}
