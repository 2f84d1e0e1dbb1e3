//! Funnels in SQL.

mod aggregate;
mod compile;
mod level;
mod read;
mod summary;
mod times;
