//! One step of a plan: a statement, the strongest lock it takes where others may wait, and why it is there.

/// The lock modes that steps take on tables which others use, by the server's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Conflicts with nothing but `ACCESS EXCLUSIVE`.
    AccessShare,
    /// Readers and writers go on; what makes writers wait, waits.
    RowExclusive,
    /// Readers and writers go on; other DDL waits.
    ShareUpdateExclusive,
    /// Readers go on; writers wait, builders of other indexes do not.
    Share,
    /// Readers go on; writers wait.
    ShareRowExclusive,
    /// Everybody waits.
    AccessExclusive,
}

impl Lock {
    /// The mode as `LOCK TABLE … IN … MODE` spells it.
    #[must_use]
    pub const fn sql(self) -> &'static str {
        match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is executed, word for word; `None` when there is nothing to do.
    pub statement: Option<String>,
    /// The strongest lock taken on `target`; `None` on a table that nobody else can see yet.
    pub lock: Option<Lock>,
    /// The table, quoted and qualified.
    pub target: String,
    /// Why, as one sentence.
    pub reason: String,
}

impl Step {
    /// A step on a table that others use.
    pub(super) fn locking(statement: String, lock: Lock, target: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { statement: Some(statement), lock: Some(lock), target: target.into(), reason: reason.into() }
    }

    /// A step on the new table, which nobody else can see before the transaction ends.
    pub(super) fn unseen(statement: String, target: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { statement: Some(statement), lock: None, target: target.into(), reason: reason.into() }
    }

    /// A plan's only step when there is nothing to do.
    #[must_use]
    pub fn nothing(target: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { statement: None, lock: None, target: target.into(), reason: reason.into() }
    }

    /// The end of a transaction: what stands before is kept whatever becomes of the rest.
    #[must_use]
    pub fn commit(target: impl Into<String>) -> Self {
        Self {
            statement: Some("COMMIT".into()),
            lock: None,
            target: target.into(),
            reason: "ends a transaction (nothing is committed inside of a transaction block of the caller's)".into(),
        }
    }
}
