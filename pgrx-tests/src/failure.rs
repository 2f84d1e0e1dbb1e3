//! An error of the server as plain data, so that a test compares its parts.

use std::fmt;

/// What the server said when a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The five characters of the SQLSTATE; `08006` when the connection broke and nothing was said.
    pub sqlstate: String,
    /// The message.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
}

impl Failure {
    /// A connection that ended without an answer.
    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self { sqlstate: "08006".to_owned(), message: message.into(), detail: None, hint: None }
    }
}

impl From<&postgres::Error> for Failure {
    fn from(error: &postgres::Error) -> Self {
        error.as_db_error().map_or_else(
            || Self::broken(error.to_string()),
            |said| Self {
                sqlstate: said.code().code().to_owned(),
                message: said.message().to_owned(),
                detail: said.detail().map(ToOwned::to_owned),
                hint: said.hint().map(ToOwned::to_owned),
            },
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate, self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, "\nDETAIL: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nHINT: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
