//! The rows of a funnel's trend.

use super::super::table::{self, Row};
use super::summary::Trend;
use crate::error::Result;
use crate::time::Micros;

/// The steps of each period, in order: when the period begins, and the step in figures. A period without an entry has no
/// rows. O(periods · steps). Errors: `22008`.
pub fn rows(trend: &Trend) -> Result<Vec<(Micros, Row)>> {
    let calendar = trend.settings.calendar()?;
    let mut rows = Vec::new();
    for (number, summary) in &trend.periods {
        let start = calendar.start(*number)?;
        rows.extend(table::rows(summary).into_iter().map(|row| (start, row)));
    }
    Ok(rows)
}
