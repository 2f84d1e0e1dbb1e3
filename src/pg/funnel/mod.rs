//! Funnels in SQL.

mod aggregate;
mod compile;
mod excluded;
mod level;
mod per_user;
mod property;
mod read;
mod saved;
mod summary;
mod svg;
mod times;
mod trend;
