//! The trend of a funnel: one summary for each calendar period, by the day of a user's entry.

pub mod chart;
pub mod summary;
pub mod table;
