//! The one error type: SQLSTATE, message, detail and hint as data; `src/pg/raise.rs` turns it into an `ereport`.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The conditions this product raises, each one of PostgreSQL's own SQLSTATEs, so that drivers know them by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `22023`: an argument has a value outside of its documented set.
    InvalidParameterValue,
    /// `22004`: a NULL where a value is required.
    NullValueNotAllowed,
    /// `2202E`: an array of another shape than the one documented.
    ArraySubscript,
    /// `22P02`: a text that is not of the type it should be read as.
    InvalidTextRepresentation,
    /// `22P03`: bytes of a binary message that are not of the type they should be read as.
    InvalidBinaryRepresentation,
    /// `22003`: a number outside of the range of its type.
    NumericValueOutOfRange,
    /// `22007`: a text that is no time.
    InvalidDatetimeFormat,
    /// `22008`: a time outside of the range of `timestamptz`.
    DatetimeFieldOverflow,
    /// `2203C`: a JSON value that is no object where an event is required.
    SqlJsonObjectNotFound,
    /// `22039`: a JSON value that is no array where an event array is required.
    SqlJsonArrayNotFound,
    /// `22032`: a JSON document that does not say what it should.
    InvalidJsonText,
    /// `54000`: a result beyond a documented limit.
    ProgramLimitExceeded,
    /// `53200`: the machine has no memory left for this.
    OutOfMemory,
    /// `XX001`: bytes that are no value of their type.
    DataCorrupted,
    /// `0A000`: a thing that this version does not do.
    FeatureNotSupported,
    /// `42809`: a relation or object of another kind than the one required.
    WrongObjectType,
    /// `42703`: no such column.
    UndefinedColumn,
    /// `42P01`: no such table.
    UndefinedTable,
    /// `42P07`: the name is taken.
    DuplicateTable,
    /// `42P17`: an object whose definition does not fit.
    InvalidObjectDefinition,
    /// `42501`: the caller's rights do not suffice.
    InsufficientPrivilege,
    /// `42804`: a column or argument of another type than the one required.
    DatatypeMismatch,
    /// `55000`: the object is not in the state that this needs.
    ObjectNotInPrerequisiteState,
    /// `25001`: inside of a transaction block, where a thing that commits cannot run.
    ActiveSqlTransaction,
    /// `25006`: a standby, or a transaction that may not write.
    ReadOnlySqlTransaction,
    /// `55006`: somebody else is at it.
    ObjectInUse,
    /// `23514`: rows that do not satisfy a bound.
    CheckViolation,
    /// `3F000`: no such schema.
    InvalidSchemaName,
}

impl Condition {
    /// Every condition, for tests and reference pages.
    pub const ALL: [Self; 28] = [
        Self::InvalidParameterValue,
        Self::NullValueNotAllowed,
        Self::ArraySubscript,
        Self::InvalidTextRepresentation,
        Self::InvalidBinaryRepresentation,
        Self::NumericValueOutOfRange,
        Self::InvalidDatetimeFormat,
        Self::DatetimeFieldOverflow,
        Self::SqlJsonObjectNotFound,
        Self::SqlJsonArrayNotFound,
        Self::InvalidJsonText,
        Self::ProgramLimitExceeded,
        Self::OutOfMemory,
        Self::DataCorrupted,
        Self::FeatureNotSupported,
        Self::WrongObjectType,
        Self::UndefinedColumn,
        Self::UndefinedTable,
        Self::DuplicateTable,
        Self::InvalidObjectDefinition,
        Self::InsufficientPrivilege,
        Self::DatatypeMismatch,
        Self::ObjectNotInPrerequisiteState,
        Self::ActiveSqlTransaction,
        Self::ReadOnlySqlTransaction,
        Self::ObjectInUse,
        Self::CheckViolation,
        Self::InvalidSchemaName,
    ];

    /// The five characters that a client sees.
    #[must_use]
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "22023",
            Self::NullValueNotAllowed => "22004",
            Self::ArraySubscript => "2202E",
            Self::InvalidTextRepresentation => "22P02",
            Self::InvalidBinaryRepresentation => "22P03",
            Self::NumericValueOutOfRange => "22003",
            Self::InvalidDatetimeFormat => "22007",
            Self::DatetimeFieldOverflow => "22008",
            Self::SqlJsonObjectNotFound => "2203C",
            Self::SqlJsonArrayNotFound => "22039",
            Self::InvalidJsonText => "22032",
            Self::ProgramLimitExceeded => "54000",
            Self::OutOfMemory => "53200",
            Self::DataCorrupted => "XX001",
            Self::FeatureNotSupported => "0A000",
            Self::WrongObjectType => "42809",
            Self::UndefinedColumn => "42703",
            Self::UndefinedTable => "42P01",
            Self::DuplicateTable => "42P07",
            Self::InvalidObjectDefinition => "42P17",
            Self::InsufficientPrivilege => "42501",
            Self::DatatypeMismatch => "42804",
            Self::ObjectNotInPrerequisiteState => "55000",
            Self::ActiveSqlTransaction => "25001",
            Self::ReadOnlySqlTransaction => "25006",
            Self::ObjectInUse => "55006",
            Self::CheckViolation => "23514",
            Self::InvalidSchemaName => "3F000",
        }
    }
}

/// What a client is told. One word wide, since it rides in the result of every step of every scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Report>);

/// A condition, one sentence that names the argument, row or element, what exactly was found (detail) and what to type
/// next (hint).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The SQLSTATE.
    pub condition: Condition,
    /// The primary message, lower case, without a full stop, as PostgreSQL writes them.
    pub message: Cow<'static, str>,
    /// What was found, as a sentence.
    pub detail: Option<Cow<'static, str>>,
    /// What to do next, as a sentence.
    pub hint: Option<Cow<'static, str>>,
}

/// The result of everything in this crate that can be given bad input.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without detail and hint; add them with [`Error::detail`] and [`Error::hint`].
    #[must_use]
    #[cold]
    pub fn new(condition: Condition, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Report { condition, message: message.into(), detail: None, hint: None }))
    }

    /// The same error with a DETAIL.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The same error with a HINT.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What it says.
    #[must_use]
    pub fn into_report(self) -> Report {
        *self.0
    }
}

impl Deref for Error {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Report {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.condition.sqlstate(), self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " [{hint}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A value quoted for a message: cut to a length that fits a log line, control characters made visible.
#[must_use]
pub fn quoted(value: &[u8]) -> String {
    const LONGEST: usize = 80;
    let text = String::from_utf8_lossy(&value[..value.len().min(LONGEST)]);
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push('"');
    if value.len() > LONGEST {
        out.push_str(&format!(" and {} more bytes", value.len() - LONGEST));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_a_state_of_its_own() {
        let mut states: Vec<_> = Condition::ALL.iter().map(|c| c.sqlstate()).collect();
        states.sort_unstable();
        states.dedup();
        assert_eq!(states.len(), Condition::ALL.len());
        assert!(states.iter().all(|s| s.len() == 5 && *s != "XX000"));
    }

    #[test]
    fn a_long_value_is_cut_and_control_characters_are_shown() {
        assert_eq!(quoted(b"a\nb"), "\"a\\nb\"");
        assert!(quoted(&[b'x'; 1_000_000]).ends_with("and 999920 more bytes"));
    }
}
