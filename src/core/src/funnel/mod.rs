//! Funnels: an ordered list of steps, and how far a user's events get along it.

pub mod chart;
pub mod condition;
pub mod definition;
pub mod digest;
pub mod duration;
pub mod label;
pub mod matching;
pub mod ordered;
pub mod rows;
pub mod rules;
pub mod scan;
pub mod strict;
pub mod summary;
pub mod svg;
pub mod table;
pub mod unordered;
