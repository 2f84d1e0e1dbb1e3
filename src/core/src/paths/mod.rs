//! Paths: which events users take one after the other, and how many take the same ones.

pub mod definition;
pub mod scan;
pub mod summary;
pub mod table;
