//! The one place where an error of the core becomes an `ereport`.

use eventkit_core::error::{Condition, Error, Result};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

/// PostgreSQL's own number for a condition.
const fn errcode(condition: Condition) -> PgSqlErrorCode {
    use PgSqlErrorCode as E;
    match condition {
        Condition::InvalidParameterValue => E::ERRCODE_INVALID_PARAMETER_VALUE,
        Condition::NullValueNotAllowed => E::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        Condition::ArraySubscript => E::ERRCODE_ARRAY_ELEMENT_ERROR,
        Condition::InvalidTextRepresentation => E::ERRCODE_INVALID_TEXT_REPRESENTATION,
        Condition::InvalidBinaryRepresentation => E::ERRCODE_INVALID_BINARY_REPRESENTATION,
        Condition::NumericValueOutOfRange => E::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        Condition::InvalidDatetimeFormat => E::ERRCODE_INVALID_DATETIME_FORMAT,
        Condition::DatetimeFieldOverflow => E::ERRCODE_DATETIME_FIELD_OVERFLOW,
        Condition::SqlJsonObjectNotFound => E::ERRCODE_SQL_JSON_OBJECT_NOT_FOUND,
        Condition::SqlJsonArrayNotFound => E::ERRCODE_SQL_JSON_ARRAY_NOT_FOUND,
        Condition::InvalidJsonText => E::ERRCODE_INVALID_JSON_TEXT,
        Condition::ProgramLimitExceeded => E::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        Condition::OutOfMemory => E::ERRCODE_OUT_OF_MEMORY,
        Condition::DataCorrupted => E::ERRCODE_DATA_CORRUPTED,
        Condition::FeatureNotSupported => E::ERRCODE_FEATURE_NOT_SUPPORTED,
        Condition::WrongObjectType => E::ERRCODE_WRONG_OBJECT_TYPE,
        Condition::UndefinedColumn => E::ERRCODE_UNDEFINED_COLUMN,
        Condition::UndefinedTable => E::ERRCODE_UNDEFINED_TABLE,
        Condition::DuplicateTable => E::ERRCODE_DUPLICATE_TABLE,
        Condition::InvalidObjectDefinition => E::ERRCODE_INVALID_OBJECT_DEFINITION,
        Condition::InsufficientPrivilege => E::ERRCODE_INSUFFICIENT_PRIVILEGE,
        Condition::DatatypeMismatch => E::ERRCODE_DATATYPE_MISMATCH,
        Condition::ObjectNotInPrerequisiteState => E::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        Condition::ActiveSqlTransaction => E::ERRCODE_ACTIVE_SQL_TRANSACTION,
        Condition::ReadOnlySqlTransaction => E::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        Condition::ObjectInUse => E::ERRCODE_OBJECT_IN_USE,
        Condition::CheckViolation => E::ERRCODE_CHECK_VIOLATION,
        Condition::InvalidSchemaName => E::ERRCODE_INVALID_SCHEMA_NAME,
    }
}

/// Raises the error to the client; the transaction is rolled back as after any `ERROR`.
pub fn raise(error: Error) -> ! {
    let error = error.into_report();
    let mut report = ErrorReport::new(errcode(error.condition), error.message, "eventkit");
    if let Some(detail) = error.detail {
        report = report.set_detail(detail);
    }
    if let Some(hint) = error.hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    // `report` does not return at level ERROR, but its type does not say so.
    std::process::abort()
}

/// The value, or the error raised.
pub trait OrRaise<T> {
    /// Gives the value of an `Ok`; raises an `Err` to the client.
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T> {
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => raise(error),
        }
    }
}
