//! Retention: of the users who began in a period, how many came back in each period after.

pub mod chart;
pub mod definition;
pub mod scan;
pub mod summary;
pub mod table;
