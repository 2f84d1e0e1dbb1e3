//! Retention in SQL.

mod aggregate;
mod compile;
mod read;
mod summary;
