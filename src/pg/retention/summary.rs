//! The type `retention_summary`: its text form, and putting such values together.

use eventkit_core::error::Result;
use eventkit_core::retention::summary::Summary;
use pgrx::prelude::*;

use crate::pg::summary_type::{self, summary_type};
use crate::raw::types::RetentionSummary;

pgrx::extension_sql!("CREATE TYPE retention_summary;", name = "retention_summary_shell");

summary_type!(
    RetentionSummary: Summary, "retention_summary_shell", "retention_summary_type", summary,
    retention_summary_in, retention_summary_out, retention_summary_combine, retention_summary_finish
);

/// Reads a value.
pub fn decode(value: RetentionSummary) -> Result<Summary> {
    summary_type::decode(value)
}

pgrx::extension_sql!(
    r#"
CREATE TYPE retention_summary (
    INPUT = retention_summary_in,
    OUTPUT = retention_summary_out,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "retention_summary_type",
    requires = [retention_summary_in, retention_summary_out],
);
