//! Funnels in SQL.

mod aggregate;
mod compile;
mod level;
mod per_user;
mod read;
mod saved;
mod summary;
mod svg;
mod times;
