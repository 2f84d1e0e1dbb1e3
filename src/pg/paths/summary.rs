//! The type `paths_summary`: its text form, and putting such values together.

use eventkit_core::error::Result;
use eventkit_core::paths::summary::Summary;
use pgrx::prelude::*;

use crate::pg::summary_type::{self, summary_type};
use crate::raw::types::PathsSummary;

pgrx::extension_sql!("CREATE TYPE paths_summary;", name = "paths_summary_shell");

summary_type!(
    PathsSummary: Summary, "paths_summary_shell", "paths_summary_type", summary,
    paths_summary_in, paths_summary_out, paths_summary_combine, paths_summary_finish
);

/// Reads a value.
pub fn decode(value: PathsSummary) -> Result<Summary> {
    summary_type::decode(value)
}

pgrx::extension_sql!(
    r#"
CREATE TYPE paths_summary (
    INPUT = paths_summary_in,
    OUTPUT = paths_summary_out,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
"#,
    name = "paths_summary_type",
    requires = [paths_summary_in, paths_summary_out],
);
