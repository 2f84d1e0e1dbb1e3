//! Why a table cannot be converted, one function for each error.

use crate::error::{Condition, Error, quoted};

fn error(condition: Condition, message: String, detail: String, hint: String) -> Error {
    Error::new(condition, message).detail(detail).hint(hint)
}

/// `0A000`: something hangs on the table that cannot be carried.
pub(super) fn not_carried(table: &str, what: &str, why: &str, hint: &str) -> Error {
    error(
        Condition::FeatureNotSupported,
        format!("table {table} cannot be converted: {what}"),
        why.to_owned(),
        hint.to_owned(),
    )
}

/// `42809`: no plain table.
pub(super) fn wrong_kind(table: &str, what: &str, why: &str, hint: &str) -> Error {
    error(
        Condition::WrongObjectType,
        format!("table {table} cannot be converted: {what}"),
        why.to_owned(),
        hint.to_owned(),
    )
}

/// `42501`: the caller does not own the table.
pub(super) fn not_owner(table: &str, caller: &str, owner: &str) -> Error {
    error(
        Condition::InsufficientPrivilege,
        format!("argument \"table\": must be owner of {table}"),
        format!("The current role is {caller}, the owner is {owner}."),
        format!("Become the owner first: SET ROLE {owner}."),
    )
}

/// `42703`: no such column.
pub(super) fn no_key(table: &str, key: &str) -> Error {
    error(
        Condition::UndefinedColumn,
        format!("argument \"key\": {table} has no column {}", quoted(key.as_bytes())),
        "The key is the column whose time tells the partition.".into(),
        format!("Name a column of {table}, as in: key => 'created_at'."),
    )
}

/// `0A000`: a column that periods do not fit.
pub(super) fn unsupported_key(table: &str, key: &str, found: &str) -> Error {
    error(
        Condition::FeatureNotSupported,
        format!("argument \"key\": column {key} of {table} is {found}"),
        "Periods need a stored column of type date, timestamp, timestamptz, bigint or uuid.".into(),
        "Name a time column, as in: key => 'created_at'.".into(),
    )
}

/// `55000`: keys that would get one more column without the caller's word.
pub(super) fn keys_lack_column(table: &str, index: &str, key: &str, wanted: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("unique index {index} of {table} lacks the partition column {key}"),
        format!(
            "A partitioned table has no such key: it would get {key} as its last column, two rows could then share the rest \
             where {key} differs, and ON CONFLICT has to name {key} too."
        ),
        format!("If that will do, make the longer index, {wanted}, and call again with extend_keys => true."),
    )
}

/// `55000`: the longer index is missing.
pub(super) fn longer_missing(table: &str, index: &str, key: &str, wanted: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("{table} has no index that equals {index} with {key} behind"),
        "To build it in here, writers would have to wait; made before, none does.".into(),
        format!("Make it, then call again: {wanted}."),
    )
}

/// `23514`: rows in absurd years.
#[must_use]
pub fn rows_far_ahead(table: &str, range: &str) -> Error {
    error(
        Condition::CheckViolation,
        format!("table {table} holds rows infinitely far or more than ten years ahead"),
        "The adopted partition ends behind the newest row, and later ones would never come to be used.".into(),
        format!("See them with: SELECT * FROM {table} WHERE {range}; correct them, or say adopt_until."),
    )
}
