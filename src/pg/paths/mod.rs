//! Paths in SQL.

mod aggregate;
mod read;
mod summary;
