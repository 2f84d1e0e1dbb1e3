//! The trend of a funnel in SQL.

mod aggregate;
mod read;
mod summary;
